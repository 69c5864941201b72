"""Expectations over i.i.d. N(0, sigma^2) logits at finite n, below and above the freezing point alike.

The few largest logits of a row carry its fluctuations, and near sigma = sqrt(2 log n) most of its weight. So the
`TOP` largest are drawn, and the sums over all keys below them are replaced by their means given the smallest of the
drawn ones, M:

    sum e^{q s} below M  =  n e^{(q sigma)^2/2} Phi(M - q sigma)

With Gamma_j the sum of j unit exponentials, the j-th largest of n normals is Phi_c^-1(Gamma_j / n) (Renyi). The
exponentials are fixed: the same for every n and sigma, so that ratios and slopes are smooth. Accurate to
about 1% for n >= 1000 and sigma up to 2 sqrt(log n), to 5% at sigma = log n, where rare rows carry the means; not for
the last few k below n (tests/analysis compares with simulated rows).

Everything is kept as a logarithm, so that n reaches 2^1000 and sigma log n: there weights span thousands of decades.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from .statistics import Array

TOP = 24
SAMPLES = 512
_NODES = 13


@lru_cache(maxsize=1)
def _log_gammas() -> Array:
    """(sample, TOP): logs of sums of 1, 2, ... unit exponentials, from shifted Sobol points; the first at midpoints."""
    shift = np.random.default_rng(7).random(TOP)
    shift[0] = 0.5 / SAMPLES
    uniform = (scipy.stats.qmc.Sobol(TOP, scramble=False).random(SAMPLES) + shift) % 1.0
    return np.log(np.cumsum(-np.log1p(-uniform), axis=1))


@dataclass(frozen=True)
class Profile:
    """Sampled rows at one (n, sigma). Weights are in units of the mean weight sum, n e^{sigma^2/2}, as logarithms."""

    n: float
    sigma: float
    floor: Array  # (sample,) smallest drawn score
    top: Array  # (sample, TOP) log weights of the largest keys
    total: Array  # (sample,)
    squares: Array  # (sample,) log of the sum of squared weights

    @property
    def log_n(self) -> float:
        return float(np.log(self.n))


def _log_sum(logs: Array) -> Array:
    """log of the sum of exponentials over the last axis; scipy's is several times slower on small arrays."""
    highest = logs.max(axis=-1)
    shift = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        return shift + np.log(np.exp(logs - shift[..., None]).sum(axis=-1))


