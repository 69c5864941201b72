"""What i.i.d. Gaussian logits expect along a line: beside the data, and far beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..fits.exponents import Point, Slope, abscissa, fit_power, fit_power_and_root
from ..fits.lines import Line
from ..fits.quantities import Parameter, Quantity, expected_draw_values
from ..io.series import Series
from ..theory import finite_size, laws
from ..theory.statistics import Interval
from .decisions import CLOSE, FARTHEST, Correction

# The finite-size correction is used where measured and expected means agree this well at the largest n.
MATCH_MARGIN = 0.10
# It explains the data where they agree this well, or within 3 standard errors, at every n.
EXPLAINED_MARGIN = 0.03
# Relative accuracy of the expectations over a range of n: what a slope of measured over expected cannot resolve.
ACCURACY = 0.02
# The part of it that bends with sqrt(log n), and that of a single mean.
BENT_ACCURACY, MEAN_ACCURACY = 0.005, 0.01
# A limit that an entry states is used where the expectation far out has it this nearly; its own limit otherwise.
_STATED_MARGIN = {"n": 0.02, "log n": 0.05}
_CARRIED_BY_RARE_ROWS = ("sum_p_squared", "frobenius_over_n")
# A limit that is known no better explains nothing.
_MOST_DOUBT = 0.05
_FAR: tuple[float, ...] = tuple(
    2.0**e for e in (10, 12, 14, 17, 20, 25, 30, 40, 50, 60, 80, 100, 120, 160, 200, 240, 360, 480, 720, FARTHEST)
)
_FAR_FIT = tuple(_FAR.index(2.0**e) for e in (60, 120, 240, 480, FARTHEST))


@dataclass(frozen=True)
class Expectation:
    """Measured over expected at each n, the exponent in the limit and how well that is known.

    `far` are logarithms of the expectation at _FAR, None where it is not known there; `last` the one at the largest n.
    """

    ratios: tuple[Point, ...]
    limit: float | None
    doubt: float
    slope: float | None  # of the expectation itself between the two largest n
    scale: str
    last: float
    far: tuple[float, ...] | None

    @property
    def known(self) -> bool:
        """Whether there is an exponent in the limit, and it is known well enough to say so."""
        return self.limit is not None and self.doubt <= _MOST_DOUBT

    @property
    def worst_gap(self) -> float:
        return max(abs(p.mean - 1.0) for p in self.ratios)

    @property
    def explains(self) -> bool:
        return all(p.near_one(EXPLAINED_MARGIN) for p in self.ratios)

    @property
    def chi_square(self) -> float:
        """Of measured against expected means, no parameter fitted; the expectation's own accuracy allowed for."""
        errors = np.nan_to_num([p.error for p in self.ratios], nan=np.inf)
        gaps = np.array([p.mean - 1.0 for p in self.ratios])
        return float(np.sum(np.square(gaps) / (np.square(errors) + MEAN_ACCURACY**2)))

    def _slope(self, limit: float) -> Slope:
        fit = fit_power(self.ratios, scale=self.scale)
        low, high = abscissa((self.ratios[0].n, self.ratios[-1].n), self.scale)
        blur = ACCURACY / float(high - low) + self.doubt
        interval = Interval(fit.interval.low + limit - blur, fit.interval.high + limit + blur)
        return Slope(self.ratios[0].n, self.ratios[-1].n, limit + fit.exponent, interval)

    def _free(self, limit: float) -> Slope | None:
        free = fit_power_and_root(self.ratios, BENT_ACCURACY) if self.scale == "n" else None
        if free is None:
            return None
        reach = Interval(free.interval.low + limit - self.doubt, free.interval.high + limit + self.doubt)
        return replace(free, value=free.value + limit, interval=reach)

    def _beyond(self, claimed: float) -> tuple[float, float, float]:
        """Logs of expected / x^claimed far out over that at the largest n: at the end, the largest, the smallest."""
        if self.far is None:
            return 0.0, 0.0, 0.0
        largest = self.ratios[-1].n
        x = abscissa((*_FAR, float(largest)), self.scale)
        beyond = [v - self.last - claimed * float(at - x[-1]) for v, at in zip(self.far, x, strict=False) if at > x[-1]]
        return beyond[-1], float(np.nanmax(beyond)), float(np.nanmin(beyond))

    def _close_at(self, limit: float) -> float | None:
        """The n from which the local slope stays within CLOSE of the limit; None where it does not by 2^FARTHEST."""
        if self.far is None:
            return None
        near = np.abs(np.diff(self.far) / np.diff(abscissa(_FAR, self.scale)) - limit) <= CLOSE
        off = ~near
        if off[-1]:
            return None
        first = int(np.flatnonzero(off)[-1]) + 1 if off.any() else 0
        return float(np.sqrt(_FAR[first]) * np.sqrt(_FAR[first + 1]))

    def correction(self, claimed: float) -> Correction | None:
        """What finite size does to these data, as far as it is known; None where the expectation is far from them."""
        if self.limit is None or not self.ratios[-1].near_one(MATCH_MARGIN) or len(self.ratios) < 2:
            return None
        end, peak, dip = self._beyond(claimed)
        return Correction(
            self._slope(self.limit),
            self._free(self.limit),
            self.explains and self.known,
            self.chi_square,
            len(self.ratios),
            end,
            peak,
            dip,
            self._close_at(self.limit),
            self.limit,
            self.doubt,
        )


def sigma_at(regime: laws.Regime, n: float) -> float | None:
    power = {"constant": 0.0, "sqrt_log": 0.5, "log": 1.0}.get(regime.kind)
    return None if power is None else regime.coefficient * math.log(n) ** power


