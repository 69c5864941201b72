"""k_epsilon(n): how many keys an error of epsilon takes, in every norm and regime, as alpha n^C with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..fits.error_curve import needed_keys
from ..fits.exponents import FitError, Point, PowerFit, fit_power
from ..fits.lines import epsilon_line
from ..fits.quantities import K_EPSILON, OUTPUT_ERROR, ROW_L2_ERROR, ROW_LINF_ERROR, TAIL_MASS, Quantity
from ..io.series import Series
from ..theory import predictions
from ..theory.laws import Regime
from ..theory.statistics import Array
from .expectations import expected_at, sigma_at

NORMS = (TAIL_MASS, ROW_L2_ERROR, ROW_LINF_ERROR, OUTPUT_ERROR)
EPSILONS = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class KeysNeeded:
    """One line: measured points, the fit alpha n^C where two n allow one, and the prediction at each n."""

    series: Series
    norm: Quantity
    epsilon: float
    points: tuple[Point, ...]
    fit: PowerFit | None
    formula: tuple[float, ...]
    limit: float | None

    @property
    def sizes(self) -> list[int]:
        return [p.n for p in self.points]


def epsilons_of(series: Sequence[Series]) -> tuple[float, ...]:
    """Those of the file, which are measured exactly, and the usual ones for the norms that are interpolated."""
    found = {e for one in series for e in one.epsilons}
    return tuple(sorted(found or set(EPSILONS), reverse=True))


def _points(series: Series, norm: Quantity, epsilon: float) -> list[Point]:
    points = []
    for case in series.cases:
        values: Array | None
        if norm is TAIL_MASS and epsilon in case.epsilon:
            values = K_EPSILON.draw_values(case, epsilon)
        else:
            values = needed_keys(case, norm, epsilon)
        if values is not None:
            points.append(Point(case.n, values, paired=case.paired))
    return points


def expected_keys(regime: Regime, epsilon: float, n: float) -> float | None:
    """Finite-n expectation of the k that a tail mass of epsilon takes, at any n."""
    return expected_at(K_EPSILON, epsilon_line(epsilon), regime, n)


def _formula(series: Series, epsilon: float, n: float) -> float:
    """n Phi_c(sigma + Phi^-1(epsilon)), below the freezing point."""
    sigma = sigma_at(series.regime, n)
    if sigma is None or sigma >= predictions.freezing_sigma(n):
        return float("nan")
    return float(predictions.k_epsilon(n, epsilon, sigma))


def limit_of(series: Series) -> float | None:
    """C as n grows: 1 at constant sigma, 1 - c^2/2 at c sqrt(log n), 0 beyond."""
    kind = series.regime.kind
    if not series.predictable or kind not in ("constant", "sqrt_log", "log"):
        return None
    if kind == "sqrt_log":
        return max(0.0, round(predictions.critical_exponent(series.regime.coefficient), 9))
    return 1.0 if kind == "constant" else 0.0


def keys_needed(series: Series, norm: Quantity, epsilon: float) -> KeysNeeded | None:
    """None where no n of the series has an answer."""
    if not series.cases or not norm.present(series.first):
        return None
    points = _points(series, norm, epsilon)
    if not points:
        return None
    try:
        fit = fit_power(points)
    except FitError:
        fit = None
    formula = tuple(
        _formula(series, epsilon, p.n) if norm is TAIL_MASS and series.predictable else float("nan") for p in points
    )
    limit = limit_of(series) if norm is TAIL_MASS else None
    return KeysNeeded(series, norm, epsilon, tuple(points), fit, formula, limit)


def all_keys_needed(series: Sequence[Series]) -> list[KeysNeeded]:
    """Every norm, epsilon and series, in that order."""
    found = [keys_needed(s, norm, e) for norm in NORMS for e in epsilons_of(series) for s in series]
    return [one for one in found if one is not None and np.isfinite([p.mean for p in one.points]).all()]
