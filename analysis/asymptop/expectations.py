"""What i.i.d. Gaussian logits expect along a line: beside the data, and far beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import finite_size, laws
from .fits import Point, Slope, abscissa, fit_power
from .lines import Line
from .quantities import Quantity, expected_draw_values
from .series import Series
from .statistics import Interval

# The finite-size correction is trusted where measured and expected means agree this well at the largest n.
MATCH_MARGIN = 0.10
# It explains the data where they agree this well, or within 3 standard errors, at every n.
EXPLAINED_MARGIN = 0.03
# Relative accuracy of the expectations: what a slope of measured over expected cannot resolve.
ACCURACY = 0.02
_FAR = (2.0**20, 2.0**40, 2.0**60)


@dataclass(frozen=True)
class Expectation:
    """Measured over expected at each n, the exponent in the limit and how well that is known."""

    ratios: tuple[Point, ...]
    limit: float | None
    doubt: float
    slope: float | None  # of the expectation itself between the two largest n

    @property
    def worst_gap(self) -> float:
        return max(abs(p.mean - 1.0) for p in self.ratios)

    @property
    def explains(self) -> bool:
        return all(p.near_one(EXPLAINED_MARGIN) for p in self.ratios)

    def corrected(self, scale: str) -> Slope | None:
        """The limit exponent plus the slope of measured over expected: the finite-size behaviour divided out."""
        if self.limit is None or not self.ratios[-1].near_one(MATCH_MARGIN) or len(self.ratios) < 2:
            return None
        fit = fit_power(self.ratios, scale=scale)
        low, high = abscissa((self.ratios[0].n, self.ratios[-1].n), scale)
        blur = ACCURACY / float(high - low) + self.doubt
        interval = Interval(fit.interval.low + self.limit - blur, fit.interval.high + self.limit + blur)
        return Slope(self.ratios[0].n, self.ratios[-1].n, self.limit + fit.exponent, interval)


def sigma_at(regime: laws.Regime, n: float) -> float | None:
    power = {"constant": 0.0, "sqrt_log": 0.5, "log": 1.0}.get(regime.kind)
    return None if power is None else regime.coefficient * math.log(n) ** power


def expected_at(quantity: Quantity, line: Line, regime: laws.Regime, n: float) -> float | None:
    """The expectation at any n for rows at exactly sigma(n); None where it has no finite positive value."""
    sigma = sigma_at(regime, n)
    if sigma is None or quantity.expected is None:
        return None
    with np.errstate(all="ignore"):
        value = quantity.expected(finite_size.profile(float(n), sigma), line.parameter_at(n), n)
    return value**quantity.power if np.isfinite(value) and value > 0 else None


def far_exponent(quantity: Quantity, line: Line, regime: laws.Regime, scale: str) -> tuple[float, float] | None:
    """(exponent as n grows, doubt): slopes of the expectation from 2^20 to 2^60, carried on in 1/sqrt(log n)."""
    values = [expected_at(quantity, line, regime, n) for n in _FAR]
    if any(v is None for v in values):
        return None
    x = abscissa(_FAR, scale)
    slopes = np.diff(np.log(values)) / np.diff(x)
    middle = 1.0 / np.sqrt(0.5 * np.log(_FAR[1:]) + 0.5 * np.log(_FAR[:-1]))
    step = float((slopes[1] - slopes[0]) * middle[1] / (middle[0] - middle[1]))
    return float(slopes[1]) + step, abs(step)


def expectation(
    quantity: Quantity, series: Series, line: Line, measured: Sequence[Point], limit: float | None, scale: str
) -> Expectation | None:
    """None where nothing is expected: other inputs, or a quantity that logits alone do not determine."""
    if not series.predictable or quantity.expected is None:
        return None
    ratios, levels = [], []
    for point in measured:
        case = next(c for c in series.cases if c.n == point.n)
        expected = expected_draw_values(case, quantity, line.parameter_of(case))
        if expected is None or not np.all(np.isfinite(expected)) or np.any(expected <= 0):
            return None
        ratios.append(Point(point.n, point.draw_values / expected, point.power))
        levels.append(float(np.mean(expected)) ** point.power)
    doubt = 0.0
    if limit is None:
        far = far_exponent(quantity, line, series.regime, scale)
        limit, doubt = far if far is not None else (None, 0.0)
    slope = None
    if len(levels) > 1:
        x = abscissa([p.n for p in measured[-2:]], scale)
        slope = float(np.log(levels[-1] / levels[-2]) / (x[1] - x[0]))
    return Expectation(tuple(ratios), limit, doubt, slope)
