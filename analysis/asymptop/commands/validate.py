"""`validate`: a results file against reference values, and against what must hold between its own numbers."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, isfinite
from pathlib import Path

from ..io import schema
from ..io.bench_reader import kind_of
from ..io.reader import Case, ResultsError, open_results
from ..io.row_checks import CHECKS, faults_of
from ..io.schema import EXACT
from ..io.series import SIMULATED
from ..io.streams import UsageError
from ..io.trial import why_no_file
from ..theory import laws
from ..theory.statistics import standard_error

REFERENCE = Path(__file__).with_name("iid_gaussian_rows_4096.csv")
COLUMNS = ("log2_n", "sigma_law", "metric", "parameter", "mean", "standard_error")
AT_K = (*schema.AT_K, "output_error", "output_error_relative")
PLAIN = ("entropy_nats", "sum_p_squared", "p_max", "participation_ratio")
METRICS = (*AT_K, *PLAIN, "k_epsilon", "count_p_above")
# Of all cells 99 in 100 within NEAR combined standard errors, and every one within FAR.
NEAR, FAR, SHARE = 4.0, 6.0, 0.01
EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


@dataclass(frozen=True)
class Expected:
    n: int
    sigma_law: str
    metric: str
    parameter: str
    mean: float
    standard_error: float


@dataclass(frozen=True)
class Cell:
    """One number of the file beside the reference's."""

    case: str
    expected: Expected
    mean: float
    standard_error: float

    @property
    def deviation(self) -> float:
        """In combined standard errors; 0 where both are the same number."""
        if self.mean == self.expected.mean:
            return 0.0
        combined = hypot(self.standard_error, self.expected.standard_error)
        return abs(self.mean - self.expected.mean) / combined if combined > 0 else float("inf")

    @property
    def words(self) -> str:
        e = self.expected
        what = f"{e.metric}({e.parameter})" if e.parameter else e.metric
        return (
            f"{self.case}: {what} at n = {e.n}, sigma = {e.sigma_law}: {self.mean:.9g} ± {self.standard_error:.2g}, "
            f"reference {e.mean:.9g} ± {e.standard_error:.2g}: {self.deviation:.1f} standard errors"
        )


def read_reference(path: Path) -> list[Expected]:
    """Rows of a CSV file with COLUMNS; lines that start with # are comments. Raises UsageError."""
    try:  # with a byte-order mark or comments in another encoding, as editors save it
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            table = csv.DictReader(line for line in file if not line.startswith("#"))
            missing = [c for c in COLUMNS if c not in (table.fieldnames or ())]
            if missing:
                raise UsageError(f"{path}: column '{missing[0]}' is missing, needed are {', '.join(COLUMNS)}")
            return [_expected(row, f"{path}: line {i}") for i, row in enumerate(table, start=1)]
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}") from error


def _expected(row: dict[str, str], where: str) -> Expected:
    if row["metric"] not in METRICS:
        raise UsageError(f"{where}: metric is '{row['metric']}', allowed are {', '.join(METRICS)}")
    try:
        exponent, mean, spread = (float(row[name]) for name in ("log2_n", "mean", "standard_error"))
        laws.evaluate(row["sigma_law"], 2.0**exponent)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UsageError(f"{where}: log2_n, sigma_law, mean or standard_error cannot be read") from error
    if not (isfinite(mean) and isfinite(spread) and spread >= 0):
        raise UsageError(f"{where}: mean or standard_error is not a finite number")
    return Expected(round(2.0**exponent), row["sigma_law"], row["metric"], row["parameter"], mean, spread)


def why_not_comparable(case: Case) -> str:
    """Why independent N(0, sigma^2) logits do not describe the rows of a case; empty where they do."""
    if case.selector != EXACT:
        return "its keys are not those of exact top-k"
    if case.input == SIMULATED:
        return ""
    if case.input != "gaussian":
        return f"input is {case.input}, not gaussian"
    if case.mask != "none":
        return f"mask is {case.mask}: rows see different contexts"
    if case.self_key != "exclude":
        return "a row's own key is among its keys"
    if case.row_sigma != "fixed":
        return "rows differ in sigma, which shifts every mean: the reference needs --row-sigma fixed"
    return ""


