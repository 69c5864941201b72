"""Attention of a few rows by the model's own code, in float64, on the queries, keys and values of its call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..tensors.mapped import TensorError
from .logit_terms import Call


def by_eager(call: Call, rows: list[int]) -> NDArray[np.float64]:
    """(heads, rows, d_v) by the function that the model's file calls when its attention is 'eager'."""
    function = _eager_of(call.module)
    mask = _additive(call, rows)
    rest = {name: value for name, value in call.rest.items() if name != "dropout"}
    if (bias := rest.get("position_bias")) is not None:
        rest["position_bias"] = bias[:, :, rows].double() if bias.shape[2] > 1 else bias.double()
    query, key, value = _widened(call, rows)
    found = function(call.module, query, key, value, mask, scaling=call.scaling, dropout=0.0, **rest)[0]
    return _as_numbers(found.transpose(1, 2))


def by_sdpa(call: Call, rows: list[int]) -> NDArray[np.float64]:
    """The same for a model that calls scaled_dot_product_attention, with the mask that it gives."""
    query, key, value = _widened(call, rows)
    repeat = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(repeat, dim=1) for x in (key, value))
    mask = _additive(call, rows)
    return _as_numbers(scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=call.scaling))


def _widened(call: Call, rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return call.query[:, :, rows].double(), call.key.double(), call.value.double()


def _as_numbers(found: Tensor) -> NDArray[np.float64]:
    return found[0].double().cpu().numpy()


def _additive(call: Call, rows: list[int]) -> Tensor:
    """(1, heads or 1, rows, n): what the model's mask adds to the logits of these rows."""
    mask = call.read_mask()
    visible = mask.rows(rows, call.n)
    bias = mask.bias(rows, call.n)
    added = np.zeros((1, *visible.shape)) if bias is None else bias
    added = np.where(visible, added, float(torch.finfo(torch.float32).min))
    return torch.from_numpy(added[np.newaxis]).to(call.query.device)


def _eager_of(module: Any) -> Callable[..., Any]:
    for kind in type(module).__mro__:
        found = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if found is not None:
            return found
    raise TensorError("its file has no eager_attention_forward to check by")
