"""Ranks of one run at different levels of CPUs: the same bytes as one rank's. ASYMPTOP_LEVELS is the `asymptop` of a
build with ASYMPTOP_CPUS (preset `levels`; the tier `levels` makes it); skipped without."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import h5py
import pytest
from command_line import SETTINGS
from own_environment import own_environment

PROGRAM = Path(os.environ.get("ASYMPTOP_LEVELS", "none"))
if not PROGRAM.exists():
    pytest.skip("no build for several levels of CPUs in ASYMPTOP_LEVELS", allow_module_level=True)

SMALL = ["--block", "64", "--threads", "1"]
STUDY = ["study", "--n", "500,2000", "--k", "16,n^0.5", "--rows", "6", "--draws", "3", *SMALL]
ATTEND = ["attend", "--n", "300", "--k", "8,n^0.5", "--mask", "none,causal", "--draws", "2", *SMALL]
BENCH = ["bench", "--kernel", "score,profile,top-k,exact-attention,top-k-attention", "--n", "3000", "--m", "13"]
BENCH += ["--k", "40", "--samples", "3", *SMALL]


def run(
    command: list[str], output: Path, *levels: str, settings: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A rank at each of the levels; `settings`: NAME=VALUE of the last one."""
    words = ["mpirun", "--bind-to", "none"]
    for rank, level in enumerate(levels):
        words += [":"] if rank > 0 else []
        own = settings or [] if rank == len(levels) - 1 else []
        words += ["-n", "1", "env", f"ASYMPTOP_CPU={level}", *own, str(PROGRAM), *command, "-o", str(output), "--force"]
    return subprocess.run(words, env=own_environment() | SETTINGS, capture_output=True, text=True, timeout=120.0)


@pytest.fixture(scope="module")
def levels() -> list[str]:
    """Of those that are built, what this CPU has and what round alike: all but the plain one."""
    built = sorted(path.name for path in (PROGRAM.parent / "libexec" / "asymptop").iterdir())
    usable = [level for level in built if run(["--version"], Path("none"), level).returncode == 0]
    fused = [level for level in usable if level != "x86-64"]
    if len(fused) < 2:
        pytest.skip(f"this CPU has {', '.join(usable)} of {', '.join(built)}")
    return fused


def same(a: Path, b: Path) -> None:
    done = subprocess.run([PROGRAM, "compare", a, b], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        STUDY,
        [*STUDY, "--selectors", "score,quest:page=16,quantised:int8,window", "--inputs", "gaussian,student:3"],
        [*STUDY, "--merge", "threshold", "--keys", "streamed", "--weights", "gaussian"],
        ATTEND,
        [*ATTEND, "--spectral"],
    ],
    ids=lambda command: " ".join(command[:1] + command[-2:]),
)
def test_bytes(command: list[str], levels: list[str], tmp_path: Path) -> None:
    alone = [tmp_path / f"{level}.h5" for level in levels]
    for level, output in zip(levels, alone, strict=True):
        done = run(command, output, level)
        assert done.returncode == 0, done.stderr
    for order in (levels, levels[::-1]):
        done = run(command, tmp_path / "mixed.h5", *order)
        assert done.returncode == 0, done.stderr
        for output in alone:
            same(output, tmp_path / "mixed.h5")
        with h5py.File(tmp_path / "mixed.h5") as file:
            cpus = str(file.attrs["cpus"]).splitlines()
            assert [line.split()[:2] for line in cpus] == [[str(rank), level] for rank, level in enumerate(order)]
            assert sorted(str(file.attrs["simd"]).split(", ")) == sorted(
                {line.split()[2].split("+")[0] for line in cpus}
            )
    told = subprocess.run([PROGRAM, "info", tmp_path / "mixed.h5"], capture_output=True, text=True).stdout
    for level in levels:
        assert f" {level} " in told


def test_bench(levels: list[str], tmp_path: Path) -> None:
    """Its results are checked on every rank, and those merged among them."""
    done = run(BENCH, tmp_path / "bench.h5", *levels)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.strip().endswith("VALID")


def test_resume_at_another_level(levels: list[str], tmp_path: Path) -> None:
    """A checkpoint is gone on from, to the bytes of an undisturbed run."""
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    words = ["study", "--n", "2^16", "--k", "n^0.5", "--rows", "16", "--draws", "40", "--threads", "1"]
    words += ["--checkpoint-minutes", "0"]
    assert run(words, whole, levels[0]).returncode == 0
    environment = own_environment() | SETTINGS | {"ASYMPTOP_CPU": levels[-1]}
    process = subprocess.Popen([PROGRAM, *words, "-o", parts], env=environment, stdout=subprocess.DEVNULL)
    cases = Path(f"{parts}.cases")
    while process.poll() is None and not list(cases.glob("*.checkpoint")):
        pass
    process.terminate()
    assert process.wait() == 75, "it should have been stopped within its case"
    environment["ASYMPTOP_CPU"] = levels[0]
    again = [PROGRAM, *words, "-o", parts, "--resume"]
    done = subprocess.run(again, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "is not taken over" not in done.stderr
    assert "another build" not in done.stderr
    same(whole, parts)


def test_blas_must_be_one(levels: list[str], tmp_path: Path) -> None:
    """Where it makes numbers, and there alone."""
    other = ["OPENBLAS_CORETYPE=Prescott"]
    done = run([*STUDY, "--path", "blas-tile"], tmp_path / "a.h5", *levels, settings=other)
    assert done.returncode == 2, done.stderr
    assert "OpenBLAS Prescott" in done.stderr
    assert not (tmp_path / "a.h5").exists()
    assert run(STUDY, tmp_path / "b.h5", *levels, settings=other).returncode == 0
    assert run(STUDY, tmp_path / "c.h5", levels[0]).returncode == 0
    same(tmp_path / "b.h5", tmp_path / "c.h5")


def test_level_that_a_node_lacks(levels: list[str], tmp_path: Path) -> None:
    done = run(STUDY, tmp_path / "a.h5", *levels, settings=["ASYMPTOP_TEST_MISSING_CPU_FEATURE=fma"])
    assert done.returncode == 2
    assert f"ASYMPTOP_CPU={levels[-1]} needs fma" in done.stderr


def test_programs_of_two_builds(levels: list[str], tmp_path: Path) -> None:
    """A level that lies beside one rank's program and not beside the other's."""
    folder = tmp_path / "one" / levels[0]
    folder.mkdir(parents=True)
    program = PROGRAM.parent / "libexec" / "asymptop" / levels[0] / "asymptop"
    (folder / "asymptop").write_bytes(program.read_bytes())
    (folder / "asymptop").chmod(0o755)
    words = ["mpirun", "--bind-to", "none", "-n", "1", str(folder / "asymptop"), *STUDY]
    words += [":", "-n", "1", str(program), *STUDY]
    done = subprocess.run(words, env=own_environment() | SETTINGS, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "runs another build" in done.stderr
