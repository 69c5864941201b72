"""Entries A and B: how the error of top-k attention goes with n, for k = αn^C and for k = o(log n)."""

from __future__ import annotations

from ..criteria.exponents import (
    does_not_vanish,
    has_exponent,
    vanishes_by_bound,
    vanishes_like_power,
    vanishes_where_predicted,
)
from ..criteria.verdicts import Claim
from ..fits import lines
from ..fits.quantities import (
    EFFECTIVE_ENTRIES,
    FROBENIUS_OVER_N,
    OUTPUT_ERROR,
    ROW_L2_ERROR,
    ROW_LINF_ERROR,
    SPECTRAL_OVER_N,
    TAIL_MASS,
    Quantity,
)
from ..theory import predictions
from ..theory.laws import Regime
from .regimes import constant_sigma, phase

PAPER = "Deng, Song, Xiong, Yang, arXiv 2404.02690"
ENERGY_MODEL = "random energy model of statistical physics"


def _enough(norm: str, quantity: Quantity, words: str, formula: str, **fields: object) -> Claim:
    """k = αn^C makes this error vanish like n^-C at constant sigma."""
    return Claim(
        source=f"{PAPER}, section 6.1",
        sentence=f"Keeping the k = αn^C largest entries makes {words} vanish like n^-C.",
        formula=f"{formula} = O(n^-C) for k = α n^C",
        regime="constant σ",
        norm=norm,
        applies=constant_sigma,
        quantity=quantity,
        claimed_exponent=lambda c: -c,
        **({"criterion": vanishes_like_power} | fields),
    )


ENOUGH = (
    _enough(
        "total variation",
        TAIL_MASS,
        "the tail mass (total variation)",
        "τ_k",
        id="A-tv",
        prediction="Φ(z_k − σ)",
        limit_exponent=predictions.tail_mass_exponent,
        closed_form=predictions.tail_mass,
    ),
    _enough(
        "row ℓ2",
        ROW_L2_ERROR,
        "the ℓ2 error of a row",
        "‖p − p̂‖₂",
        id="A-l2",
        prediction="√((τ/(1−τ))² S2_head + S2_tail)",
        limit_exponent=predictions.row_l2_exponent,
        closed_form=predictions.row_l2_error,
    ),
    _enough(
        "row ℓ∞",
        ROW_LINF_ERROR,
        "the largest error of a row's entries",
        "‖p − p̂‖∞",
        id="A-linf",
        prediction="max(p_max τ/(1−τ), p_(k+1))",
        limit_exponent=predictions.row_linf_exponent,
        closed_form=predictions.row_linf_error,
    ),
    _enough(
        "(1/n) Frobenius",
        FROBENIUS_OVER_N,
        "(1/n) times the Frobenius norm of the difference of the n × n attention matrices",
        "‖A − Â‖_F / n = √(n · mean ‖p − p̂‖₂²) / n",
        id="A-fro",
        prediction="row ℓ2 formula / √n",
        limit_exponent=predictions.frobenius_exponent,
        closed_form=predictions.frobenius_over_n,
    ),
    _enough(
        "(1/n) spectral",
        SPECTRAL_OVER_N,
        "(1/n) times the spectral norm of the difference of the n × n attention matrices",
        "‖A − Â‖₂ / n",
        id="A-spec",
        prediction="between the largest row norm / n and A-fro",
        criterion=vanishes_by_bound,
        upper_bound=FROBENIUS_OVER_N,
        limit_exponent=predictions.frobenius_exponent,
    ),
    _enough(
        "relative output ℓ2",
        OUTPUT_ERROR,
        "the error of the attention output, relative to the output,",
        "‖(p − p̂)V‖ / ‖pV‖ = τ_k ‖μ_tail − μ_head‖ / ‖pV‖",
        id="A-out",
        prediction="row ℓ2 formula / √Σp² (values independent of the keys)",
        limit_exponent=lambda c: (1.0 - c) / 2.0,
        closed_form=predictions.output_error_relative,
    ),
)


def _tail_exponent(c: float, regime: Regime) -> float:
    return predictions.tail_exponent(regime.coefficient, c)


def _sign_at_criticality(c: float, regime: Regime) -> float:
    """Negative where n^C keys are enough: the distance of C from 1 - c^2/2."""
    return predictions.critical_exponent(regime.coefficient) - c


def _only_above_criticality(c: float, regime: Regime) -> float | None:
    exponent = _tail_exponent(c, regime)
    return exponent if exponent < 0 else None


