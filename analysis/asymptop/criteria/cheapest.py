"""Which selector reads least for a tail mass of at most epsilon: one budget for all rows of a length, and its law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..fits.exponents import FitError, Point, PowerFit, fit_power
from ..io.reader import EXACT, Case
from ..io.series import Series
from ..theory.costs import Costs, costs_of, page_of
from ..theory.statistics import Array
from .budgets import BudgetError, places


def keys_for(case: Case, epsilon: float) -> Array | None:
    """(draw,): keys kept where the draw's mean tail mass first is at most epsilon, with one budget for all its rows.

    Between stored k the logarithm of the tail mass is linear in that of the keys kept. None where a draw does not get
    there at any stored k.
    """
    tail = case.draw_means("tail_mass")
    kept = np.tile(case.k.astype(float), (case.draws, 1)) if case.selector == EXACT else case.draw_means("kept")
    reached = tail <= epsilon
    if not tail.size or not np.all(reached.any(axis=1)):
        return None
    found = []
    for mass, keys, first in zip(tail, kept, reached.argmax(axis=1), strict=True):
        if first == 0 or mass[first] <= 0.0 or mass[first - 1] <= mass[first]:
            found.append(keys[first])
            continue
        share = math.log(mass[first - 1] / epsilon) / math.log(mass[first - 1] / mass[first])
        found.append(math.exp((1.0 - share) * math.log(keys[first - 1]) + share * math.log(keys[first])))
    return np.array(found)


@dataclass(frozen=True, eq=False)
class Need:
    """The keys of one selector at each measured n that gets to epsilon; the fit alpha n^C where two n allow one."""

    series: Series
    epsilon: float
    points: tuple[Point, ...]
    costs: Costs | None

    @property
    def selector(self) -> str:
        return self.series.selector

    @cached_property
    def fit(self) -> PowerFit | None:
        try:
            return fit_power(self.points)
        except FitError:
            return None

    def _whole(self, keys: float, n: float) -> int:
        """A number of keys that is read: whole pages, no more than there are."""
        page = page_of(self.selector)
        return min(int(n), page * math.ceil(keys / page - 1e-9))

    def keys_at(self, lengths: Sequence[int]) -> list[float]:
        """Between two measured n on the line through both, in logarithms. Raises BudgetError beyond them."""
        sizes = [point.n for point in self.points]
        logs = [math.log(point.mean) for point in self.points]
        return [
            math.exp((1.0 - place.share) * logs[place.first] + place.share * logs[place.second])
            for place in places(sizes, lengths)
        ]

    def law(self, lengths: Sequence[int]) -> tuple[float, float]:
        """(alpha, C), as they are printed: C of the fit over all n to three digits, 0 for a single n; alpha to four,
        so that no length gets fewer keys than it needs."""
        exponent = round(self.fit.exponent, 3) if self.fit is not None else 0.0
        needed = self.keys_at(lengths)
        alpha = max(k / n**exponent for k, n in zip(needed, lengths, strict=True))
        unit = 10.0 ** (math.floor(math.log10(alpha)) - 3)
        return float(f"{math.ceil(alpha / unit - 1e-6) * unit:.4g}"), exponent

    def budgets(self, lengths: Sequence[int]) -> list[int]:
        """Keys of that law at each length."""
        alpha, exponent = self.law(lengths)
        return [self._whole(alpha * n**exponent, n) for n in lengths]

    def bytes_read(self, lengths: Sequence[int]) -> list[float]:
        """Per query and head at each length; infinite without formulas."""
        if self.costs is None:
            return [math.inf] * len(lengths)
        d = self.series.first.d
        return [self.costs.bytes_read(n, d, k) for n, k in zip(lengths, self.budgets(lengths), strict=True)]


def need_of(series: Series, epsilon: float) -> Need | None:
    """None where no n gets to epsilon within the stored k."""
    found = [(case.n, keys_for(case, epsilon)) for case in series.cases]
    points = tuple(Point(n, keys) for n, keys in found if keys is not None)
    return Need(series, epsilon, points, costs_of(series.selector)) if points else None


@dataclass(frozen=True, eq=False)
class Choice:
    """Selectors over the same rows that get to epsilon at all lengths, by the mean of the bytes that they read."""

    title: str
    epsilon: float
    lengths: tuple[int, ...]
    ranked: tuple[Need, ...]
    left_out: tuple[str, ...]  # what does not get there, or has no formulas

    @property
    def exact(self) -> Need | None:
        return next((need for need in self.ranked if need.selector == EXACT), None)

    @property
    def best(self) -> Need | None:
        return self.ranked[0] if self.ranked else None


def _title(members: Sequence[Series]) -> str:
    return next((one.title for one in members if one.selector == EXACT), members[0].title.rsplit(", ", 1)[0])


def cheapest(members: Sequence[Series], epsilon: float, lengths: Sequence[int]) -> Choice:
    """`members`: one series per selector. Raises BudgetError where a length is beyond all measured n."""
    asked = tuple(sorted(lengths))
    known = [case.n for one in members for case in one.cases]
    places([min(known), max(known)] if known else [0], asked)
    ranked, left_out = [], []
    for one in members:
        need = need_of(one, epsilon) if one.cases else None
        try:
            spent = math.inf if need is None else sum(need.bytes_read(asked))
        except BudgetError:  # it gets there at some n alone
            spent = math.inf
        if need is None or math.isinf(spent):
            left_out.append(one.selector)
        else:
            ranked.append((spent, need))
    ranked.sort(key=lambda pair: pair[0])
    return Choice(_title(members), epsilon, asked, tuple(need for _, need in ranked), tuple(left_out))