def _column(case: Case, expected: Expected) -> int | None:
    """The column of a parameter in the case, 0 for a metric without one; None where the case does not hold it."""
    try:
        if expected.metric in PLAIN:
            return 0 if expected.parameter == "" else None
        if expected.metric == "count_p_above":
            return next((i for i, t in enumerate(case.threshold) if laws.same(t, expected.parameter)), None)
        axis = case.k if expected.metric in AT_K else case.epsilon
        found = [i for i, value in enumerate(axis.tolist()) if value == float(expected.parameter)]
        return found[0] if found else None
    except ValueError:
        return None


def cells_of(case: Case, reference: Sequence[Expected]) -> list[Cell]:
    found = []
    for expected in reference:
        if expected.n != case.n or not laws.same(expected.sigma_law, case.sigma_law) or not case.has(expected.metric):
            continue
        column = _column(case, expected)
        if column is None:
            continue
        means = case.draw_means(expected.metric)
        values = means if means.ndim == 1 else means[:, column]
        found.append(Cell(case.id, expected, float(values.mean()), float(standard_error(values))))
    return found


DESCRIPTION = """\
Checks a results file of study or simulate: its schema, the verdict of every case, what must hold between the numbers of
each row, and every (n, sigma law, metric, parameter) that a table of means over independent Gaussian logits holds.
Passes when 99 of 100 cells are within 4 combined standard errors and all within 6. Cases whose rows differ in sigma,
see a mask or are of other inputs are not compared. One line per fault; exit 0 when there is none, 1 otherwise.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, help="results file of asymptop study or simulate")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help=f"CSV with the columns {', '.join(COLUMNS)} (default: means at n = 4096 that come with the package)",
    )


def _compare(cases: Sequence[Case], reference: Sequence[Expected]) -> tuple[list[Cell], dict[str, int]]:
    cells: list[Cell] = []
    left_out: dict[str, int] = {}
    for case in cases:
        reason = "it is INVALID" if not case.valid else why_not_comparable(case)
        if not reason and case.draws < 2:
            reason = "one draw has no standard error"
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            cells += cells_of(case, reference)
    return cells, left_out


def _report(cells: Sequence[Cell], left_out: dict[str, int], reference: Path, required: bool) -> bool:
    """Whether the cells pass, and the lines that say so."""
    for reason, count in left_out.items():
        print(f"not compared: {count} case{'s' if count != 1 else ''}, {reason}")
    if not cells:
        print(f"reference: no cell of {reference.name} is in this file (n, sigma law, metric and parameter must agree)")
        return not required
    far = [c for c in cells if c.deviation > NEAR]
    beyond = sum(c.deviation > FAR for c in cells)
    for cell in far:
        print(f"cell: {cell.words}")
    passed = len(far) <= SHARE * len(cells) and not beyond
    worst = max(c.deviation for c in cells)
    print(
        f"reference: {len(cells)} cells of {reference.name}, worst {worst:.1f} combined standard errors, {len(far)} "
        f"over {NEAR:g} (allowed {int(SHARE * len(cells))}), {beyond} over {FAR:g} (allowed 0): "
        f"{'ok' if passed else 'FAILED'}"
    )
    return passed


def run(arguments: argparse.Namespace) -> int:
    path = arguments.reference or REFERENCE
    reference = read_reference(path)
    kind = kind_of(arguments.results) if arguments.results.is_file() else None
    if kind not in ("study", "", None) or not arguments.results.is_file():
        other = f"kind is '{kind}', allowed are files of study and simulate"
        what = why_no_file(arguments.results) if kind is None else other
        raise UsageError(f"{arguments.results}: {what}")
    try:
        with open_results(arguments.results) as results:
            faults = [f"case {case.id}: {fault}" for case in results.cases for fault in faults_of(case)]
            print(*faults, sep="\n", end="\n" if faults else "")
            state = "ok" if not faults else f"FAILED, {len(faults)} faults"
            print(f"rows: {len(results.cases)} cases, {len(CHECKS)} groups of checks: {state}")
            cells, left_out = _compare(results.cases, reference)
    except ResultsError as error:
        print(f"schema: {error}")
        print("INVALID")
        return EXIT_FAILED
    passed = _report(cells, left_out, path, arguments.reference is not None) and not faults
    print("VALID" if passed else "INVALID")
    return EXIT_OK if passed else EXIT_FAILED
