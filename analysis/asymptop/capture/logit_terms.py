"""From one call of an attention function to what the tensor file says of its logits, or why it cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..tensors.layered_file import LogitTerms
from ..tensors.mapped import TensorError
from .bands import Band, band_of, shown, slopes_of
from .masks import Mask, MaskBook, NoMask, TensorMask

# What a model hands to its attention besides, and what it would mean for the file.
_SELECTION = ("indices", "block_indices", "topk_indices", "selected_indices")
_SINKS = ("s_aux", "sinks")
_CHECKED_ROWS = 512


@dataclass(frozen=True, eq=False)
class Call:
    """Arguments of the call: (1, heads, n, d), (1, key heads, n, d), (1, key heads, n, d_v)."""

    module: Any
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scaling: float | None
    causal: bool  # where there is no mask
    rest: dict[str, Any]
    book: MaskBook
    written: Mask | None = None  # where the model makes its logits itself

    @property
    def n(self) -> int:
        return self.query.shape[2]

    @property
    def scale(self) -> float:
        return float(self.query.shape[3] ** -0.5 if self.scaling is None else self.scaling)

    @property
    def declared_window(self) -> int:
        return _whole(self.rest.get("sliding_window"))

    @property
    def is_plain(self) -> bool:
        """Logits are scale q.k under a mask, and nothing else."""
        others = ("softcap", "position_bias", *_SINKS, *_SELECTION)
        return all(self.rest.get(name) is None for name in others)

    def read_mask(self) -> Mask:
        if self.written is not None:
            return self.written
        if self.mask is None:
            return NoMask(self.causal)
        if (found := self.book.find(self.mask)) is not None:
            return found
        if self.mask.is_floating_point() and bool(self.mask[..., [0, -1], :].isnan().any()):
            raise TensorError("the model computes with its mask, which is then no longer known")
        return TensorMask(self.mask)

    def check_shapes(self) -> None:
        """Raises TensorError where they are none of one context's self-attention."""
        shapes = [tuple(x.shape) for x in (self.query, self.key, self.value)]
        (batch, heads, m, d), (_, key_heads, n, key_d), last = (s if len(s) == 4 else (0,) * 4 for s in shapes)
        if batch != 1 or key_d != d or last[:3] != (1, key_heads, n) or heads % max(1, key_heads):
            raise TensorError(f"queries, keys and values of shapes {shapes} are not one context's heads")
        if m != n:
            raise TensorError(f"{m} queries on {n} keys: no self-attention over the context")

    def with_shared_heads(self) -> Call:
        """Keys and values once, where the call has them once per query head."""
        heads = self.query.shape[1]
        if self.key.shape[1] != heads or self.key.ndim != 4:
            return self
        for shared in (size for size in range(heads, 1, -1) if heads % size == 0):
            once = [x.unflatten(1, (heads // shared, shared)) for x in (self.key, self.value)]
            if all(bool((x == x[:, :, :1]).all()) for x in once):
                key, value = (x[:, :, 0] for x in once)
                return replace(self, key=key, value=value)
        return self


def band_of_call(call: Call) -> Band:
    """Which keys rows see. A window that the model says it has is looked for beyond the context too."""
    mask = call.read_mask()
    window = max(call.declared_window, _window_of(getattr(call.module, "config", None)))
    extents = [call.n] if mask.farthest is not None else [max(call.n, 2 * window + 2), call.n]
    for keys in extents:
        positions = np.unique(np.linspace(0, keys - 1, min(keys, _CHECKED_ROWS)).round().astype(np.int64))
        try:
            visible = mask.rows(positions.tolist(), keys)
        except (IndexError, RuntimeError):
            if keys == extents[-1]:
                raise
            continue  # some functions know the context's positions alone
        found = band_of(visible, positions)
        if found is None:
            words = shown(visible, positions)
            raise TensorError(
                f"{words}: its mask is neither causal, with or without a window, nor none; --layers leaves it out"
            )
        return found
    raise AssertionError


def terms_of_call(call: Call, band: Band) -> LogitTerms:
    for name in _SELECTION:
        if call.rest.get(name) is not None:
            raise TensorError(f"attends to selected keys alone ({name}), which a tensor file cannot say")
    per_head: dict[str, NDArray[np.float64]] = {}
    sinks = next((call.rest[name] for name in _SINKS if call.rest.get(name) is not None), None)
    if sinks is not None:
        per_head["sinks"] = _one_a_head("learned sinks", sinks, call)
    if (slopes := _slopes(call)) is not None:
        per_head["alibi"] = slopes
    attention = "sliding" if band.window else "global"
    softcap = float(call.rest.get("softcap") or 0.0)
    mask = "causal" if band.causal else "none"
    return LogitTerms(call.scale, mask, softcap, band.window, attention if band.causal else "", per_head)


def _one_a_head(what: str, tensor: Tensor, call: Call) -> NDArray[np.float64]:
    values = tensor.detach().double().cpu().numpy().reshape(-1)
    heads = call.query.shape[1]
    if values.shape != (heads,):
        raise TensorError(f"{what} of shape {tuple(tensor.shape)} are not one a head of {heads}")
    return values


def _slopes(call: Call) -> NDArray[np.float64] | None:
    """Of biases by distance, where the model adds some. Raises TensorError for other biases."""
    positions = [int(x) for x in np.unique(np.linspace(0, call.n - 1, min(call.n, 12)).round())]
    mask = call.read_mask()
    given = [mask.bias(positions, call.n)]
    if (position_bias := call.rest.get("position_bias")) is not None:
        given.append(TensorMask(position_bias).bias(positions, call.n))
    found = [bias for bias in given if bias is not None]
    if not found:
        return None
    heads = call.query.shape[1]
    total = sum(np.broadcast_to(bias, (heads, len(positions), call.n)) for bias in found)
    visible = mask.rows(positions, call.n)
    slopes = slopes_of(np.asarray(total), visible)
    if slopes is None:
        words = "adds a position bias to its logits that is no slope a head (such as T5's table by distance)"
        raise TensorError(f"{words}, which a tensor file cannot say")
    return slopes if slopes.any() else None


def _window_of(config: Any) -> int:
    try:
        return _whole(getattr(config, "sliding_window", None))
    except Exception:  # transformers' own, where layers have windows of their own: the call tells this one's
        return 0


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
