"""Laws of k at equal cost: a fixed k against k = alpha n^C over a set of context lengths (the paper's section 7).

The cost of a law is the sum of k, or of n k, over the lengths; alpha makes every law cost what the fixed k costs, with
k clipped to n. The error at any k is interpolated between the stored k, and at a length between two measured n at the
same log k / log n. Draws are independent across n, so they are resampled at each n apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..fits.error_curve import ErrorCurve, error_curve
from ..fits.quantities import OUTPUT_ERROR, ROW_L2_ERROR, ROW_LINF_ERROR, TAIL_MASS, Quantity
from ..io.series import Series
from ..io.streams import UsageError
from ..theory.sizes import count_words
from ..theory.statistics import CONFIDENCE, Array, Interval, small_sample_stretch
from .decisions import power_of_two

NORMS = (TAIL_MASS, ROW_L2_ERROR, ROW_LINF_ERROR, OUTPUT_ERROR)
COSTS = {"k": "Σk", "nk": "Σnk"}
EXPONENTS = np.round(np.arange(-0.5, 1.0001, 0.05), 2) + 0.0
_FIXED = int(np.flatnonzero(EXPONENTS == 0.0)[0])
RESAMPLES = 1000
_SEED = 20240402


class BudgetError(UsageError):
    """A budget or a set of lengths that the file cannot answer for, in one line."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """All laws of one series, norm and cost. `error` and `ratio` are by C; ratios are to the fixed k, C = 0."""

    series: Series
    norm: Quantity
    cost: str
    fixed_k: float
    lengths: tuple[int, ...]
    exponents: Array
    prefactor: Array
    error: Array
    ratio: Array
    low: Array
    high: Array
    chosen: Array  # how often each C was best, over resamples
    left_out: tuple[float, ...]

    def keys(self, index: int) -> list[int]:
        """k of one law at each length, rounded and clipped as `asymptop study` does."""
        values = self.prefactor[index] * np.array(self.lengths, dtype=float) ** self.exponents[index]
        return [min(n, max(1, round(float(k)))) for n, k in zip(self.lengths, values, strict=True)]

    @property
    def best(self) -> int:
        return int(np.argmin(self.error))

    @property
    def best_exponent(self) -> float:
        return float(self.exponents[self.best])

    @property
    def interval(self) -> Interval:
        """Of the best law's error over the fixed k's."""
        return Interval(float(self.low[self.best]), float(self.high[self.best]))

    @property
    def law(self) -> str:
        """The best law as `asymptop study --k` takes it."""
        alpha, exponent = float(self.prefactor[self.best]), self.best_exponent
        words = f"{alpha:.0f}" if alpha >= 1000 else f"{alpha:.4g}"
        if exponent == 0:
            return words
        return f"{words}*n^{exponent:g}" if exponent > 0 else f"{words}*n^({exponent:g})"

    @property
    def at_the_edge(self) -> bool:
        """Whether the best C is the last that could be tried."""
        return self.best in (0, len(self.exponents) - 1)

    @property
    def best_exponents(self) -> Interval:
        """The C that are best in 95% of the resamples."""
        share = np.cumsum(self.chosen) / self.chosen.sum()
        tail = (1.0 - CONFIDENCE) / 2.0
        low = self.exponents[int(np.searchsorted(share, tail))]
        high = self.exponents[min(int(np.searchsorted(share, 1.0 - tail)), len(share) - 1)]
        return Interval(float(low), float(high))


def equal_cost(lengths: Array, exponent: float, fixed_k: float, cost: str) -> float:
    """alpha with sum w min(alpha n^C, n) = sum w min(K, n), w = 1 or n: monotone in alpha, found by bisection."""
    return _equal_cost(tuple(float(n) for n in lengths), exponent, fixed_k, cost)


@lru_cache(maxsize=4096)
def _equal_cost(sizes: tuple[float, ...], exponent: float, fixed_k: float, cost: str) -> float:
    lengths = np.array(sizes)
    weights = np.ones_like(lengths) if cost == "k" else lengths
    target = float(np.sum(weights * np.minimum(fixed_k, lengths)))

    def spent(log_alpha: float) -> float:
        return float(np.sum(weights * np.minimum(np.exp(log_alpha) * lengths**exponent, lengths)))

    low, high = np.log(1e-9), np.log(lengths.max()) + 1.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if spent(middle) < target else (low, middle)
    return float(np.exp(0.5 * (low + high)))


@dataclass(frozen=True)
class Place:
    """A length between two measured n: the curves and the weight of the second."""

    first: int
    second: int
    share: float


def places(sizes: Sequence[int], lengths: Sequence[int]) -> list[Place]:
    logs = np.log(np.array(sizes, dtype=float))
    places = []
    for length in lengths:
        if not sizes[0] <= length <= sizes[-1]:
            raise BudgetError(
                f"length {length} is outside the measured n, {power_of_two(sizes[0])} to {power_of_two(sizes[-1])}"
            )
        second = int(np.searchsorted(sizes, length))
        if sizes[second] == length:
            places.append(Place(second, second, 0.0))
            continue
        share = (np.log(length) - logs[second - 1]) / (logs[second] - logs[second - 1])
        places.append(Place(second - 1, second, float(share)))
    return places


def _keys_at(n: int, length: int, k: Array) -> Array:
    """The k at n that stands for k at another length: the same log k / log n."""
    return k if n == length else np.exp(np.log(k) * np.log(n) / np.log(length))


@lru_cache(maxsize=64)
def _counts(position: int, draws: int) -> Array:
    """(resample, draw): how often each draw of the n at `position` is picked, the same for every norm and law."""
    generator = np.random.default_rng([_SEED, position])
    return generator.multinomial(draws, np.full(draws, 1.0 / draws), size=RESAMPLES).astype(float)


def _resampled(curve: ErrorCurve, k: Array, position: int) -> Array:
    """(1 + resamples, k): the mean over draws, then bootstrapped means, stretched for few draws."""
    values = curve.at(k)
    mean = values.mean(axis=0)
    draws = len(values)
    if draws < 2:
        return np.concatenate([mean[None], np.full((RESAMPLES, len(mean)), np.nan)])
    means = _counts(position, draws) @ values / draws
    stretched = mean + small_sample_stretch(draws) * (means - mean)
    return np.concatenate([mean[None], np.maximum(stretched, 0.0)])


def _errors(curves: Sequence[ErrorCurve], places: Sequence[Place], lengths: Array, k: Array) -> Array:
    """(1 + resamples, C): the mean error over the lengths. `k` is (length, C)."""
    total = np.zeros((1 + RESAMPLES, k.shape[1]))
    for index, place in enumerate(places):
        parts = []
        for position in sorted({place.first, place.second}):
            wanted = np.minimum(_keys_at(curves[position].n, int(lengths[index]), k[index]), curves[position].n)
            parts.append(_resampled(curves[position], wanted, position))
        if len(parts) == 1:
            total += parts[0]
            continue
        with np.errstate(divide="ignore"):
            logs = (1.0 - place.share) * np.log(parts[0]) + place.share * np.log(parts[1])
        total += np.exp(logs)
    return total / len(places)


def compare_laws(
    series: Series, norm: Quantity, fixed_k: float, cost: str, lengths: Sequence[int] | None = None
) -> Comparison | None:
    """None where the series does not hold the norm. Raises BudgetError."""
    if not series.cases or not norm.present(series.first):
        return None
    sizes = [case.n for case in series.cases]
    wanted = np.array(sorted(lengths or sizes), dtype=float)
    found = places(sizes, [int(n) for n in wanted])
    if len(wanted) < 2:
        only = power_of_two(int(wanted[0]))
        raise BudgetError(f"at one length, n = {only}, all laws of equal cost keep the same keys: give two or more")
    if fixed_k < 1 or fixed_k >= wanted.min():
        raise BudgetError(
            f"a budget of k = {count_words(fixed_k)} is outside 1 to the shortest length, {int(wanted.min())}"
        )
    alpha = np.array([equal_cost(wanted, float(c), fixed_k, cost) for c in EXPONENTS])
    keys = np.minimum(alpha[None, :] * wanted[:, None] ** EXPONENTS[None, :], wanted[:, None])
    # Less than one key cannot be kept; a k beyond the stored ones has no measured error.
    errors = _errors([error_curve(c, norm) for c in series.cases], found, wanted, keys)
    usable = np.isfinite(errors[0]) & (keys.min(axis=0) >= 1.0)
    if not usable[_FIXED]:
        raise BudgetError(f"a budget of k = {count_words(fixed_k)} is beyond the k stored for {series.title}")
    with np.errstate(invalid="ignore", divide="ignore"):  # no error at all on either side
        ratio = errors[:, usable] / errors[:, _FIXED : _FIXED + 1]
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = ratio[0] * 0.0, ratio[0] * np.inf
    best = np.array([int(np.argmin(ratio[0]))])
    if series.draws > 1:
        with np.errstate(invalid="ignore"):  # an infinite one, where the fixed k makes no error in a resample
            low, high = np.nanpercentile(ratio[1:], [tail, 100.0 - tail], axis=0)
        best = np.argmin(ratio[1:], axis=1)
    return Comparison(
        series,
        norm,
        cost,
        fixed_k,
        tuple(int(n) for n in wanted),
        EXPONENTS[usable],
        alpha[usable],
        errors[0, usable],
        ratio[0],
        np.minimum(low, ratio[0]),
        np.maximum(high, ratio[0]),
        np.bincount(best, minlength=int(usable.sum())).astype(float),
        tuple(float(c) for c in EXPONENTS[~usable]),
    )


def fixed_k_for(series: Series, norm: Quantity, error: float) -> float | None:
    """The fixed k whose mean error over all n of the series is `error`; None outside the stored k."""
    curves = [error_curve(case, norm) for case in series.cases]
    lowest = max(1.0, max(float(np.exp(c.log_k[0])) for c in curves))
    highest = min(min(float(np.exp(c.log_k[-1])) for c in curves), float(min(c.n for c in curves)) - 1.0)
    if highest < lowest:  # one key alone has no budgets
        return None
    grid = np.geomspace(lowest, highest, 400)
    means = np.mean([curve.at(grid).mean(axis=0) for curve in curves], axis=0)
    if not means[-1] <= error <= means[0]:
        return None
    return float(np.exp(np.interp(-np.log(error), -np.log(means), np.log(grid))))
