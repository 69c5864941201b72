"""Malformed HDF5 files without a seal, at the commands that read one: no crash, no hang, refused in one line or taken.

build/venv/bin/python tests/analysis/test_malformed.py --count 1000 --seed 7     many of them, with a tally
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    import conftest  # noqa: F401

import h5py
import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.io.trial import refusal
from make_bench import write_bench
from make_results import Study, write_results
from test_precision_section import write_precision
from test_registry import _attend_file

SEED = int(os.environ.get("ASYMPTOP_TEST_SEED", "20240402"))
SECONDS, ADDRESS_SPACE = 60, 12 << 30


@dataclass
class Outcome:
    """`end`: the exit code, or the signal's name."""

    end: int | str
    stderr: str


def reads(folder: Path) -> dict[str, tuple[Path, list[str]]]:
    """Command lines that read FILE, which is like the file beside them."""
    results = write_results(folder / "study.h5", Study(n=(64, 256, 1024), rows=2, draws=3, output_errors=True))
    bench = write_bench(folder / "bench.h5")
    precision = write_precision(folder / "precision.h5")
    attend = _attend_file(folder / "attend.h5", -0.5)
    with h5py.File(folder / "weights.h5", "w") as file:
        for name in ("block/W_Q", "block/W_K"):
            file[name] = np.random.default_rng(1).standard_normal((16, 8))
    out = folder / "out"
    return {
        "validate": (results, ["validate", "FILE"]),
        "advise": (results, ["advise", "FILE", "--budget", "8"]),
        "report": (results, ["report", "FILE", "-o", f"{out}.html"]),
        "scaling": (bench, ["scaling", "FILE", "-o", f"{out}"]),
        "report, precision": (precision, ["report", "FILE", "-o", f"{out}.html"]),
        "report, attend": (attend, ["report", str(results), "--attend", "FILE", "-o", f"{out}.html"]),
        "weights": (folder / "weights.h5", ["weights", "FILE"]),
    }


WEIGHTS = (8, 4, 1, 2, 1, 1, 4)
# Pages with figures take seconds where a file is taken.
QUICK = (8, 4, 0, 0, 0, 0, 4)


def malformed(content: bytes, rng: random.Random) -> bytes:
    """Bits flipped, numbers at the edges of their types, pieces lost, moved and cut off; often near the structures."""
    spoilt = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 3, 12])):
        at = rng.randrange(len(spoilt)) if rng.random() < 0.5 else min(len(spoilt) - 1, int(rng.expovariate(1 / 600)))
        kind = rng.randrange(7)
        if kind <= 1:
            spoilt[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            spoilt[at] = rng.randrange(256)
        elif kind == 3:
            number = rng.choice([0, 1, 0x7F, 0xFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1])
            width = rng.choice([1, 2, 4, 8])
            spoilt[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
        elif kind == 4:
            other = rng.randrange(len(spoilt))
            spoilt[at : at + 16] = spoilt[other : other + 16]
        elif kind == 5:
            del spoilt[at : at + rng.randrange(1, 17)]
        elif rng.random() < 0.3:
            del spoilt[max(at, 1) :]
        if not spoilt:
            return b"\0"
    return bytes(spoilt)


def in_child(words: list[str], said: Path) -> Outcome:
    """The command in a copy of this process, which saves the start of one."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            signal.alarm(10 * SECONDS)
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for stream, path in ((1, os.devnull), (2, said)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            code = command_line.main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    end = os.WEXITSTATUS(status) if os.WIFEXITED(status) else signal.Signals(os.WTERMSIG(status)).name
    return Outcome(end, said.read_text(errors="replace"))


def fault_of(outcome: Outcome, command: str) -> str:
    """What is wrong with how it ended; empty where nothing is."""
    lines = outcome.stderr.splitlines()
    if outcome.end not in (0, 1, 2):
        return f"ended by {outcome.end}"
    if outcome.end == 2 and len(lines) != 1:
        return f"refused in {len(lines)} lines"
    if outcome.end == 1 and command != "validate":
        return "exit 1"
    return "" if len(lines) <= 1 else "more than a line on stderr"


def tally(folder: Path, count: int, seed: int, weights: tuple[int, ...] = WEIGHTS) -> tuple[Counter[str], list[str]]:
    """How `count` malformed files ended, and what should not have been; their files stay in the folder."""
    rng, counts, faults = random.Random(seed), Counter[str](), []
    commands = reads(folder)
    for at in range(count):
        (command,) = rng.choices(list(commands), weights)
        source, words = commands[command]
        path = folder / f"malformed-{at}{source.suffix}"
        path.write_bytes(malformed(source.read_bytes(), rng))
        begin = time.monotonic()
        outcome = in_child([word.replace("FILE", str(path)) for word in words], folder / "said")
        counts[command] += 1
        counts["refused" if outcome.end in (1, 2) else "taken" if outcome.end == 0 else "other end"] += 1
        counts["seconds at most"] = max(counts["seconds at most"], round(time.monotonic() - begin))
        for what in ("does not survive", "of memory", "cannot be evaluated"):
            counts[what] += what in outcome.stderr
        if fault := fault_of(outcome, command):
            faults.append(f"{fault}: python3 -m asymptop {command} {path}\n{outcome.stderr}")
        else:
            path.unlink()
    return counts, faults


def test_commands_end_in_order(tmp_path: Path) -> None:
    print(f"ASYMPTOP_TEST_SEED={SEED}")
    counts, faults = tally(tmp_path, 40, SEED, QUICK)
    assert faults == [], faults[0]
    assert counts["refused"] > 10


def test_what_libhdf5_does_not_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop, a crash and a hunger for memory in the copy are said, and this process goes on."""
    from asymptop.io import trial

    def hang(path: Path) -> None:
        while True:
            path.exists()

    def starve(path: Path) -> None:
        np.zeros(2**40, dtype=np.uint8).fill(1)

    def crash(path: Path) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    monkeypatch.setattr(trial, "PROCESSOR_SECONDS", 1)
    for read, said in ((hang, "does not survive"), (starve, "GB of memory"), (crash, "does not survive")):
        monkeypatch.setattr(trial, "_read_through", read)
        path = tmp_path / f"{read.__name__}.h5"
        path.write_bytes(b"x")
        assert said in refusal(path)
        assert "\n" not in refusal(path)


def test_a_file_is_tried_once_and_other_content_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forks: list[int] = []
    monkeypatch.setattr(os, "fork", lambda fork=os.fork: forks.append(1) or fork())
    path = write_results(tmp_path / "r.h5", Study(n=(64,), rows=1, draws=2))
    assert refusal(path) == ""
    assert refusal(path) == ""
    assert len(forks) == 1
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path) == ""  # h5py refuses it: no crash
    assert len(forks) == 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="asymptop-malformed-"))
    print(f"seed {arguments.seed}, {folder}", flush=True)
    begin = time.monotonic()
    counts, faults = tally(folder, arguments.count, arguments.seed)
    print(*faults, sep="\n")
    print(f"{dict(counts)}; {len(faults)} faults. {time.monotonic() - begin:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
