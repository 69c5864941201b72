"""The phase diagram: whether k = n^C keys are enough at sigma = c sqrt(log n), over c and C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

from ..fits.error_curve import error_curve
from ..fits.exponents import FitError, Point, fit_power
from ..fits.quantities import TAIL_MASS
from ..io.series import Panel, Series
from ..theory import finite_size, predictions
from ..theory.statistics import Array, Interval
from . import captions
from .plot_data import Plot
from .style import INK, Stroke

COLUMNS = ("c", "C", "n_low", "n_high", "slope", "low", "high", "expected_slope", "limit", "draws", "rows")
_EXPONENTS = np.arange(0.1, 0.95, 0.1)
_FEWEST_SERIES = 3
# Far above c = sqrt 2 nothing changes but the depth of the blue: such points are in the data, not in the picture.
_LARGEST_SHOWN = 2.2
_COLOURS = LinearSegmentedColormap.from_list(
    "enough", ["#0b2f5e", "#1f6fae", "#7db8dc", "#f7f7f5", "#f6b48f", "#d6604d", "#8f1a2b"]
)
_HALO = [patheffects.withStroke(linewidth=3.0, foreground="white", alpha=0.8)]
# Slopes beyond these are drawn in the strongest colour.
_STEEPEST_FALL, _STEEPEST_RISE = -0.6, 0.15


@dataclass(frozen=True)
class PhasePoint:
    c: float
    exponent: float
    slope: float
    interval: Interval
    n_range: tuple[int, int]
    series: Series

    @property
    def open(self) -> bool:
        return self.interval.contains(0.0)


def _upper_half(series: Series) -> list:
    cases = list(series.cases)
    return cases[min(len(cases) // 2, max(len(cases) - 2, 0)) :]


def measured_slopes(series: Series) -> list[PhasePoint]:
    """The slope of log tau_k along k = n^C over the upper half of the n, for C on a grid; k between stored k."""
    cases = _upper_half(series)
    curves = [error_curve(case, TAIL_MASS) for case in cases]
    found = []
    for exponent in _EXPONENTS:
        points = [
            Point(case.n, curve.at(np.array([float(case.n) ** exponent]))[:, 0])
            for case, curve in zip(cases, curves, strict=True)
        ]
        try:
            fit = fit_power([p for p in points if np.all(np.isfinite(p.draw_values))])
        except FitError:
            continue
        span = (fit.used[0].n, fit.used[-1].n)
        found.append(PhasePoint(series.regime.coefficient, float(exponent), fit.exponent, fit.interval, span, series))
    return found


def _log_expected_tail_masses(n: float, sigma: float, k: Array) -> Array:
    """Logs of the expectations at k between integers, interpolated in logarithms."""
    low = np.maximum(1.0, np.floor(k))
    ends = finite_size.log_tail_masses(finite_size.profile(n, sigma), np.concatenate([low, low + 1.0]))
    first, second = np.split(ends, 2)
    share = np.log(k / low) / np.log((low + 1.0) / low)
    return first + share * (second - first)


def expected_slopes(c: float, exponents: Array, low: float, high: float) -> Array:
    """Of the tail mass between two n, along k = n^C for every C."""
    first, second = (_log_expected_tail_masses(n, c * np.sqrt(np.log(n)), n**exponents) for n in (low, high))
    return (second - first) / np.log(high / low)


def expected_slope(c: float, exponent: float, low: float, high: float) -> float:
    return float(expected_slopes(c, np.array([exponent]), low, high)[0])


def _field(c: Array, exponents: Array, low: float, high: float) -> Array:
    return np.stack([expected_slopes(float(x), exponents, low, high) for x in c], axis=1)


def phase_diagram(panels: Sequence[Panel]) -> Plot | None:
    """Needs three series of sigma = c sqrt(log n) that i.i.d. Gaussian logits describe."""
    series = [
        s
        for p in panels
        for s in p.members
        if s.regime.kind == "sqrt_log" and s.predictable and s.gaussian and len(s.cases) >= 2
    ]
    if len(series) < _FEWEST_SERIES:
        return None
    points = [point for one in series for point in measured_slopes(one)]
    if not points:
        return None
    low, high = min(p.n_range[0] for p in points), max(p.n_range[1] for p in points)
    figure, place = plt.subplots(figsize=(7.4, 5.0), layout="constrained")
    plot = Plot("phase_diagram", "Where n^C keys are enough", captions.PHASE_DIAGRAM, figure, COLUMNS)
    reach = max(p.c for p in points)
    c = np.linspace(0.05, min(max(1.6, reach + 0.12), _LARGEST_SHOWN), 64)
    exponents = np.linspace(0.02, 0.98, 49)
    field = _field(c, exponents, float(low), float(high))
    norm = TwoSlopeNorm(0.0, _STEEPEST_FALL, _STEEPEST_RISE)
    extent = (c[0], c[-1], exponents[0], exponents[-1])
    image = place.imshow(
        field, origin="lower", extent=extent, aspect="auto", cmap=_COLOURS, norm=norm, interpolation="bicubic"
    )
    _draw_boundaries(place, c, exponents, field)
    _draw_points(place, points, norm)
    place.grid(False)
    place.set_xlim(c[0], c[-1])
    place.set_ylim(exponents[0], exponents[-1])
    place.set_xlabel(r"$c$ in $\sigma = c\,\sqrt{\log n}$")
    place.set_ylabel(r"$C$ in $k = n^C$")
    span = f"$2^{{{np.log2(low):.0f}}}$ to $2^{{{np.log2(high):.0f}}}$"
    place.set_title(f"Are $n^C$ keys enough? Slope of the tail mass from $n$ = {span}", loc="left", color=INK)
    ticks = [-0.6, -0.4, -0.2, 0, 0.05, 0.1, 0.15]
    bar = figure.colorbar(image, ax=place, pad=0.02, aspect=32, extend="min", ticks=ticks)
    bar.set_label(r"$d\,\log\tau_k\,/\,d\,\log n$   (blue: vanishes, red: grows)")
    bar.outline.set_visible(False)
    for point in points:
        limit = predictions.tail_exponent(point.c, point.exponent)
        expected = expected_slope(point.c, point.exponent, *(float(n) for n in point.n_range))
        plot.records.append(
            (
                *(point.c, point.exponent, *point.n_range, point.slope, point.interval.low, point.interval.high),
                *(expected, limit, point.series.draws, point.series.rows),
            )
        )
    return plot


def _draw_boundaries(place: Axes, c: Array, exponents: Array, field: Array) -> None:
    place.contour(c, exponents, field, levels=[0.0], colors=[INK], linewidths=1.3, linestyles=[(0, (4, 2.5))])
    x = np.linspace(0.0, np.sqrt(2.0), 200)
    (line,) = place.plot(x, 1.0 - x**2 / 2.0, color=INK, linewidth=2.4, zorder=3, solid_capstyle="butt")
    line.set_path_effects([patheffects.withStroke(linewidth=4.4, foreground="white", alpha=0.7)])
    # Between two rows of discs.
    height = 0.25
    at = np.sqrt(2.0 * (1.0 - height))
    words: Stroke = {"color": INK, "fontsize": 10, "path_effects": _HALO, "va": "center", "zorder": 5}
    place.text(at - 0.03, height, "$C = 1 - c^2/2$", ha="right", **words)
    place.axvline(np.sqrt(2.0), color=INK, linewidth=0.6, linestyle=(0, (1, 2)), zorder=2)
    place.text(c[0] + 0.03 * (c[-1] - c[0]), 0.05, "not enough: it grows to 1", ha="left", **words)
    place.text(0.5 * (np.sqrt(2.0) + c[-1]), 0.45, "enough:\nit vanishes", ha="center", **words)


def _draw_points(place: Axes, points: Sequence[PhasePoint], norm: TwoSlopeNorm) -> None:
    for is_open in (False, True):
        chosen = [p for p in points if p.open == is_open]
        if chosen:
            fill = "white" if is_open else _COLOURS(norm([p.slope for p in chosen]))
            place.scatter(
                [p.c for p in chosen], [p.exponent for p in chosen], c=fill, s=52, edgecolors=INK, linewidths=0.8,
                zorder=4,
            )  # fmt: skip
