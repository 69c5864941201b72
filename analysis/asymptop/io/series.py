"""Series: the cases that differ in n only, in ascending n. Every fit, claim and line of a plot belongs to one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..theory import laws
from .reader import Case, ResultsError
from .schema import EXACT, OPTIONAL

# What two cases must share to be points of one line, with the word used for it in titles.
_IDENTITY = {
    "input": "input",
    "layer": "layer",
    "head": "head",
    "sigma_law": "σ",
    "d": "d",
    "row_sigma": "row σ",
    "weights": "W",
    "self_key": "self",
    "mask": "mask",
    "window": "window",
    "drop_first": "first keys left out",
    "contexts": "contexts",
    "seed": "seed",
    "selector": "selector",
}

# Inputs whose rows have Gaussian logits: measured over keys, or simulated without them.
SIMULATED = "simulated"
SIMULATED_MARK = f", {SIMULATED}"
GAUSSIAN_INPUTS = ("gaussian", SIMULATED)
# The law of sigma of tensors from a file.
_MEASURED = "measured"


@dataclass(frozen=True, eq=False)
class Series:
    """VALID cases of one line in ascending n; INVALID ones kept apart, to be shown and never fitted."""

    identity: dict[str, str | int]
    cases: tuple[Case, ...]
    invalid: tuple[Case, ...]
    regime: laws.Regime
    title: str
    exact: Series | None = None  # of another selector: the line of exact top-k over the same rows

    def __repr__(self) -> str:
        return f"<Series {self.title}: n = {', '.join(str(case.n) for case in self.cases)}>"

    @property
    def selector(self) -> str:
        """Which keys are kept, as `study --selectors` has it; `score` is exact top-k."""
        return str(self.identity["selector"])

    @property
    def first(self) -> Case:
        return (self.cases or self.invalid)[0]

    @property
    def window_ends_growth(self) -> bool:
        """Whether rows at the largest n see fewer keys than there are: laws in n are none of theirs."""
        return bool(self.cases) and self.window_cuts(self.cases[-1].n)

    def window_cuts(self, n: int) -> bool:
        """Whether rows of a context of n have a window that is shorter."""
        return 0 < self.first.window < n

    def seen(self, n: float) -> float:
        """Keys that a row sees of a context of n, at most."""
        return min(n - self.first.drop_first, self.first.window or n)

    @property
    def synthetic(self) -> bool:
        """Whether sigma follows a law: made keys of any distribution, or simulated rows; not tensors from a file."""
        return self.first.sigma_law != _MEASURED

    @property
    def gaussian(self) -> bool:
        return self.first.input in GAUSSIAN_INPUTS

    @property
    def predictable(self) -> bool:
        """Whether i.i.d. Gaussian logits may describe the rows: the query is not among the keys, nothing is masked.

        Those of other inputs are only nearly Gaussian, or not at all: the expectation is used where it fits. It is that
        of exact top-k.
        """
        return (
            self.selector == EXACT and self.synthetic and self.first.mask == "none" and self.first.self_key == "exclude"
        )

    @property
    def k_laws(self) -> tuple[str, ...]:
        """Every k law of the series, in the order of its k at the largest n."""
        largest: dict[str, int] = {}
        for case in self.cases:
            largest.update(zip(case.k_law, case.k_of_law.tolist(), strict=True))
        return tuple(sorted(largest, key=lambda law: (largest[law], law)))

    @property
    def epsilons(self) -> tuple[float, ...]:
        return tuple(sorted({float(e) for case in self.cases for e in case.epsilon}, reverse=True))

    @property
    def thresholds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(t for case in self.cases for t in case.threshold))

    @property
    def draws(self) -> int:
        return min(case.draws for case in self.cases)

    @property
    def rows(self) -> int:
        """Rows measured at one n, over all draws: the fewest over n."""
        return min(case.draws * case.rows for case in self.cases)


def _title(identity: dict[str, str | int], varying: set[str], plain: bool) -> str:
    parts = []
    if identity["sigma_law"] != _MEASURED:
        law = str(identity["sigma_law"])
        parts.append(f"σ = {law}" if plain else f"σ = {laws.to_tex(law)}")
        if identity["input"] not in GAUSSIAN_INPUTS or ("input" in varying and identity["input"] == SIMULATED):
            parts.append(str(identity["input"]))
    else:
        parts.append(str(identity["input"]))
        parts += [f"{name} {identity[name]}" for name in ("layer", "head") if int(identity[name]) >= 0]
    for name in ("d", "row_sigma", "weights", "self_key", "mask", "window", "drop_first", "contexts", "seed"):
        if name in varying and identity[name] != OPTIONAL.get(name):
            parts.append(f"{_IDENTITY[name]} = {identity[name]}")
    if identity["selector"] != EXACT:
        parts.append(str(identity["selector"]))
    return ", ".join(parts)


def marked_simulated(series: Sequence[Series]) -> tuple[Series, ...]:
    """Simulated series under a title that tells them from measured ones of the same law."""
    return tuple(s if s.title.endswith(SIMULATED_MARK) else replace(s, title=s.title + SIMULATED_MARK) for s in series)


def group_series(cases: Sequence[Case]) -> tuple[Series, ...]:
    """Cases as lines in n: one Series per input, law of sigma, head dimension, mask, seed and selector.

    Exact top-k comes first; among its lines Gaussian inputs, by sigma at their largest n; heads of one file stay
    together. Raises ResultsError where two cases of a line have the same n.
    """
    groups: dict[tuple, list[Case]] = defaultdict(list)
    for case in cases:
        groups[tuple(getattr(case, name) for name in _IDENTITY)].append(case)
    for members in groups.values():
        if len({case.n for case in members}) < len(members):
            raise ResultsError(f"cases '{members[0].id}' and others differ in nothing that tells their lines apart")
    varying = {name for i, name in enumerate(_IDENTITY) if len({key[i] for key in groups}) > 1}
    series = []
    for key, members in groups.items():
        members.sort(key=lambda case: (case.n, case.id))
        last = members[-1]
        identity = dict(zip(_IDENTITY, key, strict=True))
        series.append(
            Series(
                identity,
                tuple(c for c in members if c.valid),
                tuple(c for c in members if not c.valid),
                laws.regime_of(last.sigma_law, last.sigma, last.n),
                _title(identity, varying, plain=True),
            )
        )
    exact = {rows_of(s): s for s in series if s.selector == EXACT}
    series = [s if s.selector == EXACT else replace(s, exact=exact.get(rows_of(s))) for s in series]
    series.sort(
        key=lambda s: (
            s.selector != EXACT,
            not s.synthetic,
            s.first.input != "gaussian",
            s.first.input,
            s.first.layer,
            s.first.head,
            s.first.d,
            (s.cases or s.invalid)[-1].sigma,
        )
    )
    return tuple(series)


def rows_of(series: Series) -> tuple:
    """What lines of several selectors share."""
    return tuple(value for name, value in series.identity.items() if name != "selector")


def exact_series(series: Sequence[Series]) -> tuple[Series, ...]:
    """The lines of exact top-k, which is what claims and figures are about unless they name another selector."""
    return tuple(one for one in series if one.selector == EXACT)


@dataclass(frozen=True, eq=False)
class Panel:
    """Series drawn together: one synthetic series, or all heads of one tensor file."""

    title: str
    members: tuple[Series, ...]

    @property
    def first(self) -> Series:
        return self.members[0]


def group_panels(series: Sequence[Series]) -> tuple[Panel, ...]:
    """Heads of a file share a panel; every synthetic series has its own. Series without a VALID case are left out."""
    groups: dict[tuple, list[Series]] = defaultdict(list)
    shown = [s for s in series if s.cases]
    for one in shown:
        groups[tuple(value for name, value in one.identity.items() if name not in ("layer", "head"))].append(one)
    varying = {name for name in _IDENTITY if len({s.identity[name] for s in shown}) > 1}
    panels = []
    for members in groups.values():
        identity = dict(members[0].identity)
        if len(members) > 1:
            identity["layer"] = identity["head"] = -1
        title = _title(identity, varying, plain=False)
        panels.append(Panel(f"{title}, {len(members)} heads" if len(members) > 1 else title, tuple(members)))
    return tuple(panels)
