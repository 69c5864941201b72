"""What a model's report opens with: how many keys each head needs as its context grows, and whether a law holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..claims.verdict_table import short
from ..criteria.exponents import power_of_two
from ..criteria.heads import HeadNeed, epsilons_of, heads_of
from ..figures.captions import HEADS_EXPLAINED
from ..figures.drawing import Drawing, RenderedFigure, draw_plots
from ..figures.heads import builders
from ..io.series import Series
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
    return f"{value:.2%}" if np.isfinite(value) else "–"


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
    softcap = f", softcap {case.softcap:g}" if case.softcap else ""
    return (f"{case.attention}, {what}" if case.attention else what) + softcap


def _row(one: HeadNeed) -> tuple[str, ...]:
    half, most = np.percentile(one.row_keys, (50.0, 95.0))
    error = one.output_error
    return (
        str(one.layer) if one.layer >= 0 else "–",
        str(one.head),
        _sees(one),
        f"{one.series.cases[0].sigma:.3g}",
        f"{one.last.sigma:.3g}",
        ("≈ " if one.rough else "") + _count(one.keys),
        _share(one.keys / one.seen),
        _reach(one),
        "–" if one.straight is None else "yes" if one.straight else "no",
        _count(half),
        _count(most),
        f"{one.sink:.3g}" if np.isfinite(one.sink) else "–",
        "–" if error is None else f"{error[1]:.2g} at k = {error[0]:,}",
    )


def _name(one: HeadNeed) -> str:
    return f"layer {one.layer} head {one.head}" if one.layer >= 0 else f"head {one.head}"


def _findings_of(heads: Sequence[HeadNeed], who: str) -> list[str]:
    """What to use, and what grows how, in a few sentences. who: begins them, of which heads they are."""
    n, epsilon = max(one.last.n for one in heads), heads[0].epsilon
    there = [one for one in heads if one.last.n == n and np.isfinite(one.keys)]
    article = "a" if who else "A"
    where = f"{who}{article} mean tail mass of {epsilon:g} at n = {power_of_two(n)}"
    if not there:
        return [f"{where} is not reached by any head within the stored k: give --k larger laws, or --epsilon."]
    keys = np.array([one.keys for one in there])
    most = max(there, key=lambda one: one.keys)
    sentences = [
        f"{where} takes {np.median(keys):,.0f} keys in the median of {len(there)} head{'s' * (len(there) > 1)} "
        f"({np.median([one.keys / one.seen for one in there]):.2%} of those that a row sees)"
        + (f", from {keys.min():,.0f} to {keys.max():,.0f} ({_name(most)})." if len(there) > 1 else ".")
    ]
    if len(there) >= 10:
        sentences[0] += f" {np.percentile(keys, 90.0):,.0f} are enough for nine heads in ten."
    if any(one.rough for one in there):
        sentences[0] += " Marked ≈: stored k are far apart there, so these keys may be a sixth too few."
    if most.last.window == 0 and most.need is not None and most.need.fit is not None:
        alpha, exponent = most.need.law([n])
        sentences.append(f"k = {alpha:g}·n^{exponent:g} is what the head that needs most asks for at these n.")
    fitted = [one for one in there if one.fit is not None and one.last.window == 0]
    if fitted:
        exponents = np.array([one.exponent for one in fitted])
        below = sum(one.fit is not None and one.fit.interval.high < 1.0 for one in fitted)
        bent = sum(one.straight is False for one in fitted)
        sentences.append(
            f"What a row needs grows like n^C with C = {np.median(exponents):.2f} in the median head "
            f"({exponents.min():.2f} to {exponents.max():.2f}); C is below 1, with its 95% interval, in {below} of "
            f"{len(fitted)}, and in {bent} the line bends: there no single exponent describes these n."
        )
    return sentences


def _finding(heads: Sequence[HeadNeed]) -> list[str]:
    """Heads that see all keys up to their own apart from those with a window, which no context makes longer."""
    by_window: dict[int, list[HeadNeed]] = {}
    for one in heads:
        by_window.setdefault(one.last.window, []).append(one)
    if set(by_window) == {0}:
        return _findings_of(heads, "")
    sentences = []
    for window, some in sorted(by_window.items()):
        who = f"Of the {len(some)} heads with a window of {window:,} keys, " if window else "Where heads see all keys, "
        sentences += _findings_of(some, who)
    return sentences


def draw_heads(lines: Sequence[Series], folder: Path | None) -> Drawing:
    """For the largest epsilon."""
    found = epsilons_of(lines)
    return draw_plots(builders(heads_of(lines, found[0])) if found else [], folder)


def heads_section(lines: Sequence[Series], figures: Sequence[RenderedFigure], number: int = 1) -> Section | None:
    """lines: of exact top-k. None where no head of a tensor file was asked for a tail mass."""
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
                _finding(heads),
                [] if few else [_row(one) for one in ranked[:_MOST]],
                [_row(one) for one in heads],
            )
        )
    if not blocks:
        return None
    body = render(
        "heads",
        anchor=ANCHOR,
        title=TITLE,
        words=HEADS_EXPLAINED,
        headings=_HEADINGS,
        blocks=blocks,
        figures=figure_blocks(list(enumerate(figures, start=number))),
    )
    return Section(ANCHOR, TITLE, body)
