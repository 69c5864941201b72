"""Random small commands, disturbed in random ways until they have had enough: are their results as if nothing had been?

    build/venv/bin/python tests/soak/soak.py --minutes 120 --seed 1
    build/venv/bin/python tests/soak/soak.py --round 123456789        one round again
    build/venv/bin/python tests/soak/soak.py --kills 200              kills alone, until there were so many

A round draws a command (tests/soak/commands.py), runs it undisturbed on some ranks and threads, then disturbs it one to
four times (tests/soak/faults.py) on others, and lets it finish. What is then there must equal the undisturbed results
(`asymptop compare`, and the bytes of every dataset but the timings), be sealed, hold against brute force on a sample of
its rows, and nothing else may be left. A round that fails keeps its folder, and the soak goes on.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("tests/soak", "tests/app", "tests/support", "analysis")]

from asymptop.io.seal import check_seal  # noqa: E402
from command_line import asymptop, values  # noqa: E402
from commands import random_command  # noqa: E402
from failing_storage import failing_library  # noqa: E402
from faults import FAULTS, LAYOUTS, PATIENCE, WEIGHTS, Trial, names  # noqa: E402


@dataclass
class Tally:
    rounds: Counter[str] = field(default_factory=Counter)
    """Per kind of command."""
    faults: Counter[str] = field(default_factory=Counter)
    """That came to pass."""
    left: Counter[str] = field(default_factory=Counter)
    """By kills."""
    failed: list[int] = field(default_factory=list)
    """Seeds of rounds."""

    def text(self, seconds: float) -> str:
        def listed(counts: Counter[str]) -> str:
            return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

        kills = Counter({name: count for name, count in self.left.items() if name.startswith("on ")})
        return (
            f"{sum(self.rounds.values())} rounds ({listed(self.rounds)}); {sum(self.faults.values())} faults "
            f"({listed(self.faults)}); kills {listed(kills)}, which left {listed(self.left - kills)}; "
            f"{len(self.failed)} rounds failed{''.join(f' {seed}' for seed in self.failed)}. {seconds:.0f} s"
        )


def check(trial: Trial, undisturbed: Path) -> None:
    work = trial.output.parent
    files = ["r.h5", *(f"r.h5.cases/{name}" for name in names(undisturbed.with_name("r.h5.cases")))]
    for name, content in trial.planted.items():
        assert (work / name).read_bytes() == content, f"{name} is another run's, and was changed"
    assert sorted([*files, *trial.planted]) == names(work), f"not the files that should be there: {names(work)}"
    outcome = asymptop("compare", trial.output, undisturbed, timeout=PATIENCE)
    assert outcome.code == 0, str(outcome)
    for name in files:
        assert check_seal(work / name), f"{name} is not sealed"
        assert values(work / name) == values(undisturbed.parent / name), f"{name} differs"
    trial.command.check(trial.output)


def undisturbed_run(trial: Trial) -> Path:
    """Under another output's name, on other ranks than what follows perhaps."""
    ranks, threads = trial.rng.choice(LAYOUTS)
    command, output = trial.command, trial.folder / "undisturbed" / "r.h5"
    output.parent.mkdir()
    trial.said.append(
        f"asymptop {command.name} {' '.join(command.words)}\nundisturbed: {ranks} ranks x {threads} threads"
    )
    words = [*command.words, *command.how(trial.rng, ranks), "-o", str(output)]
    begin = time.monotonic()
    outcome = asymptop(command.name, *words, ranks=ranks, threads=threads, timeout=PATIENCE)
    assert outcome.code == 0, str(outcome)
    trial.seconds = time.monotonic() - begin
    return output


def one_round(seed: int, folder: Path, library: Path | None, only: Sequence[str], tally: Tally) -> Trial:
    """Raises when the results are not as they should be."""
    rng = random.Random(seed)
    trial = Trial(random_command(rng, folder), folder, 0.0, rng, library)
    try:
        undisturbed = undisturbed_run(trial)
        trial.output.parent.mkdir()
        weights = [weight for name, weight in zip(FAULTS, WEIGHTS, strict=True) if name in only]
        for name in rng.choices(only, weights, k=rng.randint(1, 4)):
            trial.said.append(f"{name}: ")
            if FAULTS[name](trial):
                tally.faults[name] += 1
        outcome = trial.finish(trial.start())
        assert outcome.code == 0, str(outcome)
        check(trial, undisturbed)
    except BaseException:
        print(f"--- seed of the round {seed}, in {folder}", *trial.said, sep="\n", flush=True)
        raise
    finally:
        tally.rounds[trial.command.kind] += 1
        tally.left.update(trial.left)
        for run in trial.runs:
            if not run.over():
                run.kill()
    return trial


def failure() -> str:
    """What is being handled: where in these files, and what."""
    _, error, trace = sys.exc_info()
    ours = [frame for frame in traceback.extract_tb(trace) if "/tests/" in frame.filename]
    where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in ours)
    return f"{where}: {type(error).__name__}: {error}"


class Interrupted(BaseException):
    pass


def interrupt(number: int, frame: object) -> None:
    raise Interrupted(signal.Signals(number).name)


def soak(
    folder: Path,
    seconds: float,
    seed: int,
    only: Sequence[str] = tuple(FAULTS),
    kills: int = 0,
    again: int | None = None,
) -> Tally:
    """Rounds until the time is over or there were so many kills; with `again` one round of that seed."""
    begin, told, tally, seeds = time.monotonic(), time.monotonic(), Tally(), random.Random(seed)
    library = failing_library(folder)
    try:
        while time.monotonic() - begin < seconds and (kills == 0 or tally.faults["SIGKILL"] < kills):
            of_round = again if again is not None else seeds.randrange(10**12)
            place = folder / str(of_round)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            try:
                one_round(of_round, place, library, only, tally)
                shutil.rmtree(place)
            except Exception:
                tally.failed.append(of_round)
                print(failure(), f"again: python3 tests/soak/soak.py --round {of_round}", "---", sep="\n", flush=True)
            if again is not None:
                break
            if time.monotonic() - told > 60.0:
                told = time.monotonic()
                print(tally.text(told - begin), flush=True)
    except Interrupted as how:
        print(f"ended by {how}", flush=True)
    print(tally.text(time.monotonic() - begin), flush=True)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0, help="no round begins later [120]")
    parser.add_argument("--seed", type=int, default=1, help="of all rounds [1]")
    parser.add_argument("--round", type=int, help="one round of this seed alone")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILL alone, until there were so many")
    parser.add_argument("--faults", help=f"comma-separated, of: {', '.join(FAULTS)} [all]")
    parser.add_argument("--folder", type=Path, help="where files are written [a temporary one]")
    arguments = parser.parse_args()
    only = (
        ("SIGKILL",)
        if arguments.kills > 0
        else tuple(arguments.faults.split(","))
        if arguments.faults
        else tuple(FAULTS)
    )
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="asymptop-soak-"))
    folder.mkdir(exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    print(f"seed {arguments.seed}, process {os.getpid()}, {folder}", flush=True)
    tally = soak(folder, 60.0 * arguments.minutes, arguments.seed, only, arguments.kills, arguments.round)
    if not tally.failed:
        shutil.rmtree(folder)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
