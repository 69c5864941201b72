"""The asymptop program: its plans, what it says of case files, its merge. Nothing is guessed here that it can tell."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import surrounding
from .errors import JobsError
from .packing import Group

REPOSITORY = Path(__file__).resolve().parents[2]


def find_program(option: str, site_binary: str) -> Path:
    path = Path(option or site_binary or REPOSITORY / "build" / "release" / "asymptop").absolute()
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise JobsError(f"--binary is '{path}', which is no program; jobs/setup/build.sh makes one")
    return path


def call(words: Sequence[str | Path], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The program alone on this host, as one rank, whatever job this process is part of."""
    environment = surrounding.without(os.environ)
    environment.setdefault("OMPI_MCA_ess_singleton_isolated", "1")
    environment.setdefault("OMP_NUM_THREADS", "1")
    if os.geteuid() == 0:
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )


@dataclass(frozen=True)
class Node:
    """What a job gets of each node."""

    ranks: int
    threads: int
    memory_bytes: int | None  # usable by all its ranks

    def option(self, nodes: int) -> str:
        memory = "" if self.memory_bytes is None else f",memory={self.memory_bytes}"
        return f"nodes={nodes},ranks-per-node={self.ranks},threads={self.threads}{memory}"


@dataclass(frozen=True)
class Study:
    """A study as the program is given it: `words` are its options but n, d and heads of a unit."""

    binary: Path
    words: tuple[str, ...]
    folder: Path  # where it was asked for: relative names in its options begin there

    def plan(self, node: Node, nodes: int, *more: str) -> dict[str, Any] | None:
        """The plan on so many nodes, whatever of it fits; None when nothing can be measured on so few."""
        words = [*self.words, "--dry-run", "--json", "-", "--machine", node.option(nodes), *more]
        outcome = call([self.binary, "study", *words], self.folder)
        refused = outcome.returncode == 2
        try:
            plan = json.loads(outcome.stdout) if outcome.returncode == 0 or refused else {}
        except json.JSONDecodeError as error:
            if not refused:
                raise JobsError(f"{self.binary} makes no plan as JSON; is it older than jobs/?", 1) from error
            plan = {}
        if outcome.returncode != 0 and "refused" not in plan:
            lines = outcome.stderr.strip().splitlines()
            message = lines[-1] if lines else f"{self.binary} ended with code {outcome.returncode}"
            raise JobsError(message, 2 if refused else 1)
        return plan if plan["groups"] else None


def groups_of(plan: Mapping[str, Any], nodes: int) -> list[Group]:
    """Those that fit. Synthetic inputs of one n and d are measured by the same run, so they count as one."""
    alike: dict[tuple[int, int, int | None], list[Mapping[str, Any]]] = {}
    for group in plan["groups"]:
        alike.setdefault((group["n"], group["d"], group.get("head")), []).append(group)
    return [
        Group(
            n=n,
            d=d,
            head=head,
            nodes=nodes,
            seconds=sum(group["seconds"] for group in members),
            bytes_per_rank=max(group["bytes_per_rank"] for group in members),
            cases=tuple(case["id"] for group in members for case in group["cases"]),
            keys="streamed" if any(group["keys"] == "streamed" for group in members) else "resident",
        )
        for (n, d, head), members in alike.items()
        if all(group["fits"] for group in members)
    ]


def place(
    plans: Mapping[int, Mapping[str, Any]], safety: float, target_seconds: float
) -> tuple[list[Group], list[str]]:
    """Each group on the fewest nodes on which it fits and is done in time; if on none, on those where it is fastest.

    And what fits nowhere, in words.
    """
    offers: dict[tuple[int, int, int | None], list[Group]] = {}
    names: dict[tuple[int, int, int | None], str] = {}
    for nodes, plan in sorted(plans.items()):
        for group in plan["groups"]:
            key = (group["n"], group["d"], group.get("head"))
            names.setdefault(key, f"n = {group['n']} needs {group['bytes_per_rank'] / 1e9:.3g} GB on each rank")
        for group in groups_of(plan, nodes):
            offers.setdefault((group.n, group.d, group.head), []).append(group)
    placed = []
    for offered in offers.values():
        in_time = [group for group in offered if group.seconds * safety <= target_seconds]
        placed.append(in_time[0] if in_time else min(offered, key=lambda group: group.seconds))
    return placed, [text for key, text in names.items() if key not in offers]
