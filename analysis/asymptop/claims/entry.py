"""A claim from its entry of a TOML file, the package's own (builtin.toml) or a user's. Nothing in it is executed.

Needed: id, sentence, sense and, but for identities, quantity. Words for the reader: source, formula, regime, norm,
prediction, lines_needed (what a file lacks that cannot test it). What is claimed: exponent (of n, or of log n with
scale = "log n", in C of k = a n^C and c of sigma = c sqrt(log n); at constant sigma c is sigma), only_where_positive
(it says nothing elsewhere), value, closed_form, upper_bound (a quantity that is no smaller), checks, margin (of a
ratio). limit is the exponent of i.i.d. Gaussian logits as n grows, where the entry knows it. An exponent or a limit is
one formula, or one per regime: { constant = "1", below = "1 - c^2" }. Of which data: phases, gaussian_logits, one_sigma
(rows must share one sigma; by itself where a formula has c), along, and k, sigma and thresholds, each a list of laws;
selectors, a list as `study --selectors` takes them, or ["all"] for all but exact top-k, which a claim is of without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from ..criteria import equal_cost, estimators, exponents, selectors, values
from ..criteria.verdicts import Claim, Criterion
from ..fits import lines, quantities
from ..fits.lines import Line
from ..fits.quantities import Parameter, Quantity
from ..io.series import Series
from ..io.streams import UsageError
from ..theory import laws, predictions
from ..theory.laws import Regime
from ..theory.statistics import Array
from .regimes import Applies, constant_sigma, phase, predictable, unmasked

# Per sense its criterion and the key that it cannot do without.
SENSES: dict[str, tuple[Criterion, str]] = {
    "at most": (exponents.vanishes_by_bound, "exponent"),
    "at least": (exponents.does_not_vanish, "exponent"),
    "equal": (exponents.has_exponent, "exponent"),
    "vanishes": (exponents.vanishes, ""),
    "tends to": (values.tends_to_value, "value"),
    "ratio": (values.ratio_tends_to_one, "closed_form"),
    "grows at most": (exponents.is_at_most, "exponent"),
    "vanishes where negative": (exponents.vanishes_where_predicted, "exponent"),
    "rest tends to 1": (values.share_tends_to_one, ""),
    "at most 1/t": (values.sums_bound, ""),
    "identity": (values.identity_holds, "checks"),
    "beats a fixed k": (equal_cost.dynamic_beats_fixed, ""),
    "the paper's table 1": (equal_cost.reproduces_table, ""),
    "1 - share kept": (selectors.drops_its_share, ""),
    "never negative": (selectors.is_never_negative, ""),
    "exact top-k": (selectors.is_exact, ""),
    "within the promise": (estimators.keeps_its_promise, ""),
}
# What holds of every row by itself holds under a mask too.
_OF_EACH_ROW = ("1 - share kept", "never negative", "exact top-k", "within the promise")
Along = Callable[[Series], list[Line]]
ALONG: dict[str, Along] = {
    "power laws": lines.power_laws,
    "slow laws": lines.slow_laws,
    "epsilons": lines.at_epsilons,
    "thresholds": lines.at_thresholds(lambda _: True),
    "fixed thresholds": lines.at_thresholds(lambda law: "n" not in law),
    "thresholds in n": lines.at_thresholds(lambda law: "n" in law),
    "itself": lines.itself,
}
_WORDS = ("id", "family", "sentence", "source", "formula", "regime", "norm", "prediction", "lines_needed")
_LISTS = ("phases", "k", "sigma", "thresholds", "checks", "selectors")
_FORMULAS = ("exponent", "limit", "only_where_positive", "value", "closed_form")
_CHOICES = ("quantity", "sense", "along", "scale", "upper_bound")
_FLAGS = ("gaussian_logits", "one_sigma")
KEYS = (*_WORDS, *_CHOICES, *_FORMULAS, *_LISTS, *_FLAGS, "margin")

_SCALARS: dict[str, Callable] = {"sqrt": np.sqrt, "log": np.log, "abs": np.abs, "min": np.minimum, "max": np.maximum}
_OF_C = ("participation_exponent", "count_exponent", "largest_entry_exponent", "tail_exponent")
_EXPONENTS = _SCALARS | {name: getattr(predictions, name) for name in _OF_C}
_ARRAYS = _SCALARS | {"exp": np.exp, "Phi": ndtr, "Phi_inv": ndtri} | {f.__name__: f for f in predictions.CLOSED_FORMS}


class ClaimsError(UsageError):
    """A claims file that cannot be used, in one line: the claim, the key, the value, and what is allowed."""


class Entry:
    """The keys of one claim, read with a check each. `where` names the file and the claim."""

    def __init__(self, keys: Mapping[str, Any], where: str) -> None:
        self.keys, self.where = keys, where

    def wrong(self, key: str, allowed: str) -> ClaimsError:
        value = self.keys.get(key)
        shown = f"'{value}'" if isinstance(value, str) else repr(value)
        return ClaimsError(f"{self.where}: {key} is {shown}, allowed {allowed}")

    def need(self, key: str, why: str = "") -> None:
        if self.keys.get(key, "") in ("", []):
            raise ClaimsError(f"{self.where}: {key} is missing{why}")

    def word(self, key: str, default: str = "") -> str:
        value = self.keys.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "is text")
        return value

    def choice(self, key: str, allowed: Collection[str], default: str = "") -> str:
        value = self.keys.get(key, default)
        if not isinstance(value, str) or value not in allowed:
            raise ClaimsError(f"{self.where}: {key} is '{value}', allowed are {', '.join(allowed)}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.keys.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "are true and false")
        return value

    def margin(self) -> float:
        value = self.keys.get("margin", 0.02)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise self.wrong("margin", "is a number between 0 and 1")
        return float(value)

    def listed(self, key: str, allowed: Collection[str] = ()) -> tuple[str, ...]:
        value = self.keys.get(key, [])
        known = isinstance(value, list) and all(isinstance(text, str) for text in value)
        if not known or (allowed and set(value) - set(allowed)):
            raise self.wrong(key, f"is a list of {', '.join(allowed) or 'words'}")
        return tuple(value)

    def laws(self, key: str) -> tuple[str, ...]:
        """The laws of a key, one or a list; none where it is absent."""
        texts = self.keys.get(key, [])
        texts = [texts] if isinstance(texts, str | int | float) else texts
        try:
            for text in texts:
                laws.evaluate(str(text), 2.0**20)
        except (laws.LawError, TypeError) as error:
            raise ClaimsError(f"{self.where}: {key} is {texts!r}, allowed is a law in n or a list of them") from error
        return tuple(str(text) for text in texts)

    def text(self, key: str) -> str:
        """A formula as it is written, for words about it."""
        value = self.keys.get(key, "")
        return "; ".join(f"{p}: {text}" for p, text in value.items()) if isinstance(value, dict) else str(value)

    def _formula(self, key: str, text: object, names: tuple[str, ...], functions: Mapping) -> Callable[..., Any]:
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise self.wrong(key, f"is a formula in {', '.join(names)}")
        try:
            return laws.formula(str(text), names, functions)
        except laws.LawError as error:
            raise ClaimsError(f"{self.where}: {key} is '{text}': {error}") from error

    def formula(self, key: str, names: tuple[str, ...], functions: Mapping) -> Callable[..., Any] | None:
        return self._formula(key, self.keys[key], names, functions) if key in self.keys else None

    def in_phase(self, key: str) -> Callable[[float, Regime], float | None] | None:
        """A formula in C and c, or one per phase, as a function of (C, regime); None where it says nothing."""
        if key not in self.keys:
            return None
        texts = self.keys[key]
        if isinstance(texts, dict) and set(texts) - set(laws.PHASES):
            raise self.wrong(key, f"is a formula or one for each of {', '.join(laws.PHASES)}")
        by_phase = texts if isinstance(texts, dict) else dict.fromkeys(laws.PHASES, texts)
        found = {p: self._formula(key, text, ("C", "c"), _EXPONENTS) for p, text in by_phase.items()}

        def value(c: float, regime: Regime) -> float | None:
            return float(found[regime.phase](c, regime.coefficient)) if regime.phase in found else None

        return value


def _default_along(quantity: Quantity | None) -> str:
    if quantity is quantities.K_EPSILON:
        return "epsilons"
    if quantity in quantities.AT_THRESHOLD:
        return "thresholds"
    return "power laws" if quantity in quantities.AT_K else "itself"


def _is_one_of(law: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or any(laws.same(law, other) for other in wanted)


def _applies(entry: Entry, phases: tuple[str, ...], sense: str) -> Applies:
    """Of which series the claim is."""
    anywhere: Applies = (lambda series: "") if sense in _OF_EACH_ROW else unmasked
    mentions_c = any(re.search(r"\bc\b", entry.text(key)) for key in ("exponent", "limit", "value"))
    one_sigma, gaussian, sigma = entry.flag("one_sigma", mentions_c), entry.flag("gaussian_logits"), entry.laws("sigma")
    of_phase = constant_sigma if phases == ("constant",) else phase(*phases, fixed=one_sigma) if phases else anywhere

    def applies(series: Series) -> str:
        if not _is_one_of(str(series.identity["sigma_law"]), sigma):
            return f"its σ is not {' or '.join(sigma)}"
        return of_phase(series) or (predictable(series) if gaussian else "")

    return applies


def _along(entry: Entry, quantity: Quantity | None) -> Along:
    along = ALONG[entry.choice("along", ALONG, _default_along(quantity))]
    k, thresholds = entry.laws("k"), entry.laws("thresholds")
    if thresholds:
        return lines.at_thresholds(lambda law: _is_one_of(law, thresholds))
    if k:  # of the k laws of a series those that are wanted, power laws or not
        return lambda series: [line for line in lines.every_law(series) if _is_one_of(line.law, k)]
    return along


def _closed_form(entry: Entry) -> Callable[[int, Parameter, Array], Array] | None:
    function = entry.formula("closed_form", ("n", "sigma", "k", "epsilon", "t"), _ARRAYS)
    if function is None:
        return None

    def predicted(n: int, parameter: Parameter, sigma: Array) -> Array:
        number = laws.evaluate(parameter, n) if isinstance(parameter, str) else float(parameter or 0.0)
        return np.broadcast_to(function(float(n), sigma, number, number, number), sigma.shape)

    return predicted


def _default_formula(entry: Entry, quantity: str, sense: str) -> str:
    if sense == "vanishes":
        return f"{quantity} → 0"
    if sense == "tends to":
        return f"{quantity} → {entry.text('value')}"
    if sense == "ratio":
        return f"{quantity} / ({entry.text('closed_form')}) → 1"
    return f"{quantity}: {sense} {entry.word('scale', 'n')}^({entry.text('exponent')})"


def claim_of(keys: Mapping[str, Any], where: str) -> Claim:
    """Raises ClaimsError."""
    for key in ("id", "sentence", "sense"):
        if not isinstance(keys.get(key), str) or not keys[key]:
            raise ClaimsError(f"{where}: {key} is missing")
    entry = Entry(keys, f"{where} ({keys['id']})")
    if unknown := set(keys) - set(KEYS):
        raise ClaimsError(f"{entry.where}: unknown key '{min(unknown)}', allowed are {', '.join(KEYS)}")
    sense = entry.choice("sense", SENSES)
    criterion, needed = SENSES[sense]
    if sense != "identity":
        entry.need("quantity")
    name = entry.choice("quantity", quantities.QUANTITIES) if "quantity" in keys else ""
    quantity = quantities.QUANTITIES[name] if name else None
    if needed and quantity is not quantities.EXCEEDANCE:  # that quantity is a ratio by itself
        entry.need(needed, f'; sense = "{sense}" needs it')
    phases = entry.listed("phases", laws.PHASES)
    bound = entry.choice("upper_bound", quantities.QUANTITIES) if "upper_bound" in keys else ""
    value = entry.formula("value", ("c",), _EXPONENTS)
    exponent, only = entry.in_phase("exponent"), entry.in_phase("only_where_positive")

    def claimed(c: float, regime: Regime) -> float | None:
        says = only is None or (only(c, regime) or 0.0) > 0.0
        return exponent(c, regime) if exponent is not None and says else None

    return Claim(
        id=keys["id"],
        source=entry.word("source", "claims file"),
        sentence=keys["sentence"],
        formula=entry.word("formula") or _default_formula(entry, name, sense),
        regime=entry.word("regime") or ", ".join(laws.PHASES[p] for p in phases) or "all",
        norm=entry.word("norm") or (quantity.norm or quantity.words if quantity is not None else ""),
        prediction=entry.word("prediction") or entry.text(needed),
        criterion=criterion,
        applies=_applies(entry, phases, sense),
        quantity=quantity,
        upper_bound=quantities.QUANTITIES[bound] if bound else None,
        closed_form=_closed_form(entry),
        checks=entry.listed("checks"),
        selectors=entry.listed("selectors") or Claim.selectors,
        along=_along(entry, quantity),
        scale=entry.choice("scale", ("n", "log n"), "n"),
        claimed_in_phase=None if exponent is None else claimed,
        limit_in_phase=entry.in_phase("limit"),
        claimed_value=None if value is None else lambda regime: float(value(regime.coefficient)),
        ratio_margin=entry.margin(),
        lines_needed=entry.word("lines_needed", Claim.lines_needed),
    )
