"""From a fit and what is known of finite size to a verdict. Nothing here reads data.

A claim gives an exponent and a sense. "at most": the error is O(x^e), every fit lies at or below e. "at least": it
does not vanish faster than x^e. "equal": e is the exponent. Finite-size bias is large, so a fit over all n is not
enough: the fit without the smallest n, the slope between the two largest n, and, where i.i.d. Gaussian logits describe
the data, the exponent corrected for the known finite-size behaviour all have a say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .fits import PowerFit, Slope, abscissa
from .statistics import Interval
from .verdicts import Verdict

# An exponent within this share of the claimed one is too close to it to contradict it.
EXPONENT_MARGIN = 0.05
# The same where the claimed exponent is near 0, for powers of n and of log n.
SMALLEST_MARGIN = {"n": 0.02, "log n": 0.05}
# A ratio within this of 1 counts as 1.
RATIO_MARGIN = 0.02


def number(value: float, digits: int = 3) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.{digits}g}" if 0 < abs(value) < 1e-3 else f"{value:+.{digits}f}"


def span(interval: Interval) -> str:
    if not np.isfinite(interval.half_width):
        return "unbounded"
    return f"{number(interval.low)} to {number(interval.high)}"


def power_of_two(n: int) -> str:
    return f"2^{n.bit_length() - 1}" if n > 1 and n & (n - 1) == 0 else f"{n}"


def margin(claimed: float, scale: str = "n") -> float:
    return EXPONENT_MARGIN * abs(claimed) if claimed else SMALLEST_MARGIN[scale]


def _side(interval: Interval, claimed: float, scale: str) -> str:
    """Where an exponent's interval lies: clearly above the claimed one (slower), at or below it (reached), or open.

    An interval that holds the claimed exponent must be narrow to reach it; one that lies above by less than the
    margin is open: too close to contradict, and never support. An exponent of 0 has no "above by a little": what
    stays within the margin of it reaches it.
    """
    limit = claimed + margin(claimed, scale)
    if interval.low > limit:
        return "slower"
    return "reached" if interval.low <= (claimed or limit) and interval.high <= limit else "open"


def heads_for(fit: PowerFit, claimed: float) -> bool:
    """Whether a bend, carried on to the square of the largest n, would take the local slope to the claimed one."""
    if fit.bend is None or not fit.bends:
        return False
    x = abscissa([p.n for p in fit.used], fit.scale)
    beyond = float(abscissa([fit.used[-1].n ** 2], fit.scale)[0])
    reach = fit.exponent + 2.0 * fit.bend.value * (beyond - x.mean())
    return bool(reach <= claimed + margin(claimed, fit.scale))


def _bends_away(fit: PowerFit, claimed: float) -> bool:
    """Whether the slopes leave an exponent that the fit reaches: carried on, they end above it."""
    if fit.bend is None or not fit.bends or fit.bend.value < 0:
        return False
    x = abscissa([p.n for p in fit.used], fit.scale)
    beyond = float(abscissa([fit.used[-1].n ** 2], fit.scale)[0])
    carried = fit.exponent + 2.0 * fit.bend.value * (beyond - x.mean())
    return bool(carried > claimed + margin(claimed, fit.scale)) and fit.last_slope.value > claimed


def decide_power(
    fit: PowerFit, claimed: float, corrected: Slope | None, explained: bool = False, slower: str = "slower"
) -> tuple[Verdict, str]:
    """Verdict on error = O(x^claimed) and, when it needs words, why.

    `corrected` is the exponent in the limit; `explained` says that the finite-size expectation behind it agrees with
    the data at every n, so that a fit above the claim is a known bias and no evidence against it.
    """

    def side(interval: Interval) -> str:
        return _side(interval, claimed, fit.scale)

    whole, last = side(fit.interval), side(fit.last_slope.interval)
    rest = whole if fit.without_smallest is None else side(fit.without_smallest.interval)
    limit = None if corrected is None else side(corrected.interval)
    close = claimed + (0.0 if claimed else margin(claimed, fit.scale))
    if whole == rest == "reached" and fit.last_slope.interval.low <= close and limit != "slower":
        if limit is None and _bends_away(fit, claimed):
            return Verdict.UNDECIDED, "reached over this range, yet the local slopes leave the claimed exponent"
        return Verdict.SUPPORTED, ""
    if limit == "reached" and explained:
        return Verdict.SUPPORTED, f"{slower} over this range by just what finite size does to i.i.d. Gaussian logits"
    if whole == rest == "slower" and last != "reached" and fit.last_slope.value > claimed:
        if limit == "slower":
            return Verdict.CONTRADICTED, ""
        if limit == "reached":
            return (
                Verdict.UNDECIDED,
                f"{slower} over this range, yet i.i.d. Gaussian logits tend to the claimed exponent or beyond",
            )
        if limit == "open":
            return Verdict.UNDECIDED, f"{slower} over this range, yet the finite-size correction leaves the limit open"
        if heads_for(fit, claimed):
            return (
                Verdict.UNDECIDED,
                f"{slower} over this range, yet the local slopes move towards the claimed exponent",
            )
        return Verdict.CONTRADICTED, ""
    if limit == "slower" and explained:
        return Verdict.CONTRADICTED, "the fit alone is open; finite-size behaviour, which fits the data, decides"
    if "open" in (whole, rest) and fit.interval.low > claimed:
        near = f"{slower} by less than {EXPONENT_MARGIN:.0%}, too close to contradict"
        return Verdict.UNDECIDED, near if claimed else f"{slower}, but not clearly"
    if "open" in (whole, rest):
        return Verdict.UNDECIDED, f"the interval does not tell the claimed exponent from {slower} ones"
    return Verdict.UNDECIDED, "the fit and the local slope at the largest n do not agree"


def _mirrored(slope: Slope) -> Slope:
    return replace(slope, value=-slope.value, interval=Interval(-slope.interval.high, -slope.interval.low))


def decide_at_least(
    fit: PowerFit, claimed: float, corrected: Slope | None, explained: bool = False
) -> tuple[Verdict, str]:
    """Verdict on error >= x^claimed up to a constant: decide_power on the inverse of the error."""
    inverse = replace(
        fit,
        exponent=-fit.exponent,
        interval=Interval(-fit.interval.high, -fit.interval.low),
        local_slopes=tuple(_mirrored(s) for s in fit.local_slopes),
        without_smallest=None if fit.without_smallest is None else _mirrored(fit.without_smallest),
        bend=None if fit.bend is None else _mirrored(fit.bend),
    )
    limit = None if corrected is None else _mirrored(corrected)
    return decide_power(inverse, -claimed, limit, explained, "faster")


def decide_equal(
    fit: PowerFit, claimed: float, corrected: Slope | None, explained: bool = False
) -> tuple[Verdict, str]:
    """Verdict on error ~ x^claimed: SUPPORTED needs intervals that hold the exponent and tell it from others."""
    reach = max(margin(claimed, fit.scale), SMALLEST_MARGIN[fit.scale])

    def side(interval: Interval) -> str:
        if interval.low > claimed + reach or interval.high < claimed - reach:
            return "off"
        return "on" if interval.half_width <= 2.0 * reach else "open"

    rest = fit if fit.without_smallest is None else fit.without_smallest
    sides = [side(fit.interval), side(rest.interval)]
    last = side(fit.last_slope.interval)
    limit = None if corrected is None else side(corrected.interval)
    if explained and limit == "on":
        raw = sides == ["on", "on"] and last != "off"
        return Verdict.SUPPORTED, "" if raw else "off over this range by what finite size does to i.i.d. logits"
    if explained and limit == "off":
        return Verdict.CONTRADICTED, ""
    if sides == ["on", "on"] and last != "off" and limit in (None, "on"):
        return Verdict.SUPPORTED, ""
    if sides == ["off", "off"] and last == "off" and limit in (None, "off"):
        nearer = abs(fit.last_slope.value - claimed) < abs(fit.local_slopes[0].value - claimed)
        if limit is None and fit.bends and nearer:
            return Verdict.UNDECIDED, "off over this range, yet the local slopes move towards the claimed exponent"
        return Verdict.CONTRADICTED, ""
    if limit is None or limit == "on":
        return Verdict.UNDECIDED, "the intervals do not tell the claimed exponent from others"
    return Verdict.UNDECIDED, "finite size leaves the limit open"


def decide_sign(fit: PowerFit, falls: bool, expected_slope: float | None) -> tuple[Verdict, str]:
    """Verdict on "tends to 0" (`falls`) or "does not": by the sign of the fit and of the slope at the largest n."""
    rest = fit if fit.without_smallest is None else fit.without_smallest
    intervals = (fit.interval, rest.interval, fit.last_slope.interval)
    if expected_slope is not None and expected_slope * fit.last_slope.value > 0:
        intervals = intervals[:2]  # the slope at the largest n has the sign that its expectation has
    falling, rising = all(i.high < 0 for i in intervals), all(i.low > 0 for i in intervals)
    if (falling if falls else rising) and fit.last_slope.value * (-1 if falls else 1) > 0:
        return Verdict.SUPPORTED, ""
    if rising if falls else falling:
        same = expected_slope is not None and np.sign(expected_slope) == np.sign(fit.last_slope.value)
        if same:
            return Verdict.UNDECIDED, "i.i.d. Gaussian logits have this sign at these n, and the other one in the limit"
        return Verdict.CONTRADICTED, ""
    if not falls and fit.last_slope.interval.high >= 0 and fit.used[-1].mean > 0.9:
        return Verdict.SUPPORTED, "all of the row's weight is lost"
    return Verdict.UNDECIDED, "the slopes change sign or their intervals hold 0"


def decide_ratio(deviations: Sequence[float], last: Interval, reach: float = RATIO_MARGIN) -> tuple[Verdict, str]:
    """Verdict on ratio -> 1, from measured/predicted - 1 at each n in turn and the interval at the largest n."""
    if last.low >= -reach and last.high <= reach:
        return Verdict.SUPPORTED, ""
    if last.low <= reach and last.high >= -reach:
        return Verdict.UNDECIDED, f"the interval reaches beyond {reach:.0%} of 1"
    sizes = np.abs(deviations)
    if len(sizes) < 2:
        return Verdict.UNDECIDED, "one n cannot tell a limit from a finite-size bias"
    if sizes[-1] < sizes[-2] and sizes[-1] < sizes[0]:
        return Verdict.UNDECIDED, "the ratio still moves towards 1 as n grows"
    return Verdict.CONTRADICTED, ""
