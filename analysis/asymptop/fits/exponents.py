"""Exponents: weighted least squares on log-log axes, intervals from a bootstrap over draws, wider where lines bend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..theory.statistics import (
    CONFIDENCE,
    Array,
    Interval,
    bootstrap_means,
    bootstrap_picks,
    small_sample_stretch,
    standard_error,
)

RESAMPLES = 2000
SEED = 20240402
_SMALLEST_RELATIVE_ERROR = 1e-9
# A local slope that changes by less than this from the smallest n to the largest does not bend.
_SMALLEST_BEND = 1e-3


@dataclass(frozen=True)
class Point:
    """Per-draw values of one quantity at one n. `excluded` says why it takes no part in a fit, if it does not."""

    n: int
    draw_values: Array
    power: float = 1.0
    excluded: str = ""

    @property
    def mean(self) -> float:
        return float(np.mean(self.draw_values)) ** self.power

    @property
    def error(self) -> float:
        """Standard error of `mean`, carried through the power."""
        inner = float(np.mean(self.draw_values))
        spread = float(standard_error(self.draw_values))
        return spread if self.power == 1.0 else spread * self.power * inner ** (self.power - 1.0) if inner > 0 else 0.0

    def near_one(self, share: float) -> bool:
        """Whether a ratio is 1 within `share` or 3 standard errors."""
        return abs(self.mean - 1.0) <= max(share, 3.0 * self.error if np.isfinite(self.error) else 0.0)


@dataclass(frozen=True)
class Slope:
    n_low: int
    n_high: int
    value: float
    interval: Interval


@dataclass(frozen=True)
class HeldOut:
    """The largest n against the fit of all smaller ones: log(measured / predicted), with its bootstrap interval."""

    n: int
    predicted: float
    measured: float
    deviation: Interval

    @property
    def missed(self) -> bool:
        return not self.deviation.contains(0.0)


@dataclass(frozen=True)
class PowerFit:
    """value = prefactor * x^exponent over the points used, x being n or log n (`scale`); slopes between neighbours;
    the fit less its smallest n; how the fit less its largest n predicts that one."""

    exponent: float
    prefactor: float
    interval: Interval
    local_slopes: tuple[Slope, ...]
    without_smallest: Slope | None
    bend: Slope | None
    used: tuple[Point, ...]
    excluded: tuple[Point, ...]
    held_out: HeldOut | None = None
    scale: str = "n"

    @property
    def last_slope(self) -> Slope:
        return self.local_slopes[-1]

    @property
    def bends(self) -> bool:
        """Whether the local slope changes with n beyond its noise: then no single exponent describes the data."""
        if self.bend is None or self.bend.interval.contains(0.0):
            return False
        low, high = abscissa((self.bend.n_low, self.bend.n_high), self.scale)
        return 2.0 * abs(self.bend.value) * float(high - low) > _SMALLEST_BEND


class FitError(ValueError):
    """Too few usable points."""


def abscissa(sizes: Sequence[float], scale: str) -> Array:
    """log n, or log log n where the exponent is one of log n."""
    log_n = np.log([float(n) for n in sizes])
    return log_n if scale == "n" else np.log(log_n)


def usable_points(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Points that may enter a logarithm, and those that may not, with the reason."""
    used, excluded = [], []
    for point in sorted(points, key=lambda p: p.n):
        if point.excluded:
            excluded.append(point)
        elif not np.all(np.isfinite(point.draw_values)) or np.mean(point.draw_values) <= 0:
            excluded.append(Point(point.n, point.draw_values, point.power, "the mean is zero"))
        else:
            used.append(point)
    return used, excluded


