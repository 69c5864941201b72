"""Studies on a real Slurm of two nodes, made from nothing: arrays, the merge after them, and every way to end a job.

All runs share one cluster. Each must end with the bytes of an undisturbed study.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
import reframe_runs
import slurm_cluster
from cluster_run import LAUNCHERS, Run, write_case, write_sites
from command_line import ROOT, assert_equal, asymptop, binary, study
from hosts import processes_in
from own_environment import own_environment
from slurm import surrounding
from slurm.run_folder import RunFolder
from slurm_cluster import Cluster

pytestmark = pytest.mark.skipif(
    not binary().is_file(), reason=f"no binary at {binary()}: build it or set ASYMPTOP_BINARY"
)

# Five groups of a second or more each; a stop meets one of them in work, also where four runs share two busy cores.
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
    "64",
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
    "--selectors",
    "score,quest:page=4,random,threshold,snapkv:queries=8",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs live: a bad name, and site files."""
    folder = tmp_path_factory.mktemp("runs") / "a b 'c' $HOME `x` %a ; & *"
    folder.mkdir()
    write_sites(folder)
    write_case(folder / "long.cfg", LONG)
    write_case(folder / "short.cfg", SHORT)
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


def test_clients_know_this_cluster_alone(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a test can touch no job that the tests did not start, also where they are a job of another Slurm."""
    assert cluster.environment["SLURM_CONF"] == str(cluster.folder / "slurm.conf")
    assert cluster.said_of_itself("ClusterName") == cluster.name
    assert cluster.said_of_itself("StateSaveLocation") == str(cluster.folder / "state")
    assert "Invalid job id" in cluster.client("squeue", "-j", "99999", check=False), "as status reads it"
    assert cluster.client("ip", "route", "show", "default") == "", "login reaches hosts alone"
    surroundings = {"SLURM_CONF": "/etc/slurm/slurm.conf", "SLURM_JOB_ID": "1", "SLURM_CLUSTERS": "other"}
    for name, value in (surroundings | {"SBATCH_PARTITION": "other", "PMI_RANK": "1"}).items():
        monkeypatch.setenv(name, value)
    other = Cluster(tmp_path, 1)
    assert other.name != cluster.name
    assert {name for name in other.environment if surrounding.OF_A_JOB.match(name)} == {"SLURM_CONF"}
    assert other.environment["SLURM_CONF"] == str(tmp_path / "slurm.conf")
    assert own_environment().keys().isdisjoint({*surroundings, "SBATCH_PARTITION", "PMI_RANK"})


def test_srun_leaves_no_trace(cluster: Cluster) -> None:
    """All that a step of Slurm is told."""
    text = cluster.client("srun", "--mpi=pmix", "--nodes=1", "--ntasks=1", "--cpu-bind=verbose", "env", "-0")
    inside = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
    assert {"SLURM_JOB_ID", "SLURM_PROCID", "PMIX_RANK"} <= inside.keys()
    left = set(surrounding.without(inside)) - set(cluster.environment)
    assert left <= {"_", "SHLVL", "TMPDIR", "HFI_NO_BACKTRACE", "IPATH_NO_BACKTRACE"}


def test_within_a_job(cluster: Cluster, place: Path, alone: dict[str, Path]) -> None:
    """In a step of one of two tasks, with PMIx: tasks on its node, then jobs of their own. It goes on undisturbed.
    Threads are bound to cores, as on clusters."""
    submit = [str(ROOT / "jobs/submit"), "short.cfg", "--binary", str(binary()), "--no-report", "--submit"]
    script = [
        "export OMP_PROC_BIND=true OMP_PLACES=cores",
        f"{shlex.join([*submit, '--site', 'local', '-o', 'within local'])} || exit 1",
        f"{shlex.join([*submit, '--site', 'srun.env', '-o', 'within srun', '--nodes', '1', '--cpus-per-task', '1'])}",
    ]
    step = ["srun", "--mpi=pmix", "--ntasks=1", "bash", "-c", "\n".join(script)]
    options = ["--parsable", "--nodes=1", "--ntasks=2", "--cpus-per-task=2", f"--output={cluster.folder}/within.log"]
    outer = cluster.client("sbatch", *options, "--wrap", shlex.join(step), cwd=place).strip()
    assert cluster.wait(outer, 120.0) == "COMPLETED", (cluster.folder / "within.log").read_text()
    assert cluster.field(outer, "Restarts") == "0"
    assert_equal(place / "within local/results.h5", alone["short"])
    submission = RunFolder(place / "within srun").read()["submissions"][0]
    finish = submission["finish"]
    assert outer not in (finish, *submission["arrays"].values())
    assert cluster.wait(finish, 120.0) == "COMPLETED"
    assert_equal(place / "within srun/results.h5", alone["short"])


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_sweep(cluster: Cluster, place: Path, alone: dict[str, Path], launcher: str) -> None:
    """A task per n, on both nodes, in an array that is throttled; then the merge."""
    run = Run(cluster, place, "short", f"sweep \\ {launcher}", "--site", f"{launcher}.env", "--target-time", "0:01")
    assert run.wait() == "COMPLETED", run.log()
    assert run.difference(alone["short"]) == ""
    starts = run.events("start")
    assert len(starts) == 4, run.log()
    assert {event["node_list"] for event in starts} == {"h[1-2]"}
    assert all(event["ranks"] == 2 and 1.7e9 < event["submit"] <= event["start"] for event in starts)
    assert "4 done" in run.status()


STOPS = {
    # As before the time limit: the script alone is told.
    "usr1": ("scancel", "--batch", "--signal=USR1"),
    "requeue": ("scontrol", "requeue"),
    "scancel": ("scancel",),
    # A job that may push others aside: Slurm sends TERM, waits, and requeues.
    "preempted": ("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "true"),
}
FIRST_CASES = ("n2048-d32-sigma1.h5", "n2048-d32-sigma2.h5")


class Stopped:
    """A run that was stopped in its second group of cases, and what came of it."""

    def __init__(self, cluster: Cluster, place: Path, launcher: str, stop: str) -> None:
        self.run = Run(cluster, place, "long", f"{stop} {launcher}", "--site", f"{launcher}.env")
        self._stop = stop
        self.ends: dict[str, str] = {}

    def in_second_group(self) -> bool:
        return (self.run.cases / FIRST_CASES[-1]).exists()

    def hit(self) -> None:
        self.run.wait_for_case(FIRST_CASES[-1])
        self.kept = self.times()
        assert len(list(self.run.cases.glob("*.h5"))) < 10
        self.run.cluster.client(*STOPS[self._stop], *([self.run.task] if self._stop != "preempted" else []))

    def times(self) -> list[int]:
        return [(self.run.cases / name).stat().st_mtime_ns for name in FIRST_CASES]


@pytest.fixture(scope="module")
def stopped(cluster: Cluster, place: Path) -> dict[tuple[str, str], Stopped]:
    """Four runs at once, each stopped in its own way, then gone on with."""
    kinds = [("srun", "usr1"), ("mpirun", "usr1"), ("mpirun", "requeue"), ("srun", "scancel")]
    runs = {kind: Stopped(cluster, place, *kind) for kind in kinds}
    waiting = list(runs.values())
    while waiting:
        one = next((one for one in waiting if one.in_second_group()), waiting[0])
        one.hit()
        waiting.remove(one)
    ends = cluster.wait_for([job for one in runs.values() for job in one.run.jobs], 120.0)
    for one in runs.values():
        one.ends = {job: ends[job] for job in one.run.jobs}
    return runs


def assert_requeued(one: Stopped, alone: Path) -> None:
    """It went on with what was there, and the merge waited for it."""
    assert set(one.ends.values()) == {"COMPLETED"}, one.run.log()
    assert one.run.difference(alone) == ""
    assert [event["restart"] for event in one.run.events("start")] == [0, 1]
    assert one.times() == one.kept, "what was complete was measured again"


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_stop_before_the_limit(stopped: dict[tuple[str, str], Stopped], alone: dict[str, Path], launcher: str) -> None:
    one = stopped[launcher, "usr1"]
    assert_requeued(one, alone["long"])
    assert [event["requeued"] for event in one.run.events("end")] == [True, False]
    assert one.run.events("signal")[0]["signal"] == "USR1"


def test_requeued_by_hand(stopped: dict[tuple[str, str], Stopped], alone: dict[str, Path]) -> None:
    assert_requeued(stopped["mpirun", "requeue"], alone["long"])


def test_cancelled_then_continued(stopped: dict[tuple[str, str], Stopped], alone: dict[str, Path]) -> None:
    one = stopped["srun", "scancel"]
    run = one.run
    assert one.ends == {run.task: "CANCELLED", run.finish: "FAILED"}, "the last job says that something is missing"
    assert asymptop("compare", run.folder.results, alone["long"]).code == 1
    assert "1 failed" in run.status()
    assert run.cluster.code == 1
    run.submit_again()
    assert run.wait() == "COMPLETED", run.log()
    assert run.difference(alone["long"]) == ""
    assert one.times() == one.kept


def test_preempted(cluster: Cluster, place: Path, alone: dict[str, Path]) -> None:
    one = Stopped(cluster, place, "srun", "preempted")
    one.hit()
    one.ends = cluster.wait_for(one.run.jobs, 120.0)
    assert_requeued(one, alone["long"])


def test_a_failing_case_does_not_stop_the_others(cluster: Cluster, place: Path, alone: dict[str, Path]) -> None:
    """Each failing task is tried once more: one that died by chance is whole then, this one is not."""
    program = place / "fails at n = 100"
    program.write_text(f'#!/bin/sh\ncase " $* " in *" --n 100 "*) kill -KILL $$ ;; esac\nexec {binary()} "$@"\n')
    program.chmod(0o755)
    words = ["--site", "srun.env", "--target-time", "0:01"]
    run = Run(cluster, place, "short", "failing", *words, program=program)
    assert run.wait() == "FAILED"
    text = run.status()
    assert "3 done" in text
    assert "1 failed" in text
    assert "n = 100" in text
    assert "exit 137" in text
    program.write_text(f'#!/bin/sh\nexec {binary()} "$@"\n')
    assert [event["restart"] for event in run.events("start")].count(1) == 1
    assert "twice the memory" in run.submit_again()
    assert run.wait() == "COMPLETED", run.log()
    assert run.difference(alone["short"]) == ""


def test_ranks_leave_the_start_together(cluster: Cluster, place: Path) -> None:
    """MPI_Init ends in a fence. Where that is none between nodes, the rank of a busy one gets messages too early."""
    program = place / "fence, then study"
    fence = shlex.join([sys.executable, str(ROOT / "tests/jobs/pmix_fence.py"), "2", str(program.parent)])
    program.write_text(f'#!/bin/sh\ncase " $* " in *" --dry-run "*) exec {binary()} "$@" ;; esac\n{fence}\n')
    program.chmod(0o755)
    Run(cluster, place, "short", "fenced", "--site", "srun.env", "--max-tries", "1", program=program).wait()
    seconds = [float((place / f"fence-{rank}").read_text()) for rank in range(2)]
    assert seconds[0] < 1.0 < seconds[1], seconds


def test_other_commands_are_one_job(cluster: Cluster, place: Path) -> None:
    write_case(place / "rows.cfg", ["--n", "2^10,2^40", "--k", "8", "--rows", "2", "--draws", "2"])
    run = Run(cluster, place, "rows", "rows", "--site", "srun.env", "--command", "simulate", "--time", "2:00")
    assert run.wait() == "COMPLETED", run.log()
    assert asymptop("info", run.folder.results).code == 0
    assert "1 done" in run.status()


@pytest.mark.skipif(bool(reframe_runs.why_not()), reason=reframe_runs.why_not())
def test_reframe_in_a_job(cluster: Cluster, tmp_path: Path) -> None:
    """The study of jobs/reframe on two ranks that srun starts."""
    words = ["-n", "Study", "-S", "num_tasks=2", "-S", "num_tasks_per_node=1"]
    text = cluster.client(*reframe_runs.reframe(tmp_path, "asymptop:slurm", binary(), *words), cwd=tmp_path)
    (case,) = json.loads((tmp_path / "report.json").read_text())["runs"][0]["testcases"]
    assert case["result"] == "pass", text
    (kept,) = (tmp_path / "reframe" / "output").rglob("study.h5")
    with h5py.File(kept) as file:
        assert file.attrs["ranks"] == 2
        assert len(set(file.attrs["host_names"].split(","))) == 2
    assert any(name.endswith(":pass_rate") for name in case["perfvalues"])
