"""The long tiers of the tests, one after another, each with its tally and seconds. tests/README.md tells what each is.

    tests/run.sh --full                    the plain run, then all tiers
    python3 tests/full.py --only NAMES     single tiers, separated by commas

What a tier says goes to build/full/NAME.log. A tier whose tools are missing is skipped with the reason. The exit code
is 1 when one fails.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUPPORT = ROOT / "tests" / "support"
sys.path.insert(0, str(ROOT / "tests" / "app"))

from command_line import SETTINGS  # noqa: E402

# The suites that run the binary.
SUITES = ("tests/app", "tests/fuzz", "tests/analysis/test_reader.py", "tests/results")
LINES_WANTED = 90.0


class SkippedError(Exception):
    """Why a tier cannot be run here."""


class FailedError(Exception):
    """What is wrong, in a line."""


@dataclass(frozen=True)
class Run:
    """A tier's run: what was asked for, and where its output goes."""

    seed: int
    minutes: float
    log: Path

    def call(self, command: Sequence[str | Path], **settings: str) -> tuple[int, str]:
        """Exit code and what was said."""
        words = [str(word) for word in command]
        environment = os.environ | SETTINGS | {"ASYMPTOP_TEST_SEED": str(self.seed)} | settings
        with self.log.open("ab") as log:
            log.write(("$ " + " ".join(words) + "\n").encode())
            log.flush()
            before = log.tell()
            code = subprocess.run(words, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT).returncode
        with self.log.open("rb") as log:
            log.seek(before)
            return code, log.read().decode(errors="replace")

    def must(self, command: Sequence[str | Path], what: str, **settings: str) -> str:
        code, said = self.call(command, **settings)
        if code != 0:
            raise FailedError(f"{what} (exit {code})")
        return said


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise SkippedError(f"{', '.join(missing)} not found; jobs/setup/debian.sh --full installs what the tiers need")


def build(run: Run, preset: str, *targets: str) -> Path:
    configured = ROOT / "build" / preset / "build.ninja"
    if not configured.exists():
        run.must(["cmake", "--preset", preset], f"the {preset} build could not be configured")
    run.must(
        ["cmake", "--build", "--preset", preset, *(["--target", *targets] if targets else [])],
        f"the {preset} build failed",
    )
    return ROOT / "build" / preset


def tests_of(run: Run, folder: Path, **settings: str) -> str:
    """ctest and the suites that run the binary, with the programs of one build folder."""
    counts = []
    code, said = run.call(["ctest", "--test-dir", folder, "--output-on-failure", "--no-tests=error"], **settings)
    wrong = code != 0
    counts += re.findall(r"tests failed out of \d+|\d+% tests passed, \d+ tests failed out of \d+", said)[:1]
    python = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", *SUITES]
    code, said = run.call(python, ASYMPTOP_BINARY=str(folder / "asymptop"), ASYMPTOP_TEST_PATIENCE="5", **settings)
    wrong = wrong or code != 0
    counts += re.findall(r"^=*\s*((?:\d+ \w+,? ?)+) in ", said, re.MULTILINE)[-1:]
    tally = "ctest: {}; pytest: {}".format(*counts, *[""] * (2 - len(counts)))
    if wrong:
        raise FailedError(tally)
    return tally


def coverage(run: Run) -> str:
    need("gcov")
    gcovr = Path(sys.executable).with_name("gcovr")
    if not gcovr.exists():
        raise SkippedError("gcovr is not in the Python environment")
    folder = build(run, "coverage")
    for old in folder.rglob("*.gcda"):
        old.unlink()
    tests = ""
    try:
        tests = tests_of(run, folder)
    except FailedError as error:
        tests = f"TESTS FAILED ({error})"
    return f"{lines_run(run, folder, gcovr)}; {tests}"


