"""Where a file that is written under a name lies: what a rename replaces must be neither a link nor a device."""

from __future__ import annotations

import argparse
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
    """The path; UsageError where writing there would replace one of the inputs."""
    if any(path.exists() and one.exists() and path.samefile(one) for one in inputs):
        raise UsageError(f"{path}: is an input itself, allowed is another name")
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


def output_file(text: str) -> Path:
    """`type` of an option that names a file to write or replace: refused with the other options, not after the work."""
    try:
        new_output(Path(text), replace=True)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def output_folder(text: str) -> Path:
    """`type` of an option that names a folder to write files in, made with those above it where it is not there."""
    try:
        there = next(path for path in (Path(text), *Path(text).absolute().parents) if path.exists())
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: cannot be written: {error.strerror}") from None
    return Path(text)


def records_file(text: str) -> str:
    """`type` of --json: a file as above, a device or a pipe that can be written, or `-`."""
    path = Path(text)
    device = path.exists() and not path.is_file() and not path.is_dir() and os.access(path, os.W_OK)
    if text != "-" and not device:
        output_file(text)
    return text


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
