"""What i.i.d. Gaussian logits of a head's sigma make of its rows: the regime at each n, and a law of k for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import finite_size


@dataclass(frozen=True)
class Prediction:
    """At one n: c of sigma = c sqrt(log n), effective entries and the k that a tail mass of epsilon takes."""

    n: int
    c: float
    phase: str
    entries: float
    p_max: float
    k_epsilon: float
    law_k: int
    tail_mass: float
    row_error: float


def phase_words(c: float) -> str:
    """How a row's weight lies at this n: c = sqrt 2 is where the few largest entries take over."""
    if c < math.sqrt(0.5):
        return "spread"
    return "thinning" if c < math.sqrt(2.0) else "frozen"


def _keys_for(row: finite_size.Profile, n: int, epsilon: float) -> int:
    """The smallest k whose mean tail mass is at most epsilon."""
    low, high = 0, n
    while high - low > max(1, high >> 12):
        middle = (low + high) // 2
        low, high = (low, middle) if finite_size.tail_mass(row, middle) <= epsilon else (middle, high)
    return high


def recommend(sigma: float, sizes: Sequence[int], epsilon: float) -> tuple[str, tuple[Prediction, ...]]:
    """The law a n^C that keeps the mean tail mass at epsilon at these n, and what it gives at each of them."""
    rows = [finite_size.profile(float(n), max(sigma, 1e-6)) for n in sizes]
    needed = np.array([float(_keys_for(row, n, epsilon)) for n, row in zip(sizes, rows, strict=True)])
    exponent = 0.0
    if len(sizes) > 1:
        exponent = float(np.polyfit(np.log(np.array(sizes, dtype=float)), np.log(needed), 1)[0])
        exponent = round(min(max(exponent, 0.0), 1.0), 3)
    # The smallest prefactor that keeps the error at every one of the n.
    prefactor = float(np.max(needed / np.array(sizes, dtype=float) ** exponent))
    prefactor = min(prefactor, 1.0) if exponent == 1.0 else prefactor
    law = f"{prefactor:.4g}*n^{exponent:g}" if exponent not in (0.0, 1.0) else f"{prefactor:.4g}{'*n' * int(exponent)}"
    found = []
    for n, row, k in zip(sizes, rows, needed, strict=True):
        chosen = min(n, max(1, math.ceil(prefactor * n**exponent * (1.0 - 1e-9))))
        c = sigma / math.sqrt(math.log(n))
        found.append(
            Prediction(
                n,
                c,
                phase_words(c),
                finite_size.exp_entropy(row),
                finite_size.p_max(row),
                float(k),
                chosen,
                finite_size.tail_mass(row, chosen),
                finite_size.row_error(row, chosen),
            )
        )
    return law, tuple(found)
