"""Captured tensors as (heads, n, d): batch, layout, heads and tokens as the options or the shapes themselves say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..io.number_formats import WIDENED, storage
from .mapped import SourceTensor, TensorError
from .roles import ROLES

LAYOUTS = ("heads-first", "tokens-first")
LARGEST_D = 4096  # that `asymptop study` takes


@dataclass(frozen=True)
class HeadedTensor:
    """A source tensor seen as (heads, n, d): a view of its map, and the heads of it that are to be written."""

    role: str
    source: SourceTensor
    view: NDArray
    heads: tuple[int, ...]
    has_heads: bool  # False: written as (n, d)
    first_row: int = 0  # of the source, where --tokens leaves some out
    factors: NDArray | None = None  # one per head of the view: the scale of its numbers

    @property
    def shape(self) -> tuple[int, ...]:
        rows = self.view.shape[1:]
        return (len(self.heads), *rows) if self.has_heads else rows


@dataclass(frozen=True)
class Reading:
    """What the options say of the axes."""

    layout: str | None = None
    batch: int | None = None
    head_dim: int | None = None
    tokens: tuple[int, int | None] = (0, None)


def whole_number(option: str, text: str, smallest: int) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) < smallest:
        raise TensorError(f"{option} is '{text}', allowed is a whole number from {smallest} on")
    return int(text)


def parse_reading(layout: str | None, batch: str | None, head_dim: str | None, tokens: str | None) -> Reading:
    if layout not in (None, *LAYOUTS):
        raise TensorError(f"--layout is '{layout}', allowed are heads-first and tokens-first")
    bounds = re.fullmatch(r"([0-9]*):([0-9]*)", "0:" if tokens is None else tokens)
    first, last = (int(bounds[1] or 0), int(bounds[2]) if bounds[2] else None) if bounds else (1, 0)
    if last is not None and first >= last:
        raise TensorError(f"--tokens is '{tokens}', allowed is FIRST:END with END above FIRST, such as 5:64 or 5:")
    return Reading(
        layout,
        None if batch is None else whole_number("--batch", batch, 0),
        None if head_dim is None else whole_number("--head-dim", head_dim, 1),
        (first, last),
    )


def read_bits(sources: Mapping[str, SourceTensor], kind: str | None) -> dict[str, SourceTensor]:
    """Sources that hold numbers of a known format; integers and bytes without a meaning are read as `kind`."""
    if kind is not None and kind not in WIDENED:
        raise TensorError(f"--read-as is '{kind}', allowed are {', '.join(WIDENED)}")
    bits = {role: source for role, source in sources.items() if source.storage.kind in "uiV" and _is_bits(source)}
    if kind is not None and not bits:
        kinds = ", ".join(f"{role} {source.kind}" for role, source in sources.items())
        raise TensorError(f"--read-as is '{kind}', no tensor is stored as bits: {kinds}")
    found = dict(sources)
    for role, source in bits.items():
        fitting = [name for name in WIDENED if storage(name).itemsize == source.storage.itemsize]
        if kind is None and fitting and source.storage.itemsize <= 2:
            if source.storage.kind == "i" and source.storage.itemsize == 1:
                raise TensorError(
                    f"{role} ({source.label}) is of type int8: if quantised, save it multiplied by its scale; "
                    f"if the bits of {fitting[0]} or its like, say so with --read-as"
                )
            words = f"which may be the bits of {', '.join(fitting)}: say which with --read-as"
            raise TensorError(f"{role} ({source.label}) is of type {source.kind}, {words}")
        if kind in fitting:
            found[role] = replace(source, kind=kind, storage=storage(kind).newbyteorder(source.storage.byteorder))
    for role, source in found.items():
        if source.kind not in WIDENED:
            raise TensorError(f"{role} ({source.label}) is of type {source.kind}, allowed are {', '.join(WIDENED)}")
        if 0 in source.shape:
            raise TensorError(f"{role} ({source.label}) of shape {source.shape} is empty")
    return found


def _is_bits(source: SourceTensor) -> bool:
    return source.kind not in WIDENED and source.kind == source.storage.name


# ---- axes --------------------------------------------------------------------------------------------------------


def views(sources: Mapping[str, SourceTensor], reading: Reading, scratch: Path) -> tuple[dict[str, HeadedTensor], str]:
    """Every tensor as (heads, n, d), and the layout that was taken."""
    of_role = {role: _reading_of(role, sources, reading) for role in sources}
    shapes = {role: _without_batch(role, source, of_role[role]) for role, source in sources.items()}
    _check_batches(sources, reading)
    layout = reading.layout or _evident_layout(sources, shapes, reading)
    tokens_first = layout == "tokens-first" or reading.head_dim is not None
    found = {
        role: _view(role, source, source.map(scratch), shapes[role], of_role[role], tokens_first)
        for role, source in sources.items()
    }
    return found, layout if any(len(shape) == 3 for shape in shapes.values()) and reading.head_dim is None else ""


def _reading_of(role: str, sources: Mapping[str, SourceTensor], reading: Reading) -> Reading:
    """--head-dim is that of keys; values beside have as many heads, of a width of their own."""
    if role != "V" or reading.head_dim is None:
        return reading
    heads, width = sources["K"].shape[-1] // reading.head_dim, sources["V"].shape[-1]
    return replace(reading, head_dim=width // heads) if heads > 0 and width % heads == 0 else reading


def _what(role: str, source: SourceTensor) -> str:
    return f"{role} ({source.label}) of shape {source.shape}"


def _without_batch(role: str, source: SourceTensor, reading: Reading) -> tuple[int, ...]:
    """The shape of one batch entry, heads apart."""
    what, shape = _what(role, source), source.shape
    if reading.head_dim is not None:
        if len(shape) not in (2, 3) or shape[-1] % reading.head_dim:
            raise TensorError(
                f"{what}: --head-dim {reading.head_dim} needs a last axis of heads*{reading.head_dim} after n"
            )
        shape = (*shape[:-1], shape[-1] // reading.head_dim, reading.head_dim)
    if len(shape) not in (2, 3, 4):
        raise TensorError(f"{what} has {len(shape)} axes, allowed are (n, d), (heads, n, d) and (batch, heads, n, d)")
    if len(shape) == 4:
        if reading.batch is None and shape[0] > 1:
            raise TensorError(f"{what} has {shape[0]} batch entries; choose one with --batch")
        if (reading.batch or 0) >= shape[0]:
            raise TensorError(f"--batch is {reading.batch}, {what} has entries 0 to {shape[0] - 1}")
        shape = shape[1:]
    return shape


def _check_batches(sources: Mapping[str, SourceTensor], reading: Reading) -> None:
    axes = {role: len(source.shape) + (reading.head_dim is not None) for role, source in sources.items()}
    if reading.batch is not None and 4 not in axes.values():
        shapes = ", ".join(f"{role} {source.shape}" for role, source in sources.items())
        raise TensorError(f"--batch is {reading.batch}, no tensor has a batch axis: {shapes}")
    batches = {source.shape[0] for role, source in sources.items() if axes[role] == 4}
    for role, source in sources.items():
        if axes[role] == 3 and source.shape[0] in batches - {1}:
            raise TensorError(
                f"{_what(role, source)} has no axis for heads or none for the batch of {source.shape[0]}; "
                "allowed is (batch, heads, n, d), heads 1 where all share them"
            )


def _read_shape(shape: tuple[int, ...], tokens_first: bool) -> tuple[int, int, int]:
    if len(shape) == 2:
        return (1, shape[0], shape[1])
    first, second, d = shape
    return (second, first, d) if tokens_first else (first, second, d)


def _evident_layout(
    sources: Mapping[str, SourceTensor], shapes: Mapping[str, tuple[int, ...]], reading: Reading
) -> str:
    """heads-first, unless the tensors agree as (n, heads, d) alone; TensorError where either could be meant."""
    agree = {}
    for layout in LAYOUTS:
        q, k, v = (_read_shape(shapes[role], layout == "tokens-first") for role in ROLES)
        agree[layout] = q[1:] == k[1:] and k[:2] == v[:2] and q[0] % k[0] == 0  # V may have a width of its own
    heads, n, _ = _read_shape(shapes["Q"], False)
    if agree["tokens-first"] and not agree["heads-first"] and len(shapes["Q"]) == 3 and heads >= n:
        return "tokens-first"
    if all(agree.values()) and heads > n and len(shapes["Q"]) == 3 and reading.head_dim is None:
        words = f"is {heads} heads of {n} tokens, or {n} heads of {heads}"
        raise TensorError(f"{_what('Q', sources['Q'])} {words}: say --layout heads-first or --layout tokens-first")
    return "heads-first"


def _view(
    role: str, source: SourceTensor, data: NDArray, shape: tuple[int, ...], reading: Reading, tokens_first: bool
) -> HeadedTensor:
    if reading.head_dim is not None:
        data = data.reshape(*data.shape[:-1], data.shape[-1] // reading.head_dim, reading.head_dim)
    if data.ndim == 4:
        data = data[reading.batch or 0]
    has_heads = len(shape) == 3
    if not has_heads:
        data = data[np.newaxis]
    elif tokens_first:
        data = data.swapaxes(0, 1)
    first, last = reading.tokens
    n = data.shape[1]
    if first >= n or (last or 0) > n:
        raise TensorError(f"--tokens is '{first}:{last or ''}', {_what(role, source)} has {n} tokens")
    return HeadedTensor(role, source, data[:, first:last], tuple(range(data.shape[0])), has_heads, first)


# ---- heads -------------------------------------------------------------------------------------------------------


def parse_heads(text: str, heads: int) -> tuple[int, ...]:
    chosen: list[int] = []
    for part in text.split(","):
        bounds = re.fullmatch(r"\s*([0-9]+)(?:-([0-9]+))?\s*", part)
        first, last = (int(bounds[1]), int(bounds[2] or bounds[1])) if bounds else (1, 0)
        if first > last or last >= heads:
            raise TensorError(f"--head is '{text}', allowed is a list such as 0,2-3 of heads 0 to {heads - 1}")
        chosen.extend(range(first, last + 1))
    if len(set(chosen)) < len(chosen):
        raise TensorError(f"--head is '{text}', allowed is each head once")
    return tuple(chosen)


def select_heads(tensors: Mapping[str, HeadedTensor], text: str | None, repeat: bool) -> list[HeadedTensor]:
    """Query heads by --head; each keeps the head of keys and values that it attends with."""
    counts = {role: tensor.view.shape[0] for role, tensor in tensors.items()}
    for role in ("K", "V"):
        if counts[role] != counts["K"] or counts["Q"] % counts[role]:
            found = ", ".join(f"{name} {counts[name]}" for name in ROLES)
            raise TensorError(f"heads are {found}; allowed is K = V, and Q the same or a multiple of it")
    chosen = tuple(range(counts["Q"])) if text is None else parse_heads(text, counts["Q"])
    shared = chosen
    if counts["K"] < counts["Q"]:
        shared = tuple(head // (counts["Q"] // counts["K"]) for head in chosen)
        if text is None and not repeat:
            shared = tuple(range(counts["K"]))
    with_heads = any(tensor.has_heads for tensor in tensors.values())
    return [
        replace(tensor, heads=chosen if role == "Q" else shared, has_heads=with_heads)
        for role, tensor in tensors.items()
    ]


def check_agreement(tensors: Mapping[str, HeadedTensor], place: str = "") -> None:
    """Raises TensorError. V may have a width of its own, and a layer of many, at `place`, fewer queries than keys."""
    (_, rows, width), (_, n, d), (_, values, out) = (tensors[role].view.shape for role in ROLES)
    shapes = ", ".join(
        f"{t.role} ({t.source.label}) n = {t.view.shape[1]} d = {t.view.shape[2]}" for t in tensors.values()
    )
    if width != d or n != values:
        raise TensorError(
            f"shapes differ: {shapes}; allowed is the same n, and the same d of Q and K (--layout, --head-dim)"
        )
    if rows != n and not (place and rows < n):
        why = "Q of some of the tokens alone (a decode step, the end of a prompt) is not taken: one query per key"
        raise TensorError(f"shapes differ: {shapes}; {why}")
    if max(d, out) > LARGEST_D:
        raise TensorError(
            f"shapes: {shapes}; d may be {LARGEST_D} at most (see --head-dim for heads side by side, --reverse-axes)"
        )
