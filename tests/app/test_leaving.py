"""Runs that are asked to stop end soon, also within what has no boundary to stop at and when nothing moves any more."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import PATIENCE, SETTINGS, asymptop, binary
from failing_storage import preloaded
from running import Run

# One sample of this takes most of a minute on one core.
LONG_SAMPLE = ["--kernel", "score", "--n", "2^12,2^27", "--m", "256", "--keys", "streamed", "--samples", "3"]
LONG_SAMPLE += ["--threads", "1"]


@pytest.mark.parametrize(
    ("how", "ranks"),
    [pytest.param(signal.SIGUSR1, 2, marks=pytest.mark.long), (signal.SIGTERM, 1)],
    ids=["USR1", "TERM"],
)
def test_bench_leaves_a_sample(how: signal.Signals, ranks: int, start: Callable[..., Run], tmp_path: Path) -> None:
    """What is finished is in the results file."""
    output = tmp_path / "bench.h5"
    run = start(output, ranks, *LONG_SAMPLE, command="bench")
    deadline = time.monotonic() + 60.0 * PATIENCE
    while not output.exists() and not run.over() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(2.0)
    begin = time.monotonic()
    for rank in run.ranks():
        os.kill(rank, how)
    outcome = run.finish()
    assert outcome.code == 75, str(outcome)
    assert time.monotonic() - begin < 10.0 * PATIENCE
    assert "stopped on request: 1 of 2 cases finished, in " in outcome.stdout
    with h5py.File(output) as file:
        assert len(file["cases"]) == 1


def test_bench_leaves_its_yardsticks(start: Callable[..., Run], tmp_path: Path) -> None:
    """Of many shapes, each with a yardstick of its own."""
    shapes = ",".join(str(m) for m in range(16, 416, 4))
    options = ["--kernel", "score", "--n", "2^12", "--m", shapes, "--threads", "1"]
    run = start(tmp_path / "b.h5", 1, *options, command="bench")
    time.sleep(2.0)
    begin = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    outcome = run.finish()
    assert outcome.code == 75, str(outcome)
    assert time.monotonic() - begin < 10.0 * PATIENCE
    assert "stopped on request: 0 of 100 cases finished" in outcome.stdout
    assert "sgemm" not in outcome.stdout
    assert not (tmp_path / "b.h5").exists()


def test_a_run_that_does_not_move_ends_when_asked(start: Callable[..., Run], tmp_path: Path) -> None:
    """After half a minute in which nothing moved; the case that was finished stays."""
    ranks = 2
    library = preloaded("kokkos_stuck", tmp_path)
    if library is None:
        pytest.skip("there is no C compiler for the library that makes it stick")
    output = tmp_path / "r.h5"
    stuck = {name: str(library) for name in ("KOKKOS_TOOLS_LIBS", "KOKKOS_PROFILE_LIBRARY")}
    stuck |= {"STUCK_KERNEL": "Asymptop::profile::fused_pass", "STUCK_AT": "3"}
    options = ["--n", "1024,2048", "--k", "8", "--rows", "4", "--draws", "2", "--block", "256", "--path", "fused"]
    run = start(output, ranks, *options, settings=stuck)
    run.wait_for("n1024*.h5")
    time.sleep(1.0)
    for rank in run.ranks():
        os.kill(rank, signal.SIGUSR1)
    outcome = run.finish(90.0)
    assert outcome.code == 1, str(outcome)
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("asymptop: rank ")]
    assert lines
    assert all("was asked to stop and has not moved for 30 s" in line for line in lines)
    assert len(list(run.cases.glob("n1024*.h5"))) == 1
    resumed = asymptop("study", *options, "--resume", "-o", output)
    assert resumed.code == 0, str(resumed)


STUDY = ["study", "--n", "64", "--k", "8", "--rows", "4", "--draws", "2", "--block", "64"]
COMMANDS = {
    "study": [*STUDY, "--force"],
    "plan": [*STUDY, "--dry-run"],
    "records": [*STUDY, "--force", "--json", "-"],
    "attend": ["attend", "--n", "64", "--k", "8", "--block", "64", "--force"],
    "simulate": ["simulate", "--n", "64", "--k", "8", "--force"],
    "precision": ["precision", "--n", "64", "--force"],
    "bench": ["bench", "--kernel", "score", "--n", "64", "--m", "2", "--block", "64", "--samples", "3", "--force"],
    "help": ["study", "--help"],
    "all help": ["--help"],
    "version": ["--version"],
    "info": ["info", "whole.h5"],
    "compare": ["compare", "whole.h5", "whole.h5"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_full_standard_output(name: str, tmp_path: Path) -> None:
    """Exit 1 and one line: what was to be read there is lost."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    assert asymptop(*STUDY, "-o", "whole.h5", cwd=tmp_path).code == 0
    outcome = asymptop(*COMMANDS[name], cwd=tmp_path, stdout=Path("/dev/full"))
    assert outcome.code == 1, str(outcome)
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("asymptop:")]
    assert lines == ["asymptop: standard output could not be written to its end"], outcome.stderr


