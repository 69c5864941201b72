"""How claims about selectors are decided, which say which keys are kept: row by row, beside exact top-k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..io.reader import Case
from ..io.schema import AT_K
from ..io.series import Series
from ..theory.statistics import Array, Interval, mean_over_rows, standard_error
from .decisions import power_of_two
from .verdicts import Claim, Finding, Verdict

# In combined standard errors, as `validate` has them.
NEAR, FAR = 4.0, 6.0
# Regret is a sum of up to n terms in fp64, stored apart from both tail masses.
_ROUNDING = 1e-12
_SAME = (*AT_K, "k_epsilon")


def finding(
    claim: Claim,
    series: Series,
    cases: Sequence[Case],
    verdict: Verdict,
    sentence: str,
    number: tuple[str, float, float],
    says: str = "",
) -> Finding:
    """`number`: what was looked at, how far it is off, and how far it may be."""
    name, value, claimed = number
    return Finding(
        verdict,
        series.title,
        "all k",
        claim.norm,
        sentence,
        name,
        value,
        Interval(value, value),
        claimed,
        None,
        (cases[0].n, cases[-1].n),
        min(case.draws for case in cases),
        min(case.draws * case.rows for case in cases),
        phase=series.regime.phase,
        says=says,
    )


def share_deviations(case: Case) -> Array:
    """(k,): mean tail mass minus 1 - kept / n, in combined standard errors; 0 where both are the same number.

    Two standard errors are combined: over draws, and of the choice given the row, whose variance is known:
    b (N - b) (sum p^2 - 1/N) / (N (N - 1)) for b of N keys without replacement. A few large p leave the first too
    small in most studies, and far too large for a Gaussian in the others; the second is always there.
    """
    kept, keys = case.values("kept").astype(float), case.values("row_n").astype(float)[:, :, None]
    spread = case.values("sum_p_squared").astype(float)[:, :, None] - 1.0 / keys
    variance = kept * (keys - kept) * np.maximum(spread, 0.0) / (keys * np.maximum(keys - 1.0, 1.0))
    of_choice = np.sqrt(variance.mean(axis=(0, 1)) / (case.draws * case.rows))
    gaps = mean_over_rows(case.values("tail_mass") - (1.0 - kept / keys))
    combined = np.hypot(np.nan_to_num(standard_error(gaps)), of_choice)
    gap = gaps.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(gap) <= _ROUNDING, 0.0, gap / combined)


def testable(claim: Claim, series: Sequence[Series], field: str) -> Iterator[tuple[Series, list[Case]]]:
    """The series that a claim is about, each with its cases that hold a field, where there are any."""
    for one in series:
        cases = [] if claim.applies(one) else [case for case in one.cases if case.has(field)]
        if cases:
            yield one, cases


def drops_its_share(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """The mean tail mass is 1 - kept / n at every n and every stored k, within combined standard errors."""
    findings = []
    for one, cases in testable(claim, series, "kept"):
        deviations = [share_deviations(case) for case in cases]
        worst, index = max((float(np.max(np.abs(z))), i) for i, z in enumerate(deviations))
        case, at = cases[index], int(np.argmax(np.abs(deviations[index])))
        tests = sum(len(z) for z in deviations)
        verdict = Verdict.SUPPORTED if worst <= NEAR else Verdict.UNDECIDED if worst <= FAR else Verdict.CONTRADICTED
        tail, kept = (float(case.draw_means(name)[:, at].mean()) for name in ("tail_mass", "kept"))
        sentence = (
            f"At {one.title} the mean tail mass is at worst {worst:.1f} combined standard errors from 1 − k/n, over "
            f"{tests} pairs of n and k: {tail:.6g} for {kept:,.0f} keys at n = {power_of_two(case.n)}."
        )
        number = ("deviation in standard errors", worst, 0.0)
        findings.append(finding(claim, one, cases, verdict, sentence, number, f"0, allowed {NEAR:g}"))
    return findings


def _least_regret(case: Case, exact: Series | None) -> float:
    """Of every row and k: as stored, and, where exact top-k kept as many, as the difference of both tail masses."""
    least = float(np.min(case.values("regret"), initial=0.0))
    beside = next((c for c in exact.cases if c.n == case.n), None) if exact is not None else None
    if beside is None or not np.array_equal(beside.k, case.k):
        return least
    gap = case.values("tail_mass").astype(float) - beside.values("tail_mass")
    as_many = np.broadcast_to(case.values("kept") == case.k[None, None, :], gap.shape)
    return min(least, float(np.min(gap[as_many], initial=0.0)))


def is_never_negative(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """No row of no selector is better than exact top-k at as many keys, beyond rounding."""
    findings = []
    for one, cases in testable(claim, series, "regret"):
        least, index = min((_least_regret(case, one.exact), i) for i, case in enumerate(cases))
        verdict = Verdict.SUPPORTED if least >= -_ROUNDING else Verdict.CONTRADICTED
        sentence = (
            f"At {one.title} the least regret of a row is {least:.2g}, at n = {power_of_two(cases[index].n)}; rounding "
            f"allows {-_ROUNDING:g}."
        )
        number = ("least regret", least, 0.0)
        findings.append(finding(claim, one, cases, verdict, sentence, number, f"at least {-_ROUNDING:g}"))
    return findings


def _rows_apart(case: Case, exact: Case) -> int:
    """Rows of which a number is not that of exact top-k."""
    apart = np.zeros((case.draws, case.rows), dtype=bool)
    for name in _SAME:
        mine, its = case.values(name), exact.values(name)
        if mine.shape != its.shape:
            return case.draws * case.rows
        apart |= np.any(mine != its, axis=2)
    return int(apart.sum())


def is_exact(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """Every number of every row is that of exact top-k, to the last bit."""
    findings = []
    for one in series:
        by_n = {} if one.exact is None or claim.applies(one) else {case.n: case for case in one.exact.cases}
        cases = [case for case in one.cases if case.n in by_n]
        if not cases:
            continue
        apart = sum(_rows_apart(case, by_n[case.n]) for case in cases)
        rows = sum(case.draws * case.rows for case in cases)
        verdict = Verdict.CONTRADICTED if apart else Verdict.SUPPORTED
        sentence = f"At {one.title} {apart:,} of {rows:,} rows differ in an error or in k_ε from exact top-k."
        findings.append(finding(claim, one, cases, verdict, sentence, ("rows that differ", float(apart), 0.0)))
    return findings
