"""jobs/slurm/task.sh alone, with stand-ins for the program and scontrol: every end of a unit, and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT
from own_environment import own_environment
from slurm.run_folder import RunFolder, shell_assignments

# Says what it was given; then does what $PLANS/UNIT says. `catch` is a program that stops when asked.
PROGRAM = """#!/usr/bin/env bash
printf '%s\\0' "$@" >>"$PLANS/seen"
printf '\\n' >>"$PLANS/seen"
while [ "$1" != --unit ]; do shift; done
plan=$(cat "$PLANS/$2" 2>/dev/null)
case $plan in
  catch) trap 'exit 75' USR1; touch "$PLANS/running"; for i in {1..200}; do sleep 0.05; done; exit 9 ;;
  deaf) trap '' USR1; touch "$PLANS/running"; sleep 0.6; for last; do :; done; echo '[]' >"$last" ;;
  die) touch "$PLANS/running"; for i in {1..200}; do sleep 0.05; done; exit 9 ;;
  kill) kill -KILL $$ ;;
  idle) exit 0 ;;
  *) for last; do :; done; echo '[]' >"$last"; exit "${plan:-0}" ;;
esac
"""
SCONTROL = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$PLANS/scontrol"
[ "$1" = show ] && printf 'JobId=7 JobState=%s SubmitTime=2024-01-02T03:04:05 EligibleTime=Unknown Reason=None\\n' \\
  "$(cat "$PLANS/state" 2>/dev/null || echo RUNNING)"
exit 0
"""
COMMON = ["study", "--config", "a b$(touch evil)'\"\n;.cfg", "--sigma", "2*sqrt(log(n))"]


