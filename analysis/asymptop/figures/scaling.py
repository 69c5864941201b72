"""Figures of scaling studies: speed-up, efficiency, phases, the fitted model, and its projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from ..fits.scaling_model import HeldOut, Model, Network, projected, work_of
from ..io.bench_reader import MERGE, ScalingStudy
from ..theory import laws
from ..theory.sizes import count_words
from ..theory.statistics import Array
from . import captions
from .plot_data import Plot
from .style import (
    BARS,
    INK,
    INVALID_COLOUR,
    MUTED,
    Stroke,
    colour,
    log_y,
    marker,
    outside_legend,
    panel_grid,
    place_in_grid,
    proxy,
)

IDEAL: Stroke = {"color": "#bbbbbb", "linewidth": 1.2}
PREDICTED: Stroke = {"color": colour(1), "marker": "o", "markersize": 8, "markerfacecolor": "none", "linestyle": "none"}
NOT_MEASURED = "projection, not measured"
PROJECTED = (0, (4, 2))
PARTS = ("compute", "serial", "latency", "bandwidth")


@dataclass(frozen=True)
class Family:
    """Studies of one kernel, path and shape, with the model that is fitted to all of them."""

    studies: tuple[ScalingStudy, ...]
    model: Model | None  # None where no study is VALID
    held_out: tuple[HeldOut, ...]

    @property
    def counts(self) -> set[int]:
        """Of ranks that were measured."""
        return {int(p) for study in self.studies for p in study.ranks}

    @property
    def projected(self) -> Model | None:
        """The model, where it is fitted to several counts of ranks: one says nothing of more."""
        return self.model if len(self.counts) > 1 else None

    @property
    def first(self) -> ScalingStudy:
        return self.studies[0]

    @property
    def title(self) -> str:
        one = self.first
        selects = f", k = {one.k_law}" if one.k_law else ""
        return f"{one.kernel} ({one.path}), m = {one.m}{selects}"


def _size(n: int) -> str:
    return rf"2^{{{n.bit_length() - 1}}}" if n >= 1024 and n & (n - 1) == 0 else f"{n}"


def _power_of_ten(n: float) -> str:
    exponent = round(np.log10(n))
    return f"10^{exponent}" if np.isclose(n, 10.0**exponent) else count_words(n)


def _short_titles(studies: Sequence[ScalingStudy]) -> list[str]:
    """Kernel, and of the rest what tells the studies apart."""

    def differ(name: str) -> bool:
        return len({str(getattr(s, name)) for s in studies}) > 1

    titles = []
    for s in studies:
        words = [s.kernel if not differ("path") else f"{s.kernel}, {s.path}"]
        words += [f"$n = {_size(int(s.n[0]))}$"] if len({int(t.n[0]) for t in studies}) > 1 else []
        words += [f"$m = {s.m}$"] if differ("m") else []
        words += [f"$d = {s.d}$"] if differ("d") else []
        words += [f"k = {laws.to_tex(s.k_law)}"] if s.k_law and differ("k_law") and len(_laws(studies)) > 1 else []
        words += [s.keys] if differ("keys") else []
        titles.append(", ".join(words))
    return titles


def _laws(studies: Sequence[ScalingStudy]) -> set[str]:
    return {s.k_law for s in studies if s.k_law}


def axis_of_ranks(place: Axes, counts: Sequence[int]) -> None:
    place.set_xscale("log", base=2)
    place.xaxis.set_major_locator(FixedLocator(sorted(counts)))
    place.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    place.xaxis.set_minor_locator(NullLocator())
    low, high = np.log2(min(counts)), np.log2(max(counts))
    pad = max(0.06 * (high - low), 0.15)
    place.set_xlim(2.0 ** (low - pad), 2.0 ** (high + pad))
    place.set_xlabel("ranks $p$")


def _spread(study: ScalingStudy) -> tuple[Array, Array]:
    """Quartiles of the speed-up: of single rounds where samples took turns, else against the median of one rank."""
    one = study.seconds[0] if study.interleaved else np.median(study.seconds[0])
    growth = study.ranks[:, None] if study.scaling == "weak" else 1.0
    low, high = np.percentile(growth * one / study.seconds, (25.0, 75.0), axis=1)
    return low, high


def _bars(place: Axes, x: Array, value: Array, low: Array, high: Array, index: int) -> None:
    place.errorbar(
        x,
        value,
        yerr=[np.maximum(value - low, 0.0), np.maximum(high - value, 0.0)],
        color=colour(index),
        marker=marker(index),
        linestyle="-",
        **BARS,
    )


def _by_scaling(studies: Sequence[ScalingStudy]) -> list[tuple[str, list[ScalingStudy]]]:
    kinds = [(kind, [s for s in studies if s.scaling == kind and s.valid]) for kind in ("strong", "weak")]
    return [(kind, members) for kind, members in kinds if members]


def _counts(studies: Sequence[ScalingStudy]) -> list[int]:
    return sorted({int(p) for s in studies for p in s.ranks})


_COLUMNS = ("panel", "line", "ranks", "n", "value", "low quartile", "high quartile")


def _lines(studies: Sequence[ScalingStudy], name: str, title: str, caption: str, per_rank: bool) -> Plot | None:
    """Speed-up or, per_rank, efficiency in per cent, a panel per kind of scaling."""
    panels = _by_scaling(studies)
    if not panels:
        return None
    valid = [s for _, members in panels for s in members]
    names = dict(zip([id(s) for s in valid], _short_titles(valid), strict=True))
    entries = list(dict.fromkeys(names.values()))
    figure, axes = panel_grid(len(panels), width=3.2, height=2.6)
    plot = Plot(name, title, caption, figure, _COLUMNS)
    for (kind, members), place in zip(panels, axes, strict=True):
        counts = np.array(_counts(members), dtype=float)
        place.plot(counts, np.full_like(counts, 100.0) if per_rank else counts, zorder=0, **IDEAL)
        for study in members:
            index = entries.index(names[id(study)])
            low, high = _spread(study)
            factor = 100.0 / study.ranks if per_rank else np.ones(len(study.ranks))
            values = study.speed_up * factor
            _bars(place, np.array(study.ranks, dtype=float), values, low * factor, high * factor, index)
            plot.records += [
                (kind, names[id(study)], int(p), int(n), float(v), float(a), float(b))
                for p, n, v, a, b in zip(study.ranks, study.n, values, low * factor, high * factor, strict=True)
            ]
        axis_of_ranks(place, [int(c) for c in counts])
        place.set_title("strong: $n$ fixed" if kind == "strong" else "weak: $n/p$ fixed")
        place.tick_params(labelbottom=True)
        if not per_rank:
            place.set_yscale("log", base=2)
            place.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    if per_rank:
        lowest, highest = min(float(r[5]) for r in plot.records), max(float(r[6]) for r in plot.records)
        axes[0].set_ylim(min(80.0, 5.0 * np.floor(lowest / 5.0)), max(105.0, 1.02 * highest))
    axes[0].set_ylabel("efficiency (%)" if per_rank else "speed-up")
    lines = [proxy(e, color=colour(i), marker=marker(i), linestyle="-") for i, e in enumerate(entries)]
    strokes = [proxy("ideal", **IDEAL), proxy("median, quartiles", color=MUTED, marker="o")]
    outside_legend(figure, lines, "kernel", strokes)
    return plot


def speed_up(studies: Sequence[ScalingStudy]) -> Plot | None:
    return _lines(studies, "scaling_speed_up", "Speed-up against ranks", captions.SPEED_UP, False)


def efficiency(studies: Sequence[ScalingStudy]) -> Plot | None:
    return _lines(studies, "scaling_efficiency", "Efficiency against ranks", captions.EFFICIENCY, True)


def phases(studies: Sequence[ScalingStudy]) -> Plot | None:
    """Stacked means over ranks of every phase as a share of one rank's time; ideal scaling keeps the height at 1."""
    shown = [s for _, members in _by_scaling(studies) for s in members]
    if not shown:
        return None
    names = list(dict.fromkeys(p for s in shown for p in s.phase if p not in (MERGE, "other")))
    names += [p for p in (MERGE, "other") if any(p in s.phase for s in shown)]
    figure, axes = panel_grid(len(shown), width=2.7, height=2.5)
    columns = ("panel", "ranks", "phase", "min s", "mean s", "max s", "rank-seconds over T1")
    plot = Plot("scaling_phases", "Where the time goes", captions.PHASES, figure, columns)
    for study, short, place in zip(shown, _short_titles(shown), axes, strict=True):
        one = study.median_seconds[0]
        share = (study.ranks if study.scaling == "strong" else np.ones(len(study.ranks))) / one
        places, bottom = np.arange(len(study.ranks)), np.zeros(len(study.ranks))
        for name in names:
            if name not in study.phase:
                continue
            seconds = study.phase_seconds[:, study.phase.index(name)]
            height = np.maximum(seconds[:, 1], 0.0) * share
            tint = MUTED if name == "other" else colour(names.index(name))
            place.bar(places, height, 0.62, bottom=bottom, color=tint, edgecolor="white", linewidth=0.4, zorder=2)
            bottom = bottom + height
            plot.records += [
                (f"{short}, {study.scaling}", int(p), name, *(float(v) for v in s), float(h))
                for p, s, h in zip(study.ranks, seconds, height, strict=True)
            ]
        slowest: Stroke = {"linestyle": "none", "marker": "_", "markersize": 22, "color": INK, "zorder": 3}
        place.plot(places, study.median_seconds * share, **slowest)
        place.axhline(1.0, zorder=1, **IDEAL)
        place.set_xticks(places, [str(p) for p in study.ranks])
        place.tick_params(labelbottom=True)
        place.grid(axis="x", visible=False)
        place.set_title(f"{short} ({study.scaling})", fontsize=8.5)
        place.set_xlabel("ranks $p$")
    for place in axes:
        if place_in_grid(place).is_first_col():
            place.set_ylabel("rank-seconds / $T_1$")
    swatches = [Patch(color=MUTED if n == "other" else colour(i), label=n) for i, n in enumerate(names)]
    strokes = [proxy("slowest rank", color=INK, marker="_", markersize=12, linestyle="none"), proxy("ideal", **IDEAL)]
    outside_legend(figure, swatches, "phase, mean over ranks", strokes)
    return plot


