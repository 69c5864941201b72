"""Every architecture of texts that transformers builds small from its configuration: captured, which is to say checked
by capture itself, or refused in one line. Random weights; minutes, so only where it is asked for:

    tests/models/run.sh --every-architecture -rP      (what each came to is in what the tests print)
"""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: tests/models/run.sh")
transformers = pytest.importorskip("transformers", reason="needs transformers: tests/models/run.sh")

from asymptop import __main__ as command_line
from every_architecture import ONLY_WHERE_ASKED, SEED, TEXT, architectures, built
from small_models import save_tokenizer

pytestmark = ONLY_WHERE_ASKED
N = 71

# Those that must be captured.
NAMED = """
afmoe albert apertus apertus1p5_text arcee aria_text audioflamingo3 axk1 bailing_hybrid bamba bart beam bert
bert-generation biogpt bitnet blenderbot blenderbot-small bloom camembert clip_text_model codegen cohere cohere2
cohere2_moe convbert ctrl cwm data2vec-text deepseek_v2 deepseek_v3 deepseek_v4 distilbert dots1 electra
encoder-decoder ernie ernie4_5 ernie4_5_moe esm eurobert exaone exaone4 exaone_moe falcon falcon_h1 flaubert flex_olmo
flint fsmt fuyu gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text gemma4 gemma4_text gemma4_unified
gemma4_unified_assistant gemma4_unified_text glm glm4 glm4_moe glm4_moe_lite glmasr got_ocr2 gpt-sw3 gpt2 gpt_bigcode
gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj granite granite_speech granite_speech_plus granite_swa granitemoe
granitemoe_swa granitemoehybrid granitemoeshared gte helium hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax ibert
internlm3 iquestcoder jais2 jamba jetmoe jina_embeddings_v3 kimi_linear kolibri1 laguna lara_mini layoutlm lfm2 lfm3
llama llama4 llama4_text longcat_flash luke m2m_100 marian mbart megatron-bert mellum mimo_v2_flash minicpm3 minimax
minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mixtral mobilebert modernbert-decoder moshi
moss_transcribe_diarize mpt musicflamingo mvp nanochat nemo_speechlm nemotron nemotron_h nllb-moe nomic_bert
nystromformer olmo olmo2 olmo3 olmo_hybrid olmoe omniasr openai-gpt opt pegasus persimmon phi phi3 phimoe plbart
prophetnet qwen2 qwen2_audio qwen2_moe qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_asr qwen3_moe
qwen3_next recurrent_gemma rembert roberta roberta-prelayernorm roc_bert roformer sarvam_mla sarvam_moe seed_oss
smollm3 solar_open splinter squeezebert stablelm starcoder2 tapas vaultgemma vibevoice_asr visual_bert voxtral xglm
xlm xlm-roberta xlm-roberta-xl xmod youtu
"""
CAPTURED = NAMED.split()


@pytest.mark.parametrize("name", architectures())
def test_captured_or_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    print(f"seed {SEED}")
    try:
        built(name).save_pretrained(tmp_path / "model")
    except Exception as error:
        assert name not in CAPTURED
        pytest.skip(f"{name} is not built: {' '.join(str(error).split())[:120]}")
    save_tokenizer(tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    words = ["capture", str(tmp_path / "model"), "--text", str(tmp_path / "text.txt"), "--lengths", str(N)]
    capsys.readouterr()
    code = command_line.main([*words, "--device", "cpu", "-o", str(tmp_path / "t.h5")])
    said = capsys.readouterr().err
    last = said.splitlines()[-1]
    print(f"{name}: exit {code}: {last}")
    assert "Traceback" not in said
    assert code in (0, 2), last
    assert (tmp_path / "t.h5").exists() == (code == 0)
    if code == 2:
        assert last.startswith("asymptop capture: ")
        assert len(last) < 400
    if name in CAPTURED:
        assert code == 0, last


def test_named_architectures_are_many() -> None:
    assert len(CAPTURED) >= 120
    assert set(CAPTURED) <= set(architectures())
