"""A layer's attention in blocks of rows: no matrix of n x n is held, whatever the logits consist of."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import pad, scaled_dot_product_attention

from ..tensors.layered_file import LogitTerms
from .bands import Band

LOGIT_BYTES = 128 << 20  # of a block's logits
FEWEST_ROWS = 16
_IN_BLOCKS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]


def attend(query: Tensor, key: Tensor, value: Tensor, terms: LogitTerms, band: Band) -> Tensor:
    """(1, heads, n, d_v) of (1, heads, n, d), (1, key heads, n, d) and (1, key heads, n, d_v), in their own type."""
    n, d_v = query.shape[2], value.shape[3]
    plain = not terms.softcap and not terms.per_head
    if plain:
        key, value = (_repeated(x, query.shape[1] // key.shape[1]) for x in (key, value))
        query, key, value = _of_one_width(query, key, value)
        if not band.window or band.window >= n:
            whole = _fused(query, key, value, terms.scale, band.causal)
            if whole is not None:
                return whole[..., :d_v]
    else:
        key, value = key.float(), value.float()  # once, as every block of rows reads them
    found = query.new_empty((*query.shape[:3], value.shape[3]))
    for first, last in row_blocks(query.shape[1], n, band):
        begin = max(0, first - band.window + 1) if band.window else 0
        end = last if band.causal else n
        rows, keys, values = query[:, :, first:last], key[:, :, begin:end], value[:, :, begin:end]
        mask = _mask(band, first - begin, last - first, end - begin, query.device)
        if plain:
            found[:, :, first:last] = scaled_dot_product_attention(
                rows, keys, values, attn_mask=mask, scale=terms.scale
            )
        else:
            found[:, :, first:last] = _in_full(rows, keys, values, terms, mask, first, begin)
    return found[..., :d_v]


def attend_under(
    query: Tensor, key: Tensor, value: Tensor, scale: float, seen: Callable[[int, int, int], Tensor | None]
) -> Tensor:
    """The same of scale q.k under any mask: `seen(first, last, keys)` gives its rows, True where a key is seen; None is
    all of the keys, whose number is then any."""
    n, d_v = query.shape[2], value.shape[3]
    key, value = (_repeated(x, query.shape[1] // key.shape[1]) for x in (key, value))
    query, key, value = _of_one_width(query, key, value)
    found = torch.empty_like(query)
    for first, last in row_blocks(query.shape[1], n, Band(causal=False)):
        rows, mask = query[:, :, first:last], seen(first, last, key.shape[2])
        found[:, :, first:last] = scaled_dot_product_attention(rows, key, value, attn_mask=mask, scale=scale)
    return found[..., :d_v]


def row_blocks(heads: int, n: int, band: Band) -> list[tuple[int, int]]:
    """Rows [first, last) of each block, by the logits that it has."""
    budget = LOGIT_BYTES // (4 * heads)
    if band.window and band.window < n:
        # rows of a block see window + rows - 1 keys
        rows = int((math.sqrt(band.window**2 + 4.0 * budget) - band.window) / 2)
        rows = min(rows, max(band.window, 256))
    else:
        rows = budget // n
    rows = max(FEWEST_ROWS, rows)
    return [(first, min(first + rows, n)) for first in range(0, n, rows)]


def _repeated(x: Tensor, times: int) -> Tensor:
    return x if times == 1 else x.repeat_interleave(times, dim=1)


def _of_one_width(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros fill up the narrower: fused kernels want one width, and zeros change neither logits nor outputs."""
    width = max(query.shape[3], value.shape[3])
    query, key, value = (pad(x, (0, width - x.shape[3])) if x.shape[3] < width else x for x in (query, key, value))
    return query, key, value


def _fused(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool) -> Tensor | None:
    """None where no kernel that works in blocks takes these."""
    try:
        with sdpa_kernel(_IN_BLOCKS):
            return scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scale)
    except RuntimeError as error:
        if "No available kernel" not in str(error) and "No viable backend" not in str(error):
            raise
        return None


@lru_cache(maxsize=8)
def _mask(band: Band, lead: int, rows: int, keys: int, device: torch.device) -> Tensor | None:
    """(rows, keys), True where a row sees a key; None where all see all. The first row is `lead` after the first key.

    Blocks within the context have one and the same.
    """
    if not band.causal:
        return None
    distance = torch.arange(keys, device=device)[None, :] - torch.arange(lead, lead + rows, device=device)[:, None]
    seen = distance <= 0
    return seen & (distance > -band.window) if band.window else seen


def _in_full(
    rows: Tensor, keys: Tensor, values: Tensor, terms: LogitTerms, mask: Tensor | None, first: int, begin: int
) -> Tensor:
    """Of float32 keys and values once per key head: the rows of all query heads that read a key head are one matrix."""
    heads, count, d = rows.shape[1:]
    gathered = rows.float().reshape(1, keys.shape[1], -1, d)
    logits = (gathered @ keys.transpose(2, 3)).view(1, heads, count, -1) * terms.scale
    if terms.softcap:
        logits = terms.softcap * torch.tanh(logits / terms.softcap)

    def per_head(name: str) -> Tensor:
        found = torch.as_tensor(terms.per_head[name], dtype=logits.dtype, device=logits.device)
        return found.view(1, -1, 1, 1)

    if "alibi" in terms.per_head:
        at = torch.arange(begin, begin + keys.shape[2], device=logits.device)[None, :]
        distance = at - torch.arange(first, first + count, device=logits.device)[:, None]
        logits = logits + per_head("alibi") * distance
    if mask is not None:
        logits = logits.masked_fill(~mask, -math.inf)
    if "sinks" in terms.per_head:
        sink = per_head("sinks").expand(1, heads, count, 1)
        p = torch.softmax(torch.cat([logits, sink], dim=-1), dim=-1)[..., :-1]
    else:
        p = torch.softmax(logits, dim=-1)
    found = p.reshape(1, keys.shape[1], -1, keys.shape[2]) @ values
    return found.view(1, heads, count, -1)
