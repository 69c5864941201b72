"""The seal at the end of a results file: a SHA-256 of all bytes before it (src/results/seal.hpp).

Damage is found before HDF5 looks into the file: its library may crash on broken structures, and does not notice
changed numbers.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

MARK = b"asymptop sha256 "
SIZE = len(MARK) + 64
SIGNATURE = b"\x89HDF\r\n\x1a\n"


class SealError(Exception):
    """A file whose bytes are not those that were sealed, in one line."""


def _end_of_hdf5(head: bytes) -> int | None:
    """Where HDF5's own bytes end, by a superblock of version 2 or 3, as Asymptop writes them."""
    if len(head) < 36 or not head.startswith(SIGNATURE) or head[8] not in (2, 3):
        return None
    return int.from_bytes(head[28:36], "little")


def check_seal(path: Path) -> bool:
    """Whether the file is sealed. Raises SealError when seal and bytes disagree."""
    size = os.path.getsize(path)
    with path.open("rb") as file:
        end = _end_of_hdf5(file.read(36))
        if size < SIZE:
            return False
        file.seek(size - SIZE)
        found = file.read(SIZE)
        marked = found.startswith(MARK)
        if not marked and (end is None or size <= end):
            return False
        digest = hashlib.sha256()
        file.seek(0)
        left = size - SIZE
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            digest.update(piece)
            left -= len(piece)
    if found != MARK + digest.hexdigest().encode():
        raise SealError(f"{path}: is damaged, its checksum is not that of its bytes")
    return True
