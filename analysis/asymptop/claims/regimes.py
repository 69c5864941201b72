"""Which series a claim is about. A function returns why a series is not in the regime, or nothing."""

from __future__ import annotations

from collections.abc import Callable

from ..io.series import Series
from ..theory.laws import PHASES

Applies = Callable[[Series], str]


def unmasked(series: Series) -> str:
    return "" if series.first.mask == "none" else "rows under a mask see different contexts"


def constant_sigma(series: Series) -> str:
    if series.regime.kind != "constant":
        return f"{series.regime.words}, not constant"
    return unmasked(series)


def predictable(series: Series) -> str:
    return "" if series.predictable else "the formula is for i.i.d. Gaussian logits"


def one_sigma(series: Series) -> str:
    """c of c sqrt(log n) must be that of every row: a spread of sigma_i is one of exponents."""
    if series.first.row_sigma == "fixed" or series.regime.kind == "constant":
        return ""
    return "rows differ in σ, and so in c: the regime needs --row-sigma fixed"


def _phase_words(phase: str) -> str:
    return PHASES[phase].replace(", c", " with c")


def phase(*wanted: str, fixed: bool = True) -> Applies:
    """Series in one of laws.PHASES; `fixed` where the claim's number depends on c."""

    def applies(series: Series) -> str:
        if series.regime.phase not in wanted:
            grows = series.regime.kind == "sqrt_log"
            found = f"σ = {_phase_words(series.regime.phase)}" if grows else series.regime.words
            return f"{found}, not {' or '.join(_phase_words(p) for p in wanted)}"
        if series.regime.phase == "measured":  # rows see a fixed share of the keys: exponents of n are theirs
            if series.first.drop_first:
                return "first keys left out"
            return f"rows see a window of {series.first.window} keys" if series.first.window else ""
        return unmasked(series) or (one_sigma(series) if fixed else "")

    return applies
