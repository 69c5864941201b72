"""Tensors in .npy, .npz and .safetensors files, as memory maps: nothing is read until a block is asked for.

A compressed .npz member cannot be mapped: it is first inflated into an unnamed file in a folder of the caller's choice.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

# What can be widened to float32 or float64 without loss, and the type that holds it.
WIDENED = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float32),
    "bfloat16": np.dtype(np.float32),
}
SUFFIXES = (".npy", ".npz", ".safetensors")

SAFETENSORS_TYPES = {
    "F64": ("float64", np.dtype("<f8")),
    "F32": ("float32", np.dtype("<f4")),
    "F16": ("float16", np.dtype("<f2")),
    "BF16": ("bfloat16", np.dtype("<u2")),
}
SAFETENSORS_HEADER_LIMIT = 100_000_000


class TensorError(Exception):
    """An input that cannot be used, in one line: the file or tensor, the value, and what is allowed."""


@dataclass(frozen=True)
class SourceTensor:
    """One tensor in a file: where its bytes lie and how they read."""

    path: Path
    name: str
    kind: str  # float64, float32, float16, bfloat16; anything else cannot be used
    storage: np.dtype
    shape: tuple[int, ...]
    offset: int = 0
    fortran_order: bool = False
    compressed_member: str = ""  # of an .npz: to be inflated first

    @property
    def label(self) -> str:
        return str(self.path) if self.path.suffix == ".npy" else f"{self.path}:{self.name}"

    @property
    def bytes_stored(self) -> int:
        return math.prod(self.shape) * self.storage.itemsize

    def map(self, scratch: Path) -> NDArray:
        """The tensor in its storage type, mapped read-only; `scratch` is where a compressed one is inflated."""
        order = "F" if self.fortran_order else "C"
        if self.compressed_member:
            with tempfile.TemporaryFile(dir=scratch) as inflated:
                _inflate(self.path, self.compressed_member, inflated)
                return np.memmap(inflated, self.storage, "r", self.offset, self.shape, order)
        return np.memmap(self.path, self.storage, "r", self.offset, self.shape, order)

    def widen(self, block: NDArray) -> NDArray:
        """A block in its storage type as float32 or float64; every value is kept exactly."""
        if self.kind == "bfloat16":
            return (block.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return block.astype(WIDENED[self.kind])


def read_catalogue(path: Path) -> dict[str, SourceTensor]:
    """Every tensor of a file by name; the one tensor of an .npy file goes by the file's stem."""
    readers = {".npy": _npy_catalogue, ".npz": _npz_catalogue, ".safetensors": _safetensors_catalogue}
    if path.suffix not in readers:
        raise TensorError(f"{path}: the name ends in '{path.suffix}', allowed are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise TensorError(f"{path}: no such file")
    try:
        return readers[path.suffix](path)
    except (OSError, ValueError, KeyError, TypeError, struct.error, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TensorError(f"{path}: not a readable {path.suffix} file ({reason})") from error


def _npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"format version {version[0]}.{version[1]}, allowed are 1.0 and 2.0")
    return readers[version](stream)


def _npy_kind(dtype: np.dtype) -> tuple[str, np.dtype]:
    # numpy writes bfloat16 (of ml_dtypes) as two bytes without a meaning.
    if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None:
        return "bfloat16", np.dtype("<u2")
    return dtype.name, dtype


def _check_extent(tensor: SourceTensor, available: int) -> SourceTensor:
    if tensor.offset + tensor.bytes_stored > available:
        raise ValueError(
            f"tensor {tensor.name} of shape {tensor.shape} needs {tensor.offset + tensor.bytes_stored} bytes, "
            f"the file has {available}"
        )
    return tensor


def _npy_catalogue(path: Path) -> dict[str, SourceTensor]:
    with path.open("rb") as stream:
        shape, fortran_order, dtype = _npy_header(stream)
        kind, storage = _npy_kind(dtype)
        tensor = SourceTensor(path, path.stem, kind, storage, shape, stream.tell(), fortran_order)
    return {path.stem: _check_extent(tensor, path.stat().st_size)}


def _npz_catalogue(path: Path) -> dict[str, SourceTensor]:
    catalogue = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as stream:
                shape, fortran_order, dtype = _npy_header(stream)
                header = stream.tell()
            kind, storage = _npy_kind(dtype)
            stored = member.compress_type == zipfile.ZIP_STORED
            start = _member_data_offset(raw, member) if stored else 0
            compressed = "" if stored else member.filename
            tensor = SourceTensor(path, name, kind, storage, shape, start + header, fortran_order, compressed)
            catalogue[name] = _check_extent(tensor, start + member.file_size)
    return catalogue


def _member_data_offset(raw: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin; the lengths in the local header need not be those of the directory."""
    raw.seek(member.header_offset)
    header = raw.read(30)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return member.header_offset + 30 + name_length + extra_length


def _inflate(path: Path, member: str, output: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            shutil.copyfileobj(stream, output, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise TensorError(f"{path}: member {member} is damaged ({error})") from error
    output.flush()


def _safetensors_catalogue(path: Path) -> dict[str, SourceTensor]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > min(size - 8, SAFETENSORS_HEADER_LIMIT):
            raise ValueError(f"the header claims {length} bytes, the file has {size}")
        header = json.loads(stream.read(length))
    if not isinstance(header, Mapping):
        raise ValueError("the header is not a JSON object")
    catalogue = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        kind, storage = SAFETENSORS_TYPES.get(entry["dtype"], (str(entry["dtype"]), np.dtype(np.uint8)))
        shape = tuple(int(extent) for extent in entry["shape"])
        begin, end = entry["data_offsets"]
        tensor = SourceTensor(path, name, kind, storage, shape, 8 + length + begin)
        if kind in WIDENED and (min(shape, default=1) < 0 or end - begin != tensor.bytes_stored):
            raise ValueError(f"tensor {name} of shape {shape} and type {entry['dtype']} holds {end - begin} bytes")
        catalogue[name] = _check_extent(tensor, size)
    return catalogue
