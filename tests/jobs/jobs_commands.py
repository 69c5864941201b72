"""The three commands of jobs/ as tests call them, and a case and a site for them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from command_line import ROOT, SETTINGS
from own_environment import NO_SLURM, own_environment

CASE = "n = 64,128,200\nd = 8,16\nsigma = 1,2*sqrt(log(n))\nk = 4,n^0.5\nrows = 4\ndraws = 2\nblock = 64\n"
CLUSTER = "CORES_PER_NODE=8\nMEMORY_PER_NODE=16G\nRANKS_PER_NODE=2\nMAX_NODES=4\nMAX_ARRAY_SIZE=2\n"


def jobs(
    command: str,
    *words: str | Path,
    cwd: Path,
    code: int = 0,
    settings: Mapping[str, str] | None = None,
    stdout: Path | None = None,
) -> str:
    """Runs one of the three commands; what it printed, both streams."""
    environment = own_environment() | NO_SLURM | SETTINGS | (settings or {})
    with contextlib.ExitStack() as stack:
        outcome = subprocess.run(
            [sys.executable, ROOT / "jobs" / command, *map(str, words)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stack.enter_context(stdout.open("w")) if stdout else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            timeout=120.0,
        )
    text = (outcome.stdout or "") + outcome.stderr
    assert outcome.returncode == code, text
    return text
