"""Studies on a real Slurm of three nodes, ended in every way at random times: the same bytes as an undisturbed one?

    build/venv/bin/python tests/soak/slurm_soak.py --count 30 --seed 1

A trial is a study on two nodes that is hit one to three times; what is lost in the end is submitted again with
--continue. Not part of tests/run.sh: thirty trials take a quarter of an hour. Prints a line per trial and a tally;
exit 1 when any trial fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("jobs", "tests/support", "tests/app", "tests/jobs")]

import slurm_cluster  # noqa: E402
from cluster_run import LAUNCHERS, Run, write_case, write_sites  # noqa: E402
from command_line import study  # noqa: E402
from hosts import eventually, processes_in  # noqa: E402
from slurm_cluster import ENDED, Cluster  # noqa: E402

STUDY = [
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
    "72",
    "--block",
    "256",
]
# Minutes are the least that a time limit can be: a study that takes longer than one.
LONG_STUDY = ["150" if word == "72" else word for word in STUDY]
LIMITS = {"time limit, warned": "45", "time limit, not warned": "1"}
# Of an attempt, seconds after its start within which it is hit.
HIT_WITHIN = 8.0


def nodes_of(run: Run) -> list[str]:
    """The nodes of the running job, the one of its script first."""
    text = run.cluster.client("scontrol", "show", "hostnames", run.cluster.field(run.task, "NodeList"), check=False)
    return text.split()


def signal_before_limit(run: Run) -> None:
    run.cluster.client("scancel", "--batch", "--signal=USR1", run.task, check=False)


def preempt(run: Run) -> None:
    words = ["--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1"]
    run.cluster.client("sbatch", *words)


def cancel(run: Run) -> None:
    run.cluster.client("scancel", run.task, check=False)


def requeue(run: Run) -> None:
    run.cluster.client("scontrol", "requeue", run.task, check=False)


def kill_a_rank(run: Run) -> None:
    """As the kernel does when memory is out."""
    hosts = run.cluster.hosts
    ranks = [process for host in hosts.names for process in hosts.processes(host, "asymptop")]
    if ranks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(random.choice(ranks), signal.SIGKILL)


def fail_node(run: Run, first: bool) -> None:
    """A node loses power and comes back when Slurm has noticed."""
    cluster = run.cluster
    nodes = nodes_of(run)
    if len(nodes) != 2:
        return
    host = nodes[0] if first else nodes[1]
    own = cluster.hosts._own
    for process in processes_in([cluster.hosts.networks[host]]):
        if process not in own:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    eventually(lambda: "down" in cluster.nodes().get(host, ""), 40.0)
    cluster.on(host, "sh", "-c", "rm -rf /run/spmix* /run/ompi* /run/slurmd /dev/shm/*")
    cluster.start_slurmd(host)


def cut_node(run: Run) -> None:
    """The second node is off the networks for a while; its rank lives on while the job runs elsewhere."""
    cluster = run.cluster
    nodes = nodes_of(run)
    if len(nodes) != 2:
        return
    host = nodes[1]
    cluster.hosts.cut(host, "control", "data")
    eventually(lambda: "down" in cluster.nodes().get(host, ""), 40.0)
    time.sleep(random.random() * 5.0)
    for port in ("c", "d"):
        cluster.hosts.run("login", "ip", "link", "set", f"{port}{host[1:]}", "up")


HITS: dict[str, Callable[[Run], None]] = {
    "USR1": signal_before_limit,
    "preemption": preempt,
    "scancel": cancel,
    "requeue": requeue,
    "rank killed": kill_a_rank,
    "node lost": lambda run: fail_node(run, first=False),
    "batch node lost": lambda run: fail_node(run, first=True),
    "node cut off": cut_node,
}


def hit(run: Run, kind: str, delay: float) -> bool:
    """Waits until the job runs, and so long; whether it was still running then."""
    cluster = run.cluster
    deadline = time.monotonic() + 90.0
    waits = 0.0
    while (state := cluster.state(run.task)) != "RUNNING":
        if state in ENDED or time.monotonic() > deadline:
            return False
        if cluster.field(run.task, "Reason") == "BeginTime":
            waits = waits or time.monotonic()
            if time.monotonic() > waits + 4.0:
                cluster.start_now(run.task)
        time.sleep(0.1)
    time.sleep(delay)
    if cluster.state(run.task) != "RUNNING":
        return False
    HITS[kind](run)
    return True


def trial(cluster: Cluster, place: Path, number: int, rng: random.Random, alone: Path, tally: Counter[str]) -> str:
    """What went wrong; empty when all is well."""
    launcher = rng.choice(sorted(LAUNCHERS))
    if number % 15 >= 13:
        return limit_trial(cluster, place, number, launcher, alone.with_name("long-alone.h5"), tally)
    # Every kind comes first in turn.
    kinds = [list(HITS)[number % len(HITS)], *(rng.choice(list(HITS)) for _ in range(rng.randint(0, 2)))]
    name = f"trial {number}"
    run = Run(cluster, place, "study", name, "--site", f"{launcher}.env", "--max-tries", "20")
    done = []
    for kind in kinds:
        delay = rng.random() * HIT_WITHIN
        if hit(run, kind, delay):
            tally[kind] += 1
            done.append(f"{kind} at {delay:.1f} s")
    return see_through(run, alone, f"{name}, {launcher}: {', '.join(done) or 'not hit'}", tally)


def limit_trial(cluster: Cluster, place: Path, number: int, launcher: str, alone: Path, tally: Counter[str]) -> str:
    """A time limit that Slurm itself keeps, with a warning before it and without."""
    kind = list(LIMITS)[number % 15 - 13]
    words = ["--site", f"{launcher}.env", "--time", "1", "--signal-seconds", LIMITS[kind]]
    run = Run(cluster, place, "long", f"trial {number}", *words)
    tally[kind] += 1
    return see_through(run, alone, f"trial {number}, {launcher}: {kind}", tally)


def see_through(run: Run, alone: Path, said: str, tally: Counter[str]) -> str:
    """To the end, submitting what is lost; what went wrong."""
    continued = 0
    while (state := run.wait(400.0)) != "COMPLETED" and continued < 5:
        if "nothing is left" in run.submit_again():
            break
        continued += 1
        tally["continued"] += 1
    difference = run.difference(alone)
    said += f"; continued {continued} times; attempts {len(run.events('start'))}"
    print(f"{said}: {'equal' if not difference else 'FAILED'}", flush=True)
    return "" if not difference else f"{said}\n{state}\n{difference}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Random ends of jobs on a real Slurm.")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first trial: parts of a soak may run at once"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if reason := slurm_cluster.why_not():
        print(f"cannot be run here: {reason}")
        return 2
    tally: Counter[str] = Counter()
    failures = []
    begin = time.monotonic()
    random.seed(f"{options.seed} {options.first}")
    with tempfile.TemporaryDirectory(prefix="asymptop-soak-") as name:
        place = Path(name)
        (place / "slurm").mkdir(mode=0o700)
        write_sites(place)
        write_case(place / "study.cfg", STUDY)
        write_case(place / "long.cfg", LONG_STUDY)
        alone = study(place / "alone.h5", ["--config", place / "study.cfg"])
        if any(number % 15 >= 13 for number in range(options.first, options.first + options.count)):
            study(place / "long-alone.h5", ["--config", place / "long.cfg"])
        with Cluster(place / "slurm", 3) as cluster:
            networks = list(cluster.hosts.networks.values())
            for number in range(options.first, options.first + options.count):
                rng = random.Random(f"{options.seed} {number}")
                if trouble := trial(cluster, place, number, rng, alone, tally):
                    failures.append(trouble)
                    print(trouble, flush=True)
                eventually(lambda: set(cluster.nodes().values()) == {"idle"}, 60.0)
        left = processes_in(networks)
    equal = options.count - len(failures)
    print(f"{equal} of {options.count} equal, seed {options.seed}, {time.monotonic() - begin:.0f} s")
    print("hits: " + ", ".join(f"{kind} {count}" for kind, count in sorted(tally.items())))
    print(f"processes left: {len(left)}")
    return 1 if failures or left else 0


if __name__ == "__main__":
    sys.exit(main())
