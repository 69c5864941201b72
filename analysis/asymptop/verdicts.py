"""What a claim is and what testing it yields. claims.py declares claims; criteria.py decides them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from .fits import PowerFit, Slope
from .quantities import Quantity
from .series import Series
from .statistics import Array, Interval

NO_INTERVAL = Interval(float("nan"), float("nan"))


class Verdict(StrEnum):
    SUPPORTED = "SUPPORTED"
    CONTRADICTED = "CONTRADICTED"
    UNDECIDED = "UNDECIDED"
    NOT_TESTED = "NOT TESTED"


@dataclass(frozen=True)
class Finding:
    """One test of one claim: a regime and, where it means something, a k law or an epsilon."""

    verdict: Verdict
    regime: str
    parameter: str
    norm: str
    sentence: str
    fitted_name: str = ""
    fitted: float = float("nan")
    interval: Interval = NO_INTERVAL
    claimed: float = float("nan")
    limit: float | None = None
    n_range: tuple[int, int] | None = None
    draws: int = 0
    rows: int = 0
    match: str = ""
    fit: PowerFit | None = None

    @property
    def last_slope(self) -> Slope | None:
        return None if self.fit is None else self.fit.last_slope


@dataclass(frozen=True)
class Claim:
    """A claim as its source makes it, and what decides it. Fields that a criterion does not use stay empty.

    `applies` returns the reason why a series cannot test the claim, or nothing. `claimed_exponent` and
    `limit_exponent` are functions of C in k = alpha n^C: what the source says, and what i.i.d. Gaussian logits
    give as n grows. `closed_form(n, k or epsilon, sigma)` is the prediction, which broadcasts over sigma.
    """

    id: str
    source: str
    sentence: str
    formula: str
    regime: str
    norm: str
    prediction: str
    criterion: Callable[[Claim, Sequence[Series]], list[Finding]]
    applies: Callable[[Series], str] = lambda series: ""
    quantity: Quantity | None = None
    claimed_exponent: Callable[[float], float] | None = None
    limit_exponent: Callable[[float], float] | None = None
    closed_form: Callable[[int, float, Array], Array] | None = None
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """A claim with all its findings. The claim is general, so one contradicted finding contradicts it."""

    claim: Claim
    findings: tuple[Finding, ...]
    reason_untested: str = ""
    counts: dict[Verdict, int] = field(init=False)

    def __post_init__(self) -> None:
        counts = {verdict: sum(f.verdict is verdict for f in self.findings) for verdict in Verdict}
        object.__setattr__(self, "counts", counts)

    @property
    def verdict(self) -> Verdict:
        tested = sum(self.counts[v] for v in Verdict if v is not Verdict.NOT_TESTED)
        if not tested:
            return Verdict.NOT_TESTED
        if self.counts[Verdict.CONTRADICTED]:
            return Verdict.CONTRADICTED
        return Verdict.SUPPORTED if self.counts[Verdict.SUPPORTED] == tested else Verdict.UNDECIDED

    @property
    def sentence(self) -> str:
        """The verdict in words: how many tests say so, and the one that says it most clearly."""
        if self.verdict is Verdict.NOT_TESTED:
            return self.reason_untested or next((f.sentence for f in self.findings), "The file has no data for it.")
        tested = [f for f in self.findings if f.verdict is not Verdict.NOT_TESTED]
        agreeing = [f for f in tested if f.verdict is self.verdict]
        example = (min if self.verdict is Verdict.UNDECIDED else max)(agreeing, key=_clarity)
        counts = ", ".join(
            f"{verdict.lower()} in {self.counts[verdict]}"
            for verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.UNDECIDED)
            if self.counts[verdict]
        )
        return f"{counts.capitalize()} of {len(tested)} tests. {example.sentence}"


def _clarity(finding: Finding) -> float:
    """How far the fitted number lies from the claimed one, for picking the example that a reader sees first."""
    distance = abs(finding.fitted - finding.claimed)
    return float(distance) if np.isfinite(distance) else 0.0
