"""Verdicts: planted truth is supported, planted falsehood contradicted, and what the data cannot tell is undecided."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asymptop.claims.registry import CLAIMS, constant_sigma, judge
from asymptop.criteria.decisions import Correction
from asymptop.criteria.exponents import decide_power, decide_ratio, vanishes_like_power
from asymptop.criteria.verdicts import Claim, Judgement, Verdict
from asymptop.fits.exponents import Point, Slope, fit_power
from asymptop.fits.quantities import ROW_L2_ERROR
from asymptop.io.reader import open_results
from asymptop.io.series import group_series
from asymptop.theory.statistics import Interval
from make_results import Study, write_results

SIZES = (256, 1024, 4096, 16384)


def judged(path: Path) -> dict[str, Judgement]:
    with open_results(path) as results:
        return {j.claim.id: j for j in judge(group_series(results.cases))}


def plant(exponent: float, noise: float):
    """Errors that are k^exponent times log-normal noise of each draw, whatever the norm."""

    def planted(name: str, n: int, k: int, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        value = 0.0 if k >= n else 0.5 * float(k) ** exponent
        return value * np.exp(noise * generator.standard_normal((shape[0], 1))) * np.ones(shape)

    return planted


@pytest.fixture(scope="module")
def gaussian_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = Study(n=SIZES, sigma=("0.5", "1", "sqrt(log(n))"), k=("64", "n^0.5", "4*n^0.75", "log(n)^2"), draws=12)
    return write_results(tmp_path_factory.mktemp("gaussian") / "results.h5", study)


@pytest.fixture(scope="module")
def gaussian(gaussian_file: Path) -> dict[str, Judgement]:
    return judged(gaussian_file)


def test_planted_truth_is_supported(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", Study(n=SIZES, k=("n^0.5", "4*n^0.75"), planted=plant(-1.0, 0.01)))
    found = judged(path)
    for name in ("A-tv", "A-l2", "A-linf", "A-fro"):
        assert found[name].verdict is Verdict.SUPPORTED, found[name].sentence
        assert len(found[name].findings) == 2
    finding = found["A-tv"].findings[0]
    assert finding.parameter == "n^0.5"
    assert finding.fitted == pytest.approx(-0.5, abs=0.02)
    assert finding.interval.contains(finding.fitted)
    assert finding.n_range == (256, 16384)
    assert (finding.draws, finding.rows, finding.norm, finding.regime) == (8, 32, "total variation", "σ = 1")


def test_planted_falsehood_is_contradicted(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", Study(n=SIZES, k=("n^0.5",), planted=plant(-0.5, 0.01)))
    found = judged(path)
    for name in ("A-tv", "A-l2", "A-linf"):
        assert found[name].verdict is Verdict.CONTRADICTED, found[name].sentence
    assert found["A-fro"].verdict is Verdict.SUPPORTED  # n^-0.25 / sqrt(n) falls faster than n^-0.5


def test_noise_is_undecided(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", Study(n=SIZES, k=("n^0.5",), draws=4, planted=plant(-0.8, 1.5)))
    assert judged(path)["A-tv"].verdict is Verdict.UNDECIDED


def test_one_draw_decides_nothing(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", Study(n=SIZES, k=("n^0.5",), draws=1, planted=plant(-1.0, 0.0)))
    assert judged(path)["A-tv"].verdict is Verdict.UNDECIDED


def test_gaussian_logits(gaussian: dict[str, Judgement]) -> None:
    assert gaussian["A-tv"].verdict is Verdict.CONTRADICTED
    assert gaussian["A-l2"].verdict is Verdict.CONTRADICTED
    assert gaussian["A-linf"].verdict is not Verdict.CONTRADICTED  # its limit is the claimed exponent, reached slowly
    assert gaussian["D-keps"].verdict is Verdict.SUPPORTED
    assert gaussian["D-iden"].verdict is Verdict.SUPPORTED


def test_power_laws_at_constant_sigma_only(gaussian: dict[str, Judgement]) -> None:
    tested = {(f.regime, f.parameter) for f in gaussian["A-tv"].findings}
    assert tested == {(s, k) for s in ("σ = 0.5", "σ = 1") for k in ("n^0.5", "4*n^0.75")}
    assert all(f.verdict is Verdict.CONTRADICTED for f in gaussian["A-tv"].findings)
    assert {f.regime for f in gaussian["D-iden"].findings} == {"σ = 0.5", "σ = 1", "σ = sqrt(log(n))"}


def test_a_clipped_k_is_left_out(gaussian: dict[str, Judgement]) -> None:
    """4 n^0.75 = n at n = 256: the error there is 0."""
    finding = next(f for f in gaussian["A-tv"].findings if f.parameter == "4*n^0.75")
    assert finding.n_range == (1024, 16384)
    assert [(p.n, p.excluded) for p in finding.fit.excluded] == [(256, "k = n")]


def test_invalid_cases_enter_no_fit(tmp_path: Path) -> None:
    study = Study(n=SIZES, k=("n^0.5",), invalid_n=(1024,), planted=plant(-1.0, 0.01))
    finding = judged(write_results(tmp_path / "r.h5", study))["A-tv"].findings[0]
    assert [p.n for p in finding.fit.used] == [256, 4096, 16384]


def test_broken_identity(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", Study(n=SIZES[:2], identity_residual=3e-5))
    found = judged(path)["D-iden"]
    assert found.verdict is Verdict.CONTRADICTED
    assert "the run is wrong" in found.sentence


@pytest.mark.filterwarnings("error")
def test_predictions_that_underflow(tmp_path: Path) -> None:
    """At sigma = 38 and 40 closed forms fall below the smallest double: no division by zero, and no warning."""
    study = Study(n=(256, 512, 1024), sigma=("38", "40"), row_sigma="fixed")
    assert judged(write_results(tmp_path / "large.h5", study))["D-keps"].verdict is not Verdict.SUPPORTED


def test_reasons_for_not_testing(tmp_path: Path) -> None:
    two = judged(write_results(tmp_path / "two.h5", Study(n=SIZES[:2])))
    assert two["A-tv"].verdict is Verdict.NOT_TESTED
    assert two["A-tv"].sentence == "2 usable n at σ = 1, k = n^0.5; a verdict needs 3."
    assert two["C-sparse"].sentence == "2 usable n at σ = 1, p > 1e-3; a verdict needs 3."
    one = judged(write_results(tmp_path / "one.h5", Study(n=SIZES[:1])))
    assert one["A-tv"].sentence.startswith("1 usable n at σ = 1, ")
    assert one["A-spec"].sentence.endswith("a verdict needs 3.")
    growing = judged(write_results(tmp_path / "growing.h5", Study(n=SIZES, sigma=("sqrt(log(n))",))))
    assert growing["D-keps"].verdict is Verdict.NOT_TESTED
    assert "not constant" in growing["D-keps"].sentence
    heads = judged(write_results(tmp_path / "heads.h5", Study(n=SIZES, heads=2, input="tensors.h5")))
    assert "σ as measured" in heads["A-tv"].sentence
    invalid = judged(write_results(tmp_path / "invalid.h5", Study(n=SIZES, invalid_n=SIZES)))
    assert invalid["A-tv"].sentence == "The file has no VALID case."
    no_power = judged(write_results(tmp_path / "constant_k.h5", Study(n=SIZES, k=("64", "log(n)"))))
    assert "no k law of the form" in no_power["A-tv"].sentence


def test_sentences_say_what_their_numbers_are_of(gaussian: dict[str, Judgement]) -> None:
    """A law of k has its name, bounds are no equalities, nothing is -0, and one n is not compared with itself."""
    brief = {name: judgement.brief for name, judgement in gaussian.items()}
    assert "k = n^0.5)" in brief["A-tv"] or "k = 4*n^0.75)" in brief["A-tv"]
    assert "claimed at most 1 (" in brief["D-collapse-fixed"]
    assert "claimed below 1 (" in brief["E-dyn-tv"]
    assert "k = 64)" in brief["B-tv"]
    assert not any(re.search(r"-0(\.0*)?[ ,)]", text) for text in brief.values())
    for judgement in gaussian.values():
        for finding in judgement.findings:
            assert finding.n_range is not None
            at = re.findall(r"times(?: the prediction)? at n = (\S+)", finding.sentence)
            assert len(at) == len(set(at)), finding.sentence
            assert "the entries" not in finding.sentence
    assert "c√(log n) with c < √2, not c√(log n) with c > √2" in gaussian["A-rate"].sentence


def test_every_verdict_comes_with_its_numbers(gaussian: dict[str, Judgement]) -> None:
    for judgement in gaussian.values():
        for finding in (f for f in judgement.findings if f.verdict is not Verdict.NOT_TESTED):
            assert np.isfinite([finding.fitted, finding.claimed, finding.interval.low, finding.interval.high]).all()
            assert finding.n_range is not None
            assert finding.draws
            assert finding.rows
            assert finding.norm
            assert finding.regime
            assert finding.sentence.endswith(".")


def test_registry_is_complete() -> None:
    assert len({c.id for c in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.sentence.endswith(".")
        assert claim.formula
        assert claim.source
        assert claim.regime
        assert claim.norm


def _fit(slopes: list[float], noise: float = 0.001):
    """A fit through points with the given local slopes."""
    generator = np.random.default_rng(1)
    logs = np.concatenate([[0.0], np.cumsum(slopes) * np.log(4.0)])
    return fit_power(
        [Point(4 ** (5 + i), np.exp(y + noise * generator.standard_normal(10))) for i, y in enumerate(logs)]
    )


def test_finite_size_guards() -> None:
    corrected = Correction(Slope(1, 2, -0.5, Interval(-0.51, -0.49)))
    away = Correction(Slope(1, 2, 0.0, Interval(-0.01, 0.01)))
    assert decide_power(_fit([-0.2, -0.2, -0.2]), -0.5, None)[0] is Verdict.CONTRADICTED
    assert decide_power(_fit([-0.2, -0.2, -0.2]), -0.5, away)[0] is Verdict.CONTRADICTED
    # The known correction leads to the claimed exponent, or the local slopes are on their way to it.
    assert decide_power(_fit([-0.3, -0.3, -0.3]), -0.5, corrected)[0] is Verdict.UNDECIDED
    assert decide_power(_fit([-0.1, -0.2, -0.3, -0.4]), -0.5, None)[0] is Verdict.UNDECIDED
    # A fit that reaches the claim while the largest n do not, or while the limit does not, is not enough.
    assert decide_power(_fit([-0.9, -0.9, -0.9, -0.3]), -0.5, None)[0] is Verdict.UNDECIDED
    assert decide_power(_fit([-0.5, -0.5, -0.5]), -0.5, away)[0] is Verdict.UNDECIDED
    assert decide_power(_fit([-0.5, -0.5, -0.5]), -0.5, corrected)[0] is Verdict.SUPPORTED
    assert decide_power(_fit([-0.8, -0.8, -0.8]), -0.5, None)[0] is Verdict.SUPPORTED
    # A correction that fits at every n supports a claim while it is small, and while no factor grows beside the power.
    known = replace(corrected, explains=True, chi_square=3.0, points=5, limit=-0.5)
    assert decide_power(_fit([-0.40, -0.42, -0.44]), -0.5, known)[0] is Verdict.SUPPORTED
    far = decide_power(_fit([-0.2, -0.2, -0.2]), -0.5, known)
    assert far[0] is Verdict.UNDECIDED
    assert "n^-0.500" in far[1]
    assert "these n do not decide" in far[1]
    growing = decide_power(_fit([-0.40, -0.42, -0.44]), -0.5, replace(known, log_end=9.0, log_peak=9.0))
    assert growing[0] is Verdict.UNDECIDED
    assert "keeps growing" in growing[1]
    # Slopes far from the limit count where the data know it without being told the correction.
    free = Slope(1, 2, -0.5, Interval(-0.53, -0.47))
    assert decide_power(_fit([-0.2, -0.2, -0.2]), -0.5, replace(known, free=free))[0] is Verdict.SUPPORTED
    # A fit that reaches the claim while the logits that describe it tend elsewhere.
    elsewhere = replace(away, explains=True)
    assert decide_power(_fit([-0.55, -0.55, -0.55]), -0.5, elsewhere)[0] is Verdict.UNDECIDED
    assert decide_power(_fit([-0.60, -0.56, -0.52]), -0.5, elsewhere)[0] is Verdict.CONTRADICTED
    # Slower by less than the margin, and known to be: neither contradicted nor supported.
    assert decide_power(_fit([-0.49, -0.49, -0.49]), -0.5, None)[0] is Verdict.UNDECIDED
    assert decide_power(_fit([-0.55, -0.55, -0.55, -0.49]), -0.5, None)[0] is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("deviations", "interval", "verdict"),
    [
        ([0.2, 0.01], Interval(-0.005, 0.015), Verdict.SUPPORTED),
        ([0.2, 0.0], Interval(-0.1, 0.1), Verdict.UNDECIDED),
        ([0.4, 0.3, 0.2], Interval(0.19, 0.21), Verdict.UNDECIDED),
        ([0.1, 0.2, 0.3], Interval(0.29, 0.31), Verdict.CONTRADICTED),
        ([0.3], Interval(0.29, 0.31), Verdict.UNDECIDED),
    ],
)
def test_ratio_verdicts(deviations: list[float], interval: Interval, verdict: Verdict) -> None:
    assert decide_ratio(deviations, interval)[0] is verdict


def test_a_researcher_adds_a_claim_by_adding_an_entry(gaussian_file: Path) -> None:
    """A claim of another quantity and rate, judged by the same criterion: p - p_hat in l2 falls like n^(-C/4)."""
    own = Claim(
        id="X-l2",
        source="a test",
        sentence="The row error falls at least like a quarter power of k.",
        formula="n^(-C/4)",
        regime="constant σ",
        norm="row ℓ2",
        prediction="n^(-C/2)",
        criterion=vanishes_like_power,
        applies=constant_sigma,
        quantity=ROW_L2_ERROR,
        claimed_exponent=lambda c: -c / 4.0,
    )
    with open_results(gaussian_file) as results:
        (judgement,) = judge(group_series(results.cases), [own])
    supported = {(f.regime, f.parameter) for f in judgement.findings if f.verdict is Verdict.SUPPORTED}
    assert supported >= {("σ = 0.5", "n^0.5"), ("σ = 1", "n^0.5")}
    assert len(judgement.findings) == 4
