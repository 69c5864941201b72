"""Entries E: fixed against growing k at equal cost, and the paper's table 1."""

from __future__ import annotations

from ..criteria.equal_cost import dynamic_beats_fixed, reproduces_table
from ..criteria.verdicts import Claim
from ..fits.quantities import OUTPUT_ERROR, ROW_L2_ERROR, ROW_LINF_ERROR, TAIL_MASS, Quantity
from .errors import PAPER
from .regimes import constant_sigma, unmasked


def _dynamic(name: str, quantity: Quantity) -> Claim:
    return Claim(
        id=f"E-dyn-{name}",
        source=f"{PAPER}, section 7",
        sentence=f"Over a range of n some α n^C beats a fixed k at equal cost: a smaller mean {quantity.words}.",
        formula="mean error(α n^C) < mean error(K) at equal Σk or Σnk",
        regime="all",
        norm=quantity.norm,
        prediction="the norm and the regime decide",
        criterion=dynamic_beats_fixed,
        applies=unmasked,
        quantity=quantity,
        lines_needed="three n with stored k around a constant k",
    )


BUDGETS = (
    _dynamic("tv", TAIL_MASS),
    _dynamic("l2", ROW_L2_ERROR),
    _dynamic("linf", ROW_LINF_ERROR),
    _dynamic("out", OUTPUT_ERROR),
    Claim(
        id="E-table",
        source=f"{PAPER}, table 1",
        sentence="The mean error is 0.04977 for a constant k and 0.04972 for k = n^(1/1000).",
        formula="mean ‖p − p̂‖₂: 0.04977 and 0.04972",
        regime="unknown; constant σ tried",
        norm="mean row ℓ2",
        prediction="√(1/k − 1/n) with k about 400 for nearly uniform rows",
        criterion=reproduces_table,
        applies=constant_sigma,
        quantity=ROW_L2_ERROR,
        lines_needed="stored k at which the mean row ℓ2 error is 0.04977",
    ),
)
