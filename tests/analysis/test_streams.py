"""Every command on a terminal of any encoding, a full standard output, a closed pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.io import reader, series
from asymptop.theory import laws
from make_results import Study, write_results

ANALYSIS = Path(command_line.__file__).parents[1]
NAMES = list(command_line.COMMANDS)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The words of each command, with something to read."""
    folder = tmp_path_factory.mktemp("streams")
    study = Study(n=(256, 1024, 4096), sigma=("1", "2*sqrt(log(n))"), k=("16", "n^0.5"), draws=4)
    results = str(write_results(folder / "results.h5", study))
    rng = np.random.default_rng(1)
    np.savez(folder / "t.npz", **{x: rng.standard_normal((40, 4)) for x in "qkv"})
    np.savez(folder / "w.npz", W_Q=rng.standard_normal((16, 4)), W_K=rng.standard_normal((16, 4)))
    words = {name: ["--help"] for name in NAMES}
    words["validate"] = [results]
    words["advise"] = [results, "--budget", "16"]
    words["weights"] = [str(folder / "w.npz"), "--n", "1k,2^12"]
    words["convert"] = [str(folder / "t.npz"), "--force", "-o", str(folder / "t.h5")]
    words["report"] = [results, "-o", str(folder / "report.html")]
    return {name: [name, *rest] for name, rest in words.items()}


def run(words: list[str], stdout: object = subprocess.PIPE, **more: object) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ANALYSIS)} | more.pop("env", {})
    call = [sys.executable, "-m", "asymptop", *words]
    return subprocess.run(call, stdout=stdout, stderr=subprocess.PIPE, env=environment, **more)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize("name", ["advise", "weights", "validate"])
def test_terminals_that_are_not_utf_8(commands: dict[str, list[str]], name: str, encoding: str) -> None:
    utf_8 = run(commands[name], env={"PYTHONIOENCODING": "utf-8"})
    done = run(commands[name], env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (utf_8.returncode, b"")
    shown, right = done.stdout.decode(encoding).splitlines(), utf_8.stdout.decode().splitlines()
    assert len(shown) == len(right)
    assert all(ours == theirs for ours, theirs in zip(shown, right, strict=True) if theirs.isascii())
    assert "?" not in "".join(shown)


def test_the_report_on_latin_1(commands: dict[str, list[str]]) -> None:
    done = run(commands["report"], env={"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert "sigma = 1 " in done.stdout.decode("latin-1")
    assert "σ" in Path(commands["report"][-1]).read_text(encoding="utf-8"), "the page keeps its letters"


def test_letters_and_bytes_that_no_table_spells(tmp_path: Path) -> None:
    for encoding in ("ascii", "utf-8"):
        for name in ("結果.h5", os.fsdecode(b"l\xe4ufe.h5")):
            done = run(["validate", str(tmp_path / name)], env={"PYTHONIOENCODING": encoding})
            assert done.returncode == 2
            assert done.stderr.count(b"\n") == 1
            assert b"no such file" in done.stderr
            assert (b"l\xe4ufe.h5" in done.stderr) == name.startswith("l")


@pytest.mark.parametrize("help_alone", [True, False])
@pytest.mark.parametrize("name", [*NAMES, ""])
def test_a_full_standard_output(commands: dict[str, list[str]], name: str, help_alone: bool) -> None:
    slow = name == "report" and not help_alone
    words = [*[name][: len(name)], "--help"] if help_alone or slow or not name else commands[name]
    with Path("/dev/full").open("wb") as full:
        done = run(words, full)
    assert done.returncode == 1
    assert done.stderr.decode() == f"asymptop {name}".rstrip() + ": standard output: No space left on device\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_that_nobody_reads(commands: dict[str, list[str]], name: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(commands[name] if name != "report" else [name, "--help"], writing)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr.decode() == f"asymptop {name}: standard output: Broken pipe\n"


def test_json_to_a_full_standard_output(commands: dict[str, list[str]]) -> None:
    for name in ("advise", "weights"):
        with Path("/dev/full").open("wb") as full:
            done = run([*commands[name], "--json", "-"], full)
        assert done.returncode == 1
        assert done.stderr.decode().splitlines()[-1] == f"asymptop {name}: standard output: No space left on device"


def test_closed_streams(commands: dict[str, list[str]]) -> None:
    done = run(commands["validate"], preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (1, b"asymptop validate: standard output: Bad file descriptor\n")
    words = [sys.executable, "-m", "asymptop", "validate", "gone.h5"]
    with Path("/dev/full").open("wb") as full:
        environment = os.environ | {"PYTHONPATH": str(ANALYSIS)}
        assert subprocess.run(words, stderr=full, env=environment).returncode == 2
    assert subprocess.run(words, preexec_fn=lambda: os.close(2), env=environment).returncode == 2


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["report"], ["report", "a", "--b\nc"], ["advise", "x", "--cost", "z"]]
)
def test_a_bad_command_line_is_one_line(words: list[str]) -> None:
    done = run(words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"asymptop")
    assert (b"--help" in done.stderr) == (words[:1] != ["advise"])  # what is wrong with a value is said


def test_a_law_of_any_spelling_is_the_law(tmp_path: Path) -> None:
    """sigma = 01 is constant: the claims of a constant sigma are tested on it."""
    assert laws.regime_of("01", 1.0, 4096).kind == "constant"
    assert laws.same("01", "1")
    found = {}
    for sigma in ("1", "01", "+1", "1.", "0.5*2", "10e-1"):
        path = write_results(tmp_path / "r.h5", Study(n=(256, 1024, 4096), sigma=(sigma,), k=("016", "n^0.5"), draws=4))
        with reader.open_results(path) as results:
            found[sigma] = [one.regime.kind for one in series.group_series(results.cases)]
        assert command_line.main(["validate", str(path)]) == 0
    assert set(map(tuple, found.values())) == {("constant",)}
