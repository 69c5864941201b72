"""What a figure draws: curves of one panel, from one series or as the median and band over heads."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from ..fits.quantities import Parameter, Quantity, expected_draw_values, has_parameter
from ..io.reader import Case, ResultsError
from ..io.series import Panel
from ..theory.statistics import Array
from .style import BARS, INVALID_COLOUR


class Absent(enum.Enum):
    ABSENT = enum.auto()


# What the case has none of is ABSENT; None is the parameter of quantities that need none.
ABSENT = Absent.ABSENT
# A function from a case to the k, epsilon or threshold to look up there.
ParameterOf = Callable[[Case], Parameter | Absent]

COLUMNS = ("panel", "line", "x", "measured", "low", "high", "expected", "heads", "draws", "rows")


@dataclass
class Plot:
    """A drawn figure and its numbers."""

    name: str
    title: str
    caption: str
    canvas: Canvas
    columns: tuple[str, ...] = COLUMNS
    records: list[tuple] = field(default_factory=list)


@dataclass(frozen=True)
class Curve:
    """Measured values against x with the reach of one standard error, or the band over heads; expected values."""

    x: Array
    value: Array
    low: Array
    high: Array
    expected: Array
    heads: int
    draws: Array
    rows: Array

    def records(self, panel: str, line: str) -> list[tuple]:
        return [
            (panel, line, *(float(v) for v in (x, value, low, high, expected)), self.heads, int(draws), int(rows))
            for x, value, low, high, expected, draws, rows in zip(
                self.x, self.value, self.low, self.high, self.expected, self.draws, self.rows, strict=True
            )
        ]


def _mean_and_error(draw_values: Array, power: float) -> tuple[float, float]:
    mean = float(np.mean(draw_values))
    if len(draw_values) < 2 or mean <= 0:
        return mean**power if mean >= 0 else mean, 0.0
    error = float(np.std(draw_values, ddof=1) / np.sqrt(len(draw_values)))
    return mean**power, error * power * mean ** (power - 1.0)


def _summary(measured: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """(value, low, high): mean and standard error of one line, or median and 10% to 90% over heads."""
    if len(measured) == 1:
        mean, error = measured[0]
        return mean, mean - error, mean + error
    values = np.array([mean for mean, _ in measured])
    median, low, high = np.percentile(values, (50.0, 10.0, 90.0))
    return float(median), float(low), float(high)


def curve_against_n(panel: Panel, quantity: Quantity, parameter_of: ParameterOf, expect: bool = True) -> Curve | None:
    """One point per n; None when the panel has no such data."""
    by_n: dict[int, list[tuple[Case, Parameter]]] = {}
    for series in panel.members:
        for case in series.cases:
            parameter = parameter_of(case)
            if parameter is not ABSENT and has_parameter(case, quantity, parameter):
                by_n.setdefault(case.n, []).append((case, parameter))
    if not by_n:
        return None
    rows = []
    for n, cases in sorted(by_n.items()):
        measured = [_mean_and_error(quantity.draw_values(c, parameter), quantity.power) for c, parameter in cases]
        foreseen = np.nan
        if expect and panel.first.predictable and len(cases) == 1:
            found = expected_draw_values(cases[0][0], quantity, cases[0][1])
            foreseen = np.nan if found is None else float(np.mean(found)) ** quantity.power
        draws_and_rows = min(c.draws for c, _ in cases), min(c.draws * c.rows for c, _ in cases)
        rows.append((n, *_summary(measured), foreseen, *draws_and_rows))
    x, value, low, high, expected, draws, counts = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return Curve(x, value, low, high, expected, len(panel.members), draws, counts)


def invalid_points(panel: Panel, quantity: Quantity, parameter_of: ParameterOf) -> list[tuple[int, float]]:
    """(n, mean) of INVALID cases that hold a finite value: shown, never fitted."""
    found = []
    for series in panel.members:
        for case in series.invalid:
            parameter = parameter_of(case)
            if parameter is ABSENT or not has_parameter(case, quantity, parameter):
                continue
            try:
                mean = _mean_and_error(quantity.draw_values(case, parameter), quantity.power)[0]
            except (ResultsError, IndexError):
                continue
            if np.isfinite(mean):
                found.append((case.n, mean))
    return found


def positive(values: Array) -> Array:
    """Zeros become gaps: they have no place on a logarithmic axis."""
    return np.where(values > 0, values, np.nan)


def draw_curve(
    axes: Axes,
    curve: Curve,
    colour: str,
    marker: str,
    logarithmic: bool = True,
    joined: bool = True,
    stroke: str | tuple = "-",
) -> None:
    """Markers with bars of one standard error on the dashed expectation, or joined by `stroke` where nothing is
    expected; over heads, the median and its band."""
    prepare = positive if logarithmic else np.asarray
    value = prepare(curve.value)
    if curve.heads > 1:
        axes.plot(curve.x, value, color=colour, marker=marker, linestyle=stroke, zorder=3)
        if len(curve.x) == 1:
            axes.vlines(curve.x, prepare(curve.low), prepare(curve.high), color=colour, linewidth=3, alpha=0.35)
        for edge in (curve.low, curve.high):
            axes.plot(curve.x, prepare(edge), color=colour, linewidth=0.5, alpha=0.5, zorder=2)
        axes.fill_between(
            curve.x, prepare(curve.low), prepare(curve.high), color=colour, alpha=0.16, linewidth=0, zorder=1
        )
    else:
        low = (
            np.minimum(curve.value - curve.low, 0.95 * np.abs(curve.value)) if logarithmic else curve.value - curve.low
        )
        axes.errorbar(
            curve.x,
            value,
            linestyle="none" if not joined or np.isfinite(curve.expected).all() else stroke,
            yerr=[np.nan_to_num(low), np.nan_to_num(curve.high - curve.value)],
            color=colour,
            marker=marker,
            **BARS,
        )
    if np.isfinite(curve.expected).any():
        axes.plot(curve.x, prepare(curve.expected), color=colour, linestyle=(0, (4, 2)), linewidth=1.1, zorder=2)


def draw_invalid(axes: Axes, points: Sequence[tuple[int, float]]) -> bool:
    """Crosses at INVALID cases. Says whether there were any."""
    shown = [(n, v) for n, v in points if v > 0]
    if shown:
        axes.plot(*zip(*shown, strict=True), linestyle="none", marker="x", color=INVALID_COLOUR, markersize=6, zorder=4)
    return bool(shown)
