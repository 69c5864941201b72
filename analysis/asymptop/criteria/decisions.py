"""From a fit and what is known of finite size to a verdict. Nothing here reads data.

A claim gives an exponent and a sense. "at most": the error is O(x^e), every fit lies at or below e. "at least": it
does not vanish faster than x^e. "equal": e is the exponent. Finite-size bias is large, so a fit over all n is not
enough: the fit without the smallest n and the slope between the two largest n have a say too. Where i.i.d. Gaussian
logits describe the data, so has the fit with their finite-size correction divided out and the exponent left free
(Correction). It can support a claim that the slopes do not reach only while it is small: a correction as large as what
it corrects leaves the claim UNDECIDED at these n, however well the limit is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..fits.exponents import PowerFit, Slope, abscissa
from ..theory.statistics import Interval
from .verdicts import Verdict

# An exponent within this share of the claimed one, and within SMALLEST_MARGIN, is too close to it to contradict it.
EXPONENT_MARGIN = 0.05
# The most of it, and all of it where the claimed exponent is 0, for powers of n and of log n.
SMALLEST_MARGIN = {"n": 0.02, "log n": 0.05}
# A ratio within this of 1 counts as 1.
RATIO_MARGIN = 0.02
# A correction may carry a claim over this much of a slope, or over this share of the claimed exponent.
TRUSTED_CORRECTION = 0.10
TRUSTED_SHARE = 1.0 / 3.0
# The exponent with a free exp(b sqrt(log n)) beside it, known this well, needs no such trust.
NARROW = 0.05
# "Bounded" and "of order 1" allow this factor beyond the largest n.
BOUNDED_FACTOR = 3.0
# A local slope this close to its limit has reached it; expectations go to n = 2^FARTHEST.
CLOSE = 0.05
FARTHEST = 960
# A smaller exponent is none; what falls by this factor beyond the data falls on.
_NO_EXPONENT, _GONE = 5e-4, 100.0


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


def _mirrored(slope: Slope) -> Slope:
    return replace(slope, value=-slope.value, interval=Interval(-slope.interval.high, -slope.interval.low))


@dataclass(frozen=True)
class Correction:
    """What i.i.d. Gaussian logits say of a line. `limit` +- `doubt` is their exponent as n grows, `slope` the exponent
    fitted to measured over expected, plus the limit; `free` the same with a free exp(b sqrt(log n)) beside it.
    `explains`: measured and expected means agree at every n. `log_end` is the logarithm of expected / x^claimed at the
    farthest n over that at the largest measured n; `log_peak` and `log_dip` its largest and smallest value on the way.
    `close_at` is the n from which the local slope of the expectation stays within CLOSE of its limit.
    """

    slope: Slope
    free: Slope | None = None
    explains: bool = False
    chi_square: float = float("nan")
    points: int = 0
    log_end: float = 0.0
    log_peak: float = 0.0
    log_dip: float = 0.0
    close_at: float | None = None
    limit: float = float("nan")
    doubt: float = 0.0
    mirrored: bool = False  # of the inverse of what was measured; `limit` never is

    @property
    def shown(self) -> Slope:
        """The exponent of what was measured."""
        return _mirrored(self.slope) if self.mirrored else self.slope

    def trusted(self, fit: PowerFit, claimed: float) -> bool:
        """Whether it is small against what was measured, or the data know the exponent without it."""
        size = abs(fit.last_slope.value - self.slope.value)
        if size <= max(TRUSTED_CORRECTION, TRUSTED_SHARE * abs(claimed)):
            return True
        return self.free is not None and self.free.interval.half_width <= NARROW

    @property
    def fit_words(self) -> str:
        return f"χ² = {self.chi_square:.3g} for {self.points} n"

    @property
    def distance_words(self) -> str:
        if self.close_at is None:
            return f"the local slope is not yet within {CLOSE} of it at n = 2^{FARTHEST}"
        return f"the local slope comes within {CLOSE} of it at n ≈ 2^{np.log2(self.close_at):.0f}"


def margin(claimed: float, scale: str = "n") -> float:
    return min(EXPONENT_MARGIN * abs(claimed), SMALLEST_MARGIN[scale]) if claimed else SMALLEST_MARGIN[scale]


def _side(interval: Interval, claimed: float, scale: str, room: float = 0.0) -> str:
    """Where an exponent's interval lies: clearly above the claimed one (slower), at or below it (reached), or open.

    An interval that holds the claimed exponent must be narrow to reach it; one that lies above by less than the
    margin is open: too close to contradict, and never support. An exponent of 0 has no "above by a little": what
    stays within the margin of it reaches it. `room` widens what an interval that holds the claimed one may reach to.
    """
    limit = claimed + margin(claimed, scale)
    if interval.low > limit:
        return "slower"
    return "reached" if interval.low <= (claimed or limit) and interval.high <= max(limit, claimed + room) else "open"


def _carried(fit: PowerFit) -> float:
    """The local slope at the square of the largest n, if the bend went on."""
    x = abscissa([p.n for p in fit.used], fit.scale)
    beyond = float(abscissa([fit.used[-1].n ** 2], fit.scale)[0])
    bend = 0.0 if fit.bend is None else fit.bend.value
    return float(fit.exponent + 2.0 * bend * (beyond - x.mean()))


def heads_for(fit: PowerFit, claimed: float) -> bool:
    """Whether a bend, carried on to the square of the largest n, would take the local slope to the claimed one."""
    if fit.bend is None or not fit.bends:
        return False
    return _carried(fit) <= claimed + margin(claimed, fit.scale)


def _bends_away(fit: PowerFit, claimed: float) -> bool:
    """Whether the slopes leave an exponent that the fit reaches: carried on, they end above it."""
    if fit.bend is None or not fit.bends or fit.bend.value < 0:
        return False
    return _carried(fit) > claimed + margin(claimed, fit.scale) and fit.last_slope.value > claimed


def _by_correction(correction: Correction, base: str, what: str) -> str:
    """Why a claim is supported though the slopes are not there."""
    value = f"{base}^{number(correction.shown.value)} (95%: {span(correction.shown.interval)})"
    return (
        f"{what} by what finite size does to i.i.d. Gaussian logits, which fit at every n ({correction.fit_words}): "
        f"with it divided out and the exponent left free, {value}"
    )


def _tends(correction: Correction, base: str) -> str:
    """What decides against a claim where the limit is not the claimed one."""
    return (
        f"i.i.d. Gaussian logits, which fit at every n ({correction.fit_words}), tend to "
        f"{base}^{number(correction.limit)}; with their finite-size behaviour divided out and the exponent left free, "
        f"{base}^{number(correction.shown.value)} (95%: {span(correction.shown.interval)})"
    )


def _open_at_these_n(correction: Correction, base: str, what: str) -> str:
    """Why a claim is open though the limit is known: what was measured, what fits it, and how far away the limit is."""
    text = (
        f"{what} at these n. I.i.d. Gaussian logits fit at every n ({correction.fit_words}) and tend to "
        f"{base}^{number(correction.limit)}"
    )
    if correction.log_peak > np.log(BOUNDED_FACTOR) and correction.log_end == correction.log_peak:
        size = correction.log_end / np.log(10.0)
        text += f" times a factor that keeps growing (by 10^{size:.1f} from here to n = 2^{FARTHEST})"
        return f"{text}, so that a constant is not enough; {correction.distance_words}"
    return f"{text}, but {correction.distance_words}: these n do not decide"


def decide_power(
    fit: PowerFit, claimed: float, correction: Correction | None = None, slower: str = "slower"
) -> tuple[Verdict, str]:
    """Verdict on error = O(x^claimed) and, when it needs words, why."""

    def side(interval: Interval) -> str:
        return _side(interval, claimed, fit.scale)

    whole, last = side(fit.interval), side(fit.last_slope.interval)
    rest = whole if fit.without_smallest is None else side(fit.without_smallest.interval)
    room = SMALLEST_MARGIN[fit.scale]
    limit = None if correction is None else _side(correction.slope.interval, claimed, fit.scale, room)
    known = correction if correction is not None and correction.explains else None
    close = claimed + (0.0 if claimed else margin(claimed, fit.scale))
    base = "n" if fit.scale == "n" else "(log n)"
    if whole == rest == "reached" and fit.last_slope.interval.low <= close and limit != "slower":
        if limit is None and _bends_away(fit, claimed):
            return Verdict.UNDECIDED, "reached over this range, yet the local slopes leave the claimed exponent"
        if limit == "open" and known is not None:
            return Verdict.UNDECIDED, f"reached over this range, yet {_tends(known, base)}, too near to decide"
        return Verdict.SUPPORTED, ""
    if limit == "reached" and known is not None:
        bounded = known.log_peak <= np.log(BOUNDED_FACTOR)
        if bounded and known.trusted(fit, claimed):
            return Verdict.SUPPORTED, _by_correction(known, base, f"{slower} over this range")
        return Verdict.UNDECIDED, _open_at_these_n(known, base, slower)
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
    if limit == "slower" and known is not None:
        if whole == rest == "reached" and not fit.bends:
            return Verdict.UNDECIDED, "reached over this range, yet i.i.d. Gaussian logits, which fit, tend elsewhere"
        return Verdict.CONTRADICTED, f"the fit alone is open; {_tends(known, base)}"
    if "open" in (whole, rest) and fit.interval.low > claimed:
        near = f"{slower} by less than {margin(claimed, fit.scale):.2g}, too close to contradict"
        return Verdict.UNDECIDED, near if claimed else f"{slower}, but not clearly"
    if "open" in (whole, rest):
        return Verdict.UNDECIDED, f"the interval does not tell the claimed exponent from {slower} ones"
    return Verdict.UNDECIDED, "the fit and the local slope at the largest n do not agree"


def decide_at_least(fit: PowerFit, claimed: float, correction: Correction | None = None) -> tuple[Verdict, str]:
    """Verdict on error >= x^claimed up to a constant: decide_power on the inverse of the error."""
    inverse = replace(
        fit,
        exponent=-fit.exponent,
        interval=Interval(-fit.interval.high, -fit.interval.low),
        local_slopes=tuple(_mirrored(s) for s in fit.local_slopes),
        without_smallest=None if fit.without_smallest is None else _mirrored(fit.without_smallest),
        bend=None if fit.bend is None else _mirrored(fit.bend),
    )
    if correction is None:
        return decide_power(inverse, -claimed, None, "faster")
    other = replace(
        correction,
        slope=_mirrored(correction.slope),
        free=None if correction.free is None else _mirrored(correction.free),
        log_end=-correction.log_end,
        log_peak=-correction.log_dip,
        log_dip=-correction.log_peak,
        mirrored=True,
    )
    return decide_power(inverse, -claimed, other, "faster")


def reach_of(claimed: float, scale: str = "n") -> float:
    """How far from a claimed exponent still counts as it: never so far that 0 does too."""
    return min(SMALLEST_MARGIN[scale], 0.25 * abs(claimed)) if claimed else SMALLEST_MARGIN[scale]


def _leaves(fit: PowerFit, claimed: float, reach: float) -> bool:
    """Whether the local slopes, carried on, end away from an exponent that the fit holds."""
    return fit.bend is not None and fit.bends and abs(_carried(fit) - claimed) > 2.0 * reach


def decide_equal(fit: PowerFit, claimed: float, correction: Correction | None = None) -> tuple[Verdict, str]:
    """Verdict on error ~ x^claimed: SUPPORTED needs intervals that hold the exponent and tell it from others."""
    reach = reach_of(claimed, fit.scale)

    def side(interval: Interval) -> str:
        if interval.low > claimed + reach or interval.high < claimed - reach:
            return "off"
        return "on" if interval.half_width <= 2.0 * reach else "open"

    rest = fit if fit.without_smallest is None else fit.without_smallest
    sides = [side(fit.interval), side(rest.interval)]
    last = side(fit.last_slope.interval)
    limit = None if correction is None else side(correction.slope.interval)
    known = correction if correction is not None and correction.explains else None
    base = "n" if fit.scale == "n" else "(log n)"
    raw = sides == ["on", "on"] and last != "off"
    if known is not None and limit == "on" and abs(known.limit - claimed) > reach + known.doubt:
        return Verdict.UNDECIDED, f"{_tends(known, base)}, too near to decide"
    if raw and limit in (None, "on"):
        if limit is None and _leaves(fit, claimed, reach):
            return Verdict.UNDECIDED, "held over this range, yet the local slopes leave the claimed exponent"
        return Verdict.SUPPORTED, ""
    if known is not None and limit == "on":
        if known.trusted(fit, claimed):
            return Verdict.SUPPORTED, _by_correction(known, base, "off over this range")
        return Verdict.UNDECIDED, _open_at_these_n(known, base, "another slope")
    if known is not None and limit == "off":
        if raw and not fit.bends:
            return Verdict.UNDECIDED, "held over this range, yet i.i.d. Gaussian logits, which fit, tend elsewhere"
        return Verdict.CONTRADICTED, _tends(known, base)
    if sides == ["off", "off"] and last == "off" and limit in (None, "off"):
        nearer = abs(fit.last_slope.value - claimed) < abs(fit.local_slopes[0].value - claimed)
        if limit is None and fit.bends and nearer:
            return Verdict.UNDECIDED, "off over this range, yet the local slopes move towards the claimed exponent"
        return Verdict.CONTRADICTED, ""
    if limit is None or limit == "on":
        return Verdict.UNDECIDED, "the intervals do not tell the claimed exponent from others"
    return Verdict.UNDECIDED, "finite size leaves the limit open"


def decide_sign(
    fit: PowerFit, falls: bool, expected_slope: float | None, far: Correction | None = None
) -> tuple[Verdict, str]:
    """Verdict on "tends to 0" (`falls`) or "does not": by the sign of the fit and of the slope at the largest n.

    `expected_slope` and `far` where i.i.d. Gaussian logits fit the data: what they do at the largest n, and beyond.
    """
    rest = fit if fit.without_smallest is None else fit.without_smallest
    intervals: tuple[Interval, ...] = (fit.interval, rest.interval, fit.last_slope.interval)
    if expected_slope is not None and expected_slope * fit.last_slope.value > 0:
        intervals = intervals[:2]  # the slope at the largest n has the sign that its expectation has
    falling, rising = all(i.high < 0 for i in intervals), all(i.low > 0 for i in intervals)
    ends = "" if far is None else _end(far)
    if (falling if falls else rising) and fit.last_slope.value * (-1 if falls else 1) > 0:
        if ends == ("levels off" if falls else "vanishes"):
            return Verdict.UNDECIDED, f"so at these n, yet the expectation of i.i.d. Gaussian logits, which fit, {ends}"
        return Verdict.SUPPORTED, ""
    if rising if falls else falling:
        same = expected_slope is not None and expected_slope * fit.last_slope.value > 0
        if (same and not ends) or (ends and ends != ("levels off" if falls else "vanishes")):
            return Verdict.UNDECIDED, "i.i.d. Gaussian logits have this sign at these n, and the other one in the limit"
        return Verdict.CONTRADICTED, ""
    if not falls and fit.last_slope.interval.high >= 0 and fit.used[-1].mean > 0.9:
        return Verdict.SUPPORTED, "all of the row's weight is lost"
    return Verdict.UNDECIDED, "the slopes change sign or their intervals hold 0"


def _end(far: Correction) -> str:
    """What the expectation does as n grows: by the sign of its exponent, by its far values where that is 0."""
    if far.limit < -far.doubt - _NO_EXPONENT:
        return "vanishes"
    if far.limit - far.doubt >= -_NO_EXPONENT:
        return "vanishes" if far.log_end < -np.log(_GONE) else "levels off"
    return "is not known"


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
