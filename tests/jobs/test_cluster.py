"""Studies on a real Slurm of two nodes, made from nothing: arrays, the merge after them, and every way to end a job.

All runs share one cluster. Each must end with the bytes of an undisturbed study.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
from command_line import asymptop, binary, study
from conftest import ROOT
from hosts import eventually, processes_in
from slurm.run_folder import RunFolder
from slurm_cluster import Cluster

pytestmark = pytest.mark.skipif(
    not binary().is_file(), reason=f"no binary at {binary()}: build it or set ASYMPTOP_BINARY"
)

# Four groups of some seconds each, in all; a stop meets one of them in work.
LONG = [
    "--n",
    "2^11:2^15",
    "--d",
    "32",
    "--sigma",
    "1,2",
    "--k",
    "8,n^0.5",
    "--rows",
    "48",
    "--draws",
    "24",
    "--block",
    "256",
]
SHORT = [
    "--n",
    "64,100,128,200",
    "--d",
    "8",
    "--sigma",
    "1,2",
    "--k",
    "8",
    "--rows",
    "4",
    "--draws",
    "2",
    "--block",
    "64",
]
SITE = """\
LAUNCHER={launcher}
LAUNCHER_OPTIONS={options}
CORES_PER_NODE=4
MEMORY_PER_NODE=4G
RANKS_PER_NODE=1
ARRAY_LIMIT=3
"""
LAUNCHERS = {"srun": "--mpi=pmix", "mpirun": "--bind-to none"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs live: a bad name, and site files."""
    folder = tmp_path_factory.mktemp("runs") / "a b 'c' $HOME `x` %a ; & *"
    folder.mkdir()
    for launcher, options in LAUNCHERS.items():
        (folder / f"{launcher}.env").write_text(SITE.format(launcher=launcher, options=options))
    for name, words in (("long", LONG), ("short", SHORT)):
        pairs = zip(words[::2], words[1::2], strict=True)
        (folder / f"{name}.cfg").write_text("".join(f"{option[2:]} = {value}\n" for option, value in pairs))
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := slurm_cluster.why_not():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("slurm"), 2) as cluster:
        networks = list(cluster.hosts.networks.values())
        yield cluster
    assert processes_in(networks) == {}


@pytest.fixture(scope="module")
def alone(place: Path) -> dict[str, Path]:
    """The undisturbed studies."""
    return {name: study(place / f"{name}-alone.h5", ["--config", place / f"{name}.cfg"]) for name in ("long", "short")}


class Run:
    """A submitted run."""

    def __init__(self, cluster: Cluster, place: Path, case: str, name: str, *words: str) -> None:
        self.cluster = cluster
        self.folder = RunFolder(place / name)
        self.submit(f"{case}.cfg", "--output", self.folder.path, "--nodes", "2", "--cpus-per-task", "1", *words)

    def submit(self, *words: str | Path) -> str:
        text = self.cluster.client(
            ROOT / "jobs/submit", *words, "--binary", self.program, "--submit", cwd=self.folder.path.parent
        )
        submission = self.folder.read()["submissions"][-1]
        self.arrays = submission["arrays"]
        self.finish = submission["finish"]
        return text

    program: Path = binary()

    @property
    def task(self) -> str:
        """The only one of the only array."""
        (job,) = self.arrays.values()
        return f"{job}_0"

    def events(self, kind: str) -> list[dict]:
        return [event for events in self.folder.attempts() for event in events if event["event"] == kind]

    def wait_until_in_work(self) -> None:
        """Until the first group of cases is measured; the others are not."""
        cases = self.folder.path / "results.h5.cases"
        assert eventually((cases / "n2048-d32-law2.h5").exists, 60.0), self.log()

    def wait(self) -> str:
        """Until all ended; the state of the last job."""
        for job, array in [(self.arrays[name], name) for name in self.arrays]:
            for index in range(len(list((self.folder.path / "tasks" / array).glob("*.units")))):
                self.cluster.wait(f"{job}_{index}", 90.0)
        return self.cluster.wait(self.finish, 60.0)

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.folder.path / "logs").iterdir()))

    def assert_same(self, alone: Path) -> None:
        outcome = asymptop("compare", self.folder.results, alone)
        assert outcome.code == 0, f"{outcome}\n{self.log()}"


