"""Figures of selectors, exact top-k as the bound: against the keys kept, against n, and against the bytes read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..criteria.cheapest import keys_for
from ..fits.quantities import K_EPSILON
from ..io.reader import Case
from ..io.schema import EXACT
from ..io.selectors import SelectorGroup
from ..theory.costs import bytes_words, order_of
from ..theory.laws import to_tex
from ..theory.statistics import Array
from . import captions
from .marks import label_axes, label_n
from .plot_data import ABSENT, Absent, ParameterOf, Plot, curve_against_n, draw_curve, positive
from .style import (
    INK,
    MUTED,
    PALETTE,
    Stroke,
    axis_of_n,
    colour,
    log_y,
    marker,
    outside_legend,
    panel_grid,
    proxy,
    set_title,
)

COLUMNS = ("panel", "selector", "n", "k", "kept", "tail_mass", "low", "high", "bytes_read", "heads", "draws", "rows")
_FLOOR = 1e-4
_MOST_MARKERS = 8
_BOUND: Stroke = {"color": INK, "linewidth": 1.9, "marker": "", "linestyle": "-"}
_STROKES = ("-", (0, (4, 1.5)))  # of the palette, and of the palette again
_CHANCE: Stroke = {"color": MUTED, "linestyle": (0, (1, 1.5)), "linewidth": 1.1}
# Where all selectors drop more than this, their bytes tell nothing.
_NEARLY_ALL = 0.97
_FEW_DECADES = 10.0**2.5
_BUDGET_DASHES = ((0, (5, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)), (0, (2, 3)))
# (n, k) of equal task error, from its budgets of 1/10, 1/15 and 1/20 (The Sparse Frontier, arXiv 2504.17768 v3).
SPARSE_FRONTIER = ((16384, 1638), (32768, 2185), (65536, 3277))


@dataclass(frozen=True)
class KeptCurve:
    """Keys kept and tail mass, means over draws with one standard error, or median and band over heads: by stored k,
    then where k is NaN the keys for the epsilons of the file that lie beyond."""

    n: int
    k: Array
    kept: Array
    tail: Array
    low: Array
    high: Array
    heads: int
    draws: int
    rows: int


def kept_curve(group: SelectorGroup, selector: str, n: int) -> KeptCurve | None:
    cases = group.cases_at(selector, n)
    if not cases or not cases[0].k.size:
        return None
    common = sorted(set.intersection(*(set(case.k.tolist()) for case in cases)))
    tails, keeps, errors = [], [], []
    for case in cases:
        at = [case.k_index(k) for k in common]
        draws = case.draw_means("tail_mass")[:, at]
        tails.append(draws.mean(axis=0))
        errors.append(draws.std(axis=0, ddof=1) / np.sqrt(len(draws)) if len(draws) > 1 else np.zeros(len(common)))
        keeps.append(
            np.array(common, dtype=float) if selector == EXACT else case.draw_means("kept")[:, at].mean(axis=0)
        )
    value, low, high = tails[0], tails[0] - errors[0], tails[0] + errors[0]
    if len(cases) > 1:
        low, value, high = np.percentile(np.array(tails), (10.0, 50.0, 90.0), axis=0)
    kept = np.median(keeps, axis=0)
    beyond = _beyond(cases, float(np.max(kept[value > 0], initial=0.0)), float(np.min(value[value > 0], initial=1.0)))
    shown = value > 0 if beyond else np.ones(len(kept), dtype=bool)
    keys, masses = (np.array([pair[i] for pair in beyond], dtype=float) for i in (0, 1))
    return KeptCurve(
        n,
        k=np.concatenate([np.array(common, dtype=float)[shown], np.full(len(keys), np.nan)]),
        kept=np.concatenate([kept[shown], keys]),
        tail=np.concatenate([value[shown], masses]),
        low=np.concatenate([low[shown], masses]),
        high=np.concatenate([high[shown], masses]),
        heads=len(cases),
        draws=min(case.draws for case in cases),
        rows=min(case.draws * case.rows for case in cases),
    )


def _beyond(cases: Sequence[Case], keys: float, tail: float) -> list[tuple[float, float]]:
    """(keys, epsilon) that lie beyond a curve, in its order."""
    found = []
    for epsilon in sorted(set.intersection(*(set(case.epsilon.tolist()) for case in cases)), reverse=True):
        needed = [keys_for(case, epsilon) for case in cases]
        there = [float(one.mean()) for one in needed if one is not None]
        if len(there) == len(cases) and epsilon < tail and np.median(there) > keys:
            found.append((float(np.median(there)), epsilon))
    return found


def selectors_of(groups: Sequence[SelectorGroup]) -> list[str]:
    """Of all groups, exact top-k first."""
    return sorted({name for group in groups for name in group.lines}, key=order_of)


def _style(selector: str, names: Sequence[str]) -> Stroke:
    """Exact top-k is the black bound; colours are the same in every figure of the file."""
    if selector == EXACT:
        return _BOUND
    index = [name for name in names if name != EXACT].index(selector)
    stroke = _STROKES[index // len(PALETTE) % len(_STROKES)]
    return {"color": colour(index), "marker": marker(index), "linestyle": stroke}


def _legend(names: Sequence[str]) -> list[Line2D]:
    return [proxy("score: exact top-k" if name == EXACT else name, **_style(name, names)) for name in names]


def _draw(place: Axes, x: Array, curve: KeptCurve, style: Stroke) -> None:
    """Markers at some of the k; a step of whole pages shows once. What lies beyond the stored k is not joined: between
    them the tail mass bends."""
    beyond = np.isnan(curve.k)
    alone = style | {"marker": style["marker"] or "o", "linestyle": "none", "markerfacecolor": "white"}
    place.plot(x[beyond], curve.tail[beyond], zorder=5, markersize=5, **alone)
    first = np.concatenate([[True], np.diff(x) != 0]) & ~beyond
    x, tail, low, high = x[first], curve.tail[first], curve.low[first], curve.high[first]
    order = 4 if style is _BOUND else 3
    place.plot(x, positive(tail), markevery=max(1, len(x) // _MOST_MARKERS), zorder=order, **style)
    place.fill_between(x, positive(low), positive(high), color=style["color"], alpha=0.18, linewidth=0)


def _records(group: SelectorGroup, selector: str, curve: KeptCurve, spent: Array) -> list[tuple]:
    columns = (curve.k, curve.kept, curve.tail, curve.low, curve.high, spent)
    return [
        (group.title, selector, curve.n, k, *map(float, rest), curve.heads, curve.draws, curve.rows)
        for k, *rest in zip(*columns, strict=True)
    ]


def _bytes_at(group: SelectorGroup, selector: str, curve: KeptCurve) -> Array:
    costs = group.costs(selector)
    if costs is None:
        return np.full(len(curve.kept), np.nan)
    return np.array([costs.bytes_read(group.seen(curve.n), group.d, kept) for kept in curve.kept])


def _spread_words(groups: Sequence[SelectorGroup]) -> str:
    heads = any(len(members) > 1 for group in groups for members in group.lines.values())
    return captions.BAND if heads else captions.SELECTORS_SPREAD


def _against(groups: Sequence[SelectorGroup], name: str, title: str, caption: str, by_bytes: bool) -> Plot | None:
    """Tail mass at the largest n of each panel, against keys kept or bytes read."""
    if not groups:
        return None
    names = selectors_of(groups)
    figure, axes = panel_grid(len(groups), width=3.1, height=2.9, legend_width=2.2, share_y=False)
    plot = Plot(name, title, caption, figure, COLUMNS)
    drawn: set[str] = set()
    sizes, telling = {1}, []
    for group, place in zip(groups, axes, strict=True):
        n, least = group.largest_n, 0.5
        for selector in group.lines:
            curve = kept_curve(group, selector, n)
            spent = None if curve is None else _bytes_at(group, selector, curve)
            if curve is None or spent is None or (by_bytes and not np.isfinite(spent).all()):
                continue
            drawn.add(selector)
            _draw(place, spent if by_bytes else curve.kept, curve, _style(selector, names))
            plot.records += _records(group, selector, curve, spent)
            telling += spent[(curve.tail < _NEARLY_ALL) & (curve.tail > 0)].tolist()
            least = min(least, *curve.tail[curve.tail > 0], 1.0)
        if not by_bytes and n > 1:
            k = n * (1.0 - np.geomspace(least, 1.0 - 1.0 / n, 200))
            place.plot(k, 1.0 - k / n, zorder=2, **_CHANCE)
        power = n.bit_length() - 1
        set_title(place, f"{group.title}, $n$ = " + (f"$2^{{{power}}}$" if n == 1 << power else f"{n:,}"))
        sizes.add(n)
    for place in axes:
        log_y([place], _FLOOR)
        if by_bytes:
            place.set_xscale("log")
            if telling:
                place.set_xlim(min(telling) / 1.3, max(telling) * 1.3)
            low, high = place.get_xlim()
            # Over more decades words for every 3 run into one another.
            place.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high < _FEW_DECADES * low else (1.0,)))
            place.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_words(value)))
            place.xaxis.set_minor_formatter(NullFormatter())
        else:
            axis_of_n(place, sorted(sizes))
    label_axes(axes, "bytes read per query and head" if by_bytes else "keys kept", r"tail mass $\tau$")
    strokes = [] if by_bytes else [proxy("$1 - k/n$", **_CHANCE)]
    outside_legend(figure, _legend([one for one in names if one in drawn]), "selector", strokes)
    plot.caption = f"{caption} {_spread_words(groups)}"
    return plot


def tail_mass_against_kept(groups: Sequence[SelectorGroup]) -> Plot | None:
    title = "Tail mass against keys kept, by selector"
    return _against(groups, "selectors_tail_mass_against_kept", title, captions.SELECTORS_AGAINST_KEPT, False)


def tail_mass_against_bytes(groups: Sequence[SelectorGroup]) -> Plot | None:
    title = "Tail mass against bytes read, by selector"
    return _against(groups, "selectors_tail_mass_against_bytes", title, captions.SELECTORS_AGAINST_BYTES, True)


def _budgets(axes: Sequence[Axes], groups: Sequence[SelectorGroup]) -> list[Line2D]:
    """The study's laws of k beside what is needed, and what others found to be enough for their tasks."""
    laws: dict[str, dict[int, int]] = {}
    for group in groups:
        for case in (case for members in group.lines.values() for one in members for case in one.cases):
            for law, k in zip(case.k_law, case.k_of_law.tolist(), strict=True):
                laws.setdefault(law, {})[case.n] = k
    if len(laws) > len(_BUDGET_DASHES):
        return []
    strokes = []
    for dashes, (law, keys) in zip(_BUDGET_DASHES, laws.items(), strict=False):
        style: Stroke = {"color": MUTED, "linestyle": dashes, "linewidth": 1.2, "zorder": 2}
        for place in axes:
            place.plot(sorted(keys), [keys[n] for n in sorted(keys)], **style)
        strokes.append(proxy(f"budget $k$ = {to_tex(law)}", **style))
    everywhere = {n for keys in laws.values() for n in keys}
    within = [(n, k) for n, k in SPARSE_FRONTIER if min(everywhere) <= n <= max(everywhere)]
    if laws and len(within) == len(SPARSE_FRONTIER):
        style = {"color": INK, "marker": "x", "linestyle": "none", "markersize": 6, "zorder": 6}
        for place in axes:
            place.plot(*zip(*within, strict=True), **style)
        strokes.append(proxy("equal task error\n(Sparse Frontier)", **style))
    return strokes


