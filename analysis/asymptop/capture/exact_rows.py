"""Attention and logits of a few rows in float64, from what a layer's group of a tensor file says and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from ..tensors.layered_file import read_terms

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExactRows:
    """`output` = sum_j p_j v_j, (heads, rows, d_v), and `magnitude` = sum_j p_j |v_j|, (heads, rows)."""

    output: Array
    magnitude: Array

    def error(self, found: Array) -> float:
        """The largest |found - output| / magnitude over heads and rows: what rounding does to p is relative to that."""
        difference = np.linalg.norm(found - self.output, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(difference == 0, 0.0, difference / self.magnitude)
        return float(np.max(relative)) if np.isfinite(relative).all() else np.inf


def exact_rows(group: h5py.Group, rows: Sequence[int]) -> ExactRows:
    """Of query rows `rows` of the layer, every head."""
    queries, keys, values = (group[name] for name in "QKV")
    heads = queries.shape[0]
    key_heads, _, width = values.shape
    logits_of = _Logits(group, rows)
    output, magnitude = np.empty((heads, len(rows), width)), np.empty((heads, len(rows)))
    for key_head in range(key_heads):
        k, v = keys[key_head].astype(np.float64), values[key_head].astype(np.float64)
        norms = np.linalg.norm(v, axis=-1)
        group_size = heads // key_heads
        for head in range(key_head * group_size, (key_head + 1) * group_size):
            p = logits_of.weights(head, queries[head, list(rows)].astype(np.float64), k)
            output[head], magnitude[head] = p @ v, p @ norms
    return ExactRows(output, magnitude)


def row_deviations(group: h5py.Group, rows: Sequence[int]) -> Array:
    """Standard deviation of the logits of query rows `rows` over the keys that each sees, (heads, rows)."""
    queries, keys = group["Q"], group["K"]
    heads, group_size = queries.shape[0], queries.shape[0] // keys.shape[0]
    logits_of = _Logits(group, rows)
    found = np.empty((heads, len(rows)))
    for head in range(heads):
        if head % group_size == 0:
            k = keys[head // group_size].astype(np.float64)
        logits = logits_of(head, queries[head, list(rows)].astype(np.float64), k)
        found[head] = [np.std(row[np.isfinite(row)]) for row in logits]
    return found


class _Logits:
    """-inf where a row does not see a key."""

    def __init__(self, group: h5py.Group, rows: Sequence[int]) -> None:
        self.terms = terms = read_terms(group)
        n = group["K"].shape[1]
        positions = n - group["Q"].shape[1] + np.asarray(rows)
        self.distance = np.arange(n)[np.newaxis, :] - positions[:, np.newaxis]  # key - query
        self.seen = np.ones(self.distance.shape, dtype=bool)
        if terms.mask == "causal":
            self.seen &= self.distance <= 0
        if terms.window:
            self.seen &= self.distance > -terms.window

    def __call__(self, head: int, queries: Array, keys: Array) -> Array:
        terms = self.terms
        logits = terms.scale * (queries @ keys.T)
        if terms.softcap:
            logits = terms.softcap * np.tanh(logits / terms.softcap)
        if (slopes := terms.per_head.get("alibi")) is not None:
            logits = logits + slopes[head] * self.distance
        return np.where(self.seen, logits, -np.inf)

    def weights(self, head: int, queries: Array, keys: Array) -> Array:
        terms, logits = self.terms, self(head, queries, keys)
        largest = logits.max(axis=-1, keepdims=True)
        sink = None
        if (sinks := terms.per_head.get("sinks")) is not None:
            sink = sinks[head]
            largest = np.maximum(largest, sink)
        p = np.exp(logits - largest)
        total = p.sum(axis=-1, keepdims=True)
        if sink is not None:
            total = total + np.exp(sink - largest)
        return p / total
