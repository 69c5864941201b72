"""Number formats of tensors: by name, the type of their bytes and their exact values in float32 or float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

# Every value of the format is a value of this type. Names are those of numpy and ml_dtypes.
WIDENED: dict[str, np.dtype] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float32),
    "bfloat16": np.dtype(np.float32),
    "float8_e4m3fn": np.dtype(np.float32),
    "float8_e5m2": np.dtype(np.float32),
    "float8_e4m3fnuz": np.dtype(np.float32),
    "float8_e5m2fnuz": np.dtype(np.float32),
    "float8_e8m0fnu": np.dtype(np.float32),  # powers of two: block scales
}
# Formats that numpy itself does not know: their bytes are read as integers.
_OF_ML_DTYPES = {name: np.dtype(getattr(ml_dtypes, name)) for name in WIDENED if name.startswith(("bfloat", "float8"))}
SAFETENSORS_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}


def is_float8(kind: str) -> bool:
    """Too few bits to stand alone: such values are stored divided by a scale, which lies elsewhere."""
    return kind.startswith("float8")


def storage(kind: str) -> np.dtype:
    """The little-endian type to read the bytes of a format as."""
    if kind in _OF_ML_DTYPES:
        return np.dtype(f"<u{_OF_ML_DTYPES[kind].itemsize}")
    return np.dtype(kind).newbyteorder("<")


def decode(kind: str, block: NDArray) -> NDArray:
    """A block in its storage type as float32 or float64, exactly; `kind` is one of WIDENED."""
    if kind in _OF_ML_DTYPES:
        block = np.asarray(block, np.asarray(block).dtype.newbyteorder("=")).view(_OF_ML_DTYPES[kind])
    return block.astype(WIDENED[kind])
