"""The claims of a report, judged. To add one, add an entry to builtin.toml, or selectors.toml for one about other
selectors than exact top-k: tables, plots and report pick it up."""

from __future__ import annotations

from collections.abc import Sequence

from ..criteria.verdicts import ALL_BUT_EXACT, Claim, Judgement
from ..io.schema import EXACT
from ..io.series import Series
from .regimes import constant_sigma
from .toml_file import CLAIMS, MEASURED_CLAIMS, SELECTOR_CLAIMS

__all__ = ["CLAIMS", "MEASURED_CLAIMS", "SELECTOR_CLAIMS", "constant_sigma", "judge"]


def _why_untested(claim: Claim, series: Sequence[Series]) -> str:
    """Why no series of the file could test the claim."""
    measured = [s for s in series if s.cases]
    if not measured and claim.selectors != (EXACT,):
        wanted = (
            "a selector other than exact top-k" if claim.selectors == ALL_BUT_EXACT else " or ".join(claim.selectors)
        )
        return f"The file has no VALID case of {wanted}."
    if not measured:
        return "The file has no VALID case."
    if claim.checks:
        return "No case holds the self-checks " + ", ".join(claim.checks) + "."
    reasons = sorted({claim.applies(s) for s in measured} - {""})
    inside = [s for s in measured if not claim.applies(s)]
    if not inside:
        return "No series of the file is in the regime: " + "; ".join(reasons) + "."
    if claim.quantity is not None and not any(claim.quantity.present(s.first) for s in inside):
        return f"The file has no {claim.quantity.words}."
    return f"The file has no {claim.lines_needed}."


def judge(series: Sequence[Series], claims: Sequence[Claim] | None = None) -> tuple[Judgement, ...]:
    """Every claim with its findings, in the order of `claims` (CLAIMS unless given); read from an open results file.

    A claim is tested on the series of its own selectors alone, of exact top-k unless it names others.

    A judgement has `verdict` (SUPPORTED, CONTRADICTED, UNDECIDED or NOT TESTED), `brief` (that in a line, with the
    number that says it most clearly) and `findings`: one per series and law of k, with its fitted number, 95% interval
    and range of n. A claim that no series can test is no error: it is NOT TESTED, and `reason_untested` says why.
    """
    judgements = []
    for claim in CLAIMS if claims is None else claims:
        about = [one for one in series if claim.is_about(one)]
        findings = tuple(claim.criterion(claim, about))
        judgements.append(Judgement(claim, findings, "" if findings else _why_untested(claim, about)))
    return tuple(judgements)
