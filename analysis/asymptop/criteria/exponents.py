"""How claims about exponents are decided. A criterion takes a claim and all series and returns findings, one per
regime and line. values.py holds those about ratios, values and identities; decisions.py the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ..fits.exponents import FitError, Point, PowerFit, fit_power, usable_points
from ..fits.lines import Line
from ..fits.models import Comparison, compare_models
from ..io.series import Series
from .decisions import (
    EXPONENT_MARGIN,
    RATIO_MARGIN,
    Correction,
    decide_at_least,
    decide_equal,
    decide_power,
    decide_ratio,
    decide_sign,
    number,
    power_of_two,
    span,
)
from .expectations import Expectation, expectation
from .verdicts import Claim, Finding, Verdict

__all__ = [
    "EXPONENT_MARGIN",
    "RATIO_MARGIN",
    "decide_power",
    "decide_ratio",
    "does_not_vanish",
    "has_exponent",
    "is_at_most",
    "number",
    "power_of_two",
    "span",
    "testable",
    "vanishes_like_power",
    "vanishes_where_predicted",
]

MINIMUM_POINTS = 3
# k = n^C this close to the critical exponent decides nothing.
BOUNDARY = 0.02

Decision = Callable[[PowerFit, float, "Correction | None"], tuple[Verdict, str]]


def testable(claim: Claim, series: Sequence[Series]) -> Iterator[tuple[Series, Line]]:
    """Every series that the claim is about, with each of its lines."""
    for one in series:
        if not one.cases or claim.applies(one) or not claim.subject.present(one.first):
            continue
        for line in claim.along(one):
            yield one, line


def too_few(
    claim: Claim, series: Series, line: Line, measured: Sequence[Point], needed: int = MINIMUM_POINTS
) -> Finding:
    usable = len({p.n for p in usable_points(measured)[0]})
    along = f"k = {line.label}" if line.law else line.label
    reason = f"{usable} usable n at {', '.join(filter(None, (series.title, along)))}; a verdict needs {needed}."
    return Finding(Verdict.NOT_TESTED, series.title, line.label, claim.norm, reason, phase=series.regime.phase)


def _closed_form_gap(claim: Claim, series: Series, line: Line, measured: Sequence[Point]) -> float | None:
    """Largest relative gap between the measured mean and the closed form averaged over rows, where that is no zero (of
    sigma = 40, say, most of them are)."""
    if claim.closed_form is None or not series.predictable:
        return None
    gaps = []
    for point in measured:
        case = next(c for c in series.cases if c.n == point.n)
        sigma = case.sigma_i
        values = claim.closed_form(case.n, line.parameter_of(case), sigma)
        predicted = float(np.mean(values ** (1.0 / point.power))) ** point.power
        if predicted > 0.0:
            gaps.append(abs(point.mean / predicted - 1.0))
    return max(gaps, default=None)


def _match(claim: Claim, series: Series, line: Line, fit: PowerFit, expected: Expectation | None) -> str:
    """How far the predictions are from the data."""
    if expected is None:
        return ""
    text = f"finite-n expectation off the measured means by at most {expected.worst_gap:.1%}"
    if expected.limit is not None and expected.known:
        base = "n" if fit.scale == "n" else "(log n)"
        text = f"{base}^{number(expected.limit)} as n grows, {text}"
    gap = _closed_form_gap(claim, series, line, fit.used)
    return text if gap is None else f"{claim.prediction} off by at most {gap:.1%}, {text}"


# What "C is enough" and "C is not enough" say of an error.
_SIGNS = {True: "it tends to 0", False: "it does not vanish"}


def _describe(claim: Claim, series: Series, line: Line, fit: PowerFit, says: str, why: str, match: str) -> str:
    last = fit.last_slope
    base = "n" if fit.scale == "n" else "(log n)"
    along = f" with k = {line.label}" if line.law else f" ({line.label})" if line.label else ""
    text = (
        f"At {series.title}{along} the {claim.subject.words} goes like {base}^{number(fit.exponent)} "
        f"(95%: {span(fit.interval)}; {number(last.value)} between the two largest n) where the claim says {says}"
    )
    text += f"; {why}." if why else "."
    return text + (f" Prediction: {match}." if match else "")


def _findings_words(fit: PowerFit, comparison: Comparison | None) -> str:
    """The held-out largest n and the alternatives, for the details of a finding."""
    parts = []
    if fit.held_out is not None:
        off = np.expm1(np.log(fit.held_out.measured / fit.held_out.predicted))
        verdict = "missed" if fit.held_out.missed else "met"
        parts.append(f"largest n held out: {verdict} ({off:+.1%})")
    if comparison is not None:
        parts.append(comparison.words)
    return "; ".join(parts)


def _judge(claim: Claim, series: Series, line: Line, decide: Decision, says: Callable[[float], str]) -> Finding | None:
    claimed = claim.claimed(line.exponent, series.regime)
    if claimed is None:
        return None
    measured = line.points(series, claim.subject)
    try:
        fit = fit_power(measured, scale=claim.scale)
    except FitError:
        fit = None
    if fit is None or len({p.n for p in fit.used}) < MINIMUM_POINTS:
        return too_few(claim, series, line, measured)
    stated = claim.limit(line.exponent, series.regime) if series.predictable else None
    expected = expectation(claim.subject, series, line, fit.used, stated, claim.scale)
    correction = None if expected is None else expected.correction(claimed)
    verdict, why = decide(fit, claimed, correction)
    match = _match(claim, series, line, fit, expected)
    comparison = compare_models(fit.used)
    return Finding(
        verdict,
        series.title,
        line.label,
        claim.norm,
        _describe(claim, series, line, fit, says(claimed), why, match),
        "exponent" if claim.scale == "n" else "power of log n",
        fit.exponent,
        fit.interval,
        claimed,
        stated if expected is None else expected.limit if expected.known else None,
        (fit.used[0].n, fit.used[-1].n),
        series.draws,
        series.rows,
        "; ".join(part for part in (match, _findings_words(fit, comparison)) if part),
        fit,
        series.regime.phase,
        comparison,
        None if correction is None or not correction.explains else correction.slope,
        says(claimed),
    )


def _all(claim: Claim, series: Sequence[Series], decide: Decision, words: str) -> list[Finding]:
    base = "n" if claim.scale == "n" else "(log n)"

    def says(claimed: float) -> str:
        return f"{words} {base}^{number(claimed)}".strip() if claimed else f"{words} a constant".strip()

    found = [_judge(claim, one, line, decide, says) for one, line in testable(claim, series)]
    return [f for f in found if f is not None]


def vanishes_like_power(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """The quantity is O(n^e), e = claimed(C): the error along k = alpha n^C, as the source states it."""
    return _all(claim, series, decide_power, "at most")


def vanishes_by_bound(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """vanishes_like_power where it was measured. Elsewhere `upper_bound` can support the claim, never refute it."""
    found = vanishes_like_power(claim, series)
    if any(f.verdict is not Verdict.NOT_TESTED for f in found) or claim.upper_bound is None:
        return found
    bound = replace(claim, quantity=claim.upper_bound)
    words = f"Measured: the {claim.upper_bound.words}, an upper bound."
    limited = []
    for finding in vanishes_like_power(bound, series):
        if finding.verdict is Verdict.NOT_TESTED:
            limited.append(finding)
            continue
        verdict = Verdict.UNDECIDED if finding.verdict is Verdict.CONTRADICTED else finding.verdict
        limited.append(replace(finding, verdict=verdict, sentence=f"{finding.sentence} {words}"))
    return limited


def is_at_most(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """The quantity grows like n^e at most; e = 0: it stays bounded."""
    return _all(claim, series, decide_power, "at most")


def does_not_vanish(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """The quantity falls like x^e at most; e = 0: it stays of order 1 or grows."""
    return _all(claim, series, decide_at_least, "at least")


def has_exponent(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """The quantity goes like x^e, neither faster nor slower."""
    return _all(claim, series, decide_equal, "")


def _by_sign(claim: Claim, series: Series, line: Line, falls: bool) -> Decision:
    def decide(fit: PowerFit, _: float, __: Correction | None) -> tuple[Verdict, str]:
        stated = claim.limit(line.exponent, series.regime) if series.predictable else None
        known = expectation(claim.subject, series, line, fit.used, stated, claim.scale)
        if known is None or not known.explains:
            return decide_sign(fit, falls, None)
        return decide_sign(fit, falls, known.slope, known.correction(0.0))

    return decide


def _same(words: str, _: float) -> str:
    return words


def vanishes_where_predicted(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """Along k = n^C the quantity tends to 0 where claimed(C) is negative, and does not where it is positive."""
    findings = []
    for one, line in testable(claim, series):
        claimed = claim.claimed(line.exponent, one.regime)
        if claimed is None or abs(claimed) < BOUNDARY:
            continue
        words = _SIGNS[claimed < 0]
        findings.append(_judge(claim, one, line, _by_sign(claim, one, line, claimed < 0), partial(_same, words)))
    return [f for f in findings if f is not None]


def vanishes(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """The quantity tends to 0, at whatever rate."""
    found = [
        _judge(replace(claim, claimed_exponent=lambda _: 0.0, claimed_in_phase=None), one, line,
               _by_sign(claim, one, line, True), lambda _: _SIGNS[True])
        for one, line in testable(claim, series)
    ]  # fmt: skip
    return [f for f in found if f is not None]
