"""The registry: every claim has an entry, a user's own are read from TOML, and planted ones get the right verdict."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.claims.registry import CLAIMS, judge
from asymptop.claims.toml_file import ClaimsError, read_claims
from asymptop.criteria.decisions import decide_at_least, decide_equal, decide_sign
from asymptop.criteria.expectations import far_exponent, far_values
from asymptop.criteria.verdicts import Judgement, Verdict
from asymptop.fits.exponents import Point, fit_power
from asymptop.fits.lines import Line, itself, power_laws, slow_laws
from asymptop.fits.models import compare_models
from asymptop.fits.quantities import EFFECTIVE_ENTRIES, LARGEST_SCORE, P_MAX, PARTICIPATION_RATIO, TAIL_MASS
from asymptop.io.attend_file import read_attend
from asymptop.io.reader import ResultsError, open_results
from asymptop.io.series import group_series
from asymptop.theory import finite_size, laws, predictions
from make_results import Study, write_results

SIZES = (256, 1024, 4096, 16384)
OF_THE_LIST = (
    *("A-tv", "A-l2", "A-linf", "A-fro", "A-spec", "A-out", "A-crit", "A-below", "A-rate"),
    *("B-tv", "B-l2", "B-linf", "B-fro", "B-out", "C-conc", "C-sparse", "D-collapse-pr", "D-collapse-entropy"),
    *("D-collapse-count", "D-collapse-pmax", "D-keps", "D-iden", "E-dyn-l2", "E-table", "S-log"),
)


def judged(path: Path, claims=CLAIMS) -> dict[str, Judgement]:
    with open_results(path) as results:
        return {j.claim.id: j for j in judge(group_series(results.cases), claims)}


@pytest.fixture(scope="module")
def regimes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = Study(
        n=SIZES,
        sigma=("1", "0.5*sqrt(log(n))", "2*sqrt(log(n))", "log(n)"),
        k=("4", "sqrt(log(n))", "n^0.5", "n^0.95"),
        draws=24,
        row_sigma="fixed",
        output_errors=True,
    )
    return write_results(tmp_path_factory.mktemp("regimes") / "r.h5", study)


@pytest.fixture(scope="module")
def regimes(regimes_file: Path) -> dict[str, Judgement]:
    return judged(regimes_file)


def test_every_claim_of_the_list_has_an_entry() -> None:
    assert set(OF_THE_LIST) <= {claim.id for claim in CLAIMS}


def test_every_entry_is_tested_or_says_why_not(regimes: dict[str, Judgement]) -> None:
    for judgement in regimes.values():
        assert judgement.sentence.endswith(".")
        assert judgement.verdict is not Verdict.NOT_TESTED, judgement.sentence


@pytest.mark.parametrize(
    ("claim", "phase", "verdict"),
    [
        ("A-tv", "constant", Verdict.CONTRADICTED),
        ("A-spec", "constant", Verdict.SUPPORTED),  # by its upper bound, A-fro
        ("B-tv", "constant", Verdict.SUPPORTED),
        ("B-fro", "constant", Verdict.CONTRADICTED),
        ("B-l2", "constant", Verdict.CONTRADICTED),  # k = sqrt(log n): the kept entries are each 1/k
        ("C-conc", "above", Verdict.SUPPORTED),
        ("C-sparse", "constant", Verdict.SUPPORTED),
        ("D-collapse-pr", "constant", Verdict.CONTRADICTED),
        ("D-collapse-pr", "below", Verdict.CONTRADICTED),
        ("D-collapse-entropy", "below", Verdict.CONTRADICTED),
        ("D-collapse-count", "above", Verdict.CONTRADICTED),
        ("D-collapse-fixed", "constant", Verdict.SUPPORTED),
        ("D-count", "constant", Verdict.SUPPORTED),
    ],
)
def test_verdicts_by_regime(regimes: dict[str, Judgement], claim: str, phase: str, verdict: Verdict) -> None:
    assert regimes[claim].in_phase(phase) is verdict, regimes[claim].findings


def test_never_against_the_theory_of_the_data(regimes: dict[str, Judgement]) -> None:
    """The rows are i.i.d. Gaussian: what the random energy model says of them must not be contradicted."""
    for name in ("A-crit", "A-crit-tau", "A-below", "A-rate", "C-conc", "D-freeze", "S-log", "S-log-pr"):
        assert regimes[name].verdict is not Verdict.CONTRADICTED, regimes[name].sentence
    assert regimes["D-collapse-pr"].in_phase("above") is not Verdict.CONTRADICTED


def test_natural_rows_have_no_one_c(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", Study(n=SIZES, sigma=("sqrt(log(n))",)))
    assert "--row-sigma fixed" in judged(path)["A-below"].sentence


# (quantity, sigma law, k law, exponent of i.i.d. Gaussian logits as n grows)
PLANTED = (
    ("row_l2_error", "1", "n^0.5", -0.25),
    ("frobenius_over_n", "1", "n^0.5", -0.75),
    ("row_linf_error", "1", "n^0.5", -0.5),
    ("participation_ratio", "1", "", 1.0),
    ("k_epsilon", "1", "", 1.0),
    ("exp_entropy", "0.5*sqrt(log(n))", "", 0.875),
    ("participation_ratio", "0.5*sqrt(log(n))", "", 0.75),
    ("p_max", "0.5*sqrt(log(n))", "", predictions.largest_entry_exponent(0.5)),
    ("tail_mass", "2*sqrt(log(n))", "n^0.5", predictions.tail_exponent(2.0, 0.5)),
    ("p_max", "2*sqrt(log(n))", "", 0.0),
)
# How far from the limit a claim is planted, and whether it then is true.
SHIFTS = {
    "equal": {0.0: True, -0.1: False, 0.1: False},
    "at most": {0.1: True, -0.1: False},
    "at least": {-0.1: True, 0.1: False},
}


def test_planted_exponents_are_never_decided_wrongly(regimes_file: Path, tmp_path: Path) -> None:
    """True claims and ones that are off by 0.1, along every kind of line, with few n and draws."""
    text, truth = "", {}
    for quantity, sigma, k, exponent in PLANTED:
        for sense, shifts in SHIFTS.items():
            for shift, true in shifts.items():
                name = f"X-{quantity}-{sigma}-{sense}-{shift}"
                truth[name] = true
                text += f'[[claim]]\nid = "{name}"\nsentence = "Planted."\nquantity = "{quantity}"\nsense = "{sense}"\n'
                text += f'exponent = {exponent + shift}\nsigma = "{sigma}"\n' + (f'k = "{k}"\n' if k else "")
    (tmp_path / "planted.toml").write_text(text, encoding="utf-8")
    found = judged(regimes_file, read_claims(tmp_path / "planted.toml"))
    wrong = {True: Verdict.CONTRADICTED, False: Verdict.SUPPORTED}
    assert set(found) == set(truth)
    for name, true in truth.items():
        assert found[name].verdict is not wrong[true], found[name].sentence
    decided = sum(j.verdict in wrong.values() for j in found.values())
    assert decided >= 0.7 * len(truth), decided


def test_a_claim_of_the_slope_at_these_n(regimes_file: Path, tmp_path: Path) -> None:
    """The finite-size slope itself, claimed as the exponent, is not supported; nor is a limit that a claim asserts."""
    entry = '[[claim]]\nid = "X-finite"\nsentence = "Planted."\nquantity = "row_linf_error"\nsense = "equal"\n'
    entry += 'k = "n^0.5"\nsigma = "1"\n'
    (tmp_path / "own.toml").write_text(entry + "exponent = -0.345\nlimit = -0.345\n", encoding="utf-8")
    found = judged(regimes_file, read_claims(tmp_path / "own.toml"))["X-finite"]
    assert found.verdict is Verdict.CONTRADICTED, found.sentence
    assert found.findings[0].limit == pytest.approx(-0.5, abs=0.01)


OTHER_SENSES = """
[[claim]]
id = "X-freeze"
sentence = "Planted."
quantity = "sum_p_squared"
sense = "tends to"
value = "1 - sqrt(2)/c"
phases = ["above"]

