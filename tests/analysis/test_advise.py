"""Laws at equal cost: planted errors whose best exponent is known, the claims about budgets, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.claims.registry import CLAIMS, judge
from asymptop.criteria.budgets import BudgetError, compare_laws, equal_cost, fixed_k_for
from asymptop.criteria.verdicts import Verdict
from asymptop.fits.error_curve import error_curve
from asymptop.fits.quantities import ROW_L2_ERROR, TAIL_MASS
from asymptop.io.reader import open_results
from asymptop.io.series import group_series
from make_results import Study, write_results

SIZES = (1024, 4096, 16384)
# sum_i n_i^p / k_i at equal sum of k is smallest for k_i ~ n_i^(p/2): the best C is p/2.
GROWTH = 0.8


def planted(power: float, noise: float = 0.02):
    def values(name: str, n: int, k: int, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        value = 0.0 if k >= n else 1e-4 * float(n) ** power / float(k)
        # The noise of a draw is the same at every k, as it is for nested selections.
        draws = np.random.default_rng([n, 5]).standard_normal((shape[0], 1))
        return value * np.exp(noise * draws) * np.ones(shape)

    return values


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = Study(n=SIZES, k=("64", "n^0.5"), draws=12, planted=planted(GROWTH))
    return write_results(tmp_path_factory.mktemp("growing") / "r.h5", study)


def test_keys_for_another_error(growing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1e-4 n^0.8 / k of each draw's own noise: the keys follow, between stored k too; not beyond them."""
    wanted = 1e-4 * 4096**GROWTH / 40.7
    words = ["--norm", "row_l2_error", "--lengths", "4096", "--json", "-", "--epsilon"]
    assert command_line.main(["advise", str(growing), *words, f"{wanted}"]) == 0
    printed = capsys.readouterr()
    (record,) = json.loads(printed.out)
    noise = np.exp(0.02 * np.random.default_rng([4096, 5]).standard_normal(12)).mean()
    assert record["norm"] == "row_l2_error"
    assert record["needed"] == [int(np.ceil(40.7 * noise))]
    assert "the mean row ℓ2 error is epsilon" in printed.err
    never = write_results(tmp_path / "r.h5", Study(n=SIZES, k=("64",), planted=lambda *given: np.ones(given[-1])))
    assert command_line.main(["advise", str(never), *words, "0.5"]) == 0
    assert "within the stored k (a larger --k stores more)" in capsys.readouterr().err
    for norms, said in (
        ("row_l2_error,tail_mass", "allowed is one"),
        ("output_error_relative", "the file has no output"),
    ):
        assert command_line.main(["advise", str(growing), *words, "0.1", "--norm", norms]) == 2
        assert said in capsys.readouterr().err


def test_one_length_compares_nothing(growing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["advise", str(growing), "--budget", "64", "--lengths", "4096"]) == 2
    assert "at one length, n = 2^12, all laws of equal cost keep the same keys" in capsys.readouterr().err


