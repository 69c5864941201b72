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
from own_environment import own_environment

STUDY = ["study", "--n", "64", "--k", "8", "--rows", "4", "--draws", "2", "--block", "64", "--threads", "1"]


def mpirun(*words: str | Path, cwd: Path, core: int | None = None) -> subprocess.CompletedProcess[str]:
    """With a core, mpirun and the ranks that it does not bind have that one alone."""
    environment = own_environment()
    bound = [] if core is None else ["taskset", "-c", str(core)]
    return subprocess.run(
        [*bound, "mpirun", *map(str, words)],
        cwd=cwd,
        env=environment | SETTINGS,
        capture_output=True,
        text=True,
        timeout=60.0,
    )


@pytest.fixture(scope="module")
def two_programs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips what needs it where mpirun itself does not bring it off."""
    if mpirun("-n", "1", "true", ":", "-n", "1", "true", cwd=tmp_path_factory.mktemp("two")).returncode != 0:
        pytest.skip("this mpirun cannot start two programs")


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


@pytest.mark.usefixtures("two_programs")
def test_ranks_of_another_build(tmp_path: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("there is no readelf")
    other = with_other_build_id(tmp_path / "asymptop")
    words = ["--bind-to", "none", "-n", "1", binary(), *STUDY, ":", "-n", "1", other, *STUDY]
    outcome = mpirun(*words, cwd=tmp_path)
    assert outcome.returncode == 2, outcome.stderr
    line = said(outcome.stderr)
    assert f"rank 1 on {os.uname().nodename} runs another build" in line
    assert not (tmp_path / "results.h5").exists()


@pytest.mark.usefixtures("two_programs")
def test_ranks_with_other_blas_kernels(tmp_path: Path) -> None:
    """Refused where the BLAS makes numbers of the results, and there alone."""

    def on_two(*options: str) -> subprocess.CompletedProcess[str]:
        words = ["--bind-to", "none", "-n", "1", binary(), *STUDY, *options, ":", "-n", "1"]
        return mpirun(*words, "-x", "OPENBLAS_CORETYPE=Prescott", binary(), *STUDY, *options, cwd=tmp_path)

    outcome = on_two("--path", "blas-tile")
    assert outcome.returncode == 2, outcome.stderr
    assert "rank 1 on " in said(outcome.stderr)
    assert "OpenBLAS Prescott" in said(outcome.stderr)
    assert not (tmp_path / "results.h5").exists()
    assert asymptop(*STUDY, cwd=tmp_path).code == 0
    with h5py.File(tmp_path / "results.h5") as file:
        path, kernels = next(iter(file["cases"].values())).attrs["path"], str(file.attrs["blas_kernel"])
    if path == "fused":
        outcome = on_two("-o", "mixed.h5")
        assert outcome.returncode == 0, outcome.stderr
        with h5py.File(tmp_path / "mixed.h5") as file:
            assert file.attrs["blas_kernel"] == f"{kernels}, Prescott"
        assert asymptop("compare", "results.h5", "mixed.h5", cwd=tmp_path).code == 0


@pytest.mark.usefixtures("two_programs")
def test_cpu_without_a_feature(tmp_path: Path) -> None:
    """Before MPI starts, and so for all ranks; a build for plain CPUs needs nothing and goes on."""
    asymptop(*STUDY, cwd=tmp_path)
    with h5py.File(tmp_path / "results.h5") as file:
        if (simd := file.attrs["simd"]) == "plain":
            pytest.skip("this build runs on any CPU")
    feature = {"avx512": "avx512bw", "avx2": "fma"}[simd]
    pretended = f"ASYMPTOP_TEST_MISSING_CPU_FEATURE={feature}"
    words = ["--bind-to", "none", "-n", "1", binary(), *STUDY, ":", "-n", "1", "-x", pretended]
    outcome = mpirun(*words, binary(), *STUDY, cwd=tmp_path)
    assert outcome.returncode == 2, outcome.stderr
    line = said(outcome.stderr)
    assert line.startswith(f"asymptop: host {os.uname().nodename}: this build needs the CPU's {feature}")


def warnings(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("warning:")]


def test_crowded_cores(tmp_path: Path) -> None:
    """Two ranks bound to one core; two threads of one rank that is bound to one; none where each has its own."""
    core = min(os.sched_getaffinity(0))
    for words, expected in [
        (["-n", "2", binary(), *STUDY], "2 threads share core(s) 0 (rank 0, 1)"),
        (["-n", "1", binary(), *STUDY[:-1], "2"], "2 threads share core(s) 0 (rank 0)"),
    ]:
        outcome = mpirun("--bind-to", "none", *words, "--force", cwd=tmp_path, core=core)
        assert outcome.returncode == 0, outcome.stderr
        assert expected.replace("core(s) 0", f"core(s) {core}") in "".join(warnings(outcome.stderr)), outcome.stderr
    outcome = asymptop(*STUDY, "--force", cwd=tmp_path)
    assert warnings(outcome.stderr) == []
    with h5py.File(tmp_path / "results.h5") as file:
        rank, host, cores = str(file.attrs["rank_layout"]).split()
    assert (rank, host) == ("0", os.uname().nodename)
    assert cores == ",".join(str(one) for one in sorted(os.sched_getaffinity(0)))


def layout(path: Path) -> list[list[int]]:
    """Cores of each thread of the only rank; one entry where all have the same."""
    with h5py.File(path) as file:
        _, _, cores = str(file.attrs["rank_layout"]).split()
    return [[int(core) for core in thread.split(",")] for thread in cores.split(";")]


BENCH = ["bench", "--kernel", "score", "--n", "4096", "--m", "8", "--samples", "3", "--force", "-o", "bench.h5"]
OUTSIDE = {"GOMP_SPINCOUNT": "1000"}  # set: the program need not start again with settings of its own


@pytest.mark.parametrize("more", [{}, OUTSIDE, {"OMP_PLACES": "cores"}], ids=["starts again", "as it is", "places"])
def test_threads_that_openmp_binds(more: dict[str, str], tmp_path: Path) -> None:
    """OMP_PROC_BIND=true, as on most clusters, binds the first thread before main(): cores are the process's."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("there is one core")
    bound = {"OMP_PROC_BIND": "true"} | more
    environment = {name: value for name, value in own_environment().items() if not name.startswith(("OMP_", "GOMP"))}
    for settings in (bound, bound | {"OMP_NUM_THREADS": "2"}):
        done = subprocess.run(
            [binary(), *BENCH],
            cwd=tmp_path,
            env=environment | SETTINGS | settings,
            capture_output=True,
            text=True,
            timeout=120.0,
        )
        assert done.returncode == 0, done.stderr
        assert warnings(done.stderr) == []
        assert f" {len(cores)} core(s) allowed" in done.stdout
        threads = 2 if "OMP_NUM_THREADS" in settings else len(cores)
        assert f"1 rank(s) x {threads} thread(s)" in done.stdout
        of_threads = layout(tmp_path / "bench.h5")
        assert len(of_threads) == threads
        assert all(len(one) == 1 for one in of_threads)
        assert len({one[0] for one in of_threads}) == threads


