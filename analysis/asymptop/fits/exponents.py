"""Exponents: weighted least squares on log-log axes, intervals from a bootstrap over draws, wider where lines bend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from ..theory.statistics import (
    CONFIDENCE,
    Array,
    Interval,
    bootstrap_means,
    bootstrap_picks,
    percentiles,
    small_sample_stretch,
    standard_error,
)

RESAMPLES = 2000
SEED = 20240402
_SMALLEST_RELATIVE_ERROR = 1e-9
# Of the median error of a line's points: below it the draws of a point agree.
_AGREEING = 1e-6
# A local slope that changes by less than this from the smallest n to the largest does not bend.
_SMALLEST_BEND = 1e-3


@dataclass(frozen=True)
class Point:
    """Per-draw values of one quantity at one n. `excluded` says why it takes no part in a fit, if it does not.
    `paired`: draw i is of the same text at every n, so that its values at two n are no two replicates."""

    n: int
    draw_values: Array
    power: float = 1.0
    excluded: str = ""
    paired: bool = False

    @cached_property
    def draw_mean(self) -> float:
        """The mean over draws, before the power."""
        return float(np.mean(self.draw_values))

    @cached_property
    def mean(self) -> float:
        return self.draw_mean**self.power

    @cached_property
    def draw_error(self) -> float:
        """Standard error of `draw_mean`."""
        return float(standard_error(self.draw_values))

    @cached_property
    def error(self) -> float:
        """Standard error of `mean`, carried through the power."""
        inner, spread = self.draw_mean, self.draw_error
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
    """Points that may enter a logarithm, and those that may not, with the reason. A single draw beside points of more,
    as at the full length of a text, has no error of its own and would leave the fit without an interval."""
    used, excluded = [], []
    most = max((len(p.draw_values) for p in points), default=0)
    for point in sorted(points, key=lambda p: p.n):
        if point.excluded:
            excluded.append(point)
        elif len(point.draw_values) < 2 <= most:
            excluded.append(replace(point, excluded="a single draw"))
        elif not np.all(np.isfinite(point.draw_values)) or point.draw_mean <= 0:
            excluded.append(replace(point, excluded="the mean is zero"))
        else:
            used.append(point)
    return used, excluded


def _resampled_logs(points: Sequence[Point], resamples: int, seed: int) -> Array:
    """(point, resample): logarithms of bootstrapped means, stretched for few draws. Draws are independent across n, or
    texts, each of which is chosen at all n or at none."""
    paired = all(p.paired for p in points) and len({len(p.draw_values) for p in points}) == 1
    return _resampled_values(tuple((p.draw_values.tobytes(), p.power) for p in points), paired, resamples, seed)


# The last few: ratios to what is expected are fitted twice, the second time with another correction.
@lru_cache(maxsize=4)
def _resampled_values(key: tuple[tuple[bytes, float], ...], paired: bool, resamples: int, seed: int) -> Array:
    points = [Point(0, np.frombuffer(values), power) for values, power in key]
    counts = tuple(len(point.draw_values) for point in points)
    picks = (
        bootstrap_picks(seed, resamples, counts[:1]) * len(counts)
        if paired
        else bootstrap_picks(seed, resamples, counts)
    )
    samples = np.empty((len(points), resamples))
    for row, point, picked in zip(samples, points, picks, strict=True):
        centre = np.log(point.draw_mean)
        stretch = small_sample_stretch(len(point.draw_values))
        means = bootstrap_means(point.draw_values, picked)
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = stretch * (np.log(np.where(means > 0, means, np.nan)) - centre)
        row[:] = point.power * (centre + deviation)
    return samples


def _slope_weights(log_n: Array, weights: Array) -> Array:
    """Coefficients c with slope = sum c_i y_i, for weighted least squares."""
    centred = log_n - np.sum(weights * log_n) / np.sum(weights)
    return weights * centred / np.sum(weights * centred**2)


def _bend_weights(log_n: Array, weights: Array) -> Array:
    """Coefficients of the quadratic term of a weighted parabola in log n."""
    design = np.stack([np.ones_like(log_n), log_n - log_n.mean(), (log_n - log_n.mean()) ** 2], axis=1)
    root = np.sqrt(weights)[:, None]
    return (np.linalg.pinv(design * root) * root.T)[2]


def _percentile_intervals(samples: Array, coefficients: Array, values: Array) -> list[Interval]:
    """Of every linear combination of the points, (combination, point), with its value; `samples` is (point, resample).

    A resample without a logarithm at a point counts for no combination that the point is part of.
    """
    if np.all(np.isfinite(samples)):
        combined, finite = coefficients @ samples, True
    else:
        combined = np.stack([one[one != 0.0] @ samples[one != 0.0] for one in coefficients])
        finite = False
    known = np.isfinite(combined).any(axis=1)
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.full(len(values), -np.inf), np.full(len(values), np.inf)
    if known.any():
        ends = (tail, 100.0 - tail)
        reach = percentiles(combined[known], ends) if finite else np.nanpercentile(combined[known], ends, axis=1)
        low[known], high[known] = reach
    return [
        Interval(min(float(lower), float(value)), max(float(upper), float(value)))
        for lower, upper, value in zip(low, high, values, strict=True)
    ]


def _inverse_variances(points: Sequence[Point]) -> Array:
    """Weights of the logarithms: 1 / relative squared error. Unknown errors (one draw) weigh the same."""
    relative = np.array([p.power * p.draw_error / p.draw_mean for p in points])
    if not np.all(np.isfinite(relative)):
        return np.ones(len(points))
    # Draws that agree, as means of small whole numbers do, say nothing of their spread: they count as a typical point
    # does, rather than pin the line.
    spread = relative[relative > _SMALLEST_RELATIVE_ERROR]
    if spread.size > 0:
        typical = np.median(spread)
        relative = np.where(relative < _AGREEING * typical, typical, relative)
    return 1.0 / np.maximum(relative, _SMALLEST_RELATIVE_ERROR) ** 2


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
    logs = np.array([p.power * np.log(p.draw_mean) for p in used])
    value = float(coefficients @ logs)
    (interval,) = _percentile_intervals(
        _resampled_logs(used, RESAMPLES, SEED), coefficients[None, :], np.array([value])
    )
    blur = accuracy * float(np.sum(np.abs(coefficients)))
    return Slope(used[0].n, used[-1].n, value, Interval(interval.low - blur, interval.high + blur))


def _prediction_weights(seen: Sequence[int], x: Array, weights: Array) -> Array:
    """Coefficients c with sum c_i y_i = the line through the points seen, at the last point."""
    line = np.zeros(len(x))
    level = weights[seen] / np.sum(weights[seen])
    line[seen] = level + _slope_weights(x[seen], weights[seen]) * (x[-1] - float(level @ x[seen]))
    return line


def _among(count: int, chosen: Sequence[int], coefficients: Array) -> Array:
    """Coefficients of some of `count` points, zero for the others."""
    found = np.zeros(count)
    found[chosen] = coefficients
    return found


def _combinations(sizes: Sequence[int], x: Array, weights: Array) -> dict[str, tuple[int, int, Array]]:
    """(smallest n, largest n, coefficients of the logarithms) of everything that is asked of a line. Three n at least
    for all but the slopes: two for a fit, and one that it has not seen, or that bends it."""
    count, last = len(sizes), sizes[-1]
    found = {"all": (sizes[0], last, _slope_weights(x, weights))}
    for left in range(count - 1):
        pair = [left, left + 1]
        if sizes[left + 1] > sizes[left]:
            slope = _among(count, pair, _slope_weights(x[pair], np.ones(2)))
            found[f"local {left}"] = (sizes[left], sizes[left + 1], slope)
    rest = [i for i, n in enumerate(sizes) if n > sizes[0]]
    if len({sizes[i] for i in rest}) >= 2:
        slope = _among(count, rest, _slope_weights(x[rest], weights[rest]))
        found["without smallest"] = (sizes[rest[0]], last, slope)
    if len(set(sizes)) >= 3:
        found["bend"] = (sizes[0], last, _bend_weights(x, weights))
    seen = [i for i, n in enumerate(sizes) if n < last]
    if len({sizes[i] for i in seen}) >= 2:
        off = -_prediction_weights(seen, x, weights)
        off[-1] += 1.0
        found["held out"] = (last, last, off)
    return found


def fit_power(points: Sequence[Point], resamples: int = RESAMPLES, seed: int = SEED, scale: str = "n") -> PowerFit:
    """Fit log(mean) against log(n), or against log(log n) for scale "log n". Raises FitError below two usable n."""
    values = [np.asarray(p.draw_values, dtype=np.float64) for p in points]
    key = tuple((p.n, v.tobytes(), p.power, p.excluded, p.paired) for p, v in zip(points, values, strict=True))
    return _fit_of_values(key, resamples, seed, scale)


# By value: several figures, the claims and the table of fits ask for the same lines.
@lru_cache(maxsize=4096)
def _fit_of_values(
    key: tuple[tuple[int, bytes, float, str, bool], ...], resamples: int, seed: int, scale: str
) -> PowerFit:
    points = [Point(n, np.frombuffer(values), power, excluded, paired) for n, values, power, excluded, paired in key]
    used, excluded = usable_points(points)
    if len({p.n for p in used}) < 2:
        raise FitError(f"{len(used)} usable n; a slope needs two")
    x = abscissa([p.n for p in used], scale)
    logs = np.array([p.power * np.log(p.draw_mean) for p in used])
    weights = _inverse_variances(used)
    asked = _combinations([p.n for p in used], x, weights)
    coefficients = np.stack([one for _, _, one in asked.values()])
    values = coefficients @ logs
    intervals = _percentile_intervals(_resampled_logs(used, resamples, seed), coefficients, values)
    slopes = {
        name: Slope(low, high, float(value), interval)
        for (name, (low, high, _)), value, interval in zip(asked.items(), values, intervals, strict=True)
    }
    overall = _widened(slopes["all"], _misfit(used, x, logs, slopes["all"].value))
    without = slopes.get("without smallest")
    if without is not None:
        rest = [i for i, p in enumerate(used) if p.n > used[0].n]
        without = _widened(without, _misfit([used[i] for i in rest], x[rest], logs[rest], without.value))
    held = slopes.get("held out")
    prefactor = float(np.exp(np.sum(weights * (logs - overall.value * x)) / np.sum(weights)))
    return PowerFit(
        overall.value,
        prefactor,
        overall.interval,
        tuple(slope for name, slope in slopes.items() if name.startswith("local")),
        without,
        slopes.get("bend"),
        tuple(used),
        tuple(excluded),
        None
        if held is None
        else HeldOut(held.n_high, float(np.exp(logs[-1] - held.value)), float(np.exp(logs[-1])), held.interval),
        scale,
    )
