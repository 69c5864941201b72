"""How figures look: one palette, one typography, panels in a grid, the legend outside the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, NullFormatter, NullLocator

from ..theory.sizes import count_words

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# Keyword arguments of a line or a marker.
Stroke = dict[str, Any]

# Okabe and Ito's palette without its yellow, which fades on white, and with an indigo; apart in grey as well.
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#4D4D4D"),
    *("#882255", "#999933", "#6B4C3B", "#88CCAA"),
)
MARKERS = ("o", "s", "^", "D", "v", "<", ">", "p")
_COARSE, _FINE = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
INK = "#222222"
MUTED = "#8a8a8a"
INVALID_COLOUR = "#C1121F"

STYLE: dict[RcKeyType, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 9.5,
    "axes.titlepad": 7,
    "axes.titley": 1.0,  # where it is anyway, but for an offset of an axis: looked for at every drawing
    "axes.labelsize": 9,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.2,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "asymptop",
    "pdf.fonttype": 42,
}


_FORMULAS_KEPT = 4096


def keep_formulas() -> None:
    """matplotlib keeps the last 50 formulas that it set, fewer than the tick labels of one figure: it would set each
    of them again for every panel and pass. A release that keeps them in another way is left as it is."""
    parser: Any = MathTextParser
    kept: Any = getattr(parser, "_parse_cached", None)
    if hasattr(kept, "cache_parameters") and kept.cache_parameters()["maxsize"] < _FORMULAS_KEPT:
        parser._parse_cached = lru_cache(_FORMULAS_KEPT)(kept.__wrapped__)


def colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def marker(index: int) -> str:
    """The marker changes with the colour, and again when the palette starts over."""
    return MARKERS[(index + index // len(PALETTE)) % len(MARKERS)]


def panel_grid(
    count: int,
    columns: int = 3,
    width: float = 2.55,
    height: float = 2.25,
    legend_width: float = 1.9,
    share_y: bool = True,
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, with room on the right for the legend."""
    # Four panels make a square; three and one would leave a hole.
    columns = 2 if count == 4 else min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        squeeze=False,
        sharex=True,
        sharey=share_y,
        layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.05),
        figsize=(columns * width + legend_width + 0.4, rows * height + 0.45),
    )
    flat = list(axes.flat)
    for spare in flat[count:]:
        spare.remove()
    # Panels above an empty place are the lowest of their column: they carry the axis labels.
    for index in range(count - columns, count):
        flat[index].tick_params(labelbottom=True)
    return figure, flat[:count]


# Characters of a panel's title that its width holds.
_TITLE = 32
_MARKUP = re.compile(r"\\[a-zA-Z]+|[\\{}$^_]")
_COMMA_OUTSIDE_FORMULA = re.compile(r", (?=[^$]*(?:\$[^$]*\$[^$]*)*$)")


def _length(title: str) -> int:
    return len(_MARKUP.sub("", title))


def title_lines(title: str) -> list[str]:
    """A long title broken at its commas; of a longer name, as files have, the middle is left out."""
    found: list[str] = []
    for part in _COMMA_OUTSIDE_FORMULA.split(title):
        if _length(part) > _TITLE and "$" not in part:
            part = f"{part[: _TITLE // 2]}…{part[1 - _TITLE // 2 :]}"
        if found and _length(f"{found[-1]}, {part}") <= _TITLE:
            found[-1] += f", {part}"
        else:
            found.append(part)
    return [f"{line}," for line in found[:-1]] + found[-1:]


def set_title(place: Axes, title: str) -> None:
    place.set_title("\n".join(title_lines(title)))


def place_in_grid(axes: Axes) -> SubplotSpec:
    """Where panel_grid has put them."""
    found = axes.get_subplotspec()
    if found is None:
        raise ValueError("axes that belong to no grid")
    return found


def lay_out(figure: Figure) -> None:
    """Places the panels, once for all formats: a figure that keeps an engine is drawn once more for every file."""
    marked = [
        (axis, axis.get_minor_locator())
        for place in figure.axes
        for axis in (place.xaxis, place.yaxis)
        if isinstance(axis.get_minor_locator(), LogLocator) and isinstance(axis.get_minor_formatter(), NullFormatter)
    ]
    for axis, _ in marked:
        axis.set_minor_locator(NullLocator())
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
    for axis, locator in marked:
        _mark_minor(axis, locator)


