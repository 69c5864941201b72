"""The figure of k against n: how many keys an error takes in every regime, and the exponent C against c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..criteria.needed_keys import NORMS, KeysNeeded, all_keys_needed, epsilons_of, expected_keys, keys_needed
from ..fits.quantities import K_EPSILON, TAIL_MASS, expected_draw_values
from ..io.series import Panel, Series
from ..theory import laws
from . import captions
from .marks import label_n
from .plot_data import Plot
from .style import EXPECTED, INK, MUTED, axis_of_n, colour, log_y, marker, outside_legend, panel_grid, proxy

COLUMNS = (
    "panel",
    "line",
    "n",
    "k",
    "low",
    "high",
    "formula",
    "C",
    "C_low",
    "C_high",
    "alpha",
    "C_limit",
    "draws",
    "rows",
)
_HALO = [patheffects.withStroke(linewidth=2.6, foreground="white")]
_LABEL_GAP = 0.056  # of the axis, between labels at the lines' ends
_MOST_LINES = 12


def _synthetic(panels: Sequence[Panel]) -> list[Series]:
    """Series under a law of sigma: those of Gaussian input, or of the first input where there are none."""
    found = [s for p in panels for s in p.members if s.cases and s.synthetic]
    gaussian = [s for s in found if s.gaussian]
    return gaussian or [s for s in found if s.first.input == found[0].first.input]


def _shades(series: Sequence[Series]) -> list:
    """Dark for constant sigma to orange for the steepest growth, in the order of sigma."""
    places = np.linspace(0.0, 0.76, max(len(series), 2))
    return [colormaps["plasma"](place) for place in places[: len(series)]]


def _records(one: KeysNeeded) -> list[tuple]:
    fit = one.fit
    exponents = ("", "", "", "") if fit is None else (fit.exponent, fit.interval.low, fit.interval.high, fit.prefactor)
    return [
        (
            f"{one.norm.words}, epsilon = {one.epsilon:g}",
            one.series.title,
            point.n,
            point.mean,
            point.mean - point.error,
            point.mean + point.error,
            formula,
            *exponents,
            "" if one.limit is None else one.limit,
            one.series.draws,
            one.series.rows,
        )
        for point, formula in zip(one.points, one.formula, strict=True)
    ]


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved apart to at least `gap`, as little as possible, inside 0..1."""
    order = np.argsort(heights)
    placed = np.array(heights, dtype=float)[order]
    for _ in range(200):
        overlaps = gap - np.diff(placed)
        if np.all(overlaps <= 1e-9):
            break
        for i in np.flatnonzero(overlaps > 0):
            placed[i] -= overlaps[i] / 2.0
            placed[i + 1] += overlaps[i] / 2.0
        placed = np.clip(placed, 0.0, 1.0)
    result = np.empty_like(placed)
    result[order] = placed
    return result.tolist()


def _fit_words(one: KeysNeeded) -> str:
    if one.fit is None or not np.isfinite(one.fit.interval.half_width):
        return ""
    half_width = one.fit.interval.half_width
    if half_width < 5e-4:
        return f"$C$ = {one.fit.exponent:.3f}"
    digits = 2 if half_width > 9.5e-3 else 3
    return f"$C$ = {one.fit.exponent:.{digits}f} ± {half_width:.{digits}f}".replace("-", "−")


def _label_ends(place: Axes, lines: Sequence[tuple[KeysNeeded, object]]) -> None:
    """Each line's regime and fitted exponent, right of its last point, moved apart where they would overlap."""
    low, high = np.log(place.get_ylim())
    heights = [float((np.log(one.points[-1].mean) - low) / (high - low)) for one, _ in lines]
    for (one, tint), start, height in zip(lines, heights, _spread(heights, _LABEL_GAP), strict=True):
        place.plot([1.005, 1.035], [start, height], transform=place.transAxes, color=tint, linewidth=0.7, clip_on=False)
        words = f"$\\sigma$ = {laws.to_tex(one.series.first.sigma_law)}:  {_fit_words(one)}"
        place.text(
            1.045, height, words, transform=place.transAxes, color=tint, fontsize=8.5, va="center", path_effects=_HALO
        )


