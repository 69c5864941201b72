"""Tensors in .npy, .npz and .safetensors files, as memory maps: nothing is read until a block is asked for.

What cannot be mapped in place (a compressed .npz member, an HDF5 dataset) is first copied into an unnamed file in a
folder of the caller's choice.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
import tempfile
import zipfile
import zlib
from ast import literal_eval
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ..io.number_formats import SAFETENSORS_NAMES, WIDENED, decode, storage
from ..io.streams import UsageError
from ..io.trial import why_no_file

SUFFIXES = (".npy", ".npz", ".safetensors")

WRITTEN_BY_NUMPY = {"<V2": "bfloat16", "|V2": "bfloat16", "<f1": "float8_e5m2", "|f1": "float8_e5m2"}
NPY_HEADER_LIMIT = 1_000_000
SAFETENSORS_HEADER_LIMIT = 100_000_000
MALFORMED = (OSError, ValueError, KeyError, TypeError, SyntaxError, MemoryError, RecursionError, struct.error)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError)  # of a compressed member


class TensorError(UsageError):
    """An input that cannot be used, in one line: the file or tensor, the value, and what is allowed."""


@dataclass(frozen=True)
class SourceTensor:
    """One tensor in a file: where its bytes lie and how they read."""

    path: Path
    name: str
    kind: str  # one of number_formats.WIDENED, or in words what it is: such a tensor cannot be used
    storage: np.dtype
    shape: tuple[int, ...]
    offset: int = 0
    fortran_order: bool = False
    copy: Callable[[BinaryIO], None] | None = None  # writes the tensor where it can be mapped
    turned: str = ""  # whose habit it is to store axes in reverse, where that is undone

    @property
    def label(self) -> str:
        return str(self.path) if self.path.suffix == ".npy" else f"{self.path}:{self.name}"

    @property
    def bytes_stored(self) -> int:
        return math.prod(self.shape) * self.storage.itemsize

    def map(self, scratch: Path) -> NDArray:
        """The tensor in its storage type, mapped read-only; `scratch` is the folder for a copy."""
        order: Literal["F", "C"] = "F" if self.fortran_order else "C"
        if self.copy is not None:
            with tempfile.TemporaryFile(dir=scratch) as copied:
                self.copy(copied)
                return np.memmap(copied, self.storage, "r", self.offset, self.shape, order)
        return np.memmap(self.path, self.storage, "r", self.offset, self.shape, order)

    def with_reversed_axes(self) -> SourceTensor:
        """The same bytes with the axes the other way round."""
        return replace(self, shape=self.shape[::-1], fortran_order=not self.fortran_order, turned="the file")

    def widen(self, block: NDArray) -> NDArray:
        """A block in its storage type as float32 or float64; every value is kept exactly."""
        return decode(self.kind, block)


def read_catalogue(path: Path) -> dict[str, SourceTensor]:
    """Every tensor of a file by name; the one tensor of an .npy file goes by the file's stem."""
    readers = {".npy": _npy_catalogue, ".npz": _npz_catalogue, ".safetensors": _safetensors_catalogue}
    if path.suffix not in readers:
        raise TensorError(f"{path}: the name ends in '{path.suffix}', allowed are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise TensorError(f"{path}: {why_no_file(path)}")
    try:
        return readers[path.suffix](path)
    except (*MALFORMED, zipfile.BadZipFile) as error:
        raise TensorError(f"{path}: not a readable {path.suffix} file ({_one_line(error)})") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, str, np.dtype]:
    """Shape, whether in Fortran order, kind, and the type to read the bytes as."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"format version {version[0]}.{version[1]}, allowed are 1.0 to 3.0")
    (length,) = struct.unpack("<H", stream.read(2)) if version == (1, 0) else struct.unpack("<I", stream.read(4))
    if length > NPY_HEADER_LIMIT:
        raise ValueError(f"the header claims {length} bytes")
    header = literal_eval(stream.read(length).decode("utf-8" if version == (3, 0) else "latin-1").strip())
    shape, fortran_order = header["shape"], header["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(extent) is int and extent >= 0 for extent in shape):
        raise ValueError(f"shape is {shape!r}")
    return shape, bool(fortran_order), *_npy_kind(header["descr"])


def _npy_kind(descr: Any) -> tuple[str, np.dtype]:
    """Formats of ml_dtypes go by their name or by what numpy writes for them; V1 is written for many of them."""
    kind = WRITTEN_BY_NUMPY.get(descr, descr) if isinstance(descr, str) else ""
    if kind in WIDENED:
        return kind, storage(kind)
    dtype = np.lib.format.descr_to_dtype(descr)
    return dtype.name, dtype


def _check_extent(tensor: SourceTensor, available: int) -> SourceTensor:
    if tensor.kind in WIDENED and tensor.offset + tensor.bytes_stored > available:
        raise ValueError(
            f"tensor {tensor.name} of shape {tensor.shape} needs {tensor.offset + tensor.bytes_stored} bytes, "
            f"the file has {available}"
        )
    return tensor


def _npy_catalogue(path: Path) -> dict[str, SourceTensor]:
    with path.open("rb") as stream:
        shape, fortran_order, kind, stored_type = _npy_header(stream)
        tensor = SourceTensor(path, path.stem, kind, stored_type, shape, stream.tell(), fortran_order)
    return {path.stem: _check_extent(tensor, path.stat().st_size)}


def _npz_catalogue(path: Path) -> dict[str, SourceTensor]:
    catalogue = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            name = member.filename.removesuffix(".npy")
            try:
                catalogue[name] = _npz_member(path, name, archive, member, raw)
            except (*MALFORMED, NotImplementedError, RuntimeError, *DAMAGE) as error:
                # The others may be what is asked for.
                catalogue[name] = SourceTensor(path, name, f"unreadable ({_one_line(error)})", np.dtype(np.uint8), ())
    return catalogue


def _npz_member(
    path: Path, name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, raw: BinaryIO
) -> SourceTensor:
    with archive.open(member) as stream:
        shape, fortran_order, kind, stored_type = _npy_header(stream)
        header = stream.tell()
    stored = member.compress_type == zipfile.ZIP_STORED
    start = _member_data_offset(raw, member) if stored else 0
    copy = None if stored else partial(_inflate, path, member.filename)
    tensor = SourceTensor(path, name, kind, stored_type, shape, start + header, fortran_order, copy)
    return _check_extent(tensor, start + member.file_size)


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
    except DAMAGE as error:
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
        kind = SAFETENSORS_NAMES.get(entry["dtype"], str(entry["dtype"]))
        stored_type = storage(kind) if kind in WIDENED else np.dtype(np.uint8)
        shape = tuple(int(extent) for extent in entry["shape"])
        begin, end = entry["data_offsets"]
        tensor = SourceTensor(path, name, kind, stored_type, shape, 8 + length + begin)
        if kind in WIDENED and (min(shape, default=1) < 0 or end - begin != tensor.bytes_stored):
            raise ValueError(f"tensor {name} of shape {shape} and type {entry['dtype']} holds {end - begin} bytes")
        catalogue[name] = _check_extent(tensor, size)
    return catalogue
