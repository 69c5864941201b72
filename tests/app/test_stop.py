"""Stopping on request, checkpoints, and going on from them: the bytes of a run that nothing disturbed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from case_files import changing
from command_line import assert_equal, asymptop, binary, study, values
from failing_storage import preloaded, signal_at
from running import Run

# Two groups of two cases, a second or two on one rank; several draws of each.
AXES = ["--n", "4096,8192", "--sigma", "1,2", "--k", "8,64", "--block", "256"]
OPTIONS = [*AXES, "--rows", "16", "--draws", "24", "--threads", "1"]
CASES = ["n4096-d64-sigma1", "n4096-d64-sigma2", "n8192-d64-sigma1", "n8192-d64-sigma2"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("undisturbed") / "r.h5", OPTIONS)


def assert_undisturbed(output: Path, undisturbed: Path) -> None:
    assert_equal(output, undisturbed)
    assert values(output) == values(undisturbed)
    names = sorted(path.name for path in output.with_name(output.name + ".cases").iterdir())
    assert names == [f"{case}.h5" for case in CASES]


@pytest.mark.parametrize(
    ("how", "ranks", "whom"),
    [(signal.SIGUSR1, 2, "mpirun"), (signal.SIGTERM, 2, "last rank"), (signal.SIGUSR1, 1, "last rank")],
    ids=["USR1 to mpirun", "TERM to a rank", "USR1 alone"],
)
def test_stop_and_resume(
    how: signal.Signals, ranks: int, whom: str, start: Callable[..., Run], undisturbed: Path, tmp_path: Path
) -> None:
    """Within the first draws; then again on another number of ranks, until all is done."""
    output = tmp_path / "r.h5"
    run = start(output, ranks, *OPTIONS, "--checkpoint-minutes", "0")
    run.wait_for("*.checkpoint")
    os.kill(run.process.pid if whom == "mpirun" else run.ranks()[-1], how)
    outcome = run.finish()
    assert outcome.code == 75, str(outcome)
    (line,) = [line for line in outcome.stdout.splitlines() if line.startswith("stopped on request")]
    assert line.startswith("stopped on request: 0 of 4 cases finished, draw ")
    assert line.endswith(" of 24 of the next; --resume continues")
    assert not output.exists()
    left = sorted(path.name for path in run.cases.iterdir())
    assert [name for name in left if name != f"{CASES[0]}.draw"] == [f"{case}.checkpoint" for case in CASES[:2]]
    drawn = int(line.split("draw ")[1].split()[0])
    with h5py.File(run.cases / f"{CASES[0]}.checkpoint") as file:
        assert file["cases"][CASES[0]].attrs["draws"] == drawn
        assert 0 < drawn < 24
    resumed = asymptop("study", *OPTIONS, "--resume", "-o", output, ranks=3 - ranks)
    assert resumed.code == 0, str(resumed)
    assert "not taken over" not in resumed.stderr
    assert_undisturbed(output, undisturbed)


def test_interrupted(start: Callable[..., Run], undisturbed: Path, tmp_path: Path) -> None:
    """Ctrl-C asks for a stop, and says how to end at once: by another. A process that is to ignore it does."""
    output = tmp_path / "r.h5"
    # Tests that run behind a shell without job control have it ignored themselves.
    listening = ["env", "--default-signal=INT"]
    run = start(output, 1, *OPTIONS, "--checkpoint-minutes", "0", within=listening)
    run.wait_for("*.checkpoint")
    run.process.send_signal(signal.SIGINT)
    outcome = run.finish()
    assert outcome.code == 75, str(outcome)
    assert outcome.stderr.count("Ctrl-C once more ends it at once") == 1
    ignoring = start(output, 1, *OPTIONS, "--resume", within=["sh", "-c", "trap '' INT; exec \"$@\"", "sh"])
    ignoring.wait_for(f"{CASES[1]}.h5")
    ignoring.process.send_signal(signal.SIGINT)
    outcome = ignoring.finish()
    assert outcome.code == 0, str(outcome)
    assert_undisturbed(output, undisturbed)

    words = ["--n", "2^20", "--draws", "1000", "--threads", "1"]
    run = start(tmp_path / "twice.h5", 1, *words, command="attend", within=listening)
    time.sleep(1.0)
    for _ in range(2):
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert run.finish(10.0).code == -signal.SIGINT


def test_signals_taken_by_a_library(start: Callable[..., Run], tmp_path: Path) -> None:
    """One that MPI loads: hwloc's search for OpenCL devices brings LLVM, which handles both signals for itself."""
    taker = preloaded("signal_taker", tmp_path)
    if taker is None:
        pytest.skip("there is no C compiler")
    run = start(tmp_path / "r.h5", 1, *OPTIONS, "--checkpoint-minutes", "0", settings={"LD_PRELOAD": str(taker)})
    run.wait_for("*.checkpoint")
    run.process.send_signal(signal.SIGUSR1)
    assert (outcome := run.finish()).code == 75, str(outcome)


