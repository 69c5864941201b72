"""What logits that a model made itself consist of: the scale of q.k from the numbers, and what is left of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..tensors.layered_file import LogitTerms
from ..tensors.mapped import TensorError
from .bands import Band
from .logit_terms import Call, band_of_call, terms_of_call
from .masks import MaskBook

Array = NDArray[np.float64]

_FITTED_ROWS = 12
_ROWS_AT_ONCE = 32
_NEVER = 100.0  # so far below the largest logit of a row that exp of it is nothing
_ROUNDING = 64 * float(np.finfo(np.float32).eps)  # of a logit, over |q| |k| and over the largest logit of its row
_SIMPLE = 1e-5  # a scale as near as this to 1 or d^-1/2 is that


@dataclass(frozen=True, eq=False)
class Reading:
    """Of a softmax: what its logits consist of, and its weights of `rows` in float64, (heads, rows, n)."""

    terms: LogitTerms
    band: Band
    rows: list[int]
    weights: Tensor


def read_logits(query: Tensor, key: Tensor, logits: Tensor, dim: int, rows: list[int]) -> Reading:
    """Of queries (heads, m, d) and keys (heads, n, d); the logits are (..., m, n). Raises TensorError for what the file
    cannot say."""
    call = Call(None, query[None], key[None], key[None], None, None, False, {}, MaskBook())
    call.check_shapes()
    heads, n = query.shape[:2]
    if logits.shape[-2:] != (n, n) or logits.numel() != heads * n * n or dim % logits.ndim != logits.ndim - 1:
        words = f"its softmax along axis {dim % logits.ndim} of {tuple(logits.shape)} is none over the {n} keys of rows"
        raise TensorError(f"{words} of {heads} heads")
    mask = WrittenMask(query, key, logits.reshape(heads, n, n))
    call = replace(call, scaling=mask.scale, written=mask)
    band = band_of_call(call)
    return Reading(terms_of_call(call, band), band, rows, mask.weights(rows))


@dataclass
class WrittenMask:
    """A masks.Mask over `logits`, (heads, n, n), of queries and keys (heads, n, d). Raises TensorError where heads do
    not see the same keys, and where logits do not grow with q.k."""

    query: Tensor
    key: Tensor
    logits: Tensor

    def __post_init__(self) -> None:
        self._constant = self._constant_of_unseen()
        n = self.farthest
        at = sorted({int(x) for x in np.linspace(0, n - 1, min(n, _FITTED_ROWS)).round()})
        self._fit = _fit(self._products(at), self._numbers(at), self.rows(at, n), self._rounding(at))
        self.scale = self._fit.scale
        for simple in (1.0, self.query.shape[-1] ** -0.5):
            if abs(self.scale / simple - 1.0) < _SIMPLE:
                self.scale = simple

    @property
    def farthest(self) -> int:
        return self.logits.shape[2]

    def rows(self, positions: list[int], keys: int) -> NDArray[np.bool_]:
        parts = [positions[at : at + _ROWS_AT_ONCE] for at in range(0, len(positions), _ROWS_AT_ONCE)]
        return np.concatenate([self._seen(part, keys) for part in parts])

    def bias(self, positions: list[int], keys: int) -> Array | None:
        """Slopes alone where these are all that is left within rounding, else what is left."""
        if self._fit.slopes is None:
            return (self._numbers(positions) - self.scale * self._products(positions))[..., :keys]
        if not self._fit.slopes.any():
            return None
        one_head = np.broadcast_to(np.arange(keys, dtype=np.float64), (len(positions), keys))
        return self._fit.slopes[:, np.newaxis, np.newaxis] * one_head

    def weights(self, positions: list[int]) -> Tensor:
        """(heads, rows, n): softmax of the model's logits in float64."""
        return torch.softmax(self.logits[:, positions].double(), dim=-1)

    def _seen(self, positions: list[int], keys: int) -> NDArray[np.bool_]:
        part = self.logits[:, positions, :keys]
        seen = (part > torch.finfo(part.dtype).min / 2) & (part != self._constant)
        if not bool((seen == seen[:1]).all()):
            raise TensorError("its heads do not see the same keys, which a tensor file cannot say")
        return seen[0].cpu().numpy()

    def _constant_of_unseen(self) -> float:
        """A number such as -10,000 that stands in the place of logits; NaN where there is none."""
        n = self.farthest
        part = self.logits[:, :: max(1, n // _FITTED_ROWS)]
        lowest = part.min()
        often = int((part == lowest).sum()) > part[..., 0].numel() // 2
        return float(lowest) if often and bool((part.amax(dim=-1) - lowest > _NEVER).all()) else float("nan")

    def _numbers(self, positions: list[int]) -> Array:
        return self.logits[:, positions].double().cpu().numpy()

    def _products(self, positions: list[int]) -> Array:
        return (self.query[:, positions].double() @ self.key.double().transpose(1, 2)).cpu().numpy()

    def _rounding(self, positions: list[int]) -> Array:
        """(heads, rows, 1): |q| times the largest |k|."""
        lengths = self.query[:, positions].double().norm(dim=-1) * self.key.double().norm(dim=-1).amax(-1, keepdim=True)
        return lengths.unsqueeze(-1).cpu().numpy()


@dataclass(frozen=True, eq=False)
class _Fit:
    scale: float
    slopes: Array | None  # (heads); None where more than slopes is left


def _fit(products: Array, logits: Array, seen: NDArray[np.bool_], lengths: Array) -> _Fit:
    """Least squares of logits = scale products + slope_h key + (anything of the row) over the keys that rows see."""
    count = np.maximum(1, seen.sum(axis=-1))[:, np.newaxis]

    def about_its_mean(x: Array) -> Array:
        x = np.where(seen, x, 0.0)
        return np.where(seen, x - x.sum(axis=-1, keepdims=True) / count, 0.0)

    a, x = about_its_mean(products), about_its_mean(logits)
    at = about_its_mean(np.broadcast_to(np.arange(seen.shape[1], dtype=np.float64), seen.shape))

    def over_rows(one: Array, other: Array) -> Array:
        return (one * other).sum(axis=(-2, -1))

    places = max(float(over_rows(at, at)), 1e-300)
    along = over_rows(a, at) / places
    b = a - along[:, np.newaxis, np.newaxis] * at
    scale = float(over_rows(b, x).sum() / max(float(over_rows(b, b).sum()), 1e-300))
    if not scale > 0.0:
        raise TensorError(f"its logits go with {scale:.3g} times q.k, allowed is a scale over 0")
    slopes = over_rows(x - scale * a, at) / places
    left = np.abs(x - scale * a - slopes[:, np.newaxis, np.newaxis] * at)
    largest = np.abs(np.where(seen, logits, 0.0)).max(axis=-1, keepdims=True)
    allowed = _ROUNDING * np.maximum(scale * lengths, largest)
    if not np.all(left <= allowed):
        return _Fit(scale, None)
    flat = np.abs(slopes) * seen.shape[1] <= allowed.max(axis=(1, 2))
    return _Fit(scale, np.where(flat, 0.0, slopes))
