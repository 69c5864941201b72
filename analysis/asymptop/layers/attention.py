"""An attention layer's way from its inputs to its logits, head by head: projections, biases, norms, latent steps.

q_i = norm(W_Q x_i + b_Q), k_j = norm(W_K x_j + b_K), s_ij = scale * q_i . k_j. The bias of keys moves a row's logits
alike, unless a norm follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..tensors.mapped import TensorError

Array = NDArray[np.float64]


def mean_logit_variance(
    queries: NDArray[np.float64], keys: NDArray[np.float64], key_sum: NDArray[np.float64], rows: int
) -> NDArray[np.float64]:
    """mean_i q_i^T Cov(k) q_i = trace(Cov(k) mean(q q^T)), from the sums of q q^T, k k^T and k over `rows`."""
    mean = key_sum / rows
    covariance = keys / rows - mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    return np.einsum("hij,hij->h", covariance, queries / rows)


@dataclass(frozen=True, eq=False)
class Norm:
    """RMS or layer norm of a head's coordinates, or of all heads' together: (heads, rows, d_head) -> the same."""

    weight: Array  # (heads or 1, d_head)
    bias: Array
    centred: bool
    epsilon: float
    across_heads: bool = False
    name: str = ""

    def apply(self, x: Array) -> Array:
        axes = (0, 2) if self.across_heads else (2,)
        if self.centred:
            x = x - x.mean(axis=axes, keepdims=True)
        x = x / np.sqrt(np.mean(np.square(x), axis=axes, keepdims=True) + self.epsilon)
        return x * self.weight[:, np.newaxis] + self.bias[:, np.newaxis]


@dataclass(frozen=True, eq=False)
class Latent:
    """What a projection reads instead of the inputs: W x + b, its first coordinates normed where there is a norm."""

    weight: Array  # (rank, d_model)
    bias: Array  # (rank)
    norm: Norm | None = None

    def apply(self, x: Array) -> Array:
        latent = x @ self.weight.T + self.bias
        if self.norm is not None:
            size = self.norm.weight.shape[1]
            latent[:, :size] = self.norm.apply(latent[np.newaxis, :, :size])[0]
        return latent


@dataclass(frozen=True, eq=False)
class Projection:
    """Queries or keys of all heads: `weight` is (heads, d_head, width), of the inputs or of the latent."""

    weight: Array
    bias: Array  # (heads, d_head)
    norm: Norm | None = None
    latent: Latent | None = None

    @property
    def gram(self) -> Array:
        """(heads, d_head, d_head) of W W^T, W that of the inputs, without norms."""
        if self.latent is None:
            return self.weight @ self.weight.swapaxes(1, 2)
        return self.weight @ (self.latent.weight @ self.latent.weight.T) @ self.weight.swapaxes(1, 2)

    @property
    def width(self) -> int:
        return (self.weight if self.latent is None else self.latent.weight).shape[-1]

    @property
    def norms(self) -> list[Norm]:
        return [n for n in (self.norm, self.latent.norm if self.latent else None) if n is not None]

    def apply(self, x: Array) -> Array:
        """(heads, rows, d_head) of inputs (rows, d_model)."""
        if self.latent is not None:
            x = self.latent.apply(x)
        found = x @ self.weight.swapaxes(1, 2) + self.bias[:, np.newaxis]
        return found if self.norm is None else self.norm.apply(found)


@dataclass(frozen=True)
class LayerOutline:
    """What is to be told of a layer once its weights are gone."""

    names: str
    shape: str
    norms: tuple[str, ...]
    biased: bool


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """`layer` names it in the table; `taken` says how its tensors were read."""

    layer: str
    query: Projection
    key: Projection
    taken: Mapping[str, object] = field(default_factory=dict)
    rope_dim: int = 0  # of latent attention: how many of d_head are rotary

    def __post_init__(self) -> None:
        if self.query.width != self.key.width or self.query.weight.shape[1] != self.key.weight.shape[1]:
            sizes = [(p.weight.shape[1], p.width) for p in (self.query, self.key)]
            raise TensorError(
                f"layer {self.layer or '-'} ({self.names}): heads of queries and keys are {sizes[0]} and {sizes[1]} "
                "(d_head, d_model); they must agree"
            )
        if len(self.query.weight) % len(self.key.weight):
            raise TensorError(
                f"layer {self.layer or '-'} ({self.names}): {len(self.query.weight)} query heads cannot share "
                f"{len(self.key.weight)} key heads evenly"
            )

    @property
    def names(self) -> str:
        return " and ".join(dict.fromkeys(str(self.taken.get(role, "")) for role in ("query", "key")))

    @property
    def heads(self) -> int:
        return len(self.query.weight)

    @property
    def head_dim(self) -> int:
        return self.query.weight.shape[1]

    @property
    def norms(self) -> list[Norm]:
        return [*self.query.norms, *self.key.norms]

    def outline(self) -> LayerOutline:
        keys = f", {len(self.key.weight)} of keys" if len(self.key.weight) < self.heads else ""
        shape = f"{self.heads} heads{keys}, d_head {self.head_dim}, d_model {self.query.width}, {self.taken['layout']}"
        norms = tuple(norm.name for norm in self.norms)
        return LayerOutline(self.names, shape, norms, bool(np.any(self.query.bias)))

    def key_head(self, head: int) -> int:
        return head // (self.heads // len(self.key.weight))

    def product_norms(self) -> Array:
        """‖W_Q W_K^T‖_F per head from the Gram matrices of the factors: nothing of d_model x d_model is made."""
        with np.errstate(all="ignore"):
            shared = [self.key_head(head) for head in range(self.heads)]
            found = np.sqrt(np.einsum("hij,hij->h", self.query.gram, self.key.gram[shared]))
        if not np.all(np.isfinite(found)):
            raise TensorError(f"layer {self.layer or '-'} ({self.names}): ‖W_Q W_K^T‖ is not finite")
        return found

    def logit_deviations(self, inputs: Array) -> Array:
        """Per head, without scale: the root mean square over rows of the deviation of a row's logits over all keys."""
        query, key = self.query.apply(inputs), self.key.apply(inputs)
        shared = [self.key_head(head) for head in range(self.heads)]
        queries, keys = (a.swapaxes(1, 2) @ a for a in (query, key))
        variance = mean_logit_variance(queries, keys[shared], key.sum(axis=1)[shared], len(inputs))
        return np.sqrt(np.maximum(variance, 0.0))
