"""Which claims survive other inputs than Gaussian: one column per input, the verdict of its series alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..claims.registry import judge
from ..criteria.verdicts import Claim, Judgement, Verdict
from ..figures.captions import INPUTS
from ..io.series import SIMULATED, Series
from .templates import macro, render

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


def mark(verdict: Verdict, words: str) -> Markup:
    """A coloured mark whose title says more."""
    return macro("mark", verdict.value, MARKS[verdict], words)


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


def _cell(judgement: Judgement) -> Markup:
    tests = [f for f in judgement.findings if f.verdict is not Verdict.NOT_TESTED]
    return mark(judgement.verdict, f"{judgement.verdict.value}: {judgement.sentence}" if tests else judgement.sentence)


def inputs_section(inputs: Sequence[InputVerdicts]) -> Markup:
    """Rows: claims. Columns: inputs. Empty for a single input."""
    if not inputs:
        return Markup()
    judged = [
        (judgements[0].claim, [_cell(j) for j in judgements])
        for judgements in zip(*(one.judgements for one in inputs), strict=True)
    ]
    return render("inputs", words=INPUTS, names=[one.name for one in inputs], judged=judged)