@pytest.mark.parametrize("command", ["study", "attend", "simulate", "precision", "bench"])
def test_an_output_that_is_a_link_stays_one(command: str, tmp_path: Path) -> None:
    """New behind a link that leads nowhere yet, and replaced; so does the file of records."""
    (tmp_path / "far").mkdir()
    for link, target in [("r.h5", "far/real.h5"), ("r.json", "far/real.json"), ("far/real.h5", "again.h5")]:
        (tmp_path / link).symlink_to(target)
    for _ in range(2):
        words = [word for word in COMMANDS[command] if word != "--force"]
        outcome = asymptop(*words, "--force", "-o", "r.h5", "--json", "r.json", cwd=tmp_path)
        assert outcome.code == 0, str(outcome)
        assert (tmp_path / "r.h5").is_symlink()
        assert (tmp_path / "r.json").is_symlink()
        assert (tmp_path / "far/real.h5").is_symlink()
        assert not (tmp_path / "far/again.h5").is_symlink()
        assert asymptop("info", "--verify", "r.h5", cwd=tmp_path).code == 0
        assert not list((tmp_path / "far").glob("*.part"))


def test_a_plan_leaves_links_alone(tmp_path: Path) -> None:
    (tmp_path / "r.json").symlink_to("nowhere.json")
    outcome = asymptop("study", "--n", "0", "--json", "r.json", cwd=tmp_path)
    assert outcome.code == 2
    assert asymptop(*STUDY, "--json", "r.json", cwd=tmp_path).code == 0
    assert (tmp_path / "r.json").is_symlink()
    assert (tmp_path / "nowhere.json").is_file()


@pytest.mark.parametrize("option", ["-o", "--save-output"])
def test_devices_are_no_outputs(option: str, tmp_path: Path) -> None:
    """A pipe here; replacing /dev/null would harm the whole machine."""
    os.mkfifo(tmp_path / "pipe")
    outcome = asymptop(*COMMANDS["attend"], option, "pipe", cwd=tmp_path)
    assert outcome.code == 2, str(outcome)
    assert "is a device, a pipe or the like, allowed is a file" in outcome.stderr
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_is_not_both_read_and_written(tmp_path: Path) -> None:
    """Tensors, a config or results that another of a command's files would replace, with --force and behind links."""
    rng = np.random.default_rng(1)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        for name in "QKV":
            file[name] = rng.standard_normal((64, 8)).astype(np.float32)
    (tmp_path / "link").symlink_to("t.h5")
    (tmp_path / "c.cfg").write_text("n = 64\nk = 8\nblock = 64\n")
    before = {name: (tmp_path / name).read_bytes() for name in ("t.h5", "c.cfg")}
    tensors = ["--input", "t.h5", "--n", "64", "--k", "4", "--block", "64", "--force"]
    study = [*tensors, "--rows", "4", "--draws", "2"]
    for command, words in [
        ("study", [*study, "-o", "t.h5"]),
        ("study", [*study, "-o", "link"]),
        ("study", [*study, "--json", "t.h5"]),
        ("study", [*study, "--json", "t.h5", "--dry-run"]),
        ("attend", [*tensors, "--save-output", "link"]),
        ("study", ["--config", "c.cfg", "--force", "-o", "c.cfg"]),
        ("study", ["--config", "c.cfg", "--json", "./c.cfg"]),
        ("study", ["--n", "64", "-o", "j.h5", "--json", "j.h5"]),
        ("bench", ["--n", "64", "-o", "j.h5", "--json", "j.h5"]),
        ("precision", ["--n", "64", "-o", "j.h5", "--json", "j.h5"]),
    ]:
        outcome = asymptop(command, *words, cwd=tmp_path)
        assert outcome.code == 2, (words, str(outcome))
        (line,) = outcome.stderr.splitlines()
        assert "is the file of --" in line
        assert {name: (tmp_path / name).read_bytes() for name in before} == before
        assert not (tmp_path / "j.h5").exists()


def test_a_config_that_comes_through_a_pipe(tmp_path: Path) -> None:
    script = f"exec '{binary()}' study --config <(printf 'n = 64\\nk = 8\\nblock = 64\\n') --dry-run"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=os.environ | SETTINGS, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "k = 8" in done.stdout