# One draw, which a run of hours would be; batches that are done, and one in work.
ONE_DRAW = [
    "--n",
    "65536",
    "--d",
    "32",
    "--sigma",
    "1,log(n)^0.5",
    "--k",
    "8,n^0.5",
    "--block",
    "1024",
    "--epsilon",
    "0.1,0.01",
]
ONE_DRAW += ["--rows", "40", "--draws", "1", "--threads", "1"]
WITHIN = {
    "batches": ["--batch-rows", "16"],
    "tiles": ["--path", "blas-tile", "--batch-rows", "16", "--keys", "streamed"],
    "thresholds": ["--output-error", "off", "--hold", "20", "--inputs", "clusters:8"],
}


def seen_of(draw: Path) -> int:
    """How far a draw had come, as a number that grows."""
    with h5py.File(draw) as file:
        keys = [np.diff(group["seen"][()].reshape(-1, 2)).sum() for group in file.values() if "seen" in group]
        return int(file.attrs["batches"]) * 10**9 + int(sum(keys))


@pytest.mark.parametrize("kind", WITHIN)
def test_left_within_a_draw(kind: str, failing: Path, tmp_path: Path) -> None:
    """Stopped and killed within its only draw, gone on with on other numbers of ranks: the bytes of a run in one go.
    A signal comes when what is known has been written down for the second time in a run."""
    options = [*ONE_DRAW, *WITHIN[kind]]
    whole, output = study(tmp_path / "whole.h5", options), tmp_path / "r.h5"
    seen = -1
    for ranks, how in [(1, signal.SIGUSR1), (2, signal.SIGKILL), (3, signal.SIGUSR1)]:
        outcome = asymptop(
            "study", *options, "--checkpoint-minutes", "0", "--resume", "-o", output, ranks=ranks,
            settings=signal_at(failing, ".draw", 2, how),
        )  # fmt: skip
        assert "not taken over" not in outcome.stderr
        assert outcome.code == (75 if how == signal.SIGUSR1 else 137), str(outcome)
        if outcome.code == 75:
            assert "0 of 2 cases finished, draw 0 of 1 of the next" in outcome.stdout
        (draw,) = (tmp_path / "r.h5.cases").glob("*.draw")
        now = seen_of(draw)
        assert now > seen, "what was known before is known still, and more"
        seen = now
    resumed = asymptop("study", *options, "--resume", "-o", output, ranks=2)
    assert resumed.code == 0, str(resumed)
    assert "not taken over" not in resumed.stderr
    assert_equal(output, whole)
    assert values(output) == values(whole)
    assert sorted(path.suffix for path in (tmp_path / "r.h5.cases").iterdir()) == [".h5", ".h5"]


@pytest.fixture(scope="module")
def within(failing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a study that was stopped within its only draw, in the second pass of its batch. Not to be changed."""
    output = tmp_path_factory.mktemp("within") / "r.h5"
    outcome = asymptop(
        "study",
        *ONE_DRAW,
        "--checkpoint-minutes",
        "0",
        "-o",
        output,
        settings=signal_at(failing, ".draw", 5, signal.SIGUSR1),
    )
    assert outcome.code == 75, str(outcome)
    with h5py.File(output.with_name("r.h5.cases") / "n65536-d32-sigma1.draw") as file:
        assert 0 < np.diff(file["second_pass_0/seen"][()])[0] < 65536
    return output


def test_what_a_draw_found_is_used(within: Path, tmp_path: Path) -> None:
    """A whole and sealed file with another sum: the row's checks notice, since nothing is computed anew."""
    shutil.copytree(within.with_name("r.h5.cases"), tmp_path / "r.h5.cases")
    draw = tmp_path / "r.h5.cases" / "n65536-d32-sigma1.draw"
    with changing(draw) as file:
        file["first_pass/moments"][0] += 1
    outcome = asymptop("study", *ONE_DRAW, "--resume", "-o", tmp_path / "r.h5")
    assert outcome.code == 1, str(outcome)
    assert "not taken over" not in outcome.stderr
    assert "INVALID: " in outcome.stdout
    assert "keys_seen" in outcome.stdout


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("flip", "checksum"),
        ("cut", "checksum"),
        ("--batch-rows=7", "rows at a time"),
        ("--seed=5", "with other options (seed = 1 there, seed = 5 here)"),
    ],
)
def test_refused_draw(how: str, why: str, within: Path, tmp_path: Path) -> None:
    shutil.copytree(within.with_name("r.h5.cases"), tmp_path / "r.h5.cases")
    if how in SPOIL:
        SPOIL[how][0](tmp_path / "r.h5.cases" / "n65536-d32-sigma1.draw")
    options = [*ONE_DRAW, *([how] if how not in SPOIL else [])]
    outcome = asymptop("study", *options, "--resume", "-o", tmp_path / "r.h5")
    assert outcome.code == 0, str(outcome)
    (line,) = [line for line in outcome.stderr.splitlines() if "not taken over" in line]
    assert "n65536-d32-sigma1.draw is not taken over: " in line
    assert why in line
    assert_equal(tmp_path / "r.h5", study(tmp_path / "fresh.h5", options))
    assert sorted(path.suffix for path in (tmp_path / "r.h5.cases").iterdir()) == [".h5", ".h5"]