def lines_run(run: Run, folder: Path, gcovr: Path) -> str:
    """Percent of lines that ran, by folder on stdout; build/coverage/lines has the rest."""
    report = folder / "lines"
    shutil.rmtree(report, ignore_errors=True)
    report.mkdir()
    options = ["--root", ROOT, "--filter", "src/", "--filter", "kernels/", "-j", "2", "--gcov-ignore-parse-errors=all"]
    options += [
        "--merge-mode-functions=separate",
        "--merge-lines",
        "--json-summary",
        report / "summary.json",
        "--txt",
        report / "missing.txt",
    ]
    run.must([gcovr, *options, "--html-nested", report / "index.html", folder], "gcovr failed")
    counts: collections.defaultdict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for file in json.loads((report / "summary.json").read_text())["files"]:
        for name in ("/".join(file["filename"].split("/")[:2]), "all"):
            counts[name][0] += file["line_covered"]
            counts[name][1] += file["line_total"]
    for name, (ran, total) in counts.items():
        print(f"  {name:<20} {100 * ran / total:5.1f}%  {ran:6d} of {total:6d} lines")
    print(f"  not run: {report / 'missing.txt'}, {report / 'index.html'}")
    ran, total = counts["all"]
    tally = f"{100 * ran / total:.1f}% of {total} lines"
    if 100 * ran < LINES_WANTED * total:
        raise FailedError(f"{tally}: fewer than {LINES_WANTED:.0f}%")
    return f"{tally}, {LINES_WANTED:.0f}% are wanted"


def sanitize(run: Run) -> str:
    """Settings and suppressions are linked in: tests/support/sanitizer_defaults.cpp."""
    return tests_of(run, build(run, "sanitize"))


SIZES = ["--block", "64", "--force", "--rows", "6", "--draws", "2"]
COMMANDS = [
    ["study", "--n", "64,300", "--k", "8,n/2", "--merge", "threshold", "--checkpoint-minutes", "0", *SIZES],
    ["study", "--n", "300", "--k", "8,n/2", "--merge", "tree", "--path", "blas-tile", "--keys", "streamed", *SIZES],
    ["attend", "--n", "300", "--k", "8", "--mask", "none,causal", "--spectral", "--block", "64", "--force"],
    ["bench", "--n", "300", "--m", "6", "--k", "10", "--samples", "3", "--path", "all", "--block", "64", "--force"],
    ["simulate", "--n", "2^20", "--draws", "3", "--force"],
    ["precision", "--n", "100", "--draws", "3", "--force"],
]


def thread(run: Run) -> str:
    """clang's libomp tells the sanitizer, through its tool Archer, how threads wait for each other; gcc's does not."""
    need("clang++")
    archer = next(iter(sorted(Path("/usr/lib").glob("llvm-*/lib/libarcher.so"))), None)
    if archer is None:
        raise SkippedError("no libarcher.so (libomp-dev)")
    if not (ROOT / "build" / "deps-thread" / "kokkos").exists():
        raise SkippedError("no Kokkos of clang in build/deps-thread; jobs/setup/debian.sh --full builds it")
    settings = {
        "OMP_TOOL_LIBRARIES": str(archer),
        "TSAN_OPTIONS": f"suppressions={SUPPORT / 'threads.supp'}:ignore_noninstrumented_modules=1:exitcode=66",
        "OPENBLAS_NUM_THREADS": "1",
    }
    folder = build(run, "thread")
    code, said = run.call(
        ["ctest", "--test-dir", folder, "--output-on-failure", "--no-tests=error", "-E", "_([2-9]|16)$"], **settings
    )
    tally = re.findall(r"\d+ tests failed out of \d+", said)[:1]
    wrong = [] if code == 0 else ["ctest"]
    work = folder / "runs"
    work.mkdir(exist_ok=True)
    for words in COMMANDS:
        for ranks, threads in ((1, 4), (2, 2)):
            launch = ["mpirun", "--bind-to", "none", "-n", str(ranks), folder / "asymptop", *words]
            launch += ["-o", work / "out.h5"]
            code, _ = run.call(launch, **settings, OMP_NUM_THREADS=str(threads))
            if code != 0:
                wrong.append(f"{words[0]} on {ranks} x {threads}")
    told = ", ".join([*tally, f"{2 * len(COMMANDS)} runs"])
    if wrong:
        raise FailedError(f"{told}; wrong: {', '.join(wrong)}")
    return told