[[claim]]
id = "X-freeze-false"
sentence = "Planted."
quantity = "sum_p_squared"
sense = "tends to"
value = 0.5
phases = ["above"]

[[claim]]
id = "X-freeze-zero"
sentence = "Planted."
quantity = "sum_p_squared"
sense = "tends to"
value = 0
phases = ["above"]

[[claim]]
id = "X-vanishes"
sentence = "Planted."
quantity = "tail_mass"
sense = "vanishes"
k = ["n^0.5"]
sigma = ["sqrt(log(n))*2"]

[[claim]]
id = "X-vanishes-false"
sentence = "Planted."
quantity = "tail_mass"
sense = "vanishes"
k = ["n^(1/2)", "sqrt(log(n))"]
phases = ["constant"]

[[claim]]
id = "X-absent"
sentence = "Planted."
quantity = "tail_mass"
sense = "vanishes"
sigma = "7"
"""


def test_other_senses_and_chosen_laws(regimes_file: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OTHER_SENSES, encoding="utf-8")
    found = judged(regimes_file, read_claims(tmp_path / "own.toml"))
    assert found["X-freeze"].verdict is not Verdict.CONTRADICTED, found["X-freeze"].sentence
    assert found["X-freeze-false"].verdict is Verdict.CONTRADICTED, found["X-freeze-false"].sentence
    assert found["X-freeze-zero"].verdict is Verdict.CONTRADICTED, found["X-freeze-zero"].sentence
    assert found["X-vanishes"].verdict is Verdict.SUPPORTED, found["X-vanishes"].sentence
    assert [f.parameter for f in found["X-vanishes"].findings] == ["n^0.5"]
    assert found["X-vanishes-false"].verdict is Verdict.CONTRADICTED, found["X-vanishes-false"].sentence
    assert {f.parameter for f in found["X-vanishes-false"].findings} == {"n^0.5", "sqrt(log(n))"}
    assert found["X-absent"].verdict is Verdict.NOT_TESTED
    assert "its σ is not 7" in found["X-absent"].sentence


OWN = """
[[claim]]
id = "X-true"
sentence = "The row error falls like k^(-1/2)."
quantity = "row_l2_error"
sense = "equal"
exponent = "-C/2"
limit = "-C/2"
phases = ["constant"]