@pytest.mark.filterwarnings("error")
def test_changes_that_nothing_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One draw gives no interval. A fixed k without an error in some draws bounds nothing from above."""
    one = write_results(tmp_path / "one.h5", Study(n=SIZES[:2], k=("64", "n^0.5"), draws=1, planted=planted(GROWTH)))

    def rare(name: str, n: int, k: int, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return np.where(np.arange(shape[0])[:, None] == 0, 1e-4 if k < n else 0.0, 0.0) / k * np.ones(shape)

    few = write_results(tmp_path / "few.h5", Study(n=SIZES[:2], k=("64", "n^0.5"), draws=2, planted=rare))
    for path in (one, few):
        assert command_line.main(["advise", str(path), "--budget", "64"]) == 0
        printed = capsys.readouterr()
        assert "inf" not in printed.out.replace("row_linf_error", "")
        assert not printed.err


@pytest.mark.parametrize("cost", ["k", "nk"])
@pytest.mark.parametrize("exponent", [-0.4, 0.0, 0.3, 1.0])
def test_equal_cost(cost: str, exponent: float) -> None:
    lengths = np.array([1000.0, 5000.0, 100000.0])
    alpha = equal_cost(lengths, exponent, 64.0, cost)
    weights = np.ones(3) if cost == "k" else lengths
    keys = np.minimum(alpha * lengths**exponent, lengths)
    assert weights @ keys == pytest.approx(weights.sum() * 64.0)
    if exponent == 0.0:
        assert alpha == pytest.approx(64.0)


def test_clipped_laws_still_cost_the_same() -> None:
    lengths = np.array([10.0, 100000.0])
    alpha = equal_cost(lengths, 0.0, 4000.0, "k")
    assert np.minimum(alpha, lengths).sum() == pytest.approx(4010.0)


@pytest.mark.parametrize(("cost", "shift"), [("k", 0.0), ("nk", -0.5)])
def test_the_best_exponent_of_a_planted_error(growing: Path, cost: str, shift: float) -> None:
    """Lagrange: n^p / k^2 proportional to 1, or to n where a key costs n."""
    with open_results(growing) as results:
        (series,) = group_series(results.cases)
        found = compare_laws(series, TAIL_MASS, 64.0, cost)
    assert found.best_exponent == pytest.approx(GROWTH / 2.0 + shift, abs=0.051)
    n = np.array(SIZES, dtype=float)
    index = int(np.flatnonzero(found.exponents == 0.2)[0])
    exact = np.mean(n**GROWTH / (found.prefactor[index] * n**0.2)) / np.mean(n**GROWTH / 64.0)
    assert found.ratio[index] == pytest.approx(exact, rel=0.02)
    assert found.low[index] <= exact <= found.high[index]
    assert found.interval.high < 1.0


def test_lengths_between_the_measured_ones(growing: Path) -> None:
    with open_results(growing) as results:
        (series,) = group_series(results.cases)
        found = compare_laws(series, TAIL_MASS, 64.0, "k", [2048, 9000])
        direct = np.mean([1e-4 * n**GROWTH / 64.0 for n in (2048.0, 9000.0)])
        fixed = int(np.flatnonzero(found.exponents == 0.0)[0])
        assert found.error[fixed] == pytest.approx(direct, rel=0.15)
        with pytest.raises(BudgetError, match=r"length 512 is outside the measured n, 2\^10 to 2\^14"):
            compare_laws(series, TAIL_MASS, 64.0, "k", [512])
        with pytest.raises(BudgetError, match="a budget of k = 2000"):
            compare_laws(series, TAIL_MASS, 2000.0, "k")


def test_the_fixed_k_of_an_error(growing: Path) -> None:
    with open_results(growing) as results:
        (series,) = group_series(results.cases)
        wanted = float(np.mean([1e-4 * n**GROWTH / 50.0 for n in SIZES]))
        assert fixed_k_for(series, TAIL_MASS, wanted) == pytest.approx(50.0, rel=0.03)
        assert fixed_k_for(series, TAIL_MASS, 1e9) is None


def test_no_fixed_k_below_one_key(tmp_path: Path) -> None:
    """A claim is judged of a file with n = 1 too."""
    with open_results(write_results(tmp_path / "r.h5", Study(n=(1, 2, 3), k=("1", "2"), draws=2))) as results:
        (series,) = group_series(results.cases)
        assert fixed_k_for(series, ROW_L2_ERROR, 0.04977) is None


def test_claims_about_budgets(growing: Path, tmp_path: Path) -> None:
    claims = [c for c in CLAIMS if c.id.startswith("E-")]
    with open_results(growing) as results:
        won = {j.claim.id: j for j in judge(group_series(results.cases), claims)}
    path = write_results(tmp_path / "r.h5", Study(n=SIZES, k=("64",), draws=12, planted=planted(-0.2)))
    with open_results(path) as results:
        lost = {j.claim.id: j for j in judge(group_series(results.cases), claims)}
    by_sum = {f.parameter: f.verdict for f in won["E-dyn-tv"].findings}
    assert by_sum["Σk, k = 64"] is Verdict.SUPPORTED
    assert all(f.verdict is Verdict.CONTRADICTED for f in lost["E-dyn-tv"].findings)
    assert lost["E-dyn-out"].verdict is Verdict.NOT_TESTED


def test_the_papers_table(tmp_path: Path) -> None:
    study = Study(n=SIZES, sigma=("0.2",), k=("64", "n^0.7"), draws=8, row_sigma="fixed")
    with open_results(write_results(tmp_path / "r.h5", study)) as results:
        series = group_series(results.cases)
        found = {j.claim.id: j for j in judge(series, [c for c in CLAIMS if c.id == "E-table"])}["E-table"]
        fixed = fixed_k_for(series[0], ROW_L2_ERROR, 0.04977)
        means = [error_curve(c, ROW_L2_ERROR).at(np.array([fixed])).mean() for c in series[0].cases]
    assert np.mean(means) == pytest.approx(0.04977, rel=1e-3)
    # Nearly uniform rows: sqrt(1/k - 1/n) averages to 0.04977 at k = 342.
    assert 300 < fixed < 345
    assert found.verdict is Verdict.UNDECIDED
    assert "Unknown: the table's n, k" in found.sentence


def test_the_command(growing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "advice.json"
    arguments = ["advise", str(growing), "--budget", "64,100", "--norm", "tail_mass", "--json", str(target)]
    assert command_line.main(arguments) == 0
    text = capsys.readouterr().out
    assert "mean error over n = 2^10, 2^12, 2^14" in text
    records = json.loads(target.read_text(encoding="utf-8"))
    assert {r["fixed_k"] for r in records} == {64.0, 100.0}
    for cost in ("k", "nk"):
        best = [r for r in records if r["best"] and r["cost"] == cost and r["fixed_k"] == 64.0]
        assert len(best) == 1
        weights = np.ones(3) if cost == "k" else np.array(SIZES, dtype=float)
        assert weights @ np.array(best[0]["k"]) == pytest.approx(64.0 * weights.sum(), rel=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "none"], "--budget is 'none', allowed is"),
        (["--budget", "64", "--lengths", "8,x"], "--lengths is '8,x'"),
        (["--budget", "64", "--norm", "l3"], "--norm is 'l3', allowed are tail_mass"),
        (["--budget", "64", "--sigma", "7"], "--sigma is '7', the file holds 1"),
        (["--budget", "64", "--lengths", "2^30"], "length 1073741824 is outside"),
    ],
)
def test_bad_options(growing: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["advise", str(growing), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
