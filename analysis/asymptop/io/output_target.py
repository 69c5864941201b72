"""Where a file that is written under a name lies: what a rename replaces must be neither a link nor a device."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from .streams import UsageError


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


def new_output(path: Path, replace: bool) -> Path:
    """output_target() of a file that can be written; UsageError, with the reason, where none can or one is not to be
    replaced."""
    try:
        target = output_target(path)
        if target.is_dir():
            raise UsageError(f"{target}: is a folder, allowed is the name of a file to write")
        if target.exists() and not replace:
            raise UsageError(f"{target}: exists already; --force replaces it")
        tempfile.TemporaryFile(dir=target.parent).close()  # the only sure test
    except OSError as error:
        reason = error.strerror if error.errno == errno.EINVAL else f"cannot be written: {error.strerror}"
        raise UsageError(f"{path}: {reason}") from None
    return target


def write_records(name: str | None, records: list[dict] | dict, inputs: Iterable[Path]) -> TextIO:
    """Of --json: to the file of that name, for `-` to standard output. The stream that is left for what people read;
    OSError where the file cannot be written."""
    text = json.dumps(records, indent=1) + "\n"
    if name == "-":
        sys.stdout.write(text)
        return sys.stderr
    if name is not None:
        check_no_input(Path(name), inputs).write_text(text, encoding="utf-8")
    return sys.stdout
