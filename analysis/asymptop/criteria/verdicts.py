"""What a claim is and what testing it yields. claims/ declares them; exponents, values and equal_cost decide them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from ..fits.exponents import PowerFit, Slope
from ..fits.lines import Line, power_laws
from ..fits.models import Comparison
from ..fits.quantities import Parameter, Quantity
from ..io.schema import EXACT
from ..io.series import SIMULATED_MARK, Series
from ..theory.laws import PHASES, Regime, is_law
from ..theory.statistics import Array, Interval

ALL_BUT_EXACT = ("all",)
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
    phase: str = ""  # of laws.PHASES
    comparison: Comparison | None = None
    corrected: Slope | None = None  # the exponent with the known finite-size correction divided out
    says: str = ""  # what the claim says of the fitted number, where it is more than the number

    @property
    def last_slope(self) -> Slope | None:
        return None if self.fit is None else self.fit.last_slope

    @property
    def along(self) -> str:
        """`parameter` where no heading says what it is."""
        return f"k = {self.parameter}" if is_law(self.parameter) else self.parameter


@dataclass(frozen=True)
class Claim:
    """A claim as its source makes it, and what decides it. Fields that a criterion does not use stay empty.

    `applies` returns the reason why a series cannot test the claim, or nothing. `along` lists what is tested in a
    series: one line per k law, epsilon or threshold, with the C of k = alpha n^C where there is one. `claimed_exponent`
    and `limit_exponent` are functions of C: what the source says, and what i.i.d. Gaussian logits give as n grows.
    `claimed_in_phase` and `limit_in_phase` take (C, regime) instead, where c of sigma = c sqrt(log n) matters too, and
    return None where they say nothing. Exponents are powers of n, or of log n by `scale`. `selectors` are those that
    the claim is about (`NAME:*`: with any parameters), or ALL_BUT_EXACT; `score` is exact top-k.
    `closed_form(n, k or epsilon or threshold, sigma)` is the prediction, which broadcasts over sigma.
    """

    id: str
    source: str
    sentence: str
    formula: str
    regime: str
    norm: str
    prediction: str
    criterion: Criterion
    applies: Callable[[Series], str] = lambda series: ""
    quantity: Quantity | None = None
    upper_bound: Quantity | None = None
    claimed_exponent: Callable[[float], float] | None = None
    limit_exponent: Callable[[float], float] | None = None
    closed_form: Callable[[int, Parameter, Array], Array] | None = None
    checks: tuple[str, ...] = ()
    along: Callable[[Series], list[Line]] = power_laws
    scale: str = "n"
    claimed_in_phase: Callable[[float, Regime], float | None] | None = None
    limit_in_phase: Callable[[float, Regime], float | None] | None = None
    claimed_value: Callable[[Regime], float] | None = None
    ratio_margin: float = 0.02
    lines_needed: str = "k law of the form α n^C with 0 < C < 1"
    selectors: tuple[str, ...] = (EXACT,)

    def __repr__(self) -> str:
        return f"<Claim {self.id}: {self.sentence}>"

    def is_about(self, series: Series) -> bool:
        """Whether the series keeps the keys that the claim speaks of."""
        if self.selectors == ALL_BUT_EXACT:
            return series.selector != EXACT
        name = series.selector.split(":")[0]
        return series.selector in self.selectors or f"{name}:*" in self.selectors

    @property
    def subject(self) -> Quantity:
        """The quantity of a claim that is about one."""
        if self.quantity is None:
            raise ValueError(f"{self.id} has no quantity")
        return self.quantity

    def claimed(self, c: float, regime: Regime) -> float | None:
        if self.claimed_in_phase is not None:
            return self.claimed_in_phase(c, regime)
        return None if self.claimed_exponent is None else self.claimed_exponent(c)

    def limit(self, c: float, regime: Regime) -> float | None:
        """The exponent of i.i.d. Gaussian logits as n grows, where the entry states it."""
        stated: float | None
        if self.limit_in_phase is not None:
            stated = self.limit_in_phase(c, regime)
        else:
            stated = None if self.limit_exponent is None else self.limit_exponent(c)
        return None if stated is None else stated + 0.0  # -C at C = 0 is 0, not -0


Criterion = Callable[[Claim, Sequence[Series]], list[Finding]]


@dataclass(frozen=True)
class Judgement:
    """A claim with all its findings. The claim is general, so one contradicted finding contradicts it."""

    claim: Claim
    findings: tuple[Finding, ...]
    reason_untested: str = ""
    counts: dict[Verdict, int] = field(init=False)

    def __repr__(self) -> str:
        return f"<Judgement {self.claim.id}, {self.verdict.value}: {self.brief}>"

    def __post_init__(self) -> None:
        counts = {verdict: sum(f.verdict is verdict for f in self.findings) for verdict in Verdict}
        object.__setattr__(self, "counts", counts)

    @property
    def settled(self) -> tuple[Finding, ...]:
        """UNDECIDED, yet decided elsewhere for the same law of sigma and of k: measured rows by those simulated to
        larger n, simulated rows by measured ones."""
        return tuple(f for f in self.findings if f.verdict is Verdict.UNDECIDED and self._decided_elsewhere(f))

    def _decided_elsewhere(self, finding: Finding) -> bool:
        decided = (Verdict.SUPPORTED, Verdict.CONTRADICTED)
        simulated = finding.regime.endswith(SIMULATED_MARK)
        twin = finding.regime.removesuffix(SIMULATED_MARK) if simulated else finding.regime + SIMULATED_MARK
        return finding.n_range is not None and any(
            other.verdict in decided
            and (other.regime, other.parameter) == (twin, finding.parameter)
            and (simulated or (other.n_range is not None and other.n_range[1] > finding.n_range[1]))
            for other in self.findings
        )

    @property
    def verdict(self) -> Verdict:
        tested = sum(self.counts[v] for v in Verdict if v is not Verdict.NOT_TESTED)
        if not tested:
            return Verdict.NOT_TESTED
        if self.counts[Verdict.CONTRADICTED]:
            return Verdict.CONTRADICTED
        open_tests = self.counts[Verdict.UNDECIDED] - len(self.settled)
        return Verdict.UNDECIDED if open_tests else Verdict.SUPPORTED

    def in_phase(self, phase: str) -> Verdict | None:
        """The verdict on the claim in one regime of sigma; None where nothing was tested."""
        found = [f for f in self.findings if f.phase == phase]
        return Judgement(self.claim, tuple(found)).verdict if found else None

    @property
    def phases(self) -> tuple[str, ...]:
        return tuple(p for p in PHASES if any(f.phase == p for f in self.findings))

    @property
    def brief(self) -> str:
        """The verdict in one line: how many tests say so, and the clearest number."""
        if self.verdict is Verdict.NOT_TESTED:
            return self.sentence
        tested = [f for f in self.findings if f.verdict is not Verdict.NOT_TESTED]
        example = self._example(tested)
        doing = {Verdict.SUPPORTED: "support", Verdict.CONTRADICTED: "contradict", Verdict.UNDECIDED: "leave open"}
        many = self.counts[self.verdict]
        text = f"{many} of {len(tested)} tests {doing[self.verdict]}{'s' if many == 1 else ''} it"
        text = text.replace("leave open it", "leave it open").replace("leave opens it", "leaves it open")
        if not np.isfinite(example.fitted):
            return f"{text}."
        where = ", ".join(part for part in (example.regime, example.along) if part)
        number = f"{example.fitted_name} {example.fitted:.3g}"
        if example.fitted_name.startswith("residual"):
            return f"{text}: {number} at worst ({where})."
        claimed = example.says or f"{example.claimed:.3g}"
        limit = "" if example.fit is None or example.limit is None else f", i.i.d. limit {example.limit:.3g}"
        return f"{text}: {number} at these n, claimed {claimed}{limit} ({where})."

    def _example(self, tested: Sequence[Finding]) -> Finding:
        """The finding that says the verdict most clearly."""
        agreeing = [f for f in tested if f.verdict is self.verdict]
        return max(agreeing, key=clarity)

    @property
    def sentence(self) -> str:
        """The verdict in words: how many tests say so, and the one that says it most clearly."""
        if self.verdict is Verdict.NOT_TESTED:
            return self.reason_untested or next((f.sentence for f in self.findings), "The file has no data for it.")
        tested = [f for f in self.findings if f.verdict is not Verdict.NOT_TESTED]
        example = self._example(tested)
        counts = ", ".join(
            f"{verdict.lower()} in {self.counts[verdict]}"
            for verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.UNDECIDED)
            if self.counts[verdict]
        )
        settled = sum(not f.regime.endswith(SIMULATED_MARK) for f in self.settled)
        beyond = f" ({settled} decided by rows simulated to larger n)" if settled else ""
        return f"{counts.capitalize()} of {len(tested)} tests{beyond}. {example.sentence}"


def clarity(finding: Finding) -> float:
    """How far the fitted number lies from the claimed one, for picking the example that a reader sees first."""
    distance = abs(finding.fitted - finding.claimed)
    return float(distance) if np.isfinite(distance) else 0.0
