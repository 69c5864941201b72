"""Studies with rows of equal sigma, and `simulate`, against independently simulated means over Gaussian logits."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from math import hypot
from pathlib import Path

import pytest
from command_line import ROOT, asymptop

COPY = ROOT / "analysis" / "asymptop" / "commands" / "iid_gaussian_rows_4096.csv"
FULL = ROOT.parent / "shared" / "reference" / "iid_gaussian_rows.csv"


@dataclass(frozen=True)
class Cell:
    sigma_law: str
    metric: str
    parameter: str

    def __str__(self) -> str:
        return f"sigma = {self.sigma_law}: {self.metric}({self.parameter})"


@dataclass(frozen=True)
class Estimate:
    mean: float
    standard_error: float


def reference(path: Path, log2_n: int) -> dict[Cell, Estimate]:
    with path.open() as file:
        table = csv.DictReader(line for line in file if not line.startswith("#"))
        return {
            Cell(row["sigma_law"], row["metric"], row["parameter"]): Estimate(
                float(row["mean"]), float(row["standard_error"])
            )
            for row in table
            if int(row["log2_n"]) == log2_n
        }


def cells_of(command: str, folder: Path, arguments: list[str]) -> dict[Cell, Estimate]:
    """Every cell that a study with rows of equal sigma, or `simulate`, has for these options."""
    fixed = ["--row-sigma", "fixed", "--output-error", "off"] if command == "study" else []
    records = folder / f"{command}.json"
    outcome = asymptop(command, *arguments, *fixed, "--json", records, "--force", "-o", folder / f"{command}.h5")
    assert outcome.code == 0, str(outcome)
    return {
        Cell(r["sigma_law"], r["metric"], r["parameter"]): Estimate(r["mean"], r["standard_error"])
        for r in json.loads(records.read_text())
    }


def measure(
    folder: Path, log2_n: int, wanted: dict[Cell, Estimate], draws: int, rows: int, command: str = "study"
) -> dict[Cell, Estimate]:
    """One run that has every cell of the reference."""

    def parameters(*metrics: str) -> str:
        return ",".join(sorted({cell.parameter for cell in wanted if cell.metric in metrics}))

    size = ["--draws", str(draws), "--rows", str(rows), "--seed", "7"]
    axes = ["--n", f"2^{log2_n}", "--sigma", ",".join(dict.fromkeys(cell.sigma_law for cell in wanted))]
    asked = ["--k", parameters("tail_mass", "row_l2_error", "row_linf_error"), "--epsilon", parameters("k_epsilon")]
    asked += ["--count-above", parameters("count_p_above")]
    return cells_of(command, folder, [*axes, *asked, *size])


def check_agreement(measured: dict[Cell, Estimate], wanted: dict[Cell, Estimate]) -> None:
    """Within 4 combined standard errors in 99 of 100 cells, within 6 in all."""
    far: dict[str, float] = {}
    for cell, expected in wanted.items():
        found = measured[cell]
        if found.mean == expected.mean:  # such as a count that is zero in every row
            continue
        deviation = abs(found.mean - expected.mean) / hypot(found.standard_error, expected.standard_error)
        if deviation > 4.0:
            far[str(cell)] = deviation
    assert len(far) <= 0.01 * len(wanted), far
    assert all(deviation <= 6.0 for deviation in far.values()), far


def test_agrees_with_copied_values(tmp_path: Path) -> None:
    wanted = reference(COPY, 12)
    assert len(wanted) == 76
    check_agreement(measure(tmp_path, 12, wanted, draws=64, rows=24), wanted)


@pytest.mark.skipif(not FULL.is_file(), reason="the full reference table is not beside this checkout")
@pytest.mark.parametrize(("log2_n", "draws", "rows"), [(12, 48, 16), (16, 40, 8)])
def test_agrees_with_full_table(log2_n: int, draws: int, rows: int, tmp_path: Path) -> None:
    wanted = reference(FULL, log2_n)
    check_agreement(measure(tmp_path, log2_n, wanted, draws, rows), wanted)


def test_simulated_rows_agree_with_copied_values(tmp_path: Path) -> None:
    wanted = reference(COPY, 12)
    check_agreement(measure(tmp_path, 12, wanted, draws=64, rows=64, command="simulate"), wanted)
    command = [sys.executable, "-m", "asymptop", "validate", tmp_path / "simulate.h5"]
    outcome = subprocess.run(command, cwd=ROOT / "analysis", capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "reference: 76 cells" in outcome.stdout


@pytest.mark.skipif(not FULL.is_file(), reason="the full reference table is not beside this checkout")
@pytest.mark.parametrize("log2_n", [12, 16, 20])
def test_simulated_rows_agree_with_full_table(log2_n: int, tmp_path: Path) -> None:
    wanted = reference(FULL, log2_n)
    check_agreement(measure(tmp_path, log2_n, wanted, draws=64, rows=48, command="simulate"), wanted)
