"""Which claims survive other inputs than Gaussian: one column per input, the verdict of its series alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..claims.registry import judge
from ..criteria.verdicts import Claim, Judgement, Verdict
from ..figures.captions import INPUTS
from ..io.series import SIMULATED, Series
from .sections import prose, table

MARKS = {
    Verdict.SUPPORTED: "✓",
    Verdict.CONTRADICTED: "✗",
    Verdict.UNDECIDED: "?",
    Verdict.NOT_TESTED: "–",
}


@dataclass(frozen=True)
class InputVerdicts:
    name: str
    judgements: tuple[Judgement, ...]


def mark(verdict: Verdict, words: str) -> str:
    """A coloured mark whose title says more."""
    return f'<span class="verdict {verdict.value.split()[0]}" title="{escape(words)}">{MARKS[verdict]}</span>'


def primary(series: Sequence[Series]) -> tuple[Series, ...]:
    """The series that the report's verdicts are about: all but those of other inputs, where Gaussian keys are there."""
    if not any(s.synthetic and s.first.input == "gaussian" for s in series):
        return tuple(series)
    return tuple(s for s in series if s.gaussian or not s.synthetic)


def judge_inputs(series: Sequence[Series], claims: Sequence[Claim]) -> tuple[InputVerdicts, ...]:
    """Verdicts input by input, in the order of the file; none where all series share one."""
    names = list(dict.fromkeys(s.first.input for s in series if s.synthetic and s.first.input != SIMULATED))
    if len(names) < 2:
        return ()
    names.sort(key=lambda name: name != "gaussian")
    return tuple(
        InputVerdicts(name, judge([s for s in series if s.synthetic and s.first.input == name], claims))
        for name in names
    )


def _cell(judgement: Judgement) -> str:
    tests = [f for f in judgement.findings if f.verdict is not Verdict.NOT_TESTED]
    return mark(judgement.verdict, f"{judgement.verdict.value}: {judgement.sentence}" if tests else judgement.sentence)


def inputs_section(inputs: Sequence[InputVerdicts]) -> str:
    """Rows: claims. Columns: inputs. Empty for a single input."""
    if not inputs:
        return ""
    rows = [
        (
            f'<a href="#claim-{escape(judgements[0].claim.id)}"><b>{escape(judgements[0].claim.id)}</b></a>',
            *(_cell(j) for j in judgements),
            prose(judgements[0].claim.sentence),
        )
        for judgements in zip(*(one.judgements for one in inputs), strict=True)
    ]
    body = table(("claim", *(one.name for one in inputs), "what it says"), rows)
    return (
        f'<h2 id="inputs">Which claims survive other inputs</h2><p>{prose(INPUTS)}</p>'
        f'<div class="verdicts">{body}</div>'
    )
