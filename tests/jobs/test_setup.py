"""What jobs/setup/mpi.sh sets for mpirun and ranks, and what it leaves to the user."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from own_environment import own_environment

ROOT = Path(__file__).resolve().parents[2]

RANK = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: (print("heard", flush=True), sys.exit(0)))
print("ready", flush=True)
time.sleep(20)
print("silent", flush=True)
"""


def set_by_it(before: dict[str, str]) -> dict[str, str]:
    script = f". '{ROOT}/jobs/setup/mpi.sh'; env -0"
    environment = {name: value for name, value in own_environment().items() if not name.startswith(("OMPI_", "HWLOC_"))}
    done = subprocess.run(["bash", "-c", script], env=environment | before, capture_output=True, text=True, check=True)
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)


def test_hwloc_asks_no_opencl_driver() -> None:
    """One built on LLVM makes mpirun deaf to SIGUSR1; findings/mpirun-usr1-opencl.sh shows it."""
    assert set_by_it({})["HWLOC_COMPONENTS"] == "-opencl"


@pytest.mark.parametrize(("name", "value"), [("HWLOC_COMPONENTS", "-gl"), ("OMPI_MCA_mpi_yield_when_idle", "0")])
def test_what_is_set_stays(name: str, value: str) -> None:
    assert set_by_it({name: value})[name] == value


def test_mpirun_forwards_the_request_to_stop() -> None:
    environment = set_by_it({})
    words = ["mpirun", "-n", "2", "python3", "-c", RANK]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(2)]
    assert lines == ["ready", "ready"]
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGUSR1)
    said, _ = process.communicate(timeout=60)
    assert said.count("heard") == 2  # ranks may write into the same line
    assert "silent" not in said