def _log_difference(high: Array, low: Array) -> Array:
    """log(e^high - e^low), -inf where they are equal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(low < high, high + np.log(-np.expm1(np.minimum(low - high, 0.0))), -np.inf)


def _log_between(low: Array, high: Array) -> Array:
    """log(Phi(high) - Phi(low)), from the side on which both are small."""
    right = low > 0
    return np.where(
        right,
        _log_difference(scipy.special.log_ndtr(-low), scipy.special.log_ndtr(-high)),
        _log_difference(scipy.special.log_ndtr(high), scipy.special.log_ndtr(low)),
    )


def _square_unit(n: float, sigma: float) -> float:
    """log of the mean sum of squared weights."""
    return sigma**2 - float(np.log(n))


@lru_cache(maxsize=512)
def profile(n: float, sigma: float) -> Profile:
    count = int(min(TOP, n))
    scores = -scipy.special.ndtri_exp(np.minimum(_log_gammas()[:, :count] - np.log(n), np.log1p(-1e-12)))
    floor = scores[:, -1]
    top = sigma * scores - sigma**2 / 2.0 - np.log(n)
    total = np.logaddexp(_log_sum(top), scipy.special.log_ndtr(floor - sigma))
    below = _square_unit(n, sigma) + scipy.special.log_ndtr(floor - 2.0 * sigma)
    return Profile(n, sigma, floor, top, total, np.logaddexp(_log_sum(2.0 * top), below))


@dataclass(frozen=True)
class _Split:
    """Logs of (sample,) sums over the k largest keys and over the rest, of weights and squared weights."""

    head: Array
    tail: Array
    head_squares: Array
    tail_squares: Array
    largest_left: Array


def _scores_at(row: Profile, k: float | Array) -> Array:
    """(sample,) or (k, sample): the score of the k-th largest key, for k beyond the drawn ones."""
    count = row.top.shape[1]
    above = scipy.special.ndtr(-row.floor)
    share = (k - count) / (row.n - count) if row.n > count else np.ones(np.shape(k))
    with np.errstate(divide="ignore"):
        return -scipy.special.ndtri_exp(np.minimum(np.log(above + share * (1.0 - above)), 0.0))


def _split(row: Profile, k: int) -> _Split:
    count, sigma, unit = row.top.shape[1], row.sigma, _square_unit(row.n, row.sigma)
    score = _scores_at(row, k) if k > count else row.floor
    kept = row.top[:, : min(k, count)]
    head, head_squares = _log_sum(kept), _log_sum(2.0 * kept)
    tail, tail_squares = scipy.special.log_ndtr(score - sigma), unit + scipy.special.log_ndtr(score - 2.0 * sigma)
    largest = sigma * score - sigma**2 / 2.0 - row.log_n
    if k > count:
        head = np.logaddexp(head, _log_between(score - sigma, row.floor - sigma))
        between = _log_between(score - 2.0 * sigma, row.floor - 2.0 * sigma)
        head_squares = np.logaddexp(head_squares, unit + between)
    elif k < count:
        left = row.top[:, k:]
        tail = np.logaddexp(tail, _log_sum(left))
        tail_squares = np.logaddexp(tail_squares, _log_sum(2.0 * left))
        largest = left[:, 0]
    return _Split(head, tail, head_squares, tail_squares, largest)


def _log_mean(logs: Array) -> Array:
    """log of the mean over samples, the last axis."""
    return _log_sum(logs) - np.log(logs.shape[-1])


def _mean(logs: Array, log: bool) -> float:
    """The mean over samples, from their logarithms; its own logarithm on request, where it may be below 1e-308."""
    mean = float(_log_mean(logs))
    return mean if log else float(np.exp(mean))


def log_tail_masses(row: Profile, k: Array) -> Array:
    """(k,): logarithms of the tail mass at whole k, which may be beyond any integer type; all bulk ones at once."""
    count = row.top.shape[1]
    means = np.empty(len(k))
    bulk = k > count
    if bulk.any():
        tails = scipy.special.log_ndtr(_scores_at(row, k[bulk, None]) - row.sigma)
        means[bulk] = _log_mean(tails - row.total)
    below = scipy.special.log_ndtr(row.floor - row.sigma)
    for index in np.flatnonzero(~bulk):
        left = row.top[:, int(k[index]) :]
        tail = np.logaddexp(below, _log_sum(left)) if left.shape[1] else below
        means[index] = _log_mean(tail - row.total)
    return means


def tail_mass(row: Profile, k: int, log: bool = False) -> float:
    mean = float(log_tail_masses(row, np.array([float(k)]))[0])
    return mean if log else float(np.exp(mean))


@dataclass(frozen=True)
class _Errors:
    """Logs of the means over samples of the errors at one k, in all norms but the tail mass."""

    l2: float
    l2_squared: float
    linf: float
    output: float


# One split of the row serves all norms, which the claims and figures ask for one after the other.
@lru_cache(maxsize=65536)
def _errors(n: float, sigma: float, k: int) -> _Errors:
    row = profile(n, sigma)
    parts = _split(row, k)
    # In the units of the weights: divided by the squared total it is the squared error.
    squared = np.logaddexp(2.0 * (parts.tail - parts.head) + parts.head_squares, parts.tail_squares)
    largest = np.maximum(row.top[:, 0] + parts.tail - parts.head, parts.largest_left)
    return _Errors(
        _mean(0.5 * squared - row.total, log=True),
        _mean(squared - 2.0 * row.total, log=True),
        _mean(largest - row.total, log=True),
        _mean(0.5 * (squared - row.squares), log=True),
    )


def _error(mean: float, log: bool) -> float:
    return mean if log else float(np.exp(mean))


def row_error(row: Profile, k: int, log: bool = False) -> float:
    return _error(_errors(row.n, row.sigma, k).l2, log)


def row_l2_squared(row: Profile, k: int, log: bool = False) -> float:
    return _error(_errors(row.n, row.sigma, k).l2_squared, log)


def row_linf_error(row: Profile, k: int, log: bool = False) -> float:
    return _error(_errors(row.n, row.sigma, k).linf, log)


def k_epsilon(row: Profile, epsilon: float, log: bool = False) -> float:
    """Smallest k with tail_mass <= epsilon, per sample: from the drawn keys where few suffice, else from the bulk."""
    bulk_weight = scipy.special.log_ndtr(row.floor - row.sigma)
    target = np.log(epsilon) + row.total
    score = row.sigma + scipy.special.ndtri_exp(np.minimum(target, bulk_weight))
    bulk = row.log_n + scipy.special.log_ndtr(-np.minimum(score, row.floor))
    # Tails past the first 1, 2, ... drawn keys, summed from the small end.
    ends = np.concatenate([bulk_weight[:, None], row.top[:, :0:-1]], axis=1)
    tails = np.logaddexp.accumulate(ends, axis=1)[:, ::-1]
    reached = tails <= target[:, None]
    few = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, row.top.shape[1])
    return _mean(np.where(target >= bulk_weight, np.log(few), bulk), log)


def largest_score(row: Profile, log: bool = False) -> float:
    """Mean of the largest of n standard normals."""
    mean = float(np.mean(-scipy.special.ndtri_exp(_log_gammas()[:, 0] - row.log_n)))
    return float(np.log(mean)) if log else mean


def output_error_relative(row: Profile, k: int, log: bool = False) -> float:
    """‖(p - p_hat)V‖ / ‖pV‖ for values that do not depend on the keys: the values' scale cancels."""
    return _error(_errors(row.n, row.sigma, k).output, log)


