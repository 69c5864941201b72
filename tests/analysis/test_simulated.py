"""Measured keys beside simulated rows: two more figures, with the numbers of both files in their CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import __main__ as command_line
from make_results import Study, write_results

NAMES = ("tail_mass_measured_and_simulated", "k_epsilon_measured_and_simulated")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(measured, simulated): two laws of sigma in common, one only simulated; a longer range of n simulated."""
    folder = tmp_path_factory.mktemp("simulated")
    laws = {"k": ("16", "n^0.5"), "draws": 6, "rows": 8}
    measured = Study(n=(256, 1024), sigma=("1", "2"), **laws)
    simulated = Study(n=(256, 1024, 4096, 16384), sigma=("2", "1", "3"), input="simulated", **laws)
    return write_results(folder / "measured.h5", measured), write_results(folder / "simulated.h5", simulated)


def report(folder: Path, *arguments: str | Path) -> int:
    return command_line.main(
        ["report", "--table", *map(str, arguments), "-o", str(folder / "report.html"), "--figures", str(folder)]
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_both_files_are_drawn(files: tuple[Path, Path], tmp_path: Path, draw_only: Callable[..., None]) -> None:
    draw_only()  # and the two of the comparison
    measured, simulated = files
    assert report(tmp_path, measured, "--simulated", simulated) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name in NAMES:
        assert f'id="{name}"' in text
        assert (tmp_path / f"{name}.png").is_file()
    rows = rows_of(tmp_path / f"{NAMES[0]}.csv")
    assert {row["panel"] for row in rows} == {"σ = $1$", "σ = $2$", "σ = $3$"}
    assert {row["panel"] for row in rows if row["line"].endswith("measured")} == {"σ = $1$", "σ = $2$"}
    assert {float(row["x"]) for row in rows if row["line"].endswith("simulated")} == {256, 1024, 4096, 16384}
    with h5py.File(simulated) as file:
        case = next(c for c in file["cases"].values() if c.attrs["n"] == 4096 and c.attrs["sigma_law"] == "2")
        column = list(case["k"]).index(64)
        values = case["tail_mass"][:, :, column]
    found = next(
        row
        for row in rows
        if row["panel"] == "σ = $2$" and row["line"] == "n^0.5, simulated" and float(row["x"]) == 4096
    )
    assert float(found["measured"]) == pytest.approx(values.mean())
    assert [float(found["low"]), float(found["high"])] == pytest.approx(np.percentile(values, (10, 90)).tolist())


def test_without_the_option_nothing_changes(
    files: tuple[Path, Path], tmp_path: Path, draw_only: Callable[..., None]
) -> None:
    draw_only()
    assert report(tmp_path, files[0]) == 0
    assert not any((tmp_path / f"{name}.csv").exists() for name in NAMES)


def test_a_simulated_file_has_its_own_report(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], draw_only: Callable[..., None]
) -> None:
    """Its rows are i.i.d. Gaussian, so every claim that applies to such rows is judged."""
    draw_only("tail_mass_against_n")
    assert report(tmp_path, files[1]) == 0
    assert "D-keps" in capsys.readouterr().out
    assert {row["panel"] for row in rows_of(tmp_path / "tail_mass_against_n.csv")} == {"σ = $1$", "σ = $2$", "σ = $3$"}
    expected = [float(row["expected"]) for row in rows_of(tmp_path / "tail_mass_against_n.csv")]
    assert np.all(np.isfinite(expected))


def test_measured_files_are_no_simulated_ones(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(tmp_path, files[0], "--simulated", files[0]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--simulated" in error
    assert not (tmp_path / "report.html").exists()
