"""Runs across hosts, made of namespaces: the bytes of one rank, over TCP, with latency too; nothing is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
from command_line import ROOT, assert_equal, asymptop, binary, study
from hosts import Hosts, eventually, processes_in, why_not

ROWS, DRAWS, LARGEST_K = 32, 2, 2000
STUDY = ["--n", "700,20000", "--d", "16", "--block", "512", "--k", f"64,n^0.5,{LARGEST_K}", "--sigma", "1,log(n)"]
STUDY += ["--rows", str(ROWS), "--draws", str(DRAWS), "--merge", "owner"]
ATTEND = ["--n", "3000", "--d", "16", "--block", "128", "--k", "64", "--mask", "causal"]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if reason := why_not():
        pytest.skip(reason)
    with Hosts(4) as four:
        yield four
    assert processes_in(list(four.networks.values())) == {}


def run(hosts: Hosts, ranks: dict[str, int], *words: str | Path) -> str:
    job = hosts.mpirun(ranks, [binary(), *words])
    stdout, stderr = job.communicate(timeout=60.0)
    assert job.returncode == 0, stdout + stderr
    assert hosts.left_over() == {}
    return stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("alone") / "alone.h5", STUDY)


def study_on(hosts: Hosts, ranks: dict[str, int], output: Path) -> Path:
    run(hosts, ranks, "study", *STUDY, "-o", output)
    with h5py.File(output) as file:
        assert file.attrs["host_names"] == ",".join(ranks)
        assert file.attrs["ranks"] == sum(ranks.values())
    return output


def assert_same_files(a: Path, b: Path) -> None:
    """The merged results and every case file."""
    assert_equal(a, b)
    folders = [path.with_name(path.name + ".cases") for path in (a, b)]
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert len(names[0]) == 4
    assert names[0] == names[1]
    for name in names[0]:
        assert_equal(folders[0] / name, folders[1] / name)


def data_bytes(hosts: Hosts) -> int:
    return sum(hosts.received_bytes(host, "eth1") for host in hosts.names)


def test_same_bytes(hosts: Hosts, alone: Path, tmp_path: Path) -> None:
    before = data_bytes(hosts)
    assert_same_files(alone, study_on(hosts, {"h1": 2, "h2": 2, "h3": 1, "h4": 1}, tmp_path / "hosts.h5"))
    # Candidates go to the owner of their row: from at least four of six ranks to another host.
    assert data_bytes(hosts) - before > DRAWS * ROWS * 4 * LARGEST_K * 8


def test_full_attention(hosts: Hosts, tmp_path: Path) -> None:
    """Keys and values travel round a ring, outputs are written by all hosts at once; two hosts are 0.5 ms away."""
    alone = asymptop("attend", *ATTEND, "--save-output", "a.out.h5", "-o", "a.h5", cwd=tmp_path)
    assert alone.code == 0, str(alone)
    hosts.slow_data(["h2", "h4"], 0.5)
    b, b_output = tmp_path / "b.h5", tmp_path / "b.out.h5"
    run(hosts, {"h1": 2, "h2": 1, "h3": 1, "h4": 1}, "attend", *ATTEND, "--save-output", b_output, "-o", b)
    assert_equal(tmp_path / "a.h5", b)
    with h5py.File(tmp_path / "a.out.h5") as expected, h5py.File(b_output) as got:
        names: list[str] = []
        expected.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) == 3
        for name in names:
            assert got[name][()].tobytes() == expected[name][()].tobytes(), name


CONNECT = """
import socket, time
start = time.perf_counter()
try:
    socket.create_connection(("10.78.0.4", 9))
except ConnectionRefusedError:
    print(time.perf_counter() - start)
"""


def test_same_bytes_with_latency(hosts: Hosts, alone: Path, tmp_path: Path) -> None:
    hosts.slow_data(["h3", "h4"], 2.0)
    assert float(hosts.run("h1", sys.executable, "-c", CONNECT)) > 4e-3
    # Messages are expensive enough to be hidden: the plan halves the batch.
    assert f"({ROWS // 2} rows at a time)" in run(hosts, dict.fromkeys(hosts.names, 1), "study", *STUDY, "--dry-run")
    before = data_bytes(hosts)
    assert_same_files(alone, study_on(hosts, dict.fromkeys(hosts.names, 1), tmp_path / "hosts.h5"))
    assert data_bytes(hosts) - before > DRAWS * ROWS * 3 * LARGEST_K * 8


# Where tests run in the background of a script SIGINT is ignored, and is inherited so.
LEAVING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
from hosts import Hosts, eventually
with Hosts(4) as hosts:
    hosts.slow_data(["h4"], 0.1)
    job = hosts.mpirun(dict.fromkeys(hosts.names, 1), ["sleep", "20"])
    assert eventually(lambda: all(hosts.processes(host, "sleep") for host in hosts.names), 15.0)
    print(*hosts.networks.values(), flush=True)
    if len(sys.argv) > 2:
        raise RuntimeError("a test fails")
    time.sleep(20)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, "failure"])
def test_nothing_is_left(how: signal.Signals | str) -> None:
    """Whether the test that made the hosts is killed, interrupted, or fails."""
    if reason := why_not():
        pytest.skip(reason)
    words = [sys.executable, "-c", LEAVING, str(ROOT / "tests" / "support"), *([how] if isinstance(how, str) else [])]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as test:
        assert test.stdout
        networks = test.stdout.readline().split()
        assert len(networks) == 5
        if not isinstance(how, str):
            assert {"orterun", "orted", "sleep"} <= set(processes_in(networks).values())
            test.send_signal(how)
        test.communicate(timeout=20.0)
    assert test.returncode != 0
    assert eventually(lambda: not processes_in(networks), 5.0), processes_in(networks)
