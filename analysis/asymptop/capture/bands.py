"""Masks and biases as a tensor file says them, from what a model shows of a few rows; or that they cannot be said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """Keys that a query at position p sees: all, or those up to p; of these the last `window` where that is not 0."""

    causal: bool
    window: int = 0

    def visible(self, positions: NDArray[np.integer], keys: int) -> NDArray[np.bool_]:
        """(rows, keys)"""
        distance = np.arange(keys)[np.newaxis, :] - np.asarray(positions)[:, np.newaxis]
        seen = np.ones(distance.shape, dtype=bool)
        if self.causal:
            seen &= distance <= 0
        if self.window:
            seen &= distance > -self.window
        return seen


def band_of(visible: NDArray[np.bool_], positions: NDArray[np.integer]) -> Band | None:
    """The band of rows at these positions over keys 0, 1, ...; None where it is none."""
    if visible.all() and not (len(positions) and np.all(np.asarray(positions) == visible.shape[1] - 1)):
        return Band(causal=False)
    first = visible.argmax(axis=1)
    cut = first > 0
    window = int(np.max(np.asarray(positions)[cut] - first[cut] + 1)) if cut.any() else 0
    found = Band(causal=True, window=max(0, window))
    return found if np.array_equal(found.visible(positions, visible.shape[1]), visible) else None


def shown(visible: NDArray[np.bool_], positions: NDArray[np.integer]) -> str:
    """What the row in the middle sees, in words."""
    row = len(positions) // 2
    keys = np.flatnonzero(visible[row])
    if not keys.size:
        return f"position {positions[row]} sees no key"
    gaps = "" if keys.size == keys[-1] - keys[0] + 1 else f", {keys.size} of them"
    return f"position {positions[row]} sees keys {keys[0]} to {keys[-1]}{gaps}"


def slopes_of(bias: Array, visible: NDArray[np.bool_]) -> Array | None:
    """a of each head where bias (heads, rows, keys) is a * key + (anything of the row) over visible keys; else None.

    A number that all keys of a row get leaves the softmax as it is: a * (key - query) is of the same kind.
    """
    heads, rows, keys = bias.shape
    places = np.arange(keys, dtype=np.float64)
    slopes = np.zeros(heads)
    for head in range(heads):
        ranges = [(bias[head, row, visible[row]], places[visible[row]]) for row in range(rows)]
        values, at = max(ranges, key=lambda pair: len(pair[1]))
        if len(at) > 1:
            slopes[head] = (values[-1] - values[0]) / (at[-1] - at[0])
        for values, at in ranges:
            expected = values[:1] + slopes[head] * (at - at[:1])
            if not np.allclose(values, expected, rtol=1e-4, atol=1e-5 + 1e-4 * abs(slopes[head])):
                return None
    return slopes
