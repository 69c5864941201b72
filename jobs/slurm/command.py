"""What the three commands have in common: how they end, and a standard output that may be full or know few letters."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence

from .errors import JobsError


class Output(io.TextIOBase):
    """Standard output that keeps its first trouble: jobs are submitted and noted to the end, read of or not."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self.trouble: OSError | None = None

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, act: Callable[[], object]) -> None:
        if self.trouble is not None:
            return
        try:
            act()
        except OSError as error:
            self.trouble = error
            # What is still held back would fail again when the interpreter ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def require_output() -> None:
    """Before what cannot be taken back: whether all that was said so far was written."""
    sys.stdout.flush()
    if trouble := getattr(sys.stdout, "trouble", None):
        raise JobsError(f"standard output cannot be written: {trouble.strerror}", 1)


def _ended(name: str, main: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    try:
        try:
            code = main(words)
        except SystemExit as end:  # of argparse, after its own word
            code = int(end.code or 0)
        require_output()
        return code
    except JobsError as error:
        message, code = str(error), error.code
    except UnicodeEncodeError as error:
        message, code = f"{error.object!r} cannot be written in this locale's encoding, {error.encoding}", 2
    except OSError as error:
        message, code = f"{error.filename or 'a file'}: {error.strerror or error}", 1
        if error.errno == errno.ENAMETOOLONG:  # given by the user
            code = 2
    except KeyboardInterrupt:
        message, code = "interrupted", 130
    print(f"{name}: {message}", file=sys.stderr)
    return code


def run_command(name: str, main: Callable[[Sequence[str]], int]) -> int:
    """Calls `main` with the command line. What fails is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stdout, io.TextIOWrapper):  # closed
        return _ended(name, main, sys.argv[1:])
    with contextlib.redirect_stdout(Output(sys.stdout)):
        return _ended(name, main, sys.argv[1:])
