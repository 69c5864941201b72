"""The analysis package as a wheel: built, installed elsewhere and run without the sources."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ANALYSIS = Path(__file__).resolve().parents[2] / "analysis"
# What a report is made of, beside modules.
DATA = (".toml", ".csv", ".html", ".css", "py.typed")


def run(*words: str | Path, folder: Path, **settings: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=kept | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_has_all_and_runs_alone(tmp_path: Path) -> None:
    sources = tmp_path / "sources"  # a build leaves folders beside what it builds
    sources.mkdir()
    for name in ("pyproject.toml", "asymptop"):
        (sources / name).symlink_to(ANALYSIS / name)
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "-q"]
    run(*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", tmp_path, sources, folder=tmp_path)
    (wheel,) = tmp_path.glob("asymptop-*-py3-none-any.whl")
    files = [path for path in (ANALYSIS / "asymptop").rglob("*") if path.suffix == ".py" or path.name.endswith(DATA)]
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {path.relative_to(ANALYSIS).as_posix() for path in files} <= held

    place = tmp_path / "installed"
    run(*pip, "install", "--no-deps", "--no-index", "--target", place, wheel, folder=tmp_path)
    assert (place / "bin" / "asymptop-analysis").exists()
    code = "import asymptop, asymptop.claims.registry; print(asymptop.__file__, asymptop.__version__)"
    where, version = run("-c", code, folder=tmp_path, PYTHONPATH=str(place)).split()
    assert Path(where).parent == place / "asymptop"
    assert version in wheel.name
    assert "--table" in run("-m", "asymptop", "report", "--help", folder=tmp_path, PYTHONPATH=str(place))
