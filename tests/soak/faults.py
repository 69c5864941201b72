"""What can happen to a run. Each fault takes a trial, starts a run or two and does to them or their files what its name
says, and holds what they said and left against what is documented. It returns whether it came to pass: a run may end
before it is hit."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from command_line import Outcome
from commands import Command
from failing_storage import settings as failing
from running import Run, all_end, descendants
from test_storage import damaged

# Ranks and threads.
LAYOUTS = ((1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (2, 2))
PATIENCE = 240.0


@dataclass
class Trial:
    """A command whose output is disturbed."""

    command: Command
    folder: Path
    seconds: float
    """Of an undisturbed run."""
    rng: random.Random
    library: Path | None
    """Makes calls fail."""
    planted: dict[str, bytes] = field(default_factory=dict)
    """Files of others in the folder of cases, or beside the output, that must stay."""
    spared: Path | None = None
    """A checkpoint that was there once."""
    runs: list[Run] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """What was run and done, for people."""
    left: Counter[str] = field(default_factory=Counter)
    """What a kill had left."""

    @property
    def output(self) -> Path:
        return self.folder / "work" / "r.h5"

    @property
    def cases(self) -> Path:
        return self.folder / "work" / "r.h5.cases"

    @property
    def parts(self) -> Path:
        """Where files are written before they have their names."""
        return self.cases if self.command.resumable else self.output.parent

    def start(self, ranks: int = 0, settings: dict[str, str] | None = None, within: tuple[str, ...] = ()) -> Run:
        layouts = [layout for layout in LAYOUTS if ranks in (0, layout[0])]
        ranks, threads = self.rng.choice(layouts)
        options = [*self.command.words, *self.command.how(self.rng, ranks), *self.command.again]
        self.said.append(f"{ranks} ranks x {threads} threads: {' '.join(options[len(self.command.words) :])}")
        run = Run(
            self.output, ranks, *options, command=self.command.name, threads=threads, settings=settings, within=within
        )
        self.runs.append(run)
        return run

    def finish(self, run: Run) -> Outcome:
        try:
            outcome = run.finish(PATIENCE)
        except subprocess.TimeoutExpired:
            run.kill()
            raise AssertionError(f"a run has not ended after {PATIENCE:.0f} s") from None
        self.said[-1] += f": exit {outcome.code}"
        return outcome

    def an_instant(self, run: Run) -> None:
        """Until some time within the run: any, or just when it writes a file."""
        if self.rng.random() < 0.4:
            wait(run, self.rng.uniform(0.0, 1.2 * self.seconds))
            return
        seen, before, deadline = set(names(self.output.parent)), len(names(self.output.parent)), time.monotonic() + 20.0
        files = self.rng.randint(1, 9)  # names of parts differ from one another
        while not run.over() and len(seen) < before + files and time.monotonic() < deadline:
            seen |= set(names(self.output.parent))
        wait(run, self.rng.choice([0.0, self.rng.uniform(0.0, 0.02)]))

    def keep_a_checkpoint(self) -> None:
        """A copy of one that is there, for `left_behind`."""
        there = [*self.cases.glob("*.checkpoint"), *self.cases.glob("*.draw")] if self.cases.exists() else []
        if there:
            chosen = self.rng.choice(sorted(there))
            with contextlib.suppress(FileNotFoundError):  # the program goes on: its case may be finished by now
                self.spared = Path(shutil.copy(chosen, self.folder / chosen.name))

    def no_parts(self, outcome: Outcome) -> None:
        """Groups of ranks are ended in the midst of their work when one of them fails."""
        if outcome.code == 1 and "groups of ranks" in outcome.stdout:
            return
        left = [name for name in names(self.output.parent) if name.endswith(".part")]
        assert set(left) <= set(self.planted), f"parts of files are left: {left}"


def names(folder: Path) -> list[str]:
    """Of the files below it."""
    found: list[str] = []
    for place, _, files in os.walk(folder):
        found += [os.path.relpath(os.path.join(place, name), folder) for name in files]
    return sorted(found)


def wait(run: Run, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not run.over() and time.monotonic() < deadline:
        time.sleep(0.001)


def lines_of(outcome: Outcome) -> list[str]:
    """What the program said of errors; what --resume says of files is not one, nor is a warning."""
    known = ("is not taken over: ", "is discarded: it was not written to its end", "share cores")
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("asymptop:")]
    return [line for line in lines if not any(text in line for text in known)]


def one_line(outcome: Outcome, *parts: str) -> None:
    """Or one of each group of ranks: groups may fail at once, each with a file of its own."""
    lines = lines_of(outcome)
    assert len(lines) == 1 or (lines and "groups of ranks" in outcome.stdout), f"not one line: {outcome}"
    for part in parts:
        assert all(part in line for line in lines), f"{part!r} is not said: {outcome}"


def killed(trial: Trial) -> bool:
    run = trial.start()
    trial.an_instant(run)
    if run.over():
        assert trial.finish(run).code == 0
        return False
    trial.keep_a_checkpoint()
    run.kill()
    trial.left[f"on {run.count} ranks"] += 1
    left = names(trial.cases) if trial.cases.exists() else []
    for kind in (".h5", ".checkpoint", ".draw", ".part"):
        trial.left[kind] += any(name.endswith(kind) for name in left)
    trial.said[-1] += ": killed"
    return True


def rank_killed(trial: Trial) -> bool:
    run = trial.start(trial.rng.randint(2, 4))
    trial.an_instant(run)
    everything, ranks = descendants(run.process.pid), run.ranks()
    victim = trial.rng.choice(ranks)
    if run.process.pid in ranks or run.over():
        assert trial.finish(run).code == 0
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    # mpirun itself may wait for ever when all ranks have ended: libpmix 4.2 frees a lock that it then takes (README).
    assert all_end([process for process in everything if process != run.process.pid], 15.0), "a process lives on"
    wait(run, 30.0)
    if not run.over():
        run.kill()
        trial.said[-1] += ": mpirun had to be ended"
        trial.left["mpirun that waits for nothing"] += 1
        return True
    outcome = trial.finish(run)
    assert outcome.code not in (2, 75), f"a rank was killed: {outcome}"
    return outcome.code != 0


def listens(process: int) -> bool:
    """Whether the signals that stop a run are held or handled already."""
    wanted = (1 << (signal.SIGUSR1 - 1)) | (1 << (signal.SIGTERM - 1))
    try:
        lines = dict(line.split(":\t") for line in Path(f"/proc/{process}/status").read_text().splitlines())
    except (OSError, ValueError):
        return False
    return wanted & ~(int(lines["SigBlk"], 16) | int(lines["SigCgt"], 16)) == 0 and lines["Name"] == "asymptop"


def stopped(trial: Trial) -> bool:
    """SIGUSR1 to mpirun or a rank, or SIGTERM to a rank."""
    if trial.command.kind == "precision":
        return False  # has no way to stop
    run = trial.start()
    trial.an_instant(run)
    deadline = time.monotonic() + 30.0
    # Before a rank's program is in its place nothing can hold a signal for it.
    while not run.over() and sum(listens(rank) for rank in run.ranks()) < run.count and time.monotonic() < deadline:
        time.sleep(0.001)
    how, whom = trial.rng.choice([(signal.SIGUSR1, -1), (signal.SIGUSR1, 0), (signal.SIGTERM, 0)])
    if not run.over():
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.process.pid if whom == -1 else trial.rng.choice(run.ranks()), how)
    outcome = trial.finish(run)
    assert outcome.code in (0, 75), f"it was asked to stop: {outcome}"
    assert lines_of(outcome) == []
    trial.no_parts(outcome)
    if outcome.code == 75:
        assert "stopped on request: " in outcome.stdout, str(outcome)
    trial.keep_a_checkpoint()
    return outcome.code == 75


def failing_call(trial: Trial) -> bool:
    """From some call on, storage refuses."""
    if trial.library is None:
        return False
    what = trial.rng.choice(["write", "write", "fsync", "rename"])
    where = (
        trial.rng.choice([".cases/", ".checkpoint", ".draw", "/r.h5.", "-d"]) if trial.command.resumable else "/r.h5"
    )
    at = round(trial.rng.uniform(1.0, 6.0) ** (trial.rng.uniform(0.0, 2.0) if what == "write" else 0.8))
    error = trial.rng.choice([errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EACCES])
    once = trial.rng.random() < 0.3
    run = trial.start(settings=failing(trial.library, what, where, at, error) | ({"FAIL_COUNT": "1"} if once else {}))
    outcome = trial.finish(run)
    trial.said[-1] += (
        f" ({what} of *{where}* fails with {errno.errorcode[error]} {'at' if once else 'from'} call {at}"
        f"{'' if once else ' on'})"
    )
    trial.no_parts(outcome)
    if outcome.code == 0:
        return False
    assert outcome.code == 1, str(outcome)
    one_line(outcome, os.strerror(error), "r.h5")
    return True


# What is in the folder moves to a file system of its own and back; the rest of the words is run there.
ELSEWHERE = """set -e
mkdir under && mount --bind work under && mount -t tmpfs -o "$HOW" none work && cp -a under/. work/ || exit 99
if [ -n "$THEN" ]; then mount -o "remount,$THEN" work; fi
cd "$OLDPWD"; set +e
"$@"
code=$?
cd - > /dev/null
find under -mindepth 1 -delete && cp -a work/. under/ || exit 98
exit $code"""


@cache
def mounts_possible() -> bool:
    words = ["unshare", "--mount", "--propagation", "private", "true"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


def elsewhere(trial: Trial, how: str, then: str = "") -> Outcome:
    script = f'cd /; cd "{trial.folder}"\n{ELSEWHERE}'
    within = ("unshare", "--mount", "--propagation", "private", "bash", "-c", script, "-")
    run = trial.start(settings={"HOW": how, "THEN": then}, within=within)
    outcome = trial.finish(run)
    (trial.folder / "under").rmdir()
    assert outcome.code not in (98, 99), f"mounts: {outcome}"
    return outcome


def full_disk(trial: Trial) -> bool:
    if not mounts_possible():
        return False
    size = sum((trial.output.parent / name).stat().st_size // 4096 * 4 + 8 for name in names(trial.output.parent))
    outcome = elsewhere(trial, f"size={size + 32 + trial.rng.randrange(8, 400)}k")
    trial.said[-1] += " (on a small disk)"
    trial.no_parts(outcome)
    if outcome.code == 0:
        return False
    assert outcome.code in (1, 2), str(outcome)  # 2: there was not even room to begin
    one_line(outcome, os.strerror(errno.ENOSPC), "r.h5")
    return True


def read_only(trial: Trial) -> bool:
    if not mounts_possible():
        return False
    before = {name: (trial.output.parent / name).read_bytes() for name in names(trial.output.parent)}
    outcome = elsewhere(trial, "size=64m", "ro")
    trial.said[-1] += " (read-only)"
    assert outcome.code == 2, str(outcome)
    one_line(outcome, "--output: ", "cannot be written")
    assert before == {name: (trial.output.parent / name).read_bytes() for name in names(trial.output.parent)}
    return True


def file_damaged(trial: Trial) -> bool:
    """Bits flipped, a page lost, an end cut off."""
    there = [name for name in names(trial.output.parent) if not name.endswith(".part")]
    if not there:
        return False
    name = trial.rng.choice(there)
    path = trial.output.parent / name
    content = path.read_bytes()
    spoilt = damaged(content, trial.rng) if content else b"?"
    if spoilt == content:
        return False
    path.write_bytes(spoilt)
    run = trial.start()
    outcome = trial.finish(run)
    trial.said[-1] += f" ({name} was damaged)"
    assert outcome.code == 0, str(outcome)
    of_case = name.replace(".checkpoint", ".h5").replace(".draw", ".h5")
    looked_at = path.parent == trial.cases and (name.endswith(".h5") or of_case not in there)
    assert not looked_at or f"{path} is not taken over: " in outcome.stderr, str(outcome)
    return True


def left_behind(trial: Trial) -> bool:
    """Parts of files of a dead process, of a living one and of another host; an old checkpoint, a false one."""
    trial.parts.mkdir(exist_ok=True)
    dead = subprocess.Popen(["true"])
    dead.wait()
    host, number = os.uname().nodename, trial.rng.randrange(10**6)
    name = "n64-d64-sigma1.h5" if trial.command.resumable else "r.h5"
    discarded = trial.parts / f"{name}.{host}.{dead.pid}.{number}.part"
    discarded.write_bytes(trial.rng.randbytes(trial.rng.randrange(5000)))
    for owner in (f"{host}.{os.getpid()}", "far.example.1"):
        kept = trial.parts / f"{name}.{owner}.{number}.part"
        kept.write_bytes(trial.rng.randbytes(trial.rng.randrange(5000)))
        trial.planted[os.path.relpath(kept, trial.output.parent)] = kept.read_bytes()
    refused = None
    if trial.command.resumable and trial.spared is not None and trial.rng.random() < 0.6:
        shutil.copy(trial.spared, trial.cases / trial.spared.name)
    elif finished := sorted(trial.cases.glob("*.h5")) if trial.command.resumable else []:
        chosen = trial.rng.choice(finished)
        refused = chosen.rename(chosen.with_suffix(".checkpoint"))
    outcome = trial.finish(trial.start())
    trial.said[-1] += " (files were left behind)"
    assert outcome.code == 0, str(outcome)
    assert f"{discarded} is discarded: " in outcome.stderr, str(outcome)
    assert not discarded.exists()
    assert refused is None or f"{refused} is not taken over: " in outcome.stderr, str(outcome)
    return True


def two_at_once(trial: Trial) -> bool:
    """One may stand still while the other does the work, and one may be killed."""
    first, second = trial.start(), trial.start()
    still, ended = trial.rng.random() < 0.5, trial.rng.random() < 0.3
    wait(first, trial.rng.uniform(0.0, trial.seconds))
    if still:
        everything = [first.process.pid, *descendants(first.process.pid)]
        for how in (signal.SIGSTOP, signal.SIGCONT):
            for one in everything:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, how)
            if how == signal.SIGSTOP:
                wait(second, trial.rng.uniform(0.0, 2.0 * trial.seconds))
    if ended and not first.over():
        first.kill()
    else:
        outcome = trial.finish(first)
        assert outcome.code == 0, str(outcome)
    outcome = trial.finish(second)
    assert outcome.code == 0, str(outcome)
    return True


FAULTS: dict[str, Callable[[Trial], bool]] = {
    "SIGKILL": killed,
    "one rank killed": rank_killed,
    "asked to stop": stopped,
    "failing call": failing_call,
    "full disk": full_disk,
    "read-only folder": read_only,
    "damaged file": file_damaged,
    "left behind": left_behind,
    "two at once": two_at_once,
}
# A kill and a stop leave work for what comes after them.
WEIGHTS = (5, 2, 3, 3, 1, 1, 2, 2, 1)
