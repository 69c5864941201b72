"""The tensor file that `asymptop study --input` reads: HDF5 with Q, K and V at the root, (n, d) or (heads, n, d).

A file is written under a temporary name beside its own, closed, synced and renamed: it is whole or not there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from ..io.output_target import output_target

# A chunk holds whole rows of one head, so that a rank's run of keys is a run of chunks.
CHUNK_BYTES = 1 << 20


def chunk_rows(n: int, d: int, itemsize: int) -> int:
    """Rows of a chunk: the power of two that keeps it within CHUNK_BYTES, at most n."""
    rows = max(1, CHUNK_BYTES // (d * itemsize))
    return min(n, 1 << (rows.bit_length() - 1))


class TensorFile:
    """Writes one tensor file; leaving the `with` block by an exception leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self.path = output_target(path)
        self.temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        self.datasets: list[h5py.Dataset] = []

    def __enter__(self) -> TensorFile:
        try:
            self.file = h5py.File(self.temporary, "w")
        except BaseException:
            self._discard()
            raise
        self.file.attrs["kind"] = "tensors"
        return self

    def create(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
        n, d = shape[-2:]
        chunks = (1,) * (len(shape) - 2) + (chunk_rows(n, d, dtype.itemsize), d)
        dataset = self.file.create_dataset(name, shape, dtype, chunks=chunks)
        self.datasets.append(dataset)
        dataset.attrs["long_name"] = {"Q": "queries", "K": "keys", "V": "values"}.get(name.split("/")[-1], name)
        return dataset

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                # Closing a dataset writes its last chunks, and does not say when that fails.
                for dataset in self.datasets:
                    dataset.flush()
            self.file.close()
            if kind is None:
                self._publish()
        finally:
            self._discard()

    def _publish(self) -> None:
        sync(self.temporary)
        os.replace(self.temporary, self.path)
        sync(self.path.parent)

    def _discard(self) -> None:
        with suppress(FileNotFoundError):
            self.temporary.unlink()


def sync(path: Path) -> None:
    """To the disk: a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
