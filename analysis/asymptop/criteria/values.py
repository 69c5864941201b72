"""How claims about ratios, limits and identities are decided: see exponents.py for those about exponents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..fits.exponents import FitError, Point, fit_power
from ..fits.lines import Line
from ..fits.quantities import expected_draw_values
from ..io.reader import Case
from ..io.series import Series
from ..theory.statistics import Array, Estimate, Interval, estimate
from .decisions import RATIO_MARGIN, TRUSTED_SHARE, decide_ratio, decide_sign, number, power_of_two
from .expectations import Expectation, expectation, far_limit
from .exponents import MINIMUM_POINTS, testable, too_few
from .verdicts import Claim, Finding, Verdict

# A limit is told from others to within this.
_SMALLEST_VALUE = 0.005
# Closed forms for large n underflow at large sigma, that of k_epsilon at 38. A ratio to less than this says nothing,
# and its square may overflow.
_SMALLEST_PREDICTION = 1e-100


def _case_at(series: Series, n: int) -> Case:
    return next(c for c in series.cases if c.n == n)


def _where(series: Series, line: Line) -> str:
    return f"{series.title} ({line.label})" if line.label else series.title


def _finding(
    claim: Claim,
    series: Series,
    line: Line,
    verdict: tuple[Verdict, str],
    text: str,
    name: str,
    values: Estimate,
    claimed: float,
    sizes: Sequence[int],
    match: str,
) -> Finding:
    found, why = verdict
    return Finding(
        found,
        series.title,
        line.label,
        claim.norm,
        f"{text}; {why}." if why else f"{text}.",
        name,
        values.mean,
        values.interval,
        claimed,
        claimed,
        (min(sizes), max(sizes)),
        series.draws,
        series.rows,
        match,
        phase=series.regime.phase,
    )


def _ratios(claim: Claim, series: Series, line: Line) -> list[tuple[int, Array]]:
    """Measured over predicted, draw by draw, with every row at its own sigma_i."""
    found = []
    for point in line.points(series, claim.subject):
        if claim.closed_form is None:
            found.append((point.n, point.draw_values))
            continue
        case = _case_at(series, point.n)
        predicted = claim.closed_form(case.n, line.parameter_of(case), case.sigma_i).mean(axis=1)
        if np.all(predicted >= _SMALLEST_PREDICTION):
            found.append((point.n, point.draw_values / predicted))
    return [(n, values) for n, values in found if np.all(np.isfinite(values))]


def _match_at(claim: Claim, series: Series, line: Line, n: int) -> str:
    expected = expected_draw_values(_case_at(series, n), claim.subject, line.parameter_of(_case_at(series, n)))
    if expected is None or not series.predictable:
        return ""
    gap = abs(
        float(
            np.mean(claim.subject.draw_values(_case_at(series, n), line.parameter_of(_case_at(series, n))) / expected)
        )
        - 1.0
    )
    return f"finite-n expectation off by {gap:.1%} at n = {power_of_two(n)}"


def ratio_tends_to_one(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """Measured over closed form tends to 1 along every line; a quantity without a closed form is a ratio already."""
    findings = []
    for one, line in testable(claim, series):
        ratios = _ratios(claim, one, line)
        if not ratios:
            continue
        last = estimate(ratios[-1][1])
        deviations = [float(np.mean(values)) - 1.0 for _, values in ratios]
        verdict = decide_ratio(deviations, last.interval.shifted(-1.0), claim.ratio_margin)
        sizes = [n for n, _ in ratios]
        text = (
            f"At {_where(one, line)} the {claim.subject.words} is {last.mean:.4f} times the prediction at "
            f"n = {power_of_two(sizes[-1])} (95%: {last.interval.low:.4f} to {last.interval.high:.4f})"
        )
        if len(sizes) > 1:
            text += f" and {deviations[0] + 1.0:.4f} times at n = {power_of_two(sizes[0])}"
        match = _match_at(claim, one, line, sizes[-1])
        findings.append(_finding(claim, one, line, verdict, text, "ratio", last, 1.0, sizes, match))
    return findings


def _decide_value(claim: Claim, series: Series, line: Line, last: Estimate, claimed: float) -> tuple[Verdict, str, str]:
    """(verdict, why, match). What the data have not reached counts while it is near, and the expectation that fits
    them tends there."""
    reach = max(RATIO_MARGIN * abs(claimed), 1e-12)
    low, high = last.interval.low - claimed, last.interval.high - claimed
    there = low >= -reach and high <= reach
    measured = line.points(series, claim.subject)
    expected = expectation(claim.subject, series, line, measured, None, "n")
    if there:
        far = expected.far if expected is not None and expected.explains else None
        if far is None or abs(far_limit(far)[0] - claimed) <= reach + _SMALLEST_VALUE:
            return Verdict.SUPPORTED, "", ""
    known = expected is not None and expected.far is not None
    if claimed == 0.0 and (expected is None or not (known and expected.explains)):
        return *_decide_zero(expected, measured), ""
    if expected is None or expected.far is None:
        inside = low <= reach and high >= -reach
        why = "the interval holds the limit and more" if inside else "finite size is not known here"
        return Verdict.UNDECIDED, why, ""
    match = f"finite-n expectation off the measured means by at most {expected.worst_gap:.1%}"
    limit, doubt = far_limit(expected.far)
    fit_words = f"χ² = {expected.chi_square:.3g} for {len(measured)} n"
    fits = f"i.i.d. Gaussian logits, which fit at every n ({fit_words}), tend to"
    value = f"{limit:.3g} ± {doubt:.1g}"
    apart = abs(limit - claimed) > doubt + max(reach, _SMALLEST_VALUE)
    if not expected.explains:
        return Verdict.UNDECIDED, "the limit is not reached at these n, and finite size does not explain why", match
    if apart:
        return Verdict.CONTRADICTED, f"{fits} {value}", match
    if claimed == 0.0:
        return *_decide_zero(expected, measured), match
    near = max(TRUSTED_SHARE * abs(claimed), _SMALLEST_VALUE)
    if abs(last.mean - claimed) <= near and doubt <= near:
        return Verdict.SUPPORTED, f"off by what finite size does: {fits} {value}", match
    return Verdict.UNDECIDED, f"not there at these n. {fits[0].upper()}{fits[1:]} {value}, but slowly", match


def _decide_zero(expected: Expectation | None, measured: Sequence[Point]) -> tuple[Verdict, str]:
    """Verdict on a limit of 0, by the fall."""
    try:
        fit = fit_power(measured)
    except FitError:
        return Verdict.UNDECIDED, "too few n with a mean above zero"
    known = expected if expected is not None and expected.explains else None
    far = None if known is None or known.far is None else known.correction(0.0)
    verdict, why = decide_sign(fit, True, None if known is None else known.slope, far)
    return verdict, why or f"it falls like n^{number(fit.exponent)} at these n"


def tends_to_value(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """The quantity tends to claimed_value(regime)."""
    findings = []
    for one, line in testable(claim, series):
        measured = line.points(one, claim.subject)
        if claim.claimed_value is None:
            continue
        if len(measured) < 2:
            findings.append(too_few(claim, one, line, measured, needed=2))
            continue
        claimed = claim.claimed_value(one.regime)
        last = estimate(measured[-1].draw_values)
        verdict, why, match = _decide_value(claim, one, line, last, claimed)
        text = (
            f"At {_where(one, line)} the {claim.subject.words} is {last.mean:.4g} at "
            f"n = {power_of_two(measured[-1].n)} (95%: {last.interval.low:.4g} to {last.interval.high:.4g}) where the "
            f"claim says {claimed:.4g} in the limit"
        )
        sizes = [p.n for p in measured]
        findings.append(_finding(claim, one, line, (verdict, why), text, "value", last, claimed, sizes, match))
    return findings


def sums_bound(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """At most 1/t entries of a row that sums to 1 exceed t: arithmetic, which every row must obey."""
    findings = []
    for one, line in testable(claim, series):
        worst = 0.0
        for case in one.cases:
            if line.parameter_of(case) in case.threshold:
                column = case.threshold.index(str(line.parameter_of(case)))
                counts = case.values("count_p_above")[:, :, column]
                worst = max(worst, float(counts.max() * case.threshold_value[column]))
        verdict = Verdict.SUPPORTED if worst <= 1.0 else Verdict.CONTRADICTED
        text = f"At {_where(one, line)} no row has more than {worst:.2g} of the 1/t entries that can exceed t"
        values = Estimate(worst, 0.0, Interval(worst, worst), one.draws)
        sizes = [c.n for c in one.cases]
        why = (verdict, "true of any σ")
        found = _finding(claim, one, line, why, text, "count · t", values, 1.0, sizes, "")
        findings.append(replace(found, says="at most 1"))
    return findings


def _near_one(share: float) -> str:
    """With two digits behind its nines; 1 where it is exactly that."""
    return "1" if share == 1.0 else f"{share:.{2 - math.floor(math.log10(abs(1.0 - share)))}f}"


def share_tends_to_one(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """1 - quantity tends to 1. Exact zeros at the largest n say so by themselves and enter no logarithm."""
    findings = []
    for one, line in testable(claim, series):
        measured = line.points(one, claim.subject)
        if len(measured) < MINIMUM_POINTS:
            findings.append(too_few(claim, one, line, measured))
            continue
        last = estimate(1.0 - measured[-1].draw_values)
        sizes = [p.n for p in measured]
        text = (
            f"At {_where(one, line)} the share of entries at or below the threshold is {_near_one(last.mean)} at "
            f"n = {power_of_two(sizes[-1])} and {_near_one(1.0 - measured[0].mean)} at n = {power_of_two(sizes[0])}"
        )
        try:
            fit = fit_power(measured)
        except FitError:
            fit = None
        if measured[-1].mean == 0.0:
            verdict = (Verdict.SUPPORTED, "no entry exceeds it")
        elif fit is None or len(fit.used) < MINIMUM_POINTS:
            verdict = (Verdict.UNDECIDED, "too few n where any entry exceeds it")
        else:
            verdict = decide_sign(fit, True, None)
        findings.append(_finding(claim, one, line, verdict, text, "share", last, 1.0, sizes, ""))
    return findings


def identity_holds(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """The named self-checks stay below their tolerance in every case, INVALID ones included."""
    findings = []
    for one in series:
        cases = sorted((*one.cases, *one.invalid), key=lambda c: c.n)
        for name in claim.checks:
            shares = [(_share_of_tolerance(c, name), c) for c in cases if name in c.check]
            if shares:
                findings.append(_judge_identity(claim, one, name, shares))
    return findings


def _share_of_tolerance(case: Case, name: str) -> float:
    residual, tolerance = (float(v[case.check.index(name)]) for v in (case.check_residual, case.check_tolerance))
    if np.isnan(residual):
        return np.inf
    return residual / tolerance if tolerance > 0 else np.inf if residual > 0 else 0.0


def _judge_identity(claim: Claim, series: Series, name: str, shares: list[tuple[float, Case]]) -> Finding:
    worst, case = max(shares, key=lambda pair: pair[0])
    holds = worst <= 1.0
    where = f"at n = {power_of_two(case.n)}"
    sentence = f"At {series.title} the worst residual of {name} is {worst:.2g} of its tolerance, {where}."
    if not holds:
        sentence += " An identity cannot fail: the run is wrong, not the claim."
    cases = [c for _, c in shares]
    return Finding(
        Verdict.SUPPORTED if holds else Verdict.CONTRADICTED,
        series.title,
        name,
        claim.norm,
        sentence,
        "residual / tolerance",
        worst,
        Interval(worst, worst),
        0.0,
        None,
        (cases[0].n, cases[-1].n),
        min(c.draws for c in cases),
        min(c.draws * c.rows for c in cases),
        phase=series.regime.phase,
    )