def _resampled_logs(points: Sequence[Point], resamples: int, seed: int) -> Array:
    """(resample, point): logarithms of bootstrapped means, stretched for few draws. Draws are independent across n."""
    picks = bootstrap_picks(seed, resamples, tuple(len(point.draw_values) for point in points))
    columns = []
    for point, picked in zip(points, picks, strict=True):
        centre = np.log(np.mean(point.draw_values))
        stretch = small_sample_stretch(len(point.draw_values))
        means = bootstrap_means(point.draw_values, picked)
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = stretch * (np.log(np.where(means > 0, means, np.nan)) - centre)
        columns.append(point.power * (centre + deviation))
    return np.stack(columns, axis=1)


def _slope_weights(log_n: Array, weights: Array) -> Array:
    """Coefficients c with slope = sum c_i y_i, for weighted least squares."""
    centred = log_n - np.sum(weights * log_n) / np.sum(weights)
    return weights * centred / np.sum(weights * centred**2)


def _bend_weights(log_n: Array, weights: Array) -> Array:
    """Coefficients of the quadratic term of a weighted parabola in log n."""
    design = np.stack([np.ones_like(log_n), log_n - log_n.mean(), (log_n - log_n.mean()) ** 2], axis=1)
    root = np.sqrt(weights)[:, None]
    return (np.linalg.pinv(design * root) * root.T)[2]


def _percentile_interval(samples: Array, value: float) -> Interval:
    if not np.any(np.isfinite(samples)):
        return Interval(-np.inf, np.inf)
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.nanpercentile(samples, [tail, 100.0 - tail])
    return Interval(min(float(low), value), max(float(high), value))


def _inverse_variances(points: Sequence[Point]) -> Array:
    """Weights of the logarithms: 1 / relative squared error. Unknown errors (one draw) weigh the same."""
    relative = np.array([p.power * standard_error(p.draw_values) / np.mean(p.draw_values) for p in points])
    if not np.all(np.isfinite(relative)):
        return np.ones(len(points))
    return 1.0 / np.maximum(relative, _SMALLEST_RELATIVE_ERROR) ** 2


def _weighted_slope(points: Sequence[Point], x: Array, logs: Array, samples: Array, weights: Array) -> Slope:
    coefficients = _slope_weights(x, weights)
    value = float(coefficients @ logs)
    return Slope(points[0].n, points[-1].n, value, _percentile_interval(samples @ coefficients, value))


def _misfit(points: Sequence[Point], x: Array, logs: Array, slope: float) -> float:
    """sqrt(chi^2 per degree of freedom) of the straight line, at least 1: what its exponent's interval is widened by.

    Where the local slopes drift, the exponent depends on how the points are weighed, and noise alone does not say how
    much (the scale factor of the Particle Data Group).
    """
    weights = _inverse_variances(points)
    spare = len(points) - 2
    if spare < 1 or any(len(p.draw_values) < 2 for p in points):
        return 1.0
    residuals = logs - slope * x
    residuals = residuals - np.sum(weights * residuals) / np.sum(weights)
    return float(np.sqrt(max(1.0, np.sum(weights * np.square(residuals)) / spare)))


def _widened(slope: Slope, factor: float) -> Slope:
    low, high = (slope.value + factor * (end - slope.value) for end in (slope.interval.low, slope.interval.high))
    return replace(slope, interval=Interval(low, high))


def _bend(points: Sequence[Point], x: Array, logs: Array, samples: Array, weights: Array) -> Slope | None:
    if len({p.n for p in points}) < 3:
        return None
    coefficients = _bend_weights(x, weights)
    value = float(coefficients @ logs)
    return Slope(points[0].n, points[-1].n, value, _percentile_interval(samples @ coefficients, value))


