"""Figures of how many entries matter: k_epsilon, effective entries, and the share of entries below a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..fits.quantities import (
    COUNT_P_ABOVE,
    EFFECTIVE_ENTRIES,
    K_EPSILON,
    P_MAX,
    PARTICIPATION_RATIO,
    SHARE_ABOVE,
    Parameter,
    Quantity,
)
from ..io.reader import Case
from ..io.series import Panel
from ..theory import laws, predictions
from . import captions
from .marks import Marks, label_n, legend_title
from .plot_data import Curve, Plot, curve_against_n, draw_curve, draw_invalid, invalid_points
from .style import FORMULA, colour, log_y, marker, outside_legend, panel_grid, proxy, set_title

ALL_KEYS = "#bbbbbb"


def _constant(parameter: Parameter) -> Callable[[Case], Parameter]:
    return lambda case: parameter


def _formula_of_k_epsilon(place: Axes, panel: Panel, epsilon: float, tint: str) -> bool:
    """The large-n formula averaged over rows, where it claims to hold: below the freezing point."""
    series = panel.first
    if not series.predictable or len(panel.members) > 1:
        return False
    points = []
    for case in series.cases:
        if case.sigma < predictions.freezing_sigma(case.n):
            sigma = case.sigma_i
            points.append((case.n, float(np.mean(predictions.k_epsilon(case.n, epsilon, sigma)))))
    if len(points) < 2:
        return False
    place.plot(*zip(*points, strict=True), color=tint, linestyle=FORMULA["linestyle"], linewidth=1.1, zorder=1)
    return True


def k_epsilon_against_n(panels: Sequence[Panel]) -> Plot | None:
    epsilons = sorted({e for p in panels for s in p.members for e in s.epsilons}, reverse=True)
    if not epsilons:
        return None
    figure, axes = panel_grid(len(panels))
    plot = Plot("k_epsilon_against_n", "k needed for a given tail mass", captions.K_EPSILON_AGAINST_N, figure)
    marks = Marks.of(panels)
    sizes: set[int] = set()
    for panel, place in zip(panels, axes, strict=True):
        for index, epsilon in enumerate(epsilons):
            curve = curve_against_n(panel, K_EPSILON, _constant(epsilon))
            if curve is None:
                continue
            sizes.update(curve.x.astype(int).tolist())
            draw_curve(place, curve, colour(index), marker(index))
            marks.formula |= _formula_of_k_epsilon(place, panel, epsilon, colour(index))
            marks.note(curve, draw_invalid(place, invalid_points(panel, K_EPSILON, _constant(epsilon))))
            plot.records += curve.records(panel.title, f"epsilon = {epsilon:g}")
        set_title(place, panel.title)
    for place in axes:
        _draw_all_keys(place, sizes)
    log_y(axes)
    label_n(axes, sizes, r"$k_\varepsilon$")
    entries = [
        proxy(rf"$\varepsilon$ = {e:g}", color=colour(i), marker=marker(i), linestyle="-")
        for i, e in enumerate(epsilons)
    ]
    outside_legend(figure, entries, "tail mass", [*marks.strokes(), proxy("$k = n$", color=ALL_KEYS)])
    plot.caption += f" {marks.words()}"
    return plot


def _draw_all_keys(place: Axes, sizes: set[int]) -> None:
    reach = np.array(sorted(sizes), dtype=float)
    place.plot(reach, reach, color=ALL_KEYS, linewidth=1.0, zorder=0)


def _lines_by_panel(
    place: Axes, panels: Sequence[Panel], quantity: Quantity, parameter: Parameter, plot: Plot, marks: Marks
) -> set[int]:
    """One line per panel's series. Returns the n shown."""
    sizes: set[int] = set()
    for index, panel in enumerate(panels):
        curve = curve_against_n(panel, quantity, _constant(parameter))
        if curve is None:
            continue
        sizes.update(curve.x.astype(int).tolist())
        line = quantity.name if parameter is None else f"{quantity.name} {parameter}"
        plot.records += curve.records(panel.title, line)
        draw_curve(place, curve, colour(index), marker(index))
        marks.note(curve, draw_invalid(place, invalid_points(panel, quantity, _constant(parameter))))
    return sizes


def _sigma_entries(panels: Sequence[Panel]) -> list[Line2D]:
    return [proxy(p.title, color=colour(i), marker=marker(i), linestyle="-") for i, p in enumerate(panels)]


