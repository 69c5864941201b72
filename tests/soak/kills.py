"""Kills studies at random instants and goes on with --resume: they come out as if nothing had disturbed them.

    python3 tests/soak/kills.py --count 200 --seed 1

A kill is SIGKILL to mpirun and all its ranks at once, at an instant drawn from the time that the undisturbed run
took. Each attempt is on 1, 2 or 4 ranks, drawn anew, and writes a checkpoint after every draw. In the end the results
file must equal the undisturbed one (`asymptop compare`), it and every case file must be sealed and have the same bytes
in every dataset but the timings, and nothing else may be left in the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import h5py

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "app"), str(ROOT / "analysis")]

from asymptop.seal import check_seal  # noqa: E402
from command_line import SETTINGS, asymptop, binary  # noqa: E402

STUDY = ["--n", "1024,4096", "--sigma", "1,2", "--k", "8,64", "--block", "256", "--rows", "16"]
RANKS = (1, 2, 4)


@dataclass
class Tally:
    kills: int = 0
    studies: int = 0
    by_ranks: dict[int, int] = field(default_factory=lambda: dict.fromkeys(RANKS, 0))
    with_checkpoint: int = 0
    with_part: int = 0
    with_case: int = 0

    def line(self) -> str:
        ranks = ", ".join(f"{count} on {ranks}" for ranks, count in self.by_ranks.items())
        return (
            f"{self.kills} kills ({ranks} ranks) over {self.studies} studies; after a kill there were finished cases "
            f"{self.with_case} times, checkpoints {self.with_checkpoint} times, parts of files {self.with_part} times"
        )


def start(output: Path, ranks: int, draws: int) -> subprocess.Popen[bytes]:
    """In a process group of its own, as `kill -9 -PID` wants it; mpirun's ranks have groups of theirs."""
    launcher = ["mpirun", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
    options = ["--draws", str(draws), "--threads", "1", "--checkpoint-minutes", "0", "--resume", "-o", str(output)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.Popen(
        [*launcher, str(binary()), "study", *STUDY, *options],
        env=environment | SETTINGS | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def descendants(process: int) -> list[int]:
    try:
        found = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
    return [*found, *(grandchild for child in found for grandchild in descendants(child))]


def kill(process: subprocess.Popen[bytes]) -> None:
    """All of it, stopped first so that nothing can react to the death of another."""
    all_of_it = [process.pid, *descendants(process.pid)]
    for how in (signal.SIGSTOP, signal.SIGKILL):
        for one in all_of_it:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, how)
    process.communicate()
    deadline = time.monotonic() + 30.0
    while any(is_running(one) for one in all_of_it):
        assert time.monotonic() < deadline, "a killed process lives on"
        time.sleep(0.001)


def is_running(process: int) -> bool:
    """Not so when it has ended but no one has asked about it."""
    try:
        return bool(os.readlink(f"/proc/{process}/exe"))
    except OSError:
        return False


def data(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.endswith("phase_seconds"):
            found[name] = repr(item[()].tolist()).encode() if item.dtype.kind == "O" else item[()].tobytes()

    with h5py.File(path, "r", locking=False) as file:
        file.visititems(visit)
    return found


def cases_of(output: Path) -> Path:
    return output.with_name(output.name + ".cases")


def check(output: Path, undisturbed: Path) -> None:
    names = sorted(path.name for path in cases_of(output).iterdir())
    expected = sorted(path.name for path in cases_of(undisturbed).iterdir())
    assert names == expected, names
    outcome = asymptop("compare", output, undisturbed)
    assert outcome.code == 0, str(outcome)
    for ours, theirs in [
        (output, undisturbed),
        *((cases_of(output) / name, cases_of(undisturbed) / name) for name in names),
    ]:
        assert check_seal(ours), ours
        assert data(ours) == data(theirs), ours


def note_left(output: Path, tally: Tally) -> None:
    names = [path.name for path in cases_of(output).iterdir()] if cases_of(output).exists() else []
    tally.with_case += any(name.endswith(".h5") for name in names)
    tally.with_checkpoint += any(name.endswith(".checkpoint") for name in names)
    tally.with_part += any(name.endswith(".part") for name in names)


def one_study(
    folder: Path, undisturbed: Path, draws: int, seconds: dict[int, float], most: int, rng: random.Random, tally: Tally
) -> None:
    """Kills until the study is through, `most` times at most."""
    output = folder / f"{tally.studies}.h5"
    killed = 0
    while True:
        ranks = rng.choice(RANKS)
        process = start(output, ranks, draws)
        deadline = time.monotonic() + (rng.uniform(0.0, seconds[ranks]) if killed < most else 120.0)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        if process.poll() is not None:
            stderr = process.communicate()[1].decode(errors="replace")
            assert process.returncode == 0, stderr
            break
        assert killed < most, "a study did not end"
        kill(process)
        killed += 1
        tally.kills += 1
        tally.by_ranks[ranks] += 1
        note_left(output, tally)
    tally.studies += 1
    check(output, undisturbed)


def soak(folder: Path, count: int, seed: int, draws: int) -> Tally:
    """Raises AssertionError, with the seed told before, when a study does not come out as it should."""
    rng, tally = random.Random(seed), Tally()
    seconds: dict[int, float] = {}
    for ranks in RANKS:
        begin = time.monotonic()
        process = start(folder / f"undisturbed-{ranks}.h5", ranks, draws)
        stderr = process.communicate(timeout=120.0)[1].decode(errors="replace")
        assert process.returncode == 0, stderr
        seconds[ranks] = time.monotonic() - begin
    undisturbed = folder / f"undisturbed-{RANKS[0]}.h5"
    for ranks in RANKS[1:]:
        check(folder / f"undisturbed-{ranks}.h5", undisturbed)
    while tally.kills < count:
        one_study(folder, undisturbed, draws, seconds, count - tally.kills, rng, tally)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="kills [200]")
    parser.add_argument("--seed", type=int, default=1, help="of the instants and counts of ranks [1]")
    parser.add_argument("--draws", type=int, default=32, help="of each study: how long it takes [32]")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = soak(Path(folder), arguments.count, arguments.seed, arguments.draws)
    print(f"{tally.line()}; all equal. {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
