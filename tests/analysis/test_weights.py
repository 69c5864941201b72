"""Weights of a model: hand-made factors with known norms in every format, layouts, grouped heads, measured inputs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.theory import finite_size, laws
from asymptop.theory.head_predictions import recommend
from safetensors.numpy import save_file

GENERATOR = np.random.default_rng(8)
WIDTH, SIZE, HEADS = 12, 4, 6


def told(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict:
    assert command_line.main(["weights", str(path), "--json", "-", *options]) == 0
    return json.loads(capsys.readouterr().out)


def norms(facts: dict) -> list[float]:
    return [head["frobenius"] for head in facts["heads"]]


def random(*shape: int) -> np.ndarray:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def test_known_norm_and_sigma(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """W_Q = 2 I, W_K = 3 I (4 x 4): W = 6 I, ‖W‖_F = 12. Uniform inputs in [-2, 2] have std 2/sqrt 3."""
    np.savez(tmp_path / "w.npz", W_Q=2.0 * np.eye(4), W_K=3.0 * np.eye(4))
    facts = told(tmp_path / "w.npz", capsys, "--bound", "2", "--std", str(2.0 / math.sqrt(3.0)))
    (head,) = facts["heads"]
    assert head["frobenius"] == pytest.approx(12.0)
    assert head["R"] == pytest.approx(48.0)
    scale = 0.5
    assert head["sigma"] == pytest.approx(scale * head["R"] / 3.0)  # (std/B)^2 = 1/3
    assert told(tmp_path / "w.npz", capsys, "--scale", "0.125")["heads"][0]["sigma"] == pytest.approx(1.5)


def test_the_norm_is_that_of_the_product(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query, key = random(WIDTH, SIZE), random(WIDTH, SIZE)
    expected = [float(np.linalg.norm(query.astype(float) @ key.T.astype(float)))]
    np.savez_compressed(tmp_path / "w.npz", W_Q=query, W_K=key)
    save_file({"W_Q": query, "W_K": key}, tmp_path / "w.safetensors")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["block/W_Q"], file["block/W_K"] = query, key
    for name in ("w.npz", "w.safetensors", "w.h5"):
        assert norms(told(tmp_path / name, capsys)) == pytest.approx(expected, rel=1e-6)


def _torch_layers(kv_heads: int) -> tuple[dict[str, np.ndarray], list[float]]:
    """Two layers as torch stores them, out-first, and the norms head by head."""
    tensors, expected = {}, []
    for layer in (2, 10):
        query, key = random(HEADS * SIZE, WIDTH), random(kv_heads * SIZE, WIDTH)
        tensors[f"model.layers.{layer}.self_attn.q_proj.weight"] = query
        tensors[f"model.layers.{layer}.self_attn.k_proj.weight"] = key
        tensors[f"model.layers.{layer}.self_attn.q_proj.bias"] = random(HEADS * SIZE)
        for head in range(HEADS):
            shared = head // (HEADS // kv_heads)
            factors = query[head * SIZE : (head + 1) * SIZE], key[shared * SIZE : (shared + 1) * SIZE]
            expected.append(float(np.linalg.norm(factors[0].T.astype(float) @ factors[1].astype(float))))
    return tensors, expected


@pytest.mark.parametrize("kv_heads", [HEADS, 2, 1])
def test_heads_of_torch_layers(tmp_path: Path, kv_heads: int, capsys: pytest.CaptureFixture[str]) -> None:
    tensors, expected = _torch_layers(kv_heads)
    save_file(tensors, tmp_path / "model.safetensors")
    options = ("--heads", str(HEADS), "--kv-heads", str(kv_heads))
    facts = told(tmp_path / "model.safetensors", capsys, *options)
    assert norms(facts) == pytest.approx(expected, rel=1e-6)
    assert [h["layer"] for h in facts["heads"]] == ["2"] * HEADS + ["10"] * HEADS
    assert [h["kv_head"] for h in facts["heads"][:HEADS]] == [h // (HEADS // kv_heads) for h in range(HEADS)]
    # The same from config.json, and with names given.
    config = {"num_attention_heads": HEADS, "num_key_value_heads": kv_heads}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert norms(told(tmp_path / "model.safetensors", capsys)) == pytest.approx(expected, rel=1e-6)
    named = ("--q", "*.10.*.q_proj.weight", "--k", "*.10.*.k_proj.weight")
    assert norms(told(tmp_path / "model.safetensors", capsys, *named)) == pytest.approx(expected[HEADS:], rel=1e-6)


def test_other_layouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors, expected = _torch_layers(HEADS)
    query, key = (tensors[f"model.layers.2.self_attn.{r}_proj.weight"] for r in "qk")
    by_head = [w.reshape(HEADS, SIZE, WIDTH).swapaxes(1, 2) for w in (query, key)]
    np.savez(tmp_path / "three.npz", **{"blocks.0.attn.W_Q": by_head[0], "blocks.0.attn.W_K": by_head[1]})
    assert norms(told(tmp_path / "three.npz", capsys)) == pytest.approx(expected[:HEADS], rel=1e-6)
    np.savez(tmp_path / "in.npz", query=query.T, key=key.T)
    found = norms(told(tmp_path / "in.npz", capsys, "--layout", "in-first", "--heads", str(HEADS)))
    assert found == pytest.approx(expected[:HEADS], rel=1e-6)
    fused = np.concatenate([query, key, random(HEADS * SIZE, WIDTH)])
    np.savez(tmp_path / "fused.npz", **{"h.3.attn.c_attn.weight": fused.T})
    facts = told(tmp_path / "fused.npz", capsys, "--heads", str(HEADS))
    assert norms(facts) == pytest.approx(expected[:HEADS], rel=1e-6)
    np.savez(tmp_path / "fused.npz", in_proj_weight=fused)
    facts = told(tmp_path / "fused.npz", capsys, "--heads", str(HEADS))
    assert norms(facts) == pytest.approx(expected[:HEADS], rel=1e-6)


def test_sigma_is_measured_on_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Brute force: every logit of the sample, the deviation of each row over its keys, the root mean square."""
    tensors, _ = _torch_layers(2)
    save_file(tensors, tmp_path / "model.safetensors")
    inputs = GENERATOR.standard_normal((300, WIDTH)) @ np.diag(np.linspace(0.5, 2.0, WIDTH)) + 0.7
    np.save(tmp_path / "inputs.npy", inputs)
    options = ("--heads", str(HEADS), "--kv-heads", "2", "--inputs", str(tmp_path / "inputs.npy"))
    facts = told(tmp_path / "model.safetensors", capsys, *options)
    assert facts["bound"] == pytest.approx(np.abs(inputs).max())
    assert facts["std"] == pytest.approx(np.sqrt(np.mean(inputs**2)))
    for head in facts["heads"]:
        prefix = f"model.layers.{head['layer']}.self_attn."
        at, shared = head["head"] * SIZE, head["kv_head"] * SIZE
        query = inputs @ tensors[prefix + "q_proj.weight"][at : at + SIZE].T
        query = query + tensors[prefix + "q_proj.bias"][at : at + SIZE]
        key = inputs @ tensors[prefix + "k_proj.weight"][shared : shared + SIZE].T
        logits = query @ key.T / math.sqrt(SIZE)
        brute = math.sqrt(np.mean(logits.var(axis=1)))
        assert head["sigma_measured"] == pytest.approx(brute, rel=1e-6)
        assert head["R"] == pytest.approx(facts["bound"] ** 2 * head["frobenius"])


