"""What a job is asked to have, from the site and the options; sbatch's words and the launcher's."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

from . import scheduler, surrounding
from .errors import JobsError
from .packing import Array, Limits
from .program import REPOSITORY, Node
from .run_folder import RunFolder, shell_assignments
from .sites import Site, parse_bytes, parse_count, parse_seconds


@dataclass(frozen=True)
class Request:
    """What is asked for, after site and options."""

    site: Site
    node: Node
    cores: int
    node_bytes: int | None
    limits: Limits
    array_limit: int | None
    max_tries: int
    signal_seconds: int
    time: int | None
    memory: int | None


def node_of(site: Site, options: argparse.Namespace) -> tuple[Node, int, int | None]:
    """What a job gets of a node; the node's cores and memory."""
    cores, memory = site.cores_per_node, site.memory_per_node
    if site.scheduler == "none":
        cores, memory = cores or surrounding.cores(os.environ), memory or surrounding.memory_bytes(os.environ)
    elif cores is None or memory is None:
        found = scheduler.smallest_node(site.partition)
        if cores is None and found is None:
            raise JobsError(f"site '{site.name}' needs CORES_PER_NODE: sinfo does not tell it here")
        if found is not None:
            # Slurm's default of 1 MB says that nobody configured it.
            cores, memory = cores or found[0], memory or (found[1] if found[1] > 2**20 else None)
    assert cores is not None
    ranks = parse_count("--ntasks-per-node", options.ntasks_per_node) if options.ntasks_per_node else None
    ranks = ranks or site.ranks_per_node or site.gpus_per_node or 1
    threads = parse_count("--cpus-per-task", options.cpus_per_task) if options.cpus_per_task else max(1, cores // ranks)
    usable = parse_bytes("--mem", options.mem) if options.mem else memory
    return Node(ranks, threads, usable), cores, memory


def request_of(site: Site, options: argparse.Namespace) -> Request:
    node, cores, node_bytes = node_of(site, options)
    try:
        safety = float(options.safety)
    except ValueError:
        safety = 0.0
    if not 1.0 <= safety <= 1000.0:
        raise JobsError(f"--safety is '{options.safety}', allowed is a number from 1 to 1000")
    size = (
        parse_count("--max-array-size", options.max_array_size, low=2)
        if options.max_array_size
        else site.max_array_size
    )
    limit = parse_count("--array-limit", options.array_limit) if options.array_limit else site.array_limit
    limits = Limits(
        safety=safety,
        target_seconds=parse_seconds("--target-time", options.target_time),
        warning_seconds=parse_count("--signal-seconds", options.signal_seconds, high=65535) + 30.0,
        max_seconds=site.max_time,
        max_array_size=size or (scheduler.max_array_size() if site.scheduler == "slurm" else None) or 1001,
    )
    return Request(
        site=site,
        node=node,
        cores=cores,
        node_bytes=node_bytes,
        limits=limits,
        array_limit=limit,
        max_tries=parse_count("--max-tries", options.max_tries),
        signal_seconds=parse_count("--signal-seconds", options.signal_seconds, high=65535),
        time=parse_seconds("--time", options.time) if options.time else None,
        memory=parse_bytes("--mem", options.mem) if options.mem else None,
    )


def node_counts(site: Site, options: argparse.Namespace) -> list[int]:
    """Doubling up to the most."""
    if options.nodes:
        return [parse_count("--nodes", options.nodes)]
    most = parse_count("--max-nodes", options.max_nodes) if options.max_nodes else site.max_nodes or 1
    counts = [1]
    while counts[-1] * 2 <= most:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == most else [*counts, most]


def launch_words(request: Request, nodes: int) -> list[str]:
    """What stands before the program."""
    site, node = request.site, request.node
    ranks = nodes * node.ranks
    numbers = {"nodes": nodes, "ranks": ranks, "ranks_per_node": node.ranks, "threads": node.threads}
    if site.launcher == "srun":
        options = site.launcher_options if site.launcher_options is not None else ("--mpi=pmix", "--cpu-bind=verbose")
        fixed = ["srun", "--kill-on-bad-exit=1", f"--nodes={nodes}", f"--ntasks={ranks}"]
        if site.gpu_bind:
            fixed.append(f"--gpu-bind={site.gpu_bind}")
    else:
        options = site.launcher_options if site.launcher_options is not None else ("--report-bindings",)
        fixed = ["mpirun", "-n", str(ranks)]
    words = []
    for option in options:
        try:
            words.append(option.format_map(numbers))
        except (KeyError, ValueError, IndexError) as error:
            raise JobsError(f"LAUNCHER_OPTIONS has '{option}'; in braces are allowed {', '.join(numbers)}") from error
    return [*fixed, *words]


def request_script(request: Request, nodes: int, command: str) -> str:
    over = request.node.ranks * request.node.threads > request.cores
    yield_cores = int(over or request.site.scheduler == "none")
    return (
        shell_assignments(
            {
                "launch": launch_words(request, nodes),
                "command": command,
                "ranks": str(nodes * request.node.ranks),
                "ranks_per_node": str(request.node.ranks),
                "threads": str(request.node.threads),
                "max_tries": str(request.max_tries),
            }
        )
        # Waiting ranks keep their cores where they have them to themselves.
        + f'export OMPI_MCA_mpi_yield_when_idle="${{OMPI_MCA_mpi_yield_when_idle:-{yield_cores}}}"\n'
    )


def common_options(request: Request, name: str, run: RunFolder) -> list[str]:
    site = request.site
    pairs = [
        ("account", site.account),
        ("partition", site.partition),
        ("qos", site.qos),
        ("constraint", site.constraint),
    ]
    words = ["sbatch", "--parsable", f"--job-name={name}", *(f"--{key}={value}" for key, value in pairs if value)]
    return [*words, f"--chdir={run.path}", "--open-mode=append"]


def log_name(run: RunFolder, pattern: str) -> str:
    """Slurm reads % in names; behind a backslash it reads nothing: then the scripts open their logs themselves."""
    folder = str(run.path / "logs")
    return "/dev/null" if "\\" in folder else f"{folder.replace('%', '%%')}/{pattern}"


def minutes_asked(array: Array, request: Request) -> int:
    return -(-request.time // 60) if request.time else array.minutes


def sbatch_words(array: Array, request: Request, run: RunFolder, job_name: str) -> list[str]:
    node, site = request.node, request.site
    limit = f"%{request.array_limit}" if request.array_limit and request.array_limit < len(array.tasks) else ""
    minutes = minutes_asked(array, request)
    words = [
        *common_options(request, f"{job_name}-{array.name}", run),
        f"--array=0-{len(array.tasks) - 1}{limit}",
        f"--nodes={array.nodes}",
        f"--ntasks={array.nodes * node.ranks}",
        f"--ntasks-per-node={node.ranks}",
        f"--cpus-per-task={node.threads}",
        f"--time={minutes}",
        f"--signal=B:USR1@{min(request.signal_seconds, 60 * minutes - 1)}",
        "--requeue",
        f"--output={log_name(run, '%A_%a.log')}",
    ]
    memory = request.memory
    if memory is None and request.node_bytes is not None:
        memory = min(int(array.bytes_per_rank * node.ranks), request.node_bytes)
    if memory is not None:
        words.append(f"--mem={-(-memory // 2**20)}M")
    if site.gpus_per_node:
        words.append(f"--gpus-per-node={site.gpus_per_node}")
    return [
        *words,
        *site.sbatch_options,
        str(REPOSITORY / "jobs/slurm/task.sh"),
        str(run.path),
        str(run.path / "tasks" / array.name),
    ]


def finish_words(request: Request, run: RunFolder, job_name: str, jobs: Sequence[str]) -> list[str]:
    words = [
        *common_options(request, f"{job_name}-finish", run),
        f"--dependency=afterany:{':'.join(jobs)}",
        "--nodes=1",
        "--ntasks=1",
        "--time=60",
        "--requeue",
        f"--output={log_name(run, 'finish-%j.log')}",
    ]
    return [*words, str(REPOSITORY / "jobs/slurm/finish.sh"), str(run.path)]
