"""The three commands of jobs/ without Slurm: what would be submitted, what is refused, a run on this machine."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
from case_files import make_invalid
from command_line import ROOT, assert_equal, asymptop, binary, study
from jobs_commands import CASE, CLUSTER, jobs

pytestmark = pytest.mark.skipif(
    not binary().is_file(), reason=f"no binary at {binary()}: build it or set ASYMPTOP_BINARY"
)
BAD_NAME = "a b 'c' \"d\" $HOME `x` %a \\ ; & *"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a case and a site, of a bad name."""
    folder = tmp_path / BAD_NAME
    folder.mkdir()
    (folder / "my case.cfg").write_text(CASE)
    (folder / "site.env").write_text(CLUSTER)
    return folder


def submit(place: Path, *words: str | Path, code: int = 0) -> str:
    return jobs("submit", "my case.cfg", "--binary", binary(), *words, cwd=place, code=code)


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line.startswith("sbatch ")]


def test_shows_and_submits_nothing(place: Path) -> None:
    before = sorted(place.rglob("*"))
    text = submit(place, "--site", "site.env", "-o", "my run")
    assert sorted(place.rglob("*")) == before
    (array, finish) = commands(text)
    run = str(place / "my run")
    assert array[-3:] == [str(ROOT / "jobs/slurm/task.sh"), run, f"{run}/tasks/r1-a01"]
    assert finish[-2:] == [str(ROOT / "jobs/slurm/finish.sh"), run]
    options = {word.split("=", 1)[0]: word.split("=", 1)[-1] for word in array[1:-3]}
    assert options["--array"] == "0-0"
    assert (options["--nodes"], options["--ntasks"], options["--ntasks-per-node"], options["--cpus-per-task"]) == (
        "1",
        "2",
        "2",
        "4",
    )
    assert options["--signal"] == "B:USR1@120"
    assert options["--job-name"] == "my-run-r1-a01"
    assert "--requeue" in options
    assert re.fullmatch(r"\d+M", options["--mem"])
    assert options["--output"] == "/dev/null", "Slurm cannot name a log behind a backslash"
    assert "afterany:JOBS" in finish[4] + finish[5] + finish[6]
    assert "12 case(s)" in text


def test_percent_in_names(tmp_path: Path) -> None:
    folder = tmp_path / "100%a"
    folder.mkdir()
    (folder / "my case.cfg").write_text(CASE)
    (folder / "site.env").write_text(CLUSTER)
    for command, name in zip(
        commands(submit(folder, "--site", "site.env", "-o", "r")), ("%A_%a", "finish-%j"), strict=True
    ):
        assert f"--output={tmp_path}/100%%a/r/logs/{name}.log" in command
        assert f"--chdir={folder}/r" in command


def test_everything_can_be_overruled(place: Path) -> None:
    words = ["--nodes", "3", "--ntasks-per-node", "1", "--cpus-per-task", "5", "--mem", "7G", "--time", "1:30:00"]
    words += ["--array-limit", "1", "--target-time", "0:01", "--signal-seconds", "30"]
    arrays = commands(submit(place, "--site", "site.env", *words, "--", "--draws", "3", "--d=8"))[:-1]
    # Three units of one n each; two to an array.
    assert [next(word for word in array if word.startswith("--array")) for array in arrays] == [
        "--array=0-1%1",
        "--array=0-0",
    ]
    for option in ("nodes=3", "ntasks=3", "cpus-per-task=5", "mem=6676M", "time=90", "signal=B:USR1@30"):
        assert f"--{option}" in arrays[0]