def test_independent_inputs_have_the_predicted_sigma(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "w.npz", W_Q=random(WIDTH, SIZE), W_K=random(WIDTH, SIZE))
    np.save(tmp_path / "x.npy", GENERATOR.uniform(-1.5, 1.5, (4000, WIDTH)))
    (head,) = told(tmp_path / "w.npz", capsys, "--inputs", str(tmp_path / "x.npy"))["heads"]
    assert head["sigma_measured"] == pytest.approx(head["sigma"], rel=0.05)


@pytest.mark.parametrize("sigma", [0.3, 2.0, 4.5, 12.0])
def test_the_law_keeps_the_tail_mass(sigma: float) -> None:
    sizes = [2**10, 2**14, 2**20]
    law, predictions = recommend(sigma, sizes, 0.1)
    for p in predictions:
        assert p.tail_mass <= 0.1 * 1.001
        assert p.law_k == pytest.approx(laws.evaluate(law, p.n), rel=2e-3, abs=1.0)
        assert p.tail_mass == pytest.approx(finite_size.tail_mass(finite_size.profile(float(p.n), sigma), p.law_k))
    # At one n at least nothing is wasted: fewer keys would break the promise.
    rows = [finite_size.profile(float(p.n), sigma) for p in predictions]
    fewer = [min(p.law_k - 1, int(0.998 * p.law_k)) for p in predictions]
    assert any(finite_size.tail_mass(row, k) > 0.1 for row, k in zip(rows, fewer, strict=True))
    assert [p.phase for p in recommend(4.5, sizes, 0.1)[1]] == ["frozen", "frozen", "thinning"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bound", "-1"], "--bound is -1"),
        (["--epsilon", "2"], "--epsilon is 2"),
        (["--n", "8,x"], "--n is '8,x'"),
        (["--heads", "-3"], "--heads is -3"),
        (["--q", "nothing"], "--q is 'nothing', which no tensor is called"),
        (["--heads", "5"], "which are not 5 heads"),
        (["--inputs", "narrow.npy"], "no tensor has the width of W's inputs, 12"),
        (["--inputs", "absent.npy"], "absent.npy: no such file"),
    ],
)
def test_bad_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("narrow.npy", np.ones((4, 3)))
    np.savez("w.npz", W_Q=random(WIDTH, SIZE), W_K=random(WIDTH, SIZE))
    assert command_line.main(["weights", "w.npz", *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_files_that_say_too_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"a.q_proj.weight": random(8, 8), "a.k_proj.weight": random(8, 8)}, tmp_path / "m.safetensors")
    save_file({"conv.weight": random(8, 8)}, tmp_path / "n.safetensors")
    save_file({"l.0.query.weight": random(8, 8), "l.1.key.weight": random(8, 8)}, tmp_path / "o.safetensors")
    for name, words in (("m", "--heads is missing"), ("n", "no query and key weights found"), ("o", "do not pair up")):
        assert command_line.main(["weights", str(tmp_path / f"{name}.safetensors")]) == 2
        assert words in capsys.readouterr().err
    assert command_line.main(["weights", str(tmp_path / "w.pt")]) == 2
    assert "the name ends in '.pt'" in capsys.readouterr().err