PHASE_TRANSITION = (
    Claim(
        id="A-crit",
        source=ENERGY_MODEL,
        sentence="At σ = c√(log n), c < √2, a row spreads over n^(1−c²/2) entries.",
        formula="exp(entropy) ~ n^(1 − c²/2)",
        regime="c√(log n), c < √2",
        norm="exp(entropy)",
        prediction="1 − c²/2",
        criterion=has_exponent,
        applies=phase("below"),
        quantity=EFFECTIVE_ENTRIES,
        along=lines.itself,
        claimed_in_phase=lambda _, regime: predictions.entropy_exponent(regime.coefficient),
        limit_in_phase=lambda _, regime: predictions.entropy_exponent(regime.coefficient),
    ),
    Claim(
        id="A-crit-tau",
        source=ENERGY_MODEL,
        sentence="At σ = c√(log n), c < √2, the tail mass vanishes for k = n^C exactly if C > 1 − c²/2.",
        formula="τ_k → 0 for k = n^C iff C > 1 − c²/2",
        regime="c√(log n), c < √2",
        norm="total variation",
        prediction="C = 1 − c²/2",
        criterion=vanishes_where_predicted,
        applies=phase("below"),
        quantity=TAIL_MASS,
        claimed_in_phase=_sign_at_criticality,
        limit_in_phase=_tail_exponent,
    ),
    Claim(
        id="A-below",
        source=ENERGY_MODEL,
        sentence="Between C = 1 − c²/2 and 1 the tail mass falls like a power of n, with corrections of log n.",
        formula="τ_k ~ n^(−(c − √(2(1−C)))²/2) for k = n^C",
        regime="c√(log n), c < √2",
        norm="total variation",
        prediction="−(c − √(2(1−C)))²/2",
        criterion=has_exponent,
        applies=phase("below"),
        quantity=TAIL_MASS,
        claimed_in_phase=_only_above_criticality,
        limit_in_phase=_tail_exponent,
    ),
    Claim(
        id="A-rate",
        source=ENERGY_MODEL,
        sentence="Above c = √2 the tail mass falls like n^(C + c√(2(1−C)) − √2c): n^-C is reached where "
        "c ≥ √2(1 + √(1−C)) and not below.",
        formula="τ_k ~ n^(C + c√(2(1−C)) − √2c) for k = n^C",
        regime="c√(log n), c > √2",
        norm="total variation",
        prediction="C + c√(2(1−C)) − √2c",
        criterion=has_exponent,
        applies=phase("above"),
        quantity=TAIL_MASS,
        claimed_in_phase=_tail_exponent,
        limit_in_phase=_tail_exponent,
    ),
)


def _slow(name: str, norm: str, quantity: Quantity, words: str, power: object, **fields: object) -> Claim:
    """k = o(log n) leaves this error of order 1; `power` of log n is what i.i.d. logits give in the limit."""
    return Claim(
        id=f"B-{name}",
        source=f"{PAPER}, section 6.2",
        sentence=f"Keeping only k = o(log n) entries leaves {words} of order 1.",
        formula="error ≥ const for k = o(log n)",
        regime="constant σ; c√(log n); c·log n",
        norm=norm,
        criterion=does_not_vanish,
        applies=phase("constant", "below", "critical", "above", "log", fixed=False),
        quantity=quantity,
        along=lines.slow_laws,
        lines_needed="k law that is o(log n)",
        claimed_exponent=lambda _: 0.0,
        limit_in_phase=power,
        **({"scale": "log n", "prediction": "a power of log n that the norm decides"} | fields),
    )


def _slow_limit(power: object) -> object:
    """The limit in each phase; None where the expectation is left to say it."""

    def limit(a: float, regime: Regime) -> float | None:
        if regime.kind == "constant":
            return power(a, None)
        return power(a, regime.coefficient) if regime.phase in ("below", "above") else None

    return limit


TOO_FEW = (
    _slow("tv", "total variation", TAIL_MASS, "a tail mass", _slow_limit(predictions.slow_tail_mass_power)),
    _slow("l2", "row ℓ2", ROW_L2_ERROR, "an ℓ2 error of a row", _slow_limit(predictions.slow_row_l2_power)),
    _slow("linf", "row ℓ∞", ROW_LINF_ERROR, "an entry's error", _slow_limit(predictions.slow_row_linf_power)),
    _slow(
        "fro",
        "(1/n) Frobenius",
        FROBENIUS_OVER_N,
        "(1/n) times the Frobenius norm of the difference",
        lambda a, regime: None if regime.kind == "log" else -0.5,
        scale="n",
        prediction="n^(−1/2)",
    ),
    _slow("out", "relative output ℓ2", OUTPUT_ERROR, "a relative output error", lambda a, regime: None),
)
