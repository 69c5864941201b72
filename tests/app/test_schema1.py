"""Files of schema version 1, as an older program wrote them (tests/support/schema1), are read by every command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from command_line import ROOT, asymptop

FOLDER = ROOT / "tests" / "support" / "schema1"
KINDS = ("study", "tensors", "simulate", "attend", "precision", "bench")
REPORTED = ("study", "tensors", "simulate", "precision")


def old(name: str, folder: Path) -> Path:
    """A copy, beside which commands may write."""
    return Path(shutil.copy(FOLDER / f"{name}.h5", folder))


def analysis(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "asymptop", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT / "analysis"), "PATH": "/usr/bin:/bin", "HOME": str(folder), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", KINDS)
def test_info(name: str, tmp_path: Path) -> None:
    path = old(name, tmp_path)
    outcome = asymptop("info", "--verify", str(path), cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    with h5py.File(path) as file:
        assert file.attrs["schema_version"] == 1
        for case in file["cases"]:
            assert f"VALID  {case}" in outcome.stdout


@pytest.mark.parametrize("name", [name for name in KINDS if name != "bench"])
def test_compare(name: str, tmp_path: Path) -> None:
    path = old(name, tmp_path)
    outcome = asymptop("compare", str(path), str(path), cwd=tmp_path)
    assert (outcome.code, outcome.stdout) == (0, "equal\n"), str(outcome)


def test_merge(tmp_path: Path) -> None:
    paths = [str(old(name, tmp_path)) for name in ("study", "tensors")]
    outcome = asymptop("merge", "-o", "both.h5", *paths, cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    with h5py.File(tmp_path / "both.h5") as file:
        assert sorted(file["cases"]) == ["n1024-d64-law1", "n256-d64-law1", "n256-d8-head1"]


@pytest.mark.parametrize("name", REPORTED)
def test_report(name: str, tmp_path: Path) -> None:
    done = analysis("report", str(old(name, tmp_path)), "-o", "report.html", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "</html>" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["study", "tensors", "simulate"])
def test_validate(name: str, tmp_path: Path) -> None:
    done = analysis("validate", str(old(name, tmp_path)), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("VALID\n")


def test_numbers_are_those_of_today(tmp_path: Path) -> None:
    """The same study of today, on any CPU: every mean to rounding."""
    with h5py.File(FOLDER / "study.h5") as file:
        command = str(file.attrs["command_line"]).split()
    records = tmp_path / "records.json"
    outcome = asymptop(*command[1:-2], "-o", "today.h5", "--json", str(records), cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    today = [record for record in json.loads(records.read_text()) if record["metric"] == "tail_mass"]
    assert len(today) == 4
    with h5py.File(FOLDER / "study.h5") as file:
        for record in today:
            (case,) = [group for group in file["cases"].values() if group.attrs["n"] == record["n"]]
            column = list(case["k"][()]).index(int(record["parameter"]))
            assert case["tail_mass"][:, :, column].mean() == pytest.approx(record["mean"], rel=1e-5)
