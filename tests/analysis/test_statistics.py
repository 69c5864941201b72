"""Means and intervals over draws against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from asymptop.theory.statistics import (
    bootstrap_means,
    bootstrap_picks,
    estimate,
    mean_over_rows,
    percentiles,
    small_sample_stretch,
    standard_error,
)
from scipy import stats


def test_draw_is_the_replicate() -> None:
    values = np.array([[1.0, 3.0], [2.0, 6.0], [0.0, 0.0]])
    draws = mean_over_rows(values)
    np.testing.assert_array_equal(draws, [2.0, 4.0, 0.0])
    found = estimate(draws)
    assert found.mean == 2.0
    assert found.standard_error == pytest.approx(2.0 / np.sqrt(3.0))
    assert found.interval.high - found.mean == pytest.approx(4.302652729911275 * 2.0 / np.sqrt(3.0))  # t, 2 dof, 97.5%


def test_student_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    samples = generator.normal(5.0, 2.0, size=(2000, 6))
    covered = np.mean([estimate(s).interval.contains(5.0) for s in samples])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_one_draw_says_nothing_about_its_spread() -> None:
    found = estimate(np.array([1.5]))
    assert found.mean == 1.5
    assert np.isnan(found.standard_error)
    assert found.interval.low == -np.inf
    assert found.interval.high == np.inf
    assert np.isnan(standard_error(np.ones((1, 2)))).all()


def test_bootstrap_spread_is_the_plug_in_standard_error() -> None:
    generator = np.random.default_rng(4)
    draws = generator.exponential(size=40)
    means = bootstrap_means(draws, *bootstrap_picks(2, 20_000, (len(draws),)))
    assert means.std() == pytest.approx(draws.std() / np.sqrt(40), rel=0.03)
    assert means.mean() == pytest.approx(draws.mean(), rel=0.01)


def test_bootstrap_means_are_those_of_the_draws_picked() -> None:
    values = np.random.default_rng(5).exponential(size=7)
    (times,) = bootstrap_picks(3, 50, (7,))
    assert (times.sum(axis=1) == 7).all()
    picked = np.random.default_rng(3).integers(0, 7, size=(50, 7))
    np.testing.assert_allclose(bootstrap_means(values, times), values[picked].mean(axis=1), rtol=1e-14)


def test_stretch_turns_the_percentile_interval_into_students() -> None:
    expected = np.sqrt(10 / 9) * stats.t.ppf(0.975, 9) / stats.norm.ppf(0.975)
    assert small_sample_stretch(10) == pytest.approx(expected)
    assert small_sample_stretch(1) == np.inf
    assert small_sample_stretch(10_000) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 40, 41, 2000])
def test_percentiles_are_those_of_numpy(count: int) -> None:
    values = np.random.default_rng(count).standard_normal((3, count))
    for ends in ((2.5, 97.5), (10.0, 50.0), (0.0, 100.0)):
        assert np.array_equal(percentiles(values, ends), np.percentile(values, ends, axis=1))
