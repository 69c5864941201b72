"""What a run of jobs/submit has cost, from the records that its jobs wrote and, where there is accounting, from sacct.

A run's folder holds `manifest.json` (what was planned), `attempts/*.jsonl` (an event a line) and perhaps `sacct.txt`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .reader import ResultsError

HOUR = 3600.0


@dataclass(frozen=True)
class Attempt:
    """One start of one task. Times in seconds since 1970."""

    task: str
    job: str
    restart: int
    nodes: int
    cpus: int
    queued: float | None  # seconds between being eligible and starting; None where Slurm did not tell
    start: float
    end: float
    ended_itself: bool  # False: killed, and `end` is the last that was heard of it
    code: int | None
    units: tuple[tuple[str, float, int], ...]  # name, seconds, exit code

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def node_seconds(self) -> float:
        return self.nodes * self.seconds

    @property
    def lost_seconds(self) -> float:
        """Of its time, what no unit was finished in: starts, stops, and units cut short."""
        return self.seconds - sum(seconds for _, seconds, code in self.units if code in (0, 1))


@dataclass(frozen=True)
class Unit:
    name: str
    n: tuple[int, ...]
    cases: int
    planned: float  # seconds, by the plan
    measured: float  # over all attempts
    attempts: int
    done: bool

    @property
    def ratio(self) -> float:
        """Measured over planned."""
        return self.measured / self.planned if self.planned > 0 else float("nan")


@dataclass(frozen=True)
class Accounting:
    """sacct's word on the whole run."""

    joules: float | None = None
    largest_memory: float | None = None  # bytes of a step
    states: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class JobRecords:
    path: Path
    manifest: Mapping[str, Any]
    attempts: tuple[Attempt, ...]
    units: tuple[Unit, ...]
    accounting: Accounting | None

    @property
    def node_hours(self) -> float:
        return sum(attempt.node_seconds for attempt in self.attempts) / HOUR

    @property
    def lost_node_hours(self) -> float:
        return sum(attempt.nodes * attempt.lost_seconds for attempt in self.attempts) / HOUR

    @property
    def core_hours(self) -> float:
        return sum(attempt.cpus * attempt.seconds for attempt in self.attempts) / HOUR


def _attempt(events: Sequence[Mapping[str, Any]]) -> Attempt:
    first, last = events[0], events[-1]
    eligible = first["eligible"] or first["submit"]
    ended = last["event"] == "end"
    heard = max(max(event.get(name, 0) for name in ("start", "end", "time")) for event in events)
    return Attempt(
        task=first["task"],
        job=first["job"],
        restart=first["restart"],
        nodes=first["nodes"],
        cpus=first["cpus"],
        queued=max(0.0, first["start"] - eligible) if eligible else None,
        start=first["start"],
        end=last["end"] if ended else heard,
        ended_itself=ended,
        code=last["exit"] if ended else None,
        units=tuple((e["unit"], e["end"] - e["start"], e["exit"]) for e in events if e["event"] == "unit"),
    )


def _attempts(folder: Path) -> Iterable[Attempt]:
    for path in sorted(folder.glob("*.jsonl")):
        events = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:
                continue  # cut short by a kill
        if not events or events[0].get("event") != "start":
            continue
        try:
            yield _attempt(events)
        except (KeyError, TypeError) as error:
            raise ResultsError(f"{path}: is no record of an attempt: {error}") from error


def _bytes(text: str) -> float:
    units = {"K": 1024.0, "M": 1024.0**2, "G": 1024.0**3, "T": 1024.0**4}
    return float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text or 0)


def read_accounting(text: str) -> Accounting:
    """Of `sacct --parsable2`. Energy is that of jobs, not of their steps, which is the same again."""
    lines = [line.split("|") for line in text.splitlines() if line]
    rows = [dict(zip(lines[0], line, strict=False)) for line in lines[1:]] if lines else []
    jobs = [row for row in rows if "." not in row["JobID"]]
    joules = [float(row["ConsumedEnergyRaw"]) for row in jobs if row.get("ConsumedEnergyRaw", "").isdigit()]
    memory = [_bytes(row["MaxRSS"]) for row in rows if row.get("MaxRSS")]
    states: dict[str, int] = {}
    for row in jobs:
        state = row["State"].split()[0]
        states[state] = states.get(state, 0) + 1
    return Accounting(sum(joules) if sum(joules) > 0 else None, max(memory, default=None), states)


def _units(manifest: Mapping[str, Any], attempts: Sequence[Attempt]) -> Iterable[Unit]:
    seen: dict[str, list[tuple[float, int]]] = {}
    for attempt in attempts:
        for name, seconds, code in attempt.units:
            seen.setdefault(name, []).append((seconds, code))
    for record in manifest["units"]:
        runs = seen.get(record["name"], [])
        yield Unit(
            name=record["name"],
            n=tuple(record["n"]),
            cases=len(record["cases"]),
            planned=record["seconds"],
            measured=sum(seconds for seconds, _ in runs),
            attempts=len(runs),
            done=any(code in (0, 1) for _, code in runs),
        )


def read_jobs(path: str | Path) -> JobRecords:
    """Raises ResultsError."""
    path = Path(path)
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: is no folder of a run of jobs/submit: {error.strerror}") from error
    except ValueError as error:
        raise ResultsError(f"{path / 'manifest.json'}: is damaged: {error}") from error
    if manifest.get("version") != 1:
        raise ResultsError(f"{path / 'manifest.json'}: version is {manifest.get('version')}, this reader knows 1")
    attempts = tuple(sorted(_attempts(path / "attempts"), key=lambda attempt: attempt.start))
    sacct = path / "sacct.txt"
    accounting = read_accounting(sacct.read_text(encoding="utf-8")) if sacct.is_file() else None
    return JobRecords(path, manifest, attempts, tuple(_units(manifest, attempts)), accounting)
