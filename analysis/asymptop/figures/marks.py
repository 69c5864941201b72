"""What the strokes of a figure mean, in its legend and in its caption; axis labels of a panel grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..io.series import Panel
from . import captions
from .plot_data import Curve
from .style import EXPECTED, FORMULA, INVALID_COLOUR, MEASURED, MUTED, axis_of_n, place_in_grid, proxy


@dataclass
class Marks:
    """Kinds of strokes that a figure holds, noted while it is drawn."""

    heads: bool = False
    expected: bool = False
    guides: bool = False
    formula: bool = False
    invalid: bool = False

    @classmethod
    def of(cls, panels: Sequence[Panel]) -> Marks:
        return cls(heads=any(len(p.members) > 1 for p in panels))

    def note(self, curve: Curve, invalid: bool) -> None:
        self.expected |= bool(np.isfinite(curve.expected).any())
        self.invalid |= invalid

    def strokes(self) -> list[Line2D]:
        found = [
            proxy("median, 10–90% of heads", color=MUTED, linewidth=5, alpha=0.35)
            if self.heads
            else proxy("measured, ±1 SE", **MEASURED)
        ]
        if self.expected:
            found.append(proxy("i.i.d. Gaussian", **EXPECTED))
        if self.guides:
            found.append(proxy("claimed $n^{-C}$", **FORMULA))
        if self.formula:
            found.append(proxy("large-$n$ formula", **FORMULA))
        if self.invalid:
            found.append(proxy("INVALID", color=INVALID_COLOUR, marker="x", linestyle="none"))
        return found

    def words(self) -> str:
        parts = [captions.BAND if self.heads else captions.BARS]
        for present, sentence in (
            (self.expected, captions.EXPECTED),
            (self.guides, captions.GUIDES),
            (self.formula, captions.FORMULA),
            (self.invalid, captions.INVALID),
        ):
            if present:
                parts.append(sentence)
        return " ".join(parts)


def legend_title(panels: Sequence[Panel]) -> str:
    """What tells lines apart that stand for whole panels."""
    return "law of σ" if all(p.first.synthetic for p in panels) else "input"


def _is_lowest(place: Axes, axes: Sequence[Axes]) -> bool:
    here = place_in_grid(place)
    others = [place_in_grid(other) for other in axes]
    return not any(one.colspan == here.colspan and one.rowspan.start > here.rowspan.start for one in others)


def label_axes(axes: Sequence[Axes], x_label: str, y_label: str) -> None:
    """Labels at the left and at the bottom of the grid only."""
    for place in axes:
        lowest = _is_lowest(place, axes)
        place.set_xlabel(x_label if lowest else "")
        place.tick_params(labelbottom=lowest)
        place.set_ylabel(y_label if place_in_grid(place).is_first_col() else "")


def label_n(axes: Sequence[Axes], sizes: set[int], y_label: str) -> None:
    for place in axes:
        axis_of_n(place, sorted(sizes))
    label_axes(axes, "$n$", y_label)
