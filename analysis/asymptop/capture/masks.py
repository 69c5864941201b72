"""What a row of a model sees, and what is added to its logits: by the function that the model makes its mask with.

A mask of n x n is never made. The model gets a tensor of that shape that holds one number, NaN, in one place of memory;
the attention function knows it by its address. NaN shows where a model computes with its mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.masking_utils import sdpa_mask

from ..tensors.mapped import TensorError

Bools = NDArray[np.bool_]


class Mask(Protocol):
    """Of one layer's logits."""

    @property
    def farthest(self) -> int | None:
        """How many positions can be asked for; None: any."""

    def rows(self, positions: list[int], keys: int) -> Bools:
        """(rows, keys): which of the first `keys` keys queries at these positions see."""

    def bias(self, positions: list[int], keys: int) -> NDArray[np.float64] | None:
        """(heads or 1, rows, keys) that is added to logits; None where nothing is."""


@dataclass
class FunctionMask:
    """By transformers' mask function of (batch, head, query, key)."""

    function: Callable[..., Any]
    through_vmap: bool
    device: Any
    farthest = None

    def rows(self, positions: list[int], keys: int) -> Bools:
        found = np.empty((len(positions), keys), dtype=bool)
        for row, position in enumerate(positions):
            found[row] = self.block(position, position + 1, keys)[0].cpu().numpy()
        return found

    def block(self, first: int, last: int, keys: int) -> Tensor:
        """(last - first, keys) of queries at positions first to last - 1."""
        made = sdpa_mask(
            batch_size=1,
            q_length=last - first,
            kv_length=keys,
            q_offset=first,
            kv_offset=0,
            mask_function=self.function,
            attention_mask=None,
            allow_is_causal_skip=False,
            allow_is_bidirectional_skip=False,
            use_vmap=self.through_vmap,
            device=self.device,
        )
        return made.reshape(last - first, keys)

    def bias(self, positions: list[int], keys: int) -> None:
        del positions, keys


@dataclass
class NoMask:
    """No tensor was given: all keys, or those up to the query's own."""

    causal: bool
    farthest = None

    def rows(self, positions: list[int], keys: int) -> Bools:
        seen = np.arange(keys)[np.newaxis, :] <= np.asarray(positions)[:, np.newaxis]
        return seen if self.causal else np.ones_like(seen)

    def bias(self, positions: list[int], keys: int) -> None:
        del positions, keys


@dataclass
class TensorMask:
    """A tensor of the model's own making, (1, heads or 1, n, n): True where a key is seen, or what is added."""

    tensor: Tensor

    @property
    def farthest(self) -> int:
        return self.tensor.shape[3]

    def _part(self, positions: list[int], keys: int) -> Tensor:
        rows = positions if self.tensor.shape[2] > 1 else [0] * len(positions)
        return self.tensor[0, :, rows, :keys]

    def rows(self, positions: list[int], keys: int) -> Bools:
        part = self._part(positions, keys)
        seen = part if part.dtype == torch.bool else part > torch.finfo(part.dtype).min / 2
        return seen.all(dim=0).cpu().numpy()

    def bias(self, positions: list[int], keys: int) -> NDArray[np.float64] | None:
        part = self._part(positions, keys)
        if not part.is_floating_point():
            return None
        return part.double().cpu().numpy()


@dataclass
class MaskBook:
    """Masks that were handed to the model as one number, by address."""

    known: dict[int, FunctionMask] = field(default_factory=dict)
    kept: list[Tensor] = field(default_factory=list)  # so that no address is used twice

    def make(
        self,
        batch_size: int,
        q_length: int,
        kv_length: int,
        mask_function: Callable[..., Any],
        attention_mask: Tensor | None = None,
        use_vmap: bool = False,
        device: Any = "cpu",
        **rest: Any,
    ) -> Tensor:
        """In the place of transformers' sdpa_mask."""
        del rest
        if attention_mask is not None and not bool(attention_mask.all()):
            raise TensorError("the model masks padding, and a context has none")
        one = torch.full((1, 1, 1, 1), float("nan"), device=device)
        self.kept.append(one)
        self.known[one.data_ptr()] = FunctionMask(mask_function, use_vmap, device)
        return one.expand(batch_size, 1, q_length, kv_length)

    def find(self, tensor: Tensor) -> FunctionMask | None:
        return self.known.get(tensor.data_ptr())

    def clear(self) -> None:
        self.known.clear()
        self.kept.clear()
