"""The plan's memory of a rank is within 20% of what the largest takes, and what is not there is refused at the start.

    build/venv/bin/python tests/app/test_memory.py        a large grid, as a table

Measured is VmHWM: all resident memory of the process, libraries included. For `bench` and `attend` it is that of a
case, which their files hold; yardsticks of bench, measured beside its cases (128 MB a thread or more), are not in its
plan.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import pytest
from command_line import SETTINGS, asymptop, binary
from own_environment import own_environment
from test_bad_input import check_refused

ALLOWED = 0.2

# Ranks, threads, command.
SMALL = (
    (1, 1, "study --n 4096 --k 64 --rows 8 --draws 2"),
    (3, 1, "study --n 4096 --k 64 --rows 8 --draws 2 --block 256"),
    (1, 1, "study --n 2^16 --d 256 --k 64 --rows 4 --draws 1 --keys resident"),
    (1, 2, "study --n 2^14 --d 8 --k 2^13 --rows 64 --draws 1 --keys streamed"),
    (1, 1, "study --n 64 --block 64 --d 4 --k n --rows 64 --draws 192 --sigma 1,2"),
    (2, 1, "study --n 2^14 --d 8 --k n/2 --rows 128 --draws 1 --block 256 --merge owner"),
    (1, 1, "simulate --n 64 --k n/2 --rows 64 --draws 256"),
    (1, 1, "attend --n 2^11 --d 256 --k 64"),
    (1, 1, "precision --n 2^19 --rows 1 --draws 1 --precision bf16"),
)
LARGE = (
    (1, 2, "study --n 4096 --k 64 --rows 64 --draws 2"),
    (4, 1, "study --n 4096 --k 64 --rows 8 --draws 2"),
    (1, 1, "study --n 2^18 --k 64 --rows 8 --draws 1 --keys resident"),
    (1, 1, "study --n 2^18 --k 64 --rows 8 --draws 1 --keys resident --output-error off"),
    (2, 1, "study --n 2^19 --k 64 --rows 8 --draws 1 --keys resident"),
    (1, 1, "study --n 2^18 --k 64 --rows 8 --draws 1 --keys streamed"),
    (1, 1, "study --n 2^18 --k 64 --rows 8 --draws 1 --keys resident --path blas-tile"),
    (1, 1, "study --n 2^18 --d 16 --k 2^16 --rows 32 --draws 1 --keys streamed"),
    (1, 1, "study --n 2^16 --d 64 --k 1024 --rows 64 --draws 1 --keys streamed --path blas-tile"),
    (1, 1, "study --n 1024 --k 1024 --rows 64 --draws 256 --sigma 1,2,3"),
    (1, 1, "study --n 64 --block 64 --k 64 --d 4 --rows 64 --draws 1024"),
    (2, 1, "study --n 2^17 --d 16 --k 2^16 --rows 64 --draws 1 --merge root"),
    (2, 1, "study --n 2^17 --d 16 --k 2^16 --rows 64 --draws 1 --merge threshold"),
    (2, 1, "study --n 2^16 --d 16 --k 2^15 --rows 128 --draws 1 --merge tree"),
    (4, 1, "study --n 2^16 --d 16 --k 2^15 --rows 128 --draws 1 --merge owner"),
    (4, 1, "study --n 2^16 --d 16 --k 2^15 --rows 128 --draws 1 --merge root"),
    (1, 1, "study --n 2^15 --d 16 --k 2^14 --rows 256 --draws 1"),
    (1, 1, "study --n 2^14 --d 16 --k 2^13 --rows 64 --draws 1 --output-error off"),
    (1, 2, "study --n 2^13 --d 16 --k 64 --rows 256 --sigma 16 --draws 1"),
    (1, 1, "study --n 2^13 --d 16 --k 64 --rows 256 --sigma 16 --draws 1 --path blas-tile"),
    (1, 1, "study --n 2^13 --d 512 --k 64,n --rows 64 --sigma 1,2,4 --draws 1"),
    (1, 1, "simulate --n 2^20 --rows 64 --draws 512 --k n/2 --sigma 1,2"),
    (1, 1, "simulate --n 4096 --rows 64 --draws 1024 --k n/2 --sigma 1,2"),
    (1, 2, "attend --n 2^12 --d 256 --k 64"),
    (2, 1, "attend --n 2^13 --d 128 --k 64"),
    (1, 1, "attend --n 2^13 --d 64 --k n/4 --kernel top-k-attention"),
    (1, 2, "precision --n 2^20 --rows 4 --draws 2 --precision bf16 --k n/2"),
    (1, 1, "precision --n 2^20 --rows 1 --draws 2 --precision fp8;fp16;bf16;fp32 --k n/2"),
    (1, 1, "bench --kernel top-k --n 2^20 --k 1024 --m 64 --samples 3"),
    (1, 1, "bench --kernel top-k --n 2^20 --k 1024 --m 64 --samples 3 --path screened"),
    (2, 1, "bench --kernel top-k --n 2^18 --k 8192 --m 128 --samples 3 --merge root"),
    (2, 1, "bench --kernel profile --n 2^18 --k 4096 --m 64 --samples 3 --merge owner"),
    (1, 1, "bench --kernel top-k --n 2^18 --k 2^15 --m 256 --samples 3"),
    (1, 1, "bench --kernel exact-attention --n 2^18 --d 128 --m 64 --samples 3"),
)

# Runs the rest of its words and writes down the most memory that they took.
MEASURE = """import os, sys
child = os.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1] + os.environ.get("OMPI_COMM_WORLD_RANK", "0"), "w") as file:
    file.write(str(usage.ru_maxrss * 1024))
