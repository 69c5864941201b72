"""The library that makes calls of storage fail (failing_storage.c)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def preloaded(name: str, folder: Path) -> Path | None:
    """A library of this folder, to be preloaded; none where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source, library = Path(__file__).with_name(f"{name}.c"), folder / f"{name}.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def failing_library(folder: Path) -> Path | None:
    return preloaded("failing_storage", folder)


def settings(library: Path, call: str, path: str, at: int, error: int) -> dict[str, str]:
    """From its `at`-th call on, `call` fails on files whose path holds `path`."""
    return {
        "LD_PRELOAD": str(library),
        "FAIL_CALL": call,
        "FAIL_PATH": path,
        "FAIL_AT": str(at),
        "FAIL_ERRNO": str(error),
    }


def signal_at(library: Path, path: str, at: int, which: int) -> dict[str, str]:
    """When it has given a file of such a path its name for the `at`-th time, the process gets a signal."""
    return settings(library, "rename", path, at, 0) | {"FAIL_SIGNAL": str(which)}
