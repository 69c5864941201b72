"""What jobs/setup/mpi.sh sets for mpirun and ranks, and what it leaves; what is said of a Kokkos without threads."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from own_environment import own_environment

ROOT = Path(__file__).resolve().parents[2]

RANK = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: (print("heard", flush=True), sys.exit(0)))
print("ready", flush=True)
time.sleep(20)
print("silent", flush=True)
"""


def set_by_it(before: dict[str, str]) -> dict[str, str]:
    script = f". '{ROOT}/jobs/setup/mpi.sh'; env -0"
    environment = {name: value for name, value in own_environment().items() if not name.startswith(("OMPI_", "HWLOC_"))}
    done = subprocess.run(["bash", "-c", script], env=environment | before, capture_output=True, text=True, check=True)
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)


def test_hwloc_asks_no_opencl_driver() -> None:
    """One built on LLVM makes mpirun deaf to SIGUSR1; findings/mpirun-usr1-opencl.sh shows it."""
    assert set_by_it({})["HWLOC_COMPONENTS"] == "-opencl"


@pytest.mark.parametrize(("name", "value"), [("HWLOC_COMPONENTS", "-gl"), ("OMPI_MCA_mpi_yield_when_idle", "0")])
def test_what_is_set_stays(name: str, value: str) -> None:
    assert set_by_it({name: value})[name] == value


def test_mpirun_forwards_the_request_to_stop() -> None:
    environment = set_by_it({})
    words = ["mpirun", "-n", "2", "python3", "-c", RANK]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    while said.count("ready") < 2:  # ranks may write into the same line
        line = process.stdout.readline()
        assert line, said
        said += line
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGUSR1)
    said, _ = process.communicate(timeout=60)
    assert said.count("heard") == 2
    assert "silent" not in said


def machine_kokkos(folder: Path, backends: str) -> str:
    """Where a package of Kokkos with these backends lies, as far as CMake looks into it."""
    package = folder / "lib" / "cmake" / "Kokkos"
    package.mkdir(parents=True)
    (package / "KokkosConfig.cmake").write_text(f"set(Kokkos_DEVICES {backends})\n")
    (package / "KokkosConfigVersion.cmake").write_text(
        "set(PACKAGE_VERSION 3.4.01)\nset(PACKAGE_VERSION_COMPATIBLE 1)\n"
    )
    return str(folder)


SERIAL_ALONE = "has the Serial backend alone, one thread a rank"


