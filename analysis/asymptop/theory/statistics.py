"""Means and intervals whose replicate is the draw: rows of one draw share their keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # which loads scipy.special at its first use: no list of options waits for it
from numpy.typing import NDArray

Array = NDArray[np.float64]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def contains(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def half_width(self) -> float:
        return 0.5 * (self.high - self.low)

    def shifted(self, by: float) -> Interval:
        return Interval(self.low + by, self.high + by)


@dataclass(frozen=True)
class Estimate:
    """Mean over draws, its standard error and its Student t interval."""

    mean: float
    standard_error: float
    interval: Interval
    draws: int


def mean_over_rows(values: NDArray) -> Array:
    """(draw, row, ...) to (draw, ...): the first step of every statistic."""
    return np.asarray(values, dtype=np.float64).mean(axis=1)


def standard_error(draw_values: Array) -> Array:
    """Standard error over axis 0; NaN for a single draw, which says nothing about its own spread."""
    draws = draw_values.shape[0]
    if draws < 2:
        return np.full(draw_values.shape[1:], np.nan)
    return np.std(draw_values, axis=0, ddof=1) / np.sqrt(draws)


def estimate(draw_values: Array, confidence: float = CONFIDENCE) -> Estimate:
    """Mean, standard error and Student t interval over the draws; one draw has an unbounded interval."""
    values = np.asarray(draw_values, dtype=np.float64)
    mean, draws = float(values.mean()), len(values)
    if draws < 2:
        return Estimate(mean, float("nan"), Interval(-np.inf, np.inf), draws)
    error = float(standard_error(values))
    reach = float(scipy.special.stdtrit(draws - 1, 0.5 + confidence / 2)) * error
    return Estimate(mean, error, Interval(mean - reach, mean + reach), draws)


def binomial_interval(hits: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """Clopper and Pearson's of a share of independent trials."""
    rest = 0.5 * (1.0 - confidence)
    low = float(scipy.special.betaincinv(hits, count - hits + 1, rest)) if hits else 0.0
    high = float(scipy.special.betaincinv(hits + 1, count - hits, 1.0 - rest)) if hits < count else 1.0
    return Interval(low, high)


@lru_cache(maxsize=4)
def bootstrap_picks(seed: int, resamples: int, draws: tuple[int, ...]) -> tuple[Array, ...]:
    """How often a resample holds each draw, (resample, draw) per count of draws. Series of as many draws share them."""
    generator = np.random.default_rng(seed)
    return tuple(_times_picked(generator.integers(0, count, size=(resamples, count))) for count in draws)


def _times_picked(picks: NDArray[np.int64]) -> Array:
    resamples, draws = picks.shape
    places = picks + draws * np.arange(resamples)[:, None]
    return np.bincount(places.ravel(), minlength=picks.size).reshape(picks.shape).astype(np.float64)


def bootstrap_means(draw_values: Array, picks: Array) -> Array:
    """Means of the resamples that bootstrap_picks chose, all at once."""
    values = np.asarray(draw_values, dtype=np.float64)
    return picks @ values / len(values)


@lru_cache(maxsize=256)
def small_sample_stretch(draws: int, confidence: float = CONFIDENCE) -> float:
    """Factor by which a percentile bootstrap of a mean is too narrow at few draws.

    sqrt(D/(D-1)) for the plug-in variance and t/z for its uncertainty (Hesterberg, The American Statistician
    69(4), 2015: the expanded percentile interval). Infinite for one draw.
    """
    if draws < 2:
        return float("inf")
    level = 0.5 + confidence / 2
    return float(np.sqrt(draws / (draws - 1)) * scipy.special.stdtrit(draws - 1, level) / scipy.special.ndtri(level))


def percentiles(values: Array, percents: tuple[float, float]) -> Array:
    """(percent, ...) over the last axis of finite values: numpy.percentile's numbers, at a fraction of its overhead."""
    count = values.shape[-1]
    places = [(count - 1) * (percent / 100.0) for percent in percents]
    below = [min(int(place), count - 1) for place in places]
    above = [min(one + 1, count - 1) for one in below]
    ordered = np.partition(values, sorted({*below, *above}), axis=-1)
    found = []
    for place, low, high in zip(places, below, above, strict=True):
        first, second, share = ordered[..., low], ordered[..., high], place - low
        gap = second - first
        found.append(second - gap * (1.0 - share) if share >= 0.5 else first + gap * share)
    return np.stack(found)
