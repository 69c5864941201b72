"""The registry of claims. To add one, add an entry: tables, plots and report pick it up.

An entry states the claim as its source makes it, with the norm and the regime of sigma(n) that the source leaves
open, and names the criterion (criteria.py) that decides it.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import predictions
from .criteria import identity_holds, ratio_tends_to_one, vanishes_like_power
from .quantities import FROBENIUS_OVER_N, K_EPSILON, ROW_L2_ERROR, ROW_LINF_ERROR, TAIL_MASS
from .series import Series
from .verdicts import Claim, Judgement

PAPER = "Deng, Song, Xiong, Yang, arXiv 2404.02690"
TOTAL_VARIATION_PAPER = "arXiv 2512.07647"


def constant_sigma(series: Series) -> str:
    if series.regime.kind != "constant":
        return f"{series.regime.words}, not constant"
    return "" if series.first.mask == "none" else "rows under a mask see different contexts"


def constant_gaussian(series: Series) -> str:
    return constant_sigma(series) or ("" if series.predictable else "the formula is for i.i.d. Gaussian logits")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="A-tv",
        source=f"{PAPER}, section 6.1",
        sentence="Keeping the k = αn^C largest entries makes the tail mass (total variation) vanish like n^-C.",
        formula="τ_k = O(n^-C) for k = α n^C",
        regime="constant σ",
        norm="total variation",
        prediction="Φ(z_k − σ)",
        criterion=vanishes_like_power,
        applies=constant_sigma,
        quantity=TAIL_MASS,
        claimed_exponent=lambda c: -c,
        limit_exponent=predictions.tail_mass_exponent,
        closed_form=predictions.tail_mass,
    ),
    Claim(
        id="A-l2",
        source=f"{PAPER}, section 6.1",
        sentence="Keeping the k = αn^C largest entries makes the ℓ2 error of a row vanish like n^-C.",
        formula="‖p − p̂‖₂ = O(n^-C) for k = α n^C",
        regime="constant σ",
        norm="row ℓ2",
        prediction="√((τ/(1−τ))² S2_head + S2_tail)",
        criterion=vanishes_like_power,
        applies=constant_sigma,
        quantity=ROW_L2_ERROR,
        claimed_exponent=lambda c: -c,
        limit_exponent=predictions.row_l2_exponent,
        closed_form=predictions.row_l2_error,
    ),
    Claim(
        id="A-linf",
        source=f"{PAPER}, section 6.1",
        sentence="Keeping the k = αn^C largest entries makes the largest error of a row's entries vanish like n^-C.",
        formula="‖p − p̂‖∞ = O(n^-C) for k = α n^C",
        regime="constant σ",
        norm="row ℓ∞",
        prediction="max(p_max τ/(1−τ), p_(k+1))",
        criterion=vanishes_like_power,
        applies=constant_sigma,
        quantity=ROW_LINF_ERROR,
        claimed_exponent=lambda c: -c,
        limit_exponent=predictions.row_linf_exponent,
        closed_form=predictions.row_linf_error,
    ),
    Claim(
        id="A-fro",
        source=f"{PAPER}, section 6.1, its metric read as Frobenius",
        sentence="Keeping the k = αn^C largest entries makes (1/n) times the Frobenius norm of the difference of the "
        "n × n attention matrices vanish like n^-C.",
        formula="‖A − Â‖_F / n = √(n · mean ‖p − p̂‖₂²) / n = O(n^-C) for k = α n^C",
        regime="constant σ",
        norm="(1/n) Frobenius",
        prediction="row ℓ2 formula / √n",
        criterion=vanishes_like_power,
        applies=constant_sigma,
        quantity=FROBENIUS_OVER_N,
        claimed_exponent=lambda c: -c,
        limit_exponent=predictions.frobenius_exponent,
        closed_form=predictions.frobenius_over_n,
    ),
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


def _why_untested(claim: Claim, series: Sequence[Series]) -> str:
    """Why no series of the file could test the claim."""
    if not any(s.cases for s in series):
        return "The file has no VALID case."
    if claim.checks:
        return "No case holds the self-checks " + ", ".join(claim.checks) + "."
    reasons = sorted({claim.applies(s) for s in series if s.cases} - {""})
    if all(claim.applies(s) for s in series if s.cases):
        return "No series of the file is in the regime: " + "; ".join(reasons) + "."
    return "The file has no k law of the form α n^C with 0 < C < 1, or lacks the quantity."


def judge(series: Sequence[Series], claims: Sequence[Claim] = CLAIMS) -> tuple[Judgement, ...]:
    """Every claim with its findings, in the order of the registry."""
    judgements = []
    for claim in claims:
        findings = tuple(claim.criterion(claim, series))
        judgements.append(Judgement(claim, findings, "" if findings else _why_untested(claim, series)))
    return tuple(judgements)
