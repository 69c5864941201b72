"""How claims are decided. A criterion takes a claim and all series and returns findings, one per regime and law.

A power-law claim is read as its source makes it: the error is O(n^e). It is SUPPORTED when every fit lies at or
below e, CONTRADICTED when every fit lies above, UNDECIDED otherwise. Finite-size bias is large, so a fit over all n
is not enough: the fit without the smallest n, the slope between the two largest n, and, where i.i.d. Gaussian
logits describe the data, the exponent corrected for the known finite-size behaviour all have a say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import laws
from .fits import FitError, Point, PowerFit, Slope, fit_power
from .quantities import expected_draw_values, has_parameter, k_of_law, points_of_law
from .reader import Case
from .series import Series
from .statistics import Array, Interval, estimate
from .verdicts import Claim, Finding, Verdict

# An exponent within this share of the claimed one is too close to it to contradict it.
EXPONENT_MARGIN = 0.05
# A ratio within this of 1 counts as 1.
RATIO_MARGIN = 0.02
# The finite-size correction is trusted where measured and expected means agree this well at the largest n.
MATCH_MARGIN = 0.10
# Relative accuracy of the finite-size expectations: what a slope of measured over expected cannot resolve.
EXPECTATION_ACCURACY = 0.02
MINIMUM_POINTS = 3


def number(value: float, digits: int = 3) -> str:
    return "–" if not np.isfinite(value) else f"{value:.{digits}g}" if abs(value) < 1e-3 else f"{value:+.{digits}f}"


def span(interval: Interval) -> str:
    if not np.isfinite(interval.half_width):
        return "unbounded"
    return f"{number(interval.low)} to {number(interval.high)}"


def power_of_two(n: int) -> str:
    return f"2^{n.bit_length() - 1}" if n > 1 and n & (n - 1) == 0 else f"{n}"


def _side(interval: Interval, claimed: float) -> str:
    """Where an exponent's interval lies: clearly above the claimed one (slower), at or below it (reached), or open.

    An interval that holds the claimed exponent must be narrow to reach it; one that lies above by less than the
    margin is open: too close to contradict, and never support.
    """
    limit = claimed + EXPONENT_MARGIN * abs(claimed)
    if interval.low > limit:
        return "slower"
    return "reached" if interval.low <= claimed and interval.high <= limit else "open"


def _heads_for(fit: PowerFit, claimed: float) -> bool:
    """Whether a bend, carried on to the square of the largest n, would take the local slope to the claimed one."""
    if fit.bend is None or not fit.bends:
        return False
    log_n = np.log([float(p.n) for p in fit.used])
    reach = fit.exponent + 2.0 * fit.bend.value * (2.0 * log_n[-1] - log_n.mean())
    return bool(reach <= claimed + EXPONENT_MARGIN * abs(claimed))


def decide_power(fit: PowerFit, claimed: float, corrected: Slope | None) -> tuple[Verdict, str]:
    """Verdict on error = O(n^claimed) and, when UNDECIDED, why."""
    whole = _side(fit.interval, claimed)
    rest = whole if fit.without_smallest is None else _side(fit.without_smallest.interval, claimed)
    last = _side(fit.last_slope.interval, claimed)
    limit = None if corrected is None else _side(corrected.interval, claimed)
    if whole == rest == "reached" and fit.last_slope.interval.low <= claimed and limit != "slower":
        return Verdict.SUPPORTED, ""
    if whole == rest == "slower" and last != "reached" and fit.last_slope.value > claimed:
        if limit == "slower":
            return Verdict.CONTRADICTED, ""
        if limit == "reached":
            return (
                Verdict.UNDECIDED,
                "slower over this range, yet i.i.d. Gaussian logits tend to the claimed exponent or below",
            )
        if limit == "open":
            return Verdict.UNDECIDED, "slower over this range, yet the finite-size correction leaves the limit open"
        if _heads_for(fit, claimed):
            return Verdict.UNDECIDED, "slower over this range, yet the local slopes move towards the claimed exponent"
        return Verdict.CONTRADICTED, ""
    if "open" in (whole, rest) and fit.interval.low > claimed:
        return Verdict.UNDECIDED, f"slower by less than {EXPONENT_MARGIN:.0%}, too close to contradict"
    if "open" in (whole, rest):
        return Verdict.UNDECIDED, "the interval does not tell the claimed exponent from slower ones"
    return Verdict.UNDECIDED, "the fit and the local slope at the largest n do not agree"


def _expected_points(claim: Claim, series: Series, law: str, measured: Sequence[Point]) -> list[Point] | None:
    """Measured over expected, draw by draw, at the n of `measured`; None where nothing is expected."""
    if not series.predictable or claim.quantity is None:
        return None
    ratios = []
    for point in measured:
        case = next(c for c in series.cases if c.n == point.n)
        expected = expected_draw_values(case, claim.quantity, k_of_law(case, law))
        if expected is None or np.any(expected <= 0):
            return None
        ratios.append(Point(point.n, point.draw_values / expected, point.power))
    return ratios


def corrected_exponent(ratios: Sequence[Point] | None, limit: float | None) -> Slope | None:
    """The limit exponent plus the slope of measured over expected: the finite-size behaviour divided out."""
    if not ratios or limit is None or abs(ratios[-1].mean - 1.0) > MATCH_MARGIN:
        return None
    slope = fit_power(ratios)
    blur = EXPECTATION_ACCURACY / np.log(ratios[-1].n / ratios[0].n)
    interval = Interval(slope.interval.low + limit - blur, slope.interval.high + limit + blur)
    return Slope(ratios[0].n, ratios[-1].n, limit + slope.exponent, interval)


def _closed_form_gap(claim: Claim, series: Series, law: str, measured: Sequence[Point]) -> float | None:
    """Largest relative gap between the measured mean and the closed form averaged over rows."""
    if claim.closed_form is None or not series.predictable:
        return None
    gaps = []
    for point in measured:
        case = next(c for c in series.cases if c.n == point.n)
        sigma = case.values("sigma_i").astype(float)
        values = claim.closed_form(case.n, k_of_law(case, law), sigma)
        gaps.append(abs(point.mean / float(np.mean(values ** (1.0 / point.power))) ** point.power - 1.0))
    return max(gaps)


def _match(claim: Claim, series: Series, law: str, measured: Sequence[Point], ratios: Sequence[Point] | None) -> str:
    if not ratios:
        return ""
    worst = max(abs(p.mean - 1.0) for p in ratios)
    text = f"finite-n expectation off the measured means by at most {worst:.1%}"
    gap = _closed_form_gap(claim, series, law, measured)
    return text if gap is None else f"{claim.prediction} off by at most {gap:.1%}, {text}"


def _describe(claim: Claim, series: Series, law: str, fit: PowerFit, claimed: float, why: str, match: str) -> str:
    last = fit.last_slope
    text = (
        f"At {series.title} with k = {law} the {claim.quantity.words} goes like n^{number(fit.exponent)} "
        f"(95%: {span(fit.interval)}; {number(last.value)} between the two largest n) where the claim says "
        f"n^{number(claimed)}"
    )
    text += f"; {why}." if why else "."
    return text + (f" Prediction: {match}." if match else "")


def _judge_law(claim: Claim, series: Series, law: str, exponent: float) -> Finding:
    measured = points_of_law(series, claim.quantity, law)
    try:
        fit = fit_power(measured)
    except FitError:
        fit = None
    if fit is None or len({p.n for p in fit.used}) < MINIMUM_POINTS:
        usable = 0 if fit is None else len({p.n for p in fit.used})
        reason = f"{usable} usable n at {series.title}, k = {law}; a verdict needs {MINIMUM_POINTS}."
        return Finding(Verdict.NOT_TESTED, series.title, law, claim.norm, reason)
    claimed = claim.claimed_exponent(exponent)
    limit = claim.limit_exponent(exponent) if claim.limit_exponent and series.predictable else None
    ratios = _expected_points(claim, series, law, fit.used)
    verdict, why = decide_power(fit, claimed, corrected_exponent(ratios, limit))
    match = _match(claim, series, law, fit.used, ratios)
    sentence = _describe(claim, series, law, fit, claimed, why, match)
    return Finding(
        verdict,
        series.title,
        law,
        claim.norm,
        sentence,
        "exponent",
        fit.exponent,
        fit.interval,
        claimed,
        limit,
        (fit.used[0].n, fit.used[-1].n),
        series.draws,
        series.rows,
        match,
        fit,
    )


def vanishes_like_power(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """k = alpha n^C, 0 < C < 1, makes the error O(n^e) with e = claimed_exponent(C)."""
    findings = []
    for one in series:
        if not one.cases or claim.applies(one) or not claim.quantity.present(one.first):
            continue
        for law in one.k_laws:
            power = laws.power_law(law)
            if power is not None and 0.0 < power.exponent < 1.0:
                findings.append(_judge_law(claim, one, law, power.exponent))
    return findings


def _ratios(claim: Claim, series: Series, epsilon: float) -> list[tuple[int, Array]]:
    found = []
    for case in series.cases:
        if has_parameter(case, claim.quantity, epsilon):
            sigma = case.values("sigma_i").astype(float)
            predicted = claim.closed_form(case.n, epsilon, sigma).mean(axis=1)
            found.append((case.n, claim.quantity.draw_values(case, epsilon) / predicted))
    return found


def decide_ratio(deviations: Sequence[float], last: Interval) -> tuple[Verdict, str]:
    """Verdict on ratio -> 1, from measured/predicted - 1 at each n in turn and the interval at the largest n."""
    if last.low >= -RATIO_MARGIN and last.high <= RATIO_MARGIN:
        return Verdict.SUPPORTED, ""
    if last.low <= RATIO_MARGIN and last.high >= -RATIO_MARGIN:
        return Verdict.UNDECIDED, f"the interval reaches beyond {RATIO_MARGIN:.0%} of 1"
    sizes = np.abs(deviations)
    if len(sizes) < 2:
        return Verdict.UNDECIDED, "one n cannot tell a limit from a finite-size bias"
    if sizes[-1] < sizes[-2] and sizes[-1] < sizes[0]:
        return Verdict.UNDECIDED, "the ratio still moves towards 1 as n grows"
    return Verdict.CONTRADICTED, ""


def _judge_ratio(claim: Claim, series: Series, epsilon: float) -> Finding:
    ratios = _ratios(claim, series, epsilon)
    last = estimate(ratios[-1][1])
    deviations = [float(np.mean(values)) - 1.0 for _, values in ratios]
    verdict, why = decide_ratio(deviations, last.interval.shifted(-1.0))
    case = next(c for c in series.cases if c.n == ratios[-1][0])
    expected = expected_draw_values(case, claim.quantity, epsilon)
    match = ""
    if expected is not None:
        gap = abs(float(np.mean(claim.quantity.draw_values(case, epsilon) / expected)) - 1.0)
        match = f"finite-n expectation off by {gap:.1%} at n = {power_of_two(case.n)}"
    sentence = (
        f"At {series.title} the k that brings the tail mass down to {epsilon:g} is {last.mean:.4f} times the "
        f"formula at n = {power_of_two(ratios[-1][0])} (95%: {last.interval.low:.4f} to {last.interval.high:.4f}) and "
        f"{deviations[0] + 1.0:.4f} times at n = {power_of_two(ratios[0][0])}{'; ' + why if why else ''}."
    )
    return Finding(
        verdict,
        series.title,
        f"ε = {epsilon:g}",
        claim.norm,
        sentence,
        "ratio",
        last.mean,
        last.interval,
        1.0,
        1.0,
        (ratios[0][0], ratios[-1][0]),
        series.draws,
        series.rows,
        match,
    )


def ratio_tends_to_one(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """Measured over closed form tends to 1, for each epsilon; every row at its own sigma_i."""
    return [
        _judge_ratio(claim, one, epsilon)
        for one in series
        if one.cases and not claim.applies(one)
        for epsilon in one.epsilons
    ]


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
    )