def test_ranks_whose_threads_openmp_binds_to_one_core(tmp_path: Path) -> None:
    words = ["--bind-to", "none", "-n", "2", "-x", "OMP_PROC_BIND=true", binary(), *STUDY]
    outcome = mpirun(*words, "--force", cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    core = min(os.sched_getaffinity(0))
    assert f"2 threads share core(s) {core} (rank 0, 1)" in "".join(warnings(outcome.stderr)), outcome.stderr


def test_more_threads_than_a_rank_can_have(tmp_path: Path) -> None:
    outcome = asymptop(*STUDY[:-2], cwd=tmp_path, settings={"OMP_NUM_THREADS": "4096"})
    assert outcome.code == 2
    assert outcome.stderr == (
        "asymptop: OMP_NUM_THREADS: '4096' is over 256 threads, the most of a rank; --threads overrides it\n"
    )
    for settings in ({"OMP_NUM_THREADS": "4096"}, {"KOKKOS_NUM_THREADS": "4096"}, {"OMP_DYNAMIC": "true"}):
        outcome = asymptop(*STUDY, "--force", cwd=tmp_path, settings=settings)
        assert outcome.code == 0, str(outcome)
    assert asymptop("--version", settings={"OMP_NUM_THREADS": "4096"}).code == 0


@pytest.mark.parametrize("variable", ["PMI_SIZE", "PALS_NRANKS", "OMPI_COMM_WORLD_SIZE"])
def test_singletons_of_another_launcher(variable: str, tmp_path: Path) -> None:
    outcome = asymptop(*STUDY, cwd=tmp_path, settings={variable: "4"})
    assert outcome.code == 2, str(outcome)
    assert f"{variable} is 4, but this run has 1 rank(s)" in said(outcome.stderr)
    assert list(tmp_path.iterdir()) == []
    # A plan and what reads files need no ranks.
    assert asymptop(*STUDY, "--dry-run", cwd=tmp_path, settings={variable: "4"}).code == 0


def test_the_plan_names_what_limits_memory(tmp_path: Path) -> None:
    words = ["study", "--n", "2^24", "--k", "16", "--rows", "4", "--draws", "1", "--keys", "resident"]
    slurm = {"SLURM_NTASKS": "1", "SLURM_CPUS_ON_NODE": "2", "SLURM_MEM_PER_CPU": "100"}
    outcome = asymptop(*words, "--dry-run", cwd=tmp_path, settings=slurm)
    assert outcome.code == 2
    assert "210 MB are available (SLURM_MEM_PER_CPU times 2 CPU(s))" in said(outcome.stderr)
    outcome = asymptop(*words[:2], "2^12", *words[3:], "--dry-run", cwd=tmp_path, settings=slurm)
    assert "Memory: 210 MB for the ranks of a node (SLURM_MEM_PER_CPU times 2 CPU(s))" in outcome.stdout


STEP = {"SLURM_JOB_ID": "7", "SLURM_NODELIST": os.uname().nodename, "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}


@pytest.mark.parametrize("words", [["--version"], [*STUDY, "--dry-run"], STUDY], ids=["version", "plan", "study"])
def test_in_the_shell_of_a_step(words: list[str], tmp_path: Path) -> None:
    """`srun --pty` in a job of four tasks: one task, told nothing of MPI. Several such are refused in a line."""
    one = STEP | {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}
    outcome = asymptop(*words, cwd=tmp_path, settings=one)
    assert outcome.code == 0, str(outcome)
    if words == STUDY:
        with h5py.File(tmp_path / "results.h5") as file:
            assert '"SLURM_NODELIST"' in file.attrs["slurm"]
        outcome = asymptop(*words, "--force", cwd=tmp_path, settings=one | {"SLURM_STEP_NUM_TASKS": "4"})
        assert outcome.code == 2
        assert "SLURM_STEP_NUM_TASKS is 4, but this run has 1 rank(s)" in said(outcome.stderr)
