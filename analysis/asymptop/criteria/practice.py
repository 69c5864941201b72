"""What to use: laws of k for a sigma, measured where the file has it and expected for every other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..fits.quantities import TAIL_MASS
from ..io.series import Series
from ..theory import finite_size
from ..theory.head_predictions import recommend
from .expectations import sigma_at
from .needed_keys import keys_needed, limit_of

SIGMAS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0)
EPSILONS = (0.1, 0.01)


@dataclass(frozen=True)
class MeasuredLaw:
    """alpha n^C through the measured k_epsilon, with C's interval, and how it ends as n grows."""

    series: Series
    epsilon: float
    law: str
    exponent: str
    last_n: int
    last_k: float
    limit: float | None


def _law(prefactor: float, exponent: float) -> str:
    power = f"{exponent:.3f}".rstrip("0").rstrip(".")
    return f"{prefactor:.3g}·n" if power == "1" else f"{prefactor:.3g}·n^{power}"


def measured_laws(series: Sequence[Series]) -> list[MeasuredLaw]:
    found = []
    for one in series:
        for epsilon in () if one.window_ends_growth else one.epsilons:
            needed = keys_needed(one, TAIL_MASS, epsilon) if one.cases else None
            if needed is None or needed.fit is None:
                continue
            fit, last = needed.fit, needed.points[-1]
            reach = f"{fit.exponent:.3f}"
            if math.isfinite(fit.interval.half_width):
                reach += f" [{fit.interval.low:.3f}, {fit.interval.high:.3f}]"
            law = _law(fit.prefactor, fit.exponent)
            found.append(MeasuredLaw(one, epsilon, law, reach, last.n, last.mean, limit_of(one)))
    return found


@dataclass(frozen=True)
class ExpectedLaw:
    sigma: float
    epsilon: float
    sizes: tuple[int, int]
    law: str
    shares: tuple[float, float]
    entries: tuple[float, float]


@lru_cache(maxsize=4)
def expected_laws(low: int = 2**10, high: int = 2**20) -> tuple[ExpectedLaw, ...]:
    """Laws that keep the mean tail mass at epsilon from `low` to `high` for i.i.d. Gaussian logits of a fixed sigma."""
    sizes = [round(low * (high / low) ** (i / 4.0)) for i in range(5)]
    found = []
    for sigma in SIGMAS:
        for epsilon in EPSILONS:
            law, predictions = recommend(sigma, sizes, epsilon)
            first, last = (
                (p.k_epsilon / p.n, finite_size.exp_entropy(finite_size.profile(float(p.n), sigma)))
                for p in (predictions[0], predictions[-1])
            )
            found.append(
                ExpectedLaw(
                    sigma,
                    epsilon,
                    (low, high),
                    law,
                    (first[0], last[0]),
                    (first[1], last[1]),
                )
            )
    return tuple(found)


def norm_words(series: Sequence[Series]) -> str:
    """How sigma and the paper's R go together in this file."""
    for one in series:
        if not one.cases or not one.synthetic:
            continue
        case = one.cases[-1]
        scale, r = float(case.attributes["scale"]), float(case.attributes["R"])
        if r > 0 and scale > 0 and sigma_at(one.regime, case.n) is not None:
            return (
                f"Here d = {case.d} and the logit scale is {scale:.4g}, so that σ = {case.sigma / r:.4g}·R for "
                f"R = B²‖W‖_F: R = {r:.3g} at the largest n of {one.title}."
            )
    return ""
