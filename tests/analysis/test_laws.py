"""Laws: values, what they do as n grows, and their labels."""

from __future__ import annotations

import math

import pytest
from asymptop.theory import laws


@pytest.mark.parametrize(
    ("text", "n", "value"),
    [
        ("400", 10, 400.0),
        ("4*n^0.5", 1024, 128.0),
        ("log(n)^2", 100, math.log(100) ** 2),
        ("2*sqrt(log(n))", 50, 2 * math.sqrt(math.log(50))),
        ("1/n", 8, 0.125),
        ("-(1-n)", 3, 2.0),
        ("2^n^0.5", 9, 8.0),
    ],
)
def test_values(text: str, n: int, value: float) -> None:
    assert laws.evaluate(text, n) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("text", ["m", "n;n", "exp(n)", "n=3", "__import__('os')", "", "n.real", "log(n,2)", "1/(n-n)"])
def test_refuses_everything_else(text: str) -> None:
    with pytest.raises(laws.LawError):
        laws.evaluate(text, 16)


@pytest.mark.parametrize(
    ("text", "prefactor", "exponent"),
    [
        ("n^0.5", 1.0, 0.5),
        ("4*n^0.5", 4.0, 0.5),
        ("400*n^(1/1000)", 400.0, 0.001),
        ("sqrt(n)*n^0.25", 1.0, 0.75),
        ("n/16", 1 / 16, 1.0),
        ("64", 64.0, 0.0),
    ],
)
def test_power_laws_in_every_spelling(text: str, prefactor: float, exponent: float) -> None:
    found = laws.power_law(text)
    assert found is not None
    assert found.prefactor == pytest.approx(prefactor)
    assert found.exponent == pytest.approx(exponent, abs=1e-12)


@pytest.mark.parametrize("text", ["n^25", "n^-26", "n^(1-log(n))", "5e-324*n", "1e308", "1e308/n"])
def test_laws_at_the_ends_of_doubles(text: str) -> None:
    assert laws.regime_of(text, 1.0, 4096).kind in ("other", "constant")
    assert laws.same(text, text + "*1")


@pytest.mark.parametrize("text", ["log(n)^2", "n^0.5+1", "n^0.5*log(n)", "nonsense"])
def test_what_is_no_power_law(text: str) -> None:
    assert laws.power_law(text) is None


@pytest.mark.parametrize(
    ("text", "kind", "coefficient"),
    [
        ("2", "constant", 2.0),
        ("2*sqrt(log(n))", "sqrt_log", 2.0),
        ("sqrt(2*log(n))", "sqrt_log", math.sqrt(2)),
        ("log(n)", "log", 1.0),
        ("n^0.1", "other", math.nan),
        ("measured", "measured", math.nan),
    ],
)
def test_regimes(text: str, kind: str, coefficient: float) -> None:
    sigma = 1.0 if text == "measured" else laws.evaluate(text, 4096)
    regime = laws.regime_of(text, sigma, 4096)
    assert regime.kind == kind
    assert regime.coefficient == pytest.approx(coefficient, nan_ok=True)


def test_a_law_of_r_takes_its_coefficient_from_sigma() -> None:
    assert laws.regime_of("16*sqrt(log(n))", 2.0 * math.sqrt(math.log(512)), 512).coefficient == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("400*n^(1/1000)", r"$400\,n^{1/1000}$"),
        ("2*sqrt(log(n))", r"$2\,\sqrt{\log n}$"),
        ("log(n)^2", r"$\log^{2}n$"),
        ("cost $5", r"cost \$5"),
    ],
)
def test_labels(text: str, label: str) -> None:
    assert laws.to_tex(text) == label