def participation_ratio(row: Profile, log: bool = False) -> float:
    return _mean(2.0 * row.total - row.squares, log)


def sum_p_squared(row: Profile, log: bool = False) -> float:
    return _mean(row.squares - 2.0 * row.total, log)


def p_max(row: Profile, log: bool = False) -> float:
    return _mean(row.top[:, 0] - row.total, log)


def _entropy(row: Profile) -> Array:
    """log(sum w) - sum w log w / sum w, with w = n e^{sigma^2/2} times the stored weight."""
    sigma, unit = row.sigma, row.log_n + row.sigma**2 / 2.0
    shifted = row.floor - sigma
    log_density = -np.square(shifted) / 2.0 - 0.5 * np.log(2.0 * np.pi)
    bulk = sigma * (sigma * np.exp(scipy.special.log_ndtr(shifted) - row.total) - np.exp(log_density - row.total))
    drawn = np.sum(np.exp(row.top - row.total[:, None]) * (row.top + unit), axis=1)
    return row.total + unit - bulk - drawn


def entropy_nats(row: Profile, log: bool = False) -> float:
    mean = float(np.mean(_entropy(row)))
    return float(np.log(mean)) if log else mean


def exp_entropy(row: Profile, log: bool = False) -> float:
    return _mean(_entropy(row), log)


def count_p_above(row: Profile, threshold: float, log: bool = False) -> float:
    """Number of keys with p > threshold."""
    cut = np.log(threshold) + row.total
    drawn = np.sum(row.top > cut[:, None], axis=1)
    score = (cut + row.log_n) / row.sigma + row.sigma / 2.0
    count = row.top.shape[1]
    bulk = np.maximum(row.log_n + scipy.special.log_ndtr(-score), np.log(count))
    with np.errstate(divide="ignore"):
        return _mean(np.where(drawn == count, bulk, np.log(drawn)), log)


def draw_means(n: int, sigma_i: NDArray[np.float64], log_function: Callable[[Profile], float]) -> Array:
    """Mean over the rows of each draw of an expectation at every row's own sigma_i.

    `log_function`, the logarithm of the expectation, is evaluated at a few sigma between the smallest and the largest
    and interpolated; where it is -inf somewhere, the expectation itself is, linearly.
    """
    low, high = float(np.min(sigma_i)), float(np.max(sigma_i))
    if high - low <= 1e-6 * high:
        return np.full(sigma_i.shape[0], np.exp(log_function(profile(n, 0.5 * (low + high)))))
    nodes = np.linspace(low, high, _NODES)
    logs = np.array([log_function(profile(n, s)) for s in nodes])
    if np.all(np.isfinite(logs)):
        return np.exp(scipy.interpolate.CubicSpline(nodes, logs)(sigma_i)).mean(axis=1)
    return np.interp(sigma_i, nodes, np.exp(logs)).mean(axis=1)
