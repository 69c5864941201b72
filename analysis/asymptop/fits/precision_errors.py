"""How far arithmetic is off, row by row against fp64 on the same row: factors, and where they begin to matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..io.precision_file import PrecisionCase
from ..theory.statistics import Array, mean_over_rows, standard_error

# From here on a number is called off.
OFF = 0.05


@dataclass(frozen=True)
class Measure:
    """What is looked at in a row."""

    name: str
    per_k: bool = False

    def values(self, case: PrecisionCase, at: int, k_law: str) -> Array:
        """(draw, row); NaN for shares of rows whose p are all 0."""
        if self is SUM_P:
            return case.values(self.name, at)
        kept = case.values("sum_p", at) > 0
        if self is EFFECTIVE_ENTRIES:
            return np.where(kept, np.exp(case.values("entropy_nats", at)), np.nan)
        return np.where(kept, case.values(self.name, at, k_law), np.nan)


SUM_P = Measure("sum_p")
EFFECTIVE_ENTRIES = Measure("effective_entries")
TAIL_MASS = Measure("tail_mass", per_k=True)
MEASURES = (SUM_P, EFFECTIVE_ENTRIES, TAIL_MASS)


@dataclass(frozen=True)
class Off:
    """Mean over rows of max(x / x64, x64 / x) - 1: the relative error where that is small, else the factor."""

    factor: float  # infinite where some row has nothing left: a 0 that is none in fp64, or no p at all
    standard_error: float
    mean: float  # NaN where some row has no p at all
    reference: float

    @property
    def is_off(self) -> bool:
        return self.factor > OFF


def off(case: PrecisionCase, at: int, measure: Measure, k_law: str) -> Off:
    value, reference = measure.values(case, at, k_law), measure.values(case, 0, k_law)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(value == reference, 0.0, np.maximum(value / reference, reference / value) - 1.0)
        factor = np.where(np.isnan(value), np.inf, factor)
        draws = mean_over_rows(factor)
        error = float(standard_error(draws)) if np.all(np.isfinite(draws)) else float("nan")
    return Off(float(draws.mean()), error, float(value.mean()), float(reference.mean()))


def middle_k_law(cases: Sequence[PrecisionCase]) -> str:
    """The k law whose k at the largest n is the middle one."""
    last = cases[-1]
    order = np.argsort(last.k_of_law, kind="stable")
    return last.k_law[int(order[len(order) // 2])]


def off_from(cases: Sequence[PrecisionCase], at: int, measure: Measure, k_law: str) -> int | None:
    """The smallest n from which on every n is off; None where the largest is not."""
    first = None
    for case in reversed(cases):
        if not off(case, at, measure, k_law).is_off:
            break
        first = case.n
    return first
