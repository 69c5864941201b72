"""What each head of a model needs: keys for a tail mass as its context grows, sigma, and what the first keys weigh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..fits.exponents import PowerFit
from ..io.reader import Case
from ..io.series import Series
from ..theory.costs import share_words
from ..theory.statistics import Array
from .cheapest import Need, need_of
from .decisions import power_of_two

# Weight of the first keys of the context, where files have it.
SINK = "first_keys_mass"


@dataclass(frozen=True, eq=False)
class HeadNeed:
    """One head of one layer at one tail mass; of the rows with all keys that the model lets them see."""

    series: Series
    epsilon: float

    @property
    def layer(self) -> int:
        return self.series.first.layer

    @property
    def head(self) -> int:
        return self.series.first.head

    @property
    def last(self) -> Case:
        return self.series.cases[-1]

    @cached_property
    def row_keys(self) -> Array:
        """k_epsilon of every row at the largest n."""
        at = int(np.argmin(np.abs(self.last.epsilon - self.epsilon)))
        return self.last.values("k_epsilon")[:, :, at].astype(float).ravel()

    @cached_property
    def need(self) -> Need | None:
        """One budget for all rows of a length, so that their mean tail mass is epsilon."""
        found = need_of(self.series, self.epsilon)
        return found if found is not None and found.points[-1].n == self.last.n else None

    @property
    def keys(self) -> float:
        """Of that budget at the largest n; NaN where neither stored k nor epsilons reach it."""
        return math.nan if self.need is None else self.need.points[-1].mean

    @property
    def whole_keys(self) -> float:
        """The same as a number of keys that is enough."""
        return float(np.ceil(np.maximum(self.keys - 1e-9, 0.0)))

    @property
    def seen(self) -> int:
        """Keys that a row sees at the largest n, at most."""
        return self.last.seen

    @property
    def rough(self) -> bool:
        """Whether the budget lies between stored k that are over a factor of two apart, or beyond the last: where it is
        interpolated through the rows' k_epsilon, and known to a few per cent."""
        if not math.isfinite(self.keys) or self.keys == 0.0:
            return False
        above = int(np.searchsorted(self.last.k, self.keys))
        return above in (0, len(self.last.k)) or self.last.k[above] > 2 * self.last.k[above - 1]

    @property
    def straight(self) -> bool | None:
        """Whether one exponent describes all n of the fit; None where fewer than three allow no bend."""
        return None if self.fit is None or len(self.fit.used) < 3 else not self.fit.bends

    @property
    def fit(self) -> PowerFit | None:
        """alpha n^C of that budget; None where fewer than two n allow one, or a window ends the growth."""
        return None if self.need is None else self.need.fit

    @property
    def exponent(self) -> float:
        return math.nan if self.fit is None else self.fit.exponent

    @property
    def sink(self) -> float:
        """Mean weight of the first keys at the largest n; NaN where the file does not have it."""
        return float(self.last.draw_means(SINK).mean()) if self.last.has(SINK) else math.nan

    @cached_property
    def sink_comes_last(self) -> tuple[float, float] | None:
        """Weights of the first keys at the two largest n, where contexts that end anywhere hold a text's first keys,
        and a sink with them, at the largest alone: keys needed at other n are then those of a model without it."""
        cases = [case for case in self.series.cases if case.has(SINK)]
        if self.last.contexts != "places" or self.last.window or len(cases) < 2:
            return None
        before, last = (float(case.draw_means(SINK).mean()) for case in cases[-2:])
        return (before, last) if last > max(3.0 * before, 0.05) else None

    @cached_property
    def output_error(self) -> tuple[int, float] | None:
        """The smallest stored k that is no less than `keys`, and the median relative error of the output there."""
        known = math.isfinite(self.keys) and self.keys > 0.0
        at = int(np.searchsorted(self.last.k, self.keys)) if known else len(self.last.k)
        if at == len(self.last.k) or not self.last.has("output_error_relative"):
            return None
        return int(self.last.k[at]), float(np.median(self.last.values("output_error_relative")[:, :, at]))


def heads_of(series: Sequence[Series], epsilon: float) -> tuple[HeadNeed, ...]:
    """Heads of tensor files that have this epsilon, by layer; contexts without their first keys are left out."""
    return tuple(
        HeadNeed(one, epsilon)
        for one in series
        if one.cases and not one.synthetic and not one.first.drop_first and epsilon in one.cases[-1].epsilon
    )


