"""What each head of a model needs: keys for a tail mass as its context grows, sigma, and what the first keys weigh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..fits.exponents import FitError, PowerFit, fit_power
from ..fits.quantities import K_EPSILON, points
from ..io.reader import Case
from ..io.series import Series
from ..theory.statistics import Array
from .cheapest import Need, need_of

# Weight of the first keys of the context, where files have it.
SINK = "first_keys_mass"


@dataclass(frozen=True, eq=False)
class HeadNeed:
    """One head of one layer at one tail mass; of the rows with all keys that the model lets them see."""

    series: Series
    epsilon: float

    @property
    def layer(self) -> int:
        return self.series.first.layer

    @property
    def head(self) -> int:
        return self.series.first.head

    @property
    def last(self) -> Case:
        return self.series.cases[-1]

    @cached_property
    def row_keys(self) -> Array:
        """k_epsilon of every row at the largest n."""
        at = int(np.argmin(np.abs(self.last.epsilon - self.epsilon)))
        return self.last.values("k_epsilon")[:, :, at].astype(float).ravel()

    @cached_property
    def need(self) -> Need | None:
        """One budget for all rows of a length, so that their mean tail mass is epsilon."""
        found = need_of(self.series, self.epsilon)
        return found if found is not None and found.points[-1].n == self.last.n else None

    @property
    def keys(self) -> float:
        """Of that budget at the largest n; NaN where neither stored k nor epsilons reach it."""
        return math.nan if self.need is None else self.need.points[-1].mean

    @property
    def seen(self) -> int:
        """Keys that a row sees at the largest n, at most."""
        return min(self.last.n, self.last.window or self.last.n)

    @property
    def rough(self) -> bool:
        """Whether the budget lies between stored k that are over a factor of two apart, or beyond the last: on a chord
        through the rows' k_epsilon, which is low by up to a sixth."""
        if not math.isfinite(self.keys):
            return False
        above = int(np.searchsorted(self.last.k, self.keys))
        return above in (0, len(self.last.k)) or self.last.k[above] > 2 * self.last.k[above - 1]

    @property
    def straight(self) -> bool | None:
        """Whether one exponent describes all n of the fit; None where fewer than three allow no bend."""
        return None if self.fit is None or len(self.fit.used) < 3 else not self.fit.bends

    @cached_property
    def fit(self) -> PowerFit | None:
        """alpha n^C of the mean k_epsilon; None where fewer than two n allow one."""
        try:
            return fit_power(points(self.series, K_EPSILON, self.epsilon))
        except FitError:
            return None

    @property
    def exponent(self) -> float:
        return math.nan if self.fit is None else self.fit.exponent

    @property
    def sink(self) -> float:
        """Mean weight of the first keys at the largest n; NaN where the file does not have it."""
        return float(self.last.draw_means(SINK).mean()) if self.last.has(SINK) else math.nan

    @cached_property
    def output_error(self) -> tuple[int, float] | None:
        """The smallest stored k that is no less than `keys`, and the median relative error of the output there."""
        at = int(np.searchsorted(self.last.k, self.keys)) if math.isfinite(self.keys) else len(self.last.k)
        if at == len(self.last.k) or not self.last.has("output_error_relative"):
            return None
        return int(self.last.k[at]), float(np.median(self.last.values("output_error_relative")[:, :, at]))


def heads_of(series: Sequence[Series], epsilon: float) -> tuple[HeadNeed, ...]:
    """Heads of tensor files that have this epsilon, by layer; contexts without their first keys are left out."""
    return tuple(
        HeadNeed(one, epsilon)
        for one in series
        if one.cases and not one.synthetic and not one.first.drop_first and epsilon in one.cases[-1].epsilon
    )


def epsilons_of(series: Sequence[Series]) -> tuple[float, ...]:
    """Tail masses that rows of tensor files were asked for, the largest first."""
    return tuple(sorted({e for one in series if one.cases and not one.synthetic for e in one.epsilons}, reverse=True))