def _mark_minor(axis: Axis, locator: Locator) -> None:
    """Minor ticks, without labels, as one line of marks: matplotlib makes five artists of each, dozens an axis."""
    axis.set_minor_locator(locator)
    ticks = axis.get_minorticklocs()
    axis.set_minor_locator(NullLocator())
    low, high = np.log(sorted(axis.get_view_interval()))
    reach = 1e-10 * (high - low)
    ticks = ticks[(np.log(ticks) >= low - reach) & (np.log(ticks) <= high + reach)]
    at_edge = np.zeros(len(ticks))
    along_x = isinstance(axis, XAxis)
    shape: Any = TICKDOWN if along_x else TICKLEFT  # the numbers of markers are not in the types of their names
    rc = matplotlib.rcParams
    size, width, tint = (
        (rc["xtick.minor.size"], rc["xtick.minor.width"], rc["xtick.color"])
        if along_x
        else (rc["ytick.minor.size"], rc["ytick.minor.width"], rc["ytick.color"])
    )
    marks = Line2D(
        *((ticks, at_edge) if along_x else (at_edge, ticks)),
        transform=axis.axes.get_xaxis_transform("tick1") if along_x else axis.axes.get_yaxis_transform("tick1"),
        linestyle="none",
        marker=shape,
        markersize=size,
        markeredgewidth=width,
        markeredgecolor=tint,
        clip_on=False,
        zorder=axis.get_zorder(),
    )
    axis.axes.add_artist(marks)


def _power_label(value: float, _: int) -> str:
    exponent = np.log2(value) if value > 0 else 0.0
    return rf"$2^{{{round(exponent)}}}$" if abs(exponent - round(exponent)) < 1e-6 else count_words(value)


def axis_of_n(axes: Axes, values: Sequence[int]) -> None:
    """Logarithmic axis of n with powers of two, five labels at most."""
    axes.set_xscale("log", base=2)
    low, high = np.log2(min(values)), np.log2(max(values))
    step = max(1, int(np.ceil((high - low) / 5)))
    ticks = [2.0**e for e in range(int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9)) + 1, step)]
    axes.set_xticks(ticks or [float(min(values))])
    axes.xaxis.set_major_formatter(FuncFormatter(_power_label))
    axes.xaxis.set_minor_locator(NullLocator())
    pad = max(0.04 * (high - low), 0.15)
    axes.set_xlim(2.0 ** (low - pad), 2.0 ** (high + pad))


def _shown_values(axes: Sequence[Axes]) -> np.ndarray:
    found = [np.array([1.0])[:0]]
    for place in axes:
        found += [np.asarray(line.get_ydata(), dtype=float) for line in place.get_lines()]
        corners = [np.asarray(path.vertices) for shapes in place.collections for path in shapes.get_paths()]
        found += [points[:, 1] for points in corners if points.size]
    values = np.concatenate(found)
    return values[np.isfinite(values) & (values > 0)]


def log_y(axes: Sequence[Axes], floor: float | None = None) -> None:
    """Logarithmic y axes with the same limits; values below `floor` times the largest are cut off."""
    values = _shown_values(axes)
    low, high = (values.min(), values.max()) if values.size else (0.1, 1.0)
    if floor is not None:
        low = max(low, floor * high)
    span = max(np.log10(high / low), 0.35)
    for place in axes:
        place.set_yscale("log")
        place.set_ylim(low / 10 ** (0.06 * span), high * 10 ** (0.06 * span))
        place.yaxis.set_minor_formatter(NullFormatter())
        if span > 1.2:
            place.yaxis.set_major_locator(LogLocator(numticks=7))
        else:
            place.yaxis.set_major_locator(LogLocator(subs=_COARSE if span > 0.5 else _FINE, numticks=7))
            place.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            place.yaxis.set_minor_locator(NullLocator())


def proxy(label: str, **style: Any) -> Line2D:
    return Line2D([], [], label=label, **style)


MEASURED: Stroke = {"color": MUTED, "marker": "o", "linestyle": "none"}
BARS: Stroke = {
    **{"capsize": 2, "elinewidth": 0.9, "capthick": 0.9},
    **{"markeredgecolor": "white", "markeredgewidth": 0.5, "zorder": 3},
}
EXPECTED: Stroke = {"color": MUTED, "linestyle": (0, (4, 2)), "linewidth": 1.2}
FORMULA: Stroke = {"color": MUTED, "linestyle": (0, (1, 1.5)), "linewidth": 1.2}


def outside_legend(figure: Figure, entries: Sequence[Artist], title: str, styles: Sequence[Artist]) -> None:
    """One legend right of the panels: what the colours are, then what the strokes are."""
    blank = proxy("", linestyle="none")
    handles = [*entries, blank, *styles] if styles else list(entries)
    legend = figure.legend(
        handles=handles, loc="outside right upper", title=title, alignment="left", handlelength=2.2, labelspacing=0.55
    )
    legend.get_title().set_fontsize(9)
