"""Keys with a common offset under selectors: true scores leave it out, and selectors still see the file's own keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import open_results
from asymptop.io.row_checks import faults_of
from brute_force import Tensors
from command_line import assert_equal, study
from model_files import ModelFile
from test_model_selectors import HEAD, NAMES, Loaded, check_case, gemma
from test_study_estimators import SEED
from test_study_selectors import COMMON


def shifted(model: ModelFile, size: float, across: bool) -> ModelFile:
    """All keys moved by one vector, in float64. across: queries have no part along it, so that logits stay what they were, beside which
    a sink's logit means something."""
    by = np.random.default_rng(62).standard_normal(model.texts[0][0].k.shape[-1])
    along = by / np.linalg.norm(by)

    def moved(tensors: Tensors) -> Tensors:
        q = tensors.q.astype(np.float64)
        q = q - np.outer(q @ along, along).reshape(q.shape) if across else q
        return replace(tensors, q=q.astype(np.float32), k=(tensors.k + size * along).astype(np.float32))

    return replace(model, texts=[{layer: moved(t) for layer, t in layers.items()} for layers in model.texts])


def model_of(size: float, across: bool) -> ModelFile:
    model = gemma(np.random.default_rng(130), 360, 100, 2.0, (None, 2.0) if across else ())
    return shifted(replace(model, attributes={0: {"window": 100, "attention": "sliding"}}), size, across)


@pytest.mark.parametrize(("size", "across"), [(0.0, True), (1e4, True), (1e4, False)])
def test_every_selector(size: float, across: bool, tmp_path: Path) -> None:
    model = model_of(size, across)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "300", "--heads", str(HEAD), "--seed", str(SEED)]
    words += ["--rows", "2", "--draws", "1", "--k", "1,n^0.5,90,n", "--selectors", ",".join(NAMES), *COMMON]
    with open_results(study(tmp_path / "r.h5", words)) as opened:
        assert [faults_of(case) for case in opened.cases] == [[]] * len(opened.cases)
    with h5py.File(tmp_path / "r.h5") as file:
        found = []
        for case in file["cases"].values():
            name = str(case.attrs.get("selector", "score"))
            found.append(name)
            if name != "score":
                try:
                  check_case(Loaded(case), model, name)
                except Exception as e:
                  print("FAIL", case.name, str(e)[:300].replace("\n", " "))
        assert sorted(found) == sorted(2 * NAMES)