[[claim]]
id = "X-false"
sentence = "The row error falls like k."
quantity = "row_l2_error"
sense = "at most"
exponent = "-C"
phases = ["constant"]

[[claim]]
id = "X-keys"
sentence = "k is a fixed share."
quantity = "k_epsilon"
sense = "ratio"
closed_form = "n*Phi(-(sigma + Phi_inv(epsilon)))"

[[claim]]
id = "X-keys-false"
sentence = "k is half the keys."
quantity = "k_epsilon"
sense = "ratio"
closed_form = "n/2"
"""


def test_own_claims_planted_true_and_false(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN, encoding="utf-8")
    path = write_results(tmp_path / "r.h5", Study(n=SIZES, sigma=("1",), k=("n^0.5",), draws=24))
    found = judged(path, read_claims(tmp_path / "own.toml"))
    assert found["X-true"].verdict is Verdict.SUPPORTED, found["X-true"].sentence
    assert found["X-false"].verdict is Verdict.CONTRADICTED, found["X-false"].sentence
    assert found["X-keys"].verdict is Verdict.SUPPORTED
    assert found["X-keys-false"].verdict is Verdict.CONTRADICTED
    report = tmp_path / "report.html"
    arguments = ["report", str(path), "-o", str(report), "--claims", str(tmp_path / "own.toml")]
    assert command_line.main(arguments) == 0
    assert "X-false" in report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no [[claim]]"),
        ("claim = 3", "no [[claim]]"),
        ("[[claim]", "not a TOML file"),
        (OWN.replace('"-C"', '"__import__(C)"'), "exponent is '__import__(C)'"),
        (OWN.replace('"at most"', '"under"'), "sense is 'under', allowed are at most"),
        (OWN.replace('"row_l2_error"', '"error"'), "quantity is 'error', allowed are"),
        (OWN.replace("X-true", "A-tv"), "id 'A-tv' is taken"),
        (OWN.replace('limit = "-C/2"', "colour = 1"), "unknown key 'colour'"),
        (OWN.replace('["constant"]', '["hot"]'), "phases is ['hot']"),
        (OWN.replace('exponent = "-C"\n', ""), "exponent is missing"),
        (OTHER_SENSES.replace("value = 0.5", ""), "value is missing"),
        (OTHER_SENSES.replace('"sqrt(log(n))*2"', '"hot"'), "sigma is ['hot'], allowed is a law in n"),
        (OTHER_SENSES.replace('k = ["n^0.5"]', "k = [[1]]"), "k is [[1]], allowed is a law in n"),
    ],
)
def test_bad_claims_files(tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ClaimsError) as caught:
        read_claims(tmp_path / "own.toml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    results = write_results(tmp_path / "r.h5", Study(n=(256,)))
    arguments = ["report", str(results), "-o", str(tmp_path / "out.html"), "--claims", str(tmp_path / "own.toml")]
    assert command_line.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out.html").exists()


def _points(value, draws: int = 16, noise: float = 0.01) -> list[Point]:
    generator = np.random.default_rng(3)
    sizes = [4**e for e in range(4, 12)]
    return [Point(n, value(float(n)) * np.exp(noise * generator.standard_normal(draws))) for n in sizes]


def test_alternatives_are_told_apart() -> None:
    power = compare_models(_points(lambda n: n**-0.5))
    offset = compare_models(_points(lambda n: n**-0.5 + 0.05))
    logarithmic = compare_models(_points(lambda n: n**-0.3 * np.log(n) ** 1.5))
    assert power.preferred.name == "power law"
    assert offset.preferred.name == "offset"
    assert offset.offset.exponent == pytest.approx(-0.5, abs=0.06)
    assert logarithmic.preferred.name == "log correction"
    assert logarithmic.logarithmic.exponent == pytest.approx(-0.3, abs=0.1)
    assert compare_models(_points(lambda n: n**-0.5)[:4]) is None


def test_the_largest_n_is_held_out() -> None:
    straight = fit_power(_points(lambda n: n**-0.5)).held_out
    bent = fit_power(_points(lambda n: n**-0.5 + 0.05)).held_out
    assert not straight.missed
    assert straight.measured == pytest.approx(straight.predicted, rel=0.02)
    assert bent.missed
    assert bent.measured > bent.predicted


def test_powers_of_log_n() -> None:
    fit = fit_power(_points(lambda n: np.log(n) ** -0.5), scale="log n")
    assert fit.exponent == pytest.approx(-0.5, abs=0.02)
    assert decide_at_least(fit, 0.0, None)[0] is Verdict.CONTRADICTED
    assert decide_equal(fit, -0.5, None)[0] is Verdict.SUPPORTED
    flat = fit_power(_points(lambda n: 1.0, noise=0.001), scale="log n")
    assert decide_at_least(flat, 0.0, None)[0] is Verdict.SUPPORTED


def test_senses_of_a_planted_exponent() -> None:
    fit = fit_power(_points(lambda n: n**-0.5))
    assert decide_equal(fit, -0.5, None)[0] is Verdict.SUPPORTED
    assert decide_equal(fit, -0.4, None)[0] is Verdict.CONTRADICTED
    assert decide_equal(fit, -0.6, None)[0] is Verdict.CONTRADICTED
    assert decide_at_least(fit, -0.6, None)[0] is Verdict.SUPPORTED
    assert decide_at_least(fit, -0.3, None)[0] is Verdict.CONTRADICTED
    assert decide_sign(fit, True, None)[0] is Verdict.SUPPORTED
    assert decide_sign(fit, False, None)[0] is Verdict.CONTRADICTED
    assert decide_sign(fit, False, -0.4)[0] is Verdict.UNDECIDED
    noisy = fit_power(_points(lambda n: n**-0.5, draws=4, noise=3.0))
    assert decide_equal(noisy, -0.5, None)[0] is Verdict.UNDECIDED


def test_lines_of_a_series(tmp_path: Path) -> None:
    wanted = ("4", "sqrt(log(n))", "log(n)/log(log(n))", "log(n)", "3*n^0.5", "64*n^0.001", "n")
    with open_results(write_results(tmp_path / "r.h5", Study(n=(1024, 4096), k=wanted))) as results:
        (series,) = group_series(results.cases)
    assert {line.label for line in slow_laws(series)} == {"4", "sqrt(log(n))", "log(n)/log(log(n))"}
    assert [(line.label, line.exponent) for line in power_laws(series)] == [("3*n^0.5", pytest.approx(0.5))]


@pytest.mark.parametrize("c", [0.4, 1.0, 2.5])
def test_exponents_of_entries_are_the_limits_of_the_expectations(c: float) -> None:
    regime = laws.Regime("sqrt_log", c)
    (line,) = itself(None)
    for quantity, exponent in (
        (EFFECTIVE_ENTRIES, lambda c: max(0.0, predictions.critical_exponent(c))),
        (PARTICIPATION_RATIO, predictions.participation_exponent),
        (P_MAX, predictions.largest_entry_exponent),
    ):
        found, doubt = far_exponent(far_values(quantity, line, regime), "n")
        assert found == pytest.approx(exponent(c), abs=0.003 + doubt), quantity.name
        assert doubt < 0.01
    slope, doubt = far_exponent(far_values(LARGEST_SCORE, line, regime), "log n")
    assert slope == pytest.approx(0.5, abs=0.01 + doubt)


@pytest.mark.parametrize(("c", "exponent"), [(1.0, 0.75), (1.2, 0.5), (2.0, 0.5), (3.0, 0.9)])
def test_tail_exponents_are_the_limits_of_the_expectations(c: float, exponent: float) -> None:
    law = f"n^{exponent}"
    line = Line(law, exponent, lambda case: None, lambda n: round(n**exponent), law)
    found, doubt = far_exponent(far_values(TAIL_MASS, line, laws.Regime("sqrt_log", c)), "n")
    assert found == pytest.approx(predictions.tail_exponent(c, exponent), abs=0.002)
    assert doubt < 0.01


def test_expectations_far_beyond_the_data() -> None:
    """At 2^200 keys exp(sigma^2) alone overflows."""
    row = finite_size.profile(2.0**200, 2.0 * np.sqrt(200 * np.log(2.0)))
    assert 0 < finite_size.sum_p_squared(row) < 1
    assert finite_size.sum_p_squared(row) == pytest.approx(1.0 - np.sqrt(2.0) / 2.0, abs=0.03)


def _attend_file(path: Path, exponent: float) -> Path:
    text = h5py.string_dtype("utf-8")
    generator = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file.attrs["kind"] = "attend"
        for n in SIZES:
            group = file.create_group(f"cases/n{n}")
            k = round(n**0.5)
            group.attrs.update(
                id=f"n{n}", n=n, d=64, sigma_law="1", sigma=1.0, head=-1, mask="none", draws=8, verdict="VALID",
                verdict_reason="",
            )  # fmt: skip
            group["k"], group["k_of_law"] = [k], [k]
            group.create_dataset("k_law", data=["n^0.5"], dtype=text)
            group["spectral_error"] = n**exponent * np.exp(0.01 * generator.standard_normal((8, 1)))
    return path


def test_spectral_norms_of_attend(tmp_path: Path) -> None:
    study = write_results(tmp_path / "r.h5", Study(n=SIZES, k=("n^0.5",)))
    for exponent, verdict in ((-0.75, Verdict.SUPPORTED), (-0.3, Verdict.CONTRADICTED)):
        norms = read_attend(_attend_file(tmp_path / "attend.h5", exponent))
        with open_results(study) as results:
            found = {j.claim.id: j for j in judge((*group_series(results.cases), *norms))}
        assert found["A-spec"].verdict is verdict, found["A-spec"].sentence
        assert len(found["A-spec"].findings) == 1
    with pytest.raises(ResultsError, match="kind is 'study'"):
        read_attend(study)
