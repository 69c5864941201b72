"""Keys, queries and values of a synthetic study made again with numpy in float64, from the definitions alone.

Philox4x32-10 by Salmon et al. (2011), Box-Muller as `kernels/input/philox_normal.hpp` defines it, and the inputs of
`kernels/input/input_kind.hpp`. Numbers agree with the binary's fp32 to about 1e-6 of their size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from brute_force import Array
from numpy.typing import NDArray

Words = NDArray[np.uint64]
LOW = np.uint64(0xFFFFFFFF)
KEYS, VALUES, QUERIES, CENTRES, NEEDLES = 1, 2, 3, 8, 9


def philox(counter: list[Words], key: tuple[int, int]) -> list[Words]:
    """Ten rounds on counters of four words each."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0 = (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0)
        c2 = (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & LOW, p0 & LOW
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


def box_muller(a: Words, b: Words) -> tuple[Array, Array]:
    """Two normals of two words: a is a signed fraction of 2^32 plus a half, b an angle with two bits of symmetry."""
    signed_a, signed_b = a.astype(np.uint32).astype(np.int32), b.astype(np.uint32).astype(np.int32)
    u = (signed_a + 0.5) / 2.0**32
    log_u = np.where(u < 0.0, np.log1p(np.minimum(u, 0.0)), np.log(np.maximum(u, 1e-300)))
    radius = np.sqrt(-2.0 * log_u)
    angle = math.pi / 4.0 * signed_b / 2.0**31
    cosine = np.where(b & np.uint64(1), -np.cos(angle), np.cos(angle))
    sine = np.sin(angle)
    swap = (b & np.uint64(2)) != 0
    return radius * np.where(swap, sine, cosine), radius * np.where(swap, cosine, sine)


@dataclass(frozen=True)
class Draw:
    """One draw of a group: what its streams are named after."""

    seed: int
    draw: int
    n: int
    d: int

    def stream(self, tensor: int) -> tuple[int, int]:
        low, high = self.n % 2**32, self.n // 2**32
        first = [int(w) for w in philox([low, high, self.d, tensor], (self.seed % 2**32, self.seed // 2**32))]
        second = philox([self.draw, 0, first[2], first[3]], (first[0], first[1]))
        return int(second[0]), int(second[1])

    def words(self, tensor: int, rows: Words, groups: int, first_group: int = 0) -> list[Words]:
        """Four words, each (rows, groups)."""
        row, group = np.meshgrid(rows, np.arange(groups, dtype=np.uint64) + np.uint64(first_group), indexing="ij")
        return philox([row & LOW, row >> np.uint64(32), group, np.zeros_like(row)], self.stream(tensor))

    def normals(self, tensor: int, rows: Words, d: int | None = None) -> Array:
        width = self.d if d is None else d
        words = self.words(tensor, rows, -(-width // 4))
        quads = [*box_muller(words[0], words[1]), *box_muller(words[2], words[3])]
        return np.concatenate(quads, axis=1)[:, :width]

    def distinct_positions(self, tensor: int, count: int) -> NDArray[np.int64]:
        """The first of a Fisher-Yates shuffle of [0, n)."""
        order = list(range(self.n))
        words = self.words(tensor, np.arange(count, dtype=np.uint64), 1)
        for i in range(count):
            random = int(words[0][i, 0]) * 2**32 + int(words[1][i, 0])
            j = i + random % (self.n - i)
            order[i], order[j] = order[j], order[i]
        return np.array(order[:count])


def ar1_rows(draw: Draw, tensor: int, rows: int, rho: float) -> Array:
    """Rows [0, rows): every row whose number is no multiple of 2^levels from those 2^l before and after it."""
    levels = 0 if rho == 0.0 else max(0, math.ceil(math.log2(-26.0 * math.log(2.0) / math.log(abs(rho)))))
    top = 2**levels
    x = draw.normals(tensor, np.arange(rows // top * top + top + 1, dtype=np.uint64))
    for level in reversed(range(levels)):
        h = 2**level
        at = np.arange(h, len(x), 2 * h)
        near, far = rho**h, rho ** (2 * h)
        x[at] = near / (1.0 + far) * (x[at - h] + x[at + h]) + math.sqrt((1.0 - far) / (1.0 + far)) * x[at]
    return x[:rows]


def centres(draw: Draw, count: int, spread: float) -> Array:
    c = draw.normals(CENTRES, np.arange(count, dtype=np.uint64))
    c -= c.mean(axis=0)
    return c * math.sqrt((1.0 - spread**2) * draw.d / np.mean(np.sum(c**2, axis=1)))


def input_rows(draw: Draw, tensor: int, rows: int, name: str) -> Array:
    """Rows [0, rows) of a tensor of the input that --inputs names, nothing planted."""
    kind, *numbers = name.split(":")
    which = np.arange(rows, dtype=np.uint64)
    if kind in ("uniform", "rademacher"):
        words = np.concatenate(draw.words(tensor, which, -(-draw.d // 4)), axis=1)[:, : draw.d]
        signed = words.astype(np.uint32).astype(np.int32)
        return math.sqrt(3.0) * (signed + 0.5) / 2.0**31 if kind == "uniform" else np.where(signed < 0, -1.0, 1.0)
    if kind == "student":
        nu, half = float(numbers[0]), -(-draw.d // 2)
        x = draw.normals(tensor, which, 4 * half).reshape(rows, 2, 2, half)
        square = np.sum(x**2, axis=2)
        t = x[:, :, 0] / np.sqrt(square) * np.sqrt(nu * np.expm1(square / nu))
        return t.reshape(rows, 2 * half)[:, : draw.d] * (math.sqrt((nu - 2.0) / nu) if nu > 2.0 else 1.0)
    if kind == "ar1" and tensor == KEYS:
        return ar1_rows(draw, tensor, rows, float(numbers[0]))
    x = draw.normals(tensor, which)
    if kind == "sphere":
        x *= math.sqrt(draw.d) / np.linalg.norm(x, axis=1, keepdims=True)
    if kind == "clusters":
        count, spread = int(numbers[0]), float(numbers[1])
        cluster = draw.words(tensor, which, 1, 2**31)[0][:, 0] * np.uint64(count) >> np.uint64(32)
        x = centres(draw, count, spread)[cluster.astype(np.int64)] + spread * x
    return x


def deviation(draw: Draw, q: Array, name: str) -> Array:
    """Standard deviation of q x over random keys x."""
    kind, *numbers = name.split(":")
    norm = np.linalg.norm(q, axis=1)
    if kind != "clusters":
        return norm
    scores = q @ centres(draw, int(numbers[0]), float(numbers[1])).T
    return np.sqrt((float(numbers[1]) * norm) ** 2 + scores.var(axis=1))


def queries_and_keys(draw: Draw, rows: int, name: str, fixed: bool) -> tuple[Array, Array, Array]:
    """q and keys, so that logits are sigma q k, and the deviation of q k, for identity weights."""
    q = input_rows(draw, QUERIES, rows, name)
    q /= deviation(draw, q, name)[:, None] if fixed else math.sqrt(draw.d)
    unit = deviation(draw, q, name)
    keys = input_rows(draw, KEYS, draw.n, name)
    if name.startswith("needle"):
        height = math.sqrt(2.0 * math.log(draw.n)) + float(name.split(":")[1])
        for i, position in enumerate(draw.distinct_positions(NEEDLES, rows)):
            direction = q[i] / unit[i]
            keys[position] += (height - direction @ keys[position]) * direction
    return q, keys, unit