def test_large_cases_get_nodes(place: Path) -> None:
    """2 x 12 GB of resident or 2 x 2 GB of streamed keys: the plan decides, never this machine's memory."""
    (place / "my case.cfg").write_text("n = 2^14,2^26\nsigma = 1\nk = 2^20\nrows = 64\ndraws = 32\nkeys = resident\n")
    arrays = commands(submit(place, "--site", "site.env", "--target-time", "1000:00:00"))[:-1]
    nodes = [next(word for word in array if word.startswith("--nodes")) for array in arrays]
    assert nodes == ["--nodes=1", "--nodes=4"]
    text = submit(place, "--site", "site.env", "--max-nodes", "1", code=2)
    assert "n = 67108864" in text
    assert "--max-nodes" in text


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--site", "nowhere"], ["--site", "nowhere", "local"]),
        ([], ["--site"]),
        (["--site", "site.env", "--time", "later"], ["--time", "later"]),
        (["--site", "site.env", "--mem", "lots"], ["--mem", "lots"]),
        (["--site", "site.env", "--nodes", "0"], ["--nodes", "0"]),
        (["--site", "site.env", "--safety", "0.1"], ["--safety", "0.1"]),
        (["--site", "site.env", "--bogus"], ["--bogus"]),
        (["--site", "site.env", "--", "--k", "nn"], ["nn"]),
        (["--site", "site.env", "--", "--output", "x.h5"], ["--output", "jobs/submit"]),
        (["--site", "site.env", "--", "--machine=nodes=2"], ["--machine"]),
        (["--site", "site.env", "--binary", "missing/asymptop"], ["missing/asymptop"]),
        (["--continue", "nothing"], ["nothing"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_refused(words: list[str], named: list[str], place: Path) -> None:
    before = sorted(place.rglob("*"))
    text = submit(place, *words, code=2)
    assert len(text.splitlines()) == 1, text
    for name in named:
        assert name in text
    assert sorted(place.rglob("*")) == before


def test_a_run_without_slurm(place: Path) -> None:
    """The same bytes as one study; no run is written over; a lost and a damaged case are measured again."""
    words = ["--site", "local", "-o", "my run", "--target-time", "0:01", "--no-report", "--submit"]
    submit(place, *words)
    run = place / "my run"
    assert len(list((run / "tasks/r1-a01").glob("*.units"))) == 6
    alone = study(place / "alone.h5", ["--config", place / "my case.cfg"])
    assert_equal(run / "results.h5", alone)
    assert "holds a run already" in submit(place, *words, code=2)
    assert "6 done" in jobs("status", run, cwd=place)
    assert "nothing is left" in jobs("submit", "--continue", run, cwd=place)

    cases = sorted((run / "results.h5.cases").iterdir())
    assert len(cases) == 12
    cases[0].unlink()
    cases[5].write_bytes(cases[5].read_bytes()[:2000])
    status = json.loads(jobs("status", run, "--json", cwd=place, code=1))
    assert status["cases"] == {"valid": 10, "absent": 1, "unusable": 1}
    assert status["counts"] == {"done": 4, "failed": 2}
    jobs("finish", run, cwd=place, code=1)
    assert asymptop("compare", run / "results.h5", alone).code == 1
    jobs("submit", "--continue", run, "--submit", cwd=place)
    assert_equal(run / "results.h5", alone)


@pytest.mark.parametrize("script", ["submit", "status", "finish"])
def test_a_full_standard_output(script: str, place: Path) -> None:
    """Exit 1 and one line, and nothing is begun that was not told of."""
    run = place / "my run"
    submit(place, "--site", "local", "-o", run, "--no-report", "--submit", "--", "--n", "64", "--d", "8")
    words = {"submit": ["my case.cfg", "--binary", binary(), "--site", "local", "-o", "other", "--submit"]}
    for given in (words.get(script, [run]), ["--help"]):
        text = jobs(script, *given, cwd=place, code=1, stdout=Path("/dev/full"))
        assert text == f"jobs/{script}: standard output cannot be written: No space left on device\n"
    assert not (place / "other").exists()


@pytest.mark.parametrize("letters", ["latin-1", "ascii"])
def test_terminals_of_few_letters(letters: str, tmp_path: Path) -> None:
    """What they do not know is printed as an escape; files keep the names that they have."""
    place = tmp_path / "Läufe → ∞"
    place.mkdir()
    (place / "my case.cfg").write_text(CASE)
    settings = {"PYTHONIOENCODING": letters, "LC_ALL": "C"}
    words = ["my case.cfg", "--binary", binary(), "--site", "local", "-o", "lauf ∞", "--no-report"]
    text = jobs("submit", *words, "--submit", "--", "--n", "64", cwd=place, settings=settings)
    assert "lauf \\u221e" in text
    text = jobs("status", place / "lauf ∞", cwd=place, settings=settings)
    assert "2 done" in text
    text = jobs("status", "keiner ∞", cwd=place, code=2, settings=settings)
    assert len(text.splitlines()) == 1


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Bytes of an older time: Latin-1 in a folder's name."""
    place = tmp_path / os.fsdecode("Läufe".encode("latin-1"))
    place.mkdir()
    (place / "c.cfg").write_text(CASE)
    words = ["c.cfg", "--binary", binary(), "--site", "local", "-o", "run", "--no-report", "--submit"]
    jobs("submit", *words, "--", "--n", "64", cwd=place)
    assert "2 done" in jobs("status", place / "run", cwd=place)


def test_the_home_folder(tmp_path: Path) -> None:
    """`~` where no shell opened it: `--output=~/x`, a site's SCRATCH, quoted names."""
    home = {"HOME": str(tmp_path / "home")}
    for part in ("home", "work"):
        (tmp_path / part).mkdir()
    (tmp_path / "home/my.cfg").write_text(CASE)
    (tmp_path / "home/my.env").write_text("SCHEDULER=none # here\nLAUNCHER_OPTIONS=--bind-to none\nSCRATCH=~/runs\n")
    (tmp_path / "home/program").symlink_to(binary())
    words = ["~/my.cfg", "--site", "~/my.env", "--binary=~/program", "--no-report", "--submit"]
    for more, run in (([], "runs/my"), (["--output=~/a/b"], "a/b")):
        jobs("submit", *words, *more, "--", "--n", "64", cwd=tmp_path / "work", settings=home)
        assert (tmp_path / "home" / run / "results.h5").is_file()
        for script in ("status", "finish"):
            jobs(script, f"~/{run}", cwd=tmp_path / "work", settings=home)
        assert "nothing is left" in jobs("submit", f"--continue=~/{run}", cwd=tmp_path / "work", settings=home)
    assert list((tmp_path / "work").iterdir()) == []
    text = jobs("submit", *words, "--output=~no-such-user/x", cwd=tmp_path / "work", code=2, settings=home)
    assert "~no-such-user/x" in text
    assert len(text.splitlines()) == 1


def test_a_place_that_takes_no_run(place: Path) -> None:
    (place / "file").write_text("")
    for output in ("file", "file/run", "x" * 300):
        text = submit(place, "--site", "local", "-o", output, "--submit", code=2)
        assert [line for line in text.splitlines() if line.startswith("jobs/submit:")] == text.splitlines()[-1:]
        assert f"--output is '{place}/{output}': " in text


def test_an_invalid_case_is_whole(place: Path) -> None:
    run = place / "run"
    submit(place, "--site", "local", "-o", run, "--no-report", "--submit", "--", "--n", "64", "--d", "8")
    make_invalid(run / "results.h5.cases/n64-d8-sigma1.h5")
    text = jobs("status", run, cwd=place, code=1)
    assert "1 invalid" in text
    assert "1 valid" in text
    assert "nothing is left" in jobs("submit", "--continue", run, cwd=place)
    jobs("finish", run, cwd=place, code=1)
    with h5py.File(run / "results.h5") as file:
        assert len(file["cases"]) == 2


def test_tensors_are_split_by_heads(place: Path) -> None:
    """A relative name of the tensor file means what it meant to the user, wherever jobs run."""
    rng = np.random.default_rng(5)
    with h5py.File(place / "Q K V;.h5", "w") as file:
        for name in "QKV":
            file[name] = rng.standard_normal((3, 300, 8)).astype("f4")
    (place / "my case.cfg").write_text("n = 100,300\nk = 4\nrows = 4\ndraws = 2\nblock = 64\n")
    given = ["--input", "Q K V;.h5", "--heads", "2,0"]
    submit(place, "--site", "local", "-o", "run", "--target-time", "0:01", "--no-report", "--submit", "--", *given)
    assert len(list((place / "run/tasks/r1-a01").glob("*.units"))) == 4
    words = ["study", "--config", "my case.cfg", *given, "-o", "alone.h5"]
    assert asymptop(*words, cwd=place).code == 0
    assert_equal(place / "run/results.h5", place / "alone.h5")