class Task:
    """A run folder whose name is as bad as may be, with one task of three units."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run of $HOME `x` 'q' \"d\" %a \\ ; & *"
        self.plans = folder / "plans"
        tools = folder / "tools"
        for path in (
            self.run / "attempts",
            self.run / "records",
            self.run / "logs",
            self.run / "tasks" / "r1-a01",
            self.plans,
            tools,
        ):
            path.mkdir(parents=True)
        for name, text in (("asymptop", PROGRAM), ("scontrol", SCONTROL)):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        site = {
            "repository": str(ROOT),
            "binary": str(tools / "asymptop"),
            "folder": str(folder),
            "hdf5_file_locking": "",
        }
        (self.run / "site.sh").write_text(shell_assignments({**site, "modules": []}))
        request = {"ranks": "2", "ranks_per_node": "1", "threads": "1", "max_tries": "3"}
        (self.run / "tasks/r1-a01/request.sh").write_text(
            shell_assignments({**request, "launch": [], "command": "study"})
        )
        (self.run / "tasks/r1-a01/4.units").write_text("".join(f"u{i} --unit u{i} --n {i},9\n" for i in (1, 2, 3)))
        (self.run / "study.args").write_bytes(b"".join(word.encode() + b"\0" for word in COMMON))
        self.note("6")
        self.environment = own_environment() | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PLANS": str(self.plans),
            "SLURM_JOB_ID": "7",
            "SLURM_ARRAY_JOB_ID": "6",
            "SLURM_ARRAY_TASK_ID": "4",
            "SLURM_CPUS_ON_NODE": "1",
        }

    def note(self, job: str) -> None:
        """As jobs/submit does when sbatch has given it this number."""
        earlier = {"arrays": {"r1-a1": "7", "r1-a011": "7"}, "finish": "7"}
        RunFolder(self.run).write({"submissions": [earlier, {"arrays": {"r1-a01": job, "r1-a02": "7"}}]})

    def plan(self, **units: object) -> None:
        for unit, text in units.items():
            (self.plans / unit).write_text(str(text))

    def start(self, *index: str, restart: int = 0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ROOT / "jobs/slurm/task.sh", self.run, self.run / "tasks/r1-a01", *index],
            env=self.environment | {"SLURM_RESTART_COUNT": str(restart)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def go(self, restart: int = 0, send: signal.Signals | None = None) -> tuple[int, str]:
        process = self.start(restart=restart)
        if send is not None:
            deadline = time.monotonic() + 10.0
            while not (self.plans / "running").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(send)
        text, _ = process.communicate(timeout=20.0)
        assert text == "", "behind a backslash the script opens its log itself"
        return process.returncode, (self.run / "logs/6_4.log").read_text()

    def ran(self) -> list[str]:
        """The units that were begun."""
        path = self.plans / "seen"
        lines = path.read_bytes().split(b"\0\n") if path.exists() else []
        return [line.split(b"--unit\0")[1].split(b"\0")[0].decode() for line in lines if line]

    def requeues(self) -> int:
        path = self.plans / "scontrol"
        return path.read_text().splitlines().count("requeue 6_4") if path.exists() else 0

    def events(self, restart: int = 0) -> list[dict[str, Any]]:
        path = self.run / f"attempts/r1-a01-4.7.{restart}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(tmp_path)


def test_all_well(task: Task, tmp_path: Path) -> None:
    code, text = task.go()
    assert code == 0, text
    words = (task.plans / "seen").read_bytes().split(b"\0\n")[1].decode().split("\0")
    assert words == [*COMMON, "--unit", "u2", "--n", "2,9", "--json", f"{task.run}/records/u2.json"]
    assert not list(tmp_path.rglob("evil"))
    assert task.requeues() == 0
    events = task.events()
    assert [event["event"] for event in events] == ["start", "unit", "unit", "unit", "end"]
    assert events[0]["job"] == "6_4"
    assert events[0]["ranks"] == 2
    assert 1704000000 < events[0]["submit"] < 1704300000
    assert events[0]["eligible"] == 0
    assert [event["exit"] for event in events[1:4]] == [0, 0, 0]
    assert "warning" not in text


def test_shared_processors_are_said(task: Task) -> None:
    with (task.run / "tasks/r1-a01/request.sh").open("a") as file:
        file.write("threads=4\n")
    assert "warning: 1 rank(s) x 4 thread(s) share 1 processors" in task.go()[1]


@pytest.mark.parametrize("code", [1, 2, 3, "kill", "idle"])
def test_a_failing_unit_does_not_stop_the_others(task: Task, code: int | str) -> None:
    task.plan(u2=code)
    assert task.go()[0] == 1
    assert task.ran() == ["u1", "u2", "u3"]
    # A launcher that starts nothing and says that all is well has not run the unit.
    assert task.events()[2]["exit"] == {"kill": 137, "idle": 99}.get(code, code)
    # Bad usage stays bad; anything else is tried once more.
    assert task.requeues() == (0 if code == 2 else 1)
    assert task.go(restart=1)[0] == 1
    assert task.ran()[3:] == (["u1", "u3"] if code == 2 else ["u1", "u2", "u3"])
    assert task.requeues() == (0 if code == 2 else 1), "two in a row"


@pytest.mark.parametrize("plan", ["catch", "die"])
@pytest.mark.parametrize("send", [signal.SIGUSR1, signal.SIGTERM])
def test_stop_and_requeue(task: Task, send: signal.Signals, plan: str) -> None:
    """Whether the program stops in order (75) or knows no better than to die of the signal."""
    task.plan(u2=plan)
    code, text = task.go(send=send)
    assert code == 75, text
    assert task.ran() == ["u1", "u2"]
    assert task.requeues() == 1
    kinds = [event["event"] for event in task.events()]
    assert kinds == ["start", "unit", "signal", "unit", "end"]
    assert task.events()[2]["signal"] == send.name[3:]
    assert task.events()[3]["exit"] == (75 if plan == "catch" else 128 + signal.SIGUSR1)
    assert task.events()[4]["requeued"] is True


def test_stopped_by_the_program_itself(task: Task) -> None:
    """Its ranks got the signal, the script did not."""
    task.plan(u1=75)
    assert task.go()[0] == 75
    assert task.ran() == ["u1"]
    assert task.requeues() == 1


def test_the_program_is_waited_for(task: Task) -> None:
    """It finishes its unit in spite of the signal: the next one is left for the next attempt."""
    task.plan(u1="deaf")
    assert task.go(send=signal.SIGUSR1)[0] == 75
    assert task.ran() == ["u1"]
    assert [event.get("exit") for event in task.events()] == [None, None, 0, 75]


def test_nothing_left_to_requeue_for(task: Task) -> None:
    task.plan(u3="deaf")
    assert task.go(send=signal.SIGUSR1)[0] == 0
    assert task.requeues() == 0


def test_tries_are_counted(task: Task) -> None:
    task.plan(u1=75)
    assert task.go(restart=1)[0] == 75
    assert task.requeues() == 1
    code, text = task.go(restart=2)
    assert code == 75
    assert task.requeues() == 1
    assert "--continue" in text


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PENDING"])
def test_cancelled_jobs_stay_cancelled(task: Task, state: str) -> None:
    task.plan(u1="catch", state=state)
    assert task.go(send=signal.SIGTERM)[0] == 75
    assert task.requeues() == 0
    assert task.events()[-1]["requeued"] is False


def test_the_note_may_come_after_the_start(task: Task) -> None:
    """sbatch returns, and its number is written, when the job may run already."""
    (task.run / "manifest.json").unlink()
    threading.Timer(1.0, lambda: task.note("6")).start()
    task.plan(u1=75)
    assert task.go()[0] == 75
    assert task.requeues() == 1


OTHER_JOBS = {
    "a shell of salloc": {"SLURM_ARRAY_JOB_ID": None, "SLURM_ARRAY_TASK_ID": None},
    "another array": {"SLURM_ARRAY_JOB_ID": "7"},
    "a number that begins alike": {"SLURM_ARRAY_JOB_ID": "66"},
    "another task": {"SLURM_ARRAY_TASK_ID": "3"},
}


@pytest.mark.parametrize("plan", [75, 1, "kill"])
@pytest.mark.parametrize("other", OTHER_JOBS)
def test_the_jobs_of_others_are_let_be(task: Task, other: str, plan: int | str) -> None:
    """The script by hand in a job that is none of this run: Slurm is asked nothing of it."""
    task.plan(u1=plan)
    for name, value in OTHER_JOBS[other].items():
        task.environment.pop(name)
        if value is not None:
            task.environment[name] = value
    process = task.start("4")
    process.communicate(timeout=20.0)
    assert process.returncode == (75 if plan == 75 else 1)
    assert not (task.plans / "scontrol").exists()
    (log,) = (task.run / "logs").iterdir()
    assert "not requeued: job 7 is none that this run has submitted" in log.read_text()


def test_a_missing_module_is_said(task: Task) -> None:
    with (task.run / "site.sh").open("a") as file:
        file.write("modules=(no-such-module/1.0)\n")
    code, text = task.go()
    assert code == 1
    assert "no-such-module/1.0" in text
    assert task.ran() == []
