"""Contexts of one length from texts: where each begins, and the tokens that a model expects around a text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..tensors.mapped import TensorError

Tokens = list[int]


@dataclass(frozen=True)
class Context:
    """`tokens` with the special ones; the first token of the text itself is its token number `start`."""

    name: str
    start: int
    tokens: Tokens
    leading: int = 0  # special tokens before the text's own


@dataclass(frozen=True)
class Around:
    """Special tokens that a tokeniser puts before and after a text."""

    before: Tokens
    after: Tokens

    @property
    def count(self) -> int:
        return len(self.before) + len(self.after)


def around(tokenise: Callable[[str, bool], Tokens], sample: str = "text") -> Around:
    """By what `tokenise(text, special)` gives with and without them."""
    bare, full = tokenise(sample, False), tokenise(sample, True)
    for at in range(len(full) - len(bare) + 1):
        if full[at : at + len(bare)] == bare:
            return Around(full[:at], full[at + len(bare) :])
    raise TensorError("the model's tokeniser gives other tokens for a text with special tokens than without")


def read_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TensorError(f"--text {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TensorError(f"--text {path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    return text


def cut(name: str, tokens: Sequence[int], special: Around, length: int, places: int) -> list[Context]:
    """`places` contexts of `length` tokens, evenly spaced over the text; none where it is too short for one."""
    own = length - special.count
    last = len(tokens) - own
    if own < 1 or last < 0:
        return []
    starts = [0] if places == 1 else [round(i * last / (places - 1)) for i in range(places)]
    return [
        Context(name, at, [*special.before, *tokens[at : at + own], *special.after], len(special.before))
        for at in dict.fromkeys(starts)
    ]


def contexts(
    paths: Sequence[Path], tokenise: Callable[[str, bool], Tokens], length: int, places: int
) -> tuple[list[Context], list[str]]:
    """Of every text, and what is to be said of those left out. Raises TensorError where none is left."""
    special = around(tokenise)
    if special.count >= length:
        raise TensorError(f"--lengths is {length} at most, allowed is more than the {special.count} special tokens")
    found: list[Context] = []
    notes: list[str] = []
    for path in paths:
        tokens = tokenise(read_text(path), False)
        own = cut(path.name, tokens, special, length, places)
        found += own
        if not own:
            words = f"{path} has {len(tokens)} tokens and {special.count} special ones, fewer than {length}"
            notes.append(f"{words}: left out")
        elif len(own) < places:
            notes.append(f"{path} has {len(own)} places for a context of {length} tokens, not {places}")
        elif places * (length - special.count) > len(tokens):
            notes.append(f"{path} has {len(tokens)} tokens: its {places} contexts of {length} overlap")
    if not found:
        raise TensorError(f"no text is long enough: {'; '.join(notes)}")
    return found, notes


def identity(facts: Mapping[str, object], found: Sequence[Context]) -> str:
    """A name for one capture: the same model, type of numbers and contexts give the same."""
    told = [dict(facts), [[context.name, context.start, context.tokens] for context in found]]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
