"""What ends a command of jobs/ early: one line, exit 2 for what the user can mend, 1 for what failed."""

from __future__ import annotations


class JobsError(Exception):
    """A bad option, site or case; or, with `code` 1, a command that failed."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code