def _draw_lines(place: Axes, lines: Sequence[tuple[KeysNeeded, object]], expect: bool) -> None:
    """Points with their standard errors on the expectation at every row's own sigma."""
    for one, tint in lines:
        expected = False
        n = np.array(one.sizes, dtype=float)
        means = np.array([p.mean for p in one.points])
        errors = np.nan_to_num([p.error for p in one.points])
        if expect and one.series.predictable:
            cases = [case for case in one.series.cases if case.n in one.sizes]
            values = [expected_draw_values(case, K_EPSILON, one.epsilon) for case in cases]
            known = [float(np.mean(v)) for v in values if v is not None]
            if len(known) == len(n):
                place.plot(n, known, color=tint, linewidth=1.3, alpha=0.75, zorder=2)
                expected = True
        style = "none" if expected else "-"
        place.errorbar(
            n, means, yerr=[np.minimum(errors, 0.9 * means), errors], color=tint, marker="o", markersize=4.6,
            markeredgecolor="white", markeredgewidth=0.6, linestyle=style, elinewidth=0.9, zorder=3,
        )  # fmt: skip
        formula = np.array(one.formula)
        if np.isfinite(formula).sum() > 1 and one.series.regime.kind == "constant":
            place.plot(n, formula, color=INK, linestyle=(0, (1, 1.8)), linewidth=1.1, zorder=4)


def _all_keys(place: Axes, sizes: Sequence[int]) -> None:
    reach = np.array([min(sizes), max(sizes)], dtype=float)
    place.plot(reach, reach, color="#9a9a9a", linewidth=1.0, zorder=1)
    place.fill_between(reach, reach, 1e30, color="#f0f0f0", linewidth=0, zorder=0)
    place.text(reach[0] * 1.08, reach[0] * 1.7, "k = n", color="#8a8a8a", fontsize=8, va="bottom", rotation=0)


def _exponents_against_c(place: Axes, series: Sequence[Series], epsilons: Sequence[float]) -> list[Line2D]:
    """Fitted C against c of sigma = c sqrt(log n), constant sigma at c = 0, with the limit and the expectation."""
    growing = [s for s in series if s.regime.kind in ("constant", "sqrt_log")]
    entries = []
    c = np.linspace(
        0.0, max([1.6, *(s.regime.coefficient * 1.05 for s in growing if s.regime.kind == "sqrt_log")]), 300
    )
    place.plot(c, np.maximum(0.0, 1.0 - c**2 / 2.0), color=INK, linewidth=2.0, zorder=2)
    for index, epsilon in enumerate(epsilons):
        shown = []
        for one in growing:
            found = keys_needed(one, TAIL_MASS, epsilon)
            if found is not None and found.fit is not None and found.fit.interval.half_width < 0.5:
                at = one.regime.coefficient if one.regime.kind == "sqrt_log" else 0.0
                shown.append((at + 0.012 * (index - 1), found.fit))
        if not shown:
            continue
        x = [at for at, _ in shown]
        value = np.array([fit.exponent for _, fit in shown])
        low = value - np.array([fit.interval.low for _, fit in shown])
        high = np.array([fit.interval.high for _, fit in shown]) - value
        place.errorbar(
            x, value, yerr=[np.maximum(low, 0), np.maximum(high, 0)], color=colour(index), marker=marker(index),
            linestyle="none", markersize=4.8, markeredgecolor="white", markeredgewidth=0.5, elinewidth=0.9, zorder=4,
        )  # fmt: skip
        _expected_exponents(place, growing, epsilon, c, colour(index))
        entries.append(
            proxy(rf"$\varepsilon$ = {epsilon:g}", color=colour(index), marker=marker(index), linestyle="none")
        )
    return entries


def _expected_exponents(place: Axes, series: Sequence[Series], epsilon: float, c: np.ndarray, tint: str) -> None:
    """Slope of the finite-n expectation over the same range of n."""
    like = next((s for s in series if s.predictable and s.regime.kind == "sqrt_log"), None)
    if like is None:
        return
    low, high = float(like.cases[0].n), float(like.cases[-1].n)
    if high <= low:
        return
    slopes = []
    for coefficient in c[15::12]:
        regime = laws.Regime("sqrt_log", float(coefficient))
        first, last = (expected_keys(regime, epsilon, n) for n in (low, high))
        slopes.append(np.nan if first is None or last is None else np.log(last / first) / np.log(high / low))
    place.plot(c[15::12], slopes, color=tint, linestyle=EXPECTED["linestyle"], linewidth=1.1, zorder=3)


