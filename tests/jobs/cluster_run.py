"""A run of jobs/submit on a cluster of slurm_cluster.py, as tests follow it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from command_line import asymptop, binary
from hosts import eventually
from slurm.run_folder import RunFolder
from slurm_cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
SITE = """\
LAUNCHER={launcher}
LAUNCHER_OPTIONS={options}
CORES_PER_NODE=4
MEMORY_PER_NODE=4G
RANKS_PER_NODE=1
ARRAY_LIMIT=3
"""
LAUNCHERS = {"srun": "--mpi=pmix", "mpirun": "--bind-to none"}


def write_case(path: Path, words: list[str]) -> None:
    pairs = zip(words[::2], words[1::2], strict=True)
    path.write_text("".join(f"{option[2:]} = {value}\n" for option, value in pairs))


def write_sites(folder: Path) -> None:
    for launcher, options in LAUNCHERS.items():
        (folder / f"{launcher}.env").write_text(SITE.format(launcher=launcher, options=options))


class Run:
    """Submitted from the folder `place` with its site files and cases, on two nodes, a rank on each."""

    def __init__(
        self, cluster: Cluster, place: Path, case: str, name: str, *words: str, program: Path | None = None
    ) -> None:
        self.cluster = cluster
        self.folder = RunFolder(place / name)
        self._program = program or binary()
        sizes = ["--nodes", "2", "--cpus-per-task", "1", "--no-report"]
        self.submit(f"{case}.cfg", "--output", self.folder.path, *sizes, *words)

    def submit(self, *words: str | Path) -> str:
        options = ["--binary", self._program, "--submit"]
        text = self.cluster.client(ROOT / "jobs/submit", *words, *options, cwd=self.folder.path.parent)
        submission = self.folder.read()["submissions"][-1]
        self.arrays = submission["arrays"]
        self.finish = submission["finish"]
        return text

    def submit_again(self) -> str:
        return self.submit("--continue", self.folder.path)

    @property
    def task(self) -> str:
        """The only one of the only array."""
        (job,) = self.arrays.values()
        return f"{job}_0"

    @property
    def jobs(self) -> list[str]:
        """All tasks, and the job after them."""
        tasks = {array: len(list((self.folder.path / "tasks" / array).glob("*.units"))) for array in self.arrays}
        return [*(f"{job}_{i}" for array, job in self.arrays.items() for i in range(tasks[array])), self.finish]

    @property
    def cases(self) -> Path:
        return self.folder.path / "results.h5.cases"

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for events in self.folder.attempts() for event in events if event["event"] == kind]

    def wait_for_case(self, name: str) -> None:
        assert eventually((self.cases / name).exists, 60.0), self.log()

    def wait(self, seconds: float = 120.0) -> str:
        """Until all ended; the state of the last job."""
        return self.cluster.wait_for(self.jobs, seconds)[self.finish]

    def status(self) -> str:
        return self.cluster.client(ROOT / "jobs/status", self.folder.path, check=False)

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.folder.path / "logs").iterdir()))

    def difference(self, alone: Path) -> str:
        """Empty when the results are those of the undisturbed study."""
        outcome = asymptop("compare", self.folder.results, alone)
        return "" if outcome.code == 0 else f"{outcome}\n{self.log()}"