def _fine(counts: Sequence[int]) -> list[int]:
    return sorted({round(2.0**e) for e in np.linspace(0.0, np.log2(max(counts)), 33)} | set(counts))


def model(families: Sequence[Family]) -> Plot | None:
    """Measured times, the model fitted to all of them, and what a fit without the largest count says of it."""
    shown = [(f, f.model, s) for f in families if f.model is not None for s in f.studies if s.valid]
    if not shown:
        return None
    figure, axes = panel_grid(len(shown), width=2.7, height=2.5, share_y=False)
    columns = ("panel", "ranks", "n", "measured s", "low quartile", "high quartile", "model s", "held-out prediction s")
    plot = Plot("scaling_model", "The fitted model", captions.MODEL, figure, columns)
    titles = _short_titles([s for _, _, s in shown])
    for (family, fit, study), short, place in zip(shown, titles, axes, strict=True):
        fine = _fine([int(p) for p in study.ranks])
        keys = [float(n) for n in np.interp(fine, study.ranks, study.n)]
        kept = [float(k) for k in np.interp(fine, study.ranks, study.k)]
        curve = [fit.seconds(work_of(study, p, n, k)) for p, n, k in zip(fine, keys, kept, strict=True)]
        place.plot(fine, curve, color=colour(0), linewidth=1.1, zorder=2)
        low, high = np.percentile(study.seconds, (25.0, 75.0), axis=1)
        middle = study.median_seconds
        yerr = [np.maximum(middle - low, 0), np.maximum(high - middle, 0)]
        style: Stroke = {"marker": "o", "linestyle": "none", "capsize": 2, "elinewidth": 0.9, "zorder": 3}
        place.errorbar(study.ranks, middle, yerr=yerr, color=INK, **style)
        held = {(h.observation.work.ranks, h.observation.work.n): h.predicted for h in family.held_out}
        for i, (p, n) in enumerate(zip(study.ranks, study.n, strict=True)):
            predicted = held.get((int(p), float(n)))
            if predicted is not None:
                place.plot([p], [predicted], zorder=4, **PREDICTED)
            fitted = fit.seconds(work_of(study, int(p), float(n), float(study.k[i])))
            row = (int(p), int(n), float(middle[i]), float(low[i]), float(high[i]), fitted, predicted or float("nan"))
            plot.records.append((f"{short}, {study.scaling}", *row))
        axis_of_ranks(place, [int(p) for p in study.ranks])
        place.tick_params(labelbottom=True)
        log_y([place])
        place.set_title(f"{short} ({study.scaling})", fontsize=8.5)
        if place_in_grid(place).is_first_col():
            place.set_ylabel("seconds")
    entries = [
        proxy("measured, quartiles", color=INK, marker="o", linestyle="none"),
        proxy("model, all counts", color=colour(0)),
        proxy("predicted from fewer\nranks", **PREDICTED),
    ]
    outside_legend(figure, entries, "time", [])
    return plot


