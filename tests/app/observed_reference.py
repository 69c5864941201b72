"""Orders by what other queries attended to, and by hash tables, in plain numpy: priorities over a whole context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]

# Weights are sums of fp32 scores' exponentials, and of multiples of 2^-52.
RELATIVE, ABSOLUTE = 2e-5, 2.0**-48


@dataclass(frozen=True)
class Context:
    """Queries (n, d), scaled as logits want them, and keys of a context; the places of measured queries."""

    q: Array
    k: Array
    measured: Places
    causal: bool = True
    window: int = 0
    drop: int = 0
    softcap: float = 0.0
    sink: float = -np.inf
    """A learned logit of the denominator."""
    slope: float = 0.0
    """Of ALiBi."""

    @property
    def n(self) -> int:
        return len(self.k)

    def seen(self, place: int) -> tuple[int, int]:
        end = place + 1 if self.causal else self.n
        return min(end, max(self.drop, end - self.window if self.window else 0)), end

    def last(self, count: int) -> Places:
        return np.setdiff1d(np.arange(self.n), self.measured)[-count:]

    def spaced(self, count: int) -> Places:
        count = min(count, self.n)
        return np.setdiff1d(np.arange(count) * self.n // count, self.measured)

    def weights(self, places: Places) -> Array:
        """(places, n): the softmax of each query over what it sees."""
        found = np.zeros((len(places), self.n))
        for row, place in zip(found, places, strict=True):
            begin, end = self.seen(int(place))
            scores = self.k[begin:end] @ self.q[place]
            if self.softcap > 0.0:
                scores = self.softcap * np.tanh(scores / self.softcap)
            scores = scores + self.slope * (np.arange(begin, end) - place)
            if end > begin:
                row[begin:end] = np.exp(scores - scores.max())
                row /= row.sum() + np.exp(self.sink - scores.max())
        return found


def snapkv(context: Context, count: int, pool: int) -> Array:
    return np.convolve(context.weights(context.last(count)).sum(axis=0), np.ones(pool) / pool, "same")


def h2o(context: Context, count: int, own: int) -> Array:
    """For a row at the place `own`."""
    places = context.spaced(count)
    return context.weights(places[places <= own]).sum(axis=0)


def lines(weights: Array, places: Places, own: int) -> Array:
    """Vertical and slash lines, for a row at the place `own`: of the keys up to it."""
    n = weights.shape[1]
    diagonals = np.zeros(n)
    for row, place in zip(weights, places, strict=True):
        diagonals[: place + 1] += row[place::-1]
    return np.maximum(weights.sum(axis=0)[: own + 1], diagonals[own::-1])


def vertical_slash(context: Context, count: int, own: int) -> Array:
    places = context.last(count)
    return lines(context.weights(places), places, own)


def antidiagonal_blocks(q: Array, k: Array, seen: list[tuple[int, int]], block: int, stride: int) -> Array:
    """Of the queries q (the last ones of the context), each of which sees a run of keys: per block of keys."""
    n, count = len(k), len(q)
    runs = -(-n // stride)
    total = np.zeros(-(-n // block))
    for end in range(count, 0, -stride):
        begin, last = max(0, end - stride), end
        scores = np.zeros(runs)
        for i in range(begin, last):
            keys = np.arange(last - 1 - i, n, stride)  # the last query meets the first key of every run
            scores[keys // stride] += k[keys] @ q[i] / stride
        places = [seen[i] for i in range(begin, last) if seen[i][1] > seen[i][0]]
        if not places:
            continue
        first, behind = min(a for a, _ in places) // stride, -(-max(b for _, b in places) // stride)
        e = np.exp(scores[first:behind] - scores[first:behind].max())
        np.add.at(total, np.arange(first, behind) * stride // block, e / e.sum())
    return total


def xattention(context: Context, block: int, stride: int) -> Array:
    places = np.arange(max(0, context.n - block), context.n)
    seen = [context.seen(int(place)) for place in places]
    return antidiagonal_blocks(context.q[places], context.k, seen, block, stride)


def socket(q: Array, keys: Array, planes: Array, tables: int, tau: float) -> tuple[Array, Array]:
    """Priorities, and how well they are known: a sign may hang on fp32's rounding."""
    d = len(q)
    unit = q * np.sqrt(d) / np.linalg.norm(q)
    x = np.tanh(planes @ unit) / np.sqrt(d)
    products = keys @ planes.T
    close = np.abs(products) < 1e-5 * np.abs(keys) @ np.abs(planes.T)
    chances = 1.0 / (1.0 + np.exp(-2.0 * np.where(products > 0.0, 1.0, -1.0) * x / tau))
    priority = chances.reshape(len(keys), tables, -1).prod(axis=2).sum(axis=1)
    return priority, np.where(close.any(axis=1), 1e9, RELATIVE * priority)
