"""What a model's report opens with: how many keys each head needs as its context grows, and whether a law holds."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np

from ..claims.verdict_table import short
from ..criteria.heads import HeadNeed, epsilons_of, finding_words, heads_of
from ..figures.captions import HEADS_EXPLAINED
from ..figures.drawing import Drawing, RenderedFigure, draw_plots
from ..figures.heads import builders
from ..io.series import Series
from ..theory.costs import share_words
from .page import Section, figure_blocks
from .templates import render

ANCHOR, TITLE = "heads", "How many keys each head needs"
_HEADINGS = (
    *("layer", "head", "sees", "σ at the smallest n", "σ at the largest n", "keys for ε", "share of keys seen"),
    *("C (95%)", "one exponent?", "rows: half need", "95% need", "first keys weigh", "output error"),
)
_MOST = 5


def _count(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "–"


def _share(value: float) -> str:
    return share_words(value, 3) if np.isfinite(value) else "–"


def _reach(one: HeadNeed) -> str:
    if one.fit is None:
        return "–"
    low, high = one.fit.interval.low, one.fit.interval.high
    return f"{short(one.exponent)} [{short(low)}, {short(high)}]" if np.isfinite(high - low) else short(one.exponent)


def _sees(one: HeadNeed) -> str:
    case = one.last
    what = f"{case.window:,} keys" if case.window else "all keys" if case.mask == "none" else "keys up to its own"
    if case.window and case.attention == "global":
        what = f"a window of {what} that was asked for"
    more = f", softcap {case.softcap:g}" if case.softcap else ""
    more += f", ALiBi slope {case.alibi_slope:.3g}" if case.alibi_slope else ""
    return (f"{case.attention}, {what}" if case.attention else what) + more


def _row(one: HeadNeed) -> tuple[str, ...]:
    half, most = np.percentile(one.row_keys, (50.0, 95.0))
    error = one.output_error
    return (
        str(one.layer) if one.layer >= 0 else "–",
        str(one.head),
        _sees(one),
        f"{one.series.cases[0].sigma:.3g}",
        f"{one.last.sigma:.3g}",
        ("≈ " if one.rough else "") + _count(one.whole_keys),
        _share(one.whole_keys / one.seen),
        _reach(one),
        "–" if one.straight is None else "yes" if one.straight else "no",
        _count(half),
        _count(most),
        f"{one.sink:.3g}" if np.isfinite(one.sink) else "–",
        "–" if error is None else f"{error[1]:.2g} at k = {error[0]:,}",
    )


def draw_heads(lines: Sequence[Series], folder: Path | None) -> Drawing:
    """For the largest epsilon."""
    found = epsilons_of(lines)
    return draw_plots(builders(heads_of(lines, found[0])) if found else [], folder)


def heads_section(
    lines: Sequence[Series], figures: Sequence[RenderedFigure], told: Container[str] = ()
) -> tuple[Section, ...]:
    """lines: of exact top-k; told: sentences that the page has already. Nothing where no head of a tensor file was
    asked for a tail mass."""
    blocks = []
    for epsilon in epsilons_of(lines):
        heads = heads_of(lines, epsilon)
        if not heads:
            continue
        ranked = sorted(heads, key=lambda one: -one.keys if np.isfinite(one.keys) else -np.inf)
        few = len(heads) <= _MOST
        blocks.append(
            (
                f"Mean tail mass {epsilon:g}",
                [sentence for sentence in finding_words(heads) if sentence not in told],
                [] if few else [_row(one) for one in ranked[:_MOST]],
                [_row(one) for one in heads],
            )
        )
    if not blocks:
        return ()
    body = render(
        "heads",
        anchor=ANCHOR,
        title=TITLE,
        words=HEADS_EXPLAINED,
        headings=_HEADINGS,
        blocks=blocks,
        figures=figure_blocks(list(enumerate(figures, start=1))),
    )
    return (Section(ANCHOR, TITLE, body),)
