"""Which selector reads least for an error of at most epsilon, as a rule of tail mass: one budget for all rows of a
length, and its law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from ..fits.error_curve import keys_for_mean
from ..fits.exponents import FitError, Point, PowerFit, fit_power
from ..fits.quantities import TAIL_MASS, Quantity
from ..io.reader import Case, has_order, keeps_by_rule
from ..io.schema import EXACT
from ..io.series import Series
from ..theory.costs import Costs, costs_of, page_of
from ..theory.statistics import Array
from .budgets import BudgetError, places

_GRID = 512
_LARGEST_BELOW_ONE = float(np.nextafter(1.0, 0.0))


def _row_curves(case: Case) -> tuple[Array, Array, Array]:
    """(draw, row, point) each: the shares of a row's keys that are kept, and the tail mass there, both as the normal
    quantiles of which they are the probability, in ascending keys. Points are those of the stored k and
    (k_epsilon, epsilon); NaN where nothing is dropped. And (draw, row): the fewest keys with which nothing is dropped.

    Between two points the tail mass is straight in these: of Gaussian logits it is so everywhere,
    tau = Phi(-Phi^-1(k / n) - sigma), while in logarithms its curve bends down, so that a chord needs too few keys.
    """
    tail = case.values("tail_mass").astype(float)
    kept = np.broadcast_to(case.k, tail.shape) if case.selector == EXACT else case.values("kept")
    needed = case.values("k_epsilon")
    keys = np.concatenate([kept, needed], axis=2).astype(float)
    masses = np.concatenate([tail, np.broadcast_to(case.epsilon, needed.shape)], axis=2)
    # At equal keys the larger tail mass: k_epsilon leaves at most epsilon.
    order = np.lexsort((masses, keys), axis=2)
    keys, masses = np.take_along_axis(keys, order, 2), np.take_along_axis(masses, order, 2)
    seen = case.values("row_n")[:, :, None].astype(float)
    dropped = (masses > 0.0) & (keys > 0.0) & (keys < seen)
    shares = np.where(dropped, keys / seen, np.nan)
    quantiles = scipy.special.ndtri(np.where(dropped, np.minimum(masses, _LARGEST_BELOW_ONE), np.nan))
    whole = np.minimum(np.where(masses > 0.0, np.inf, keys).min(axis=2), seen[:, :, 0])
    return scipy.special.ndtri(shares), quantiles, whole


def _on_grid(shares: Array, masses: Array, grid: Array, any_fewer: bool) -> Array:
    """Tail mass of one row at a grid of shares of its keys, all as normal quantiles: straight between its points and
    beyond the last. Before the first: straight too if any_fewer keys can be kept, else all mass is missed."""
    known = np.isfinite(shares)
    x, y = shares[known], np.minimum.accumulate(masses[known])
    if not len(x):
        return np.ones(len(grid))
    values = np.interp(grid, x, y, left=np.inf)
    before = np.flatnonzero(x < x[-1] - 1e-9)
    if len(before):
        slope = (y[-1] - y[before[-1]]) / (x[-1] - x[before[-1]])
        values = np.where(grid > x[-1], y[-1] + slope * (grid - x[-1]), values)
        if any_fewer:
            after = int(np.flatnonzero(x > x[0] + 1e-9)[0])
            slope = (y[after] - y[0]) / (x[after] - x[0])
            values = np.where(grid < x[0], y[0] + slope * (grid - x[0]), values)
    return scipy.special.ndtr(values)


def keys_for(case: Case, epsilon: float) -> Array | None:
    """(draw,): keys kept where the mean tail mass over the rows of a draw is epsilon, one budget for all of them; 0
    where learned sinks leave all keys together no more than that.

    Of a selector that keeps by a rule, the mean of the keys that it keeps, where its mean tail mass is at most epsilon.
    None for an epsilon that neither the stored k nor the epsilons of the case reach, and for an estimator whose kept
    keys are no order's first ones.
    """
    found = case.kept(("keys for", epsilon), lambda: _keys_for(case, epsilon))
    return found if len(found) else None


def _keys_for(case: Case, epsilon: float) -> Array:
    """Empty where there is no answer."""
    if len(case.k) and keeps_by_rule(case.selector):
        there = float(np.mean(case.values("tail_mass")[:, :, -1])) <= epsilon
        return case.values("kept")[:, :, -1].astype(float).mean(axis=1) if there else np.empty(0)
    if not len(case.k) or not has_order(case.selector):
        return np.empty(0)
    exact = case.selector == EXACT
    largest = float(case.k[-1]) if exact else float(case.values("kept")[:, :, -1].max())
    inside = len(case.epsilon) > 0 and epsilon >= float(np.min(case.epsilon)) * (1.0 - 1e-9)
    # Exact top-k bends at the stored k; others keep no fewer keys than at their smallest one.
    bends = case.k.astype(float) if exact else np.unique(case.values("kept")[:, :, 0].astype(float))[:_GRID]
    grid = np.union1d(np.linspace(0.0, math.log(case.n), _GRID), np.log(np.maximum(bends, 1.0)))
    shares, masses, whole = _row_curves(case)
    nothing_dropped = np.log(np.maximum(whole, 1.0))
    seen = np.log(case.values("row_n").astype(float))
    without_keys = 1.0 - case.draw_means("sink_mass") if case.has("sink_mass") else np.ones(case.draws)
    found = []
    for draw in range(case.draws):
        if without_keys[draw] <= epsilon:
            found.append(0.0)
            continue
        rows = [
            np.where(
                grid >= nothing_dropped[draw, row] - 1e-12,
                0.0,
                _on_grid(
                    shares[draw, row],
                    masses[draw, row],
                    scipy.special.ndtri(np.minimum(np.exp(grid - seen[draw, row]), _LARGEST_BELOW_ONE)),
                    exact,
                ),
            )
            for row in range(case.rows)
        ]
        mean = np.mean(rows, axis=0)
        first = int(np.argmax(mean <= epsilon))
        at = grid[first]
        possible = exact or at > math.log(max(bends[0], 1.0)) + 1e-12
        if first > 0 and mean[first] > 0.0 and possible:
            share = math.log(mean[first - 1] / epsilon) / math.log(mean[first - 1] / mean[first])
            at = grid[first - 1] + share * (grid[first] - grid[first - 1])
        keys = math.exp(at)
        if not inside and keys > largest * (1.0 + 1e-9):
            return np.empty(0)
        found.append(keys)
    return np.array(found)


@dataclass(frozen=True, eq=False)
class Need:
    """The keys of one selector at each measured n that gets to epsilon; the fit alpha n^C where two n allow one and no
    window bounds the keys."""

    series: Series
    epsilon: float
    points: tuple[Point, ...]
    costs: Costs | None
    norm: Quantity = TAIL_MASS  # whose mean is epsilon

    @property
    def selector(self) -> str:
        return self.series.selector

    @property
    def by_rule(self) -> bool:
        """Its keys are the mean of what the selector keeps, not a budget that it is given."""
        return keeps_by_rule(self.selector)

    @cached_property
    def fit(self) -> PowerFit | None:
        if self.series.window_ends_growth:
            return None
        try:
            return fit_power(self.points)
        except FitError:
            return None

    def _whole(self, keys: float, n: float) -> int:
        """A number of keys that is read: whole pages, no more than a row sees."""
        page = page_of(self.selector)
        return min(int(self.series.seen(n)), page * math.ceil(keys / page - 1e-9))

    def keys_at(self, lengths: Sequence[int]) -> list[float]:
        """Between two measured n on the line through both, in logarithms; the more of both where one needs none.
        Raises BudgetError beyond them."""
        found = []
        for place in places([point.n for point in self.points], lengths):
            first, second = self.points[place.first].mean, self.points[place.second].mean
            found.append(first ** (1.0 - place.share) * second**place.share or max(first, second))
        return found

    def law(self, lengths: Sequence[int]) -> tuple[float, float]:
        """(alpha, C), as they are printed: C of the fit over all n to three digits, 0 without one; alpha to four,
        so that no length gets fewer keys than it needs."""
        exponent = round(self.fit.exponent, 3) if self.fit is not None else 0.0
        needed = self.keys_at(lengths)
        alpha = max(k / n**exponent for k, n in zip(needed, lengths, strict=True))
        if alpha == 0.0:
            return 0.0, 0.0
        unit = 10.0 ** (math.floor(math.log10(alpha)) - 3)
        return float(f"{math.ceil(alpha / unit - 1e-6) * unit:.4g}"), exponent

    def needed(self, lengths: Sequence[int]) -> list[int]:
        """Whole keys that do at each length by itself."""
        return [self._whole(k, n) for k, n in zip(self.keys_at(lengths), lengths, strict=True)]

    def budgets(self, lengths: Sequence[int]) -> list[int]:
        """Keys of that law at each length, no fewer than are needed; of a rule what it keeps there, and of rows in a
        window what they need there: below its size keys grow with n, beyond it they do not."""
        if self.by_rule or self.series.window_ends_growth:
            return self.needed(lengths)
        alpha, exponent = self.law(lengths)
        return [self._whole(alpha * n**exponent, n) for n in lengths]

    def bytes_read(self, lengths: Sequence[int]) -> list[float]:
        """Per query and head at each length; infinite without formulas."""
        if self.costs is None:
            return [math.inf] * len(lengths)
        d = self.series.first.d
        return [
            self.costs.bytes_read(self.series.seen(n), d, k)
            for n, k in zip(lengths, self.budgets(lengths), strict=True)
        ]


def need_of(series: Series, epsilon: float, norm: Quantity = TAIL_MASS) -> Need | None:
    """None where no n gets to epsilon within the stored k."""
    tail = norm is TAIL_MASS
    found = [(case, keys_for(case, epsilon) if tail else keys_for_mean(case, norm, epsilon)) for case in series.cases]
    points = tuple(Point(case.n, keys, paired=case.paired) for case, keys in found if keys is not None)
    if not points:
        return None
    first = series.first
    costs = costs_of(series.selector, (first.index_heads, first.index_d), first.d_v)
    return Need(series, epsilon, points, costs, norm)


@dataclass(frozen=True, eq=False)
class Choice:
    """Selectors over the same rows that get to epsilon at all lengths, by the mean of the bytes that they read."""

    title: str
    epsilon: float
    lengths: tuple[int, ...]
    ranked: tuple[Need, ...]
    left_out: tuple[str, ...]  # what does not get there, or has no formulas
    norm: Quantity = TAIL_MASS

    @property
    def exact(self) -> Need | None:
        return next((need for need in self.ranked if need.selector == EXACT), None)

    @property
    def best(self) -> Need | None:
        return self.ranked[0] if self.ranked else None


def _title(members: Sequence[Series]) -> str:
    return next((one.title for one in members if one.selector == EXACT), members[0].title.rsplit(", ", 1)[0])


def cheapest(members: Sequence[Series], epsilon: float, lengths: Sequence[int], norm: Quantity = TAIL_MASS) -> Choice:
    """`members`: one series per selector. Raises BudgetError where a length is beyond all measured n."""
    asked = tuple(sorted(lengths))
    known = [case.n for one in members for case in one.cases]
    places([min(known), max(known)] if known else [0], asked)
    ranked, left_out = [], []
    for one in members:
        need = need_of(one, epsilon, norm) if one.cases else None
        try:
            spent = math.inf if need is None else sum(need.bytes_read(asked))
        except BudgetError:  # it gets there at some n alone
            spent = math.inf
        if need is None or math.isinf(spent):
            left_out.append(one.selector)
        else:
            ranked.append((spent, need))
    ranked.sort(key=lambda pair: pair[0])
    return Choice(_title(members), epsilon, asked, tuple(need for _, need in ranked), tuple(left_out), norm)