def effective_entries_against_n(panels: Sequence[Panel]) -> Plot | None:
    shown: list[tuple[Quantity, Parameter, str]] = [
        (PARTICIPATION_RATIO, None, r"participation ratio $1/\Sigma\,p^2$"),
        (EFFECTIVE_ENTRIES, None, r"$\exp(\mathrm{entropy})$"),
    ]
    if any("1/n" in s.thresholds for p in panels for s in p.members):
        shown.append((COUNT_P_ABOVE, "1/n", "entries with $p > 1/n$"))
    shown.append((P_MAX, None, r"largest entry $p_{\max}$"))
    figure, axes = panel_grid(len(shown), columns=2, width=2.9, height=2.3, share_y=False)
    caption = captions.EFFECTIVE_ENTRIES_AGAINST_N
    plot = Plot("effective_entries_against_n", "Effective number of entries", caption, figure)
    marks = Marks.of(panels)
    sizes: set[int] = set()
    for place, (quantity, parameter, words) in zip(axes, shown, strict=True):
        sizes |= _lines_by_panel(place, panels, quantity, parameter, plot, marks)
        place.set_title(words)
        log_y([place])
    for place in axes[:-1]:
        low, high = place.get_ylim()
        _draw_all_keys(place, sizes)
        place.set_ylim(min(low, 0.8), max(high, 1.3 * max(sizes)))
    label_n(axes, sizes, "")
    strokes = [*marks.strokes(), proxy("all $n$ entries", color=ALL_KEYS)]
    outside_legend(figure, _sigma_entries(panels), legend_title(panels), strokes)
    plot.caption += f" {marks.words()}"
    return plot


_MOST_NINES = 7.0


def _as_nines(curve: Curve) -> Curve:
    """Share above the threshold to -log10 of it: the number of nines in the share at or below."""

    def nines(share: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.minimum(-np.log10(np.maximum(share, 0.0)), _MOST_NINES)

    return Curve(
        curve.x,
        nines(curve.value),
        nines(curve.high),
        nines(np.maximum(curve.low, 1e-12)),
        curve.expected,
        curve.heads,
        curve.draws,
        curve.rows,
    )


def _nines_label(value: float, _: int) -> str:
    if value <= 0:
        return "0"
    return f"{1.0 - 10.0**-value:.{int(np.ceil(value))}f}" if value < _MOST_NINES else "1"


def _draw_share(place: Axes, panels: Sequence[Panel], threshold: str, plot: Plot) -> set[int]:
    """The share at or below one threshold, a line per panel. Returns the n shown."""
    sizes: set[int] = set()
    for index, panel in enumerate(panels):
        curve = curve_against_n(panel, SHARE_ABOVE, _constant(threshold), expect=False)
        if curve is None:
            continue
        sizes.update(curve.x.astype(int).tolist())
        plot.records += curve.records(panel.title, f"share above {threshold}")
        draw_curve(place, _as_nines(curve), colour(index), marker(index), logarithmic=False)
    return sizes


def _nines_axis(place: Axes, top: float) -> None:
    place.set_ylim(0.0, min(max(np.ceil(top), 1.0), _MOST_NINES) + 0.25)
    place.yaxis.set_major_locator(FixedLocator(list(range(int(_MOST_NINES) + 1))))
    place.yaxis.set_major_formatter(FuncFormatter(_nines_label))
    place.yaxis.set_minor_locator(NullLocator())


def share_below_against_n(panels: Sequence[Panel]) -> Plot | None:
    thresholds = list(dict.fromkeys(t for p in panels for s in p.members for t in s.thresholds))
    if not thresholds:
        return None
    figure, axes = panel_grid(len(thresholds), width=2.7, height=2.5)
    plot = Plot("share_below_against_n", "Share of entries at or below ε", captions.SHARE_BELOW_AGAINST_N, figure)
    sizes: set[int] = set()
    for place, threshold in zip(axes, thresholds, strict=True):
        sizes |= _draw_share(place, panels, threshold, plot)
        place.set_title(rf"$\varepsilon$ = {'$1/n$' if threshold == '1/n' else laws.to_tex(threshold)}")
    top = max(place.get_ylim()[1] for place in axes)
    for place in axes:
        _nines_axis(place, top)
    label_n(axes, sizes, r"share of entries with $p \leq \varepsilon$")
    marks = Marks.of(panels)
    outside_legend(figure, _sigma_entries(panels), legend_title(panels), marks.strokes())
    plot.caption += f" {marks.words()}"
    return plot
