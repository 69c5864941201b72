"""Alternatives to a power law: one that levels off at an offset, and one with a power of log n.

The models are compared by AICc with the standard errors over draws as known variances. An exponent means what a power
law means only where no alternative is preferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..theory.statistics import Array
from .exponents import Point, usable_points

# AICc must fall by this much before an alternative is preferred (Burnham and Anderson: "considerably less support").
CLEARLY_BETTER = 6.0
# Draws that agree to more digits than this would make every deviation significant.
_SMALLEST_RELATIVE_ERROR = 1e-4
_EXPONENTS = np.concatenate([np.linspace(-2.5, -0.02, 125), np.linspace(0.02, 1.5, 75)])


@dataclass(frozen=True)
class Model:
    """`extra` is the offset as a share of the value at the largest n, or the power of log n."""

    name: str
    exponent: float
    extra: float
    score: float


@dataclass(frozen=True)
class Comparison:
    power: Model
    offset: Model
    logarithmic: Model

    @property
    def preferred(self) -> Model:
        best = min((self.offset, self.logarithmic), key=lambda m: m.score)
        return best if best.score < self.power.score - CLEARLY_BETTER else self.power

    @property
    def words(self) -> str:
        model = self.preferred
        gain = self.power.score - model.score
        if model is self.power:
            return "power law preferred"
        if model is self.offset:
            return f"offset {model.extra:.0%} of the last value preferred (AICc −{gain:.3g})"
        return f"n^{model.exponent:+.3f} (log n)^{model.extra:+.2f} preferred (AICc −{gain:.3g})"


def _score(squares: float, parameters: int, points: int) -> float:
    spare = points - parameters - 1
    return squares + 2.0 * parameters + (2.0 * parameters * (parameters + 1) / spare if spare > 0 else np.inf)


def _least_squares(design: Array, values: Array, errors: Array) -> tuple[Array, float]:
    scaled = design / errors[:, None]
    solution = np.asarray(np.linalg.lstsq(scaled, values / errors, rcond=None)[0], dtype=np.float64)
    return solution, float(np.sum(np.square(scaled @ solution - values / errors)))


def _offset_model(log_n: Array, values: Array, errors: Array) -> tuple[float, float, float]:
    """(exponent, offset, sum of squares) of a + b n^e with a >= 0: linear but for the exponent, which is scanned."""
    weights = np.square(values[-1] / errors)
    scaled = values / values[-1]
    powers = np.exp(_EXPONENTS[:, None] * (log_n - log_n[-1]))
    total, mean, mean_power = weights.sum(), weights @ scaled, powers @ weights
    denominator = total * (np.square(powers) @ weights) - mean_power**2
    factor = (total * (powers @ (weights * scaled)) - mean_power * mean) / denominator
    offset = (mean - factor * mean_power) / total
    squares = np.square(offset[:, None] + factor[:, None] * powers - scaled) @ weights
    best = int(np.argmin(np.where(offset >= 0, squares, np.inf)))
    if offset[best] < 0:
        return float("nan"), 0.0, float("inf")
    return float(_EXPONENTS[best]), float(offset[best]) * float(values[-1]), float(squares[best])


def compare_models(points: Sequence[Point]) -> Comparison | None:
    """None below five usable n, where three parameters cannot be judged, or where the errors are unknown."""
    used, _ = usable_points(points)
    if len({p.n for p in used}) < 5 or any(len(p.draw_values) < 2 for p in used):
        return None
    log_n = np.log([float(p.n) for p in used])
    values = np.array([p.mean for p in used])
    relative = np.maximum([p.error / p.mean for p in used], _SMALLEST_RELATIVE_ERROR)
    count, logs = len(used), np.log(values)
    plain, plain_squares = _least_squares(np.stack([np.ones(count), log_n], axis=1), logs, relative)
    with_log = np.stack([np.ones(count), log_n, np.log(log_n)], axis=1)
    curved, curved_squares = _least_squares(with_log, logs, relative)
    exponent, offset, offset_squares = _offset_model(log_n, values, values * relative)
    return Comparison(
        Model("power law", float(plain[1]), 0.0, _score(plain_squares, 2, count)),
        Model("offset", exponent, offset / values[-1], _score(offset_squares, 3, count)),
        Model("log correction", float(curved[1]), float(curved[2]), _score(curved_squares, 3, count)),
    )
