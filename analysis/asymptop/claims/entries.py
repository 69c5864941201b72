"""Entries C, D and S: how many entries carry a row, and how its logits spread."""

from __future__ import annotations

from ..criteria.exponents import does_not_vanish, has_exponent, is_at_most
from ..criteria.values import identity_holds, ratio_tends_to_one, share_tends_to_one, sums_bound, tends_to_value
from ..criteria.verdicts import Claim
from ..fits import lines
from ..fits.quantities import (
    COUNT_P_ABOVE,
    EFFECTIVE_ENTRIES,
    EXCEEDANCE,
    K_EPSILON,
    LARGEST_SCORE,
    P_MAX,
    PARTICIPATION_RATIO,
    SHARE_ABOVE,
    SUM_P_SQUARED,
    Quantity,
)
from ..theory import predictions
from ..theory.laws import Regime
from .errors import ENERGY_MODEL, PAPER
from .regimes import constant_gaussian, phase, unmasked

TOTAL_VARIATION_PAPER = "arXiv 2512.07647"
SCALING_PAPERS = "arXiv 2501.19399 and 2510.05554"


def _fixed(threshold: str) -> bool:
    return "n" not in threshold


CONCENTRATION = (
    Claim(
        id="C-conc",
        source=f"{PAPER}, theorems 4.2 and 4.3",
        sentence="Attention entries concentrate: the largest logit of a row exceeds its mean by σ√(2 log n).",
        formula="max_j s_ij / σ_i ~ √(2 log n)",
        regime="all",
        norm="largest logit",
        prediction="mean of the largest of n normals",
        criterion=has_exponent,
        applies=unmasked,
        quantity=LARGEST_SCORE,
        along=lines.itself,
        scale="log n",
        claimed_exponent=lambda _: 0.5,
        limit_exponent=lambda _: 0.5,
    ),
    Claim(
        id="C-conc-quantile",
        source=f"{PAPER}, theorems 4.2 and 4.3",
        sentence="Logits are as spread as normal ones: as many entries exceed p = t as normal logits of the row's own "
        "mean, σ and normalisation give.",
        formula="#{p > t} / (n Φc((log t + log Σe^s − s̄)/σ_i)) → 1",
        regime="all",
        norm="quantiles of s/σ",
        prediction="quantiles of a normal distribution",
        criterion=ratio_tends_to_one,
        applies=unmasked,
        quantity=EXCEEDANCE,
        along=lines.at_thresholds(lambda _: True),
        ratio_margin=0.05,
    ),
    Claim(
        id="C-sparse",
        source=f"{PAPER}, section 4.3 and figure 1",
        sentence="For any fixed ε the share of entries with p ≤ ε tends to 1.",
        formula="1 − #{p > ε}/n → 1",
        regime="all",
        norm="share of entries",
        prediction="at most 1/ε entries can exceed ε, for any σ",
        criterion=share_tends_to_one,
        applies=unmasked,
        quantity=SHARE_ABOVE,
        along=lines.at_thresholds(_fixed),
    ),
)


def _of_phase(constant: float, of_c: object) -> object:
    """The exponent at constant sigma, and as a function of c at c sqrt(log n); at c = sqrt 2 powers of log n decide."""

    def limit(_: float, regime: Regime) -> float | None:
        if regime.kind == "constant":
            return constant
        return float(of_c(regime.coefficient)) if regime.phase in ("below", "above") else None

    return limit


def _collapse(name: str, quantity: Quantity, words: str, exponent: object, **fields: object) -> Claim:
    return Claim(
        id=f"D-collapse-{name}",
        source=f"{PAPER}, section 5.1",
        sentence=f"Attention collapses: {words} as n grows, for σ constant or of order √(log n).",
        regime="constant σ; c√(log n)",
        norm=quantity.words,
        applies=phase("constant", "below", "critical", "above"),
        quantity=quantity,
        claimed_exponent=lambda _: 0.0,
        limit_in_phase=exponent,
        **(
            {
                "criterion": is_at_most,
                "formula": "effective entries = O(1)",
                "prediction": "bounded only above c = √2",
                "along": lines.itself,
            }
            | fields
        ),
    )


