"""Every request, communicator, file and datatype that a command makes is ended again, as counted between it and MPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import ROOT, asymptop
from every_command import COMMANDS, REFUSED, write_tensors

SOURCE = ROOT / "tests" / "support" / "count_mpi_objects.c"
NOT_ENDED = 97

# Calls that make nothing that must be ended.
HARMLESS = re.compile(
    "Abort|All.*|Barrier|Bcast|Comm_(compare|get_attr|rank|set_.*|size)|Error_string|Finalized|Gatherv?|Get_.*|Info_get.*|"
    "File_(get|read|set|write)_.*|File_sync|Init.*|Iprobe|Recv|Scatterv|Type_(commit|get_extent|size_x)"
)

LEAKS = """
#include <mpi.h>
int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int number = argc, other = 0;
  MPI_Request requests[2];
  MPI_Comm comm;
  MPI_Comm_dup(MPI_COMM_WORLD, &comm);
  MPI_Irecv(&other, 1, MPI_INT, 0, 1, comm, &requests[0]);
  MPI_Isend(&number, 1, MPI_INT, 0, 1, comm, &requests[1]);
  if (argc == 2) MPI_Wait(&requests[0], MPI_STATUS_IGNORE);
  else MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
  if (argc != 3) MPI_Comm_free(&comm);
  MPI_Finalize();
  return 0;
}
"""


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("mpicc")
    if found is None:
        pytest.skip("there is no mpicc for the library that counts")
    return found


@pytest.fixture(scope="module")
def counting(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("counting") / "counting.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SOURCE], check=True)
    return library


def counts_of(said: Path) -> list[tuple[int, int]]:
    """(ended, made) of each kind and rank; the file is gone afterwards."""
    text = said.read_text() if said.exists() else ""
    said.unlink(missing_ok=True)
    return [(int(a), int(b)) for a, b in re.findall(r"(\d+) of (\d+)", text)]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("name", COMMANDS)
def test_all_is_ended(name: str, ranks: int, counting: Path, tmp_path: Path) -> None:
    if name == "groups" and ranks == 1:
        pytest.skip("two groups need two ranks")
    write_tensors(tmp_path / "qkv.h5")
    for command in COMMANDS[name]:
        said = tmp_path / "objects.txt"
        settings = {"LD_PRELOAD": str(counting), "COUNT_MPI_OBJECTS": str(said)}
        outcome = asymptop(*command, ranks=ranks, cwd=tmp_path, settings=settings)
        assert outcome.code == (2 if command == REFUSED else 0), (command, str(outcome))
        counts = counts_of(said)
        if ranks == 1 and command[0] in ("compare", "info", "merge"):
            assert counts == []  # alone, they do without MPI
            continue
        # A launcher ends the other ranks of a run that one has left with an error, maybe before they have counted.
        assert command == REFUSED or len(counts) % ranks == 0
        assert len(counts) > 0, str(outcome)
        assert all(ended == made for ended, made in counts), counts
        assert sum(made for _, made in counts) > 0


@pytest.mark.parametrize(("arguments", "left"), [([], ""), (["x"], "requests"), (["x", "y"], "communicators")])
def test_what_is_left_is_told(arguments: list[str], left: str, compiler: str, counting: Path, tmp_path: Path) -> None:
    (tmp_path / "leaks.c").write_text(LEAKS)
    subprocess.run([compiler, "-o", tmp_path / "leaks", tmp_path / "leaks.c"], check=True)
    environment = os.environ | {"LD_PRELOAD": str(counting), "OMPI_MCA_ess_singleton_isolated": "1"}
    done = subprocess.run([tmp_path / "leaks", *arguments], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == (NOT_ENDED if left else 0), done.stderr
    wrong = [name for a, b, name in re.findall(r"(\d+) of (\d+) (\w+)", done.stderr) if a != b]
    assert wrong == ([left] if left else [])


def test_all_calls_are_known() -> None:
    text = "".join(path.read_text() for path in (ROOT / "src").rglob("*.?pp"))
    used = set(re.findall(r"\bMPI_([A-Z][a-z]+\w*)\(", text))
    libraries = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"=> (\S*libhdf5_openmpi\.so\S*)", libraries)[:1]:
        symbols = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True)
        used |= set(re.findall(r"\bMPI_([A-Z][a-z]+\w*)$", symbols.stdout, re.MULTILINE))
    source = SOURCE.read_text()
    known = set(re.findall(r"^(?:MAKES|ENDS)\(\w+, \w+, (\w+),", source, re.MULTILINE))
    known |= set(re.findall(r"^(?:COMPLETES\(|int MPI_)(\w+)", source, re.MULTILINE))
    unknown = {call for call in used - known if not HARMLESS.fullmatch(call)}
    assert unknown == set(), "count_mpi_objects.c must count these calls, or HARMLESS name them"
    assert "Isend" in used & known
