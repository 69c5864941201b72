"""The library that makes calls of storage fail (failing_storage.c)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def failing_library(folder: Path) -> Path | None:
    """To be preloaded; none where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source = Path(__file__).with_suffix(".c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "failing.so", source, "-ldl"], check=True)
    return folder / "failing.so"


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