@lru_cache(maxsize=65536)
def _log_expected(quantity: Quantity, parameter: Parameter, n: float, sigma: float) -> float:
    """Several claims and figures ask for the same expectation."""
    if quantity.log_expected is None:
        return math.nan
    with np.errstate(all="ignore"):
        return quantity.log_expected(finite_size.profile(float(n), sigma), parameter, n)


def log_expected_at(quantity: Quantity, line: Line, regime: laws.Regime, n: float) -> float | None:
    """Log of the expectation at any n for rows at exactly sigma(n); None where it is not a positive number."""
    sigma = sigma_at(regime, n)
    if sigma is None or quantity.log_expected is None:
        return None
    value = _log_expected(quantity, line.parameter_at(n), n, sigma)
    return value * quantity.power if np.isfinite(value) else None


def expected_at(quantity: Quantity, line: Line, regime: laws.Regime, n: float) -> float | None:
    """The expectation at any n for rows at exactly sigma(n); None where it is not a positive number."""
    value = log_expected_at(quantity, line, regime, n)
    return None if value is None else float(np.exp(value))


def far_values(quantity: Quantity, line: Line, regime: laws.Regime) -> tuple[float, ...] | None:
    """Logs of the expectation at _FAR, NaN where it is no positive number (k >= n, say); None where far n have none.

    A mean of squares at c sqrt(log n), c from about 0.7 to sqrt 2, is carried by rows that are too rare for the samples
    of finite_size.py once n is large.
    """
    if quantity.name in _CARRIED_BY_RARE_ROWS and regime.phase in ("below", "critical") and regime.coefficient > 0.7:
        return None
    values = [log_expected_at(quantity, line, regime, n) for n in _FAR]
    if any(values[i] is None for i in range(_FAR_FIT[0], len(_FAR))):
        return None
    return tuple(math.nan if v is None else v for v in values)


def far_exponent(values: Sequence[float], scale: str) -> tuple[float, float]:
    """(exponent as n grows, doubt) of far_values.

    A power of n is fitted from 2^60 on together with its known corrections, exp(b sqrt(log n)) and (log n)^g; a power
    of log n is the slope between the two farthest n, carried on in 1/sqrt(log n). The doubt is what the last correction
    changes.
    """
    far = np.array(values)[list(_FAR_FIT)]
    log_n = np.log([_FAR[i] for i in _FAR_FIT])
    if scale == "n":
        design = np.stack([np.ones_like(log_n), log_n, np.sqrt(log_n), np.log(log_n)], axis=1)
        full, less = (float(np.linalg.lstsq(design[:, :m], far, rcond=None)[0][1]) for m in (4, 3))
        return full, abs(full - less)
    slopes = np.diff(far) / np.diff(np.log(log_n))
    middle = 1.0 / np.sqrt(0.5 * log_n[1:] + 0.5 * log_n[:-1])
    step = float((slopes[-1] - slopes[-2]) * middle[-1] / (middle[-2] - middle[-1]))
    return float(slopes[-1]) + step, abs(step)


def far_limit(values: Sequence[float]) -> tuple[float, float]:
    """(value as n grows, doubt) of far_values that tend to a constant, with corrections of 1/log n and log log n/log n.

    The doubt is what other corrections would change: 1/log n alone, and 1/sqrt(log n) beside it.
    """
    far = np.exp(np.array(values)[list(_FAR_FIT)])
    log_n = np.log([_FAR[i] for i in _FAR_FIT])
    one, inverse = np.ones_like(log_n), 1.0 / log_n
    designs = ((one, inverse, np.log(log_n) / log_n), (one, inverse), (one, inverse, 1.0 / np.sqrt(log_n)))
    ends = [float(np.linalg.lstsq(np.stack(columns, axis=1), far, rcond=None)[0][0]) for columns in designs]
    return ends[0], max(abs(end - ends[0]) for end in ends[1:])


def _limit(stated: float | None, values: Sequence[float] | None, scale: str) -> tuple[float | None, float]:
    """(limit, doubt): the stated one where the expectation bears it out, else the expectation's own, if it has one."""
    if values is None:
        return None, 0.0
    found, doubt = far_exponent(values, scale)
    if stated is not None and abs(found - stated) <= max(_STATED_MARGIN[scale], 3.0 * doubt):
        return stated, 0.0
    return found, doubt


def expectation(
    quantity: Quantity, series: Series, line: Line, measured: Sequence[Point], stated: float | None, scale: str
) -> Expectation | None:
    """None where nothing is expected: other inputs, or a quantity that logits alone do not determine."""
    if not series.predictable or quantity.log_expected is None:
        return None
    ratios, levels = [], []
    for point in measured:
        case = next(c for c in series.cases if c.n == point.n)
        expected = expected_draw_values(case, quantity, line.parameter_of(case))
        if expected is None or not np.all(np.isfinite(expected)) or np.any(expected <= 0):
            return None
        ratios.append(Point(point.n, point.draw_values / expected, point.power, paired=point.paired))
        levels.append(point.power * float(np.log(np.mean(expected))))
    far = far_values(quantity, line, series.regime)
    limit, doubt = _limit(stated, far, scale)
    slope = None
    if len(levels) > 1:
        x = abscissa([p.n for p in measured[-2:]], scale)
        slope = (levels[-1] - levels[-2]) / float(x[1] - x[0])
    return Expectation(tuple(ratios), limit, doubt, slope, scale, levels[-1], far)
