"""How the claims about budgets are decided: alpha n^C against a fixed k at equal cost, and the paper's table 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..fits.error_curve import error_curve
from ..fits.quantities import ROW_L2_ERROR
from ..io.series import Series
from ..theory import laws
from ..theory.sizes import count_words
from ..theory.statistics import Interval
from .budgets import COSTS, BudgetError, Comparison, compare_laws, equal_cost, fixed_k_for
from .decisions import power_of_two
from .exponents import MINIMUM_POINTS
from .verdicts import Claim, Finding, Verdict

# A gain below this is no gain that anyone would change a law for.
SMALLEST_GAIN = 0.005
TABLE_FIXED, TABLE_DYNAMIC, TABLE_EXPONENT = 0.04977, 0.04972, 1.0 / 1000.0
_USUAL_BUDGET = 64.0


def budgets_of(series: Series) -> list[float]:
    """The constant k laws of the file that are small against its shortest n, or the usual budget."""
    shortest = series.cases[0].n
    found = {
        float(law.prefactor) for law in map(laws.power_law, series.k_laws) if law is not None and law.exponent == 0
    }
    usable = sorted(k for k in found if 8 <= k <= shortest / 4)
    return usable or ([_USUAL_BUDGET] if shortest >= 4 * _USUAL_BUDGET else [])


def _decide(found: Comparison) -> tuple[Verdict, str]:
    growing = found.exponents > 0
    if not np.any(growing):
        return Verdict.UNDECIDED, "no α n^C with C > 0 has a measured error"
    if found.high[_best_growing(found)] < 1.0 - SMALLEST_GAIN:
        return Verdict.SUPPORTED, ""
    if np.all(found.low[growing] > 1.0):
        return Verdict.CONTRADICTED, "every C > 0 is worse"
    if np.all(found.low[growing] > 1.0 - SMALLEST_GAIN):
        return Verdict.CONTRADICTED, f"no C > 0 gains {SMALLEST_GAIN:.1%}"
    return Verdict.UNDECIDED, "the interval holds a gain and a loss"


def _best_growing(found: Comparison) -> int:
    """The C > 0 with the smallest error: what the claim is about, even where it loses."""
    return int(np.argmin(np.where(found.exponents > 0, found.ratio, np.inf)))


def dynamic_beats_fixed(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """At equal cost some alpha n^C, C > 0, has a smaller mean error over the n of the file than the fixed k."""
    findings = []
    for one in series:
        if not one.cases or claim.applies(one) or not claim.subject.present(one.first):
            continue
        if len(one.cases) < MINIMUM_POINTS:
            continue
        for budget in budgets_of(one):
            for cost in COSTS:
                try:
                    found = compare_laws(one, claim.subject, budget, cost)
                except BudgetError:
                    continue
                if found is not None:
                    findings.append(_finding(claim, found))
    return findings


def _finding(claim: Claim, found: Comparison) -> Finding:
    verdict, why = _decide(found)
    index = _best_growing(found)
    gain = Interval(float(found.low[index]), float(found.high[index]))
    sizes = found.lengths
    text = (
        f"At {found.series.title} the best growing law, k = {found.prefactor[index]:.3g} n^{found.exponents[index]:g}, "
        f"changes the mean {claim.subject.words} of k = {count_words(found.fixed_k)} by "
        f"{found.ratio[index] - 1.0:+.1%} at equal {COSTS[found.cost]} "
        f"(95%: {gain.low - 1.0:+.1%} to {gain.high - 1.0:+.1%})"
    )
    return Finding(
        verdict,
        found.series.title,
        f"{COSTS[found.cost]}, k = {count_words(found.fixed_k)}",
        claim.norm,
        f"{text}; {why}." if why else f"{text}.",
        "error ratio",
        float(found.ratio[index]),
        gain,
        1.0,
        None,
        (sizes[0], sizes[-1]),
        found.series.draws,
        found.series.rows,
        f"best C at these n: {found.best_exponent:g} ({found.best_exponents.low:g} to {found.best_exponents.high:g})",
        phase=found.series.regime.phase,
        says="below 1",
    )


def reproduces_table(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """The paper's table 1: the fixed k that gives its first number, and what n^(1/1000) then gives at equal cost.

    The setting behind the table is unknown (n, k, sigma, W, the norm, whether the costs are equal), so that no number
    measured here supports or contradicts it: the finding says how close the tried settings come.
    """
    findings = []
    for one in series:
        if len(one.cases) < MINIMUM_POINTS or claim.applies(one) or not claim.subject.present(one.first):
            continue
        fixed = fixed_k_for(one, ROW_L2_ERROR, TABLE_FIXED)
        if fixed is None:
            continue
        findings.append(_table_finding(claim, one, fixed))
    return findings


def _table_finding(claim: Claim, series: Series, fixed: float) -> Finding:
    lengths = np.array([float(case.n) for case in series.cases])
    alpha = equal_cost(lengths, TABLE_EXPONENT, fixed, "k")
    curves = [error_curve(case, ROW_L2_ERROR) for case in series.cases]
    dynamic = float(np.mean([c.at(np.array([alpha * c.n**TABLE_EXPONENT])).mean() for c in curves]))
    unadjusted = float(np.mean([c.at(np.array([fixed * c.n**TABLE_EXPONENT])).mean() for c in curves]))
    uniform = float(np.mean(np.sqrt(1.0 / fixed - 1.0 / lengths)))
    claimed = TABLE_DYNAMIC / TABLE_FIXED
    ratio = dynamic / TABLE_FIXED
    near = min(ratio, unadjusted / TABLE_FIXED) <= claimed <= max(ratio, unadjusted / TABLE_FIXED)
    text = (
        f"At {series.title} a fixed k = {fixed:.0f} has the table's mean row ℓ2 error, {TABLE_FIXED} (uniform rows: "
        f"{uniform:.5f}); k = α n^(1/1000) at equal Σk gives {dynamic:.5f}, and {unadjusted:.5f} with α = {fixed:.0f}, "
        f"where the table says {TABLE_DYNAMIC}: {'between the two' if near else 'neither'}. Unknown: the table's n, k, "
        "σ, weights and norm, and whether its two laws cost the same."
    )
    sizes = [case.n for case in series.cases]
    return Finding(
        Verdict.UNDECIDED,
        series.title,
        f"k = {fixed:.0f} over {power_of_two(sizes[0])}..{power_of_two(sizes[-1])}",
        claim.norm,
        text,
        "error ratio",
        ratio,
        Interval(min(ratio, unadjusted / TABLE_FIXED), max(ratio, unadjusted / TABLE_FIXED)),
        claimed,
        None,
        (sizes[0], sizes[-1]),
        series.draws,
        series.rows,
        f"√(1/k − 1/n) would be {uniform:.5f}",
        phase=series.regime.phase,
    )
