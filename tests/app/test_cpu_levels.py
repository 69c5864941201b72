"""`asymptop` of a build for several levels of CPUs: which program it becomes. Scripts stand for the programs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEVELS = ("x86-64", "x86-64-v3", "x86-64-v4")

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="levels are of x86-64")


def levels_here() -> list[str]:
    """Of this CPU, as the kernel names its features."""
    text = Path("/proc/cpuinfo").read_text()
    flags = set(next(line for line in text.splitlines() if line.startswith("flags")).split())
    third = {"sse4_2", "popcnt", "avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"}
    fourth = third | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}
    return [level for level, wanted in zip(LEVELS, (set(), third, fourth), strict=True) if wanted <= flags]


@pytest.fixture(scope="module")
def chooser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    program = tmp_path_factory.mktemp("chooser") / "asymptop"
    where = '-DASYMPTOP_INSTALLED_PROGRAMS="../libexec/asymptop"'
    source = ROOT / "src" / "app" / "choose_program.cpp"
    command = [compiler, "-std=c++20", "-march=x86-64", f"-I{ROOT / 'src'}", where, str(source), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


Install = Callable[[Sequence[str], str], Path]


@pytest.fixture
def install(chooser: Path, tmp_path: Path) -> Install:
    """install(levels, place): `asymptop` in tmp_path/place, and levels' programs in a libexec there or beside it."""

    def make(levels: Sequence[str], place: str) -> Path:
        program = tmp_path / place / "asymptop"
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(chooser, program)
        for level in levels:
            script = tmp_path / "libexec" / "asymptop" / level / "asymptop"
            script.parent.mkdir(parents=True)
            script.write_text(f'#!/bin/sh\necho {level} $$ "$@"\nexit 7\n')
            script.chmod(0o755)
        return program

    return make


def run(program: Path, *words: str, **settings: str) -> subprocess.Popen[str]:
    """Ended."""
    environment = {name: value for name, value in os.environ.items() if name != "ASYMPTOP_CPU"} | settings
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([str(program), *words], env=environment, text=True, **pipes)
    process.wait()
    return process


def line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.returncode == 2
    assert said.startswith("asymptop: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("place", ["bin", "."])
def test_best_level_takes_the_place_of_the_process(install: Install, place: str) -> None:
    process = run(install(LEVELS, place), "study", "a b")
    assert process.returncode == 7
    assert process.stdout is not None
    assert process.stdout.read() == f"{levels_here()[-1]} {process.pid} study a b\n"


def test_a_link_finds_its_programs(install: Install, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere"
    link.symlink_to(install(["x86-64"], "bin"))
    assert run(link).returncode == 7


@pytest.mark.parametrize(("lacks", "level"), [("avx512vl", "x86-64-v3"), ("movbe", "x86-64")])
def test_level_of_a_lesser_cpu(install: Install, lacks: str, level: str) -> None:
    if level not in levels_here():
        pytest.skip(f"this CPU is none of {level}")
    process = run(install(LEVELS, "bin"), ASYMPTOP_TEST_MISSING_CPU_FEATURE=lacks)
    assert process.stdout is not None
    assert process.stdout.read().startswith(level + " ")


def test_best_of_those_that_are_built(install: Install) -> None:
    process = run(install(["x86-64"], "bin"))
    assert process.stdout is not None
    assert process.stdout.read().startswith("x86-64 ")


@pytest.mark.parametrize("level", LEVELS)
def test_level_that_is_asked_for(install: Install, level: str) -> None:
    process = run(install(LEVELS, "bin"), ASYMPTOP_CPU=level)
    if level in levels_here():
        assert process.stdout is not None
        assert process.stdout.read().startswith(level + " ")
    else:
        assert f"ASYMPTOP_CPU={level} needs " in line(process)


def test_what_is_refused(install: Install) -> None:
    program = install(["x86-64-v3", "x86-64-v4"], "bin")
    assert "ASYMPTOP_CPU=x86-64 is not built" in line(run(program, ASYMPTOP_CPU="x86-64"))
    assert "ASYMPTOP_CPU=znver3 is no level of CPUs" in line(run(program, ASYMPTOP_CPU="znver3"))
    lacking = {"ASYMPTOP_TEST_MISSING_CPU_FEATURE": "fma"}
    said = line(run(program, **lacking))
    assert "lacks " in said
    assert "built for x86-64-v3, x86-64-v4 alone" in said
    assert "ASYMPTOP_CPU=x86-64-v4 needs " in line(run(program, ASYMPTOP_CPU="x86-64-v4", **lacking))


def test_without_programs(install: Install) -> None:
    assert "there are no programs in " in line(run(install([], "bin")))