def test_resume_with_a_target(start: Callable[..., Run], tmp_path: Path) -> None:
    """Where the run looks whether its draws are enough depends on the draws alone, also when another run made them."""
    options = ["--n", "4096", "--k", "8", "--block", "256", "--rows", "16", "--draws", "4", "--threads", "1"]
    options += ["--sigma", "2", "--target-se", "4%", "--target-metrics", "p_max"]
    whole = study(tmp_path / "whole.h5", options)
    run = start(tmp_path / "r.h5", 1, *options, "--checkpoint-minutes", "0")
    for stops in range(3):
        run.wait_for("*.checkpoint")
        time.sleep(0.05 * stops)
        run.process.send_signal(signal.SIGUSR1)
        # The checkpoint may be an earlier run's, and this one asked before it could listen.
        assert (outcome := run.finish()).code in (0, 75, -signal.SIGUSR1), str(outcome)
        run = start(tmp_path / "r.h5", 1, *options, "--checkpoint-minutes", "0", "--resume")
    assert (outcome := run.finish()).code == 0, str(outcome)
    assert_equal(tmp_path / "r.h5", whole)
    with h5py.File(whole) as file:
        assert file["cases/n4096-d64-sigma2"].attrs["draws"] > 8


def test_stop_between_cases_of_teams(start: Callable[..., Run], tmp_path: Path) -> None:
    """Two ranks study heads of their own; one is asked, both stop."""
    rows = ["--n", "4096", "--k", "8", "--rows", "32", "--draws", "32", "--block", "256", "--groups", "2"]
    with h5py.File(tmp_path / "tensors.h5", "w") as file:
        for i, name in enumerate("QKV"):
            file[name] = np.random.default_rng(i).standard_normal((6, 4096, 32), dtype="f4")
    options = ["--input", str(tmp_path / "tensors.h5"), *rows, "--threads", "1"]
    whole = study(tmp_path / "whole.h5", options, ranks=2)
    run = start(tmp_path / "r.h5", 2, *options, "--checkpoint-minutes", "0")
    run.wait_for("*")
    os.kill(run.ranks()[-1], signal.SIGUSR1)
    outcome = run.finish()
    assert outcome.code == 75, str(outcome)
    assert "of 6 cases finished" in outcome.stdout
    resumed = asymptop("study", *options, "--resume", "-o", tmp_path / "r.h5", ranks=2)
    assert resumed.code == 0, str(resumed)
    assert_equal(tmp_path / "r.h5", whole)


def test_simulation_stops(start: Callable[..., Run], tmp_path: Path) -> None:
    options = ["--n", "2^13,2^14", "--k", "8", "--rows", "700", "--draws", "4", "--threads", "1"]
    whole = asymptop("simulate", *options, "-o", tmp_path / "whole.h5")
    assert whole.code == 0, str(whole)
    run = start(tmp_path / "r.h5", 1, *options, "--checkpoint-minutes", "0", command="simulate")
    run.wait_for("*.checkpoint")
    run.process.send_signal(signal.SIGTERM)
    outcome = run.finish()
    assert outcome.code == 75, str(outcome)
    resumed = asymptop("simulate", *options, "--resume", "-o", tmp_path / "r.h5")
    assert resumed.code == 0, str(resumed)
    assert_equal(tmp_path / "r.h5", tmp_path / "whole.h5")


