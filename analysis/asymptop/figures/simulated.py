"""Figures of measured keys beside rows simulated without keys (`asymptop simulate`), over one axis of n."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ..fits.quantities import K_EPSILON, TAIL_MASS, Parameter, Quantity, k_of_law
from ..io.reader import Case, ResultsError, open_results
from ..io.series import SIMULATED, Panel, Series, group_series
from ..theory import laws
from ..theory.statistics import Array
from . import captions
from .marks import label_n
from .plot_data import ABSENT, Absent, Curve, ParameterOf, Plot, curve_against_n, draw_curve, positive
from .style import MEASURED, MUTED, colour, log_y, marker, outside_legend, panel_grid, proxy, set_title

_FLOOR = 1e-10
_PERCENTILES = (10.0, 90.0)


@contextmanager
def simulated_series(path: Path | None) -> Iterator[tuple[Series, ...]]:
    """The series of a file of simulated rows, open as long as the context; none without a file."""
    if path is None:
        yield ()
        return
    with open_results(path) as results:
        if any(case.input != SIMULATED for case in results.cases):
            raise ResultsError(f"{path}: holds measured cases; --simulated takes a file of asymptop simulate")
        yield group_series(results.cases)


@dataclass(frozen=True)
class Line:
    """One line of a figure: what to look up in a case, how to call it, and between what single rows lie."""

    name: str
    label: str
    parameter_of: ParameterOf
    reach: Callable[[Case], Array]


@dataclass(frozen=True)
class Pair:
    """One law of sigma: rows simulated under it and, where there are any, keys measured under it."""

    title: str
    simulated: Panel
    measured: Panel | None


def _pairs(measured: Sequence[Panel], simulated: Sequence[Panel]) -> list[Pair]:
    found = []
    for panel in simulated:
        law = panel.first.identity["sigma_law"]
        partner = next((p for p in measured if p.first.gaussian and p.first.identity["sigma_law"] == law), None)
        found.append(Pair(panel.title, panel, partner))
    return found


def _band(panel: Panel, quantity: Quantity, line: Line) -> Curve | None:
    """Mean of the rows, with the reach of single ones in place of standard errors."""
    curve = curve_against_n(panel, quantity, line.parameter_of, expect=False)
    if curve is None:
        return None
    reach = {case.n: line.reach(case) for case in panel.first.cases if line.parameter_of(case) is not ABSENT}
    low, high = (np.array([reach[int(n)][i] for n in curve.x]) for i in range(2))
    return Curve(curve.x, curve.value, low, high, curve.expected, curve.heads, curve.draws, curve.rows)


def _draw(place: Axes, pair: Pair, quantity: Quantity, lines: Sequence[Line], plot: Plot) -> None:
    for index, line in enumerate(lines):
        band = _band(pair.simulated, quantity, line)
        if band is not None:
            low, high = positive(band.low), positive(band.high)
            place.plot(band.x, positive(band.value), color=colour(index), linewidth=1.2, zorder=2)
            place.fill_between(band.x, low, high, color=colour(index), alpha=0.2, linewidth=0, zorder=1)
            plot.records += band.records(pair.title, f"{line.name}, simulated")
        if pair.measured is None:
            continue
        points = curve_against_n(pair.measured, quantity, line.parameter_of, expect=False)
        if points is not None:
            draw_curve(place, points, colour(index), marker(index), joined=False)
            plot.records += points.records(pair.title, f"{line.name}, measured")
    set_title(place, pair.title)


def _figure(pairs: Sequence[Pair], quantity: Quantity, lines: Sequence[Line], caption: str, share_y: bool) -> Plot:
    figure, axes = panel_grid(len(pairs), share_y=share_y)
    title = f"{quantity.words[0].upper()}{quantity.words[1:]}: measured and simulated"
    name = f"{quantity.name}_measured_and_simulated"
    plot = Plot(name, title, f"{caption} {captions.MEASURED_AND_SIMULATED}", figure)
    for pair, place in zip(pairs, axes, strict=True):
        _draw(place, pair, quantity, lines, plot)
    sizes = {int(record[2]) for record in plot.records}
    label_n(axes, sizes, f"${quantity.symbol}$")
    entries = [proxy(line.label, color=colour(i), marker=marker(i), linestyle="-") for i, line in enumerate(lines)]
    strokes = [
        proxy("measured, ±1 SE", **MEASURED),
        proxy("simulated, mean", color=MUTED, linewidth=1.2),
        proxy("10–90% of its rows", color=MUTED, linewidth=5, alpha=0.35),
    ]
    outside_legend(figure, entries, "", strokes)
    return plot


def _reach(case: Case, name: str) -> Array:
    """Percentiles of single rows at every k or epsilon, (percentile, ...): the dataset is read once for all lines."""
    return case.kept((name, "reach"), lambda: np.percentile(case.values(name), _PERCENTILES, axis=(0, 1)))


def _k_line(law: str) -> Line:
    def parameter(case: Case) -> Parameter | Absent:
        return k_of_law(case, law) if law in case.k_law else ABSENT

    def reach(case: Case) -> Array:
        return _reach(case, "tail_mass")[:, case.k_index(k_of_law(case, law))]

    return Line(law, f"$k$ = {laws.to_tex(law)}", parameter, reach)


def _epsilon_line(epsilon: float) -> Line:
    def parameter(case: Case) -> Parameter | Absent:
        return epsilon if epsilon in case.epsilon else ABSENT

    def reach(case: Case) -> Array:
        return _reach(case, "k_epsilon")[:, list(case.epsilon).index(epsilon)]

    return Line(f"epsilon = {epsilon:g}", rf"$\varepsilon$ = {epsilon:g}", parameter, reach)


def tail_mass(measured: Sequence[Panel], simulated: Sequence[Panel]) -> Plot | None:
    pairs = _pairs(measured, simulated)
    names = list(dict.fromkeys(law for pair in pairs for law in pair.simulated.first.k_laws))
    if not names:
        return None
    plot = _figure(pairs, TAIL_MASS, [_k_line(law) for law in names], captions.TAIL_MASS_AGAINST_N, share_y=False)
    for place in plot.canvas.axes:
        log_y([place], _FLOOR)
    return plot


def k_epsilon(measured: Sequence[Panel], simulated: Sequence[Panel]) -> Plot | None:
    pairs = _pairs(measured, simulated)
    values = sorted({e for pair in pairs for e in pair.simulated.first.epsilons}, reverse=True)
    if not values:
        return None
    plot = _figure(pairs, K_EPSILON, [_epsilon_line(e) for e in values], captions.K_EPSILON_AGAINST_N, share_y=True)
    log_y(plot.canvas.axes)
    return plot


BUILDERS = (tail_mass, k_epsilon)
