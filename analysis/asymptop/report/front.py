"""The first page of report.html: the verdicts in colour, one sentence each, and what to use in practice."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..criteria.decisions import power_of_two
from ..criteria.practice import expected_laws, measured_laws, norm_words
from ..criteria.verdicts import Judgement
from ..figures.captions import PRACTICE, PRACTICE_EXPECTED
from ..io.series import Series
from ..theory.laws import PHASES
from .inputs import mark
from .sections import badge, prose, table


def _cell(judgement: Judgement, phase: str) -> str:
    """A coloured mark for one regime; its title says how many tests say what."""
    verdict = judgement.in_phase(phase)
    if verdict is None:
        return ""
    tests = [f for f in judgement.findings if f.phase == phase]
    count = sum(f.verdict is verdict for f in tests)
    words = f"{verdict.value}: {count} of {len(tests)} tests"
    return mark(verdict, words)


def verdict_table(judgements: Sequence[Judgement]) -> str:
    """One row per claim: the verdict, a mark per regime of sigma, the claim and what the data say of it."""
    phases = [p for p in PHASES if any(p in j.phases for j in judgements)]
    rows = [
        (
            f'<a href="#claim-{escape(j.claim.id)}"><b>{escape(j.claim.id)}</b></a>',
            badge(j.verdict.value),
            *(_cell(j, phase) for phase in phases),
            f"{prose(j.claim.sentence)}<br><span class='muted'>{prose(j.brief)}</span>",
        )
        for j in judgements
    ]
    body = table(("claim", "verdict", *(PHASES[p] for p in phases), "claim, and what the data say"), rows)
    legend = "✓ supported, ✗ contradicted, ? undecided in this regime of σ. A claim that fails in one is contradicted."
    return f'<h2 id="verdicts">Verdicts</h2><div class="verdicts">{body}</div><p class="muted">{legend}</p>'


def practice_section(series: Sequence[Series]) -> str:
    """Laws of k measured in this file, and expected ones for other sigma."""
    parts = [f'<h2 id="practice">What to use in practice</h2><p>{prose(PRACTICE)} {prose(norm_words(series))}</p>']
    measured = measured_laws(series)
    if measured:
        headings = ("regime", "tail mass ε", "law of k", "its exponent C", "k at the largest n", "C as n grows")
        rows = [
            (
                prose(one.series.title),
                f"{one.epsilon:g}",
                prose(one.law),
                one.exponent,
                prose(f"{one.last_k:,.0f} of {power_of_two(one.last_n)}"),
                "–" if one.limit is None else f"{one.limit:.3g}",
            )
            for one in measured
        ]
        parts.append(f"<h3>Measured here</h3>{table(headings, rows, {'its exponent C', 'k at the largest n'})}")
    expected = expected_laws()
    low, high = expected[0].sizes
    reach = f"{power_of_two(low)} to {power_of_two(high)}"
    headings = ("σ", "tail mass ε", "law", "share of the keys", "entries that carry a row")
    rows = [
        (
            f"{one.sigma:g}",
            f"{one.epsilon:g}",
            prose(one.law.replace("*", "·")),
            " … ".join(f"{share:.2%}" for share in one.shares),
            " … ".join(f"{count:,.3g}" for count in one.entries),
        )
        for one in expected
    ]
    parts.append(f"<h3>For a σ of your own, n from {prose(reach)}</h3><p>{prose(PRACTICE_EXPECTED)}</p>")
    parts.append(table(headings, rows))
    return "\n".join(parts)
