"""A user's own claims, from a TOML file: `report --claims FILE`. Nothing in it is executed.

    [[claim]]
    id = "X-half"
    sentence = "The l2 error of a row falls like k^(-1/2)."
    source = "our draft, lemma 3"
    quantity = "row_l2_error"
    sense = "equal"                 # at most | at least | equal | vanishes | tends to | ratio
    exponent = "-C/2"               # of n (or of log n), in C of k = a n^C and c of sigma = c sqrt(log n)
    phases = ["constant"]           # default: all

Optional: norm, formula, prediction, along, scale = "log n", k and sigma (lists of laws: these alone), limit (the
exponent of i.i.d. Gaussian logits as n grows, where the entry knows it; it is checked). sense = "tends to" takes value
in c, sense = "ratio" closed_form in n, sigma and k, epsilon or t (functions sqrt, log, exp, Phi, Phi_inv).
At constant sigma c is sigma itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri

from ..criteria.exponents import does_not_vanish, has_exponent, vanishes, vanishes_like_power
from ..criteria.values import ratio_tends_to_one, tends_to_value
from ..criteria.verdicts import Claim
from ..fits import lines, quantities
from ..io.series import Series
from ..theory import laws
from .regimes import phase, unmasked
from .registry import CLAIMS

SENSES = {
    "at most": vanishes_like_power,
    "at least": does_not_vanish,
    "equal": has_exponent,
    "vanishes": vanishes,
    "tends to": tends_to_value,
    "ratio": ratio_tends_to_one,
}
# The key that a sense cannot do without.
NEEDED_BY = {
    "at most": "exponent",
    "at least": "exponent",
    "equal": "exponent",
    "tends to": "value",
    "ratio": "closed_form",
}
ALONG = {
    "power laws": lines.power_laws,
    "slow laws": lines.slow_laws,
    "epsilons": lines.at_epsilons,
    "thresholds": lines.at_thresholds(lambda _: True),
    "itself": lines.itself,
}
QUANTITIES = {value.name: value for value in quantities.QUANTITIES.values() if value.name != "spectral_error"}
_NEEDED = ("id", "sentence", "quantity", "sense")
_OPTIONAL = (
    "source",
    "formula",
    "norm",
    "prediction",
    "along",
    "scale",
    "exponent",
    "limit",
    "closed_form",
    "value",
    "phases",
    "k",
    "sigma",
)
_SCALARS = {"sqrt": np.sqrt, "log": np.log, "abs": np.abs}
_ARRAYS = {**_SCALARS, "exp": np.exp, "Phi": ndtr, "Phi_inv": ndtri}


class ClaimsError(Exception):
    """A claims file that cannot be used, in one line: the claim, the key, the value, and what is allowed."""


def _choice(entry: Mapping, key: str, allowed: Mapping | tuple, default: str, where: str) -> str:
    value = entry.get(key, default)
    if value not in allowed:
        raise ClaimsError(f"{where}: {key} is '{value}', allowed are {', '.join(allowed)}")
    return value


def _formula(entry: Mapping, key: str, names: tuple[str, ...], functions: Mapping, where: str) -> Callable | None:
    if key not in entry:
        return None
    try:
        return laws.formula(str(entry[key]), names, functions)
    except laws.LawError as error:
        raise ClaimsError(f"{where}: {key} is '{entry[key]}': {error}") from error


def _default_along(quantity: quantities.Quantity) -> str:
    if quantity is quantities.K_EPSILON:
        return "epsilons"
    if quantity in quantities.AT_THRESHOLD:
        return "thresholds"
    return "power laws" if quantity in (*quantities.ERRORS, quantities.OUTPUT_ERROR) else "itself"


def _in_regime(function: Callable | None) -> Callable | None:
    """A formula in C and c as a function of (C, regime)."""
    if function is None:
        return None
    return lambda c, regime: float(function(c, regime.coefficient))


def _laws(entry: Mapping, key: str, where: str) -> tuple[str, ...]:
    """The laws of a key, one or a list; none where it is absent."""
    texts = entry.get(key, [])
    texts = [texts] if isinstance(texts, str | int | float) else texts
    try:
        for text in texts:
            laws.evaluate(str(text), 2.0**20)
    except (laws.LawError, TypeError) as error:
        raise ClaimsError(f"{where}: {key} is {texts!r}, allowed is a law in n or a list of them") from error
    return tuple(str(text) for text in texts)


def _is_one_of(law: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or any(laws.same(law, other) for other in wanted)


def _with_sigma(applies: Callable, wanted: tuple[str, ...]) -> Callable:
    def only(series: Series) -> str:
        if not _is_one_of(str(series.identity["sigma_law"]), wanted):
            return f"its σ is not {' or '.join(wanted)}"
        return applies(series)

    return only if wanted else applies


def _with_k(along: Callable, wanted: tuple[str, ...]) -> Callable:
    """Of the k laws of a series those that are wanted, power laws or not."""
    if not wanted:
        return along
    return lambda series: [line for line in lines.every_law(series) if _is_one_of(line.law, wanted)]


def _closed_form(entry: Mapping, where: str) -> Callable | None:
    names = ("n", "sigma", "k", "epsilon", "t")
    function = _formula(entry, "closed_form", names, _ARRAYS, where)
    if function is None:
        return None

    def values(n: int, parameter: object, sigma: np.ndarray) -> np.ndarray:
        number = laws.evaluate(parameter, n) if isinstance(parameter, str) else float(parameter or 0.0)
        return np.broadcast_to(function(float(n), sigma, number, number, number), sigma.shape)

    return values


def _default_formula(entry: Mapping, sense: str, scale: str) -> str:
    if sense == "vanishes":
        return f"{entry['quantity']} → 0"
    if sense == "tends to":
        return f"{entry['quantity']} → {entry['value']}"
    if sense == "ratio":
        return f"{entry['quantity']} / ({entry['closed_form']}) → 1"
    return f"{entry['quantity']}: {sense} {scale}^({entry['exponent']})"


def _mentions_c(entry: Mapping) -> bool:
    """Whether a number of the claim depends on c of sigma = c sqrt(log n)."""
    return any(re.search(r"\bc\b", entry.get(key, "")) is not None for key in ("exponent", "limit", "value"))


def _claim(entry: Mapping, where: str) -> Claim:
    for key in _NEEDED:
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise ClaimsError(f"{where}: {key} is missing")
    unknown = set(entry) - set(_NEEDED) - set(_OPTIONAL)
    if unknown:
        raise ClaimsError(f"{where}: unknown key '{min(unknown)}', allowed are {', '.join((*_NEEDED, *_OPTIONAL))}")
    where = f"{where} ({entry['id']})"
    entry = {key: str(value) if isinstance(value, int | float) else value for key, value in entry.items()}
    quantity = QUANTITIES[_choice(entry, "quantity", QUANTITIES, "", where)]
    sense = _choice(entry, "sense", SENSES, "", where)
    along = ALONG[_choice(entry, "along", ALONG, _default_along(quantity), where)]
    scale = _choice(entry, "scale", ("n", "log n"), "n", where)
    wanted = entry.get("phases", [])
    if not isinstance(wanted, list) or set(wanted) - set(laws.PHASES):
        raise ClaimsError(f"{where}: phases is {wanted!r}, allowed is a list of {', '.join(laws.PHASES)}")
    exponent = _formula(entry, "exponent", ("C", "c"), _SCALARS, where)
    limit = _formula(entry, "limit", ("C", "c"), _SCALARS, where)
    form = _closed_form(entry, where)
    value = _formula(entry, "value", ("c",), _SCALARS, where)
    needed = NEEDED_BY.get(sense)
    if needed is not None and needed not in entry:
        raise ClaimsError(f'{where}: {needed} is missing; sense = "{sense}" needs it')
    k_laws, sigma_laws = _laws(entry, "k", where), _laws(entry, "sigma", where)
    return Claim(
        id=entry["id"],
        source=entry.get("source", "claims file"),
        sentence=entry["sentence"],
        formula=entry.get("formula", _default_formula(entry, sense, scale)),
        regime=", ".join(laws.PHASES[p] for p in wanted) or "all",
        norm=entry.get("norm", quantity.norm or quantity.words),
        prediction=entry.get("prediction", entry.get(needed or "", "")),
        criterion=SENSES[sense],
        applies=_with_sigma(phase(*wanted, fixed=_mentions_c(entry)) if wanted else unmasked, sigma_laws),
        quantity=quantity,
        along=_with_k(along, k_laws),
        scale=scale,
        claimed_in_phase=_in_regime(exponent),
        limit_in_phase=_in_regime(limit),
        closed_form=form,
        claimed_value=None if value is None else lambda regime: float(value(regime.coefficient)),
        ratio_margin=0.02,
    )


def read_claims(path: Path) -> tuple[Claim, ...]:
    """The claims of a file, in its order. Raises ClaimsError."""
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ClaimsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ClaimsError(f"{path}: not a TOML file ({error})") from error
    entries = document.get("claim")
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise ClaimsError(f"{path}: there is no [[claim]]")
    claims = [_claim(entry, f"{path}: claim {i}") for i, entry in enumerate(entries, start=1)]
    taken = {claim.id for claim in CLAIMS}
    for claim in claims:
        if claim.id in taken:
            raise ClaimsError(f"{path}: id '{claim.id}' is taken by another claim")
        taken.add(claim.id)
    return tuple(claims)
