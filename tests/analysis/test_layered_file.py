"""Files of version 2 that say what cannot be: one line each, of `convert` and `weights --captured`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop.tensors.layered_file import LogitTerms, write_layer, write_root
from checkpoints import refused, save_safetensors, write_config
from test_convert import assert_refused, tensors

LAYER = "text0/layer3"
NAMES = [word for role in "QKV" for word in (f"--{role.lower()}", f"{LAYER}/{role}")]


def attribute(name: str, value: object) -> Callable[[h5py.Group], None]:
    return lambda layer: layer.attrs.__setitem__(name, value)


def sinks(values: np.ndarray) -> Callable[[h5py.Group], None]:
    return lambda layer: layer.__setitem__("sinks", values)


def make(path: Path, change: Callable[[h5py.Group], None]) -> Path:
    with h5py.File(path, "w") as file:
        write_root(file, "model", "float32", {})
        write_layer(file.create_group(LAYER), 3, tensors((2, 40, 8)), LogitTerms(0.3, "causal", window=8))
        change(file[LAYER])
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda layer: layer.attrs.__delitem__("mask"), "lacks the attribute mask, which every layer has"),
        (lambda layer: layer.attrs.__delitem__("scale"), "lacks the attribute scale, which every layer has"),
        (attribute("mask", 1), "the attribute mask is np.int64(1), allowed is a text"),
        (attribute("mask", "prefix"), "the mask is 'prefix', allowed are causal and none"),
        (attribute("scale", "0.3"), "the attribute scale is '0.3', allowed is one number"),
        (attribute("scale", np.full(99, 0.3)), "allowed is one number"),
        (attribute("scale", -0.3), "scale is -0.3, allowed are finite numbers over 0"),
        (attribute("window", 8.0), "the attribute window is np.float64(8.0), allowed is an integer"),
        (attribute("window", -8), "window is -8, allowed are integers from 0 on"),
        (attribute("softcap", np.nan), "softcap is nan, allowed are finite numbers from 0 on"),
        (attribute("alibi", 0.5), "has alibi as an attribute, allowed is a dataset of a number for each head"),
        (attribute("sinks", np.zeros(2)), "has sinks as an attribute, allowed is a dataset of a number for each head"),
        (lambda layer: layer.__setitem__("softcap", 30.0), "has softcap as a dataset, allowed is an attribute"),
        (sinks(np.zeros(3)), "sinks is float64 of shape (3,), allowed are floats of (2,)"),
        (sinks(np.zeros(2, np.int64)), "sinks is int64 of shape (2,), allowed are floats of (2,)"),
        (sinks(np.array([0.0, -np.inf])), "sinks has a number that is not finite, of head 1"),
    ],
)
def test_attributes_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[h5py.Group], None], reason: str
) -> None:
    path = make(tmp_path / "t.h5", change)
    weights = save_safetensors(tmp_path / "m.safetensors", model(2))
    for said in (assert_refused(tmp_path, capsys, path, *NAMES), refused(capsys, weights, "--captured", path)):
        assert f"{path}: {LAYER}: " in said
        assert reason in said


def model(heads: int) -> dict[str, np.ndarray]:
    q = np.random.default_rng(1).standard_normal((heads * 8, 16)).astype("f4")
    return {f"model.layers.3.self_attn.{name}_proj.weight": q for name in "qk"}


def test_a_capture_of_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path / "t.h5", lambda _: None)
    write_config(tmp_path, num_attention_heads=4)
    said = refused(capsys, save_safetensors(tmp_path / "m.safetensors", model(4)), "--captured", path)
    assert f"{path}: has 2 heads in layer 3, the weights 4: of another model" in said
