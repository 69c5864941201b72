"""The first page of report.html: the verdicts in colour, one sentence each, and what to use in practice."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ..criteria.decisions import power_of_two
from ..criteria.practice import expected_laws, measured_laws, norm_words
from ..criteria.verdicts import Judgement
from ..figures.captions import PRACTICE, PRACTICE_EXPECTED
from ..io.series import Series
from ..theory.costs import share_words
from ..theory.laws import PHASES
from .inputs import mark
from .templates import prose, render


def _cell(judgement: Judgement, phase: str) -> Markup | str:
    """A coloured mark for one regime; its title says how many tests say what."""
    verdict = judgement.in_phase(phase)
    if verdict is None:
        return ""
    tests = [f for f in judgement.findings if f.phase == phase]
    count = sum(f.verdict is verdict for f in tests)
    words = f"{verdict.value}: {count} of {len(tests)} tests"
    return mark(verdict, words)


def verdict_table(judgements: Sequence[Judgement]) -> Markup:
    """One row per claim: the verdict, a mark per regime of sigma, the claim and what the data say of it."""
    phases = [p for p in PHASES if any(p in j.phases for j in judgements)]
    judged = [(j, [_cell(j, phase) for phase in phases]) for j in judgements]
    return render("verdicts", judged=judged, phases=[PHASES[p] for p in phases])


def practice_section(series: Sequence[Series]) -> Markup:
    """Laws of k measured in this file, and expected ones for other sigma. Heads have a section of their own."""
    measured = [
        (
            prose(one.series.title),
            f"{one.epsilon:g}",
            prose(one.law),
            one.exponent,
            prose(f"{one.last_k:,.0f} of {power_of_two(one.last_n)}"),
            "–" if one.limit is None else f"{one.limit:.3g}",
        )
        for one in measured_laws([one for one in series if one.synthetic])
    ]
    expected = expected_laws()
    low, high = expected[0].sizes
    rows: list[tuple[str, ...]] = [
        (
            f"{one.sigma:g}",
            f"{one.epsilon:g}",
            prose(one.law.replace("*", "·")),
            " … ".join(share_words(share, 3) for share in one.shares),
            " … ".join(f"{count:,.3g}" for count in one.entries),
        )
        for one in expected
    ]
    return render(
        "practice",
        words=PRACTICE,
        norm=norm_words(series),
        measured=measured,
        reach=f"{power_of_two(low)} to {power_of_two(high)}",
        expected_words=PRACTICE_EXPECTED,
        expected=rows,
    )
