"""ALiBi: slope (key - query) of their places on top of a file's logits, against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import open_results
from asymptop.io.row_checks import faults_of
from brute_force import check_case
from command_line import asymptop, study
from model_files import ModelFile, random_model

COMMON = ["--k", "1,9,n^0.5,n", "--block", "64", "--epsilon", "0.5,0.1", "--count-above", "1/n,1e-2"]
# Felt by far keys alone, by all, none, and so steep that far keys weigh less than float64 can say.
SLOPES = np.array([2.0**-8, 0.5, 0.0, 3.0])


def with_slopes(model: ModelFile) -> ModelFile:
    return replace(model, datasets={layer: {"alibi": SLOPES} for layer in model.texts[0]})


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
def test_every_head(path: str, tmp_path: Path) -> None:
    """Causal, behind a softcap; in a window, far keys liked best; with keys ahead of their queries."""
    model = with_slopes(random_model(np.random.default_rng(120), texts=2, layers=(0, 1, 2), n=600, d=16))
    model = replace(model, attributes={0: {"softcap": 3.0}, 1: {"window": 90}, 2: {"mask": "none"}})
    model.datasets[1]["alibi"] = -SLOPES
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "70,487", "--draws", "3", "--rows", "6", "--path", path]
    results = study(tmp_path / "r.h5", [*words, *COMMON])
    with h5py.File(results) as file:
        assert len(file["cases"]) == 2 * 3 * 4
        for case in file["cases"].values():
            slopes = model.datasets[int(case.attrs["layer"])]["alibi"]
            assert case.attrs.get("alibi_slope", 0.0) == slopes[case.attrs["head"]]
            check_case(case, model.of_layer(int(case.attrs["layer"])))
    with open_results(results) as opened:
        assert {case.id: faults_of(case) for case in opened.cases} == {case.id: [] for case in opened.cases}
        assert {case.alibi_slope for case in opened.cases} == {*SLOPES, *-SLOPES}


def test_the_same_bytes_on_any_number_of_ranks_and_threads(tmp_path: Path) -> None:
    """Beside sinks, and without the first keys."""
    model = with_slopes(random_model(np.random.default_rng(121), texts=2, layers=(0,), n=500, d=8))
    model = replace(model, datasets={0: {"alibi": SLOPES, "sinks": np.zeros(4)}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "450", "--draws", "3", "--heads", "1", *COMMON]
    one = study(tmp_path / "one.h5", [*words, "--drop-first", "3"])
    for ranks in (2, 3):
        more = [*words, "--drop-first", "3", "--keys", "streamed", "--batch-rows", "5"]
        other = study(tmp_path / f"{ranks}.h5", more, ranks=ranks, threads=2)
        outcome = asymptop("compare", one, other)
        assert outcome.code == 0, str(outcome)


def test_logits_that_span_more_than_the_bins_of_others(tmp_path: Path) -> None:
    """The steepest head of MPT-7B-StoryWriter at its 65,536 tokens, and the steepest that is taken there: bins are
    wider, far keys weigh nothing."""
    n = 65536
    model = random_model(np.random.default_rng(123), texts=1, layers=(0,), n=n, d=8)
    model = replace(model, datasets={0: {"alibi": np.array([2.0**-0.5, 2.0**-4, 0.0, 112000 / n])}})
    words = [
        "--input",
        model.write(tmp_path / "m.h5"),
        "--n",
        str(n),
        "--heads",
        "0,1,3",
        "--rows",
        "2",
        "--draws",
        "1",
    ]
    words += ["--contexts", "prefix", "--k", "1,9,n^0.5", "--epsilon", "0.5,0.1", "--count-above", "1/n,1e-2"]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        assert len(file["cases"]) == 3
        for case in file["cases"].values():
            check_case(case, model.of_layer(0))


def test_steep_slopes_are_valid(tmp_path: Path) -> None:
    """Logits whole slopes apart lie alike in bins two and four times as wide: sums of p off by 1.5e-5 were called
    INVALID."""

    def bin_error(c: float) -> float:  # kernels/profile/score_bins.hpp
        return c**3 * (1.0 + c) / 192.0 + c * 2.0**-15 + c**2 * 2.0**-11

    model = random_model(np.random.default_rng(124), texts=4, layers=(0,), n=2**14, d=8)
    model = replace(model, datasets={0: {"alibi": np.array([3.5, 4.0, 5.5, 6.8])}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "2^14", "--k", "4,n^0.5", "--draws", "4", "--rows", "8"]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        assert {case.attrs["bin_width"] for case in file["cases"].values()} == {1 / 16, 1 / 8}
        for case in file["cases"].values():
            assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
            residuals = dict(zip(case["check"].asstr()[()], case["check_residual"][()], strict=True))
            tolerances = dict(zip(case["check"].asstr()[()], case["check_tolerance"][()], strict=True))
            wider = bin_error(case.attrs["bin_width"]) - bin_error(1 / 32)
            assert tolerances["sum_p"] == pytest.approx(1e-5 + wider)
            assert residuals["sum_p"] < 2.4e-5


def test_what_is_refused(tmp_path: Path) -> None:
    """Slopes whose logits span more than can be profiled."""
    model = random_model(np.random.default_rng(122), texts=1, layers=(3,), n=64, d=4)
    for slopes, wanted in (
        (1e4 * SLOPES, "head 1 whose logits may span 32"),
        (1e300 * SLOPES, "head 0 whose logits may span 2.5e+299; fp32 logits can be profiled over a span of 112500"),
    ):
        file = replace(model, datasets={3: {"alibi": slopes}}).write(tmp_path / "m.h5")
        outcome = asymptop("study", "--input", file, "--n", "64", "-o", tmp_path / "r.h5")
        assert outcome.code == 2, str(outcome)
        assert wanted in outcome.stderr
        assert outcome.stderr.count("\n") == 1
        assert not (tmp_path / "r.h5").exists()
