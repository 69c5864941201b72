"""The figure of arithmetic: error of sum p, effective entries and tail mass against n, a line per set of formats."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..fits.precision_errors import MEASURES, SUM_P, TAIL_MASS, Measure, middle_k_law, off
from ..io.precision_file import PrecisionCase, PrecisionResults, source_tex
from ..theory import laws
from .captions import PRECISION_AGAINST_N
from .marks import label_n
from .plot_data import Plot
from .style import MUTED, Stroke, colour, log_y, marker, outside_legend, panel_grid, proxy

COLUMNS = ("panel", "measure", "k_law", "line", "n", "off", "standard_error", "mean", "fp64", "draws", "rows")
_MOST_LAWS = 3
_FLOOR = 1e-9
_NOTHING: Stroke = {"marker": r"$\infty$", "markersize": 8, "linestyle": "none"}
_LINES = {"sequential": "-", "blocked": (0, (5, 1.5)), "pairwise": (0, (1.5, 1.5))}


def _draw(place: Axes, cases: list[PrecisionCase], measure: Measure, k_law: str, plot: Plot) -> list[tuple[int, float]]:
    """Lines of one panel. Returns (set, n) where the error is infinite."""
    lost = []
    for at, arithmetic in enumerate(cases[-1].sets[1:], start=1):
        found = [off(case, at, measure, k_law) for case in cases]
        sizes = np.array([case.n for case in cases], dtype=float)
        factor = np.array([one.factor for one in found])
        shown = np.isfinite(factor) & (factor > 0)
        lost += [(at, float(n)) for n in sizes[np.isinf(factor)]]
        style: Stroke = {
            "color": colour(at - 1),
            "marker": marker(at - 1),
            "linestyle": _LINES.get(arithmetic.order, "-"),
        }
        error = np.nan_to_num(np.array([one.standard_error for one in found]))
        place.errorbar(
            sizes,
            np.where(shown, factor, np.nan),
            yerr=[np.minimum(error, 0.95 * np.nan_to_num(factor, posinf=0.0)), error],
            markeredgecolor="white",
            markeredgewidth=0.5,
            elinewidth=0.9,
            capsize=2,
            **style,
        )
        law = k_law if measure.per_k else ""
        plot.records += [
            (
                cases[0].source,
                measure.name,
                law,
                arithmetic.label,
                c.n,
                o.factor,
                o.standard_error,
                o.mean,
                o.reference,
                c.draws,
                c.rows,
            )
            for c, o in zip(cases, found, strict=True)
        ]
    return lost


def precision_against_n(results: PrecisionResults) -> Plot | None:
    laws_of_sigma = list(results.by_law.items())[:_MOST_LAWS]
    if not laws_of_sigma:
        return None
    figure, axes = panel_grid(
        len(MEASURES) * len(laws_of_sigma), columns=len(laws_of_sigma), width=2.9, height=2.2, share_y=False
    )
    plot = Plot("precision_against_n", "Arithmetic against fp64", PRECISION_AGAINST_N, figure, COLUMNS)
    k_law = middle_k_law(laws_of_sigma[0][1])
    sizes: set[int] = set()
    for row, measure in enumerate(MEASURES):
        places = axes[row * len(laws_of_sigma) : (row + 1) * len(laws_of_sigma)]
        lost = [
            _draw(place, cases, measure, k_law, plot) for place, (_, cases) in zip(places, laws_of_sigma, strict=True)
        ]
        log_y(places, _FLOOR)
        for place, (law, cases), infinite in zip(places, laws_of_sigma, lost, strict=True):
            for i, (at, n) in enumerate(infinite):
                # One below the other where several sets have nothing left at one n.
                height = 1.0 - 0.07 * sum(other == n for _, other in infinite[:i])
                place.plot(
                    [n],
                    [height],
                    color=colour(at - 1),
                    transform=place.get_xaxis_transform(),
                    clip_on=False,
                    **_NOTHING,
                )
            place.axhline(1.0, color=MUTED, linewidth=0.6, zorder=0)
            sizes.update(case.n for case in cases)
            if row == 0:
                place.set_title(source_tex(law))
    label_n(axes, sizes, "")
    words = {
        SUM_P: r"$\Sigma\,p$ off by",
        TAIL_MASS: rf"tail mass at $k$ = {laws.to_tex(k_law)} off by",
    }
    for row, measure in enumerate(MEASURES):
        axes[row * len(laws_of_sigma)].set_ylabel(words.get(measure, r"$\exp(\mathrm{entropy})$ off by"))
    sets = laws_of_sigma[0][1][-1].sets
    entries = [
        proxy(s.label, color=colour(i), marker=marker(i), linestyle=_LINES.get(s.order, "-"))
        for i, s in enumerate(sets[1:])
    ]
    strokes = [
        proxy("a factor of 2", color=MUTED, linewidth=0.6),
        proxy("nothing left in some rows", color=MUTED, **_NOTHING),
    ]
    outside_legend(figure, entries, "formats, order of the sum", strokes)
    return plot
