"""Reading an HDF5 file of unknown origin for the first time: in a copy of the process, which may come to grief.

libhdf5 crashes, loops or asks for all memory on some damaged files. Files with a seal are not tried: damage is found
before (seal.py). The copy reads all that is in the file, with limits on time and memory.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
from functools import cache
from pathlib import Path

import h5py

# Of the copy, besides what grows with the file and what this process has already.
PROCESSOR_SECONDS = 10
SECONDS_PER_BYTE = 2e-8
ADDRESS_SPACE = 4 << 30
LARGE = 1 << 30  # bytes of a dataset that is not read to its end
_OUT_OF_MEMORY = 3

tried: set[Path] = set()
"""Files that were read although nothing vouches for their bytes."""


def why_no_file(path: Path) -> str:
    """Of a path that is no file to read."""
    return "is a folder, allowed is a file" if path.is_dir() else "no such file"


def refusal(path: Path) -> str:
    """Why the file must not be read in this process; empty where it may be. A file that h5py refuses may be."""
    stat = path.stat()
    tried.add(path)
    return _refusal(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)


@cache
def _refusal(path: Path, inode: int, changed: int, size: int) -> str:
    del inode, changed  # they tell one content of the path from another
    child = os.fork()
    if child == 0:
        _be_the_child(path, size)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return ""
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _OUT_OF_MEMORY:
        return f"is damaged: reading its {size} bytes takes over {_memory(size) >> 30} GB of memory"
    return "is damaged: the HDF5 library does not survive reading it"


def _memory(size: int) -> int:
    return ADDRESS_SPACE + 4 * size


def _be_the_child(path: Path, size: int) -> None:
    """Does not return."""
    code = 1
    try:
        seconds = PROCESSOR_SECONDS + int(size * SECONDS_PER_BYTE)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(10 * seconds)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        faulthandler.disable()  # a test's, say
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_CPU, seconds)
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + _memory(size))
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # what a C library says of its end
            os.dup2(nothing, stream)
        _read_through(path)
        code = 0
    except MemoryError:
        code = _OUT_OF_MEMORY
    except BaseException:
        code = 0  # the reader will meet it too, and say it
    finally:
        os._exit(code)


def _lower(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, hard))


def _read_through(path: Path) -> None:
    """Every attribute, value (of large datasets the first) and scale."""

    def read(node: h5py.Group | h5py.Dataset) -> None:
        for attempt in (lambda: list(node.attrs.items()), lambda: _read_data(node)):
            try:
                attempt()
            except MemoryError:
                raise
            except Exception:
                continue  # the rest may be worse

    with h5py.File(path, "r", locking=False) as file:
        read(file)
        file.visititems(lambda _, node: read(node))


def _read_data(node: h5py.Group | h5py.Dataset) -> None:
    if isinstance(node, h5py.Group):
        for name in node:
            node.get(name)
        return
    _ = node[_part(node)], node.is_scale, h5py.check_string_dtype(node.dtype)
    for axis in node.dims:
        _ = [scale.name for scale in axis.values()]


def _part(node: h5py.Dataset) -> tuple[slice, ...]:
    """All of a dataset; of a large one, of tensors say, the first values along every axis."""
    left = LARGE // max(1, node.dtype.itemsize)
    part: list[slice] = []
    for extent in reversed(node.shape or ()):
        part.insert(0, slice(0, min(extent, max(1, left))))
        left //= max(1, part[0].stop)
    return tuple(part)
