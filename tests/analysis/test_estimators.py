"""Estimators in results files: what they lack is no fault, and their denominators are judged by what they promise."""

from __future__ import annotations

from pathlib import Path

import asymptop
import numpy as np
import pytest
import scipy.stats
from asymptop import __main__ as command_line
from asymptop.claims.registry import SELECTOR_CLAIMS, judge
from asymptop.criteria.estimators import misses, promise_of
from asymptop.criteria.verdicts import Judgement
from asymptop.io.reader import ResultsError, open_results
from asymptop.io.schema import OF_ORDERS
from asymptop.io.series import group_series
from asymptop.theory.costs import costs_of, parameters_of
from asymptop.theory.statistics import binomial_interval
from case_files import changing
from make_results import Study
from make_selectors import write_selectors

STUDY = Study(n=(64, 256), sigma=("1",), k=("16", "n^0.75"), draws=8, epsilon=(0.5, 0.2))
NAME = "vattention:epsilon=0.2:delta=0.1"


def estimator_file(path: Path, share: float, name: str = NAME) -> Path:
    """Cases of a window become those of an estimator that misses epsilon = 0.2 in a share of the rows."""
    write_selectors(path, STUDY, ["window"])
    with changing(path) as file:
        for case in [case for case in file["cases"].values() if "selector" in case.attrs]:
            case.attrs["selector"] = name
            for field in OF_ORDERS:
                del case[field]
            if name.startswith("twilight"):
                continue
            error = np.full(case["kept"].shape, 0.05)
            rows = error.shape[0] * error.shape[1]
            error.reshape(rows, -1)[: round(share * rows)] = 0.3
            error[case["kept"][()] == case["row_n"][()][:, :, None]] = 0.0
            data = case.create_dataset("denominator_error", data=error)
            for axis, scale in enumerate(("draw", "row", "k")):
                data.dims[axis].attach_scale(case[scale])
            data.attrs["units"], data.attrs["long_name"] = "1", "denominator error"
    return path


def verdict(path: Path) -> Judgement:
    with open_results(path) as results:
        return next(j for j in judge(group_series(results.cases), SELECTOR_CLAIMS) if j.claim.id == "F-vattention")


@pytest.mark.parametrize(("share", "says"), [(0.0, "SUPPORTED"), (0.09, "SUPPORTED"), (0.7, "CONTRADICTED")])
def test_the_promise(share: float, says: str, tmp_path: Path) -> None:
    judged = verdict(estimator_file(tmp_path / "r.h5", share))
    assert judged.verdict == says
    assert "promised are 10%" in judged.findings[0].sentence


def test_chance_breaks_no_promise(tmp_path: Path) -> None:
    rows = STUDY.draws * STUDY.rows
    share = 0.1 + 2.0 / rows
    assert verdict(estimator_file(tmp_path / "r.h5", share)).verdict == "UNDECIDED"


def test_others_promise_nothing(tmp_path: Path) -> None:
    assert verdict(estimator_file(tmp_path / "r.h5", 0.7, "magicpig:K=4:L=30")).verdict == "NOT TESTED"


def test_numbers_of_a_case(tmp_path: Path) -> None:
    with open_results(estimator_file(tmp_path / "r.h5", 0.25)) as results:
        case = next(case for case in results.cases if case.n == 256 and case.selector == NAME)
        assert not case.ordered
        first = misses(case, 0.2)[0]
        assert first.over == round(0.25 * first.rows)
        assert (first.median, first.high) == (0.05, 0.3)
        assert first.kept == pytest.approx(case.values("kept")[:, :, 0].mean())
        data = asymptop.to_xarray(case)
        assert data.denominator_error.dims == ("draw", "row", "k")
        assert "k_epsilon" not in data


def test_an_order_may_not_lack_its_numbers(tmp_path: Path) -> None:
    path = estimator_file(tmp_path / "r.h5", 0.0, "window:sinks=2")
    with pytest.raises(ResultsError, match="is missing"):
        open_results(path)


@pytest.mark.parametrize("name", [NAME, "magicpig", "twilight:p=0.9"])
def test_every_command_reads_it(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = estimator_file(tmp_path / "r.h5", 0.25, name)
    assert command_line.main(["validate", str(path)]) == 0
    assert command_line.main(["advise", str(path), "--selectors", "--epsilon", "0.5", "--lengths", "256"]) == 0
    assert f"without a formula or an order: {name}." in capsys.readouterr().out
    assert command_line.main(["report", str(path), "-o", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    estimator = not name.startswith("twilight")
    assert ("How far off the weighted denominator of estimators is" in page) == estimator
    assert ("at most 10%" in page) == (name == NAME)


def test_interval_of_a_share() -> None:
    for hits, count in ((0, 20), (3, 50), (20, 20), (400, 1000)):
        expected = scipy.stats.binomtest(hits, count).proportion_ci(0.95)
        found = binomial_interval(hits, count)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_parameters_and_costs() -> None:
    assert promise_of("vattention:16:delta=0.05").delta == 0.05
    assert parameters_of("vattention:16")[1]["sinks"] == "16"
    assert promise_of("random").delta is None
    costs = costs_of("magicpig:K=8:L=100")
    assert costs is not None
    assert costs.index_bytes_per_key(64) == 200.0
    assert costs.bytes_read(1000.0, 64, 10.0) == 2 * 1000 * 100 + 4 * 10 * 64
    assert costs.flops(1000.0, 64, 10.0) == 2 * 8 * 100 * 64 + 1000 * 100 + 4 * 10 * 64
    sampled = costs_of("vattention")
    assert sampled is not None
    assert sampled.bytes_read(1000.0, 64, 10.0) == 2 * 1000 * 64 + 2 * 10 * 64
