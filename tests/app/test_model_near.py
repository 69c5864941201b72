"""Weights of first and recent keys, the place of the largest entry, and keys with a common offset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import Tensors, check_case
from command_line import asymptop, study
from model_files import ModelFile, random_model

COMMON = ["--k", "1,9,n", "--block", "64", "--epsilon", "0.5,0.1", "--count-above", "1/n", "--rows", "7"]


@pytest.mark.parametrize("mask", ["causal", "none"])
@pytest.mark.parametrize("contexts", ["places", "prefix"])
def test_first_and_recent_keys(contexts: str, mask: str, tmp_path: Path) -> None:
    """Against brute force, with and without a window, in more rows than one piece of keys serves."""
    model = random_model(np.random.default_rng(60), texts=2, layers=(0, 1), n=500, d=8)
    attributes = {1: {"window": 20}} if mask == "causal" else {}
    model = replace(model, attributes=attributes)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "48,450", "--draws", "4", "--heads", "1", "--mask", mask]
    words += ["--contexts", contexts, "--drop-first", "2", "--first-keys", "6", "--recent-keys", "33"]
    with h5py.File(study(tmp_path / "r.h5", [*words, *COMMON])) as file:
        assert len(file["cases"]) == 8
        for name, case in file["cases"].items():
            check_case(case, model.of_layer(int(case.attrs["layer"])))
            assert case.attrs["first_keys"] == 6
            assert case.attrs["recent_keys"] == 33
            if "window" in case.attrs:
                np.testing.assert_allclose(case["recent_keys_mass"][()], 1.0, rtol=1e-5, err_msg=name)
            for share in ("first_keys_mass", "recent_keys_mass"):
                assert case[share][()].max() <= 1.0, name


def test_a_sink_shows(tmp_path: Path) -> None:
    """With defaults, of a file of version 1: the first key takes most of the weight and is the largest entry."""
    tensors = random_model(np.random.default_rng(61), texts=1, layers=(0,), n=300, d=8).texts[0][0]
    keys = tensors.k.copy()
    keys[:, 0] = 4.0
    tensors = replace(tensors, q=np.abs(tensors.q), k=keys)
    words = ["--input", tensors.write(tmp_path / "t.h5"), "--n", "300", "--draws", "3", "--heads", "0", *COMMON]
    with h5py.File(study(tmp_path / "r.h5", [*words, "--mask", "causal"])) as file:
        (case,) = file["cases"].values()
        check_case(case, tensors)
        assert case.attrs["first_keys"] == 4
        assert case.attrs["recent_keys"] == 64
        assert np.median(case["first_keys_mass"]) > 0.5
        assert np.mean(case["largest_place"][()] == 0) > 0.8


def test_not_of_synthetic_input(tmp_path: Path) -> None:
    results = study(tmp_path / "r.h5", ["--n", "64", "--draws", "2", *COMMON])
    with h5py.File(results) as file:
        (case,) = file["cases"].values()
        assert not {"first_keys_mass", "recent_keys_mass", "largest_place"} & set(case)
    outcome = asymptop("study", "--n", "64", "--target-se", "1%", "--target-metrics", "first_keys_mass", cwd=tmp_path)
    assert outcome.code == 2
    assert "'first_keys_mass' is measured of tensor files" in outcome.stderr


def shifted(model: ModelFile, size: float) -> ModelFile:
    """All keys moved by one vector, which changes no weight."""
    rng = np.random.default_rng(62)

    def moved(tensors: Tensors) -> Tensors:
        by = rng.standard_normal(tensors.k.shape[-1])
        by *= size / np.linalg.norm(by)
        return replace(tensors, k=(tensors.k + by).astype(np.float32))

    return replace(model, texts=[{layer: moved(t) for layer, t in layers.items()} for layers in model.texts])


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
@pytest.mark.parametrize("size", [1e3, 1e5])
def test_a_common_offset_costs_no_digits(size: float, path: str, tmp_path: Path) -> None:
    """Held to what is allowed for the keys without their offset: fp32 products of the keys as they are spend it all."""
    model = shifted(random_model(np.random.default_rng(63), texts=2, layers=(0,), n=400, d=16), size)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "300", "--draws", "4", "--heads", "3", *COMMON]
    with h5py.File(study(tmp_path / "r.h5", [*words, "--path", path])) as file:
        (case,) = file["cases"].values()
        assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
        if size < 1e4:  # beyond, what is allowed for fp32 products of these keys says nothing of counts
            check_case(case, model.of_layer(0))
        of_text = [tensors.k[1].astype(np.float64) for tensors in model.of_layer(0)]
        q = [tensors.q[3].astype(np.float64) for tensors in model.of_layer(0)]
        for at in np.ndindex(case["row_position"].shape):
            text, position = int(case["draw_text"][at[0]]), int(case["row_position"][at])
            begin = int(case["draw_end"][at[0]]) - 300
            seen = of_text[text][begin : position + 1] - of_text[text].mean(axis=0)
            logits = float(case.attrs["scale"]) * seen @ q[text][position]
            p = np.exp(logits - logits.max())
            p /= p.sum()
            assert float(case["p_max"][at]) == pytest.approx(p.max(), rel=2e-5)
            nine = case["k"][()].tolist().index(9)
            assert float(case["tail_mass"][at][nine]) == pytest.approx(float(np.sum(np.sort(p)[:-9])), rel=2e-5)
            assert float(case["entropy_nats"][at]) == pytest.approx(float(-(p * np.log(p)).sum()), rel=2e-5)


def test_a_small_offset_changes_nothing(tmp_path: Path) -> None:
    """Selectors beside score see the keys as they are; an offset of a few times the keys' spread stays as well."""
    model = shifted(random_model(np.random.default_rng(64), texts=1, layers=(0,), n=200, d=8), 20.0)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "200", "--draws", "1", "--heads", "0", *COMMON]
    alone = study(tmp_path / "alone.h5", words)
    beside = study(tmp_path / "beside.h5", [*words, "--selectors", "score,window"])
    with h5py.File(alone) as a, h5py.File(beside) as b:
        name = "cases/n200-d8-layer0-head0-causal"
        for field in ("logit_max", "p_max", "tail_mass", "first_keys_mass"):
            np.testing.assert_array_equal(a[name][field][()], b[name][field][()])
