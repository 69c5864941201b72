"""Estimators among the selectors: how far off their weighted denominators are, beside what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..io.reader import Case
from ..io.series import Series
from ..theory.costs import parameters_of
from ..theory.statistics import Interval, binomial_interval
from .decisions import power_of_two
from .selectors import finding, testable
from .verdicts import Claim, Finding, Verdict

FIELD = "denominator_error"
# Where a method promises nothing, the share of rows beyond this is told.
USUAL_EPSILON = 0.1
# A promise is broken where chance leaves it less than that of four standard errors: a file tests it at every n and k.
_SURELY = 1.0 - 6.3e-5


@dataclass(frozen=True)
class Promise:
    """A relative error over epsilon in at most a share delta of the rows; delta is None where nothing is promised."""

    epsilon: float
    delta: float | None


def promise_of(selector: str) -> Promise:
    name, parameters = parameters_of(selector)
    if name != "vattention":
        return Promise(USUAL_EPSILON, None)
    return Promise(float(parameters["epsilon"]), float(parameters["delta"]))


@dataclass(frozen=True)
class Misses:
    """Rows of one case whose relative error of the denominator is over epsilon, at one k."""

    n: int
    k: int
    kept: float  # mean
    median: float
    high: float  # 95% of the rows are at most this
    over: int
    rows: int

    @property
    def share(self) -> float:
        return self.over / self.rows

    def interval(self, confidence: float = 0.95) -> Interval:
        """Of the share, as if rows were independent: those of a draw share their keys."""
        return binomial_interval(self.over, self.rows, confidence)


def misses(case: Case, epsilon: float) -> list[Misses]:
    """At every stored k."""
    error, kept = case.values(FIELD), case.values("kept")
    median, high = np.percentile(error, (50.0, 95.0), axis=(0, 1))
    over = (error > epsilon).sum(axis=(0, 1))
    rows = case.draws * case.rows
    return [
        Misses(case.n, int(k), float(kept[:, :, i].mean()), float(median[i]), float(high[i]), int(over[i]), rows)
        for i, k in enumerate(case.k)
    ]


def keeps_its_promise(claim: Claim, series: Sequence[Series]) -> list[Finding]:
    """At no n and k is the share of rows over epsilon above delta."""
    findings = []
    for one, cases in testable(claim, series, FIELD):
        promise = promise_of(one.selector)
        if promise.delta is None:
            continue
        found = [miss for case in cases for miss in misses(case, promise.epsilon)]
        worst = max(found, key=lambda miss: miss.share)
        broken = any(miss.interval(_SURELY).low > promise.delta for miss in found)
        verdict = Verdict.CONTRADICTED if broken else Verdict.UNDECIDED
        if worst.share <= promise.delta:
            verdict = Verdict.SUPPORTED
        interval = worst.interval()
        sentence = (
            f"At {one.title} the denominator is off by more than {promise.epsilon:g} in {worst.share:.1%} of the rows "
            f"at worst ({100.0 * interval.low:.1f} to {100.0 * interval.high:.1f}%), at n = {power_of_two(worst.n)} "
            f"and k = {worst.k:,} with {worst.kept:,.0f} keys kept; promised are {promise.delta:.0%}."
        )
        number = ("share of rows over ε", worst.share, promise.delta)
        found_here = finding(claim, one, cases, verdict, sentence, number, f"at most {promise.delta:g}")
        findings.append(replace(found_here, interval=interval))
    return findings