def fit_power_and_root(points: Sequence[Point], accuracy: float) -> Slope | None:
    """The exponent e of a n^e exp(b sqrt(log n)), b free: what the data say of e where sqrt(log n) may correct it.

    `accuracy` is a relative error of the means that no draw shows; it widens the interval. None below four n.
    """
    used, _ = usable_points(points)
    if len({p.n for p in used}) < 4:
        return None
    x = np.log([float(p.n) for p in used])
    root = np.sqrt(_inverse_variances(used))[:, None]
    design = np.stack([np.ones_like(x), x, np.sqrt(x)], axis=1)
    coefficients = (np.linalg.pinv(design * root) * root.T)[1]
    logs = np.array([p.power * np.log(np.mean(p.draw_values)) for p in used])
    value = float(coefficients @ logs)
    interval = _percentile_interval(_resampled_logs(used, RESAMPLES, SEED) @ coefficients, value)
    blur = accuracy * float(np.sum(np.abs(coefficients)))
    return Slope(used[0].n, used[-1].n, value, Interval(interval.low - blur, interval.high + blur))


def _hold_out(points: Sequence[Point], x: Array, logs: Array, samples: Array, weights: Array) -> HeldOut | None:
    """Three n at least: two for the fit, and the largest, which it has not seen."""
    seen = [i for i, p in enumerate(points) if p.n < points[-1].n]
    if len({points[i].n for i in seen}) < 2:
        return None
    slope = _slope_weights(x[seen], weights[seen])
    level = weights[seen] / np.sum(weights[seen])
    line = level + slope * (x[-1] - float(level @ x[seen]))
    predicted = float(line @ logs[seen])
    deviation = float(logs[-1]) - predicted
    interval = _percentile_interval(samples[:, -1] - samples[:, seen] @ line, deviation)
    return HeldOut(points[-1].n, float(np.exp(predicted)), float(np.exp(logs[-1])), interval)


def fit_power(points: Sequence[Point], resamples: int = RESAMPLES, seed: int = SEED, scale: str = "n") -> PowerFit:
    """Fit log(mean) against log(n), or against log(log n) for scale "log n". Raises FitError below two usable n."""
    values = [np.asarray(p.draw_values, dtype=np.float64) for p in points]
    key = tuple((p.n, v.tobytes(), p.power, p.excluded) for p, v in zip(points, values, strict=True))
    return _fit_of_values(key, resamples, seed, scale)


# By value: several figures, the claims and the table of fits ask for the same lines.
@lru_cache(maxsize=4096)
def _fit_of_values(key: tuple[tuple[int, bytes, float, str], ...], resamples: int, seed: int, scale: str) -> PowerFit:
    points = [Point(n, np.frombuffer(values), power, excluded) for n, values, power, excluded in key]
    used, excluded = usable_points(points)
    if len({p.n for p in used}) < 2:
        raise FitError(f"{len(used)} usable n; a slope needs two")
    x = abscissa([p.n for p in used], scale)
    logs = np.array([p.power * np.log(np.mean(p.draw_values)) for p in used])
    samples = _resampled_logs(used, resamples, seed)
    weights = _inverse_variances(used)
    overall = _weighted_slope(used, x, logs, samples, weights)
    overall = _widened(overall, _misfit(used, x, logs, overall.value))
    local = []
    for left, right in zip(range(len(used)), range(1, len(used)), strict=False):
        if used[right].n > used[left].n:
            pair = slice(left, right + 1)
            local.append(_weighted_slope(used[pair], x[pair], logs[pair], samples[:, pair], np.ones(2)))
    rest = [i for i, p in enumerate(used) if p.n > used[0].n]
    without = None
    if len({used[i].n for i in rest}) >= 2:
        kept = [used[i] for i in rest]
        without = _weighted_slope(kept, x[rest], logs[rest], samples[:, rest], weights[rest])
        without = _widened(without, _misfit(kept, x[rest], logs[rest], without.value))
    prefactor = float(np.exp(np.sum(weights * (logs - overall.value * x)) / np.sum(weights)))
    return PowerFit(
        overall.value,
        prefactor,
        overall.interval,
        tuple(local),
        without,
        _bend(used, x, logs, samples, weights),
        tuple(used),
        tuple(excluded),
        _hold_out(used, x, logs, samples, weights),
        scale,
    )