sys.exit(os.waitstatus_to_exitcode(status))"""


def planned(text: str) -> float:
    """The largest of the plan's bytes/rank."""
    table = text[text.index("bytes/rank") :]  # the line before says what the machine has
    found = re.findall(r"([\d.]+) (MB|GB)\b", table)
    return max(float(number) * {"MB": 1e6, "GB": 1e9}[unit] for number, unit in found)


def measured(command: list[str], ranks: int, threads: int, folder: Path) -> float:
    launcher = ["mpirun", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
    words = [*launcher, sys.executable, "-S", "-E", "-c", MEASURE, f"{folder}/peak", str(binary()), *command]
    done = subprocess.run(
        [*words, "-o", folder / "r.h5"],
        env=own_environment() | SETTINGS | {"OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        timeout=600.0,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if command[0] in ("attend", "bench"):
        with h5py.File(folder / "r.h5") as file:
            return max(float(case.attrs["peak_bytes_per_rank"]) for case in file["cases"].values())
    return max(float((folder / f"peak{rank}").read_text()) for rank in range(ranks))


def both(ranks: int, threads: int, command: str, folder: Path) -> tuple[float, float]:
    words = command.split()
    plan = asymptop(*words, "--dry-run", ranks=ranks, threads=threads, cwd=folder)
    assert plan.code == 0, str(plan)
    return planned(plan.stdout), measured(words, ranks, threads, folder)


@pytest.mark.parametrize(("ranks", "threads", "command"), SMALL, ids=lambda value: str(value))
def test_plan_is_near_what_is_taken(ranks: int, threads: int, command: str, tmp_path: Path) -> None:
    plan, peak = both(ranks, threads, command, tmp_path)
    assert abs(plan / peak - 1.0) <= ALLOWED, f"planned {plan / 1e6:.0f} MB, measured {peak / 1e6:.0f} MB"


def test_what_does_not_fit_names_the_axis(tmp_path: Path) -> None:
    """Before anything is written, whatever the machine."""
    for words, named in (
        (["study", "--n", "2^31", "--d", "4096", "--keys", "resident"], ["lower --n", "--keys streamed"]),
        (["study", "--n", "2^31", "--k", "2^29", "--d", "8"], ["lower --n or k", "--output-error off"]),
        (["study", "--n", "2^20", "--k", "n", "--rows", "1048576", "--draws", "1048576"], ["--draws", "--rows"]),
        (["simulate", "--n", "2^20", "--k", "n", "--rows", "1048576", "--draws", "1048576"], ["--draws", "--rows"]),
        (["precision", "--n", "2^30", "--threads", "256"], ["--n", "--threads"]),
    ):
        check_refused(tmp_path, words, [*named, "GB"])
    for command in ("attend", "bench"):
        outcome = asymptop(command, "--n", "2^30", "--d", "4096", "--k", "64", "--dry-run", cwd=tmp_path)
        assert "lower --n" in outcome.stdout + outcome.stderr, str(outcome)


def main() -> int:
    off = 0
    for ranks, threads, command in (*SMALL, *LARGE):
        with tempfile.TemporaryDirectory() as folder:
            plan, peak = both(ranks, threads, command, Path(folder))
        near = abs(plan / peak - 1.0) <= ALLOWED
        off += not near
        numbers = f"{plan / 1e6:6.0f} MB planned {peak / 1e6:6.0f} measured {plan / peak:5.2f}{' ' if near else '*'}"
        print(f"{numbers} {ranks} x {threads}  {command}", flush=True)
    print(f"{off} of {len(SMALL) + len(LARGE)} off by more than 20%")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
