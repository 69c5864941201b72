"""The recipe for Spack: declared against stand-ins for Spack's words, and held against what the build asks for.

Spack itself is in no registry of packages that tests can use: names of packages and variants were checked by hand
against its recipes of November 2026.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "jobs" / "setup" / "spack" / "spack_repo" / "asymptop"
RECIPE = REPOSITORY / "packages" / "asymptop" / "package.py"
WORDS = ("license", "version", "variant", "depends_on", "conflicts", "requires", "generator", "any_combination_of")
# What CMake looks for, by the package that has it; what Kokkos brings or the compiler has is left out.
PACKAGES = {
    "Kokkos": "kokkos", "MPI": "mpi", "Boost": "boost", "OpenSSL": "openssl", "PkgConfig": "pkgconfig", "HDF5": "hdf5",
    "nlohmann_json": "nlohmann-json", "MUPARSER": "muparser", "GTest": "googletest", "CUDAToolkit": "cuda",
    "ASYMPTOP_CBLAS": "openblas", "BLAS": "openblas", "adiak": "adiak", "caliper": "caliper",
}  # fmt: skip


class Spec(defaultdict):
    """With a prefix for each package, and levels of CPUs named."""

    def satisfies(self, _: str) -> bool:
        return False


class Said:
    """A package of the stand-in: variants as they are set, options as CMake gets them."""

    cuda_arch_values = ("80", "90", "90a")
    spec: ClassVar = Spec(lambda: type("Prefix", (), {"prefix": "/prefix"}))

    def define_from_variant(self, option: str, variant: str) -> tuple[str, str]:
        return option, variant

    def define(self, option: str, value: str) -> tuple[str, str]:
        return option, value


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> tuple[type, dict[str, list[tuple[tuple, dict[str, Any]]]]]:
    """The class, and what it declares."""
    said: dict[str, list[tuple[tuple, dict[str, Any]]]] = defaultdict(list)
    package = ModuleType("spack.package")
    for word in WORDS:
        setattr(package, word, lambda *a, _word=word, **k: said[_word].append((a, k)))
    for name, content in {
        "spack": {},
        "spack_repo": {},
        "spack_repo.builtin": {},
        "spack_repo.builtin.build_systems": {},
        "spack_repo.builtin.build_systems.cmake": {"CMakePackage": type("CMakePackage", (Said,), {})},
        "spack_repo.builtin.build_systems.cuda": {"CudaPackage": type("CudaPackage", (Said,), {})},
    }.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "spack.package", package)
    return runpy.run_path(str(RECIPE))["Asymptop"], said


def cmake_text() -> str:
    files = [ROOT / "CMakeLists.txt", *(ROOT / folder / "CMakeLists.txt" for folder in ("src", "kernels", "tests"))]
    return "\n".join(path.read_text() for path in [*files, *(ROOT / "kernels" / "cmake").iterdir()])


def test_options_are_those_of_cmake(recipe: tuple) -> None:
    made, said = recipe
    options = dict(made().cmake_args())
    known = set(re.findall(r"^(?:option\((\w+)|set\((\w+) \"\" CACHE STRING)", cmake_text(), re.M))
    known = {one or other for one, other in known} | {"Kokkos_ROOT"}
    assert options.keys() <= known
    variants = {a[0] for a, _ in said["variant"]} | {"cuda"}
    assert {value for option, value in options.items() if option != "Kokkos_ROOT"} <= variants


def test_every_package_that_cmake_wants_is_there(recipe: tuple) -> None:
    _, said = recipe
    wanted = set(re.findall(r"(?:find_package|pkg_check_modules|pkg_search_module)\((\w+)", cmake_text()))
    needed = {re.split(r"[@ +~]", a[0])[0] for a, _ in said["depends_on"]}
    assert wanted - PACKAGES.keys() <= {"asymptop_kernels", "AsymptopKernels", "Threads", "OpenMP", "Python3"}, wanted
    assert {PACKAGES[name] for name in wanted & PACKAGES.keys()} <= needed
    assert "random123" in needed


def test_versions_and_place(recipe: tuple) -> None:
    made, said = recipe
    text = (ROOT / "CMakeLists.txt").read_text()
    (cmake,) = re.findall(r"cmake_minimum_required\(VERSION ([\d.]+)\)", text)
    (kokkos,) = re.findall(r"find_package\(Kokkos ([\d.]+) REQUIRED\)", text)
    needs = [a[0] for a, _ in said["depends_on"]]
    assert f"cmake@{cmake}:" in needs
    assert f"kokkos@{kokkos}.00: +serial" in needs
    assert made.git == ROOT.as_uri()
    assert "namespace: asymptop" in (REPOSITORY / "repo.yaml").read_text()


def test_environment_names_specs() -> None:
    """A spec that ends with a colon is a mapping to YAML, which Spack refuses, unless it is quoted."""
    yaml = pytest.importorskip("yaml")
    environment = yaml.safe_load((ROOT / "jobs" / "setup" / "spack.yaml").read_text())
    specs = environment["spack"]["specs"]
    assert all(isinstance(spec, str) for spec in specs), specs
    named = {re.split("[@+~ ]", spec)[0] for spec in specs}
    assert {"kokkos", "hdf5", "openblas", "boost", "openssl", "muparser", "nlohmann-json", "random123"} <= named
