"""Sizes and lists of them, as the asymptop program reads them (src/config/option_values.cpp)."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from .law_grammar import number

_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_POWER = re.compile(rf"({_DIGITS})(?:\^|\*\*)({_DIGITS})")
_SCALED = re.compile(rf"({_DIGITS}|[0-9.]+)([KMGT]i|[kKMGT])")
LARGEST = 1 << 62
LARGEST_FACTOR = 1 << 20
ALLOWED = "whole numbers such as 4096, 2^20, 1e6, 64k (64000) or 64Ki (65536)"


class SizeError(ValueError):
    """A text that is no size or no list of sizes, and what is allowed."""


def parse_size(text: str, most: int = LARGEST) -> int:
    """A size from 1 to `most`."""
    value = _value(text, most)
    if value is None or not 1 <= value <= most or value != math.floor(value):
        raise SizeError(f"'{text}' is no size from 1 to {most}, allowed are {ALLOWED}")
    return int(value)


def _value(text: str, most: int) -> int | float | None:
    if re.fullmatch(_DIGITS, text):
        return _whole(text)
    if found := _POWER.fullmatch(text):
        base, exponent = (_whole(part) for part in found.groups())
        return base**exponent if 1 <= base <= most and exponent <= 1000 else None
    if found := _SCALED.fullmatch(text):
        digits, suffix = found[1].replace("_", ""), found[2]
        steps = "KMGT".index(suffix[0].upper()) + 1
        if suffix.endswith("i"):
            value = number(digits)
            return None if value is None else value * 1024.0**steps
        return number(f"{digits}e{3 * steps}")
    return number(text)


def _whole(digits: str) -> int:
    digits = digits.replace("_", "").lstrip("0")
    return int(digits or "0") if len(digits) < 20 else 10**20


def count_words(value: float, digits: int = 6) -> str:
    """A whole number with all its digits, any other as `%.{digits}g` has it: of what may be a count."""
    whole = abs(value) < 2.0**53 and value == int(value)
    return str(int(value)) if whole else f"{value:.{digits}g}"


def expand(text: str, most: int = LARGEST) -> list[int]:
    """The sizes of a list such as `4096,50000` or `2^10:2^20:4`, in the order given."""
    items = [item.strip(" \t") for item in text.split(",")]
    for before, item in pairwise(items):
        if re.fullmatch("[1-9][0-9]{0,2}", before) and re.fullmatch("0[0-9]{2}", item):
            words = f"of {before} and {item} too; thousands are set apart by _ or not at all, as {before}_{item}"
            raise SizeError(f"'{text}' is a list, {words}")
    return [size for item in items for size in _range(item, most)]


def parse_sizes(text: str, most: int = LARGEST) -> list[int]:
    """The sizes of a list, ascending and each once."""
    return sorted(set(expand(text, most)))


def _range(item: str, most: int) -> list[int]:
    parts = [part.strip(" \t") for part in item.split(":")]
    if len(parts) > 3:
        raise SizeError(f"'{item}' is not N, FIRST:LAST or FIRST:LAST:FACTOR")
    first, last = parse_size(parts[0], most), parse_size(parts[-1 if len(parts) < 3 else 1], most)
    factor = 2
    if len(parts) == 3:
        factor = _whole(parts[2]) if re.fullmatch("[0-9]+", parts[2]) else 0
        if not 2 <= factor <= LARGEST_FACTOR:
            raise SizeError(f"'{item}' has no whole factor from 2 to {LARGEST_FACTOR}")
    if last < first:
        raise SizeError(f"'{item}' has its last before its first")
    if len(parts) == 3 and last > first and factor * first > last:
        raise SizeError(f"'{item}' holds its first alone: the third is a factor, not a step")
    found = [first]
    while found[-1] * factor <= last:
        found.append(found[-1] * factor)
    return found
