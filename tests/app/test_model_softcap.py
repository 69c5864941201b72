"""Logits under a softcap, as a file's layer says, against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import Tensors, check_case
from command_line import asymptop, study
from model_files import ModelFile, random_model

COMMON = ["--k", "1,9,n^0.5,n", "--block", "64", "--epsilon", "0.5,0.1", "--count-above", "1/n,1e-2", "--rows", "8"]


def louder(model: ModelFile, factor: float) -> ModelFile:
    """Logits of a standard deviation of 1.5 times the factor."""

    def scaled(tensors: Tensors) -> Tensors:
        return replace(tensors, q=(factor * tensors.q).astype(np.float32))

    return replace(model, texts=[{layer: scaled(t) for layer, t in layers.items()} for layers in model.texts])


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
@pytest.mark.parametrize(("cap", "factor"), [(50.0, 1.0), (5.0, 1.0), (8.0, 6.0)])
def test_softcap(cap: float, factor: float, path: str, tmp_path: Path) -> None:
    """Weak, felt by every key, and one that most logits of a row reach; with a window beside."""
    model = louder(random_model(np.random.default_rng(50), texts=2, layers=(0, 1), n=600, d=16), factor)
    model = replace(model, attributes={0: {"softcap": cap}, 1: {"softcap": cap, "window": 90}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "70,500", "--draws", "4", "--heads", "2", "--path", path]
    with h5py.File(study(tmp_path / "r.h5", [*words, *COMMON])) as file:
        assert len(file["cases"]) == 4
        for case in file["cases"].values():
            assert case.attrs["softcap"] == cap
            assert np.max(np.abs(case["logit_max"][()])) <= cap
            assert np.all(case["softcap_ties"][()] == 0.0)
            check_case(case, model.of_layer(int(case.attrs["layer"])))


@pytest.mark.parametrize("level", [300.0, -400.0])
def test_logits_that_fp32_has_at_the_softcap(level: float, tmp_path: Path) -> None:
    """By an offset that all keys share. Which of them are the best is lost; weights are right."""
    plain = random_model(np.random.default_rng(52), texts=1, layers=(0,), n=500, d=16).texts[0][0]
    way = np.random.default_rng(53).standard_normal(16)
    way /= np.linalg.norm(way)
    along = level / (100.0 * plain.logit_scale())
    moved = replace(plain, q=(plain.q - (plain.q @ way - along)[..., None] * way).astype(np.float32))
    moved = replace(moved, k=(plain.k + 100.0 * way).astype(np.float32))
    model = ModelFile([{0: moved}], attributes={0: {"softcap": 50.0}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "450", "--draws", "2", "--heads", "0", *COMMON]
    words += ["--selectors", "score,quest"]
    with h5py.File(study(tmp_path / "r.h5", words, code=1)) as file:
        assert len(file["cases"]) == 2
        for case in file["cases"].values():
            reason = str(case.attrs["verdict_reason"])
            assert reason.startswith("softcap_ties ")
            assert "are this near to the softcap of 50: 100% of all are within 1/128 of it" in reason
            ties = case["softcap_ties"][()]
            assert np.all(ties[:, :, -1] == 0.0)  # all keys are kept
            assert 0.01 < float(np.max(np.mean(ties, axis=(0, 1)))) <= 1.0
            assert np.all(case["softcap_reached"][()] == 1.0)
            seen = case["row_n"][()][..., None]
            kept = np.minimum(case["k" if "selector" not in case.attrs else "kept"][()], seen)
            np.testing.assert_allclose(case["tail_mass"], 1.0 - kept / seen, rtol=2e-2, atol=1e-12)


def test_the_same_bytes_on_any_number_of_ranks_and_threads(tmp_path: Path) -> None:
    model = random_model(np.random.default_rng(51), texts=2, layers=(0,), n=500, d=8)
    file = replace(model, attributes={0: {"softcap": 2.0}}).write(tmp_path / "m.h5")
    words = ["--input", file, "--n", "450", "--draws", "3", "--heads", "0", *COMMON]
    one = study(tmp_path / "one.h5", words)
    three = study(tmp_path / "three.h5", [*words, "--keys", "streamed"], ranks=3, threads=2)
    outcome = asymptop("compare", one, three)
    assert outcome.code == 0, str(outcome)