def epsilons_of(series: Sequence[Series]) -> tuple[float, ...]:
    """Tail masses that rows of tensor files were asked for, the largest first."""
    return tuple(sorted({e for one in series if one.cases and not one.synthetic for e in one.epsilons}, reverse=True))


def _name(one: HeadNeed) -> str:
    return f"layer {one.layer} head {one.head}" if one.layer >= 0 else f"head {one.head}"


def _findings_of(heads: Sequence[HeadNeed], who: str) -> list[str]:
    """What to use, and what grows how, in a few sentences. who: begins them, of which heads they are."""
    n, epsilon = max(one.last.n for one in heads), heads[0].epsilon
    there = [one for one in heads if one.last.n == n and np.isfinite(one.keys)]
    article = "a" if who else "A"
    where = f"{who}{article} mean tail mass of {epsilon:g} at n = {power_of_two(n)}"
    if not there:
        return [f"{where} is not reached by any head within the stored k: give --k larger laws, or --epsilon."]
    keys = np.array([one.whole_keys for one in there])
    most = max(there, key=lambda one: one.keys)
    half = np.ceil(np.median(keys))
    sentences = [
        f"{where} takes {half:,.0f} keys in the median of {len(there)} head{'s' * (len(there) > 1)} "
        f"({share_words(float(np.median([one.whole_keys / one.seen for one in there])), 3)} of those that a row sees)"
        + (f", from {keys.min():,.0f} to {keys.max():,.0f} ({_name(most)})." if len(there) > 1 else ".")
    ]
    if none := sum(one.keys == 0.0 for one in there):
        sentences[0] += f" {none} of them need{'s' * (none == 1)} none: learned sinks leave keys less than that."
    if len(there) >= 10:
        sentences[0] += f" {np.ceil(np.percentile(keys, 90.0)):,.0f} are enough for nine heads in ten."
    if any(one.rough for one in there):
        sentences[0] += (
            " Some (≈ in the table of heads) lie between stored k far apart, and are known to a few per cent."
        )
    late = [one.sink_comes_last for one in heads if one.sink_comes_last is not None]
    if late:
        before, last = np.median(np.array(late), axis=0)
        sentences.append(
            f"{who}{'o' if who else 'O'}nly the longest contexts begin where their texts do: in {len(late)} heads the "
            f"first keys weigh {last:.2g} there and {before:.2g} at the n before, and growth over n is that of a sink "
            "out of sight. Capture several texts or places, and take --contexts starts."
        )
    if most.last.window == 0 and most.keys > 0.0 and most.need is not None and most.need.fit is not None:
        alpha, exponent = most.need.law([point.n for point in most.need.points])
        reach = f"{power_of_two(most.need.points[0].n)} to {power_of_two(n)}"
        sentences.append(f"{who}k = {alpha:g}·n^{exponent:g} is enough for the head that needs most at n = {reach}.")
    fitted = [one for one in there if one.fit is not None and one.last.window == 0]
    if fitted:
        exponents = np.array([one.exponent for one in fitted])
        below = sum(one.fit is not None and one.fit.interval.high < 1.0 for one in fitted)
        bent = sum(one.straight is False for one in fitted)
        sentences.append(
            f"{who}{'t' if who else 'T'}he keys needed grow like n^C with C = {np.median(exponents):.2f} in the median "
            f"head ({exponents.min():.2f} to {exponents.max():.2f}); C is below 1, with its 95% interval, in {below} "
            f"of {len(fitted)}, and in {bent} the line bends: there no single exponent describes these n."
        )
    return sentences


def _findings_by_window(heads: Sequence[HeadNeed]) -> list[list[str]]:
    """Heads that see all keys up to their own apart from those with a window, which no context makes longer."""
    by_window: dict[int, list[HeadNeed]] = {}
    for one in heads:
        by_window.setdefault(one.last.window, []).append(one)
    if set(by_window) == {0}:
        return [_findings_of(heads, "")]
    return [
        _findings_of(some, f"In a window of {window:,} keys, " if window else "Where heads see all keys, ")
        for window, some in sorted(by_window.items())
    ]


def finding_words(heads: Sequence[HeadNeed]) -> list[str]:
    return [sentence for sentences in _findings_by_window(heads) for sentence in sentences]


def finding_words_in_short(heads: Sequence[HeadNeed]) -> list[str]:
    """What heads need, of every window; then all of those that see all keys, or have the shortest window."""
    found = _findings_by_window(heads)
    return [sentences[0] for sentences in found] + found[0][1:]
