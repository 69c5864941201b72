"""A command that runs beside the test: it can be waited for, asked to stop, and killed with all its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from command_line import PATIENCE, SETTINGS, Outcome, binary
from own_environment import own_environment


class Run:
    """Under mpirun if it has several ranks. `within`: words before it all, of a program that runs what follows them."""

    def __init__(
        self,
        output: Path,
        ranks: int,
        *options: str,
        command: str = "study",
        threads: int = 1,
        settings: dict[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.count = ranks
        self.cases = output.with_name(output.name + ".cases")
        launcher = ["mpirun", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
        self.process = subprocess.Popen(
            [*within, *launcher, str(binary()), command, *options, "-o", str(output)],
            env=own_environment() | SETTINGS | {"OMP_NUM_THREADS": str(threads)} | (settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )

    def over(self) -> bool:
        return self.process.poll() is not None

    def wait_for(self, pattern: str) -> None:
        """Until a file of the folder of cases has such a name, or the run is over."""
        deadline = time.monotonic() + 60.0
        while not list(self.cases.glob(pattern)) and not self.over():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def ranks(self) -> list[int]:
        """Process ids of the ranks, of mpirun's children or the process itself."""
        found = [child for child in children(self.process.pid) if name_of(child) == "asymptop"]
        return found or [self.process.pid]

    def finish(self, seconds: float = 60.0) -> Outcome:
        stdout, stderr = self.process.communicate(timeout=seconds * PATIENCE)
        return Outcome(self.process.returncode, stdout, stderr)

    def kill(self) -> None:
        """All of it, stopped first so that nothing can react to the death of another. Returns when all have ended."""
        all_of_it = [self.process.pid, *descendants(self.process.pid)]
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for one in all_of_it:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, how)
        self.process.communicate()
        assert all_end(all_of_it, 30.0), "a killed process lives on"


def children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def descendants(process: int) -> list[int]:
    return [one for child in children(process) for one in (child, *descendants(child))]


def name_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def is_running(process: int) -> bool:
    """Not so when it has ended but no one has asked about it."""
    try:
        return bool(os.readlink(f"/proc/{process}/exe"))
    except OSError:
        return False


def all_end(processes: Sequence[int], seconds: float) -> bool:
    """Whether all have ended by then."""
    deadline = time.monotonic() + seconds
    while any(is_running(one) for one in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True
