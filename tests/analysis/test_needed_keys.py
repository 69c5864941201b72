"""Keys needed for an error: interpolation between stored k, exponents of planted laws, signs of the phase diagram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from asymptop.criteria.needed_keys import all_keys_needed, expected_keys
from asymptop.figures.needed_keys import _spread, needed_keys_against_n, needed_keys_by_norm
from asymptop.figures.phase import expected_slope, measured_slopes, phase_diagram
from asymptop.fits.error_curve import error_curve, needed_keys
from asymptop.fits.quantities import FROBENIUS_OVER_N, K_EPSILON, ROW_L2_ERROR, TAIL_MASS, expected_draw_values
from asymptop.io.reader import open_results
from asymptop.io.series import group_panels, group_series
from asymptop.theory import predictions
from make_results import Study, write_results

SIZES = (256, 1024, 4096)


def planted(name: str, n: int, k: int, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """0.5 k^-0.5 whatever the norm: an error of 0.05 takes 100 keys, at every n."""
    value = 0.0 if k >= n else 0.5 * float(k) ** -0.5
    return np.full(shape, value)


def test_a_power_law_is_interpolated_exactly(tmp_path: Path) -> None:
    with open_results(write_results(tmp_path / "r.h5", Study(n=SIZES, planted=planted))) as results:
        case = next(c for c in results.cases if c.n == 4096)
        wanted = np.array([1.0, 3.7, 100.0, 900.5])
        np.testing.assert_allclose(error_curve(case, ROW_L2_ERROR).at(wanted), np.tile(0.5 * wanted**-0.5, (8, 1)))
        # (1/n) Frobenius: the root of the mean square over n.
        frobenius = error_curve(case, FROBENIUS_OVER_N).at(wanted)
        np.testing.assert_allclose(frobenius, np.tile(0.5 * wanted**-0.5 / 64.0, (8, 1)))
        curve = error_curve(case, ROW_L2_ERROR)
        assert np.all(curve.at(np.array([4096.0])) == 0.0)
        assert np.isnan(curve.at(np.array([0.5]))).all()
        np.testing.assert_allclose(needed_keys(case, ROW_L2_ERROR, 0.05), 100.0)
        np.testing.assert_allclose(needed_keys(case, ROW_L2_ERROR, 0.9), 1.0)


def test_between_the_last_stored_k_and_n_nothing_is_known(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", Study(n=(1024,), draws=2))
    with open_results(path) as results:
        (case,) = results.cases
        kept = case.k < 500
        whole = {name: case.values(name)[:, :, kept] for name in ("tail_mass", "row_l2_error")}
        object.__setattr__(case, "k", case.k[kept])
        object.__setattr__(case, "_group", whole)
        last = float(case.k[-1])
        curve = error_curve(case, TAIL_MASS)
        assert np.isfinite(curve.at(np.array([last]))).all()
        assert np.isnan(curve.at(np.array([last + 2.0]))).all()
        assert np.all(curve.at(np.array([1024.0])) == 0.0)
        assert needed_keys(case, TAIL_MASS, 1e-3) is None


def test_the_interpolated_tail_mass_agrees_with_the_exact_count(tmp_path: Path) -> None:
    study = Study(n=SIZES, sigma=("2",), k=("n^0.5", "n^0.9"), draws=6, epsilon=(0.1, 0.3))
    with open_results(write_results(tmp_path / "r.h5", study)) as results:
        for case in results.cases:
            for epsilon in (0.1, 0.3):
                exact = K_EPSILON.draw_values(case, epsilon).mean()
                assert needed_keys(case, TAIL_MASS, epsilon).mean() == pytest.approx(exact, rel=0.03)


def test_exponents_by_norm(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", Study(n=SIZES, sigma=("0.5",), planted=planted, epsilon=(0.05,)))
    with open_results(path) as results:
        found = {one.norm.name: one for one in all_keys_needed(group_series(results.cases))}
    assert found["row_l2_error"].fit.exponent == pytest.approx(0.0, abs=1e-9)
    assert found["row_l2_error"].fit.prefactor == pytest.approx(100.0)
    assert "output_error_relative" not in found
    keys = found["tail_mass"]  # k_epsilon itself is not planted: a fixed share of the keys
    assert keys.limit == 1.0
    assert keys.fit.exponent == pytest.approx(1.0, abs=0.03)
    expected = float(predictions.k_epsilon(4096, 0.05, 0.5))
    assert keys.formula[-1] == pytest.approx(expected)


def test_signs_on_either_side_of_the_boundary(tmp_path: Path) -> None:
    laws = ("0.3*sqrt(log(n))", "sqrt(log(n))", "2*sqrt(log(n))")
    study = Study(n=SIZES, sigma=laws, k=("n^0.9",), draws=24, row_sigma="fixed")
    with open_results(write_results(tmp_path / "r.h5", study)) as results:
        series = group_series(results.cases)
        panels = group_panels(series)
        slopes = {(round(p.c, 2), round(p.exponent, 1)): p for s in series for p in measured_slopes(s)}
        assert slopes[0.3, 0.5].interval.low > 0
        assert slopes[2.0, 0.8].interval.high < 0
        for point in slopes.values():
            expected = expected_slope(point.c, point.exponent, *(float(n) for n in point.n_range))
            assert abs(point.slope - expected) < 3.0 * point.interval.half_width + 0.02
        diagram = phase_diagram(panels)
        assert {record[0] for record in diagram.records} == {s.regime.coefficient for s in series}
        assert needed_keys_against_n(panels).records
        assert needed_keys_by_norm(panels).records
        assert phase_diagram(panels[:2]) is None


def test_expected_lines_go_by_the_sigma_of_every_row(tmp_path: Path) -> None:
    study = Study(n=(256, 1024), sigma=("2*sqrt(log(n))",), draws=4)
    with open_results(write_results(tmp_path / "r.h5", study)) as results:
        cases = sorted(results.cases, key=lambda case: case.n)
        series = group_series(cases)
        plot = needed_keys_against_n(group_panels(series))
        (drawn,) = [line.get_ydata() for line in plot.canvas.axes[0].lines if line.get_alpha() == 0.75]
        own = [expected_draw_values(case, K_EPSILON, 0.01).mean() for case in cases]
        np.testing.assert_allclose(drawn, own)
        at_law = [expected_keys(series[0].regime, 0.01, case.n) for case in cases]
        assert not np.allclose(own, at_law, rtol=0.02)


def test_labels_are_moved_apart() -> None:
    placed = _spread([0.95, 0.96, 0.97, 0.2], 0.06)
    assert np.diff(sorted(placed)).min() >= 0.06 - 1e-6
    assert min(placed) == pytest.approx(0.2)
    assert max(placed) <= 1.0
