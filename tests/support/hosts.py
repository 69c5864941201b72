"""Machines for tests, made of namespaces (hosts.sh): starts mpirun across them, cuts and slows their links.

    with Hosts(4) as hosts:
        job = hosts.mpirun({"h1": 1, "h2": 2}, ["asymptop", "study", ...])

Nothing outlives the `with`, nor this process, however it ends: the first process of all namespaces reads a pipe that
closes then.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from own_environment import own_environment

FOLDER = Path(__file__).resolve().parent
MPI_SETTINGS = FOLDER.parents[1] / "jobs" / "setup" / "mpi.sh"
NAMESPACES = ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]

# Control and data have networks of their own, hosts have TCP alone between them, a job's files lie in each host's /run.
SETTINGS = {
    "OMPI_MCA_plm_rsh_agent": str(FOLDER / "hosts_agent.sh"),
    "OMPI_MCA_oob_tcp_if_include": "10.77.0.0/24",
    "OMPI_MCA_btl_tcp_if_include": "10.78.0.0/24",
    "OMPI_MCA_orte_tmpdir_base": "/run",
    "OMPI_MCA_btl": "self,vader,tcp",
    "OMPI_MCA_pml": "ob1",
}


def why_not() -> str:
    """Why no hosts can be made here; empty when they can."""
    for tool in ("unshare", "nsenter", "ip", "mpirun"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    attempt = subprocess.run(
        [*NAMESPACES, "ip", "link", "add", "name", "b", "type", "bridge"], capture_output=True, text=True
    )
    return "" if attempt.returncode == 0 else f"namespaces are not permitted: {attempt.stderr.strip()}"


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition holds within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def network_of(process: int) -> str:
    return os.readlink(f"/proc/{process}/ns/net")


def children_of(process: int) -> list[int]:
    """In the order of their making."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def processes_in(networks: Sequence[str]) -> dict[int, str]:
    """Processes, no zombies, that are in one of these network namespaces, and the names of their programs."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            process = int(entry.name)
            if network_of(process) in networks:
                found[process] = (entry / "exe").readlink().name  # a zombie has none
    return found


class Hosts:
    """h1..hN, and `login`, where mpirun runs."""

    def __init__(self, count: int) -> None:
        self.names = [f"h{i + 1}" for i in range(count)]
        self._relays: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Hosts:
        self._holder = subprocess.Popen(
            [*NAMESPACES, "bash", str(FOLDER / "hosts.sh"), str(len(self.names))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdin
        assert self._holder.stdout
        assert self._holder.stderr
        if self._holder.stdout.readline() != "ready\n":
            raise RuntimeError(f"no hosts: {self._holder.stderr.read()}")
        (login,) = children_of(self._holder.pid)
        # The first process of a host is the child of the `unshare` that made it.
        firsts = [children_of(unshare)[0] for unshare in children_of(login)]
        self._first = {"login": login, **dict(zip(self.names, firsts, strict=True))}
        self.networks = {name: network_of(first) for name, first in self._first.items()}
        self._own = set(processes_in(list(self.networks.values())))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._holder.stdin
        self._holder.stdin.close()
        try:
            self._holder.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._holder.kill()  # and, with --kill-child, the first process
            self._holder.wait()
        for relay in self._relays:
            relay.wait(timeout=10.0)

    def inside(self, host: str, command: Sequence[str | Path]) -> list[str]:
        """The command as it is run on a host, or on `login`."""
        place = ["nsenter", "--target", str(self._first[host]), "--all", f"--wd={Path.cwd()}", "--"]
        return [*place, *map(str, command)]

    def run(self, host: str, *command: str | Path) -> str:
        return subprocess.run(
            self.inside(host, command), check=True, capture_output=True, text=True, timeout=30.0
        ).stdout

    def mpirun(
        self, ranks: Mapping[str, int], command: Sequence[str | Path], settings: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Starts the command with so many ranks of one thread on each host, and the project's settings of Open MPI."""
        where = ",".join(f"{host}:{count}" for host, count in ranks.items())
        words = [
            "mpirun",
            "--host",
            where,
            "-n",
            str(sum(ranks.values())),
            "--bind-to",
            "none",
            "-x",
            "OMP_NUM_THREADS",
        ]
        script = f". {shlex.quote(str(MPI_SETTINGS))} && exec {shlex.join([*words, *map(str, command)])}"
        environment = {name: value for name, value in own_environment().items() if not name.startswith("OMPI_")}
        return subprocess.Popen(
            self.inside("login", ["bash", "-c", script]),
            env=environment | SETTINGS | {"OMP_NUM_THREADS": "1"} | dict(settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def processes(self, host: str, name: str) -> list[int]:
        found = processes_in([self.networks[host]])
        return sorted(process for process in found if found[process] == name and process not in self._own)

    def left_over(self) -> dict[int, str]:
        """What lives on any host besides the hosts themselves and their relays."""
        found = processes_in(list(self.networks.values()))
        return {process: name for process, name in found.items() if process not in self._own}

    def received_bytes(self, host: str, port: str) -> int:
        """What has arrived at a port since the host came up."""
        lines = Path(f"/proc/{self._first[host]}/net/dev").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.strip().startswith(f"{port}:"))

    def cut(self, host: str, *ports: str) -> None:
        """Takes the host off these networks (`control`, `data`), as if the cable had been pulled."""
        for port in ports:
            self.run("login", "ip", "link", "set", f"{port[0]}{host[1:]}", "down")

    def slow_data(self, hosts: Sequence[str], milliseconds: float) -> None:
        """Data between these hosts and the others take so long in each direction."""
        script = [sys.executable, FOLDER / "slow_link.py", str(milliseconds), "near", "far"]
        relay = subprocess.Popen(
            self.inside("login", script), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        self._relays.append(relay)
        assert relay.stdout
        assert relay.stdout.readline() == "ready\n"
        self._own |= {relay.pid, *children_of(relay.pid)}
        self.run("login", "ip", "link", "add", "beyond", "type", "bridge")
        for port, bridge in [("near", "data"), ("far", "beyond"), *((f"d{host[1:]}", "beyond") for host in hosts)]:
            self.run("login", "ip", "link", "set", port, "master", bridge, "up")
        self.run("login", "ip", "link", "set", "beyond", "up")