def valgrind(run: Run) -> str:
    need("valgrind", "mpirun")
    folder = build(run, "valgrind", "asymptop")
    supplied = next(iter(Path("/usr/share").glob("openmpi/openmpi-valgrind.supp")), None)
    suppressions = [f"--suppressions={path}" for path in (supplied, SUPPORT / "valgrind.supp") if path is not None]
    options = ["--quiet", "--error-exitcode=99", "--num-callers=60", "--keep-debuginfo=yes"]
    options += ["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
    # With a waiting policy the program does not start itself anew, which valgrind cannot follow.
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "OPENBLAS_CORETYPE": "Haswell"}
    work = folder / "runs"
    work.mkdir(exist_ok=True)
    wrong = []
    for words in COMMANDS:
        checked = ["valgrind", *options, *suppressions, folder / "asymptop", *words, "-o", work / "out.h5"]
        code, _ = run.call(["mpirun", "--bind-to", "none", "-n", "2", *checked], **settings)
        if code != 0:
            wrong.append(words[0])
    if wrong:
        raise FailedError(f"errors in {', '.join(wrong)}")
    return f"{len(COMMANDS)} runs of 2 ranks without an error or a definite leak"


def analyze(run: Run) -> str:
    need("clang-tidy", "run-clang-tidy", "cppcheck")
    folder = build(run, "release", "help")
    extra = ["-extra-arg=-Wno-unknown-warning-option", "-extra-arg=-Wno-sign-conversion"]
    code, said = run.call(
        ["run-clang-tidy", "-quiet", "-p", folder, *extra, str(ROOT / "src") + "/", str(ROOT / "kernels") + "/"]
    )
    said = re.sub(r"\x1b\[[0-9;]*m", "", said)  # it insists on colours
    tidy = len(set(re.findall(r"^(/\S+:\d+:\d+: (?:error|warning): .*)$", said, re.MULTILINE)))
    options = [
        "--enable=warning,performance,portability",
        "--inline-suppr",
        "--std=c++20",
        "--language=c++",
        "--quiet",
        "-j",
        "2",
    ]
    options += [f"--suppressions-list={SUPPORT / 'cppcheck.supp'}", "--error-exitcode=9", "-I", "src", "-I", "kernels"]
    second, said = run.call(["cppcheck", *options, "src", "kernels"])
    check = len(re.findall(r"\[\w+\]$", said, re.MULTILINE))
    if code != 0 or second != 0:
        raise FailedError(f"clang-tidy: {tidy}, cppcheck: {check} findings")
    return "clang-tidy: 0, cppcheck: 0 findings"


def mutations(run: Run) -> str:
    said = run.must([sys.executable, "tests/mutations/run.py", "--seed", str(run.seed)], "a mutation was not noticed")
    return said.strip().splitlines()[-1]


def fuzz(run: Run) -> str:
    folder = build(run, "release", "asymptop", "fuzz_law", "fuzz_config", "fuzz_tensors", "fuzz_results")
    made, corpus = folder / "fuzz-seeds", ROOT / "tests" / "fuzz" / "seeds"
    run.must([sys.executable, "tests/fuzz/make_seeds.py", made], "no seeds")
    seeds = {
        "law": corpus / "laws",
        "config": corpus / "config",
        "tensors": made / "tensors",
        "results": made / "results",
    }
    tallies = []
    for target, inputs in seeds.items():
        command = [
            folder / f"fuzz_{target}",
            "--seconds",
            f"{60 * run.minutes / len(seeds):.0f}",
            "--seed",
            str(run.seed),
            inputs,
        ]
        tallies.append(f"{target}: {run.must(command, f'fuzz_{target} failed').strip().splitlines()[-1]}")
    whole = ["tests/fuzz/at_command_line.py", "--count", f"{500 * run.minutes:.0f}", "--seed", str(run.seed)]
    tallies.append(run.must([sys.executable, *whole], "malformed input").strip().splitlines()[-1])
    return "; ".join(tallies)


def script(*command: str) -> Callable[[Run], str]:
    """A tier that is a program of its own, whose last line is the tally. {seed} and {minutes} stand for the run's."""

    def tier(run: Run) -> str:
        words = [word.format(seed=run.seed, minutes=run.minutes) for word in command]
        return run.must([sys.executable, *words], f"{words[0]} failed").strip().splitlines()[-1]

    return tier


