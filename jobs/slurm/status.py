"""jobs/status: how far a run is. The program judges the case files, as when it resumes; the rest is Slurm's word."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import scheduler
from .errors import JobsError
from .program import Node, Study
from .run_folder import RunFolder
from .sites import user_path

# States of a unit. `done`, `invalid`: all its cases are there; `failed`: its last attempt ended without them.
STATES = ("done", "invalid", "running", "queued", "failed", "left")
QUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT")
SIGKILL = 137


@dataclass(frozen=True)
class UnitStatus:
    name: str
    state: str
    detail: str = ""
    killed: bool = False  # by something that more memory may keep away


def case_states(run: RunFolder, manifest: Mapping[str, Any]) -> dict[str, str]:
    """`valid`, `invalid`, `absent` or `unusable`, by id of the case."""
    if manifest["command"] != "study":
        return {}
    node = Node(**manifest["node"])
    words = (*manifest["words"][1:], *manifest["split"])
    study = Study(Path(manifest["binary"]), words, Path(manifest["folder"]))
    nodes = max(unit["nodes"] for unit in manifest["units"])
    plan = study.plan(node, nodes, "--resume", "--output", str(run.results))
    if plan is None:
        raise JobsError(f"the study in '{run.path}' has no case any more", 1)
    return {case["id"]: case["state"] for group in plan["groups"] for case in group["cases"]}


def _last_word(
    attempts: Sequence[Sequence[Mapping[str, Any]]], tasks: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, bool]]:
    """What became of each unit in its last attempt: in words, and whether it was killed.

    `tasks`: units of each task, by name.
    """
    words: dict[str, tuple[str, bool]] = {}
    for events in attempts:
        asked_to_stop = any(event["event"] == "signal" for event in events)
        ended = any(event["event"] == "end" for event in events)
        seen = {event["unit"]: event["exit"] for event in events if event["event"] == "unit"}
        for unit in tasks.get(events[0]["task"], ()):
            if unit in seen:
                code = seen[unit]
                words[unit] = (f"exit {code}", code == SIGKILL and not asked_to_stop)
            elif not ended and not any(other in seen for other in _after(tasks[events[0]["task"]], unit)):
                words[unit] = (f"job {events[0]['job']} ended without a word", False)
                break  # those after it had not begun
    return words


def _after(units: Sequence[str], unit: str) -> Sequence[str]:
    return units[units.index(unit) + 1 :]


def unit_states(run: RunFolder, manifest: Mapping[str, Any]) -> tuple[list[UnitStatus], Counter[str], bool]:
    """Every unit, how many cases are in which state, and whether Slurm answered."""
    cases = case_states(run, manifest)
    tasks = {f"{array['name']}-{i}": units for array in manifest["arrays"] for i, units in enumerate(array["tasks"])}
    jobs = {name: job for submission in manifest["submissions"] for name, job in submission["arrays"].items()}
    slurm = scheduler.states(sorted(jobs.values()))
    active: dict[str, str] = {}
    out_of_memory: set[str] = set()
    for array in manifest["arrays"]:
        for i, units in enumerate(array["tasks"]):
            state = (slurm or {}).get(f"{jobs.get(array['name'])}_{i}", "")
            for unit in units:
                if state in QUEUED:
                    active[unit] = "queued"
                elif state in RUNNING:
                    active[unit] = "running"
                elif state == "OUT_OF_MEMORY":
                    out_of_memory.add(unit)
    last = _last_word(run.attempts(), tasks)
    units = []
    for record in manifest["units"]:
        name = record["name"]
        found = [cases.get(case, "absent") for case in record["cases"]]
        detail, killed = last.get(name, ("", False))
        whole = all(state in ("valid", "invalid") for state in found) if found else detail == "exit 0"
        if whole:
            state = "invalid" if "invalid" in found else "done"
        else:
            state = active.get(name, "failed" if name in last else "left")
        units.append(UnitStatus(name, state, detail, killed or name in out_of_memory))
    return units, Counter(cases.values()), slurm is not None


def units_left(run: RunFolder, manifest: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Units that somebody has to submit again, and those of them that were killed."""
    units, _, answered = unit_states(run, manifest)
    if not answered and any(submission["arrays"] for submission in manifest["submissions"]):
        raise JobsError("squeue does not answer, so what still runs is not known", 1)
    left = [unit for unit in units if unit.state in ("failed", "left")]
    return {unit.name for unit in left}, {unit.name for unit in left if unit.killed}


def exit_code(units: Sequence[UnitStatus]) -> int:
    """0 all done; 75 something runs, waits or is left; 1 invalid or failed and nothing else to wait for."""
    states = {unit.state for unit in units}
    if states & {"running", "queued", "left"}:
        return 75
    return 1 if states & {"invalid", "failed"} else 0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="jobs/status",
        description="How far a run is. Exit 0: all done; 75: some run, wait or are left; 1: invalid or failed.",
    )
    parser.add_argument("run", type=user_path, metavar="RUN", help="the run's folder")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.error = lambda message: parser.exit(2, f"jobs/status: {message}\n")  # type: ignore[method-assign]
    options = parser.parse_args(argv)
    run = RunFolder(Path(os.path.abspath(options.run)))
    manifest = run.read()
    units, cases, answered = unit_states(run, manifest)
    counts = Counter(unit.state for unit in units)
    if options.json:
        record = {
            "units": {unit.name: unit.state for unit in units},
            "counts": counts,
            "cases": cases,
            "slurm_answers": answered,
        }
        print(json.dumps(record, indent=1))
        return exit_code(units)
    print("units: " + ", ".join(f"{counts[state]} {state}" for state in STATES))
    if cases:
        print("cases: " + ", ".join(f"{number} {state}" for state, number in sorted(cases.items())))
    if not answered:
        print("squeue does not answer: what runs or waits is shown as failed or left")
    sizes = {record["name"]: record for record in manifest["units"]}
    for unit in units:
        if unit.state != "done":
            n = ",".join(map(str, sizes[unit.name]["n"]))
            print(
                f"{unit.state:<8} {unit.name}  n = {n}, d = {sizes[unit.name]['d']}"
                + (f"  ({unit.detail})" if unit.detail else "")
            )
    if counts["failed"] or counts["left"]:
        print(
            f"jobs/submit --continue '{options.run}' submits what is failed or left; logs are in '{run.path / 'logs'}'"
        )
    return exit_code(units)
