"""A real Slurm for tests, started from nothing: slurmctld and munged on `login`, a slurmd on each host of hosts.py.

    with Cluster(folder, 2) as cluster:
        cluster.client("sbatch", ...)

Configuration, keys, logs and state lie in the folder. Daemons and jobs live in the hosts' namespaces and end with them.
Clients know this cluster alone, by its own configuration, and reach no other: `login` has no network beyond the hosts'.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType

import hosts
from hosts import Hosts, eventually
from own_environment import own_environment

DAEMONS = ("munged", "slurmctld", "slurmd")
# Not PREEMPTED, REQUEUED, SIGNALING and the like: such a job is on its way to be PENDING. "": Slurm has forgotten it.
ENDED = {"", "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
CONFIGURATION = """\
ClusterName={name}
SlurmctldHost=login(10.77.0.254)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
TmpFS=/run
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=pmix
ReturnToService=2
SlurmdTimeout={down}
KillWait=5
MaxArraySize=9
Epilog={folder}/epilog
JobAcctGatherType=jobacct_gather/none
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=usual Default=YES PriorityTier=1 GraceTime=10
PartitionName=urgent PriorityTier=2
"""


def why_not() -> str:
    """Why there can be no Slurm here; empty when there can."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for tool in (*DAEMONS, "sbatch", "srun", "scontrol"):
        if shutil.which(tool, path=path) is None:
            return f"{tool} is not installed: apt-get install slurm-wlm munge (jobs/setup/debian.sh --tests)"
    return hosts.why_not()


class Cluster:
    def __init__(self, folder: Path, nodes: int = 2, processors: int = 8, seconds_until_down: int = 10) -> None:
        self.folder = folder
        self.name = f"test-{os.getpid()}-{secrets.token_hex(4)}"
        self.hosts = Hosts(nodes)
        self._processors = processors
        self._down = seconds_until_down
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        kept = {name: value for name, value in own_environment().items() if not name.startswith("OMPI_")}
        self.environment = kept | {
            "PATH": path,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_mpi_yield_when_idle": "1",
            "OMPI_MCA_orte_tmpdir_base": "/run",
            "OMPI_MCA_btl": "self,vader,tcp",
            "OMPI_MCA_pml": "ob1",
            "OMPI_MCA_btl_tcp_if_include": "10.78.0.0/24",
            "OMPI_MCA_oob_tcp_if_include": "10.77.0.0/24",
        }

    def __enter__(self) -> Cluster:
        self.hosts.__enter__()
        try:
            self._start()
        except BaseException:
            self.hosts.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hosts.__exit__(kind, error, trace)

    def _start(self) -> None:
        munge = self.folder / "munge"
        for part in (munge, self.folder / "state"):
            part.mkdir(mode=0o700, parents=True)
        key = munge / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        lines = CONFIGURATION.format(folder=self.folder, down=self._down, name=self.name)
        for i, host in enumerate(self.hosts.names, start=1):
            lines += f"NodeName={host} NodeAddr=10.77.0.{i} CPUs={self._processors} RealMemory=4000 State=UNKNOWN\n"
        (self.folder / "slurm.conf").write_text(lines)
        # This Slurm does not start a step whose files an earlier one, killed, has left behind.
        epilog = self.folder / "epilog"
        epilog.write_text("#!/bin/sh\nrm -rf /run/spmix_appdir_*_$SLURM_JOB_ID.*\n")
        epilog.chmod(0o755)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.client("munged", "--force", *(f"--{option}={munge / name}" for option, name in files.items()))
        self.client("slurmctld", "-c")
        if not eventually(lambda: self.said_of_itself("ClusterName") == self.name, 10.0):
            raise RuntimeError(f"its controller does not answer, but {self.said_of_itself('ClusterName')!r}")
        for host in self.hosts.names:
            self.start_slurmd(host)
        if not eventually(lambda: self.nodes() == dict.fromkeys(self.hosts.names, "idle"), 20.0):
            raise RuntimeError(f"Slurm does not come up: {self.nodes()}; see {self.folder}")

    def said_of_itself(self, setting: str) -> str:
        """By the controller that answers clients."""
        text = self.client("scontrol", "show", "config", check=False)
        match = re.search(rf"^{setting}\s*= (.*)$", text, re.MULTILINE)
        return match[1].strip() if match else ""

    def start_slurmd(self, host: str) -> None:
        self.on(host, "slurmd")

    def nodes(self) -> dict[str, str]:
        lines = self.client("sinfo", "--noheader", "--Node", "-p", "usual", "-o", "%N %t", check=False).splitlines()
        return dict(line.split() for line in lines)

    def on(
        self,
        host: str,
        *words: str | Path,
        check: bool = True,
        more: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Runs a command on a host, or on `login`, and returns what it printed."""
        inside = self.hosts.inside(host, words)
        if cwd is not None:
            inside = [f"--wd={cwd}" if word.startswith("--wd=") else word for word in inside]
        # Files, not pipes: daemons keep what they inherit.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            outcome = subprocess.run(
                inside,
                env=self.environment | dict(more or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=120.0,
            )
            out.seek(0)
            err.seek(0)
            text, trouble = out.read(), err.read()
        self.code = outcome.returncode
        if check and outcome.returncode != 0:
            raise RuntimeError(f"{words}: exit {outcome.returncode}\n{text}{trouble}")
        return text if outcome.returncode == 0 else text + trouble

    def client(self, *words: str | Path, check: bool = True, cwd: Path | None = None) -> str:
        return self.on("login", *words, check=check, cwd=cwd)

    def state(self, job: str) -> str:
        """Of a job or of an array's task, as `123_4`; empty when Slurm has forgotten it."""
        match = re.search(r"\bJobState=(\w+)", self.client("scontrol", "show", "job", "-o", job, check=False))
        return match[1] if match else ""

    def field(self, job: str, name: str) -> str:
        match = re.search(rf"\b{name}=(\S+)", self.client("scontrol", "show", "job", "-o", job, check=False))
        return match[1] if match else ""

    def start_now(self, job: str) -> None:
        """A requeued job waits two minutes; not this one."""
        self.client("scontrol", "update", f"jobid={job}", "StartTime=now", check=False)

    def wait_for(self, jobs: Collection[str], seconds: float) -> dict[str, str]:
        """The states in which they end. Requeued ones are started again without delay."""
        deadline = time.monotonic() + seconds
        waits_since: dict[str, float] = {}
        ends: dict[str, str] = {}
        while missing := [job for job in jobs if job not in ends]:
            assert time.monotonic() < deadline, self._seen(missing)
            for job in missing:
                state = self.state(job)
                if state in ENDED:
                    ends[job] = state
                elif state == "PENDING" and self.field(job, "Reason") == "BeginTime":
                    # Sooner, nodes would take the job for the one that they were told to end.
                    if time.monotonic() > waits_since.setdefault(job, time.monotonic()) + 4.0:
                        self.start_now(job)
                else:
                    waits_since.pop(job, None)
            time.sleep(0.1)
        return ends

    def _seen(self, jobs: Collection[str]) -> str:
        known = [self.client("scontrol", "show", "job", job, check=False) for job in jobs]
        log = (self.folder / "slurmctld.log").read_text().splitlines()[-30:]
        return "\n".join([f"{list(jobs)} have not ended", *known, *log])

    def wait(self, job: str, seconds: float) -> str:
        return self.wait_for([job], seconds)[job]
