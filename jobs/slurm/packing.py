"""From the plan's groups to what Slurm is asked for: groups -> units -> tasks -> job arrays.

group   what the program measures at once: one n, d and head, all sigma laws
unit    groups that one run of the program measures: a product of n and heads at one d
task    units that one job runs one after another: an element of a job array
array   tasks that ask for the same nodes, memory and time
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# Of a job: prologue, modules. Of a run: launcher, MPI, files.
SECONDS_PER_TASK, SECONDS_PER_UNIT = 60.0, 15.0
MINUTES = (5, 10, 15, 30, *(60 * hours for hours in (1, 2, 4, 8, 12, 16, 24, 36, 48, 72, 96, 120, 168)))


@dataclass(frozen=True)
class Group:
    """One group of the plan on so many nodes."""

    n: int
    d: int
    head: int | None
    nodes: int
    seconds: float
    bytes_per_rank: float
    cases: tuple[str, ...]
    keys: str = "resident"  # or streamed: as planned for the node, whose memory a job does not get whole


@dataclass(frozen=True)
class Unit:
    name: str
    n: tuple[int, ...]
    d: int
    heads: tuple[int, ...]  # empty for synthetic input
    nodes: int
    seconds: float  # of the plan, without a safety factor
    bytes_per_rank: float
    cases: tuple[str, ...]
    keys: str = "resident"

    def options(self) -> list[str]:
        """Of the program; words without spaces."""
        if not self.n:  # a command that is not split
            return []
        words = ["--keys", self.keys, "--n", ",".join(map(str, self.n))]
        if self.heads:
            return [*words, "--heads", ",".join(map(str, self.heads))]
        return [*words, "--d", str(self.d)]


@dataclass(frozen=True)
class Limits:
    """How much may go together. Seconds are those a job should take at most, `safety` times the plan's."""

    safety: float = 3.0
    target_seconds: float = 3600.0
    warning_seconds: float = 150.0  # before a job's end, when it is told to stop; Slurm may be half a minute early
    max_seconds: int | None = None
    max_array_size: int = 1001


@dataclass(frozen=True)
class Task:
    units: tuple[Unit, ...]

    @property
    def nodes(self) -> int:
        return self.units[0].nodes

    @property
    def bytes_per_rank(self) -> float:
        return max(unit.bytes_per_rank for unit in self.units)


@dataclass(frozen=True)
class Array:
    name: str
    nodes: int
    minutes: int
    bytes_per_rank: float  # asked for: the plan's, with a margin, rounded up
    tasks: tuple[Task, ...] = field(repr=False)


def _guess(seconds: float, limits: Limits) -> float:
    return seconds * limits.safety + SECONDS_PER_UNIT


def make_units(groups: Iterable[Group], limits: Limits, first: int = 1) -> list[Unit]:
    """Neighbouring n of one d go together while they are done in time; then heads that have the same n do."""
    lists: dict[tuple[int, str, int, int | None], list[Group]] = {}
    for group in sorted(groups, key=lambda g: (g.nodes, g.keys, g.d, -1 if g.head is None else g.head, g.n)):
        lists.setdefault((group.nodes, group.keys, group.d, group.head), []).append(group)
    # Runs of n, and the heads that have them.
    runs: dict[tuple[int, str, int, tuple[int, ...]], list[list[Group]]] = {}
    for (nodes, keys, d, _head), members in lists.items():
        run: list[Group] = []
        for group in [*members, None]:
            full = run and (
                group is None or _guess(sum(g.seconds for g in run) + group.seconds, limits) > limits.target_seconds
            )
            if full:
                runs.setdefault((nodes, keys, d, tuple(g.n for g in run)), []).append(run)
                run = []
            if group is not None:
                run.append(group)
    units: list[Unit] = []
    for (nodes, keys, d, n), per_head in runs.items():
        seconds = sum(group.seconds for group in per_head[0])
        room = (limits.target_seconds - SECONDS_PER_UNIT) / limits.safety
        together = max(1, min(len(per_head), int(room / seconds) if seconds > 0 else len(per_head)))
        for at in range(0, len(per_head), together):
            part = per_head[at : at + together]
            members = [group for run in part for group in run]
            units.append(
                Unit(
                    name=f"u{first + len(units):04d}",
                    n=n,
                    d=d,
                    heads=tuple(run[0].head for run in part if run[0].head is not None),
                    nodes=nodes,
                    seconds=sum(group.seconds for group in members),
                    bytes_per_rank=max(group.bytes_per_rank for group in members),
                    cases=tuple(case for group in members for case in group.cases),
                    keys=keys,
                )
            )
    return units


def make_tasks(units: Sequence[Unit], limits: Limits) -> list[Task]:
    """Units on the same nodes, in order, while they are done in time."""
    tasks: list[Task] = []
    open_task: list[Unit] = []
    for unit in units:
        seconds = sum(_guess(u.seconds, limits) for u in [*open_task, unit])
        if open_task and (unit.nodes != open_task[0].nodes or seconds > limits.target_seconds):
            tasks.append(Task(tuple(open_task)))
            open_task = []
        open_task.append(unit)
    if open_task:
        tasks.append(Task(tuple(open_task)))
    return tasks


def minutes_of(task: Task, limits: Limits) -> int:
    """Time to ask for, rounded up so that alike tasks share an array; the site's longest where it is more.

    What is not done by then goes on in the next attempt.
    """
    seconds = SECONDS_PER_TASK + limits.warning_seconds + sum(_guess(unit.seconds, limits) for unit in task.units)
    minutes = math.ceil(seconds / 60.0)
    rounded = next((step for step in MINUTES if step >= minutes), minutes)
    return rounded if limits.max_seconds is None else max(1, min(rounded, limits.max_seconds // 60))


def bytes_of(task: Task, margin: float) -> float:
    """Memory per rank to ask for: rounded up to 2^k or 3 * 2^k times 2^27."""
    wanted = task.bytes_per_rank * margin
    size = float(1 << 27)
    while size < wanted:
        size = size * 1.5 if math.log2(size) % 1.0 == 0.0 else size / 1.5 * 2.0
    return size


def make_arrays(tasks: Sequence[Task], limits: Limits, margin: float, prefix: str) -> list[Array]:
    """Tasks with the same request, at most `max_array_size` of them: Slurm counts indices below it."""
    classes: dict[tuple[int, int, float], list[Task]] = {}
    for task in tasks:
        classes.setdefault((task.nodes, minutes_of(task, limits), bytes_of(task, margin)), []).append(task)
    arrays: list[Array] = []
    for (nodes, minutes, memory), members in sorted(classes.items(), key=lambda item: item[0]):
        for at in range(0, len(members), limits.max_array_size):
            name = f"{prefix}a{len(arrays) + 1:02d}"
            arrays.append(Array(name, nodes, minutes, memory, tuple(members[at : at + limits.max_array_size])))
    return arrays
