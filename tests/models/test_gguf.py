"""`capture` of a GGUF file: a random small Llama as llama.cpp lays it out, with a tokeniser of bytes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: tests/models/run.sh")
transformers = pytest.importorskip("transformers", reason="needs transformers: tests/models/run.sh")
pytest.importorskip("accelerate", reason="needs accelerate: tests/models/run.sh")

import gguf
from asymptop import __main__ as command_line
from small_models import attention_outputs

WIDTH, INNER, HEADS, KEY_HEADS, LAYERS, N = 64, 96, 4, 2, 2, 50
LETTERS = [*"abcdefghijklmnopqrstuvwxyz", "Ġ"]
TEXT = "in the beginning was the word and the word was with all of them " * 3


def write_llama(path: Path, leave_out: str = "") -> Path:
    random = np.random.default_rng(4)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    tokens = ["<s>", *LETTERS, "ab"]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,), "output": (len(tokens), WIDTH)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm": (WIDTH,),
            f"blk.{layer}.attn_q": (WIDTH, WIDTH),
            f"blk.{layer}.attn_k": (WIDTH * KEY_HEADS // HEADS, WIDTH),
            f"blk.{layer}.attn_v": (WIDTH * KEY_HEADS // HEADS, WIDTH),
            f"blk.{layer}.attn_output": (WIDTH, WIDTH),
            f"blk.{layer}.ffn_norm": (WIDTH,),
            f"blk.{layer}.ffn_gate": (INNER, WIDTH),
            f"blk.{layer}.ffn_up": (INNER, WIDTH),
            f"blk.{layer}.ffn_down": (WIDTH, INNER),
        }
    for name, shape in shapes.items():
        if name != leave_out:
            values = random.normal(0.0, 0.3, shape).astype(np.float32)
            kind = gguf.GGMLQuantizationType.Q8_0
            if len(shape) == 2:
                writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
            else:
                writer.add_tensor(f"{name}.weight", 1 + values)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return path


def words(folder: Path) -> list[str]:
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    usual = ["capture", str(folder / "m.gguf"), "--text", str(folder / "text.txt"), "--lengths", str(N)]
    return [*usual, "--device", "cpu", "-o", str(folder / "t.h5")]


def test_quantised_llama(tmp_path: Path) -> None:
    write_llama(tmp_path / "m.gguf")
    assert command_line.main(words(tmp_path)) == 0
    source = {"gguf_file": "m.gguf"}
    network = transformers.AutoModel.from_pretrained(tmp_path, attn_implementation="eager", **source).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, **source)
    with h5py.File(tmp_path / "t.h5") as file:
        leading = int(file["text0"].attrs["leading_special_tokens"])
        assert file.attrs["model"] == "m.gguf"
        ids = [0] * leading + tokenizer(TEXT, add_special_tokens=False)["input_ids"][: N - leading]
        own = attention_outputs(network, "self_attn.o_proj", lambda run: run(input_ids=torch.tensor([ids])))
        for layer in range(LAYERS):
            q, k, v = (file[f"text0/layer{layer}/{name}"][()].astype(np.float64) for name in "QKV")
            k, v = k.repeat(HEADS // KEY_HEADS, axis=0), v.repeat(HEADS // KEY_HEADS, axis=0)
            s = np.where(np.tri(N, dtype=bool), 0.25 * q @ k.swapaxes(1, 2), -np.inf)
            p = np.exp(s) / np.exp(s).sum(axis=-1, keepdims=True)
            found = np.concatenate(list(p @ v), axis=1)
            assert np.abs(found - own[layer].numpy()).max() < 2e-5 * np.abs(own[layer].numpy()).max()


def test_missing_weights_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """transformers draws them at random, without a word."""
    write_llama(tmp_path / "m.gguf", leave_out="blk.1.attn_k")
    assert command_line.main(words(tmp_path)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "lacks 1 weights of LlamaModel, layers.1.self_attn.k_proj.weight the first" in last
