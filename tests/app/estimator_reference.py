"""Estimators in plain numpy: the permutation that keys are drawn by, what is kept, and the weighted sums over it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from synthetic_input import Draw

Array = NDArray[np.float64]
Keys = NDArray[np.int64]
SELECTION = 10
_64 = 2**64
_32 = 2**32


def row_name(seed: int, draw: int, n: int, d: int, head: int, row: int) -> int:
    """What names a row for its random choices; head: -1 for synthetic input."""
    high, low = Draw(seed, draw, n, d).stream(SELECTION)
    return ((high << 32 | low) + row * 0xD1342543DE82EF95 + (head + 1) * 0x2545F4914F6CDD1D) % _64


def _mixed(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % _64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % _64
    return x ^ (x >> 31)


def _of_round(half: int, key: int) -> int:
    x = (half * 0x9E3779B9 + key) % _32
    x = (x ^ (x >> 16)) * 0x85EBCA6B % _32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % _32
    return x ^ (x >> 16)


def permutation(name: int, size: int) -> Keys:
    """A Feistel network of six rounds over the next power of two, walked until it comes back into range."""
    keys = []
    for _ in range(6):
        name = (name + 0x9E3779B97F4A7C15) % _64
        keys.append(_mixed(name) >> 32)
    bits = max(2, (size - 1).bit_length())
    low_bits = bits // 2
    low_mask, high_mask = (1 << low_bits) - 1, (1 << (bits - low_bits)) - 1
    found = []
    for place in range(size):
        at = place
        while True:
            high, low = at >> low_bits, at & low_mask
            for r in range(0, 6, 2):
                high ^= _of_round(low, keys[r]) & high_mask
                low ^= _of_round(high, keys[r + 1]) & low_mask
            at = high << low_bits | low
            if at < size:
                break
        found.append(at)
    return np.array(found)


@dataclass(frozen=True)
class Weighted:
    """Keys that are kept, each with its weight; `sink` as e: what a learned sink adds to either denominator."""

    keys: Keys
    weights: Array

    def denominator_error(self, e: Array, sink: float = 0.0) -> float:
        return abs(float(self.weights @ e[self.keys] + sink) / float(e.sum() + sink) - 1.0)

    def output_error(self, e: Array, values: Array, sink: float = 0.0) -> float:
        w = self.weights * e[self.keys]
        return float(np.linalg.norm(e @ values / (e.sum() + sink) - w @ values[self.keys] / (w.sum() + sink)))


def window_keys(n: int, sinks: int, recent: int) -> Keys:
    """The first ones forwards, then the recent ones backwards, each once."""
    first = min(n, sinks)
    return np.array([*range(first), *range(n - 1, max(first, n - recent) - 1, -1)], dtype=np.int64)


def random_keys(order: Keys, k: int, sinks: int, recent: int) -> Weighted:
    n = len(order)
    forced = window_keys(n, sinks, recent)
    others = order[~np.isin(order, forced)]
    if k <= len(forced):
        return Weighted(forced[:k], np.ones(k))
    drawn = others[: k - len(forced)]
    weight = (n - len(forced)) / len(drawn) if len(drawn) else 1.0
    return Weighted(np.concatenate([forced, drawn]), np.repeat([1.0, weight], [len(forced), len(drawn)]))


@dataclass(frozen=True)
class Bound:
    """Parameters of vAttention, and how many keys it draws."""

    sinks: int
    recent: int
    base: float
    epsilon: float
    delta: float
    sink: float = 0.0
    """As e: what a learned sink adds to the denominator."""

    def forced(self, e: Array, k: int) -> Keys:
        best = np.argsort(-e, kind="stable")[:k]
        return np.union1d(best, window_keys(len(e), self.sinks, self.recent))

    def others(self, order: Keys, e: Array, k: int) -> Keys:
        """Keys that may be drawn, in the order of drawing."""
        return order[~np.isin(order, self.forced(e, k))]

    def count(self, others: Keys, e: Array) -> float:
        """Unrounded, before it is clamped to [base, N]."""
        base = others[: self.base_count(len(others))]
        if not len(base):
            return 0.0
        mean = e[base].mean()
        deviation = e[base].std(ddof=1) if len(base) > 1 else 0.0
        total = np.delete(e, others).sum() + len(others) * mean + self.sink
        z = NormalDist().inv_cdf(1.0 - self.delta)
        return float((z * deviation * len(others) / (self.epsilon * total)) ** 2)

    def base_count(self, others: int) -> int:
        return min(others, max(32, int(np.ceil(self.base * others))))

    def kept(self, order: Keys, e: Array, k: int, count: int) -> Weighted:
        """With `count` keys drawn."""
        forced, drawn = self.forced(e, k), self.others(order, e, k)[:count]
        weight = (len(e) - len(forced)) / count if count else 1.0
        return Weighted(np.concatenate([forced, drawn]), np.repeat([1.0, weight], [len(forced), len(drawn)]))


@dataclass(frozen=True)
class Tables:
    """Hash tables of MagicPIG: parameters, and what they keep of a row."""

    bits: int
    tables: int
    sinks: int
    recent: int

    def planes(self, seed: int, draw: int, n: int, d: int) -> Array:
        count = self.bits * self.tables
        return Draw(seed, draw, n, d).normals(SELECTION, np.arange(count, dtype=np.uint64))

    def chance(self, p: Array) -> Array:
        table = p**self.bits
        miss = (1.0 - table) ** self.tables
        return 1.0 - miss - self.tables * table * (1.0 - table) ** (self.tables - 1)

    def kept(self, q: Array, keys: Array, mean: Array, planes: Array) -> tuple[Weighted, bool]:
        """And whether rounding to fp32 may change it: keys the row sees, the mean of all keys."""
        centred = keys - mean
        of_keys, of_query = centred @ planes.T, planes @ q
        same = ((of_keys > 0.0) == (of_query > 0.0)).reshape(len(keys), self.tables, self.bits)
        close = [np.abs(x) < 1e-5 * np.abs(y) @ np.abs(planes.T) for x, y in ((of_keys, centred), (of_query, q))]
        count = same.all(axis=2).sum(axis=1)
        cosine = centred @ q / np.maximum(np.linalg.norm(centred, axis=1) * np.linalg.norm(q), 1e-300)
        weights = 1.0 / np.clip(self.chance(1.0 - np.arccos(np.clip(cosine, -1.0, 1.0)) / np.pi), 2.0**-30, 1.0)
        forced = window_keys(len(keys), self.sinks, self.recent)
        weights[forced] = 1.0
        kept = np.union1d(np.flatnonzero(count >= 2), forced)
        return Weighted(kept, weights[kept]), bool(close[0].any() or close[1].any())
