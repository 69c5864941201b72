"""What ships Asymptop elsewhere says what the sources say: images, the module file, the workflow of the tests."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / "jobs" / "setup"
IMAGES = sorted((SETUP / "containers").iterdir())
PRESETS = {preset["name"] for preset in json.loads((ROOT / "CMakePresets.json").read_text())["buildPresets"]}
VERSION = re.search(r"project\(asymptop VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_an_image_is_one_base_and_the_projects_own_script(path: Path) -> None:
    text = path.read_text()
    (base,) = re.findall(r"^(?:FROM|From:) (\S+)$", text, re.M)
    assert re.fullmatch(r"debian:12|nvidia/cuda:1[23]\.\d+\.\d+-devel-ubuntu24\.04", base)
    (preset,) = re.findall(r"/opt/asymptop/jobs/setup/image\.sh (\w+)$", text, re.M)
    assert preset in PRESETS
    assert preset == ("device" if "cuda" in path.name else "release")
    commands = re.findall(r"^RUN (.*)$", text, re.M)
    assert all("image.sh" in command for command in commands)


def test_images_of_one_kind_have_one_base() -> None:
    bases = {path.name: re.search(r"^(?:FROM|From:) (\S+)$", path.read_text(), re.M)[1] for path in IMAGES}  # type: ignore[index]
    assert bases["Dockerfile"] == bases["asymptop.def"]
    assert bases["Dockerfile.cuda"] == bases["asymptop-cuda.def"]


@pytest.mark.parametrize("name", ["image.sh", "build.sh", "debian.sh"])
def test_scripts_parse(name: str) -> None:
    subprocess.run(["bash", "-n", SETUP / name], check=True)


def test_module_file_is_of_this_version() -> None:
    text = (SETUP / "modulefile.lua").read_text()
    assert VERSION
    assert f'whatis("Version: {VERSION[1]}")' in text
    assert f"/asymptop/{VERSION[1]}.lua" in text


def test_workflow_runs_what_there_is() -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    job = workflow["jobs"]["tests"]
    lines = job["strategy"]["matrix"]["include"]
    assert {line["compiler"] for line in lines} == {"g++", "clang++"}
    assert {line["mpi"] for line in lines} == {"openmpi", "mpich"}
    (least,) = re.findall(r"find_package\(Kokkos ([\d.]+) REQUIRED\)", (ROOT / "CMakeLists.txt").read_text())
    assert {line["kokkos"].split(".")[0] for line in lines} == {"3", "4", "5"}
    assert least in {line["kokkos"] for line in lines}
    runs = [step["run"] for step in job["steps"] if "tests/run.sh" in step.get("run", "")]
    assert "tests/run.sh" in runs
    tiers = runpy.run_path(str(ROOT / "tests" / "full.py"))["TIERS"]
    assert {run.partition("--full=")[2] for run in runs} - {""} <= tiers.keys()
    conditions = [step["if"] for step in job["steps"] if "tests/run.sh" in step.get("run", "")]
    assert sorted(re.findall(r"'(\w+)'", " ".join(conditions))) == ["mpich", "openmpi"]
