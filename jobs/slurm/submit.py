"""jobs/submit: a case becomes job arrays and the job that merges and reports; --submit hands them to Slurm."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import scheduler, surrounding
from .command import require_output
from .errors import JobsError
from .packing import Array, Unit, make_arrays, make_tasks, make_units
from .program import REPOSITORY, Study, find_program, place
from .request import Request, finish_words, minutes_asked, node_counts, request_of, request_script, sbatch_words
from .run_folder import VERSION, RunFolder, array_record, shell_assignments, unit_of, unit_record, write_script
from .sites import Site, home_opened, parse_count, read_site, user_path
from .status import units_left

MEMORY_MARGIN = 1.25
# Of the options after `--`, those that belong to these scripts.
OWN = (
    "-o",
    "--output",
    "--force",
    "--resume",
    "--json",
    "--dry-run",
    "--machine",
    "--case-files-only",
    "--config",
    "--threads",
)
SPLIT = ("--n", "--d", "--heads", "--keys")
# Named anew: jobs are given its full path.
INPUT = "--input"
OTHER_COMMANDS = ("bench", "attend", "simulate")


def parser() -> argparse.ArgumentParser:
    text = argparse.ArgumentParser(
        prog="jobs/submit",
        usage="jobs/submit CASE.cfg --site NAME [options] [--submit] [-- STUDY OPTIONS]\n"
        "       jobs/submit --continue RUN [--submit]",
        description="Turns a study into job arrays sized by its plan. Prints what it would submit; --submit does it.",
    )
    text.add_argument(
        "case", nargs="?", type=user_path, metavar="CASE.cfg", help="options of `asymptop study`, as in jobs/cases"
    )
    text.add_argument("--site", metavar="NAME", help="of jobs/sites, or the path of such a file")
    text.add_argument(
        "-o",
        "--output",
        type=user_path,
        metavar="RUN",
        help="the run's folder [SCRATCH or output/, and the case's name]",
    )
    text.add_argument("--submit", action="store_true", help="submit, instead of saying what would be submitted")
    text.add_argument(
        "--continue", dest="again", type=user_path, metavar="RUN", help="submit what a run has left, failed or lost"
    )
    text.add_argument(
        "--command", default="study", choices=("study", *OTHER_COMMANDS), help="others run as one job [%(default)s]"
    )
    size = text.add_argument_group("size (each computed from the plan and the site unless given)")
    size.add_argument("--nodes", metavar="N", help="of every job")
    size.add_argument("--max-nodes", metavar="N", help="of any job [MAX_NODES, else 1]")
    size.add_argument("--ntasks-per-node", metavar="R", help="ranks [RANKS_PER_NODE, else 1]")
    size.add_argument("--cpus-per-task", metavar="T", help="threads of a rank [cores of a node / ranks]")
    size.add_argument("--mem", metavar="SIZE", help="memory per node, as 64G")
    size.add_argument("--time", metavar="TIME", help="limit of every job, as 2:00:00")
    size.add_argument(
        "--target-time", default="1:00:00", metavar="TIME", help="pack cases into jobs of about this [%(default)s]"
    )
    size.add_argument("--safety", default="3", metavar="X", help="time asked for over the plan's [%(default)s]")
    more = text.add_argument_group("jobs")
    more.add_argument("--array-limit", metavar="K", help="run at most K tasks of an array at once (%%K) [ARRAY_LIMIT]")
    more.add_argument("--max-array-size", metavar="N", help="[MAX_ARRAY_SIZE, else the cluster's own]")
    more.add_argument(
        "--max-tries", default="10", metavar="N", help="attempts of a task, requeued by itself [%(default)s]"
    )
    more.add_argument(
        "--signal-seconds", default="120", metavar="S", help="warning before the time limit [%(default)s]"
    )
    more.add_argument("--binary", default="", metavar="FILE", help="[BINARY, else build/release/asymptop]")
    more.add_argument("--no-report", action="store_true", help="the last job merges and does not report")
    text.error = lambda message: text.exit(2, f"jobs/submit: {message}\n")  # type: ignore[method-assign]
    return text


@dataclass(frozen=True)
class Words:
    """The options of the study after `--`: those that every unit has, and those that each has of its own."""

    common: tuple[str, ...]
    split: tuple[str, ...]
    input: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.common, *self.split, *self.input)


def study_words(given: Sequence[str]) -> Words:
    common: list[str] = []
    split: list[str] = []
    tensors: list[str] = []
    words = list(given)
    while words:
        word = words.pop(0)
        name = word.split("=", 1)[0]
        if name in OWN:
            raise JobsError(f"'{name}' belongs to jobs/submit, not after --; see jobs/submit --help")
        target = split if name in SPLIT else tensors if name == INPUT else common
        target.append(word)
        if "=" not in word and words and not words[0].startswith("-"):
            target.append(words.pop(0))
    return Words(tuple(common), tuple(split), tuple(tensors))


def time_text(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d}:00"


def show(arrays: Sequence[Array], request: Request, units: Sequence[Unit], run: RunFolder) -> None:
    cases = sum(len(unit.cases) for unit in units)
    seconds = sum(unit.seconds for unit in units)
    print(f"{cases} case(s) in {len(units)} unit(s), by the plan {seconds:.3g} s in all. Run: {run.path}")
    print(
        f"{'array':<8} {'tasks':>6} {'units':>6} {'nodes':>6} {'ranks/node':>10} {'threads':>8} "
        f"{'memory/node':>12} {'time':>9}  n"
    )
    for array in arrays:
        members = [unit for task in array.tasks for unit in task.units]
        n = sorted({n for unit in members for n in unit.n}) or ["-"]
        memory = request.memory or min(array.bytes_per_rank * request.node.ranks, request.node_bytes or float("inf"))
        minutes = minutes_asked(array, request)
        sizes = f"{n[0]}" if len(n) == 1 else f"{n[0]}..{n[-1]}"
        print(
            f"{array.name:<8} {len(array.tasks):>6} {len(members):>6} {array.nodes:>6} {request.node.ranks:>10} "
            f"{request.node.threads:>8} {memory / 1e9:>9.2f} GB {time_text(minutes):>9}  {sizes}"
        )


def write_run(run: RunFolder, case: Path, manifest: dict, site: Site) -> None:
    """What every job of the run reads."""
    shutil.copyfile(case, run.path / "case.cfg")
    values: dict[str, str | Sequence[str]] = {
        "repository": str(REPOSITORY),
        "binary": manifest["binary"],
        "folder": manifest["folder"],
        "modules": site.modules,
        "hdf5_file_locking": site.hdf5_file_locking,
    }
    write_script(run.path / "site.sh", shell_assignments(values))
    own = ["--threads", str(manifest["node"]["threads"]), "--output", str(run.results)]
    own += ["--resume", "--case-files-only"] if manifest["command"] == "study" else ["--force"]
    words = b"".join(os.fsencode(word) + b"\0" for word in [*manifest["words"], *own])
    (run.path / "study.args").write_bytes(words)


def run_locally(arrays: Sequence[Array], run: RunFolder) -> int:
    """Every task here, one after another, then the merge. A stop ends it; --continue goes on.

    The job that this may be typed in is not theirs: they know nothing of it.
    """
    environment = surrounding.without(os.environ)
    for array in arrays:
        for index in range(len(array.tasks)):
            words = [
                str(REPOSITORY / "jobs/slurm/task.sh"),
                str(run.path),
                str(run.path / "tasks" / array.name),
                str(index),
            ]
            if subprocess.run(words, env=environment).returncode == 75:
                return 75
    return subprocess.run([str(REPOSITORY / "jobs/finish"), str(run.path)], env=environment).returncode


def submit_arrays(arrays: Sequence[Array], request: Request, run: RunFolder, manifest: dict, job_name: str) -> int:
    """Writes the tasks, submits, and notes each job as soon as Slurm has it."""
    command = manifest["command"]
    for array in arrays:
        run.write_tasks(array, request_script(request, array.nodes, command))
    submission: dict = {"time": int(time.time()), "arrays": {}, "finish": None}
    manifest["arrays"] += [array_record(array) for array in arrays]
    manifest["submissions"].append(submission)
    run.write(manifest)
    if request.site.scheduler == "none":
        return run_locally(arrays, run)
    if withheld := surrounding.withheld(os.environ):
        names = ", ".join(withheld)
        print(f"note: within a job sbatch is not handed {names}; the site file can ask for the same", file=sys.stderr)
    for array in arrays:
        submission["arrays"][array.name] = scheduler.submit(sbatch_words(array, request, run, job_name))
        run.write(manifest)
        print(f"submitted {array.name} as job {submission['arrays'][array.name]}")
    submission["finish"] = scheduler.submit(finish_words(request, run, job_name, list(submission["arrays"].values())))
    run.write(manifest)
    print(f"submitted merge and report as job {submission['finish']}")
    print(f"jobs/status {shlex.quote(str(run.path))} shows how it goes")
    return 0


def job_name_of(run: RunFolder) -> str:
    return re.sub(r"[^\w.-]+", "-", run.path.name, flags=re.ASCII).strip("-.") or "asymptop"


def one_job(request: Request, options: argparse.Namespace) -> tuple[list[Unit], list[Array]]:
    """A command that is not split: nodes and time as asked for."""
    nodes = parse_count("--nodes", options.nodes or "1")
    unit = Unit("u0001", (), 0, (), nodes, 0.0, 0.0, ())
    whole_node = (request.node_bytes or 0) / request.node.ranks
    return [unit], [Array("r1-a01", nodes, 60, whole_node, tuple(make_tasks([unit], request.limits)))]


def default_run(case: Path, site: Site) -> Path:
    if "$" in site.scratch:
        raise JobsError(
            f"site '{site.name}' has SCRATCH '{site.scratch}', which names a variable that is not set; give --output"
        )
    return Path(site.scratch or REPOSITORY / "output") / case.stem


def new_run(options: argparse.Namespace, site: Site) -> RunFolder:
    if not options.case.is_file():
        raise JobsError(f"'{options.case}' is no file; cases are in jobs/cases")
    run = RunFolder(Path(os.path.abspath(options.output or default_run(options.case, site))))
    if run.exists():
        again = f"--continue {shlex.quote(str(run.path))} goes on with it"
        raise JobsError(f"--output is '{run.path}', which holds a run already; {again}")
    if "\n" in str(run.path):
        raise JobsError("--output has a line break in its name")
    return run


def show_commands(arrays: Sequence[Array], request: Request, run: RunFolder) -> None:
    if request.site.scheduler == "slurm":
        for array in arrays:
            print(shlex.join(sbatch_words(array, request, run, job_name_of(run))))
        print(shlex.join(finish_words(request, run, job_name_of(run), ["JOBS"])))
    print("nothing was submitted; --submit does it")


def submit_new(options: argparse.Namespace, given: Sequence[str]) -> int:
    if options.case is None or options.site is None:
        raise JobsError("jobs/submit needs a case and --site: jobs/submit CASE.cfg --site NAME; see --help")
    site = read_site(options.site)
    words = study_words(given)
    request = request_of(site, options)
    binary = find_program(home_opened("--binary", options.binary), site.binary)
    run = new_run(options, site)
    folder = Path.cwd()
    if options.command == "study":
        study = Study(binary, ("--config", os.path.abspath(options.case), *words.all), folder)
        units, tensors = planned_units(study, request, node_counts(site, options))
        arrays = make_arrays(make_tasks(units, request.limits), request.limits, MEMORY_MARGIN, "r1-")
        in_jobs = [*words.common, *(("--input", os.path.abspath(home_opened("--input", tensors))) if tensors else ())]
    else:
        units, arrays = one_job(request, options)
        in_jobs = list(words.all)
    show(arrays, request, units, run)
    if not options.submit:
        show_commands(arrays, request, run)
        return 0
    require_output()
    run.make()
    manifest = {
        "version": VERSION,
        "command": options.command,
        "case": str(options.case),
        "site": options.site,
        "report": not options.no_report,
        "words": [options.command, "--config", str(run.path / "case.cfg"), *in_jobs],
        "split": list(words.split),
        "folder": str(folder),
        "binary": str(binary),
        "options": {name: value for name, value in vars(options).items() if isinstance(value, str)},
        "node": asdict(request.node),
        "safety": request.limits.safety,
        "units": [unit_record(unit) for unit in units],
        "arrays": [],
        "submissions": [],
    }
    write_run(run, options.case, manifest, site)
    return submit_arrays(arrays, request, run, manifest, job_name_of(run))


def planned_units(study: Study, request: Request, counts: Sequence[int]) -> tuple[list[Unit], str]:
    """The units, each on the fewest nodes that do; and the tensor file's name, if any."""
    # One group of ranks: what a unit of one head takes.
    alone = () if any(word.split("=")[0] == "--groups" for word in study.words) else ("--groups", "1")
    plans = {nodes: plan for nodes in counts if (plan := study.plan(request.node, nodes, *alone)) is not None}
    if not plans:
        raise JobsError(f"nothing to measure on up to {counts[-1]} node(s); `asymptop study --dry-run` says why")
    placed, too_large = place(plans, request.limits.safety, request.limits.target_seconds)
    if too_large:
        raise JobsError(
            f"{too_large[-1]} and fits on no {counts[-1]} node(s) of {request.node.ranks} rank(s); "
            "raise --max-nodes or --mem, or lower --n, --k or --ntasks-per-node"
        )
    last = plans[max(plans)]
    for skip in last["skips"]:
        print(f"skipped: {skip['what']}: {skip['reason']}", file=sys.stderr)
    if any(group["k_held_follows_memory"] for plan in plans.values() for group in plan["groups"]):
        print(
            "note: k_held follows from the memory of a rank here; give --hold for the same bytes on any nodes",
            file=sys.stderr,
        )
    return make_units(placed, request.limits), last["input"]


