"""Where a file that is written under a name lies: what a rename replaces must be neither a link nor a device."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path


def check_no_input(path: Path, inputs: Iterable[Path]) -> Path:
    """The path; OSError where writing there would replace one of the inputs."""
    if any(path.exists() and one.exists() and path.samefile(one) for one in inputs):
        raise OSError(errno.EINVAL, "is an input itself, allowed is another name", str(path))
    return path


def output_target(path: Path) -> Path:
    """The end of a chain of symbolic links, there or not yet; OSError where it is neither file nor folder."""
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise OSError(errno.EINVAL, "is a device, a pipe or the like, allowed is a file", str(path))
    return target
