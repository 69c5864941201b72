"""Layouts of attention weights, each built head by head as its maker's code reads it, by the norms of the products."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import column, norms, refused, save_safetensors, told, write_config

SEED = 31
H, D, W = 8, 4, 32
Array = np.ndarray


def factors(kv_heads: int = H, head_dim: int = D, width: int = W, heads: int = H) -> tuple[Array, Array, Array]:
    """Every head of another size, so that no two can be taken for each other."""
    r = np.random.default_rng(SEED)
    shapes = ((heads, head_dim, width), (kv_heads, head_dim, width), (kv_heads, head_dim, width))
    return tuple(r.standard_normal(s).astype("f4") * np.arange(1, s[0] + 1, dtype="f4")[:, None, None] for s in shapes)


def blocks(q: Array, k: Array, v: Array) -> Array:
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in (q, k, v)])


def groups(q: Array, k: Array, v: Array) -> Array:
    """Per key head its queries, its key, its value; head by head where each query has its own."""
    size = len(q) // len(k)
    return np.concatenate([np.concatenate([*q[g * size : (g + 1) * size], k[g], v[g]]) for g in range(len(k))])


def codegen(q: Array, k: Array, v: Array) -> Array:
    """Four blocks, each with its queries, values, keys."""
    quarter = len(q) // 4
    parts = [part[i * quarter : (i + 1) * quarter] for i in range(4) for part in (q, v, k)]
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])


NEOX, FALCON = (
    "gpt_neox.layers.0.attention.query_key_value.weight",
    "transformer.h.0.self_attention.query_key_value.weight",
)
GLM = "transformer.encoder.layers.0.self_attention.query_key_value.weight"
PLAIN = {"num_attention_heads": H, "hidden_size": W}
FUSED = {
    "GPT-NeoX": (NEOX, groups, H, {"model_type": "gpt_neox", **PLAIN}),
    "BLOOM": (
        "h.0.self_attention.query_key_value.weight",
        groups,
        H,
        {"model_type": "bloom", "n_head": H, "n_embed": W},
    ),
    "Persimmon": ("model.layers.0.self_attn.query_key_value.weight", groups, H, {"model_type": "persimmon", **PLAIN}),
    "Falcon, new decoder": (
        *(FALCON, groups, 2),
        {"model_type": "falcon", **PLAIN, "new_decoder_architecture": True, "multi_query": True, "num_kv_heads": 2},
    ),
    "Falcon, multi-query": (
        FALCON,
        blocks,
        1,
        {"model_type": "falcon", **PLAIN, "multi_query": True, "num_kv_heads": H},
    ),
    "Falcon, by default": (FALCON, blocks, 1, {"model_type": "falcon", **PLAIN}),
    "Falcon, one key a head": (FALCON, groups, H, {"model_type": "falcon", **PLAIN, "multi_query": False}),
    "Falcon 40B as first published": (FALCON, groups, 2, {"model_type": "RefinedWeb", "n_head": H, "n_head_kv": 2}),
    "Falcon 7B as first published": (
        FALCON,
        blocks,
        1,
        {"model_type": "RefinedWebModel", "n_head": H, "multi_query": True},
    ),
    "ChatGLM": (GLM, groups, H, {"model_type": "chatglm", **PLAIN}),
    "ChatGLM 2": (
        *(GLM, blocks, 2),
        {"model_type": "chatglm", **PLAIN, "multi_query_attention": True, "multi_query_group_num": 2, "kv_channels": D},
    ),
    "InternLM2": (
        *("model.layers.0.attention.wqkv.weight", groups, 2),
        {"model_type": "internlm2", **PLAIN, "num_key_value_heads": 2},
    ),
    "Phi-3": (
        *("model.layers.0.self_attn.qkv_proj.weight", blocks, 2),
        {"model_type": "phi3", **PLAIN, "num_key_value_heads": 2},
    ),
    "Phi-3-small": (
        *("model.layers.0.self_attn.query_key_value.weight", groups, 2),
        {"model_type": "phi3small", **PLAIN, "num_key_value_heads": 2},
    ),
    "MPT": ("transformer.blocks.0.attn.Wqkv.weight", blocks, H, {"model_type": "mpt", "n_heads": H, "d_model": W}),
    "MPT, grouped": (
        *("transformer.blocks.0.attn.Wqkv.weight", blocks, 2),
        {
            "model_type": "mpt",
            "n_heads": H,
            "d_model": W,
            "attn_config": {"attn_type": "grouped_query_attention", "kv_n_heads": 2},
        },
    ),
    "MPT, multi-query": (
        *("transformer.blocks.0.attn.Wqkv.weight", blocks, 1),
        {"model_type": "mpt", "n_heads": H, "d_model": W, "attn_config": {"attn_type": "multiquery_attention"}},
    ),
    "DBRX": (
        *("transformer.blocks.0.norm_attn_norm.attn.Wqkv.weight", blocks, 2),
        {"model_type": "dbrx", "n_heads": H, "d_model": W, "attn_config": {"kv_n_heads": 2, "clip_qkv": 8}},
    ),
    "Qwen 1": ("transformer.h.0.attn.c_attn.weight", blocks, H, {"model_type": "qwen", **PLAIN, "kv_channels": D}),
    "GPT-BigCode": (
        "transformer.h.0.attn.c_attn.weight",
        blocks,
        1,
        {"model_type": "gpt_bigcode", "n_head": H, "n_embd": W},
    ),
    "GPT-BigCode, one key a head": (
        *("transformer.h.0.attn.c_attn.weight", groups, H),
        {"model_type": "gpt_bigcode", "n_head": H, "n_embd": W, "multi_query": False},
    ),
    "Baichuan": ("model.layers.0.self_attn.W_pack.weight", blocks, H, {"model_type": "baichuan", **PLAIN}),
    "CodeGen": (
        "transformer.h.0.attn.qkv_proj.weight",
        codegen,
        H,
        {"model_type": "codegen", "n_head": H, "n_embd": W},
    ),
    "Megatron": ("decoder.layers.0.self_attention.linear_qkv.weight", groups, 2, {**PLAIN, "num_query_groups": 2}),
    "torch": ("encoder.layers.0.self_attn.in_proj_weight", blocks, H, PLAIN),
    "ModernBERT": ("model.layers.0.attn.Wqkv.weight", blocks, H, {"model_type": "modernbert", **PLAIN}),
    "OLMo": (
        "model.transformer.blocks.0.att_proj.weight",
        blocks,
        H,
        {"model_type": "hf_olmo", "n_heads": H, "d_model": W},
    ),
}


@pytest.mark.parametrize("maker", FUSED)
def test_fused(tmp_path: Path, maker: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, order, kv_heads, config = FUSED[maker]
    q, k, v = factors(kv_heads)
    write_config(tmp_path, **config)
    path = save_safetensors(tmp_path / "model.safetensors", {name: order(q, k, v)})
    facts = told(capsys, path)
    assert column(facts, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    assert column(facts, "kv_head") == [h // (H // kv_heads) for h in range(H)]
    pattern = name.replace(".0.", ".*.")
    # The same tensor for both roles is one that holds both; it is never cut as queries and again as keys.
    assert column(told(capsys, path, "--q", pattern, "--k", pattern), "frobenius") == pytest.approx(
        norms(q, k), rel=1e-5
    )
    assert column(told(capsys, path, "--q", pattern), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)


@pytest.mark.parametrize("order", [blocks, groups])
@pytest.mark.parametrize("kv_heads", [H, 2, 1])
@pytest.mark.parametrize("name", [NEOX, "layers.0.attention.wqkv.weight", "l.0.qkv_proj.weight", "b.0.attn.qkv.weight"])
def test_unknown_orders_are_refused_until_said(
    tmp_path: Path, order, kv_heads: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    q, k, v = factors(kv_heads)
    path = save_safetensors(tmp_path / "model.safetensors", {name: order(q, k, v)})
    options = ("--heads", H, "--kv-heads", kv_heads)
    for facts in (None, {"model_type": "new", "num_attention_heads": H}):
        if facts:
            write_config(tmp_path, **facts)
        error = refused(capsys, path, *options)
        assert "--fused blocks" in error
        assert name in error
        assert ("'new'" in error) == (facts is not None)
    found = told(capsys, path, *options, "--fused", order.__name__)
    assert column(found, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_c_attn_both_ways(tmp_path: Path, transposed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """GPT-2's Conv1D has its inputs first; nanoGPT's linear layer of the same name has not."""
    q, k, v = factors()
    fused = blocks(q, k, v)
    path = save_safetensors(
        tmp_path / "m.safetensors", {"transformer.h.0.attn.c_attn.weight": fused.T if transposed else fused}
    )
    if not transposed:  # of GPT-BigCode it would be head by head
        assert "--fused" in refused(capsys, path, "--heads", H)
    write_config(tmp_path, model_type="gpt2", n_head=H, n_embd=W)
    assert column(told(capsys, path), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """12 D rows are also 24 times D/2: eight heads with keys of their own, if nothing says otherwise."""
    q, k, v = factors(2)
    name = "model.layers.0.self_attn.qkv_proj.weight"
    path = save_safetensors(tmp_path / "m.safetensors", {name: blocks(q, k, v)})
    write_config(tmp_path, model_type="phi3", **PLAIN)
    assert "48 outputs" in refused(capsys, path)
    assert "48 outputs" in refused(capsys, path, "--kv-heads", 4, "--head-dim", D)
    assert column(told(capsys, path, "--kv-heads", 2), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    assert column(told(capsys, path, "--head-dim", D), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)


def test_one_tensor_in_both_roles_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k, _ = factors()
    tensors = {"l.0.q_proj.weight": q.reshape(-1, W), "l.0.k_proj.weight": k.reshape(-1, W)}
    path = save_safetensors(tmp_path / "m.safetensors", tensors)
    assert "--fused" in refused(capsys, path, "--q", "*.q_proj.weight", "--k", "*.q_proj.weight", "--heads", H)
    assert "one tensor has one role" in refused(capsys, path, "--q", "*.weight", "--k", "*.k_proj.weight", "--heads", H)


# ---- queries and keys apart --------------------------------------------------------------------------------------

AXES = {"flax": (2, 0, 1), "transformer_lens": (0, 2, 1)}
SEPARATE = {
    "Flax": ("encoder/layer_0/self_attention/{}/kernel", ("query", "key"), "flax"),
    "Flax, one name a level": ("params.decoder.layers_0.self_attention.{}.kernel", ("query", "key"), "flax"),
    "ViT of JAX": ("Transformer/encoderblock_0/MultiHeadDotProductAttention_1/{}/kernel", ("query", "key"), "flax"),
    "XLNet": ("transformer.layer.0.rel_attn.{}", ("q", "k"), "flax"),
    "TransformerLens": ("blocks.0.attn.{}", ("W_Q", "W_K"), "transformer_lens"),
}


@pytest.mark.parametrize("maker", SEPARATE)
@pytest.mark.parametrize(("kv_heads", "width"), [(H, W), (2, W), (H, 40), (2, 64)])
def test_three_axes(tmp_path: Path, maker: str, kv_heads: int, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    form, roles, kind = SEPARATE[maker]
    q, k, _ = factors(kv_heads, width=width)
    np.savez(
        tmp_path / "m.npz", **{form.format(r): a.transpose(AXES[kind]) for r, a in zip(roles, (q, k), strict=True)}
    )
    found = told(capsys, tmp_path / "m.npz", "--heads", H)
    assert column(found, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    if maker != "XLNet":  # the names tell, too
        assert column(told(capsys, tmp_path / "m.npz"), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    assert "are not (heads, d_model, d_head)" in refused(capsys, tmp_path / "m.npz", "--heads", H - 3)


def test_three_axes_that_may_be_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """(40, 8, 4) under bare names: 40 heads on 8 inputs, or 8 heads on 40 inputs."""
    q, k, _ = factors(width=40)
    np.savez(tmp_path / "m.npz", q=q.transpose(2, 0, 1), k=k.transpose(2, 0, 1))
    assert "--heads decides" in refused(capsys, tmp_path / "m.npz")
    assert column(told(capsys, tmp_path / "m.npz", "--heads", H), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    by_head = told(capsys, tmp_path / "m.npz", "--heads", 40)
    assert len(by_head["heads"]) == 40


@pytest.mark.parametrize("kv_heads", [H, 2])
def test_kernels_of_two_axes_have_their_inputs_first(
    tmp_path: Path, kv_heads: int, capsys: pytest.CaptureFixture[str]
) -> None:
    q, k, _ = factors(kv_heads)
    matrices = [a.reshape(-1, W).T for a in (q, k)]
    for form in (
        "model/layers/0/self_attn/{}_proj/kernel",
        "h0_attn/{}/w",
        "bert/layer_._0/attention/self/{}/kernel:0",
    ):
        names = [form.format(r) for r in (("query", "key") if "bert" in form else "qk")]
        np.savez(tmp_path / "m.npz", **dict(zip(names, matrices, strict=True)))
        assert column(told(capsys, tmp_path / "m.npz", "--heads", H), "frobenius") == pytest.approx(
            norms(q, k), rel=1e-5
        )


def test_the_shared_axis_holds_the_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Torch's names with the inputs first: with fewer key heads the shapes tell; with as many, hidden_size may."""
    q, k, _ = factors(2)
    np.savez(tmp_path / "m.npz", **{"l.0.q_proj.weight": q.reshape(-1, W).T, "l.0.k_proj.weight": k.reshape(-1, W).T})
    assert column(told(capsys, tmp_path / "m.npz", "--heads", H), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    q, k, _ = factors(width=24)
    np.savez(tmp_path / "m.npz", **{"l.0.q_proj.weight": q.reshape(-1, 24).T, "l.0.k_proj.weight": k.reshape(-1, 24).T})
    write_config(tmp_path, num_attention_heads=H, hidden_size=24)
    assert "--layout out-first or in-first decides" in refused(capsys, tmp_path / "m.npz")
    found = told(capsys, tmp_path / "m.npz", "--layout", "in-first")
    assert column(found, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)


def test_convolutions_of_one_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k, _ = factors()
    shape = (H * D, W, 1, 1)
    np.savez(
        tmp_path / "m.npz", **{"mid.attn_1.to_q.weight": q.reshape(shape), "mid.attn_1.to_k.weight": k.reshape(shape)}
    )
    assert column(told(capsys, tmp_path / "m.npz", "--heads", H), "frobenius") == pytest.approx(norms(q, k), rel=1e-5)


def test_layers_stacked_in_one_tensor_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k, _ = factors()
    stacked = {r: np.stack([a.transpose(2, 0, 1)] * 3, 1) for r, a in (("query", q), ("key", k))}
    np.savez(tmp_path / "m.npz", **{f"decoder/layers/self_attention/{r}/kernel": a for r, a in stacked.items()})
    assert "one layer each" in refused(capsys, tmp_path / "m.npz", "--heads", H)


# ---- latent attention --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low_rank", [False, True])
@pytest.mark.parametrize("names", ["hugging face", "inference"])
def test_latent(tmp_path: Path, low_rank: bool, names: str, capsys: pytest.CaptureFixture[str]) -> None:
    """W of a head from the two products of its logit: the part by the latent and the rotary part."""
    r = np.random.default_rng(SEED)
    heads, nope, rope, v, rank, q_rank = 3, 6, 4, 5, 10, 12
    down, up = r.standard_normal((rank + rope, W)), r.standard_normal((heads * (nope + v), rank))
    q_down = r.standard_normal((q_rank, W))
    q_up = r.standard_normal((heads * (nope + rope), q_rank if low_rank else W))
    words = ("q_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")
    words = words if names == "hugging face" else ("wq", "wq_a", "wq_b", "wkv_a", "wkv_b")
    tensors = {words[3]: down, words[4]: up, **({words[1]: q_down, words[2]: q_up} if low_rank else {words[0]: q_up})}
    save_safetensors(
        tmp_path / "m.safetensors", {f"layers.0.attn.{n}.weight": t.astype("f4") for n, t in tensors.items()}
    )
    write_config(tmp_path, model_type="deepseek_v3", num_attention_heads=heads, num_key_value_heads=heads)
    queries = (q_up @ q_down if low_rank else q_up).reshape(heads, nope + rope, W)
    keys = [
        np.concatenate([up.reshape(heads, nope + v, rank)[h, :nope] @ down[:rank], down[rank:]]) for h in range(heads)
    ]
    facts = told(capsys, tmp_path / "m.safetensors")
    assert column(facts, "frobenius") == pytest.approx(norms(queries, np.array(keys)), rel=1e-5)
    assert facts["scale"] == pytest.approx((nope + rope) ** -0.5)
    assert any("rank 10, 6 coordinates a head and 4 of one rotary key" in note for note in facts["notes"])
    assert any("norm of the kv latent is not applied" in note for note in facts["notes"])
    # Sizes that config.json has otherwise.
    write_config(tmp_path, model_type="deepseek_v3", num_attention_heads=heads, qk_nope_head_dim=nope + 1)
    assert "not latent attention of 3 heads" in refused(capsys, tmp_path / "m.safetensors")
    (tmp_path / "config.json").unlink()
    assert "--heads is missing" in refused(capsys, tmp_path / "m.safetensors")


def test_the_records_tell_how_tensors_were_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k, v = factors(2)
    save_safetensors(tmp_path / "m.safetensors", {"model.layers.0.attention.wqkv.weight": groups(q, k, v)})
    write_config(tmp_path, model_type="internlm2", **PLAIN, num_key_value_heads=2)
    notes = json.dumps(told(capsys, tmp_path / "m.safetensors")["notes"])
    assert "8 heads, 2 of keys, d_head 4, d_model 32, fused groups, out-first" in notes