def test_commands_without_resume_stop_between_cases(start: Callable[..., Run], tmp_path: Path) -> None:
    """What is finished is in the results file."""
    for command, axes in [
        ("attend", ["--n", "512,1024,2048,8192", "--d", "32", "--k", "8", "--draws", "2"]),
        ("bench", ["--kernel", "score", "--n", "2^12,2^13,2^16", "--m", "64", "--samples", "10"]),
        ("precision", ["--n", "64,2^18", "--precision", "bf16", "--draws", "256"]),
    ]:
        output = tmp_path / f"{command}.h5"
        run = start(output, 1, *axes, "--threads", "1", command=command)
        deadline = time.monotonic() + 60.0
        while not output.exists() and run.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        run.process.send_signal(signal.SIGUSR1)
        outcome = run.finish()
        assert outcome.code == 75, str(outcome)
        assert "stopped on request: " in outcome.stdout
        assert asymptop("info", "--verify", output).code == 0


def test_attend_stops_within_a_draw(start: Callable[..., Run], tmp_path: Path) -> None:
    """One that would take minutes: within seconds, with the case that is finished."""
    output = tmp_path / "r.h5"
    words = ["--n", "64,2^17", "--k", "8", "--threads", "1", "--save-output", str(tmp_path / "out.h5")]
    run = start(output, 2, *words, command="attend")
    deadline = time.monotonic() + 60.0
    while not output.exists() and not run.over() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(0.5)
    run.process.send_signal(signal.SIGUSR1)
    outcome = run.finish(20.0)
    assert outcome.code == 75, str(outcome)
    assert "stopped on request: 1 of 2 cases finished, in " in outcome.stdout
    assert asymptop("info", "--verify", output).code == 0
    assert list(tmp_path.iterdir()) == [output]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a study that was stopped with checkpoints of its first two cases. Not to be changed."""
    output = tmp_path_factory.mktemp("stopped") / "r.h5"
    run = Run(output, 1, *OPTIONS, "--checkpoint-minutes", "0")
    run.wait_for("*.checkpoint")
    run.process.send_signal(signal.SIGUSR1)
    assert run.finish().code == 75
    return output


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def swap(path: Path) -> None:
    """A whole and sealed checkpoint, but of the other case."""
    path.write_bytes((path.parent / f"{CASES[1]}.checkpoint").read_bytes())


SPOIL = {"flip": (flip, "checksum"), "cut": (cut, "checksum"), "swap": (swap, f"cases/{CASES[0]}")}


@pytest.mark.parametrize("how", SPOIL)
def test_spoilt_checkpoint(how: str, stopped: Path, undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped.with_name("r.h5.cases"), tmp_path / "r.h5.cases")
    spoil, why = SPOIL[how]
    spoil(tmp_path / "r.h5.cases" / f"{CASES[0]}.checkpoint")
    outcome = asymptop("study", *OPTIONS, "--resume", "-o", tmp_path / "r.h5")
    assert outcome.code == 0, str(outcome)
    lines = [line for line in outcome.stderr.splitlines() if "not taken over" in line]
    (line,) = [line for line in lines if ".checkpoint is" in line]
    assert f"{CASES[0]}.checkpoint is not taken over: " in line
    assert all("draws before it are missing" in other for other in lines if other != line)
    assert why in line
    assert_undisturbed(tmp_path / "r.h5", undisturbed)


def test_checkpoint_of_a_finished_case(stopped: Path, undisturbed: Path, tmp_path: Path) -> None:
    """What a kill leaves just before a finished case's checkpoint is removed."""
    for folder in (undisturbed, stopped):
        shutil.copytree(folder.with_name("r.h5.cases"), tmp_path / "r.h5.cases", dirs_exist_ok=True)
    (tmp_path / "r.h5.cases" / f"{CASES[3]}.h5").unlink()
    outcome = asymptop("study", *OPTIONS, "--resume", "-o", tmp_path / "r.h5")
    assert outcome.code == 0, str(outcome)
    assert_undisturbed(tmp_path / "r.h5", undisturbed)


