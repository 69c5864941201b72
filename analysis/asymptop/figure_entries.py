"""Figures of how many entries matter: k_epsilon, effective entries, and the share of entries below a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from . import laws, predictions
from .figure_errors import _is_lowest, _label, _strokes
from .figure_style import FORMULA, MUTED, axis_of_n, colour, log_y, marker, outside_legend, panel_grid, proxy
from .plot_data import Curve, Plot, curve_against_n, draw_curve, draw_invalid, invalid_points
from .quantities import (
    COUNT_P_ABOVE,
    EFFECTIVE_ENTRIES,
    K_EPSILON,
    P_MAX,
    PARTICIPATION_RATIO,
    SHARE_ABOVE,
    Parameter,
    Quantity,
)
from .reader import Case
from .series import Panel


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
            sigma = case.values("sigma_i").astype(float)
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
    plot = Plot(
        "k_epsilon_against_n",
        "k needed for a given tail mass",
        "Smallest k whose tail mass is at most ε. A line parallel to the grey k = n needs a fixed share of the "
        "context, "
        "however small ε; a flat line needs a fixed number of keys. Dashed: i.i.d. Gaussian logits at finite n. "
        "Dotted: "
        "n Φc(σ + Φ⁻¹(ε)) averaged over rows, drawn where σ < √(2 log n).",
        figure,
    )
    expected = formula = invalid = False
    sizes: set[int] = set()
    for panel, place in zip(panels, axes, strict=True):
        for index, epsilon in enumerate(epsilons):
            curve = curve_against_n(panel, K_EPSILON, _constant(epsilon))
            if curve is None:
                continue
            sizes.update(curve.x.astype(int).tolist())
            draw_curve(place, curve, colour(index), marker(index))
            formula |= _formula_of_k_epsilon(place, panel, epsilon, colour(index))
            expected |= bool(np.isfinite(curve.expected).any())
            invalid |= draw_invalid(place, invalid_points(panel, K_EPSILON, _constant(epsilon)))
            plot.records += curve.records(panel.title, f"epsilon = {epsilon:g}")
        place.set_title(panel.title)
    for place in axes:
        reach = np.array(sorted(sizes), dtype=float)
        place.plot(reach, reach, color="#bbbbbb", linewidth=1.0, zorder=0)
    log_y(axes)
    _label(axes, sizes, r"$k_\varepsilon$")
    entries = [
        proxy(rf"$\varepsilon$ = {e:g}", color=colour(i), marker=marker(i), linestyle="-")
        for i, e in enumerate(epsilons)
    ]
    strokes = _strokes(panels, expected, False, invalid)
    if formula:
        strokes.append(proxy("large-n formula", **FORMULA))
    strokes.append(proxy("$k = n$", color="#bbbbbb"))
    outside_legend(figure, entries, "tail mass", strokes)
    return plot


def _lines_by_panel(
    place: Axes,
    panels: Sequence[Panel],
    quantity: Quantity,
    parameter: Parameter,
    plot: Plot,
    change: Callable[[Curve], Curve] | None = None,
    expect: bool = True,
) -> tuple[set[int], bool, bool]:
    """One line per law of sigma. Returns the n shown, and whether anything expected or INVALID was drawn."""
    sizes: set[int] = set()
    expected = invalid = False
    for index, panel in enumerate(panels):
        curve = curve_against_n(panel, quantity, _constant(parameter), expect)
        if curve is None:
            continue
        sizes.update(curve.x.astype(int).tolist())
        plot.records += curve.records(
            panel.title, quantity.name if parameter is None else f"{quantity.name} {parameter}"
        )
        draw_curve(place, curve if change is None else change(curve), colour(index), marker(index), change is None)
        expected |= bool(np.isfinite(curve.expected).any())
        if change is None:
            invalid |= draw_invalid(place, invalid_points(panel, quantity, _constant(parameter)))
    return sizes, expected, invalid


def _sigma_entries(panels: Sequence[Panel]) -> list:
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
    plot = Plot(
        "effective_entries_against_n",
        "Effective number of entries",
        "Four ways to count the entries that carry a row, one line per law of σ. Rows collapse to O(1) entries where "
        "a line "
        "is flat; where it runs like n the row stays spread out, whatever k law is used. The measures differ: a few "
        "heavy "
        "entries lower the participation ratio long before they lower exp(entropy). Dashed: i.i.d. Gaussian logits.",
        figure,
    )
    sizes: set[int] = set()
    expected = invalid = False
    for place, (quantity, parameter, words) in zip(axes, shown, strict=True):
        found, has_expected, has_invalid = _lines_by_panel(place, panels, quantity, parameter, plot)
        sizes, expected, invalid = sizes | found, expected | has_expected, invalid | has_invalid
        place.set_title(words)
        log_y([place])
    counts = axes[:-1]
    for place in counts:
        low, high = place.get_ylim()
        reach = np.array(sorted(sizes), dtype=float)
        place.plot(reach, reach, color="#bbbbbb", linewidth=1.0, zorder=0)
        place.set_ylim(min(low, 0.8), max(high, 1.3 * max(sizes)))
    _label(axes, sizes, "")
    strokes = [*_strokes(panels, expected, False, invalid), proxy("all n entries", color="#bbbbbb")]
    outside_legend(figure, _sigma_entries(panels), "law of σ", strokes)
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


def share_below_against_n(panels: Sequence[Panel]) -> Plot | None:
    thresholds = list(dict.fromkeys(t for p in panels for s in p.members for t in s.thresholds))
    if not thresholds:
        return None
    figure, axes = panel_grid(len(thresholds), width=2.7, height=2.5)
    plot = Plot(
        "share_below_against_n",
        "Share of entries at or below ε",
        "The paper's figure 1: the share of a row's entries with p ≤ ε. The axis counts nines, so that shares near 1 "
        "stay "
        "apart; the top is exactly 1. A share that tends to 1 for a fixed ε is no sign of sparsity by itself: with n "
        "entries "
        "that sum to 1 at most 1/ε can exceed ε, for any σ. For ε = 1/n this bound says nothing, and the share stays "
        "at a level "
        "that σ sets.",
        figure,
    )
    sizes: set[int] = set()
    for place, threshold in zip(axes, thresholds, strict=True):
        found, _, _ = _lines_by_panel(place, panels, SHARE_ABOVE, threshold, plot, _as_nines, expect=False)
        sizes |= found
        text = "$1/n$" if threshold == "1/n" else laws.to_tex(threshold)
        place.set_title(rf"$\varepsilon$ = {text}")
    top = max(place.get_ylim()[1] for place in axes)
    for place in axes:
        place.set_ylim(0.0, min(max(np.ceil(top), 1.0), _MOST_NINES) + 0.25)
        place.yaxis.set_major_locator(FixedLocator(list(range(int(_MOST_NINES) + 1))))
        place.yaxis.set_major_formatter(FuncFormatter(_nines_label))
        place.yaxis.set_minor_locator(NullLocator())
    for place in axes:
        axis_of_n(place, sorted(sizes))
        place.set_xlabel("$n$" if _is_lowest(place, axes) else "")
        place.set_ylabel(
            r"share of entries with $p \leq \varepsilon$" if place.get_subplotspec().is_first_col() else ""
        )
    band = any(len(p.members) > 1 for p in panels)
    strokes = [proxy("median, 10–90% of heads", color=MUTED, linewidth=5, alpha=0.35)] if band else []
    outside_legend(figure, _sigma_entries(panels), "law of σ", strokes)
    return plot
