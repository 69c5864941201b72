"""Expectations over i.i.d. N(0, sigma^2) logits at finite n, below and above the freezing point alike.

The few largest logits of a row carry its fluctuations, and near sigma = sqrt(2 log n) most of its weight. So the
`TOP` largest are drawn, and the sums over all keys below them are replaced by their means given the smallest of the
drawn ones, M:

    sum e^{q s} below M  =  n e^{(q sigma)^2/2} Phi(M - q sigma)

With Gamma_j the sum of j unit exponentials, the j-th largest of n normals is Phi_c^-1(Gamma_j / n) (Renyi). The
exponentials are fixed: the same for every n and sigma, so that ratios and slopes are smooth. Accurate to
about 1% for n >= 1000 and sigma up to 2 sqrt(log n), to 5% at sigma = log n, where rare rows carry the means; not for
the last few k below n (tests/analysis compares with simulated rows).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import qmc

from .statistics import Array

TOP = 24
SAMPLES = 512
_NODES = 13


def _gammas() -> Array:
    """(sample, TOP): partial sums of unit exponentials, from shifted Sobol points; the first one at midpoints."""
    shift = np.random.default_rng(7).random(TOP)
    shift[0] = 0.5 / SAMPLES
    uniform = (qmc.Sobol(TOP, scramble=False).random(SAMPLES) + shift) % 1.0
    return np.cumsum(-np.log1p(-uniform), axis=1)


_GAMMAS = _gammas()


@dataclass(frozen=True)
class Profile:
    """Sampled rows at one (n, sigma): weights are in units of the mean weight sum, n e^{sigma^2/2}."""

    n: float
    sigma: float
    floor: Array  # (sample,) smallest drawn score
    top: Array  # (sample, TOP) weights of the largest keys
    total: Array  # (sample,)
    squares: Array  # (sample,) sum of squared weights


def _square_below(n: float, sigma: float, score: Array) -> Array:
    """Sum of squared weights of all keys below a score; exp(sigma^2) alone would overflow for large n."""
    return np.exp(sigma**2 - np.log(n) + log_ndtr(score - 2.0 * sigma))


@lru_cache(maxsize=256)
def profile(n: float, sigma: float) -> Profile:
    top_count = int(min(TOP, n))
    scores = -ndtri(np.minimum(_GAMMAS[:, :top_count] / n, 1.0 - 1e-12))
    floor = scores[:, -1]
    top = np.exp(sigma * scores - sigma**2 / 2.0) / n
    total = top.sum(axis=1) + ndtr(floor - sigma)
    squares = np.square(top).sum(axis=1) + _square_below(n, sigma, floor)
    return Profile(n, sigma, floor, top, total, squares)


def _tail(row: Profile, k: int) -> tuple[Array, Array, Array]:
    """(weight, squared weight, largest weight) of the keys past the k largest, per sample."""
    count = row.top.shape[1]
    if k >= count:
        above_floor = ndtr(-row.floor)
        share = (k - count) / (row.n - count) if row.n > count else 1.0
        score = -ndtri(above_floor + share * (1.0 - above_floor))
        weight = ndtr(score - row.sigma)
        square = _square_below(row.n, row.sigma, score)
        largest = np.exp(row.sigma * score - row.sigma**2 / 2.0) / row.n
        return weight, square, largest
    below, below_square, _ = _tail(row, count)
    return (
        row.top[:, k:].sum(axis=1) + below,
        np.square(row.top[:, k:]).sum(axis=1) + below_square,
        row.top[:, k],
    )


def tail_mass(row: Profile, k: int) -> float:
    return float(np.mean(_tail(row, k)[0] / row.total))


def _row_l2_squared(row: Profile, k: int) -> Array:
    weight, square, _ = _tail(row, k)
    odds = weight / (row.total - weight)
    return (np.square(odds) * (row.squares - square) + square) / np.square(row.total)


def row_l2_error(row: Profile, k: int) -> float:
    return float(np.mean(np.sqrt(_row_l2_squared(row, k))))


def row_l2_squared(row: Profile, k: int) -> float:
    return float(np.mean(_row_l2_squared(row, k)))


def row_linf_error(row: Profile, k: int) -> float:
    weight, _, largest = _tail(row, k)
    odds = weight / (row.total - weight)
    return float(np.mean(np.maximum(row.top[:, 0] * odds, largest) / row.total)) if k < row.n else 0.0


def k_epsilon(row: Profile, epsilon: float) -> float:
    """Smallest k with tail_mass <= epsilon, per sample: from the drawn keys where few suffice, else from the bulk."""
    count = row.top.shape[1]
    bulk_weight = ndtr(row.floor - row.sigma)
    target = epsilon * row.total
    with np.errstate(divide="ignore"):
        score = row.sigma + ndtri(np.minimum(target, bulk_weight))
    bulk = row.n * ndtr(-np.minimum(score, row.floor))
    tails = row.total[:, None] - np.cumsum(row.top, axis=1)
    reached = tails <= target[:, None]
    few = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, count)
    return float(np.mean(np.where(target >= bulk_weight, few, bulk)))


def largest_score(row: Profile) -> float:
    """Mean of the largest of n standard normals."""
    return float(np.mean(-ndtri(_GAMMAS[:, 0] / row.n)))


def output_error_relative(row: Profile, k: int) -> float:
    """‖(p - p_hat)V‖ / ‖pV‖ for values that do not depend on the keys: the values' scale cancels."""
    return float(np.mean(np.sqrt(_row_l2_squared(row, k) * np.square(row.total) / row.squares)))


