"""Fits recover planted exponents within their intervals and keep zeros out of logarithms."""

from __future__ import annotations

import numpy as np
import pytest
from asymptop.fits.exponents import FitError, Point, fit_power

SIZES = (1024, 4096, 16384, 65536, 262144)


def planted(exponent: float, noise: float, seed: int, draws: int = 12, bend: float = 0.0) -> list[Point]:
    generator = np.random.default_rng(seed)
    points = []
    for n in SIZES:
        mean = 3.0 * n**exponent * np.exp(bend * np.log(n) ** 2)
        points.append(Point(n, mean * np.exp(noise * generator.standard_normal(draws))))
    return points


def test_exact_power_law() -> None:
    fit = fit_power([Point(n, np.full(4, 2.0 * n**-0.75)) for n in SIZES])
    assert fit.exponent == pytest.approx(-0.75, abs=1e-12)
    assert fit.prefactor == pytest.approx(2.0, rel=1e-10)
    assert [s.value for s in fit.local_slopes] == pytest.approx([-0.75] * 4)
    assert fit.without_smallest is not None
    assert fit.without_smallest.value == pytest.approx(-0.75)
    assert not fit.bends


@pytest.mark.parametrize("draws", [5, 12, 32])
def test_intervals_cover_the_planted_exponent(draws: int) -> None:
    fits = [fit_power(planted(-0.5, 0.2, seed, draws), resamples=1000, seed=seed) for seed in range(200)]
    covered = np.mean([f.interval.contains(-0.5) for f in fits])
    assert 0.90 <= covered <= 0.99
    last = np.mean([f.last_slope.interval.contains(-0.5) for f in fits])
    assert 0.90 <= last <= 0.995


@pytest.mark.parametrize("texts", [4, 8])
def test_texts_that_each_have_an_exponent_are_resampled_together(texts: int) -> None:
    """Draw i is of text i at every n: taken for new draws at each n, they would hide how much texts differ."""
    covered = {True: 0, False: 0}
    rounds = 100
    for seed in range(rounds):
        generator = np.random.default_rng(seed)
        own = 0.5 + 0.1 * generator.standard_normal(texts)
        centred = np.log(SIZES) - np.mean(np.log(SIZES))
        values = [np.exp(own * x + 0.05 * generator.standard_normal(texts)) for x in centred]
        for paired in covered:
            points = [Point(n, v, paired=paired) for n, v in zip(SIZES, values, strict=True)]
            covered[paired] += fit_power(points, resamples=500, seed=seed).interval.contains(0.5)
    assert covered[True] >= 0.88 * rounds
    assert covered[False] <= 0.85 * rounds


def test_weights_follow_the_standard_errors() -> None:
    points = planted(-0.5, 0.001, 1)
    generator = np.random.default_rng(2)
    noisy = [*points[:-1], Point(SIZES[-1], 50 * points[-1].draw_values * np.exp(generator.normal(0, 2.0, 12)))]
    assert fit_power(noisy).exponent == pytest.approx(-0.5, abs=0.01)


def test_zeros_and_clipped_points_never_enter_a_logarithm() -> None:
    points = planted(-0.5, 0.01, 3)
    zero = Point(64, np.zeros(12))
    clipped = Point(128, np.full(12, 1e9), excluded="k = n")
    fit = fit_power([zero, clipped, *points])
    assert {p.n: p.excluded for p in fit.excluded} == {64: "the mean is zero", 128: "k = n"}
    assert fit.exponent == fit_power(points).exponent
    assert np.isfinite(fit.interval.half_width)


def test_power_of_the_mean() -> None:
    """A root mean square: the mean of the squares, then the root."""
    fit = fit_power([Point(n, np.array([1.0, 3.0]) / n, power=0.5) for n in SIZES])
    assert fit.exponent == pytest.approx(-0.5)
    assert fit.prefactor == pytest.approx(np.sqrt(2.0))


def test_a_bend_is_seen_and_the_smallest_n_can_be_dropped() -> None:
    fit = fit_power(planted(-0.2, 0.01, 5, bend=-0.02))
    assert fit.bends
    slopes = [s.value for s in fit.local_slopes]
    assert slopes == sorted(slopes, reverse=True)
    assert fit.without_smallest is not None
    assert fit.without_smallest.n_low == SIZES[1]
    assert fit.without_smallest.value < fit.exponent


def test_same_seed_same_interval() -> None:
    points = planted(-0.5, 0.2, 7)
    assert fit_power(points).interval == fit_power(points).interval


def test_one_draw_gives_an_unbounded_interval() -> None:
    fit = fit_power([Point(n, np.array([n**-0.5])) for n in SIZES])
    assert fit.exponent == pytest.approx(-0.5)
    assert fit.interval.half_width == np.inf


def test_one_point_is_no_fit() -> None:
    with pytest.raises(FitError):
        fit_power([Point(64, np.ones(3)), Point(128, np.zeros(3))])


def test_draws_that_agree_do_not_pin_a_line() -> None:
    """As a few draws of small counts may: the mean of one point is then no better known than those of the others."""
    scattered = [
        Point(97, np.array([5.0, 2.875, 4.0, 3.75])),
        Point(200, np.array([5.625, 4.75, 4.0, 3.875])),
        Point(256, np.array([4.625, 3.625, 5.5, 3.625])),
    ]
    agreeing, nearly = (fit_power([*scattered, Point(397, np.array([5.0, last]))]) for last in (5.0, 5.0 + 1e-12))
    assert agreeing.exponent == pytest.approx(nearly.exponent, abs=1e-9)
    assert 0.0 < agreeing.exponent < 0.3
    assert agreeing.interval.low < 0.25 < agreeing.interval.high
    assert agreeing.without_smallest is not None
    assert abs(agreeing.without_smallest.value) < 1.0
