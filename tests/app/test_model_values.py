"""Values of another width than keys, as multi-head latent attention has them, against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import check_case
from command_line import asymptop, study
from model_files import ModelFile, random_model

COMMON = ["--k", "1,9,n^0.5,n", "--block", "64", "--epsilon", "0.5,0.1", "--count-above", "1/n", "--rows", "6"]


def with_values(model: ModelFile, width: int) -> ModelFile:
    rng = np.random.default_rng(121)
    texts = [
        {
            layer: replace(t, v=rng.standard_normal((*t.v.shape[:2], width)).astype(np.float32))
            for layer, t in layers.items()
        }
        for layers in model.texts
    ]
    return replace(model, texts=texts)


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
@pytest.mark.parametrize("width", [1, 16, 40])
def test_every_width(width: int, path: str, tmp_path: Path) -> None:
    """Narrower and wider; a softcap beside. Cases have the head dimension of keys."""
    model = with_values(random_model(np.random.default_rng(120), texts=2, layers=(0,), n=500, d=24), width)
    model = replace(model, attributes={0: {"softcap": 9.0}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "70,450", "--draws", "4", "--heads", "3", "--path", path]
    with h5py.File(study(tmp_path / "r.h5", [*words, *COMMON])) as file:
        assert sorted(file["cases"]) == [f"n{n}-d24-layer0-head3-causal" for n in (450, 70)]
        for case in file["cases"].values():
            assert (case.attrs["d"], case.attrs["d_v"]) == (24, width)
            check_case(case, model.of_layer(0))


@pytest.mark.parametrize("width", [5, 13])
def test_the_same_bytes_on_any_number_of_ranks(width: int, tmp_path: Path) -> None:
    """Also in a file of version 1, with another way of choosing keys beside."""
    tensors = with_values(random_model(np.random.default_rng(122), texts=1, layers=(0,), n=400, d=8), width).texts[0][0]
    words = ["--input", tensors.write(tmp_path / "t.h5"), "--n", "300", "--draws", "3", "--heads", "1", *COMMON]
    words += ["--selectors", "score,quest"]
    one = study(tmp_path / "one.h5", words)
    with h5py.File(one) as file:
        check_case(file["cases/n300-d8-head1"], tensors)
    three = study(tmp_path / "three.h5", [*words, "--keys", "streamed"], ranks=3)
    outcome = asymptop("compare", one, three)
    assert outcome.code == 0, str(outcome)


def test_what_is_refused(tmp_path: Path) -> None:
    tensors = with_values(random_model(np.random.default_rng(123), texts=1, layers=(0,), n=64, d=4), 6).texts[0][0]
    file = tensors.write(tmp_path / "t.h5")
    outcome = asymptop("attend", "--input", file, "--n", "64", cwd=tmp_path)
    assert outcome.code == 2, str(outcome)
    assert "has V of d = 6 and K of d = 4, which study reads; attend wants them equal" in outcome.stderr
    plan = asymptop("study", "--input", file, "--n", "64", "--dry-run", cwd=tmp_path)
    assert "n = 64, d = 4, V of 6, logit scale" in plan.stdout
