"""Runs the asymptop binary for the tests of tests/app, alone or under mpirun, and reads what it left."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "support"))

from own_environment import own_environment  # noqa: E402

# Start-up is most of a small run: shared memory only, no daemon for a lone rank, no spinning on shared cores.
SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # the same, for mpirun of Open MPI 5
    "OMPI_MCA_btl": "self,vader",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_ess_singleton_isolated": "1",
}


# Lone processes have a session folder of one name, which the first that ends removes: each process of the tests gets
# a place of its own.
SETTINGS["OMPI_MCA_orte_tmpdir_base"] = tempfile.mkdtemp(prefix="mpi-")
atexit.register(shutil.rmtree, SETTINGS["OMPI_MCA_orte_tmpdir_base"], ignore_errors=True)

# Programs that count or check all they do are slow: how much more time than usual they get.
PATIENCE = float(os.environ.get("ASYMPTOP_TEST_PATIENCE", "1"))


def binary() -> Path:
    return Path(os.environ.get("ASYMPTOP_BINARY", ROOT / "build" / "release" / "asymptop"))


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def asymptop(
    *arguments: str | Path,
    ranks: int = 1,
    threads: int = 1,
    cwd: Path | None = None,
    settings: dict[str, str] | None = None,
    timeout: float = 120.0,
    stdout: Path | None = None,
) -> Outcome:
    """One run of the binary; under mpirun when more than one rank is asked for. `stdout`: a file for its output."""
    launcher: list[str] = []
    if ranks > 1:
        launcher = ["mpirun", "--bind-to", "none", "-n", str(ranks)]
    environment = own_environment() | SETTINGS | {"OMP_NUM_THREADS": str(threads)} | (settings or {})
    out = subprocess.PIPE if stdout is None else stdout.open("w")
    process = subprocess.Popen(
        [*launcher, str(binary()), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    try:
        text, stderr = process.communicate(timeout=PATIENCE * timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # mpirun ends its ranks before it ends itself
        process.communicate(timeout=30.0)
        raise
    return Outcome(process.returncode, text or "", stderr)


def study(
    output: Path,
    arguments: Sequence[str | Path],
    ranks: int = 1,
    threads: int = 1,
    code: int = 0,
) -> Path:
    """A study that must end with `code` and may replace older results. Returns its results file."""
    outcome = asymptop("study", *arguments, "--force", "-o", output, ranks=ranks, threads=threads)
    assert outcome.code == code, str(outcome)
    return output


def compare(a: Path, b: Path) -> Outcome:
    return asymptop("compare", a, b)


def assert_equal(a: Path, b: Path) -> None:
    outcome = compare(a, b)
    assert outcome.code == 0, str(outcome)


# Of a run, not of what it measured; `residual` and `tolerance` of attend's checks are fp64 sums of ranks.
OF_THE_RUN = ("phase_seconds", "exact_seconds", "top_k_seconds", "bytes_sent", "residual", "tolerance")


def values(path: Path) -> dict[str, bytes]:
    """The bytes of every dataset that is data: timings aside."""
    found: dict[str, bytes] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and name.rsplit("/", 1)[-1] not in OF_THE_RUN:
            found[name] = repr(item[()].tolist()).encode() if item.dtype.kind == "O" else item[()].tobytes()

    with h5py.File(path) as file:
        file.visititems(visit)
    return found