COLLAPSE = (
    _collapse(
        "pr",
        PARTICIPATION_RATIO,
        "the participation ratio stays bounded",
        _of_phase(1.0, predictions.participation_exponent),
    ),
    _collapse("entropy", EFFECTIVE_ENTRIES, "exp(entropy) stays bounded", _of_phase(1.0, predictions.entropy_exponent)),
    _collapse(
        "count",
        COUNT_P_ABOVE,
        "the number of entries above 1/n stays bounded",
        _of_phase(1.0, predictions.count_exponent),
        along=lines.at_thresholds(lambda t: not _fixed(t)),
        prediction="n Φc(σ/2) at constant σ",
    ),
    _collapse(
        "fixed",
        COUNT_P_ABOVE,
        "the number of entries above a fixed threshold t stays bounded",
        lambda _, regime: 0.0,
        along=lines.at_thresholds(_fixed),
        criterion=sums_bound,
        formula="#{p > t} ≤ 1/t",
        prediction="at most 1/t, for any σ",
    ),
    _collapse(
        "pmax",
        P_MAX,
        "the largest entry does not vanish",
        _of_phase(-1.0, predictions.largest_entry_exponent),
        criterion=does_not_vanish,
        formula="p_max ≥ const",
    ),
    Claim(
        id="D-freeze",
        source=ENERGY_MODEL,
        sentence="At σ = c√(log n) the sum of p² tends to 0 below c = √2 and to 1 − √2/c above.",
        formula="Σp² → max(0, 1 − √2/c)",
        regime="c√(log n)",
        norm="Σp²",
        prediction="max(0, 1 − √2/c)",
        criterion=tends_to_value,
        applies=phase("below", "above"),
        quantity=SUM_P_SQUARED,
        along=lines.itself,
        claimed_value=lambda regime: predictions.largest_weight_limit(regime.coefficient),
    ),
    Claim(
        id="D-count",
        source=ENERGY_MODEL,
        sentence="At constant σ a fixed share Φc(σ/2) of the entries stays above 1/n.",
        formula="#{p > 1/n} / n → Φc(σ/2)",
        regime="constant σ",
        norm="share of entries",
        prediction="n Φc(σ/2)",
        criterion=ratio_tends_to_one,
        applies=constant_gaussian,
        quantity=COUNT_P_ABOVE,
        along=lines.at_thresholds(lambda t: t == "1/n"),
        closed_form=lambda n, _, sigma: predictions.count_p_above(n, 1.0 / n, sigma),
    ),
)

IDENTITIES = (
    Claim(
        id="D-keps",
        source=f"{TOTAL_VARIATION_PAPER}, total variation theory of top-k",
        sentence="The k that brings the tail mass down to ε is a fixed share of the context: n Φc(σ + Φ⁻¹(ε)).",
        formula="k_ε / (n Φc(σ + Φ⁻¹(ε))) → 1",
        regime="constant σ",
        norm="total variation",
        prediction="n Φc(σ + Φ⁻¹(ε))",
        criterion=ratio_tends_to_one,
        applies=constant_gaussian,
        quantity=K_EPSILON,
        along=lines.at_epsilons,
        lines_needed="ε",
        closed_form=predictions.k_epsilon,
    ),
    Claim(
        id="D-iden",
        source=f"{TOTAL_VARIATION_PAPER}, total variation theory of top-k",
        sentence="Tail mass is 1 − exp(−KL(p̂‖p)), and the output error is the tail mass times the distance between "
        "the mean values of head and tail.",
        formula="τ_k = 1 − exp(−KL(p̂‖p)) and ‖(p − p̂)V‖ = τ_k ‖μ_tail − μ_head‖",
        regime="any σ",
        norm="identities, row by row",
        prediction="equality",
        criterion=identity_holds,
        checks=("identity_kl", "identity_output"),
    ),
)


def _bounded(_: float, regime: Regime) -> float:
    return 0.0


SCALING = (
    Claim(
        id="S-log",
        source=SCALING_PAPERS,
        sentence="Logits scaled by log n keep the largest entry from dispersing.",
        formula="p_max ≥ const at σ = c·log n",
        regime="c·log n",
        norm="p_max",
        prediction="p_max → 1",
        criterion=does_not_vanish,
        applies=phase("log"),
        quantity=P_MAX,
        along=lines.itself,
        claimed_exponent=lambda _: 0.0,
        limit_in_phase=_bounded,
    ),
    Claim(
        id="S-log-pr",
        source=SCALING_PAPERS,
        sentence="Logits scaled by log n keep the number of entries that carry a row bounded.",
        formula="1/Σp² = O(1) at σ = c·log n",
        regime="c·log n",
        norm="participation ratio",
        prediction="1/Σp² → 1",
        criterion=is_at_most,
        applies=phase("log"),
        quantity=PARTICIPATION_RATIO,
        along=lines.itself,
        claimed_exponent=lambda _: 0.0,
        limit_in_phase=_bounded,
    ),
)
