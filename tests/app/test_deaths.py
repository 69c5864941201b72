"""A rank that dies ends the whole job in time with a message, and leaves neither processes nor damaged files."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import assert_equal, binary, study
from hosts import Hosts, eventually, processes_in, why_not

# A death is seen after the first case, of a second at most, and within the second, which would take minutes.
FIRST = ["--d", "16", "--rows", "64", "--draws", "4", "--keys", "streamed", "--k", "64", "--n"]
SECONDS_TO_END = 15.0


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if reason := why_not():
        pytest.skip(reason)
    with Hosts(4) as four:
        yield four
    assert processes_in(list(four.networks.values())) == {}


@pytest.fixture(scope="module")
def first_case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("alone") / "alone.h5", [*FIRST, "1024"])


def begin(hosts: Hosts, options: list[str], output: Path, first: str) -> subprocess.Popen[str]:
    """A study with one rank on each host that has finished its first case."""
    job = hosts.mpirun(dict.fromkeys(hosts.names, 1), [binary(), "study", *options, "-o", output])
    case = output.with_name(output.name + ".cases") / first
    assert eventually(lambda: case.exists() or job.poll() is not None, 30.0)
    assert job.poll() is None, job.communicate()
    return job


def check_end(hosts: Hosts, job: subprocess.Popen[str], output: Path, expected: Path) -> str:
    """Called at the moment of death. Returns what was said on stderr."""
    deadline = time.monotonic() + SECONDS_TO_END
    stdout, stderr = job.communicate(timeout=SECONDS_TO_END)
    assert job.returncode not in (0, 2), stdout + stderr
    assert eventually(lambda: not hosts.left_over(), deadline - time.monotonic()), (hosts.left_over(), stderr)
    assert not output.exists()
    cases = list(output.with_name(output.name + ".cases").glob("*.h5"))
    assert len(cases) == 1
    assert_equal(cases[0], expected)
    return stderr


def victim(hosts: Hosts) -> int:
    (process,) = hosts.processes("h3", binary().name)
    return process


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_signal(how: signal.Signals, hosts: Hosts, first_case: Path, tmp_path: Path) -> None:
    job = begin(hosts, [*FIRST, "1024,2^24"], tmp_path / "r.h5", "n1024-d16-sigma1.h5")
    os.kill(victim(hosts), how)
    said = check_end(hosts, job, tmp_path / "r.h5", first_case)
    assert "rank 2" in said
    assert "h3" in said
    assert f"signal {how.value}" in said


def test_cut_host(hosts: Hosts, first_case: Path, tmp_path: Path) -> None:
    job = begin(hosts, [*FIRST, "1024,2^24"], tmp_path / "r.h5", "n1024-d16-sigma1.h5")
    hosts.cut("h3", "control", "data")
    said = check_end(hosts, job, tmp_path / "r.h5", first_case)
    assert "h3" in said
    assert "lost communication" in said


def test_cut_data(hosts: Hosts, first_case: Path, tmp_path: Path) -> None:
    """mpirun still reaches all hosts: the ranks themselves must notice."""
    job = begin(hosts, [*FIRST, "1024,2^24"], tmp_path / "r.h5", "n1024-d16-sigma1.h5")
    hosts.cut("h3", "data")
    said = check_end(hosts, job, tmp_path / "r.h5", first_case)
    assert "asymptop: rank" in said
    assert "no answer from 10.78.0." in said


N, D = 1 << 16, 64
TENSORS = ["--rows", "8", "--draws", "64", "--keys", "streamed", "--k", "64", "--block", "1024", "--n"]


@pytest.fixture
def tensors(tmp_path: Path) -> Path:
    """Stored in pieces that carry check sums."""
    rng = np.random.default_rng(1)
    with h5py.File(tmp_path / "tensors.h5", "w") as file:
        for name in "QKV":
            values = rng.standard_normal((N, D), dtype=np.float32)
            file.create_dataset(name, data=values, chunks=(1024, D), fletcher32=True)
    return tmp_path / "tensors.h5"


def damage_keys(tensors: Path, row: int) -> None:
    with h5py.File(tensors) as file:
        place = file["K"].id.get_chunk_info_by_coord((row, 0)).byte_offset
    with tensors.open("r+b") as file:
        file.seek(place + 100)
        file.write(b"damaged")


def test_exception(hosts: Hosts, tensors: Path, tmp_path: Path) -> None:
    """Keys that one rank alone reads go bad while it runs."""
    options = ["--input", str(tensors), *TENSORS]
    expected = study(tmp_path / "alone.h5", [*options, "1024"])
    job = begin(hosts, [*options, f"1024,{N}"], tmp_path / "r.h5", f"n1024-d{D}-head0.h5")
    damage_keys(tensors, N * 5 // 8)
    said = check_end(hosts, job, tmp_path / "r.h5", expected)
    assert job.returncode == 1
    assert "asymptop: rank 2 on h3: HDF5: cannot read K of " in said


# On rank 2 files end at 64 KiB, as on a full disk.
SMALL_DISK = """if [ $OMPI_COMM_WORLD_RANK = 2 ]; then trap '' XFSZ; ulimit -f 64; fi; exec "$@\""""


def test_failed_write(hosts: Hosts, tmp_path: Path) -> None:
    """A file that all ranks have open, and that only all together can close, on a disk that is full for one."""
    words = [binary(), "attend", "--n", "8192", "--d", "64", "--k", "64", "--block", "512"]
    words += ["-o", tmp_path / "r.h5", "--save-output", tmp_path / "out.h5"]
    job = hosts.mpirun(dict.fromkeys(hosts.names, 1), ["bash", "-c", SMALL_DISK, "-", *words])
    said = job.communicate(timeout=SECONDS_TO_END)[1]
    assert job.returncode == 1, said
    assert f"asymptop: rank 2 on h3: {tmp_path / 'out.h5'}: HDF5: cannot write" in said
    assert eventually(lambda: not hosts.left_over(), 5.0), hosts.left_over()
    assert not (tmp_path / "r.h5").exists()
    assert not (tmp_path / "out.h5").exists()


def test_damaged_on_one_host(hosts: Hosts, tensors: Path, tmp_path: Path) -> None:
    """Found before anything is written, by one rank, and told by all."""
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(tensors.read_bytes()[:100000])
    hosts.run("h3", "mount", "--bind", damaged, tensors)
    words = [binary(), "study", "--input", tensors, *TENSORS, str(N), "-o", tmp_path / "r.h5"]
    job = hosts.mpirun(dict.fromkeys(hosts.names, 1), words)
    said = job.communicate(timeout=SECONDS_TO_END)[1]
    assert job.returncode == 2, said
    assert f"asymptop: --input: '{tensors}' does not open. HDF5: cannot open {tensors}: truncated file" in said
    assert "met on host h3" in said
    assert not list(tmp_path.glob("r.h5*"))
    assert hosts.left_over() == {}
