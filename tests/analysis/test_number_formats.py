"""Every bit pattern of the short formats against its value by the definition of the format, and against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from asymptop.io.number_formats import SAFETENSORS_NAMES, WIDENED, decode, storage


def defined(bits: int, exponent_bits: int, mantissa_bits: int, bias: int, special: str) -> float:
    """The value of a pattern: IEEE-like, without infinities ("fn") or without negative zero too ("fnuz")."""
    sign = -1.0 if bits >> (exponent_bits + mantissa_bits) else 1.0
    exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1)
    mantissa = bits & ((1 << mantissa_bits) - 1)
    full = (1 << exponent_bits) - 1
    if special == "fnuz" and sign < 0 and not exponent and not mantissa:
        return math.nan
    if special == "ieee" and exponent == full:
        return math.nan if mantissa else sign * math.inf
    if special == "fn" and exponent == full and mantissa == (1 << mantissa_bits) - 1:
        return math.nan
    if exponent == 0:
        return sign * math.ldexp(mantissa, 1 - bias - mantissa_bits)
    return sign * math.ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits)


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("float16", (5, 10, 15, "ieee")),
        ("bfloat16", (8, 7, 127, "ieee")),
        ("float8_e4m3fn", (4, 3, 7, "fn")),
        ("float8_e5m2", (5, 2, 15, "ieee")),
        ("float8_e4m3fnuz", (4, 3, 8, "fnuz")),
        ("float8_e5m2fnuz", (5, 2, 16, "fnuz")),
    ],
)
def test_every_pattern(kind: str, layout: tuple[int, int, int, str]) -> None:
    stored = storage(kind)
    bits = np.arange(1 << (8 * stored.itemsize), dtype=f"<u{stored.itemsize}")
    found = decode(kind, bits.view(stored))
    right = np.array([defined(int(b), *layout) for b in bits])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, right)
    np.testing.assert_array_equal(np.signbit(found[right == 0]), np.signbit(right[right == 0]))


def test_powers_of_two() -> None:
    found = decode("float8_e8m0fnu", np.arange(256, dtype=np.uint8))
    np.testing.assert_array_equal(found[:255], [math.ldexp(1.0, e - 127) for e in range(255)])
    assert np.isnan(found[255])


def test_all_names_can_be_read_in_pieces_and_either_order() -> None:
    assert set(SAFETENSORS_NAMES.values()) == set(WIDENED)
    for kind, wide in WIDENED.items():
        block = np.zeros((6, 4), storage(kind))[::2, ::3]
        assert decode(kind, block).shape == (3, 2)
        assert decode(kind, block).dtype == wide
    np.testing.assert_array_equal(decode("float32", np.array([1.5], ">f4")), [1.5])
