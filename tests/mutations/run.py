"""Builds Asymptop with one fault at a time and says what notices: a run's own verdict, or else a test.

    python3 tests/mutations/run.py [--seed S] [--only NAME] [--part I/N] [--work FOLDER]

Works on a copy of the sources in build/mutations. Prints a table; the exit code is 1 when a mutation goes unnoticed, or
when the sources without a fault are found wanting. About a minute of two cores for each mutation.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("CMakeLists.txt", "CMakePresets.json", "kernels", "src", "tests")
RUN_SECONDS, TEST_SECONDS, BUILD_SECONDS = 120, 600, 1800


class Tree:
    """A copy of the sources with a build folder of its own, which earlier runs may have filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.build_folder = folder / "build" / "release"
        folder.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            (copy_changed if (ROOT / name).is_dir() else copy_file)(ROOT / name, folder / name)
        (folder / "build").mkdir(exist_ok=True)
        link = folder / "build" / "deps"
        if not link.exists():
            link.symlink_to(ROOT / "build" / "deps")
        self._call(["cmake", "--preset", "release", "-DASYMPTOP_UNITY=ON"], "configure")

    def build(self, *targets: str) -> str | None:
        """What the compiler has to say, if it refuses."""
        try:
            self._call(["cmake", "--build", str(self.build_folder), "--target", *targets], "build")
        except subprocess.CalledProcessError as error:
            return error.output[-2000:]
        return None

    def _call(self, command: list[str], what: str) -> None:
        environment = {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache"} if shutil.which("ccache") else {}
        environment |= {"CCACHE_BASEDIR": str(self.folder), "CCACHE_NOHASHDIR": "1"}
        done = subprocess.run(
            command, cwd=self.folder, env=os.environ | environment, text=True, timeout=BUILD_SECONDS,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, what, done.stdout)

    def has(self, test: str) -> bool:
        """Whether this machine's build has it: one without AVX-512 or AVX2 lacks those for them, and no others."""
        command = ["ctest", "--test-dir", str(self.build_folder), "-N", "-R", f"^{test}$"]
        there = "Total Tests: 1" in subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS).stdout
        if not there and not re.search(r"_avx(2|512)$", test):
            raise SystemExit(f"there is no test {test}")
        return there

    def test_fails(self, test: str) -> bool:
        """Or does not end: a fault may make a loop of what was a walk."""
        target = re.sub(r"_[0-9]+$", "", test)  # without its number of ranks
        refused = self.build(target)
        if refused:
            raise SystemExit(f"{target} does not build:\n{refused}")
        command = ["ctest", "--test-dir", str(self.build_folder), "-R", f"^{test}$", "--no-tests=error"]
        command += ["--timeout", str(TEST_SECONDS)]  # by ctest, which ends the test and not itself alone
        return subprocess.run(command, capture_output=True).returncode != 0

    def run(self, ranks: int, arguments: str) -> str:
        """Nothing when all is VALID, else what was noticed."""
        with tempfile.TemporaryDirectory() as folder:
            records = Path(folder, "records.json")
            command = [
                *(["mpirun", "-n", str(ranks)] if ranks > 1 else []), str(self.build_folder / "asymptop"),
                *shlex.split(arguments), "-o", str(Path(folder, "out.h5")), "--json", str(records),
            ]  # fmt: skip
            mpi = f". {shlex.quote(str(ROOT / 'jobs/setup/mpi.sh'))} && {shlex.join(command)}"
            try:
                done = subprocess.run(["bash", "-c", mpi], capture_output=True, text=True, timeout=RUN_SECONDS)
            except subprocess.TimeoutExpired:
                return "hangs"
            verdicts = {record["verdict"] for record in json.loads(records.read_text())} if records.exists() else set()
            if "INVALID" in verdicts:
                return f"INVALID ({reason_of(done.stdout)})"
            if done.returncode != 0:
                return f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1] if done.stderr else ''}"
            return "" if verdicts == {"VALID"} else "no records"


def copy_file(source: Path, target: Path) -> None:
    """Keeps the time of an unchanged file, so that it is not compiled again."""
    if not target.exists() or target.read_bytes() != source.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def copy_changed(source: Path, target: Path) -> None:
    files = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {path.relative_to(source) for path in files}
    for path in wanted:
        copy_file(source / path, target / path)
    for path in [path for path in target.rglob("*") if path.is_file()]:
        if path.relative_to(target) not in wanted:
            path.unlink()


def reason_of(text: str) -> str:
    for line in text.splitlines():
        if "INVALID" in line and ":" in line:
            return line.split(":", 1)[1].strip()[:60]
    return "see records"


def apply(mutation: Mutation, root: Path, seed: int) -> str:
    """Returns the text before. A mutation whose old text is not there exactly once is a defect of the list."""
    path = root / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.name}: its text is {text.count(mutation.old)} times in {mutation.file}, not once")
    path.write_text(text.replace(mutation.old, mutation.new.replace("{seed}", str(seed))))
    return text


def noticed_by(tree: Tree, mutation: Mutation) -> str:
    if refused := tree.build("asymptop"):
        raise SystemExit(f"{mutation.name} does not build:\n{refused}")
    for ranks, arguments in mutation.runs:
        if noticed := tree.run(ranks, arguments):
            return noticed
    for test in filter(tree.has, mutation.tests):
        if tree.test_fails(test):
            return f"{test} fails"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=None, help="of the places of faults [random, printed]")
    parser.add_argument("--only", default="", help="mutations whose name contains this")
    parser.add_argument("--part", default="1/1", help="the I-th of N parts of the list, for several folders at once")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutations")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    print(f"seed {seed}", flush=True)
    part, parts = map(int, options.part.split("/"))
    chosen = [m for m in MUTATIONS if options.only in m.name][part - 1 :: parts]
    tree = Tree(options.work)
    if refused := tree.build("asymptop"):
        raise SystemExit(refused)
    for run in sorted({run for m in chosen for run in m.runs}):
        if noticed := tree.run(*run):
            print(f"without a fault, {run[1]}: {noticed}")
            return 1
    draw = random.Random(seed)
    missed = 0
    print(f"{'mutation':32}{'noticed by':72}seconds", flush=True)
    for mutation in chosen:
        begin = time.monotonic()
        before = apply(mutation, tree.folder, draw.randrange(10**4))
        try:
            noticed = noticed_by(tree, mutation)
        finally:
            (tree.folder / mutation.file).write_text(before)
        missed += not noticed
        print(f"{mutation.name:32}{noticed or 'NOTHING':72}{time.monotonic() - begin:7.0f}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
