"""The folder of a run: all that is known of it.

case.cfg, study.args      the study: a copy of its config file; further options, each ended by a zero byte
manifest.json             units, tasks, arrays, and what was submitted when, by whose numbers tasks know their jobs
site.sh                   the site's settings, for the job scripts
tasks/ARRAY/              request.sh (the launcher's words) and INDEX.units (a unit a line: its name and options)
attempts/*.jsonl          what each attempt at a task did, an event a line
records/UNIT.json         tidy records of each unit that was run to its end
logs/                     what jobs wrote
results.h5.cases/         case files; results.h5 and report.html follow
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import JobsError
from .packing import Array, Unit

VERSION = 1


def write_atomically(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def write_script(path: Path, assignments: str) -> None:
    """For bash to source: names of files keep their bytes, whatever the encoding."""
    path.write_bytes(os.fsencode("# Written by jobs/submit.\n" + assignments))


def shell_assignments(values: Mapping[str, str | Iterable[str]]) -> str:
    """Lines for bash to source: a list becomes an array. Values may hold anything."""
    lines = []
    for name, value in values.items():
        text = shlex.quote(value) if isinstance(value, str) else f"({' '.join(map(shlex.quote, value))})"
        lines.append(f"{name}={text}\n")
    return "".join(lines)


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def results(self) -> Path:
        return self.path / "results.h5"

    def exists(self) -> bool:
        try:
            return self.manifest_path.exists()
        except OSError as error:
            raise JobsError(f"--output is '{self.path}': {error.strerror}") from error

    def make(self) -> None:
        try:
            for name in ("tasks", "attempts", "logs", "records"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JobsError(f"--output is '{self.path}': {error.filename}: {error.strerror}") from error

    def read(self) -> dict[str, Any]:
        try:
            manifest = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except OSError as error:
            raise JobsError(
                f"'{self.path}' is no folder of a run: {self.manifest_path.name}: {error.strerror}"
            ) from error
        except ValueError as error:
            raise JobsError(f"{self.manifest_path} is damaged: {error}") from error
        if manifest.get("version") != VERSION:
            raise JobsError(f"{self.manifest_path} has version {manifest.get('version')}, these scripts know {VERSION}")
        return manifest

    def write(self, manifest: Mapping[str, Any]) -> None:
        write_atomically(self.manifest_path, json.dumps(manifest, indent=1) + "\n")

    def write_tasks(self, array: Array, request: str) -> Path:
        folder = self.path / "tasks" / array.name
        folder.mkdir(parents=True)
        write_script(folder / "request.sh", request)
        for index, task in enumerate(array.tasks):
            lines = [" ".join([unit.name, *unit.options()]) + "\n" for unit in task.units]
            (folder / f"{index}.units").write_text("".join(lines), encoding="utf-8")
        return folder

    def attempts(self) -> list[list[dict[str, Any]]]:
        """Events of each attempt, by time of start. A line that a kill cut short is left out."""
        found = []
        for path in (self.path / "attempts").glob("*.jsonl"):
            events = []
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    events.append(json.loads(line))
                except ValueError:
                    continue
            if events and events[0].get("event") == "start":
                found.append(events)
        return sorted(found, key=lambda events: events[0]["start"])


def unit_record(unit: Unit) -> dict[str, Any]:
    return asdict(unit)


def unit_of(record: Mapping[str, Any]) -> Unit:
    lists = ("n", "heads", "cases")
    return Unit(**{name: tuple(value) if name in lists else value for name, value in record.items()})


def array_record(array: Array) -> dict[str, Any]:
    return {
        "name": array.name,
        "nodes": array.nodes,
        "minutes": array.minutes,
        "bytes_per_rank": array.bytes_per_rank,
        "tasks": [[unit.name for unit in task.units] for task in array.tasks],
    }
