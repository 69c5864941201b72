"""Case files changed by hand: an INVALID one is hard to come by otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

SEAL = b"asymptop sha256 "


@contextmanager
def changing(path: Path) -> Iterator[h5py.File]:
    """The file, to be changed; it is sealed again (src/results/seal.hpp)."""
    content = path.read_bytes()
    if content[-80:].startswith(SEAL):
        path.write_bytes(content[:-80])
    with h5py.File(path, "r+") as file:
        yield file
    content = path.read_bytes()
    path.write_bytes(content + SEAL + hashlib.sha256(content).hexdigest().encode())


def make_invalid(path: Path) -> None:
    """The verdict of the first case."""
    with changing(path) as file:
        next(iter(file["cases"].values())).attrs["verdict"] = "INVALID"