@pytest.mark.parametrize("other", [["--seed", "7"], ["--draws", "25"], ["--path", "blas-tile"]], ids=" ".join)
def test_checkpoint_of_other_options(other: list[str], stopped: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stopped.with_name("r.h5.cases"), tmp_path / "r.h5.cases"))
    options = [*AXES, "--rows", "16", "--threads", "1", *(["--draws", "24"] if other[0] != "--draws" else []), *other]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    finished = [path for path in before if path.suffix == ".h5"]
    if finished:  # they are kept: the run is refused, and nothing is touched
        outcome = asymptop("study", *options, "--resume", "-o", tmp_path / "r.h5")
        assert outcome.code == 2, str(outcome)
        (line,) = outcome.stderr.splitlines()
        assert "is finished, of other options (" in line
        assert f"{other[0][2:]} = {other[1]} here)" in line
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
    for path in finished:
        path.unlink()
    outcome = asymptop("study", *options, "--resume", "-o", tmp_path / "r.h5")
    assert outcome.code == 0, str(outcome)
    there = len(before) - len(finished)
    named = [line for line in outcome.stderr.splitlines() if "it was made with other options (" in line]
    assert len(named) == there
    assert all(f" there, {other[0][2:]} = {other[1]} here)" in line for line in named)
    assert_equal(tmp_path / "r.h5", study(tmp_path / "fresh.h5", options))


def test_checkpoints_are_no_results(stopped: Path, tmp_path: Path) -> None:
    checkpoint = stopped.with_name("r.h5.cases") / f"{CASES[0]}.checkpoint"
    outcome = asymptop("merge", "-o", tmp_path / "m.h5", checkpoint)
    assert outcome.code == 1
    assert "is a checkpoint" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_left_behind_parts(undisturbed: Path, tmp_path: Path) -> None:
    """Those of dead processes of this host go, with a line; those of other hosts may be in work."""
    shutil.copytree(undisturbed.with_name("r.h5.cases"), tmp_path / "r.h5.cases")
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = os.uname().nodename
    processes = {f"{host}.{dead.pid}": False, f"{host}.{os.getpid()}": True, "far.1": True}
    names = {f"x.h5.{process}.1.part": stays for process, stays in processes.items()}
    for name in names:
        (tmp_path / "r.h5.cases" / name).write_text("half")
    merged = tmp_path / f"r.h5.{host}.{dead.pid}.2.part"
    merged.write_text("half")
    outcome = asymptop("study", *OPTIONS, "--resume", "-o", tmp_path / "r.h5")
    assert outcome.code == 0, str(outcome)
    assert {name: (tmp_path / "r.h5.cases" / name).exists() for name in names} == names
    assert not merged.exists()
    for number in (1, 2):
        assert f"{dead.pid}.{number}.part is discarded" in outcome.stderr


@pytest.mark.parametrize("command", ["attend", "precision"])
def test_parts_beside_files(command: str, tmp_path: Path) -> None:
    """Commands that write one file discard what was to become that file, and nothing where they only plan."""
    words = ["--save-output", tmp_path / "out.h5"] if command == "attend" else []
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = os.uname().nodename
    names = ("r", "out") if command == "attend" else ("r",)
    discarded = [tmp_path / f"{name}.h5.{host}.{dead.pid}.1.part" for name in names]
    kept = [tmp_path / f"r.h5.far.{dead.pid}.1.part", tmp_path / f"s.h5.{host}.{dead.pid}.1.part"]
    for path in [*discarded, *kept]:
        path.write_text("half")
    for dry, left in ((["--dry-run"], True), ([], False)):
        outcome = asymptop(command, "--n", "64", "--k", "8", *words, "-o", tmp_path / "r.h5", *dry)
        assert outcome.code == 0, str(outcome)
        assert [path.exists() for path in discarded] == [left] * len(discarded)
        assert all((f"{path} is discarded: " in outcome.stderr) != left for path in discarded)
        assert all(path.exists() for path in kept)


def test_stop_while_starting(tmp_path: Path) -> None:
    """From the first instant of main on: the program starts itself again once, and the request is kept."""
    for delay in (0.03, 0.06, 0.1, 0.2):
        run = Run(tmp_path / f"{delay}.h5", 1, *OPTIONS)
        deadline = time.monotonic() + 30.0
        while not catches_or_holds(Path(f"/proc/{run.process.pid}")) and time.monotonic() < deadline:
            pass
        time.sleep(delay)
        run.process.send_signal(signal.SIGUSR1)
        outcome = run.finish()
        assert outcome.code == 75, str(outcome)


def catches_or_holds(process: Path) -> bool:
    """Not as Python holds a child before it becomes the program, or a library that starts a thread: these hold all."""
    bit, bit_of_another = (1 << (number - 1) for number in (signal.SIGUSR1, signal.SIGWINCH))
    lines = (process / "status").read_text().splitlines()
    masks = {line[:6]: int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt", "SigBlk"))}
    holds = masks["SigBlk"] & bit and not masks["SigBlk"] & bit_of_another
    return (process / "exe").readlink().name == binary().name and bool(masks["SigCgt"] & bit or holds)
