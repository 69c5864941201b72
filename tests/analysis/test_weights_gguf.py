"""GGUF files as llama.cpp writes them: quantised tensors, sizes in the metadata, fused tensors, norms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints import column, deviations, norms, refused, told

gguf = pytest.importorskip("gguf", reason="the package gguf of analysis/requirements.txt is not installed")

H, G, D, W = 4, 2, 32, 64
Array = np.ndarray


def factors(seed: int = 1) -> tuple[Array, Array]:
    r = np.random.default_rng(seed)
    return r.standard_normal((H, D, W)).astype("f4"), r.standard_normal((G, D, W)).astype("f4")


def write(path: Path, tensors: dict[str, Array], arch: str = "llama", kind: str = "F32", **facts: float) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    writer.add_head_count(H)
    writer.add_head_count_kv(G)
    writer.add_embedding_length(W)
    writer.add_block_count(2)
    for key, value in facts.items():
        writer.add_float32(f"{arch}.{key.replace('__', '.')}", value)
    quantisation = gguf.GGMLQuantizationType[kind]
    for name, array in tensors.items():
        stored = gguf.quants.quantize(array, quantisation) if array.ndim > 1 else array
        writer.add_tensor(name, stored, raw_dtype=quantisation if array.ndim > 1 and kind != "F32" else None)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return path


def as_stored(a: Array, kind: str) -> Array:
    if kind == "F32":
        return a
    quantisation = gguf.GGMLQuantizationType[kind]
    rows = a.reshape(-1, W)
    return gguf.quants.dequantize(gguf.quants.quantize(rows, quantisation), quantisation).reshape(a.shape)


def names(q: Array, k: Array, layer: int = 0) -> dict[str, Array]:
    return {f"blk.{layer}.attn_{r}.weight": a.reshape(-1, W) for r, a in (("q", q), ("k", k))}


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1"])
def test_quantised_tensors(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    q, k = factors()
    facts = told(capsys, write(tmp_path / "m.gguf", names(q, k) | names(k.repeat(2, 0), k, 1), kind=kind))
    right = norms(as_stored(q, kind), as_stored(k, kind)) + norms(as_stored(k.repeat(2, 0), kind), as_stored(k, kind))
    assert column(facts, "frobenius") == pytest.approx(right, rel=1e-5)
    assert facts["scale"] == pytest.approx(D**-0.5)


def test_rows_permuted_within_heads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """llama.cpp's order for rotary pairs: that of queries and keys alike."""
    q, k = factors()
    turned = [a.reshape(len(a), 2, D // 2, W).swapaxes(1, 2).reshape(a.shape) for a in (q, k)]
    facts = told(capsys, write(tmp_path / "m.gguf", names(*turned)))
    assert column(facts, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)


def test_fused_norms_and_scales(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k = factors()
    fused = np.concatenate([a.reshape(-1, W) for a in (q, k, k)])
    facts = told(capsys, write(tmp_path / "f.gguf", {"blk.0.attn_qkv.weight": fused}, "falcon", attention__scale=0.25))
    assert column(facts, "frobenius") == pytest.approx(norms(q, k), rel=1e-5)
    assert facts["scale"] == pytest.approx(0.25)
    gain = np.linspace(0.5, 2.0, D).astype("f4")  # with the 1 of Gemma in it
    more = {f"blk.0.attn_{r}_norm.weight": gain for r in "qk"}
    path = write(tmp_path / "g.gguf", names(q, k) | more, "gemma3", attn_logit_softcapping=30.0)
    x = np.random.default_rng(3).standard_normal((200, W))
    np.save(tmp_path / "x.npy", x)

    def normed(weight: Array) -> list[Array]:
        rows = [x @ w.T.astype(float) for w in weight]
        return [a / np.sqrt(np.mean(a**2, axis=1, keepdims=True) + 1e-6) * gain for a in rows]

    facts = told(capsys, path, "--inputs", tmp_path / "x.npy")
    assert column(facts, "sigma_measured") == pytest.approx(deviations(normed(q), normed(k), D**-0.5), rel=1e-5)
    assert any("soft cap" in words for words in facts["left_out"])


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in refused(capsys, tmp_path / "none.gguf")
    for content in (b"", b"GGUF", b"GGUF" + (3).to_bytes(4, "little") + bytes(64), b"GGUF" + bytes([255]) * 200):
        (tmp_path / "bad.gguf").write_bytes(content)
        refused(capsys, tmp_path / "bad.gguf")
    path = write(tmp_path / "m.gguf", names(*factors()))
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        refused(capsys, path)
