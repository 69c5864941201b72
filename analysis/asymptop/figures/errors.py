"""Figures of the top-k error: against n along every k law, and against k at the largest n."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..fits.quantities import (
    OUTPUT_ERROR,
    ROW_L2_ERROR,
    ROW_LINF_ERROR,
    TAIL_MASS,
    Parameter,
    Quantity,
    expected_draw_values,
    k_of_law,
)
from ..io.reader import Case
from ..io.series import Panel
from ..theory import laws
from ..theory.statistics import Array
from . import captions
from .marks import Marks, label_axes, label_n
from .plot_data import (
    ABSENT,
    Absent,
    ParameterOf,
    Plot,
    curve_against_n,
    draw_curve,
    draw_invalid,
    invalid_points,
    positive,
)
from .style import FORMULA, MUTED, axis_of_n, colour, log_y, marker, outside_legend, panel_grid, proxy, set_title

_FLOOR = 1e-10
_CURVES_OF_N = 3
_GUIDES_UP_TO = 4


def _all_laws(panels: Sequence[Panel]) -> list[str]:
    """Every k law of the file, in the order of its k at the largest n."""
    largest: dict[str, int] = {}
    for panel in panels:
        for series in panel.members:
            for law in series.k_laws:
                case = next(c for c in reversed(series.cases) if law in c.k_law)
                largest[law] = max(largest.get(law, 0), k_of_law(case, law))
    return sorted(largest, key=lambda law: (largest[law], law))


def _k_at(law: str) -> ParameterOf:
    def parameter(case: Case) -> Parameter | Absent:
        return k_of_law(case, law) if law in case.k_law else ABSENT

    return parameter


def _claimed_guide(axes: Axes, law: str, x: Array, value: Array, tint: str) -> bool:
    """n^-C through the first point, for a law a n^C with 0 < C < 1."""
    power = laws.power_law(law)
    usable = np.isfinite(value) & (value > 0)
    if power is None or not 0.02 < power.exponent < 1.0 or usable.sum() < 2:
        return False
    first = int(np.argmax(usable))
    guide = value[first] * (x[first:] / x[first]) ** -power.exponent
    axes.plot(x[first:], guide, color=tint, linestyle=FORMULA["linestyle"], linewidth=0.9, alpha=0.75, zorder=1)
    return True


def _against_n(panels: Sequence[Panel], quantity: Quantity, caption: str) -> Plot | None:
    panels = [p for p in panels if any(quantity.present(c) for s in p.members for c in s.cases)]
    all_laws = _all_laws(panels) if panels else []
    if not all_laws:
        return None
    figure, axes = panel_grid(len(panels), share_y=False)
    plot = Plot(f"{quantity.name}_against_n", f"{_sentence_case(quantity.words)} against n", caption, figure)
    marks = Marks.of(panels)
    sizes: set[int] = set()
    drawn: set[str] = set()
    for panel, place in zip(panels, axes, strict=True):
        for index, law in enumerate(all_laws):
            curve = curve_against_n(panel, quantity, _k_at(law))
            if curve is None:
                continue
            sizes.update(curve.x.astype(int).tolist())
            draw_curve(place, curve, colour(index), marker(index))
            drawn |= {law} if (curve.value > 0).any() else set()
            marks.note(curve, draw_invalid(place, invalid_points(panel, quantity, _k_at(law))))
            if len(all_laws) <= _GUIDES_UP_TO and panel.first.regime.kind == "constant":
                marks.guides |= _claimed_guide(place, law, curve.x, curve.value, colour(index))
            plot.records += curve.records(panel.title, law)
        set_title(place, panel.title)
        log_y([place], _FLOOR)
    label_n(axes, sizes, f"${quantity.symbol}$")
    outside_legend(figure, _law_entries(all_laws, drawn), "k law", marks.strokes())
    plot.caption = f"{caption} {captions.ERROR_AXES} {marks.words()}"
    return plot


def _sentence_case(words: str) -> str:
    return words[0].upper() + words[1:]


def _law_entries(all_laws: Sequence[str], drawn: set[str]) -> list[Line2D]:
    entries = []
    for index, law in enumerate(all_laws):
        note = "" if law in drawn else " (error 0)"
        label = f"$k$ = {laws.to_tex(law)}{note}"
        entries.append(proxy(label, color=colour(index), marker=marker(index), linestyle="-"))
    return entries


def tail_mass_against_n(panels: Sequence[Panel]) -> Plot | None:
    return _against_n(panels, TAIL_MASS, captions.TAIL_MASS_AGAINST_N)


def row_error_against_n(panels: Sequence[Panel]) -> Plot | None:
    return _against_n(panels, ROW_L2_ERROR, captions.ROW_L2_AGAINST_N)


def largest_error_against_n(panels: Sequence[Panel]) -> Plot | None:
    return _against_n(panels, ROW_LINF_ERROR, captions.ROW_LINF_AGAINST_N)


def output_error_against_n(panels: Sequence[Panel]) -> Plot | None:
    return _against_n(panels, OUTPUT_ERROR, captions.OUTPUT_AGAINST_N)


def _curves_against_k(panel: Panel, quantity: Quantity, n: int) -> tuple[Array, Array, Array, Array] | None:
    """(k, mean or median, low, high) over the k grid common to the heads."""
    cases = [c for s in panel.members for c in s.cases if c.n == n]
    if not cases:
        return None
    common = sorted(set.intersection(*(set(c.k.tolist()) for c in cases)))
    means = np.array([[np.mean(quantity.draw_values(c, k)) for k in common] for c in cases])
    if len(cases) > 1:
        low, value, high = np.percentile(means, (10.0, 50.0, 90.0), axis=0)
    else:
        value = means[0]
        draws = np.stack([quantity.draw_values(cases[0], k) for k in common], axis=1)
        error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws)) if len(draws) > 1 else np.zeros(len(common))
        low, high = value - error, value + error
    return np.array(common, dtype=float), value, low, high


def _expected_against_k(panel: Panel, quantity: Quantity, n: int, k: Array) -> Array | None:
    if not panel.first.predictable or len(panel.members) > 1:
        return None
    case = next(c for c in panel.first.cases if c.n == n)
    found = [expected_draw_values(case, quantity, int(one)) for one in k]
    return np.array([np.nan if values is None else np.mean(values) for values in found])


def _draw_against_k(place: Axes, panel: Panel, quantity: Quantity, n: int, tint: str) -> list[tuple]:
    """One curve; returns its records."""
    found = _curves_against_k(panel, quantity, n)
    if found is None:
        return []
    k, value, low, high = found
    place.plot(k, positive(value), color=tint, linewidth=1.5, zorder=3)
    place.fill_between(k, positive(low), positive(high), color=tint, alpha=0.25, linewidth=0)
    thin = k[:: max(1, len(k) // 20)]
    expected = _expected_against_k(panel, quantity, n, thin)
    if expected is not None:
        place.plot(
            thin,
            positive(expected),
            linestyle="none",
            marker="o",
            markersize=2.6,
            markerfacecolor="white",
            markeredgecolor=tint,
            markeredgewidth=0.8,
            zorder=4,
        )
    at = dict(zip(thin, expected, strict=True)) if expected is not None else {}
    cases = [c for s in panel.members for c in s.cases if c.n == n]
    return [
        (
            panel.title,
            f"n = {n}, k",
            x,
            v,
            lo,
            hi,
            at.get(x, np.nan),
            len(cases),
            cases[0].draws,
            cases[0].draws * cases[0].rows,
        )
        for x, v, lo, hi in zip(k, value, low, high, strict=True)
    ]


def _against_k(panels: Sequence[Panel], quantity: Quantity, caption: str) -> Plot | None:
    sizes = sorted({c.n for p in panels for s in p.members for c in s.cases})[-_CURVES_OF_N:]
    figure, axes = panel_grid(len(panels))
    shades = colormaps["viridis"](np.linspace(0.78, 0.12, max(len(sizes), 2)))
    tints = {n: shades[i] for i, n in enumerate(sizes)}
    title = f"{_sentence_case(quantity.words)} against k"
    plot = Plot(f"{quantity.name}_against_k", title, caption, figure)
    for panel, place in zip(panels, axes, strict=True):
        for n in sizes:
            plot.records += _draw_against_k(place, panel, quantity, n, tints[n])
        set_title(place, panel.title)
        place.set_xscale("log", base=2)
    log_y(axes, 1e-8)
    axis_of_n(axes[0], [1, max(sizes)])
    label_axes(axes, "$k$", f"${quantity.symbol}$")
    entries = [proxy(f"$n$ = {_size_words(n)}", color=tints[n]) for n in sizes]
    heads = any(len(p.members) > 1 for p in panels)
    strokes = [proxy("median, 10–90% of heads" if heads else "measured, ±1 SE", color=MUTED)]
    if any(p.first.predictable for p in panels):
        circle = {"marker": "o", "markersize": 3.5, "markerfacecolor": "white", "linestyle": "none"}
        strokes.append(proxy("i.i.d. Gaussian", color=MUTED, **circle))
        plot.caption = f"{caption} {captions.EXPECTED_DOTS}"
    outside_legend(figure, entries, "keys", strokes)
    return plot


def _size_words(n: int) -> str:
    return rf"$2^{{{n.bit_length() - 1}}}$" if n & (n - 1) == 0 else f"{n:,}"


def tail_mass_against_k(panels: Sequence[Panel]) -> Plot | None:
    return _against_k(panels, TAIL_MASS, captions.TAIL_MASS_AGAINST_K)


def row_error_against_k(panels: Sequence[Panel]) -> Plot | None:
    return _against_k(panels, ROW_L2_ERROR, captions.ROW_L2_AGAINST_K)
