"""Standard output and error of a command: any encoding, full, or closed at the other end."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# What a terminal without the letter gets in its place; anything else becomes a question mark.
_SPELT = {
    **{"σ": "sigma", "ε": "epsilon", "α": "alpha", "τ": "tau", "√": "sqrt", "∞": "inf", "Φ": "Phi", "χ": "chi"},
    **{"‖": "||", "–": "-", "—": "-", "−": "-", "·": "*", "×": "x", "±": "+-", "→": "->", "≤": "<=", "≥": ">="},
    **{
        "Σ": "sum",
        "μ": "mu",
        "ℓ": "l",
        "≈": "~",
        "²": "^2",
        "’": "'",
        "“": '"',
        "”": '"',
        "…": "...",
        "✓": "yes",
        "✗": "no",
    },
}
_ERRORS = "asymptop.spelt"


class UsageError(Exception):
    """What a command cannot do with its options or files, in one line: exit 2."""


class OutputError(Exception):
    """Standard output cannot be written; no OSError, which commands take for one of their files."""


def _spell(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = b""
    for letter in error.object[error.start : error.end]:
        escaped = 0xDC80 <= ord(letter) <= 0xDCFF  # a byte of a file's name that is no text
        found += bytes([ord(letter) - 0xDC00]) if escaped else _SPELT.get(letter, "?").encode("ascii")
    return found, error.end


class _Checked(io.FileIO):
    """A descriptor whose first failure is told, or not, and after which all that is written is lost."""

    def __init__(self, descriptor: int, tell: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._tell = tell
        self._failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        if not self._failed:
            try:
                return super().write(data)
            except OSError as error:
                self._failed = True
                if self._tell:
                    raise OutputError(f"standard output: {error.strerror}") from error
        return memoryview(data).nbytes


def _wrapped(stream: TextIO | None, descriptor: int, tell: bool) -> io.TextIOWrapper:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    buffer = io.BufferedWriter(_Checked(descriptor, tell))
    return io.TextIOWrapper(buffer, encoding, _ERRORS, line_buffering=not tell or os.isatty(descriptor))


def run_command(name: str, main: Callable[[], int]) -> int:
    """The exit status of `main`. What goes wrong with its output is one line on standard error, and 1."""
    codecs.register_error(_ERRORS, _spell)
    if sys.stderr is not None:
        sys.stderr = _wrapped(sys.stderr, 2, tell=False)
    try:
        if sys.stdout is None:  # closed: what is opened first would be written to
            raise OutputError(f"standard output: {os.strerror(errno.EBADF)}")
        sys.stdout = _wrapped(sys.stdout, 1, tell=True)
        try:
            code = main()
        except SystemExit as end:  # of argparse
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
        return code
    except OutputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
