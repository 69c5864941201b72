"""The verdict table as aligned text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

import numpy as np

from ..criteria.exponents import power_of_two
from ..criteria.verdicts import Finding, Judgement, Verdict, clarity

HEADINGS = (
    "claim",
    "regime",
    "k law or ε",
    "norm",
    "fitted",
    "95% interval",
    "corrected",
    "claimed",
    "i.i.d. limit",
    "largest n",
    "n",
    "draws",
    "rows",
    "verdict",
)

_MOST_TESTS = 24


def short(value: float | None) -> str:
    """A number for a table: fixed digits where they tell something, powers of ten for the tiny."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.3f}" if abs(value) >= 5e-4 or value == 0 else f"{value:.1e}"


def interval_words(finding: Finding) -> str:
    if finding.fitted_name.startswith("residual") or not np.isfinite(finding.interval.half_width):
        return "–"
    return f"[{short(finding.interval.low)}, {short(finding.interval.high)}]"


def corrected_words(finding: Finding) -> str:
    """The exponent with the known finite-size behaviour divided out, and its interval."""
    slope = finding.corrected
    if slope is None:
        return "–"
    return f"{short(slope.value)} [{short(slope.interval.low)}, {short(slope.interval.high)}]"


def n_words(finding: Finding) -> str:
    if finding.n_range is None:
        return "–"
    low, high = finding.n_range
    return power_of_two(low) if low == high else f"{power_of_two(low)}..{power_of_two(high)}"


def cells(claim_id: str, finding: Finding) -> tuple[str, ...]:
    """One row of the table, in the order of HEADINGS."""
    last = finding.last_slope
    return (
        claim_id,
        finding.regime,
        finding.parameter,
        finding.norm,
        short(finding.fitted),
        interval_words(finding),
        corrected_words(finding),
        short(finding.claimed),
        short(finding.limit),
        short(None if last is None else last.value),
        n_words(finding),
        str(finding.draws or "–"),
        str(finding.rows or "–"),
        finding.verdict.value,
    )


def _rows(judgement: Judgement) -> list[tuple[str, ...]]:
    """One per test; of very many, such as those of all heads of a model, one for each verdict: the clearest."""
    if len(judgement.findings) <= _MOST_TESTS:
        return [cells(judgement.claim.id, finding) for finding in judgement.findings]
    rows = []
    for verdict in Verdict:
        found = [finding for finding in judgement.findings if finding.verdict is verdict]
        if found:
            row = list(cells(judgement.claim.id, max(found, key=clarity)))
            row[1] = f"{row[1]} ({len(found)} of {len(judgement.findings)} tests)"
            rows.append(tuple(row))
    return rows


def print_verdicts(judgements: Sequence[Judgement], stream: TextIO) -> None:
    """Tests, then a sentence a claim; claims that the file cannot test stand together by the reason."""
    rows = [HEADINGS, *(row for judgement in judgements for row in _rows(judgement))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip(), file=stream)
    print(file=stream)
    tested = [judgement for judgement in judgements if judgement.verdict is not Verdict.NOT_TESTED]
    width = max((len(judgement.claim.id) for judgement in tested), default=0) + 2
    for judgement in tested:
        print(f"{judgement.claim.id:<{width}}{judgement.verdict.value:<14}{judgement.sentence}", file=stream)
    untested: dict[str, list[str]] = {}
    for judgement in judgements:
        if judgement.verdict is Verdict.NOT_TESTED:
            untested.setdefault(judgement.sentence, []).append(judgement.claim.id)
    for reason, names in untested.items():
        print(f"{Verdict.NOT_TESTED.value}: {', '.join(names)}. {reason}", file=stream)