def submit_again(options: argparse.Namespace) -> int:
    """What is left of a run. Where an attempt was killed, with twice the memory."""
    run = RunFolder(Path(os.path.abspath(options.again)))
    manifest = run.read()
    stored = argparse.Namespace(**{**vars(options), **manifest["options"]})
    for name, fallback in vars(parser().parse_args([])).items():
        if getattr(options, name) != fallback:  # given anew
            setattr(stored, name, getattr(options, name))
    request = request_of(read_site(stored.site), stored)
    left, killed = units_left(run, manifest)
    if not left:
        print("nothing is left: all cases are valid or invalid")
        return 0
    units = []
    for record in manifest["units"]:
        if record["name"] in left:
            unit = unit_of(record)
            units.append(replace(unit, bytes_per_rank=unit.bytes_per_rank * 2) if unit.name in killed else unit)
    prefix = f"r{len(manifest['submissions']) + 1}-"
    if manifest["command"] == "study":
        arrays = make_arrays(make_tasks(units, request.limits), request.limits, MEMORY_MARGIN, prefix)
    else:
        arrays = [replace(one_job(request, stored)[1][0], name=f"{prefix}a01")]
    show(arrays, request, units, run)
    if killed:
        print(f"{len(killed)} unit(s) were killed in their last attempt: twice the memory is asked for")
    if not options.submit:
        print("nothing was submitted; --submit does it")
        return 0
    require_output()
    return submit_arrays(arrays, request, run, manifest, job_name_of(run))


def main(argv: Sequence[str]) -> int:
    words = list(argv)
    given: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, given = words[:at], words[at + 1 :]
    options = parser().parse_args(words)
    return submit_again(options) if options.again else submit_new(options, given)
