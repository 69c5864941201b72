"""Calls of Slurm's commands. Each says in one line what failed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from . import surrounding
from .errors import JobsError


def _call(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str] | None:
    """None where the command is not there."""
    if shutil.which(words[0]) is None:
        return None
    return subprocess.run(
        list(words), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )


def _ask(*words: str) -> str | None:
    """Standard output, or None where the command is not there or fails."""
    outcome = _call(words, surrounding.for_queries(os.environ))
    return outcome.stdout if outcome and outcome.returncode == 0 else None


def submit(words: Sequence[str]) -> str:
    """sbatch's job number."""
    outcome = _call(words, surrounding.for_sbatch(os.environ))
    if outcome is None:
        raise JobsError(f"{words[0]} is not on the PATH: no Slurm here; --site local runs the tasks one after another")
    match = re.match(r"(\d+)(;|$)", outcome.stdout.strip())
    if outcome.returncode != 0 or not match:
        lines = (outcome.stderr.strip() or outcome.stdout.strip()).splitlines()
        raise JobsError(f"sbatch refused: {lines[-1] if lines else f'code {outcome.returncode}'}", 1)
    return match[1]


def max_array_size() -> int | None:
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config") or "", re.MULTILINE)
    return int(match[1]) if match else None


def smallest_node(partition: str) -> tuple[int, int] | None:
    """Cores and bytes of memory that every node of the partition has."""
    words = ["sinfo", "--noheader", "--exact", "-o", "%c %m", *(["-p", partition] if partition else [])]
    pairs = re.findall(r"^(\d+)\+? (\d+)\+?$", _ask(*words) or "", re.MULTILINE)
    if not pairs:
        return None
    return min(int(cores) for cores, _ in pairs), min(int(megabytes) for _, megabytes in pairs) * 2**20


def states(jobs: Sequence[str]) -> dict[str, str] | None:
    """State of each job that Slurm still holds, by `123` or, of an array, `123_4`. None when Slurm does not answer."""
    if not jobs:
        return {}
    words = ["squeue", "--noheader", "--array", "--states=all", "-o", "%i %T", "-j", ",".join(jobs)]
    outcome = _call(words, surrounding.for_queries(os.environ))
    if outcome is None or outcome.returncode != 0:
        # It refuses when it knows none of the jobs any more.
        return {} if outcome and "Invalid job id" in outcome.stderr else None
    return dict(line.split(maxsplit=1) for line in outcome.stdout.splitlines() if " " in line)


def accounting(jobs: Sequence[str]) -> str | None:
    """What sacct knows, as it prints it; None where there is no accounting."""
    fields = "JobID,State,ExitCode,Submit,Eligible,Start,End,ElapsedRaw,NNodes,NCPUS,MaxRSS,ConsumedEnergyRaw"
    text = _ask("sacct", "--parsable2", "--duplicates", "--format", fields, "-j", ",".join(jobs))
    return text if text and text.count("\n") > 1 else None
