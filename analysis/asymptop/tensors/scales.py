"""The scale beside a tensor of few bits: a captured float8 cache holds K / k_scale and V / v_scale."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..io.number_formats import WIDENED, is_float8
from .mapped import SourceTensor, TensorError
from .roles import USUAL_NAMES, Catalogues, find
from .views import HeadedTensor

_MULTIPLIED = ("scale", "descale")


def scaled(
    tensors: Mapping[str, HeadedTensor], given: Mapping[str, str | None], catalogues: Catalogues, scratch: Path
) -> tuple[dict[str, HeadedTensor], list[str], set[str]]:
    """Tensors with the factors of their heads, what is to be said of them, and the labels of the scales used."""
    found, notes, used = dict(tensors), [], set()
    for role, tensor in tensors.items():
        option, kind = f"--{role.lower()}-scale", tensor.source.kind
        beside = _beside(role, tensor.source, catalogues)
        text = given[role]
        if text is not None and _is_number(text):
            factors, words = np.array([positive_number(option, text)]), f"{text.strip()}, as given"
        elif text is not None or (beside and is_float8(kind)):
            source = find(option, text, catalogues) if text is not None else _only(option, tensor, beside)
            factors = _factors(option, source, tensor, scratch)
            used.add(source.label)
            shown = f"{factors[0]:g}" if len(factors) == 1 else f"{factors.min():g} to {factors.max():g} by head"
            words = f"{shown}, {source.label}"
        else:
            if is_float8(kind):
                notes.append(f"{role} is {kind} with no scale beside: taken as it is (see {option})")
            elif beside:
                notes.append(f"{beside[0].label} is not applied: {role} is {kind} (see {option})")
            continue
        notes.append(f"{role} is multiplied by its scale ({words})")
        factors = np.broadcast_to(factors, len(tensor.view)).astype(np.float64)
        found[role] = replace(tensor, factors=factors)
    return found, notes, used


def _beside(role: str, source: SourceTensor, catalogues: Catalogues) -> list[SourceTensor]:
    """Tensors of the inputs, or of the source's own file, whose name says that they are its scale."""
    cut = max(source.name.rfind("."), source.name.rfind("/")) + 1
    prefix, last = source.name[:cut], source.name[cut:]
    stem = re.sub(r"_?cache$", "", last)
    stems = {last, stem, *(USUAL_NAMES[role] if stem.lower() in USUAL_NAMES[role] else ())}
    name = re.compile(
        rf"{re.escape(prefix or '')}(?:{'|'.join(map(re.escape, sorted(stems)))})(?:_cache)?[._/]\w*scale\w*",
        re.IGNORECASE,
    )
    return [t for found in catalogues.values() for t in found.values() if name.fullmatch(t.name)]


def _only(option: str, tensor: HeadedTensor, beside: list[SourceTensor]) -> SourceTensor:
    last = re.split(r"[._/]", beside[0].name.lower())[-1]
    if len(beside) > 1 or last not in _MULTIPLIED:
        names = ", ".join(t.name for t in beside)
        raise TensorError(
            f"{tensor.role} ({tensor.source.label}) is {tensor.source.kind} with {names} beside it; "
            f"say what it is multiplied by with {option} NAME or NUMBER"
        )
    return beside[0]


def positive_number(option: str, text: str) -> float:
    value = float(text) if _is_number(text) else math.nan
    if not (math.isfinite(value) and value > 0):
        raise TensorError(f"{option} is '{text}', allowed is a positive finite number")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _factors(option: str, source: SourceTensor, tensor: HeadedTensor, scratch: Path) -> NDArray[np.float64]:
    """One factor, or one per head."""
    what, heads = f"{option}: {source.label} of shape {source.shape}", len(tensor.view)
    if source.kind not in WIDENED:
        raise TensorError(f"{what} is of type {source.kind}, allowed are {', '.join(WIDENED)}")
    size = math.prod(source.shape)
    if size != 1 and tuple(e for e in source.shape if e > 1) != (heads,):
        raise TensorError(f"{what} does not fit, allowed is one number, or one for each of the {heads} heads")
    values = np.asarray(source.widen(source.map(scratch)), dtype=np.float64).reshape(size)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise TensorError(f"{what} holds {values.min():g}, allowed are positive finite numbers")
    return values
