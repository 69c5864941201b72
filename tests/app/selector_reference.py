"""The orders of selectors in plain numpy: from q, the keys a row sees, and nothing else of the program's.

`first` is the place in the context of the first key that the row sees: pages lie as those of the context do, and sinks
are the context's.

A priority is a fp64 number here and a fp32 one there, so keys whose priorities differ by no more than their rounding
may stand either way round: `Order.slack` is how much that is. Orders by place have none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """Entries of the order: their priorities (largest first, then the earlier), and the keys of each."""

    priority: Array
    entries: list[Keys]
    slack: float | Array
    page: int = 1

    def ranked(self) -> NDArray[np.int64]:
        return np.lexsort((np.arange(len(self.priority)), -self.priority))


def single(n: int) -> list[Keys]:
    return [np.array([j]) for j in range(n)]


def pages(n: int, size: int, first: int = 0) -> list[Keys]:
    starts = range(first // size * size, first + n, size)
    return [np.arange(max(start, first), min(start + size, first + n)) - first for start in starts]


def rounding(q: Array, keys: Array) -> float:
    """Of a fp32 dot product, and of what goes into it."""
    return float(2.0**-22 * np.max(np.abs(keys) @ np.abs(q)))


def e4m3(x: Array) -> Array:
    """To the nearest number of OCP E4M3, ties to even, saturating."""
    exponent = np.clip(np.floor(np.log2(np.maximum(np.abs(x), 2.0**-60))), -6, 8)
    step = 2.0 ** (exponent - 3)
    return np.clip(np.round(x / step) * step, -448.0, 448.0)


def quantised(x: Array, name: str) -> Array:
    """Rows in a narrow format, one scale each, in the fp32 steps that the definition has."""
    if name == "bf16":
        bits = x.astype(np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        return rounded.astype(np.uint32).view(np.float32).astype(np.float64)
    largest = np.abs(x).max(axis=-1, keepdims=True).astype(np.float32)
    scale = largest / np.float32({"fp8": 448.0, "int8": 127.0, "int4": 7.0}[name])
    scale[scale == 0.0] = 1.0
    scaled = x.astype(np.float32) / scale
    steps = e4m3(scaled.astype(np.float64)) if name == "fp8" else np.rint(scaled)
    return (steps.astype(np.float32) * scale).astype(np.float64)


def quest(q: Array, keys: Array, size: int, first: int = 0) -> Order:
    entries = pages(len(keys), size, first)
    bound = np.array([np.sum(np.maximum(q * keys[e].min(0), q * keys[e].max(0))) for e in entries])
    return Order(bound, entries, rounding(q, keys) * 4, size)


def block_mean(q: Array, keys: Array, size: int, first: int = 0) -> Order:
    entries = pages(len(keys), size, first)
    return Order(np.array([q @ keys[e].mean(0) for e in entries]), entries, rounding(q, keys) * size, size)


def block_max(q: Array, keys: Array, size: int, first: int = 0) -> Order:
    scores, entries = keys @ q, pages(len(keys), size, first)
    return Order(np.array([scores[e].max() for e in entries]), entries, rounding(q, keys), size)


def window(_q: Array, keys: Array, sinks: int, first: int = 0) -> Order:
    n, sinks = len(keys), max(0, sinks - first)
    place = np.array([j if j < sinks else min(sinks, n) + n - 1 - j for j in range(n)])
    return Order(-place.astype(float), single(n), 0.0)


def narrow(q: Array, keys: Array, name: str) -> Order:
    wide = quantised(keys, name)
    return Order(wide @ quantised(q[None], name)[0], single(len(keys)), rounding(q, keys) * 2)


def sparq(q: Array, keys: Array, channels: int) -> Order:
    kept = np.argsort(-np.abs(q), kind="stable")[:channels]
    return Order(keys[:, kept] @ q[kept], single(len(keys)), rounding(q, keys))


def key_norm(_q: Array, keys: Array) -> Order:
    square = np.sum(keys * keys, axis=1)
    return Order(-square, single(len(keys)), float(2.0**-21 * square.max()))


def under_slope(order: Order, bias: Array, softcap: float = 0.0, largest: bool = False) -> Order:
    """Of an order by what stands for logits. bias: of every key that the row sees, which adds its mean over an entry's
    keys, or its `largest` there, to what is left of the priority under a softcap."""
    if not bias.any():
        return order
    capped = softcap * np.tanh(order.priority / softcap) if softcap > 0.0 else order.priority
    added = np.array([bias[keys].max() if largest else bias[keys].mean() for keys in order.entries])
    slack = order.slack + 2.0**-22 * (np.abs(bias).max() + np.abs(capped).max())
    return Order(capped + added, order.entries, slack, order.page)


SELECTORS: dict[str, Callable[[Array, Array, int], Order]] = {
    "window": lambda q, k, first: window(q, k, 4, first),
    "window:sinks=0": lambda q, k, first: window(q, k, 0, first),
    "quest": lambda q, k, first: quest(q, k, 16, first),
    "quest:page=4": lambda q, k, first: quest(q, k, 4, first),
    "block-mean": lambda q, k, first: block_mean(q, k, 64, first),
    "block-mean:block=8": lambda q, k, first: block_mean(q, k, 8, first),
    "block-max:block=32": lambda q, k, first: block_max(q, k, 32, first),
    "block-max:block=1": lambda q, k, first: block_max(q, k, 1, first),
    "quantised": lambda q, k, _first: narrow(q, k, "int8"),
    "quantised:fp8": lambda q, k, _first: narrow(q, k, "fp8"),
    "quantised:bf16": lambda q, k, _first: narrow(q, k, "bf16"),
    "quantised:int4": lambda q, k, _first: narrow(q, k, "int4"),
    "sparq:r=3": lambda q, k, _first: sparq(q, k, 3),
    "key-norm": lambda q, k, _first: key_norm(q, k),
}
