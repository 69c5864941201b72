"""kernels/ as its users have it: installed and found by find_package, or in a subdirectory; no MPI, HDF5 or Boost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
KOKKOS = ROOT / "build" / "deps" / "kokkos"
NOT_NEEDED = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in ("MPI", "HDF5", "Boost", "nlohmann_json")]
ROWS, KEYS, COLUMNS, BEST = 4, 1000, 16, 3

SUBDIRECTORY = f"""
cmake_minimum_required(VERSION 3.20)
project(outsider LANGUAGES CXX)
add_subdirectory({KERNELS} kernels)
add_executable(nearest_keys {KERNELS}/example/nearest_keys.cpp)
target_link_libraries(nearest_keys PRIVATE asymptop::kernels)
"""


def call(words: Sequence[str | Path]) -> str:
    environment = os.environ | {"OMP_PROC_BIND": "false", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([str(word) for word in words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, folder: Path, *options: str) -> None:
    """Unoptimised: the compiler's time is most of this test's."""
    prefixes = [option.removeprefix("prefix=") for option in options if option.startswith("prefix=")]
    others = [option for option in options if not option.startswith("prefix=")]
    paths = f"-DCMAKE_PREFIX_PATH={';'.join([*prefixes, str(KOKKOS)])}"
    call(["cmake", "-S", source, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", paths, *NOT_NEEDED, *others])
    call(["cmake", "--build", folder, "-j", "2"])


def headers(folder: Path) -> list[str]:
    """Those of the subfolders."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/**/*.hpp"))


def installed(tmp_path: Path) -> Path:
    prefix = tmp_path / "prefix"
    # Flags of this machine are for the library's own build and do not come with it.
    build(KERNELS, tmp_path / "library", "-DASYMPTOP_NATIVE=ON", "-DASYMPTOP_KERNELS_EXAMPLE=OFF")
    call(["cmake", "--install", tmp_path / "library", "--prefix", prefix])
    assert headers(prefix / "include" / "asymptop" / "kernels") == headers(KERNELS)
    targets = "".join(path.read_text() for path in prefix.rglob("*.cmake"))
    assert "asymptop::kernels" in targets
    assert "-march" not in targets
    assert str(ROOT) not in targets
    build(KERNELS / "example", tmp_path / "program", f"prefix={prefix}")
    return tmp_path / "program" / "nearest_keys"


def in_subdirectory(tmp_path: Path) -> Path:
    (tmp_path / "CMakeLists.txt").write_text(SUBDIRECTORY)
    build(tmp_path, tmp_path / "program")
    assert "-march" not in (tmp_path / "program" / "build.ninja").read_text()
    return tmp_path / "program" / "nearest_keys"


def matrix(rows: int, seed: int) -> numpy.ndarray:
    """The numbers of std::minstd_rand, as the example scales them."""
    words = []
    for _ in range(rows * COLUMNS):
        seed = seed * 48271 % 2147483647
        words.append(seed)
    scaled = (numpy.array(words, dtype=float) - 2.0**30) / 2.0**29
    return scaled.astype(numpy.float32).astype(float).reshape(rows, COLUMNS)


@pytest.mark.parametrize("user", [installed, pytest.param(in_subdirectory, marks=pytest.mark.long)])
def test_example_is_built_and_right(user: Callable[[Path], Path], tmp_path: Path) -> None:
    lines = call([user(tmp_path)]).splitlines()
    queries, keys, values = matrix(ROWS, 1), matrix(KEYS, 2), matrix(KEYS, 3)
    assert len(lines) == ROWS
    for row, line in enumerate(lines):
        words = line.split()
        assert words[:3] == ["row", str(row), "best"]
        scores = keys @ queries[row]
        best = numpy.argsort(-scores, kind="stable")[:BEST]
        found = [word.split(":") for word in words[3 : 3 + BEST]]
        assert [int(key) for key, _ in found] == best.tolist()
        assert [float(score) for _, score in found] == pytest.approx(scores[best], abs=1e-5)
        weights = numpy.exp((scores - scores.max()) / numpy.sqrt(COLUMNS))
        assert words[3 + BEST] == "attention"
        assert [float(word) for word in words[4 + BEST :]] == pytest.approx(weights @ values / weights.sum(), abs=2e-6)


def test_one_header_includes_all() -> None:
    lines = (KERNELS / "kernels.hpp").read_text().splitlines()
    included = [line.split('"')[1] for line in lines if line.startswith("#include")]
    assert included == headers(KERNELS)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    words = ["cmake", "-S", str(KERNELS), "-B", str(tmp_path), "-DCMAKE_DISABLE_FIND_PACKAGE_Kokkos=ON"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0
    assert "The kernels need Kokkos 3.4 or later" in " ".join(done.stderr.split())
