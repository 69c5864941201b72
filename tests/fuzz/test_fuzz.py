"""A short run of each fuzz target, from a printed seed. README.md tells of longer ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from at_command_line import KINDS, run

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("ASYMPTOP_BINARY", HERE.parents[1] / "build" / "release" / "asymptop")).parent
SEED = int(os.environ.get("ASYMPTOP_TEST_SEED") or 20240601)
RUNS = {"law": 20000, "config": 2000, "tensors": 2000, "results": 1000}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    subprocess.run([sys.executable, HERE / "make_seeds.py", folder], check=True)
    return folder


@pytest.mark.parametrize("target", RUNS)
def test_malformed_input_is_refused(target: str, made: Path, tmp_path: Path) -> None:
    print(f"ASYMPTOP_TEST_SEED={SEED}")
    seeds = {"law": HERE / "seeds" / "laws", "config": HERE / "seeds" / "config"}.get(target, made / target)
    command = [BUILD / f"fuzz_{target}", "--seed", str(SEED), "--runs", str(RUNS[target]), seeds]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{RUNS[target]} inputs" in done.stdout
    refused = int(done.stdout.split(" refused")[0].rsplit(" ", 1)[1])
    assert refused > RUNS[target] // 100, "mutations that are all taken test nothing"


def test_the_program_refuses_in_one_line(tmp_path: Path) -> None:
    print(f"ASYMPTOP_TEST_SEED={SEED}")
    ends, faults = run(80, SEED, 3, tmp_path, print)
    assert faults == []
    assert all(ends[kind, "refused"] > 0 for kind in KINDS)