def projection(families: Sequence[Family], n: float, most: int, network: Network) -> Plot | None:
    """The model far beyond what was measured: every line is dashed, and the panel says what it is."""
    shown = [(f, f.projected) for f in families if f.projected is not None]
    if not shown:
        return None
    figure, axes = panel_grid(len(shown), width=2.7, height=2.7, share_y=False)
    columns = ("panel", "ranks", "n", "compute s", "serial s", "latency s", "bandwidth s", "total s", "kind")
    plot = Plot("scaling_projection", f"Projection to {most} ranks", captions.PROJECTION, figure, columns)
    counts = sorted({round(2.0**e) for e in np.linspace(0.0, np.log2(most), 41)} | {most})
    titles = _short_titles([f.first for f, _ in shown])
    for (family, fit), short, place in zip(shown, titles, axes, strict=True):
        parts = [projected(family.first, fit, n, p, network) for p in counts]
        totals = [sum(one.values()) for one in parts]
        place.plot(counts, totals, color=INK, linestyle=PROJECTED, linewidth=1.8, zorder=4)
        place.plot(counts, [totals[0] / p for p in counts], zorder=0, **IDEAL)
        for index, name in enumerate(PARTS):
            values = np.array([one[name] for one in parts])
            if np.any(values > 0):
                positive = np.where(values > 0, values, np.nan)
                place.plot(counts, positive, color=colour(index), linestyle=PROJECTED, linewidth=1.0, zorder=3)
        plot.records += [
            (short, p, int(n), *(one[name] for name in PARTS), total, NOT_MEASURED)
            for p, one, total in zip(counts, parts, totals, strict=True)
        ]
        measured = max(int(s.ranks[-1]) for s in family.studies)
        place.axvspan(0.7, measured, color=MUTED, alpha=0.16, linewidth=0, zorder=0)
        place.set_xscale("log")
        place.set_xlim(0.8, most * 1.3)
        place.xaxis.set_major_locator(LogLocator(base=10.0))
        place.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        place.set_yscale("log")
        place.set_ylim(totals[-1] / 100.0, totals[0] * 3.0)
        style: Stroke = {
            "transform": place.transAxes,
            "ha": "right",
            "va": "top",
            "fontsize": 7.5,
            "color": INVALID_COLOUR,
        }
        place.text(0.97, 0.96, NOT_MEASURED, **style)
        place.set_title(short)
        place.tick_params(labelbottom=True)
        place.set_xlabel("ranks $p$")
        if place_in_grid(place).is_first_col():
            place.set_ylabel(f"seconds at $n = {_power_of_ten(n)}$")
    entries = [proxy("total", color=INK, linestyle=PROJECTED, linewidth=1.8)]
    entries += [proxy(name, color=colour(i), linestyle=PROJECTED) for i, name in enumerate(PARTS)]
    strokes = [proxy("ideal", **IDEAL), proxy("counts measured\n(at smaller $n$)", color=MUTED, linewidth=6, alpha=0.3)]
    outside_legend(figure, entries, NOT_MEASURED, strokes)
    return plot