def participation_ratio(row: Profile) -> float:
    return float(np.mean(np.square(row.total) / row.squares))


def sum_p_squared(row: Profile) -> float:
    return float(np.mean(row.squares / np.square(row.total)))


def p_max(row: Profile) -> float:
    return float(np.mean(row.top[:, 0] / row.total))


def _entropy(row: Profile) -> Array:
    """log(sum w) - sum w log w / sum w, with w = n e^{sigma^2/2} times the stored weight."""
    sigma, unit = row.sigma, np.log(row.n) + row.sigma**2 / 2.0
    shifted = row.floor - sigma
    density = np.exp(-np.square(shifted) / 2.0) / np.sqrt(2.0 * np.pi)
    score_sum = sigma * (sigma * ndtr(shifted) - density)
    score_sum = score_sum + np.sum(row.top * (np.log(row.top) + unit), axis=1)
    return np.log(row.total) + unit - score_sum / row.total


def entropy_nats(row: Profile) -> float:
    return float(np.mean(_entropy(row)))


def exp_entropy(row: Profile) -> float:
    return float(np.mean(np.exp(_entropy(row))))


def count_p_above(row: Profile, threshold: float) -> float:
    """Number of keys with p > threshold."""
    cut = threshold * row.total
    drawn = np.sum(row.top > cut[:, None], axis=1)
    score = (np.log(cut * row.n) + row.sigma**2 / 2.0) / row.sigma
    count = row.top.shape[1]
    bulk = np.maximum(row.n * ndtr(-score), count)
    return float(np.mean(np.where(drawn == count, bulk, drawn)))


def draw_means(n: int, sigma_i: NDArray[np.float64], function: Callable[[Profile], float]) -> Array:
    """Mean over the rows of each draw of an expectation at every row's own sigma_i.

    `function` is evaluated at a few sigma between the smallest and the largest and interpolated in its logarithm
    where it is positive, linearly in its value otherwise.
    """
    low, high = float(np.min(sigma_i)), float(np.max(sigma_i))
    if high - low <= 1e-6 * high:
        return np.full(sigma_i.shape[0], function(profile(n, 0.5 * (low + high))))
    nodes = np.linspace(low, high, _NODES)
    values = np.array([function(profile(n, s)) for s in nodes])
    if np.all(values > 0):
        return np.exp(CubicSpline(nodes, np.log(values))(sigma_i)).mean(axis=1)
    return np.interp(sigma_i, nodes, values).mean(axis=1)
