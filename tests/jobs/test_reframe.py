"""The ReFrame tests of jobs/reframe, run by ReFrame itself: what passes, and what must not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from command_line import binary
from own_environment import own_environment
from reframe_runs import reframe, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


def run(folder: Path, *words: str, program: Path | None = None) -> tuple[subprocess.CompletedProcess[str], dict]:
    """ReFrame's words, and its report as JSON."""
    command = reframe(folder, "asymptop:cores", program or binary(), *words)
    outcome = subprocess.run(
        command, env=own_environment(), capture_output=True, text=True, timeout=300, check=False, cwd=folder
    )
    return outcome, json.loads((folder / "report.json").read_text())


def test_checks_pass_and_give_figures(tmp_path: Path) -> None:
    """On two ranks; the benchmark of fewer keys and samples than a machine's test has, and at any speed."""
    settings = ["num_tasks=2", "Bench.n=2^14", "Bench.samples=3", "Bench.tolerance=0.9999"]
    outcome, report = run(tmp_path, *(word for setting in settings for word in ("-S", setting)))
    assert outcome.returncode == 0, outcome.stdout
    cases = {case["name"]: case for case in report["runs"][0]["testcases"]}
    assert {name: case["result"] for name, case in cases.items()} == {"Study": "pass", "Bench": "pass"}
    figures = {name.split(":")[-1] for case in cases.values() for name in case["perfvalues"]}
    assert {"elapsed", "peak_memory_per_rank", "pass_rate", "cases"} <= figures
    held = [name for name in figures if name.endswith("rate_of_sgemm") and name != "pass_rate_of_sgemm"]
    assert len(held) == 3
    bench = cases["Bench"]["perfvalues"]
    for name, (value, reference, *_) in bench.items():
        assert (reference is not None and reference > 0.0) == (name.split(":")[-1] in held), name
        assert value > 0.0


@pytest.mark.parametrize(
    ("last", "code", "passes"),
    [
        ("FOM v1 VALID", 0, True),
        ("FOM v1 INVALID", 1, False),
        ("results: r.h5", 0, False),
        ("FOM v1 VALIDATED", 0, False),
    ],
)
def test_the_last_word_decides(tmp_path: Path, last: str, code: int, passes: bool) -> None:
    program = tmp_path / "asymptop"
    program.write_text(f"#!/bin/sh\necho FOM v1\necho 'FOM elapsed  1.5 s lower'\necho '{last}'\nexit {code}\n")
    program.chmod(0o755)
    outcome, report = run(tmp_path, "-n", "Study", program=program)
    assert (outcome.returncode == 0) == passes, outcome.stdout
    (case,) = report["runs"][0]["testcases"]
    assert (case["result"] == "pass") == passes


def test_a_rate_below_its_reference_fails(tmp_path: Path) -> None:
    program = tmp_path / "asymptop"
    lines = "\\n".join(
        ["FOM v1", "FOM score-n64/rate 1.0 GFLOP/s higher", "FOM score-n64/rate-of-sgemm 2.5 % higher", "FOM v1 VALID"]
    )
    program.write_text(f"#!/bin/sh\nprintf '{lines.replace('%', '%%')}\\n'\n")
    program.chmod(0o755)
    outcome, report = run(tmp_path, "-n", "Bench", program=program)
    assert outcome.returncode != 0
    (case,) = report["runs"][0]["testcases"]
    assert "score_n64_rate_of_sgemm" in case["fail_reason"]
