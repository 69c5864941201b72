"""Layers x heads of a model: the share of keys that a tail mass needs, how that grows with n, sigma, and sinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from ..criteria.exponents import power_of_two
from ..criteria.heads import HeadNeed
from ..theory.statistics import Array
from . import captions
from .plot_data import Plot
from .style import INK

COLUMNS = (
    "layer",
    "head",
    "epsilon",
    "n",
    "keys",
    "share",
    "exponent",
    "low",
    "high",
    "sigma",
    "sink",
    "draws",
    "rows",
)
# More cells than these have no room for their numbers.
_MOST_WRITTEN = 160
_LOWEST_SHARE = 1e-4


@dataclass(frozen=True)
class _Map:
    title: str
    value: Callable[[HeadNeed], float]
    words: Callable[[float], str]
    logarithmic: bool = False


_MAPS = (
    _Map("share of the keys needed", lambda one: one.keys / one.seen, lambda x: f"{100.0 * x:.2g}%", True),
    _Map(r"exponent $C$ of the keys, $k \propto n^C$", lambda one: one.exponent, lambda x: f"{x:.2f}"),
    _Map(r"$\sigma$ of the logits", lambda one: one.last.sigma, lambda x: f"{x:.2g}"),
    _Map("weight of the first keys", lambda one: one.sink, lambda x: f"{x:.2f}"),
)


def _grid(heads: Sequence[HeadNeed], value: Callable[[HeadNeed], float]) -> tuple[list[int], list[int], Array]:
    layers, columns = (sorted({number(one) for one in heads}) for number in (lambda h: h.layer, lambda h: h.head))
    grid = np.full((len(layers), len(columns)), np.nan)
    for one in heads:
        grid[layers.index(one.layer), columns.index(one.head)] = value(one)
    return layers, columns, grid


def _draw(canvas: Figure, place: Axes, heads: Sequence[HeadNeed], of: _Map) -> None:
    layers, columns, grid = _grid(heads, of.value)
    known = grid[np.isfinite(grid)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    high = high if high > low else low + 1e-9
    norm = LogNorm(max(low, _LOWEST_SHARE), max(high, 2 * _LOWEST_SHARE)) if of.logarithmic else Normalize(low, high)
    shades = np.maximum(grid, _LOWEST_SHARE) if of.logarithmic else grid
    image = place.imshow(shades, aspect="auto", cmap="viridis", norm=norm)
    place.grid(False)
    place.set_title(of.title, loc="left", color=INK)
    place.set_xticks(range(len(columns)), [str(c) for c in columns])
    place.set_yticks(range(len(layers)), [str(n) if n >= 0 else "" for n in layers])
    place.set_xlabel("head")
    place.set_ylabel("layer" if layers[0] >= 0 else "")
    canvas.colorbar(image, ax=place, pad=0.02, aspect=28).outline.set_visible(False)
    if grid.size > _MOST_WRITTEN:
        return
    for (y, x), value in np.ndenumerate(grid):
        if np.isfinite(value):
            bright = float(norm(max(value, _LOWEST_SHARE) if of.logarithmic else value)) > 0.6
            place.text(x, y, of.words(value), ha="center", va="center", fontsize=7, color=INK if bright else "white")


def head_maps(heads: Sequence[HeadNeed]) -> Plot | None:
    """Nothing for a single head."""
    if len(heads) < 2:
        return None
    maps = [of for of in _MAPS if any(np.isfinite(of.value(one)) for one in heads)]
    layers, columns, _ = _grid(heads, lambda one: 0.0)
    height = min(9.0, max(2.4, 1.1 + 0.24 * len(layers)))
    across = 2 if len(columns) > 8 else len(maps)
    down = -(-len(maps) // across)
    canvas, places = plt.subplots(down, across, figsize=(9.6, height * down), layout="constrained", squeeze=False)
    for place, of in zip(places.flat, maps, strict=False):
        _draw(canvas, place, heads, of)
    for place in list(places.flat)[len(maps) :]:
        place.set_visible(False)
    n, epsilon = heads[0].last.n, heads[0].epsilon
    title = f"Layers x heads at n = {power_of_two(n)}, tail mass {epsilon:g}"
    plot = Plot("heads", title, captions.HEADS, canvas, COLUMNS)
    for one in heads:
        low, high = (np.nan, np.nan) if one.fit is None else (one.fit.interval.low, one.fit.interval.high)
        plot.records.append(
            (
                *(one.layer, one.head, one.epsilon, one.last.n, one.keys, one.keys / one.seen, one.exponent),
                *(low, high, one.last.sigma, one.sink, one.series.draws, one.series.rows),
            )
        )
    return plot


def builders(heads: Sequence[HeadNeed]) -> list[Callable[[], Plot | None]]:
    return [partial(head_maps, heads)] if heads else []
