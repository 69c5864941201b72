"""Malformed laws, config, tensor and results files at the program's own command line: taken, or refused in one line.

build/venv/bin/python tests/fuzz/at_command_line.py --count 10000 --seed 7     many of them, with a tally

The programs beside this file feed far more inputs to the readers alone; here nothing from `main` to the exit code is
left out.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "app"), str(HERE.parent / "support")]

import make_seeds  # noqa: E402
from command_line import SETTINGS, binary  # noqa: E402

SECONDS, ADDRESS_SPACE = 60, 16 << 30
COMMANDS = {b"s": "study", b"i": "simulate", b"b": "bench", b"a": "attend"}
KINDS = ("law", "config", "tensors", "results")


@dataclass(frozen=True)
class Seeds:
    """Sound inputs of each kind, as bytes."""

    of: dict[str, list[bytes]]

    @staticmethod
    def read(folder: Path) -> Seeds:
        make_seeds.main(folder)
        places = {"law": HERE / "seeds" / "laws", "config": HERE / "seeds" / "config"}
        places |= {kind: folder / kind for kind in ("tensors", "results")}
        return Seeds({kind: [path.read_bytes() for path in sorted(place.iterdir())] for kind, place in places.items()})


def mutated(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A few bytes flipped, overwritten, cut out, repeated or taken from another seed."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at, length = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 4, 8, 64))
        match rng.randrange(5):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at : at + length] = rng.choice((b"\x00", b"\xff", rng.randbytes(1))) * length
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[at : at + length] * rng.choice((1, 2, 16))
            case _:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                out[at : at + length] = other[start : start + length]
    return bytes(out)


def command(kind: str, data: bytes, rng: random.Random, folder: Path) -> list[str]:
    """The words after `asymptop`; files lie in `folder`."""
    file = folder / "input"
    if kind == "law":
        text = data.replace(b"\x00", b"").decode("utf-8", "surrogateescape").strip("\n")
        option = rng.choice(("k", "sigma", "count-above", "n"))
        return ["study", *([] if option == "n" else ["--n", "64"]), f"--{option}={text}", "--dry-run"]
    if kind == "config":
        file.write_bytes(data[1:])
        return [COMMANDS.get(data[:1], "study"), "--config", str(file), "--dry-run"]
    file.write_bytes(data)
    if kind == "tensors":
        return [rng.choice(("study", "attend")), "--input", str(file), "--n", "64", "--k", "4", "--dry-run"]
    return rng.choice((["info", str(file)], ["compare", str(file), str(file)], ["merge", "-o", "merged.h5", str(file)]))


def fault_of(words: Sequence[str], code: int | None, out: str, err: str) -> str:
    """What is wrong with an answer; empty when nothing is."""
    if code is None:
        return f"runs for more than {SECONDS} s"
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    if code == 0:
        return f"exit 0, and says {lines}" if lines else ""
    if code not in (1, 2):
        return f"exit {code}: {err[-300:]}"
    if words[0] in ("compare", "info") and code == 1 and out and not lines:
        return ""  # files that differ, cases that are not VALID
    if len(lines) != 1 or not lines[0].startswith("asymptop: "):
        return f"exit {code} with {len(lines)} lines: {err[:300]}"
    return ""


def try_one(number: int, seed: int, seeds: Seeds, found: Path) -> tuple[str, str, str]:
    """(kind, end, fault) of one input; an input with a fault is kept in `found`."""
    rng = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    data = mutated(rng.choice(seeds.of[kind]), seeds.of[kind], rng)
    with tempfile.TemporaryDirectory(prefix="malformed-") as name:
        folder = Path(name)
        words = command(kind, data, rng, folder)
        settings = SETTINGS | {"OMP_NUM_THREADS": "1", "OMPI_MCA_orte_tmpdir_base": name, "PATH": "/usr/bin:/bin"}
        try:
            done = subprocess.run(
                [str(binary()), *words],
                cwd=folder,
                env=settings,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE)),
            )
            code, out, err = done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        except subprocess.TimeoutExpired:
            code, out, err = None, "", ""
    fault = fault_of(words, code, out, err)
    if fault:
        (found / f"{number}").write_bytes(data)
    return kind, "taken" if code == 0 else "refused", f"{number}: {words}: {fault}" if fault else ""


def run(
    count: int, seed: int, jobs: int, found: Path, say: Callable[[str], None]
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """How many inputs of each kind came to which end, and the faults."""
    ends: Counter[tuple[str, str]] = Counter()
    faults = []
    with tempfile.TemporaryDirectory(prefix="seeds-") as name, ThreadPoolExecutor(jobs) as pool:
        seeds = Seeds.read(Path(name))
        for kind, end, fault in pool.map(lambda number: try_one(number, seed, seeds, found), range(count)):
            ends[kind, end] += 1
            if fault:
                faults.append(fault)
                say(fault)
    return ends, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10000, help="inputs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=4, help="at once (default: %(default)s)")
    arguments = parser.parse_args()
    found = Path(tempfile.mkdtemp(prefix="faults-"))
    ends, faults = run(arguments.count, arguments.seed, arguments.jobs, found, print)
    for kind in KINDS:
        print(f"{kind:8} {ends[kind, 'refused']:6} refused, {ends[kind, 'taken']:6} taken")
    print(
        f"seed {arguments.seed}: {arguments.count} inputs, {len(faults)} faults"
        + (f", kept in {found}" if faults else "")
    )
    if not faults:
        shutil.rmtree(found)
    return min(len(faults), 1)


if __name__ == "__main__":
    sys.exit(main())
