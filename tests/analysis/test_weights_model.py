"""What a model does besides W: heads by config.json, scales, biases, norms of queries and keys, parts left out."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.layers.query_key_norms import _by_flag
from asymptop.weights.model_config import ModelConfig
from checkpoints import column, deviations, norms, refused, save_safetensors, told, write_config

H, G, D, W, N = 4, 2, 8, 32, 200
PREFIX = "model.layers.0.self_attn."
Array = np.ndarray


def factors(seed: int = 1, kv_heads: int = G) -> tuple[Array, Array]:
    r = np.random.default_rng(seed)
    return r.standard_normal((H, D, W)).astype("f4"), r.standard_normal((kv_heads, D, W)).astype("f4")


def matrices(q: Array, k: Array, prefix: str = PREFIX) -> dict[str, Array]:
    return {f"{prefix}q_proj.weight": q.reshape(-1, W), f"{prefix}k_proj.weight": k.reshape(-1, W)}


def sample(folder: Path) -> Array:
    """Inputs of another spread in every coordinate, with a mean."""
    r = np.random.default_rng(2)
    x = (r.standard_normal((N, W)) * np.linspace(0.3, 2.0, W) + 0.4).astype("f4")
    np.save(folder / "x.npy", x)
    return x.astype(float)


def project(x: Array, weight: Array, bias: Array | float = 0.0) -> Array:
    """(heads, n, d_head)."""
    return np.stack([x @ w.astype(float).T for w in weight]) + (
        np.asarray(bias, dtype=float).reshape(len(weight), 1, -1) if np.ndim(bias) else bias
    )


# ---- config.json -------------------------------------------------------------------------------------------------

CONFIGS: dict[str, dict] = {
    "Llama": {"num_attention_heads": H, "num_key_value_heads": G, "hidden_size": W},
    "keys by the shapes": {"num_attention_heads": H},
    "null": {"num_attention_heads": H, "num_key_value_heads": None, "head_dim": None},
    "Gemma 3": {"model_type": "gemma3", "text_config": {"num_attention_heads": H, "head_dim": D}},
    "InternVL": {"llm_config": {"num_attention_heads": H}, "vision_config": {"num_attention_heads": 3}},
    "DeepSeek-VL2": {"language_config": {"num_attention_heads": H, "num_key_value_heads": G}},
    "Qwen2.5-Omni": {"thinker_config": {"text_config": {"num_attention_heads": H, "num_key_value_heads": G}}},
    "heads outside, too": {"num_attention_heads": H, "text_config": {"model_type": "llama"}},
    "heads in a list": {"num_query_heads": [H, 2], "num_kv_heads": [G, 1], "head_dim": D},
    "heads in a list of one size": {"num_attention_heads": [H, H], "hidden_size": W},
    "keys in a list": {"num_attention_heads": H, "num_key_value_heads": [G, 0]},
    "MPT": {"n_heads": H, "d_model": W, "attn_config": {"kv_n_heads": G}},
    "Mistral": {"n_heads": H, "n_kv_heads": G, "head_dim": D, "dim": W, "hidden_dim": 77},
    "GPT-2's keys": {"n_head": H, "n_embd": W},
    "T5's keys": {"num_heads": H, "d_kv": D},
    "whole numbers as floats": {"num_attention_heads": float(H), "head_dim": float(D)},
    "ConvBERT": {"model_type": "convbert", "num_attention_heads": 2 * H, "head_ratio": 2},
    "MiMo's sliding layers": {
        **{"model_type": "mimo_v2_flash", "num_attention_heads": H, "num_key_value_heads": G // 2},
        **{"layer_types": ["sliding_attention"]},
    },
    "sizes that differ by layer": {"num_attention_heads": H, "head_dim": 2 * D, "global_head_dim": D},
}


@pytest.mark.parametrize("maker", CONFIGS)
def test_heads_by_config(tmp_path: Path, maker: str, capsys: pytest.CaptureFixture[str]) -> None:
    q, k = factors()
    path = save_safetensors(tmp_path / "m.safetensors", matrices(q, k))
    write_config(tmp_path, **CONFIGS[maker])
    facts = told(capsys, path)
    assert column(facts, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    if maker == "Mistral":
        (tmp_path / "config.json").rename(tmp_path / "params.json")
        assert column(told(capsys, path), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not readable as JSON"),
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ("\xff", "not readable as JSON"),
        ("[1, 2]", "allowed is a JSON object"),
        ("null", "allowed is a JSON object"),
        ("3", "allowed is a JSON object"),
        ('{"num_attention_heads": "4"}', 'num_attention_heads is "4", allowed is a positive integer'),
        ('{"num_attention_heads": 4.5}', "num_attention_heads is 4.5"),
        ('{"num_attention_heads": -4}', "num_attention_heads is -4"),
        ('{"num_attention_heads": true}', "num_attention_heads is true"),
        ('{"num_attention_heads": NaN}', "num_attention_heads is NaN"),
        ('{"num_attention_heads": 1e999}', "num_attention_heads is Infinity"),
        ('{"num_attention_heads": {"a": 1}}', "num_attention_heads is {"),
        ('{"num_attention_heads": ["4"]}', 'num_attention_heads is "4"'),
        ('{"num_attention_heads": []}', "does not say how many"),
        ('{"num_attention_heads": null}', "does not say how many"),
        ("{}", "does not say how many"),
        ('{"text_config": 5}', "does not say how many"),
        ('{"num_attention_heads": 5}', "which are not 5 heads"),
        ('{"num_attention_heads": 4, "head_dim": 16}', "which are not 4 heads of 16 (head_dim)"),
        ('{"num_attention_heads": 4, "num_key_value_heads": 4}', "says 4"),
        ('{"num_attention_heads": 4, "num_key_value_heads": [[1]]}', "num_key_value_heads is [1]"),
        ('{"num_attention_heads": 4, "attention_multiplier": "x"}', 'attention_multiplier is "x"'),
        ('{"num_attention_heads": 4, "query_pre_attn_scalar": 0}', "query_pre_attn_scalar is 0"),
    ],
)
def test_true_sentences_about_config(tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_safetensors(tmp_path / "m.safetensors", matrices(*factors()))
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    error = refused(capsys, path)
    assert words in error
    assert "config.json" in error or "outputs" in error


def test_any_json_is_taken_or_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    keys = ["num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size", "model_type", "text_config"]
    keys += ["attn_config", "rope_scaling", "rope_parameters", "quantization_config", "sliding_window", "use_qk_norm"]
    keys += ["attention_multiplier", "query_pre_attn_scalar", "rms_norm_eps", "pos_att_type", "relative_attention"]
    keys += ["scale_attn_weights", "scale_attn_by_inverse_layer_idx", "num_hidden_layers", "multi_query", "alibi"]
    keys += ["thinker_config", "key_multiplier", "mup_use_scaling", "new_decoder_architecture", "num_kv_shared_layers"]

    def value(depth: int) -> object:
        plain = [
            None,
            True,
            False,
            0,
            1,
            2,
            4,
            8,
            -1,
            10**400,
            0.5,
            1e300,
            float("nan"),
            "",
            "deberta",
            "falcon",
            "llama4",
        ]
        if depth and rng.random() < 0.5:
            return {rng.choice([*keys, "type", "factor", "weight_block_size"]): value(depth - 1) for _ in range(3)}
        return [value(0) for _ in range(rng.randrange(3))] if rng.random() < 0.3 else rng.choice(plain)

    path = save_safetensors(tmp_path / "m.safetensors", matrices(*factors()))
    for _ in range(300):
        facts = {"num_attention_heads": 4} | {rng.choice(keys): value(2) for _ in range(rng.randrange(1, 6))}
        write_config(tmp_path, **facts)
        code = command_line.main(["weights", str(path), "--json", "-", "--n", "1024"])
        captured = capsys.readouterr()
        assert (code, captured.err.count("\n") if code else 1) in ((0, 1), (2, 1)), (seed, facts)


def test_the_text_of_a_model_of_several_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Vision, audio, speech and cross attention have q and k of their own, and other heads."""
    q, k = factors()
    other, _ = factors(3)
    text = matrices(q, k, "model.language_model.layers.0.self_attn.")
    parts = (
        "model.vision_tower.encoder.layers.0.self_attn.",
        "audio_tower.layers.0.self_attn.",
        "talker.model.layers.0.",
    )
    parts += ("model.language_model.layers.0.cross_attn.", "vision_model.transformer.layers.0.attn.")
    more = {name: a for part in parts for name, a in matrices(other, other, part).items()}
    write_config(
        tmp_path,
        text_config={"num_attention_heads": H, "num_key_value_heads": G},
        vision_config={"num_attention_heads": 2},
    )
    facts = told(capsys, save_safetensors(tmp_path / "m.safetensors", more | text))
    assert column(facts, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    notes = " ".join(facts["notes"])
    assert "left out, other parts of the model than its text: " in notes
    assert "vision_tower" in notes
    assert "left out, attention across parts: 1 of model.language_model.layers.*.cross_attn" in notes
    # The other part alone is what there is; its heads are its own.
    vision = {name: a for name, a in more.items() if "vision_tower" in name}
    facts = told(capsys, save_safetensors(tmp_path / "m.safetensors", vision))
    assert len(facts["heads"]) == 2


def test_encoder_and_decoder_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors, expected = {}, []
    for seed, stack in enumerate(("decoder", "encoder")):
        for block in range(2):
            q, k = factors(10 * seed + block, H)
            prefix = f"{stack}.block.{block}.layer.0.SelfAttention."
            tensors |= {f"{prefix}q.weight": q.reshape(-1, W), f"{prefix}k.weight": k.reshape(-1, W)}
            expected += norms(q, k)
    cross = "decoder.block.0.layer.1.EncDecAttention."
    tensors |= {f"{cross}{r}.weight": np.ones((H * D, W), "f4") for r in "qk"}
    tensors["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = np.ones((4, H), "f4")
    write_config(tmp_path, model_type="t5", num_heads=H, d_kv=D, d_model=W)
    facts = told(capsys, save_safetensors(tmp_path / "m.safetensors", tensors))
    assert column(facts, "frobenius") == pytest.approx(expected, rel=1e-5)
    assert len(set(column(facts, "layer"))) == 4
    assert facts["scale"] == 1.0
    assert "relative position bias" in facts["left_out"]


def test_an_encoder_with_heads_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k = factors(1, H)
    tensors = matrices(q, k, "model.encoder.layers.0.self_attn.") | matrices(q, k, "model.decoder.layers.0.self_attn.")
    write_config(tmp_path, model_type="bart", encoder_attention_heads=2 * H, decoder_attention_heads=H, d_model=W)
    facts = told(capsys, save_safetensors(tmp_path / "m.safetensors", tensors))
    halves = [a.reshape(2 * H, D // 2, W) for a in (q, k)]
    assert column(facts, "frobenius") == pytest.approx(norms(q, k) + norms(*halves), rel=1e-5)


def test_gates_beside_queries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Qwen3-Next: per head d_head queries, then d_head gates."""
    q, k = factors()
    gates, _ = factors(5)
    tensors = matrices(np.concatenate([q, gates], axis=1), k)
    write_config(tmp_path, model_type="qwen3_next", num_attention_heads=H, num_key_value_heads=G, head_dim=D)
    path = save_safetensors(tmp_path / "m.safetensors", tensors)
    assert column(told(capsys, path), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    write_config(tmp_path, model_type="llama", num_attention_heads=H, num_key_value_heads=G, head_dim=D)
    assert "which are not 4 heads of 8" in refused(capsys, path)


LINEAR: dict[str, tuple[dict[str, Array], dict]] = {
    "Kimi Linear": (
        matrices(*factors(4), "model.layers.1.self_attn.")
        | {"model.layers.1.self_attn.q_conv1d.weight": np.ones((H * D, 1, 4), "f4")},
        {},
    ),
    "Qwen3.5": (
        {
            "model.layers.1.linear_attn.in_proj_qkv.weight": np.ones((3 * H * D, W), "f4"),
            "model.layers.1.linear_attn.A_log": np.ones(H, "f4"),
        },
        {"model_type": "qwen3_5_text"},
    ),
    "MiniMax": (
        {"model.layers.1.self_attn.qkv_proj.weight": np.ones((3 * H * D, W), "f4")},
        {"model_type": "minimax", "layer_types": ["full_attention", "linear_attention"]},
    ),
}


@pytest.mark.parametrize("maker", LINEAR)
def test_linear_attention_is_left_out(tmp_path: Path, maker: str, capsys: pytest.CaptureFixture[str]) -> None:
    q, k = factors()
    tensors, facts = LINEAR[maker]
    write_config(tmp_path, num_attention_heads=H, num_key_value_heads=G, **facts)
    found = told(capsys, save_safetensors(tmp_path / "m.safetensors", matrices(q, k) | tensors))
    assert column(found, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    assert any("left out, linear attention: 1" in note for note in found["notes"])


# ---- scales ------------------------------------------------------------------------------------------------------

SCALES: dict[str, tuple[dict, float]] = {
    "the usual": ({}, D**-0.5),
    "Granite": ({"attention_multiplier": 0.015625}, 0.015625),
    "Gemma 2": ({"query_pre_attn_scalar": 144}, 1 / 12),
    "Gemma 3": ({"text_config": {"query_pre_attn_scalar": 256, "num_attention_heads": H}}, 1 / 16),
    "MPT": ({"attn_config": {"softmax_scale": 0.25}}, 0.25),
    "T5": ({"model_type": "t5"}, 1.0),
    "GPT-Neo": ({"model_type": "gpt_neo"}, 1.0),
    "GPT-2 unscaled": ({"scale_attn_weights": False}, 1.0),
    "GPT-2 by layer": ({"scale_attn_by_inverse_layer_idx": True}, D**-0.5 / 4),
    "muP": ({"mup_scale_qk_dot_by_d": True}, 1 / D),
    "Phi-3-small": ({"mup_use_scaling": True, "mup_attn_multiplier": 2.0}, 2 / D),
    "Falcon-H1": ({"key_multiplier": 0.5, "attention_in_multiplier": 2.0}, 2 * D**-0.5),
    "DeBERTa": (
        {"model_type": "deberta-v2", "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        (3 * D) ** -0.5,
    ),
    "null": ({"attention_multiplier": None, "query_pre_attn_scalar": None}, D**-0.5),
}


@pytest.mark.parametrize("maker", SCALES)
def test_the_scale_is_that_of_the_model(tmp_path: Path, maker: str, capsys: pytest.CaptureFixture[str]) -> None:
    config, scale = SCALES[maker]
    q, k = factors()
    path = save_safetensors(tmp_path / "m.safetensors", matrices(q, k, "model.layers.3.self_attn."))
    write_config(tmp_path, **({"num_attention_heads": H} | config))
    facts = told(capsys, path, "--std", 0.5)
    assert facts["scale"] == pytest.approx(scale)
    assert column(facts, "scale") == pytest.approx([scale] * H)
    assert column(facts, "sigma") == pytest.approx([0.25 * scale * norm for norm in norms(q, k)], rel=1e-5)
    x = sample(tmp_path)
    right = deviations(project(x, q), project(x, k), scale)
    found = told(capsys, path, "--inputs", tmp_path / "x.npy")
    assert column(found, "sigma_measured") == pytest.approx(right, rel=1e-4)
    assert told(capsys, path, "--scale", 0.7)["scale"] == 0.7
    assert command_line.main(["weights", str(path), "--n", "1024"]) == 0
    assert f"scale = {scale:.6g} (" in capsys.readouterr().out


def test_the_scale_of_latent_attention_with_stretched_positions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    r = np.random.default_rng(5)
    shapes = {"q_proj": (H * 12, W), "kv_a_proj_with_mqa": (14, W), "kv_b_proj": (H * 16, 10)}
    tensors = {f"{PREFIX}{name}.weight": r.standard_normal(s).astype("f4") for name, s in shapes.items()}
    rope = {"type": "yarn", "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707}
    write_config(tmp_path, model_type="deepseek_v2", num_attention_heads=H, rope_scaling=rope)
    facts = told(capsys, save_safetensors(tmp_path / "m.safetensors", tensors))
    assert facts["scale"] == pytest.approx(12**-0.5 * (0.1 * 0.707 * np.log(40) + 1) ** 2)


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = matrices(*factors()) | {f"{PREFIX}sinks": np.ones(H, "f4"), f"{PREFIX}q_proj.bias": np.ones(H * D, "f4")}
    tensors[f"{PREFIX}q_proj.lora_A.weight"] = np.ones((2, W), "f4")
    path = save_safetensors(tmp_path / "m.safetensors", tensors)
    assert any("config.json" in words for words in told(capsys, path, "--heads", H)["left_out"])
    write_config(
        *(tmp_path,),
        **{"num_attention_heads": H, "rope_theta": 1e4, "attn_logit_softcapping": 50.0, "sliding_window": 128},
        **{"alibi": True, "clip_qkv": 8.0, "rope_scaling": {"rope_type": "yarn", "factor": 4}},
    )
    left = "; ".join(told(capsys, path)["left_out"])
    for words in (
        "rotary",
        "soft cap",
        "50",
        "sliding window",
        "128",
        "ALiBi",
        "clip",
        "sinks",
        "yarn",
        "biases",
        "lora_A",
    ):
        assert words in left
    sample(tmp_path)
    assert "biases" not in "; ".join(told(capsys, path, "--inputs", tmp_path / "x.npy")["left_out"])
    write_config(tmp_path, num_attention_heads=H, sliding_window=128, use_sliding_window=False, rope_scaling=None)
    assert "window" not in "; ".join(told(capsys, path)["left_out"])


# ---- biases ------------------------------------------------------------------------------------------------------


def fused_names(q: Array, k: Array, bq: Array, bk: Array) -> dict[str, dict]:
    """Ways to store the same factors and biases; (tensors, options)."""
    v = np.zeros_like(k)
    bv = np.zeros_like(bk)
    blocks = np.concatenate([a.reshape(-1, W) for a in (q, k, v)])
    by_head = np.concatenate([np.concatenate([q[h], k[h], v[h]]) for h in range(H)])
    bias_by_head = np.concatenate([np.concatenate([bq[h], bk[h], bv[h]]) for h in range(H)])
    bias = np.concatenate([b.ravel() for b in (bq, bk, bv)])
    flax = {f"l_0/attention/{r}/kernel": a.transpose(2, 0, 1) for r, a in (("query", q), ("key", k))}
    lens = {"blocks.0.attn.W_Q": q.swapaxes(1, 2), "blocks.0.attn.W_K": k.swapaxes(1, 2)}
    return {
        "GPT-2": {"h.0.attn.c_attn.weight": blocks.T, "h.0.attn.c_attn.bias": bias},
        "GPT-2 of TensorFlow": {"model/h0/attn/c_attn/w": blocks.T[None], "model/h0/attn/c_attn/b": bias},
        "torch": {"l.0.self_attn.in_proj_weight": blocks, "l.0.self_attn.in_proj_bias": bias},
        "apart": matrices(q, k) | {f"{PREFIX}q_proj.bias": bq.ravel(), f"{PREFIX}k_proj.bias": bk.ravel()},
        "Megatron": {"l.0.linear_qkv.weight": by_head, "l.0.linear_qkv.bias": bias_by_head},
        "Flax": flax | {"l_0/attention/query/bias": bq, "l_0/attention/key/bias": bk},
        "TransformerLens": lens | {"blocks.0.attn.b_Q": bq, "blocks.0.attn.b_K": bk},
    }


@pytest.mark.parametrize("maker", list(fused_names(*factors(1, H), np.ones((H, D)), np.ones((H, D)))))
def test_biases_count_where_sigma_is_measured(tmp_path: Path, maker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """That of queries moves a row's logits by key; that of keys moves them all alike."""
    q, k = factors(1, H)
    r = np.random.default_rng(6)
    bq, bk = (3 * r.standard_normal((H, D)).astype("f4") * np.arange(1, H + 1, dtype="f4")[:, None] for _ in range(2))
    x = sample(tmp_path)
    np.savez(tmp_path / "m.npz", **fused_names(q, k, bq, bk)[maker])
    right = deviations(project(x, q, bq), project(x, k, bk), D**-0.5)
    found = told(capsys, tmp_path / "m.npz", "--heads", H, "--inputs", tmp_path / "x.npy")
    assert column(found, "sigma_measured") == pytest.approx(right, rel=1e-5)
    assert column(found, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)


def test_a_bias_that_does_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = matrices(*factors()) | {f"{PREFIX}q_proj.bias": np.ones(3, "f4")}
    assert "is no bias of 32 outputs" in refused(
        capsys, save_safetensors(tmp_path / "m.safetensors", tensors), "--heads", H
    )


# ---- norms -------------------------------------------------------------------------------------------------------


def rms(a: Array, axes: tuple[int, ...] = (-1,)) -> Array:
    return a / np.sqrt(np.mean(a**2, axis=axes, keepdims=True) + 1e-6)


def layer(a: Array) -> Array:
    return rms(a - a.mean(axis=-1, keepdims=True))


GAINS = np.random.default_rng(7).uniform(0.5, 2.0, (2, H, D)).astype("f4")
SHIFTS = np.random.default_rng(8).standard_normal((2, D)).astype("f4")
# How each maker norms (heads, n, d_head), and the tensors it keeps for it: by role 0 (queries) and 1 (keys).
NORMS = {
    "qwen3": ("{}_norm.weight", lambda a, i: rms(a) * GAINS[i, 0], lambda i, h: GAINS[i, 0]),
    "gemma3_text": ("{}_norm.weight", lambda a, i: rms(a) * (1 + GAINS[i, 0]), lambda i, h: GAINS[i, 0]),
    "qwen3_next": ("{}_norm.weight", lambda a, i: rms(a) * (1 + GAINS[i, 0]), lambda i, h: GAINS[i, 0]),
    "minimax_m3_vl_text": ("{}_norm.weight", lambda a, i: rms(a) * (1 + GAINS[i, 0]), lambda i, h: GAINS[i, 0]),
    "step3p5": ("{}_norm.weight", lambda a, i: rms(a) * (1 + GAINS[i, 0]), lambda i, h: GAINS[i, 0]),
    "hunyuan": ("{}uery_layernorm.weight", lambda a, i: rms(a) * GAINS[i, 0], lambda i, h: GAINS[i, 0]),
    "olmo2": (
        "{}_norm.weight",
        lambda a, i: rms(a, (0, 2)) * GAINS[i, : len(a), None],
        lambda i, h: GAINS[i, :h].ravel(),
    ),
    "cohere": ("{}_norm.weight", lambda a, i: layer(a) * GAINS[i, : len(a), None], lambda i, h: GAINS[i, :h]),
    "stablelm": ("{}_layernorm.norms.{{}}.weight", lambda a, i: layer(a) * GAINS[i, : len(a), None], None),
    "persimmon": (
        "{}_layernorm.weight",
        lambda a, i: layer(a) * GAINS[i, 0] + SHIFTS[i],
        lambda i, h: GAINS[i, 0],
    ),
}


def norm_tensors(maker: str, prefix: str) -> dict[str, Array]:
    form, _, weights = NORMS[maker]
    tensors = {}
    for i, (role, heads) in enumerate((("q", H), ("k", G))):
        name = prefix + form.format(role).replace("kuery", "key")
        if weights is None:
            tensors |= {name.format(h): GAINS[i, h] for h in range(heads)}
        else:
            tensors[name] = weights(i, heads)
        if maker == "persimmon":
            tensors[name.replace("weight", "bias")] = SHIFTS[i]
    return tensors


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("maker", NORMS)
def test_norms_of_queries_and_keys(
    tmp_path: Path, maker: str, with_bias: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a norm the bias of keys counts, too."""
    q, k = factors(9)
    r = np.random.default_rng(10)
    bq, bk = (r.standard_normal(size).astype("f4") * with_bias for size in (H * D, G * D))
    tensors = matrices(q, k) | norm_tensors(maker, PREFIX)
    tensors |= {f"{PREFIX}q_proj.bias": bq, f"{PREFIX}k_proj.bias": bk} if with_bias else {}
    path = save_safetensors(tmp_path / "m.safetensors", tensors)
    write_config(tmp_path, model_type=maker, num_attention_heads=H, num_key_value_heads=G, rms_norm_eps=1e-6)
    x = sample(tmp_path)
    norm = NORMS[maker][1]
    right = deviations(norm(project(x, q, bq), 0), norm(project(x, k, bk), 1), D**-0.5)
    facts = told(capsys, path, "--inputs", tmp_path / "x.npy")
    assert column(facts, "sigma_measured") == pytest.approx(right, rel=1e-5)
    assert column(facts, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    # Without inputs: Gaussian ones are drawn. Their own spread hardly counts, the norm takes it out.
    facts = told(capsys, path)
    drawn = np.random.default_rng(11).standard_normal((4000, W))
    right = deviations(norm(project(drawn, q, bq), 0), norm(project(drawn, k, bk), 1), D**-0.5)
    assert column(facts, "sigma") == pytest.approx(right, rel=0.06)
    assert any("pass a norm" in note and "Gaussian inputs" in note for note in facts["notes"])
    # Left out by wish, it is said.
    facts = told(capsys, path, "--qk-norm", "none")
    assert column(facts, "sigma") == pytest.approx([n * D**-0.5 for n in norms(q, k)], rel=1e-5)
    assert any("norms of queries or keys" in words for words in facts["left_out"])


def test_a_norm_without_weights_and_its_factor_on_queries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Muse has no tensors for it, a factor in config.json alone."""
    q, k = factors(9)
    path = save_safetensors(tmp_path / "m.safetensors", matrices(q, k))
    write_config(tmp_path, model_type="muse_spark_text", num_attention_heads=H, qk_scale_factor=3.87, rms_norm_eps=1e-6)
    x = sample(tmp_path)
    right = deviations(3.87 * rms(project(x, q)), rms(project(x, k)), D**-0.5)
    assert column(told(capsys, path, "--inputs", tmp_path / "x.npy"), "sigma_measured") == pytest.approx(
        right, rel=1e-5
    )


def test_norms_that_are_not_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = matrices(*factors())
    path = tmp_path / "m.safetensors"
    save_safetensors(path, plain | {f"{PREFIX}q_norm.weight": np.ones(5, "f4")})
    assert "is no norm of 4 heads of 8" in refused(capsys, path, "--heads", H)
    save_safetensors(path, plain | {f"{PREFIX}q_norm.weight": np.ones(D, "f4")})
    assert any("see --qk-norm" in note for note in told(capsys, path, "--heads", H)["notes"])
    save_safetensors(path, plain)
    write_config(tmp_path, num_attention_heads=H, use_qk_norm=True)
    assert "use_qk_norm is true, and no norm" in refused(capsys, path)
    told(capsys, path, "--qk-norm", "none")


def test_norms_of_latents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    r = np.random.default_rng(12)
    nope, rope, v, rank, q_rank = 6, 4, 5, 10, 12
    shapes = {"q_a_proj": (q_rank, W), "q_b_proj": (H * (nope + rope), q_rank), "kv_a_proj_with_mqa": (rank + rope, W)}
    w = {n: r.standard_normal(s).astype("f4") for n, s in (shapes | {"kv_b_proj": (H * (nope + v), rank)}).items()}
    gains = {
        "q_a_layernorm": r.uniform(0.5, 2, q_rank).astype("f4"),
        "kv_a_layernorm": r.uniform(0.5, 2, rank).astype("f4"),
    }
    bias = r.standard_normal(q_rank).astype("f4")
    tensors = {f"{PREFIX}{n}.weight": a for n, a in (w | gains).items()} | {f"{PREFIX}q_a_proj.bias": bias}
    path = save_safetensors(tmp_path / "m.safetensors", tensors)
    write_config(tmp_path, model_type="deepseek_v3", num_attention_heads=H)
    x = sample(tmp_path)
    w = {n: a.astype(float) for n, a in w.items()}
    queries = (rms(x @ w["q_a_proj"].T + bias) * gains["q_a_layernorm"]) @ w["q_b_proj"].T
    latent = x @ w["kv_a_proj_with_mqa"].T
    up = (rms(latent[:, :rank]) * gains["kv_a_layernorm"]) @ w["kv_b_proj"].T
    keys = [np.concatenate([up.reshape(N, H, nope + v)[:, h, :nope], latent[:, rank:]], axis=1) for h in range(H)]
    queries = queries.reshape(N, H, nope + rope).swapaxes(0, 1)
    facts = told(capsys, path, "--inputs", tmp_path / "x.npy")
    right = deviations(queries, keys, (nope + rope) ** -0.5)
    assert column(facts, "sigma_measured") == pytest.approx(right, rel=1e-5)


def test_the_records_are_json_of_finite_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_safetensors(tmp_path / "m.safetensors", matrices(*factors()) | norm_tensors("qwen3", PREFIX))
    text = json.dumps(told(capsys, path, "--heads", H))
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize(
    ("facts", "normed"),
    [
        ({}, [True, True, True, False, True, True, True, False]),
        ({"no_rope_layer_interval": 2}, [True, False] * 4),
        ({"no_rope_layers": [0, 1, 1, 0, 1, 1, 1, 1]}, [False, True, True, False, True, True, True, True]),
    ],
)
def test_llama_4_norms_layers_that_it_turns(facts: dict, normed: list[bool]) -> None:
    """Its norm has no weights, and layers without rotary embedding go without it."""
    config = ModelConfig(facts={"use_qk_norm": True} | facts, model_type="llama4_text")
    found = [_by_flag(config, f"model.layers.{layer}.self_attn.", "query", 8) is not None for layer in range(8)]
    assert found == normed
