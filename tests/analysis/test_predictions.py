"""Formulas against quadrature, against simulated rows of an independent program, and against brute force."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from asymptop.theory import finite_size, predictions
from make_results import row_metrics
from scipy import integrate, stats

# From the project's reference table of i.i.d. Gaussian rows (100,000 simulated rows each, computed independently):
# log2 n, sigma, metric, parameter, mean.
REFERENCE = [
    (12, 2.0, "tail_mass", "16", 0.753078421),
    (12, 2.0, "tail_mass", "512", 0.199888761),
    (12, 2.0, "row_l2_error", "512", 0.022588848),
    (12, 2.0, "row_linf_error", "512", 0.0133031411),
    (12, 2.0, "participation_ratio", "", 155.643671),
    (12, 2.0, "entropy_nats", "", 6.35125707),
    (16, 1.0, "tail_mass", "4096", 0.70338129),
    (16, 1.0, "row_l2_error", "4096", 0.0131020471),
    (16, 1.0, "row_linf_error", "4096", 0.00167165775),
    (16, 1.0, "k_epsilon", "0.1", 40034.1076),
    (16, 1.0, "count_p_above", "1/n", 20220.7279),
    (16, 1.0, "p_max", "", 0.00070534688),
    (16, 3.33021844, "tail_mass", "4096", 0.0391841614),
    (16, 3.33021844, "row_l2_error", "4096", 0.00612818416),
    (16, 3.33021844, "row_linf_error", "4096", 0.00457731867),
    (16, 3.33021844, "k_epsilon", "0.1", 1472.48026),
    (16, 6.66043689, "participation_ratio", "", 4.49757528),
    (16, 6.66043689, "k_epsilon", "0.1", 12.02549),
    (16, 6.66043689, "count_p_above", "1/n", 233.91677),
    (16, 6.66043689, "p_max", "", 0.526089332),
    (16, 6.66043689, "tail_mass", "4096", 1.44125811e-05),
    (16, 11.0903549, "row_l2_error", "4096", 1.42796232e-10),
    (16, 11.0903549, "entropy_nats", "", 0.870415202),
    (20, 1.0, "tail_mass", "1024", 0.982019199),
    (20, 1.0, "row_l2_error", "1024", 0.0324791786),
    (20, 1.0, "k_epsilon", "0.1", 640530.403),
    (20, 3.72329741, "participation_ratio", "", 126.847966),
    (20, 3.72329741, "row_l2_error", "1024", 0.0436455698),
]


def _expectation(metric: str) -> Callable[..., float]:
    return finite_size.row_error if metric == "row_l2_error" else getattr(finite_size, metric)


def at_finite_n(metric: str, parameter: str, n: int, sigma: float) -> float:
    row = finite_size.profile(n, sigma)
    function = _expectation(metric)
    if not parameter:
        return function(row)
    if metric in ("tail_mass", "row_l2_error", "row_linf_error"):
        return function(row, int(parameter))
    return function(row, 1.0 / n if parameter == "1/n" else float(parameter))


@pytest.mark.parametrize(("log2_n", "sigma", "metric", "parameter", "mean"), REFERENCE)
def test_finite_size_expectations(log2_n: int, sigma: float, metric: str, parameter: str, mean: float) -> None:
    tolerance = 0.05 if sigma > 6 else 0.02
    assert at_finite_n(metric, parameter, 2**log2_n, sigma) == pytest.approx(mean, rel=tolerance)


@pytest.mark.parametrize(
    ("function", "parameter", "sigma", "log2_n", "mean", "tolerance"),
    [
        (predictions.tail_mass, 4096, 1.0, 16, 0.70338129, 1e-3),
        (predictions.tail_mass, 1024, 1.0, 20, 0.982019199, 1e-4),
        (predictions.row_l2_error, 4096, 1.0, 16, 0.0131020471, 2e-3),
        (predictions.row_linf_error, 4096, 1.0, 16, 0.00167165775, 0.08),
        (predictions.k_epsilon, 0.1, 1.0, 16, 40034.1076, 1e-3),
        (predictions.k_epsilon, 0.1, 1.0, 20, 640530.403, 1e-4),
        (predictions.count_p_above, 2.0**-16, 1.0, 16, 20220.7279, 1e-3),
    ],
)
def test_closed_forms_where_sums_concentrate(function, parameter, sigma, log2_n, mean, tolerance) -> None:
    assert float(function(2**log2_n, parameter, sigma)) == pytest.approx(mean, rel=tolerance)


@pytest.mark.parametrize(("n", "k", "sigma"), [(1000, 10, 0.5), (2**16, 256, 1.0), (2**20, 5000, 2.0)])
def test_closed_forms_are_the_gaussian_integrals(n: int, k: int, sigma: float) -> None:
    z = stats.norm.isf(k / n)

    def weight(power: float, low: float, high: float) -> float:
        def integrand(x: float) -> float:
            return np.exp(power * sigma * x - x * x / 2.0) / np.sqrt(2.0 * np.pi)

        return n * integrate.quad(integrand, low, high, epsabs=0, epsrel=1e-11)[0]

    total = weight(1, -12.0, 16.0)
    tail = weight(1, -12.0, z) / total
    head2, tail2 = weight(2, z, 16.0) / total**2, weight(2, -12.0, z) / total**2
    assert float(predictions.tail_mass(n, k, sigma)) == pytest.approx(tail, rel=1e-8)
    expected = np.sqrt((tail / (1 - tail)) ** 2 * head2 + tail2)
    assert float(predictions.row_l2_error(n, k, sigma)) == pytest.approx(expected, rel=1e-8)
    assert float(predictions.frobenius_over_n(n, k, sigma)) == pytest.approx(expected / np.sqrt(n), rel=1e-8)
    assert float(predictions.sum_p_squared(n, sigma)) == pytest.approx(head2 + tail2, rel=1e-8)
    assert float(predictions.count_p_above(n, 1 / n, sigma)) == pytest.approx(n * stats.norm.sf(sigma / 2))


def test_all_keys_leave_no_error() -> None:
    for function in (predictions.tail_mass, predictions.row_l2_error, predictions.row_linf_error):
        assert float(function(4096, 4096, 1.0)) == 0.0
    row = finite_size.profile(4096, 1.0)
    assert finite_size.tail_mass(row, 4096) == 0.0
    assert finite_size.row_linf_error(row, 4096) == 0.0


def test_k_epsilon_inverts_the_tail_mass() -> None:
    k = float(predictions.k_epsilon(2**20, 0.03, 1.5))
    assert float(predictions.tail_mass(2**20, k, 1.5)) == pytest.approx(0.03)


@pytest.mark.parametrize("c", [0.25, 0.5, 0.75])
def test_exponents_are_the_limits_of_the_closed_forms(c: float) -> None:
    """At sigma = 1 slopes near n = 10^60 are close to the limits; those of linf miss by about sigma/sqrt(2L)."""
    n = np.array([1e60, 1e62])
    k = n**c

    def slope(function) -> float:
        low, high = np.log(function(n, k, 1.0))
        return float((high - low) / np.log(n[1] / n[0]))

    assert slope(predictions.tail_mass) == pytest.approx(0.0, abs=1e-3)
    assert slope(predictions.row_l2_error) == pytest.approx(-c / 2.0, abs=1e-3)
    assert slope(predictions.frobenius_over_n) == pytest.approx(-(1.0 + c) / 2.0, abs=1e-3)
    assert slope(predictions.row_linf_error) == pytest.approx(-c, abs=0.07)


def test_exponents_of_the_random_energy_model() -> None:
    assert predictions.critical_exponent(1.0) == pytest.approx(0.5)
    assert predictions.tail_exponent_above_critical(1.0, 0.5) == pytest.approx(0.0)
    # At c = sqrt 2 the two branches meet, and the rate n^-C is reached at c = sqrt2 (1 + sqrt(1 - C)).
    root = np.sqrt(2.0)
    below, above = (f(root, 0.6) for f in (predictions.tail_exponent_above_critical, predictions.tail_exponent_frozen))
    assert below == pytest.approx(above)
    assert predictions.tail_exponent_frozen(root * (1 + np.sqrt(0.4)), 0.6) == pytest.approx(-0.6)


def test_brute_force_rows_agree_at_every_k() -> None:
    """2000 rows of 1024 keys at sigma = 1.5: expectations within four standard errors or 1%."""
    generator = np.random.default_rng(11)
    k = np.array([1, 4, 16, 64, 256, 900])
    metrics = row_metrics(1.5 * generator.standard_normal((2000, 1024)), k, (0.1,), np.array([1 / 1024]))
    row = finite_size.profile(1024, 1.5)
    for name in ("tail_mass", "row_l2_error", "row_linf_error"):
        for column, one in enumerate(k):
            measured = metrics[name][:, column]
            allowed = max(4 * measured.std() / np.sqrt(2000), 0.01 * measured.mean())
            assert _expectation(name)(row, int(one)) == pytest.approx(measured.mean(), abs=allowed)
    assert finite_size.k_epsilon(row, 0.1) == pytest.approx(metrics["k_epsilon"].mean(), rel=0.01)
    assert finite_size.exp_entropy(row) == pytest.approx(np.exp(metrics["entropy_nats"]).mean(), rel=0.01)


def test_rows_are_expected_at_their_own_sigma() -> None:
    generator = np.random.default_rng(5)
    sigma = 1.0 + 0.3 * generator.random((3, 40))

    def expected(row: finite_size.Profile) -> float:
        return finite_size.row_error(row, 100, log=True)

    found = finite_size.draw_means(4096, sigma, expected)
    direct = [np.mean([np.exp(expected(finite_size.profile(4096, float(s)))) for s in draw]) for draw in sigma]
    np.testing.assert_allclose(found, direct, rtol=1e-4)


@pytest.mark.parametrize(("n", "sigma"), [(16.0, 1.0), (4096.0, 0.5), (2.0**60, 9.0), (2.0**960, 25.0)])
def test_tail_masses_of_many_k_are_those_of_each(n: float, sigma: float) -> None:
    row = finite_size.profile(n, sigma)
    keys = np.unique([k for k in (1.0, 2.0, 23.0, 24.0, 25.0, 1000.0, float(np.floor(n**0.9)), n) if k <= n])
    each = [finite_size.tail_mass(row, int(k), log=True) for k in keys]
    np.testing.assert_array_equal(finite_size.log_tail_masses(row, keys), each)
    assert np.all(np.diff(each) < 1e-14)