def start(cluster: Cluster, place: Path, case: str, name: str, launcher: str, *words: str) -> Run:
    return Run(cluster, place, case, name, "--site", f"{launcher}.env", "--no-report", *words)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_sweep(cluster: Cluster, place: Path, alone: dict[str, Path], launcher: str) -> None:
    """A task per n, on both nodes, in an array that is throttled; then the merge."""
    run = start(cluster, place, "short", f"sweep \\ {launcher}", launcher, "--target-time", "0:01")
    assert run.wait() == "COMPLETED", run.log()
    run.assert_same(alone["short"])
    starts = run.events("start")
    assert len(starts) == 4
    assert {event["node_list"] for event in starts} == {"h[1-2]"}
    assert all(event["ranks"] == 2 and event["submit"] > 1.7e9 for event in starts)
    assert "4 done" in cluster.client(ROOT / "jobs/status", run.folder.path)


STOPS = {
    # As before the time limit: the script alone is told.
    "usr1": ("scancel", "--batch", "--signal=USR1"),
    # A job that may push others aside: Slurm sends TERM, waits, and requeues.
    "preempted": ("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "true"),
    "requeue": ("scontrol", "requeue"),
}


@pytest.mark.parametrize(
    ("launcher", "stop"), [("srun", "usr1"), ("mpirun", "usr1"), ("srun", "preempted"), ("mpirun", "requeue")]
)
def test_stop_requeue_resume(cluster: Cluster, place: Path, alone: dict[str, Path], launcher: str, stop: str) -> None:
    run = start(cluster, place, "long", f"{stop} {launcher}", launcher)
    run.wait_until_in_work()
    kept = {path: path.stat().st_mtime_ns for path in (run.folder.path / "results.h5.cases").glob("*.h5")}
    assert 0 < len(kept) < 10
    cluster.client(*STOPS[stop], *([run.task] if stop != "preempted" else []))
    assert eventually(lambda: cluster.state(run.task) == "PENDING", 30.0), run.log()
    assert cluster.state(run.finish) == "PENDING", "the merge waits for the requeued job"
    assert run.wait() == "COMPLETED", run.log()
    run.assert_same(alone["long"])
    assert [event["restart"] for event in run.events("start")] == [0, 1]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what was complete was measured again"
    if stop == "usr1":
        assert [event["requeued"] for event in run.events("end")] == [True, False]


def test_cancelled_then_continued(cluster: Cluster, place: Path, alone: dict[str, Path]) -> None:
    run = start(cluster, place, "long", "scancel", "srun")
    run.wait_until_in_work()
    cluster.client("scancel", run.task)
    assert run.wait() == "FAILED", "the merge says that something is missing"
    assert cluster.state(run.task) == "CANCELLED"
    assert asymptop("compare", run.folder.results, alone["long"]).code == 1
    assert "1 failed" in cluster.client(ROOT / "jobs/status", run.folder.path, check=False)
    assert cluster.code == 1
    run.submit("--continue", run.folder.path)
    assert run.wait() == "COMPLETED", run.log()
    run.assert_same(alone["long"])


def test_a_failing_case_does_not_stop_the_others(cluster: Cluster, place: Path, alone: dict[str, Path]) -> None:
    program = place / "fails at n = 100"
    program.write_text(f'#!/bin/sh\ncase " $* " in *" --n 100 "*) kill -KILL $$ ;; esac\nexec {binary()} "$@"\n')
    program.chmod(0o755)

    class Failing(Run):
        pass

    Failing.program = program
    words = ["--site", "srun.env", "--no-report", "--target-time", "0:01", "--max-tries", "1"]
    run = Failing(cluster, place, "short", "failing", *words)
    assert run.wait() == "FAILED"
    text = cluster.client(ROOT / "jobs/status", run.folder.path, check=False)
    assert "3 done" in text
    assert "1 failed" in text
    assert "n = 100" in text
    assert "exit 137" in text
    program.write_text(f'#!/bin/sh\nexec {binary()} "$@"\n')
    assert "twice the memory" in run.submit("--continue", run.folder.path)
    assert run.wait() == "COMPLETED", run.log()
    run.assert_same(alone["short"])


def test_tensors_and_bench(cluster: Cluster, place: Path) -> None:
    """A benchmark is one job."""
    (place / "bench.cfg").write_text("kernel = top-k\nscaling = strong\nn = 4096\nm = 8\nk = 8\nsamples = 3\n")
    run = start(cluster, place, "bench", "bench", "srun", "--command", "bench", "--time", "2:00")
    assert run.wait() == "COMPLETED", run.log()
    assert asymptop("info", run.folder.results).code == 0
    assert "1 done" in cluster.client(ROOT / "jobs/status", run.folder.path)