def long(run: Run) -> str:
    """The tests that the plain run leaves out for their time."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "long", "tests"]
    return run.must(command, "long tests failed", ASYMPTOP_LONG_TESTS="1").strip().splitlines()[-1]


# What is Open MPI's own of the suites that run the binary: options of its mpirun, its library under another's calls,
# codes of mpirun after a signal (findings/hydra-exit-codes.sh), and a plan of memory that counts on its size.
OPEN_MPI_FILES = ("test_hosts", "test_deaths", "test_launch", "test_mpi_objects", "test_without_mpi")
OPEN_MPI_TESTS = ("test_stop_and_resume", "test_left_within_a_draw", "test_plan_is_near_what_is_taken")
RANK_PROGRAMS = ("test_bench_run", "test_merge", "test_pipeline", "test_ring", "test_strategies")


def mpich(run: Run) -> str:
    """A second MPI: programs over ranks, and the program from outside."""
    need("mpicxx.mpich", "mpirun.mpich")
    folder = build(run, "mpich", "asymptop", *RANK_PROGRAMS)
    launcher = folder / "launcher"
    launcher.mkdir(exist_ok=True)
    (launcher / "mpirun").write_text('#!/bin/sh\nexec mpirun.mpich "$@"\n')
    (launcher / "mpirun").chmod(0o755)
    names = "|".join(RANK_PROGRAMS)
    code, said = run.call(["ctest", "--test-dir", folder, "-R", f"^({names})_[0-9]", "--output-on-failure"])
    counts = re.findall(r"tests passed, (\d+ tests failed out of \d+)", said)[:1]
    leave = [word for name in OPEN_MPI_FILES for word in ("--ignore", f"tests/app/{name}.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", *leave]
    command += ["-k", " and ".join(f"not {name}" for name in OPEN_MPI_TESTS), "tests/app"]
    settings = {"PATH": f"{launcher}:{os.environ['PATH']}", "ASYMPTOP_BINARY": str(folder / "asymptop")}
    second, said = run.call(command, **settings, ASYMPTOP_TEST_PATIENCE="3")
    counts += said.strip().splitlines()[-1:]
    if code != 0 or second != 0:
        raise FailedError("; ".join(counts))
    return "; ".join(counts)


def levels(run: Run) -> str:
    """Ranks at different levels of CPUs, on a build for several, and every number at the first level and the last."""
    folder = build(run, "levels", "asymptop")
    programs = [str(program) for program in sorted(folder.glob("libexec/asymptop/*/asymptop"))]
    same = [sys.executable, "tests/support/same_numbers.py", programs[0], programs[-1]]
    numbers = run.must(same, "levels make other numbers").strip().splitlines()[-1]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/app/test_mixed_levels.py"]
    said = run.must(command, "tests of mixed levels failed", ASYMPTOP_LEVELS=str(folder / "asymptop"))
    return f"{numbers}; {said.strip().splitlines()[-1]}"


def slurm(run: Run) -> str:
    need("slurmctld", "slurmd", "munged")
    return script("tests/soak/slurm_soak.py", "--count", "20", "--seed", "{seed}")(run)


TIERS: dict[str, Callable[[Run], str]] = {
    "coverage": coverage,
    "sanitize": sanitize,
    "thread": thread,
    "valgrind": valgrind,
    "analyze": analyze,
    "mutations": mutations,
    "fuzz": fuzz,
    "kills": script("tests/soak/soak.py", "--kills", "100", "--seed", "{seed}"),
    "soak": script("tests/soak/soak.py", "--minutes", "{minutes}", "--seed", "{seed}"),
    "long": long,
    "mpich": mpich,
    "levels": levels,
    "slurm": slurm,
    "architectures": lambda run: run.must(["tests/models/run.sh", "--every-architecture"], "failed").splitlines()[-1],
}


def run_tier(name: str, seed: int, minutes: float) -> bool:
    folder = ROOT / "build" / "full"
    folder.mkdir(parents=True, exist_ok=True)
    began, verdict = time.monotonic(), "ok"
    log = folder / f"{name}.log"
    log.write_bytes(b"")
    try:
        tally = TIERS[name](Run(seed, minutes, log))
    except SkippedError as reason:
        verdict, tally = "skipped", str(reason)
    except FailedError as error:
        verdict, tally = "FAILED", f"{error}; see {log.relative_to(ROOT)}"
    print(f"{name:<10} {verdict:<8} {time.monotonic() - began:7.0f} s  {tally}", flush=True)
    return verdict != "FAILED"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(TIERS), metavar="NAMES", help=f"of {', '.join(TIERS)} [all]")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()) % 100000000, help="of all that is random [new, printed]"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="of the fuzz tier and of the soak [20]")
    options = parser.parse_args()
    names = options.only.split(",")
    for name in names:
        if name not in TIERS:
            parser.error(f"argument --only: '{name}' is none of: {', '.join(TIERS)}")
    print(f"seed {options.seed}", flush=True)
    good = [run_tier(name, options.seed, options.minutes) for name in names]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
