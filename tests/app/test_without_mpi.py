"""Commands over files, --help and --version start neither MPI nor Kokkos, and under mpirun they do their work once."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import asymptop

STUDY = ["study", "--n", "64", "--k", "8", "--rows", "4", "--draws", "2", "--block", "64"]
# With these MPI cannot start.
BROKEN = {"OMPI_MCA_pml": "no-such-pml", "OMPI_MCA_btl": "no-such-btl"}
MEASURING = ["study", "attend", "simulate", "precision", "bench"]
ON_FILES = ["compare", "merge", "info"]
WORDS = {
    "compare": ["compare", "r.h5", "r.h5"],
    "merge": ["merge", "-o", "m.h5", "r.h5"],
    "info": ["info", "--verify", "r.h5"],
    "options behind files": ["info", "r.h5", "--verify"],
    "merge into": ["merge", "r.h5", "--output=m.h5"],
    "help behind files": ["compare", "r.h5", "--help"],
    "help": ["--help"],
    "version": ["--version"],
    "no file": ["info", "none.h5"],
    "no results": ["compare", "text", "text"],
    "no such command": ["stdy"],
    "nothing": [],
} | {f"{command} help": [command, "--help"] for command in (*MEASURING, *ON_FILES)}
CODES = {"no file": 2, "no results": 2, "no such command": 2, "nothing": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    assert asymptop(*STUDY, "-o", "r.h5", cwd=made).code == 0
    (made / "text").write_text("no HDF5")
    return made


def test_a_study_needs_mpi(tmp_path: Path) -> None:
    """The settings do what they are there for."""
    assert asymptop(*STUDY, cwd=tmp_path, settings=BROKEN).code not in (0, 2)


@pytest.mark.parametrize("name", WORDS)
def test_where_mpi_cannot_start(name: str, folder: Path) -> None:
    """The same as under two ranks, where MPI does start."""
    (folder / "m.h5").unlink(missing_ok=True)
    alone = asymptop(*WORDS[name], cwd=folder, settings=BROKEN)
    assert alone.code == CODES.get(name, 0), str(alone)
    assert (alone.stdout == "") == (name in CODES and name != "nothing")
    (folder / "m.h5").unlink(missing_ok=True)
    together = asymptop(*WORDS[name], cwd=folder, ranks=2)
    assert together.code == alone.code, str(together)
    assert together.stdout == alone.stdout
    said = [line for line in together.stderr.splitlines() if line.startswith("asymptop:")]
    assert said == alone.stderr.splitlines()


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_the_environment_decides(variable: str, folder: Path) -> None:
    """Several processes are left to MPI, one is not."""
    assert asymptop("info", "r.h5", cwd=folder, settings=BROKEN | {variable: "1"}).code == 0
    assert asymptop("info", "r.h5", cwd=folder, settings=BROKEN | {variable: "2"}).code != 0
