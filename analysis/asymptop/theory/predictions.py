"""What i.i.d. Gaussian logits predict as n grows: closed forms and exponents (CLAIMS, sources T and E).

Logits of a row are N(0, sigma^2), the query is not among the keys, and sigma is below the freezing point
sqrt(2 log n), so that sums over keys equal their means. With z_k defined by Phi_c(z_k) = k/n:

    tail_mass        Phi(z_k - sigma)
    k_epsilon        n Phi_c(sigma + Phi^-1(epsilon))
    count_p_above    n Phi_c(sigma/2 + log(n t)/sigma) for p > t; n Phi_c(sigma/2) for t = 1/n
    sum p^2          exp(sigma^2) / n                        (needs 2 sigma < sqrt(2 log n))
    row_l2_error     sqrt((tau/(1-tau))^2 S2_head + S2_tail),  S2_head = exp(sigma^2) Phi_c(z_k - 2 sigma) / n,
                     S2_tail = exp(sigma^2) Phi(z_k - 2 sigma) / n

finite_size.py keeps the largest logits apart and holds at every sigma; use that beside data.
All functions broadcast over numpy arrays.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from .statistics import Array


def freezing_sigma(n: ArrayLike) -> Array:
    """sigma at which a row's weight moves to its few largest logits: sqrt(2 log n)."""
    return np.sqrt(2.0 * np.log(np.asarray(n, dtype=float)))


def kth_score(n: ArrayLike, k: ArrayLike) -> Array:
    """z_k with Phi_c(z_k) = k/n."""
    return -scipy.special.ndtri(np.asarray(k, dtype=float) / np.asarray(n, dtype=float))


def tail_mass(n: ArrayLike, k: ArrayLike, sigma: ArrayLike) -> Array:
    return scipy.special.ndtr(kth_score(n, k) - np.asarray(sigma, dtype=float))


def k_epsilon(n: ArrayLike, epsilon: ArrayLike, sigma: ArrayLike) -> Array:
    return np.asarray(n, dtype=float) * scipy.special.ndtr(
        -(np.asarray(sigma, dtype=float) + scipy.special.ndtri(epsilon))
    )


def count_p_above(n: ArrayLike, threshold: ArrayLike, sigma: ArrayLike) -> Array:
    """p_j = exp(sigma z - sigma^2/2)/n exceeds t when z > sigma/2 + log(n t)/sigma."""
    n, sigma = np.asarray(n, dtype=float), np.asarray(sigma, dtype=float)
    return n * scipy.special.ndtr(-(sigma / 2.0 + np.log(n * np.asarray(threshold, dtype=float)) / sigma))


def sum_p_squared(n: ArrayLike, sigma: ArrayLike) -> Array:
    return np.exp(np.square(np.asarray(sigma, dtype=float)) - np.log(np.asarray(n, dtype=float)))


def row_l2_error(n: ArrayLike, k: ArrayLike, sigma: ArrayLike) -> Array:
    z, sigma = kth_score(n, k), np.asarray(sigma, dtype=float)
    log_s2 = np.square(sigma) - np.log(np.asarray(n, dtype=float))
    log_odds = scipy.special.log_ndtr(z - sigma) - scipy.special.log_ndtr(sigma - z)
    head = np.exp(2.0 * log_odds + log_s2 + scipy.special.log_ndtr(2.0 * sigma - z))
    return np.sqrt(head + np.exp(log_s2 + scipy.special.log_ndtr(z - 2.0 * sigma)))


def row_linf_error(n: ArrayLike, k: ArrayLike, sigma: ArrayLike) -> Array:
    """max(p_max tau/(1-tau), p_(k+1)) with the largest logit at its median, Phi_c(z) = log(2)/n."""
    n, sigma = np.asarray(n, dtype=float), np.asarray(sigma, dtype=float)
    z = kth_score(n, k)
    odds = np.exp(scipy.special.log_ndtr(z - sigma) - scipy.special.log_ndtr(sigma - z))
    largest = np.exp(sigma * kth_score(n, np.log(2.0)) - np.square(sigma) / 2.0) / n
    return np.maximum(largest * odds, np.exp(sigma * z - np.square(sigma) / 2.0) / n)


def frobenius_over_n(n: ArrayLike, k: ArrayLike, sigma: ArrayLike) -> Array:
    """(1/n) times the Frobenius norm of an n x n difference matrix: sqrt(n row_l2^2) / n."""
    return row_l2_error(n, k, sigma) / np.sqrt(np.asarray(n, dtype=float))


def output_error_relative(n: ArrayLike, k: ArrayLike, sigma: ArrayLike) -> Array:
    """‖(p - p_hat)V‖ / ‖pV‖ for values independent of the keys: row_l2_error / sqrt(sum p^2)."""
    return row_l2_error(n, k, sigma) / np.sqrt(sum_p_squared(n, sigma))


# What claims may call by name in n, sigma and k, epsilon or t.
CLOSED_FORMS = (
    *(tail_mass, row_l2_error, row_linf_error, frobenius_over_n, output_error_relative),
    *(k_epsilon, count_p_above),
)


# sigma = c sqrt(log n), source E.


def critical_exponent(coefficient: float) -> float:
    """k = n^C suffices for tau_k -> 0 iff C exceeds this; coefficient = c < sqrt 2."""
    return 1.0 - coefficient**2 / 2.0


def largest_entry_exponent(coefficient: float) -> float:
    """p_max ~ n^e: the largest logit's weight sqrt(2) c against that of the sum, 1 + c^2/2."""
    return -((1.0 - min(coefficient, np.sqrt(2.0)) / np.sqrt(2.0)) ** 2)


def participation_exponent(coefficient: float) -> float:
    """1 / sum p^2 ~ n^e: all entries make the sum up to c = 1/sqrt 2, the largest few beyond."""
    if coefficient < np.sqrt(0.5):
        return 1.0 - coefficient**2
    return -2.0 * largest_entry_exponent(coefficient)


def count_exponent(coefficient: float) -> float:
    """#(p > 1/n) ~ n^e: z > c sqrt(log n)/2 below freezing, z > (sqrt 2 - 1/c) sqrt(log n) above."""
    root = np.sqrt(2.0)
    cut = coefficient / 2.0 if coefficient < root else root - 1.0 / coefficient
    return 1.0 - cut**2 / 2.0


def tail_exponent(coefficient: float, c: float) -> float:
    """tau_k for k = n^c at sigma = coefficient sqrt(log n), every phase."""
    if coefficient >= np.sqrt(2.0):
        return float(tail_exponent_frozen(coefficient, c))
    return float(tail_exponent_above_critical(coefficient, c)) if c > critical_exponent(coefficient) else 0.0


def tail_exponent_above_critical(coefficient: float, c: float) -> float:
    """Slope of tau_k for C between the critical exponent and 1, up to log corrections; coefficient < sqrt 2."""
    return -((coefficient - np.sqrt(2.0 * (1.0 - c))) ** 2) / 2.0


def tail_exponent_frozen(coefficient: float, c: float) -> float:
    """Slope of tau_k for coefficient > sqrt 2: minus (sqrt2 c - C - c sqrt(2(1-C)))."""
    root = np.sqrt(2.0)
    return -(root * coefficient - c - coefficient * np.sqrt(2.0 * (1.0 - c)))