def needed_keys_against_n(panels: Sequence[Panel]) -> Plot | None:
    """Left: k_epsilon(n) of every regime at the middle epsilon. Right: fitted exponents against c."""
    series = _synthetic(panels)[:_MOST_LINES]
    epsilons = epsilons_of(series)
    if not series:
        return None
    epsilon = 0.01 if 0.01 in epsilons else epsilons[len(epsilons) // 2]
    shades = _shades(series)
    found_or_not = [(keys_needed(s, TAIL_MASS, epsilon), tint) for s, tint in zip(series, shades, strict=True)]
    lines = [(one, tint) for one, tint in found_or_not if one is not None]
    if not lines:
        return None
    wide = any(s.regime.kind == "sqrt_log" for s in series)
    figure, axes = plt.subplots(
        1, 2 if wide else 1, squeeze=False, figsize=(10.8 if wide else 6.6, 4.4),
        gridspec_kw={"width_ratios": [1.15, 1.0] if wide else [1.0], "wspace": 0.8},
    )  # fmt: skip
    figure.subplots_adjust(left=0.065 if wide else 0.11, right=0.99 if wide else 0.66, top=0.86, bottom=0.13)
    place = axes[0][0]
    plot = Plot("needed_keys_against_n", "How many keys attention needs", captions.NEEDED_KEYS, figure, COLUMNS)
    _draw_lines(place, lines, True)
    sizes = [n for one, _ in lines for n in one.sizes]
    axis_of_n(place, sizes)
    log_y([place])
    limits = place.get_ylim()
    _all_keys(place, sizes)
    place.set_ylim(limits[0], max(limits[1], max(sizes) * 1.6))
    place.set_xlabel("keys in the context, $n$")
    place.set_ylabel(r"keys needed, $k_\varepsilon$")
    place.set_title(rf"Keys that leave a tail mass of $\varepsilon$ = {epsilon:g}", loc="left", color=INK)
    _label_ends(place, lines)
    if wide:
        _draw_exponent_panel(axes[0][1], series, epsilons)
    for e in epsilons:
        for one in series:
            found = keys_needed(one, TAIL_MASS, e)
            plot.records += [] if found is None else _records(found)
    return plot


def _draw_exponent_panel(place: Axes, series: Sequence[Series], epsilons: Sequence[float]) -> None:
    entries = _exponents_against_c(place, series, epsilons)
    entries += [
        proxy("limit $1 - c^2/2$", color=INK, linewidth=2.0),
        proxy("expected here", **EXPECTED),
    ]
    place.axvline(np.sqrt(2.0), color=MUTED, linewidth=0.7, linestyle=(0, (2, 2)), zorder=1)
    place.text(np.sqrt(2.0) + 0.02, 0.03, r"$\sqrt{2}$", color=MUTED, fontsize=8.5, va="bottom")
    place.set_ylim(-0.05, 1.06)
    place.set_xlabel(r"$c$ in $\sigma = c\,\sqrt{\log n}$ (constant $\sigma$ at 0)")
    place.set_ylabel(r"fitted exponent $C$ in $k_\varepsilon = \alpha\,n^C$")
    place.set_title("The exponent falls with $c$, and with $n$ to the limit", loc="left", color=INK)
    place.legend(handles=entries, loc="upper right", fontsize=7.5, borderaxespad=0.0, handlelength=1.3)


def needed_keys_by_norm(panels: Sequence[Panel]) -> Plot | None:
    """One panel per norm and epsilon: a line per regime."""
    series = _synthetic(panels)[:_MOST_LINES]
    shades = dict(zip((id(s) for s in series), _shades(series), strict=True))
    found = all_keys_needed(series)
    keys = [(norm, e) for e in epsilons_of(series) for norm in NORMS]
    shown = [(norm, e, [one for one in found if one.norm is norm and one.epsilon == e]) for norm, e in keys]
    shown = [entry for entry in shown if entry[2]]
    norms = [norm for norm in NORMS if any(entry[0] is norm for entry in shown)]
    if not series or len(norms) < 2:
        return None
    figure, axes = panel_grid(len(shown), columns=len(norms), width=2.2, height=2.0, legend_width=1.9)
    plot = Plot("needed_keys_by_norm", "Keys needed, by norm", captions.NEEDED_KEYS_BY_NORM, figure, COLUMNS)
    sizes = sorted({n for one in found for n in one.sizes})
    for (norm, epsilon, lines), place in zip(shown, axes, strict=True):
        _draw_lines(place, [(one, shades[id(one.series)]) for one in lines], norm is TAIL_MASS)
        place.set_title(rf"{norm.words}, $\varepsilon$ = {epsilon:g}", fontsize=8.5)
        for one in lines:
            plot.records += _records(one)
    log_y(axes)
    top = max(sizes) * 1.6
    for place in axes:
        place.set_ylim(0.8, top)
        place.plot([sizes[0], sizes[-1]], [sizes[0], sizes[-1]], color="#9a9a9a", linewidth=0.8, zorder=1)
    label_n(axes, set(sizes), r"$k_\varepsilon$")
    entries = [
        proxy(f"{laws.to_tex(s.first.sigma_law)}", color=shades[id(s)], marker="o", linestyle="-") for s in series
    ]
    outside_legend(figure, entries, "law of σ", [proxy("$k = n$", color="#9a9a9a")])
    return plot
