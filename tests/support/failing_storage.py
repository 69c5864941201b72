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
