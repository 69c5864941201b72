"""What the launcher made of the ranks: singletons, odd programs, odd CPUs and crowded cores are told at the start.

Programs of another build are real (a copy with another linker's name), as are other kernels of OpenBLAS and crowded
cores. A CPU without AVX-512 is pretended by a variable, Slurm by its variables.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import h5py
import pytest
from command_line import SETTINGS, asymptop, binary

STUDY = ["study", "--n", "64", "--k", "8", "--rows", "4", "--draws", "2", "--block", "64", "--threads", "1"]


def mpirun(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.run(
        ["mpirun", *map(str, words)],
        cwd=cwd,
        env=environment | SETTINGS,
        capture_output=True,
        text=True,
        timeout=60.0,
    )


def said(stderr: str) -> str:
    """What asymptop says, in one line: mpirun adds words of its own."""
    (line,) = [line for line in stderr.splitlines() if line.startswith("asymptop:")]
    return line


@pytest.mark.parametrize("command", ["study", "simulate", "bench", "attend"])
def test_singletons_under_slurm(command: str, tmp_path: Path) -> None:
    outcome = asymptop(command, *STUDY[1:3], cwd=tmp_path, settings={"SLURM_NTASKS": "4", "SLURM_PROCID": "2"})
    assert outcome.code == 2, str(outcome)
    line = said(outcome.stderr)
    for text in ("SLURM_NTASKS is 4", "1 rank(s)", "srun --mpi=pmix"):
        assert text in line
    assert list(tmp_path.iterdir()) == []


def test_slurm_with_all_its_tasks(tmp_path: Path) -> None:
    """One task is one rank; a plan needs no ranks; mpirun may be told to start fewer."""
    for words, tasks, ranks in [(STUDY, "1", 1), ([*STUDY, "--dry-run"], "4", 1), ([*STUDY, "--force"], "4", 2)]:
        outcome = asymptop(*words, cwd=tmp_path, ranks=ranks, settings={"SLURM_NTASKS": tasks})
        assert outcome.code == 0, str(outcome)


def with_other_build_id(target: Path) -> Path:
    """The same program under another name of the linker's."""
    notes = subprocess.run(["readelf", "-n", binary()], capture_output=True, text=True, check=True).stdout
    build_id = bytes.fromhex(re.search(r"Build ID: ([0-9a-f]+)", notes)[1])  # type: ignore[index]
    content = binary().read_bytes()
    assert content.count(build_id) == 1
    target.write_bytes(content.replace(build_id, bytes(reversed(build_id))))
    target.chmod(0o755)
    return target


def test_ranks_of_another_build(tmp_path: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("there is no readelf")
    other = with_other_build_id(tmp_path / "asymptop")
    words = ["--bind-to", "none", "-n", "1", binary(), *STUDY, ":", "--bind-to", "none", "-n", "1", other, *STUDY]
    outcome = mpirun(*words, cwd=tmp_path)
    assert outcome.returncode == 2, outcome.stderr
    line = said(outcome.stderr)
    assert f"rank 1 on {os.uname().nodename} runs another build" in line
    assert not (tmp_path / "results.h5").exists()


def test_ranks_with_other_kernels(tmp_path: Path) -> None:
    words = ["--bind-to", "none", "-n", "1", binary(), *STUDY, ":", "--bind-to", "none", "-n", "1"]
    outcome = mpirun(*words, "-x", "OPENBLAS_CORETYPE=Prescott", binary(), *STUDY, cwd=tmp_path)
    assert outcome.returncode == 2, outcome.stderr
    assert "rank 1 on " in said(outcome.stderr)
    assert "OpenBLAS Prescott" in said(outcome.stderr)


def test_cpu_without_a_feature(tmp_path: Path) -> None:
    """Before MPI starts, and so for all ranks; a build for plain CPUs needs nothing and goes on."""
    asymptop(*STUDY, cwd=tmp_path)
    with h5py.File(tmp_path / "results.h5") as file:
        if (simd := file.attrs["simd"]) == "plain":
            pytest.skip("this build runs on any CPU")
    feature = {"avx512": "avx512bw", "avx2": "fma"}[simd]
    pretended = f"ASYMPTOP_TEST_MISSING_CPU_FEATURE={feature}"
    words = ["--bind-to", "none", "-n", "1", binary(), *STUDY, ":", "--bind-to", "none", "-n", "1", "-x", pretended]
    outcome = mpirun(*words, binary(), *STUDY, cwd=tmp_path)
    assert outcome.returncode == 2, outcome.stderr
    line = said(outcome.stderr)
    assert line.startswith(f"asymptop: host {os.uname().nodename}: this build needs the CPU's {feature}")


def warnings(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("warning:")]


def test_crowded_cores(tmp_path: Path) -> None:
    """Two ranks bound to one core; two threads of one rank that is bound to one; none where each has its own."""
    core = min(os.sched_getaffinity(0))
    bound = ["--cpu-set", str(core), "--bind-to", "core", "--oversubscribe"]
    for words, expected in [
        (["-n", "2", *bound, binary(), *STUDY], "2 threads share core(s) 0 (rank 0, 1)"),
        (["-n", "1", *bound, binary(), *STUDY[:-1], "2"], "2 threads share core(s) 0 (rank 0)"),
    ]:
        outcome = mpirun(*words, "--force", cwd=tmp_path)
        assert outcome.returncode == 0, outcome.stderr
        assert expected.replace("core(s) 0", f"core(s) {core}") in "".join(warnings(outcome.stderr)), outcome.stderr
    outcome = asymptop(*STUDY, "--force", cwd=tmp_path)
    assert warnings(outcome.stderr) == []
    with h5py.File(tmp_path / "results.h5") as file:
        rank, host, cores = str(file.attrs["rank_layout"]).split()
    assert (rank, host) == ("0", os.uname().nodename)
    assert cores == ",".join(str(one) for one in sorted(os.sched_getaffinity(0)))