def _epsilon_if_there(epsilon: float) -> ParameterOf:
    def parameter(case: Case) -> float | Absent:
        return epsilon if epsilon in case.epsilon else ABSENT

    return parameter


def k_epsilon_against_n(groups: Sequence[SelectorGroup]) -> Plot | None:
    """One panel per law of sigma and epsilon, one line per selector."""
    measured = [s for group in groups for members in group.lines.values() for s in members]
    epsilons = sorted({e for s in measured if K_EPSILON.present(s.cases[0]) for e in s.epsilons}, reverse=True)
    if not groups or not epsilons:
        return None
    names = selectors_of(groups)
    figure, axes = panel_grid(len(groups) * len(epsilons), columns=len(groups), width=3.0, height=2.4, legend_width=2.2)
    title = "Keys needed against n, by selector"
    plot = Plot("selectors_k_epsilon_against_n", title, captions.SELECTORS_K_EPSILON, figure)
    sizes: set[int] = set()
    drawn: set[str] = set()
    for index, place in enumerate(axes):
        group, epsilon = groups[index % len(groups)], epsilons[index // len(groups)]
        for selector in group.lines:
            curve = curve_against_n(
                group.panel(selector),
                K_EPSILON,
                _epsilon_if_there(epsilon),
                expect=False,
            )
            if curve is None:
                continue
            drawn.add(selector)
            style = _style(selector, names)
            if style is _BOUND:  # drawn above those that equal it
                place.plot(curve.x, positive(curve.value), zorder=4, **style)
            else:
                draw_curve(place, curve, style["color"], style["marker"], stroke=style["linestyle"])
            sizes.update(curve.x.astype(int).tolist())
            plot.records += curve.records(f"{group.title}, ε = {epsilon:g}", selector)
        set_title(place, rf"{group.title}, $\varepsilon$ = {epsilon:g}")
    for place in axes:
        ends = np.array([min(sizes), max(sizes)], dtype=float)
        place.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=1)
    strokes = [proxy("$k = n$", color=MUTED, linewidth=0.8), *_budgets(axes, groups)]
    log_y(axes)
    label_n(axes, sizes, r"$k_\varepsilon$")
    outside_legend(figure, _legend([one for one in names if one in drawn]), "selector", strokes)
    plot.caption = f"{plot.caption} {_spread_words(groups)}"
    return plot


BUILDERS = (tail_mass_against_kept, k_epsilon_against_n, tail_mass_against_bytes)
