"""A layer's numbers per head, gathered window by window: ‖W_Q W_K^T‖_F, B, R and sigma (notation of DESIGN)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass
class HeadSums:
    """Running sums in float64, in the order of the text: enough for every number of the table."""

    heads: int
    head_dim: int

    def __post_init__(self) -> None:
        shape = (self.heads, self.head_dim)
        self.rows = 0
        self.input_max, self.input_sum, self.input_squares, self.input_count = 0.0, 0.0, 0.0, 0
        self.key_sum = np.zeros(shape)
        self.key_squares = np.zeros((*shape, self.head_dim))
        self.query_squares = np.zeros((*shape, self.head_dim))
        self.window_variance = np.zeros(self.heads)

    def add_window(self, x: Array, query: Array, key: Array) -> None:
        q, k = query.astype(np.float64), key.astype(np.float64)
        rows = q.shape[1]
        queries, keys, key_sum = q.swapaxes(-1, -2) @ q, k.swapaxes(-1, -2) @ k, k.sum(axis=1)
        self.rows += rows
        self.query_squares += queries
        self.key_squares += keys
        self.key_sum += key_sum
        self.window_variance += rows * mean_logit_variance(queries, keys, key_sum, rows)
        self.input_max = max(self.input_max, float(np.abs(x).max()))
        self.input_sum += float(x.sum(dtype=np.float64))
        self.input_squares += float(np.square(x, dtype=np.float64).sum())
        self.input_count += x.size

    @property
    def input_std(self) -> float:
        return math.sqrt(self.input_squares / self.input_count - (self.input_sum / self.input_count) ** 2)

    def sigma(self, scale: float) -> NDArray[np.float64]:
        """Root mean square over rows of the standard deviation of a row's logits over all n keys."""
        variance = mean_logit_variance(self.query_squares, self.key_squares, self.key_sum, self.rows)
        return scale * np.sqrt(variance)

    def sigma_in_window(self, scale: float) -> NDArray[np.float64]:
        """The same over the keys of the row's own window: the logits that the model itself computed."""
        return scale * np.sqrt(self.window_variance / self.rows)


def mean_logit_variance(
    queries: NDArray[np.float64], keys: NDArray[np.float64], key_sum: NDArray[np.float64], rows: int
) -> NDArray[np.float64]:
    """mean_i q_i^T Cov(k) q_i = trace(Cov(k) mean(q q^T)), from the sums of q q^T, k k^T and k over `rows`."""
    mean = key_sum / rows
    covariance = keys / rows - mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    return np.einsum("hij,hij->h", covariance, queries / rows)


@dataclass(frozen=True)
class HeadTable:
    """The layer's numbers per head: R = B^2 ‖W‖_F, W = W_Q W_K^T."""

    w_frobenius: NDArray[np.float64]
    bound: float
    input_std: float
    scale: float
    sigma: NDArray[np.float64]
    sigma_in_window: NDArray[np.float64]

    @property
    def norm_parameter(self) -> NDArray[np.float64]:
        return self.bound**2 * self.w_frobenius

    @property
    def predicted_sigma(self) -> NDArray[np.float64]:
        """What inputs with independent coordinates of this standard deviation would give."""
        return self.scale * self.input_std**2 * self.w_frobenius

    def lines(self) -> Iterator[str]:
        yield f"B = {self.bound:.4f} (largest |x_ij| of the layer's inputs), input std = {self.input_std:.4f}"
        yield "head  ‖W_Q W_K^T‖_F           R  scale·R·(std/B)^2    sigma  sigma in window"
        for head, norm in enumerate(self.w_frobenius):
            yield (
                f"{head:4d}  {norm:13.4f}  {self.norm_parameter[head]:10.3f}  {self.predicted_sigma[head]:17.4f}"
                f"  {self.sigma[head]:7.4f}  {self.sigma_in_window[head]:15.4f}"
            )
