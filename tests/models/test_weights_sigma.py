"""Sigma that `weights` finds without running a model, against sigma of a capture of the same random small model."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: tests/models/run.sh")
pytest.importorskip("transformers", reason="needs transformers: tests/models/run.sh")

from asymptop import __main__ as command_line
from small_models import ARCHITECTURES, save_model

N = 160
TEXT = "".join(chr(32 + (i * i + 7 * i) % 94) for i in range(N))


def sigma_by_hand(path: Path, layer: int, head: int) -> float:
    """From the file's numbers, row by row: causal or not, in its window, under its cap."""
    with h5py.File(path) as file:
        group = file[f"text0/layer{layer}"]
        q, k = (
            group["Q"][head].astype(float),
            group["K"][head // (group["Q"].shape[0] // group["K"].shape[0])].astype(float),
        )
        attributes = dict(group.attrs)
    squares = []
    for row in np.unique(np.linspace(len(q) // 2, len(q) - 1, 64).astype(int)):
        end = row + 1 if attributes["mask"] == "causal" else len(k)
        begin = max(0, end - attributes["window"]) if attributes["window"] else 0
        logits = attributes["scale"] * k[begin:end] @ q[row]
        if attributes["softcap"]:
            logits = attributes["softcap"] * np.tanh(logits / attributes["softcap"])
        squares.append(np.var(logits))
    return float(np.sqrt(np.mean(squares)))


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "bert"])
def test_the_error_is_that_of_the_capture(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    architecture = ARCHITECTURES[name]
    model = save_model(tmp_path / "model", architecture.config, architecture.options, 11)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    output = tmp_path / "t.h5"
    words = ["capture", str(model), "--text", str(tmp_path / "text.txt"), "--lengths", str(N), "--device", "cpu"]
    assert command_line.main([*words, "-o", str(output)]) == 0
    capsys.readouterr()
    assert (
        command_line.main(["weights", str(model), "--captured", str(output), "--json", str(tmp_path / "w.json")]) == 0
    )
    told = capsys.readouterr().out
    heads = json.loads((tmp_path / "w.json").read_text())["heads"]
    assert len(heads) == 3 * architecture.heads
    shares = []
    for i, head in enumerate(heads):
        assert head["sigma_captured"] == pytest.approx(sigma_by_hand(output, i // 4, head["head"]), rel=1e-6)
        shares.append(head["sigma"] / head["sigma_captured"])
    assert f"sigma is {np.median(shares):.3g} times that of t.h5 in the median head, from {min(shares):.3g} to" in told
    if name == "qwen3":  # norms of queries and keys leave no scale of the inputs in logits
        assert 0.5 < np.median(shares) < 2.0
    assert command_line.main(["weights", str(model), "--captured", str(tmp_path / "text.txt")]) == 2
    assert "is no tensor file of version 2" in capsys.readouterr().err