def lay_out(folder: Path) -> list[str]:
    """The set-up script in a folder that has its Python environment already; the command that runs it."""
    for name in ("jobs/setup/debian.sh", "analysis/requirements.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "build" / "venv").mkdir(parents=True)
    shutil.copy(ROOT / "analysis" / "requirements.txt", folder / "build" / "venv" / ".stamp")
    return ["bash", str(folder / "jobs" / "setup" / "debian.sh")]


def set_up(folder: Path, kokkos: str, **settings: str) -> list[str]:
    """Lines of the set-up script where all is there already: packages, its own Kokkos, the Python environment."""
    command = lay_out(folder)
    machine_kokkos(folder / "build" / "deps" / "kokkos", "OPENMP SERIAL")
    kept = {name: value for name, value in own_environment().items() if not name.startswith(("Kokkos_", "ASYMPTOP_"))}
    environment = kept | {"CMAKE_PREFIX_PATH": kokkos} | settings
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr.splitlines()


SOURCES = "t/packages/kokkos/core/src/impl"
STAND_INS = {
    "apt-get": f'case "$*" in *" source "*) mkdir -p {SOURCES} && echo >{SOURCES}/Kokkos_MemoryPool.cpp'
    " && tar -czf trilinos_1.orig.tar.gz t ;; esac",
    "cmake": 'case "$*" in *--build*) [ -e FAILS ] && exit 1 ;; *--install*) echo "$*" >INSTALLED ;; esac; exit 0',
}


@pytest.mark.parametrize("fails", [True, False])
def test_a_kokkos_that_does_not_build_ends_the_set_up(tmp_path: Path, fails: bool) -> None:
    """Nothing of it is installed, which the next run would take for a whole one."""
    command, tools = lay_out(tmp_path), tmp_path / "tools"
    tools.mkdir()
    installed = tmp_path / "installed"
    for name, text in STAND_INS.items():
        text = text.replace("FAILS", str(tmp_path if fails else tmp_path / "none")).replace("INSTALLED", str(installed))
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    kept = {name: value for name, value in own_environment().items() if not name.startswith(("Kokkos_", "ASYMPTOP_"))}
    environment = kept | {"PATH": f"{tools}:{kept['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0, installed.exists()) == (fails, not fails), done.stderr
    assert ("Kokkos did not build" in done.stderr) == fails


def test_set_up_leaves_a_kokkos_of_one_thread_aside_and_says_so(tmp_path: Path) -> None:
    kokkos = machine_kokkos(tmp_path / "serial", "SERIAL")
    told, ready = set_up(tmp_path / "aside", kokkos)
    assert told.startswith(f"setup: {kokkos}/lib/cmake/Kokkos is a Kokkos with the Serial backend alone")
    assert "ASYMPTOP_SERIAL=ON" in told
    assert ready == "setup: ready"
    taken = ["setup: using the Kokkos already on this machine", ready]
    assert set_up(tmp_path / "meant", kokkos, ASYMPTOP_SERIAL="ON") == taken
    assert set_up(tmp_path / "threads", machine_kokkos(tmp_path / "openmp", "OPENMP SERIAL")) == taken


@pytest.mark.parametrize(
    ("backends", "options", "told"),
    [("SERIAL", [], 1), ("SERIAL", ["-DASYMPTOP_SERIAL=ON"], 0), ("OPENMP SERIAL", [], 0), ("CUDA SERIAL", [], 0)],
)
def test_cmake_warns_of_a_kokkos_of_one_thread(tmp_path: Path, backends: str, options: list[str], told: int) -> None:
    """In one line. What is found after Kokkos is left out, and the configuration ends there."""
    kokkos = machine_kokkos(tmp_path / "kokkos", backends)
    command = [
        "cmake",
        "-S",
        ROOT,
        "-B",
        tmp_path / "build",
        f"-DKokkos_ROOT={kokkos}",
        "-DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON",
    ]
    done = subprocess.run([*command, *options], env=own_environment(), capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if SERIAL_ALONE in line]
    assert len(lines) == told, done.stderr
    assert all("-DASYMPTOP_SERIAL=ON" in line and kokkos in line for line in lines)
    assert "MPI" in done.stderr  # which comes after it


@pytest.mark.parametrize(("end", "refused"), [("", False), ("__builtin_trap();", True)])
def test_cmake_refuses_views_that_the_compiler_spoils(tmp_path: Path, end: str, refused: bool) -> None:
    """As gcc 12 does those of Kokkos 4.6: here they fault when they end."""
    kokkos = Path(machine_kokkos(tmp_path / "kokkos", "OPENMP SERIAL"))
    header = f"namespace Kokkos {{ template <class T> struct View {{ View() {{}} ~View() {{ {end} }} }}; }}\n"
    (kokkos / "Kokkos_Core.hpp").write_text(header)
    package = kokkos / "lib" / "cmake" / "Kokkos"
    with (package / "KokkosConfig.cmake").open("a") as file:
        file.write("add_library(Kokkos::kokkos INTERFACE IMPORTED)\n")
        file.write(f"target_include_directories(Kokkos::kokkos INTERFACE {kokkos})\n")
    version = package / "KokkosConfigVersion.cmake"
    version.write_text(version.read_text().replace("3.4.01", "4.6.01"))
    command = ["cmake", "-S", ROOT, "-B", tmp_path / "build", f"-DKokkos_ROOT={kokkos}", "-DCMAKE_CXX_COMPILER=g++"]
    command += ["-DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON"]
    done = subprocess.run(command, env=own_environment(), capture_output=True, text=True, check=False)
    assert ("spoils the Views" in done.stderr) == refused, done.stderr
    assert ("Kokkos_ENABLE_IMPL_MDSPAN=OFF" in done.stderr) == refused
