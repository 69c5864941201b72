"""What a cluster run cost: records of attempts, also cut short, and sacct's output become times, hours and ratios."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asymptop.__main__ import main
from asymptop.io.job_records import read_accounting, read_jobs
from asymptop.io.reader import ResultsError
from asymptop.report.jobs import jobs_section, suggestion, summary

SACCT = """JobID|State|ExitCode|Submit|Eligible|Start|End|ElapsedRaw|NNodes|NCPUS|MaxRSS|ConsumedEnergyRaw
7_0|COMPLETED|0:0|a|b|c|d|100|2|8||7200000
7_0.batch|COMPLETED|0:0|a|b|c|d|100|1|4|512K|3600000
7_0.0|COMPLETED|0:0|a|b|c|d|100|2|8|1.5G|7200000
7_1|CANCELLED by 0|0:0|a|b|c|d|10|2|8||0
"""


def event(**values: object) -> str:
    return json.dumps(values) + "\n"


def start(task: str, restart: int, at: int, eligible: int) -> str:
    numbers = {"submit": 500, "eligible": eligible, "start": at, "nodes": 2, "ranks": 4, "threads": 2, "cpus": 8}
    return event(event="start", task=task, job="7_0", restart=restart, node_list="h[1-2]", **numbers)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two units of one task: requeued once in the second; then a task that was killed with half a line written."""
    run = tmp_path / "run <b>"
    (run / "attempts").mkdir(parents=True)
    unit = {"d": 64, "heads": [], "nodes": 2, "bytes_per_rank": 1e9}
    units = [
        {"name": "u0001", "n": [64, 128], "seconds": 50.0, "cases": ["a", "b"], **unit},
        {"name": "u0002", "n": [4096], "seconds": 200.0, "cases": ["c"], **unit},
        {"name": "u0003", "n": [8192], "seconds": 400.0, "cases": ["d<i>"], **unit},
    ]
    (run / "manifest.json").write_text(json.dumps({"version": 1, "units": units, "safety": 3.0}))
    first = start("r1-a01-0", 0, 1000, 900)
    first += event(event="unit", unit="u0001", start=1000, end=1100, exit=0)
    first += event(event="signal", signal="USR1", time=1290)
    first += event(event="unit", unit="u0002", start=1100, end=1300, exit=75)
    first += event(event="end", end=1300, exit=75, requeued=True)
    second = start("r1-a01-0", 1, 2000, 0) + event(event="unit", unit="u0002", start=2010, end=2210, exit=1)
    second += event(event="end", end=2220, exit=1, requeued=False)
    killed = start("r1-a01-1", 0, 3000, 2990) + event(event="signal", signal="TERM", time=3050) + '{"event": "un'
    for name, text in (("a.0", first), ("a.1", second), ("b.0", killed)):
        (run / "attempts" / f"{name}.jsonl").write_text(text)
    (run / "attempts" / "empty.jsonl").write_text("")
    return run


def test_times_and_hours(folder: Path) -> None:
    records = read_jobs(folder)
    assert [attempt.queued for attempt in records.attempts] == [100.0, 1500.0, 10.0]
    assert [attempt.seconds for attempt in records.attempts] == [300.0, 220.0, 50.0]
    assert [attempt.ended_itself for attempt in records.attempts] == [True, True, False]
    assert records.node_hours == pytest.approx(2 * 570 / 3600)
    assert records.core_hours == pytest.approx(8 * 570 / 3600)
    # All but the two units that were finished: 300 - 100, 220 - 200, 50.
    assert records.lost_node_hours == pytest.approx(2 * 270 / 3600)
    assert [(unit.measured, unit.attempts, unit.done) for unit in records.units] == [
        (100.0, 1, True),
        (400.0, 2, True),
        (0.0, 0, False),
    ]
    assert [unit.ratio for unit in records.units[:2]] == [2.0, 2.0]
    rows = dict(summary(records, 3, 2)[1])
    assert rows["units"] == "2 of 3 done"
    assert rows["attempts"] == "3, of which 1 requeued, 1 killed"
    assert rows["node hours"].endswith("at least")
    assert rows["seconds, measured over planned"] == "500 / 250 = 2"
    assert rows["node hours per VALID case"] == "0.106"
    assert rows["node hours per decided claim"] == "0.158"
    assert rows["energy"] == "not known to Slurm"
    assert suggestion(records).startswith("--safety 2.4 ")


def test_accounting(folder: Path) -> None:
    found = read_accounting(SACCT)
    assert found.joules == 7.2e6
    assert found.largest_memory == 1.5 * 2**30
    assert found.states == {"COMPLETED": 1, "CANCELLED": 1}
    assert read_accounting("JobID|State\n").joules is None
    (folder / "sacct.txt").write_text(SACCT)
    assert dict(summary(read_jobs(folder), None, None)[1])["energy"] == "2 kWh"


def test_section_is_escaped(folder: Path) -> None:
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text().replace("u0003", "<script>"))
    text = jobs_section(read_jobs(folder))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "u0002" in text
    assert "2 of 3 done" in text


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda run: (run / "manifest.json").unlink(), "no folder of a run"),
        (lambda run: (run / "manifest.json").write_text("{"), "damaged"),
        (lambda run: (run / "manifest.json").write_text('{"version": 9}'), "version is 9"),
        (lambda run: (run / "attempts/a.0.jsonl").write_text('{"event": "start"}\n'), "a.0.jsonl"),
    ],
)
def test_refused(folder: Path, damage, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage(folder)
    with pytest.raises(ResultsError, match=named):
        read_jobs(folder)
    assert main(["jobs", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
