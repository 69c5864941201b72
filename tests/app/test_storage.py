"""Storage that fails: one message with file and cause, a non-zero exit, and finished cases that stay as they are."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from asymptop.io.reader import ResultsError, open_results  # type: ignore[import-not-found]
from command_line import SETTINGS, assert_equal, asymptop, binary, study
from failing_storage import settings
from own_environment import own_environment
from running import Run

OPTIONS = ["--n", "64,100", "--k", "8", "--rows", "4", "--draws", "4", "--block", "64", "--threads", "1"]
CASES = ["n100-d64-sigma1.h5", "n64-d64-sigma1.h5"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("whole") / "r.h5", OPTIONS)


def said(stderr: str) -> str:
    (line,) = [line for line in stderr.splitlines() if line.startswith("asymptop:")]
    return line


# n = 64 is the first case, n = 100 the second; then all are merged.
FAULTS = [
    ("write", "n64-d64-sigma1.h5", 1, errno.ENOSPC, []),
    ("write", "n100-d64-sigma1.h5", 2, errno.EIO, CASES[1:]),
    ("write", "r.h5.", 7, errno.EDQUOT, None),
    ("write", "/r.h5.", 20, errno.ENOSPC, None),
    ("fsync", "n64-d64-sigma1.h5", 1, errno.EIO, []),
    ("fsync", "n100-d64-sigma1.h5", 1, errno.ENOSPC, CASES[1:]),
    ("rename", "n100-d64-sigma1.h5", 1, errno.EACCES, CASES[1:]),
    ("rename", "/r.h5", 3, errno.EIO, CASES),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault[0]}-{fault[1]}-{fault[2]}")
def test_failing_calls(
    fault: tuple[str, str, int, int, list[str] | None], failing: Path, whole: Path, tmp_path: Path
) -> None:
    call, path, at, error, finished = fault
    output = tmp_path / "r.h5"
    outcome = asymptop("study", *OPTIONS, "-o", output, settings=settings(failing, call, path, at, error))
    assert outcome.code == 1, str(outcome)
    line = said(outcome.stderr)
    assert os.strerror(error) in line
    assert str(output) in line
    assert not output.exists()
    left = sorted(path.name for path in (tmp_path / "r.h5.cases").iterdir())
    assert finished is None or left == finished
    for name in left:
        assert name in CASES
        assert_equal(tmp_path / "r.h5.cases" / name, whole.with_name("r.h5.cases") / name)
    assert asymptop("study", *OPTIONS, "--resume", "-o", output).code == 0
    assert_equal(output, whole)


def test_one_failing_write(failing: Path, tmp_path: Path) -> None:
    """Any single write fails, and later ones do not. HDF5 writes chunks when their dataset is closed: zeros would stand
    in their place, sealed, were it not asked then. Writes of its own book-keeping it tries again."""
    options = ["--n", "64", "--k", "8", "--rows", "40", "--draws", "30", "--block", "64", "--threads", "1"]
    whole = study(tmp_path / "whole.h5", options)
    refused = 0
    seed = random.randrange(2**32)
    for at in random.Random(seed).sample(range(1, 61), 12):
        output = tmp_path / f"{at}.h5"
        fault = settings(failing, "write", "n64-d64-sigma1.h5", at, errno.ENOSPC) | {"FAIL_COUNT": "1"}
        outcome = asymptop("study", *options, "-o", output, settings=fault)
        if outcome.code == 0:
            assert_equal(output, whole)
            continue
        assert outcome.code == 1, f"write {at}: {outcome}"
        assert os.strerror(errno.ENOSPC) in said(outcome.stderr)
        assert not output.exists()
        refused += 1
    assert refused >= 2, f"datasets of many numbers are written in chunks, one after another; seed {seed}"


def test_failing_checkpoint(failing: Path, tmp_path: Path) -> None:
    options = [*OPTIONS, "--checkpoint-minutes", "0"]
    fault = settings(failing, "write", ".checkpoint.", 3, errno.ENOSPC)
    outcome = asymptop("study", *options, "-o", tmp_path / "r.h5", settings=fault)
    assert outcome.code == 1
    assert "n64-d64-sigma1.checkpoint: " in said(outcome.stderr)
    assert os.strerror(errno.ENOSPC) in said(outcome.stderr)
    assert list((tmp_path / "r.h5.cases").iterdir()) == []


def test_refused_locks(failing: Path, whole: Path, tmp_path: Path) -> None:
    """Locks are not asked for; where the user wants them, their refusal is said."""
    fault = settings(failing, "flock", "", 1, errno.ENOLCK)
    outcome = asymptop("study", *OPTIONS, "-o", tmp_path / "r.h5", settings=fault)
    assert outcome.code == 0, str(outcome)
    assert_equal(tmp_path / "r.h5", whole)
    outcome = asymptop("study", *OPTIONS, "-o", tmp_path / "s.h5", settings=fault | {"HDF5_USE_FILE_LOCKING": "TRUE"})
    assert outcome.code == 1
    assert os.strerror(errno.ENOLCK) in said(outcome.stderr)


def in_mounts(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script with mounts of its own; skips where that is not permitted."""
    words = ["unshare", "--mount", "--propagation", "private"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode != 0:
        pytest.skip("mounts of one's own are not permitted here")
    environment = os.environ | SETTINGS | {"BINARY": str(binary()), "OPTIONS": " ".join(OPTIONS)}
    return subprocess.run(
        [*words, "bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=60.0
    )


def test_full_disk(whole: Path, tmp_path: Path) -> None:
    """One case fits, two do not; with more room, --resume keeps the first and does the rest."""
    size = (whole.with_name("r.h5.cases") / CASES[1]).stat().st_size // 1024
    script = f"""mkdir small && mount -t tmpfs -o size={size * 3 // 2 + 8}k none small || exit 99
        $BINARY study $OPTIONS -o small/r.h5; echo "exit $?"; ls small/r.h5.cases
        mount -o remount,size=16m small
        $BINARY study $OPTIONS --resume -o small/r.h5 && cp small/r.h5 r.h5"""
    outcome = in_mounts(script, tmp_path)
    if outcome.returncode == 99:
        pytest.skip("tmpfs cannot be mounted here")
    assert "exit 1" in outcome.stdout, outcome.stdout + outcome.stderr
    assert outcome.stdout.split("exit 1")[1].split()[0] == CASES[1]
    assert "small/r.h5.cases/n100-d64-sigma1.h5: " in said(outcome.stderr)
    assert os.strerror(errno.ENOSPC) in said(outcome.stderr)
    assert_equal(tmp_path / "r.h5", whole)


def test_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """The signal that comes with it does not end the run without a word."""
    output = tmp_path / "r.h5"
    words = [binary(), "study", "--n", "1024", "--rows", "1000", "--draws", "24", "-o", output]
    # In blocks of 512 bytes: MPI itself writes some files.
    limited = ["sh", "-c", 'ulimit -f 16384; exec "$@"', "sh", *map(str, words)]
    done = subprocess.run(limited, capture_output=True, text=True, env=own_environment() | SETTINGS, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert os.strerror(errno.EFBIG) in said(done.stderr)
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob("*/*.part"))


def test_read_only_folder(tmp_path: Path) -> None:
    script = """mkdir there && mount -t tmpfs none there || exit 99
        mkdir there/r.h5.cases && mount -o remount,ro there
        $BINARY study $OPTIONS --resume -o there/r.h5; echo "exit $?" """
    outcome = in_mounts(script, tmp_path)
    if outcome.returncode == 99:
        pytest.skip("tmpfs cannot be mounted here")
    assert "exit 2" in outcome.stdout, outcome.stdout + outcome.stderr
    assert f"--output: 'there/r.h5' cannot be written: {os.strerror(errno.EROFS)}" in said(outcome.stderr)


def test_cases_on_another_file_system(whole: Path, tmp_path: Path) -> None:
    script = """mkdir other && mount -t tmpfs none other || exit 99
        ln -s other r.h5.cases; $BINARY study $OPTIONS --resume -o r.h5; echo "exit $?"; ls other"""
    outcome = in_mounts(script, tmp_path)
    if outcome.returncode == 99:
        pytest.skip("tmpfs cannot be mounted here")
    assert outcome.stdout.split("exit 0")[1].split() == CASES, outcome.stdout + outcome.stderr
    assert_equal(tmp_path / "r.h5", whole)


def test_two_runs_at_once(start: Callable[..., Run], tmp_path: Path) -> None:
    """A run that was taken for dead comes back while, and after, another one has finished its work."""
    options = ["--n", "4096", "--sigma", "1,2", "--k", "8", "--rows", "16", "--draws", "24", "--block", "256"]
    whole = study(tmp_path / "whole.h5", [*options, "--threads", "1"])
    output = tmp_path / "r.h5"
    options += ["--threads", "1", "--checkpoint-minutes", "0", "--resume"]
    first = start(output, 1, *options)
    first.wait_for("*.checkpoint")
    first.process.send_signal(signal.SIGSTOP)
    second = start(output, 1, *options)
    third = start(output, 1, *options)
    assert second.finish().code == 0
    assert third.finish().code == 0
    assert_equal(output, whole)
    first.process.send_signal(signal.SIGCONT)
    assert first.finish().code == 0
    assert_equal(output, whole)
    names = sorted(path.name for path in first.cases.iterdir())
    assert [name for name in names if name.endswith(".h5")] == ["n4096-d64-sigma1.h5", "n4096-d64-sigma2.h5"]
    assert not [name for name in names if name.endswith(".part")]
    for name in names:
        if name.endswith(".h5"):
            assert asymptop("info", "--verify", first.cases / name).code == 0


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bits flipped, pages zeroed or swapped, an end cut off."""
    spoilt = bytearray(content)
    kind = rng.choice(["bit", "bit", "byte", "zero", "swap", "cut", "tail"])
    at = rng.randrange(len(content))
    if kind == "bit":
        spoilt[at] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        for _ in range(rng.randrange(1, 9)):
            spoilt[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == "zero":
        length = rng.choice([16, 512, 4096])
        spoilt[at : at + length] = bytes(len(spoilt[at : at + length]))
    elif kind == "swap":
        other = rng.randrange(len(content))
        spoilt[at : at + 64], spoilt[other : other + 64] = spoilt[other : other + 64], spoilt[at : at + 64]
    elif kind == "tail":
        spoilt[at:] = bytes(len(spoilt) - at)
    else:
        del spoilt[at:]
    return bytes(spoilt)


def read_all(path: Path) -> dict[str, bytes]:
    with open_results(path) as results:
        (case,) = results.cases
        return {name: case.values(name).tobytes() for name in ("tail_mass", "k_epsilon", "row_n", "p_max", "sigma_i")}


def read_or_refused(path: Path) -> dict[str, bytes] | str:
    try:
        return read_all(path)
    except ResultsError as error:
        return str(error)


def test_damage_is_found_by_the_reader(whole: Path, tmp_path: Path, seed: int) -> None:
    """500 random ones, and cuts at the lengths near the end: refused in one line, or harmless."""
    source = whole.with_name("r.h5.cases") / CASES[0]
    content, expected, path = source.read_bytes(), read_all(source), tmp_path / "spoilt.h5"
    rng = random.Random(seed)
    spoilt = [damaged(content, rng) for _ in range(500)]
    spoilt += [content[: len(content) - length] for length in [*range(1, 100), 4096]]
    refused = 0
    for bytes_now in spoilt:
        path.write_bytes(bytes_now)
        got = read_or_refused(path)
        if isinstance(got, str):
            assert "\n" not in got
            refused += 1
        else:
            assert got == expected, f"seed {seed}"
    assert refused >= len(spoilt) - 60, "equal pages swapped, zeros zeroed, the seal alone cut off"


def test_damage_is_found_by_commands(whole: Path, tmp_path: Path) -> None:
    source = whole.with_name("r.h5.cases") / CASES[0]
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 16
    (tmp_path / "bad.h5").write_bytes(content)
    for words in (["info", "bad.h5"], ["compare", "bad.h5", source], ["merge", "-o", "m.h5", source, "bad.h5"]):
        outcome = asymptop(*words, cwd=tmp_path)
        assert outcome.code == 2, str(outcome)
        assert len(outcome.stderr.splitlines()) == 1
        assert "'bad.h5' is damaged" in outcome.stderr
    assert not (tmp_path / "m.h5").exists()
    unsealed = source.read_bytes()[:-80]
    (tmp_path / "old.h5").write_bytes(unsealed)
    assert asymptop("compare", "old.h5", source, cwd=tmp_path).code == 0
    assert asymptop("info", "old.h5", cwd=tmp_path).code == 0
    outcome = asymptop("info", "--verify", "old.h5", cwd=tmp_path)
    assert outcome.code == 2
    assert "has no checksum" in outcome.stderr
