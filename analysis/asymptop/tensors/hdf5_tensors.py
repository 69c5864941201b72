"""Tensors in HDF5 files, whoever wrote them: every numeric dataset, behind soft and external links too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from h5py import h5s, h5t, h5z

from ..io.number_formats import storage
from ..io.trial import refusal, why_no_file
from .hdf5_storage import never_written, one_line
from .mapped import SourceTensor, TensorError

SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".mat", ".jld2", ".nc")
_BLOCK_BYTES = 64 << 20
# Floats that numpy does not have, by (bytes, mantissa bits, exponent bias): read as their bytes.
_SHORT_FLOATS = {(2, 7, 127): "bfloat16", (1, 3, 7): "float8_e4m3fn", (1, 2, 15): "float8_e5m2"}
# What a language that stores arrays column by column leaves on a dataset: HDF5 has its axes in reverse.
_REVERSED = {"MATLAB_class": "MATLAB", "rhdf5-NA.OK": "R"}


def open_hdf5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", rdcc_nbytes=4 * _BLOCK_BYTES)
    except OSError as error:
        with path.open("rb") as stream:
            older = stream.read(10) == b"MATLAB 5.0"
        hint = "; a MATLAB file before 7.3: save it with -v7.3" if older else ""
        raise TensorError(f"{path}: HDF5 does not open it: {one_line(error)}{hint}") from error


def hdf5_catalogue(path: Path) -> dict[str, SourceTensor]:
    """Every dataset of a file by its path, and every link that leads nowhere as one that cannot be read."""
    if not path.is_file():
        raise TensorError(f"{path}: {why_no_file(path)}")
    if why := refusal(path):
        raise TensorError(f"{path}: {why}")
    with open_hdf5(path) as file:
        return {name: _tensor(path, name, node) for name, node in _walk(file, "", frozenset())}


def stored_scale(path: Path) -> float | None:
    """The root attribute that `study` takes as the logit scale."""
    if path.suffix not in SUFFIXES:
        return None
    with open_hdf5(path) as file:
        scale = np.asarray(file.attrs.get("scale", np.nan))
        usable = scale.size == 1 and scale.dtype.kind in "fiu" and np.isfinite(scale.item()) and scale.item() > 0
        return float(scale.item()) if usable else None


def _walk(group: h5py.Group, prefix: str, above: frozenset) -> Iterator[tuple[str, h5py.Dataset | str]]:
    """Datasets by path, or what HDF5 says of a link that it cannot follow. Groups may lie within themselves."""
    place = (group.file.filename, h5py.h5o.get_info(group.id).addr)
    if place in above:
        return
    for name in group:
        try:
            node = group[name]
        except (KeyError, OSError) as error:
            link = group.get(name, getlink=True)
            target = ":".join(filter(None, (getattr(link, "filename", ""), getattr(link, "path", ""))))
            yield prefix + name, f"link to {target}: {one_line(error)}"
            continue
        if isinstance(node, h5py.Dataset):
            yield prefix + name, node
        elif isinstance(node, h5py.Group):
            yield from _walk(node, f"{prefix}{name}/", above | {place})


def _tensor(path: Path, name: str, node: h5py.Dataset | str) -> SourceTensor:
    if isinstance(node, str):
        return SourceTensor(path, name, f"unreadable ({node})", np.dtype(np.uint8), ())
    kind, stored = _kind(node)
    turned = next((who for mark, who in _REVERSED.items() if mark in node.attrs), "")
    shape = () if node.shape is None or "MATLAB_empty" in node.attrs else node.shape
    return SourceTensor(
        path, name, kind, stored, shape[::-1] if turned else shape, 0, bool(turned), partial(_copy, path, name), turned
    )


def _kind(dataset: h5py.Dataset) -> tuple[str, np.dtype]:
    """The number format and the type to read the bytes as, which is numpy's own where there is one."""
    kind = dataset.id.get_type()
    if isinstance(kind, h5t.TypeFloatID):
        _, _, _, _, mantissa = kind.get_fields()
        short = _SHORT_FLOATS.get((kind.get_size(), mantissa, kind.get_ebias()))
        if short is not None:
            return short, storage(short).newbyteorder(">" if kind.get_order() == h5t.ORDER_BE else "<")
    if dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2 and dataset.dtype.names is None:
        return "bfloat16", np.dtype("<u2")  # h5py's word for ml_dtypes', as numpy's
    return dataset.dtype.name, dataset.dtype


def _blocks(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[slice, ...]]:
    """The whole of an array in pieces that lie one after another in memory."""
    row = itemsize * int(np.prod(shape[1:], dtype=np.int64))
    step = max(1, _BLOCK_BYTES // row)
    if row <= _BLOCK_BYTES or len(shape) == 1:
        yield from ((slice(i, min(i + step, shape[0])),) for i in range(0, shape[0], step))
        return
    for i in range(shape[0]):
        yield from ((slice(i, i + 1), *rest) for rest in _blocks(shape[1:], itemsize))


def _copy(path: Path, name: str, output: BinaryIO) -> None:
    """The values of a dataset in the order of the file. TensorError where they are not all there."""
    with open_hdf5(path) as file:
        dataset = file[name]
        if why := never_written(dataset) or _absent_filter(dataset):
            raise TensorError(f"{path}:{name}: {why}; allowed are datasets whose every value is stored and readable")
        for block in _blocks(dataset.shape, dataset.dtype.itemsize):
            output.write(_read(path, dataset, block))
    output.flush()


def _read(path: Path, dataset: h5py.Dataset, block: tuple[slice, ...]) -> bytes:
    kind = dataset.id.get_type()
    _, stored = _kind(dataset)
    start = [part.start for part in block] + [0] * (dataset.ndim - len(block))
    extent = [part.stop - part.start for part in block] + list(dataset.shape[len(block) :])
    chosen = dataset.id.get_space()
    chosen.select_hyperslab(tuple(start), tuple(extent))
    values = np.empty(extent, stored)
    # Bytes as they are: HDF5 takes the largest numbers of float8_e4m3fn for infinities and NaN.
    as_stored = kind if stored.kind == "u" and not isinstance(kind, h5t.TypeIntegerID) else None
    try:
        dataset.id.read(h5s.create_simple(tuple(extent)), chosen, values, as_stored)
    except OSError as error:
        raise TensorError(f"{path}:{dataset.name.lstrip('/')}: HDF5: {one_line(error)}") from error
    return values.tobytes()


def _absent_filter(dataset: h5py.Dataset) -> str:
    plist = dataset.id.get_create_plist()
    for i in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(i)
        if not h5z.filter_avail(code):
            return f"it needs the filter {code} ({name.decode(errors='replace')}), which HDF5 does not find here"
    return ""
