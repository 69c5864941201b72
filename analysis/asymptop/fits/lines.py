"""Lines of a series that a claim is tested along: a k law, an epsilon, a threshold, or the quantity itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from ..io.reader import Case
from ..io.series import Series
from ..theory import laws
from .exponents import Point
from .quantities import Parameter, Quantity, has_parameter, k_of_law, keys_of

_FAR_PROBES = tuple(2.0**e for e in (10, 20, 40, 80, 160, 320, 640, 1000))
_SLOW = 0.02
# A law that is o(log n) says something once k is this small a share of n.
SMALL_SHARE = 1.0 / 16.0


@dataclass(frozen=True)
class Line:
    """`exponent` is C of k = alpha n^C, or of k = alpha (log n)^C for a slow law, else NaN.

    `parameter_at(n)` is the k, epsilon or threshold at any n, for the expectation beyond the data.
    """

    label: str
    exponent: float
    parameter_of: Callable[[Case], Parameter]
    parameter_at: Callable[[float], Parameter]
    law: str = ""
    slow: bool = False

    def points(self, series: Series, quantity: Quantity) -> list[Point]:
        """One point per n. A k clipped to n, where the error is 0, is kept out of every logarithm."""
        found = []
        for case in series.cases:
            if not quantity.present(case) or (self.law and self.law not in case.k_law):
                continue
            parameter = self.parameter_of(case)
            if self.law or has_parameter(case, quantity, parameter):
                values = quantity.draw_values(case, parameter)
                found.append(Point(case.n, values, quantity.power, self._excluded(case, parameter), case.paired))
        return found

    def _excluded(self, case: Case, parameter: Parameter) -> str:
        if not self.law:
            return ""
        if keys_of(parameter) >= case.n:
            return "k = n"
        return "k is no small share of n" if self.slow and keys_of(parameter) > SMALL_SHARE * case.n else ""


def _k_line(law: str, exponent: float, slow: bool = False) -> Line:
    return Line(
        law,
        exponent,
        lambda case: k_of_law(case, law),
        lambda n: max(1.0, math.floor(laws.evaluate(law, n) + 0.5)),
        law,
        slow,
    )


def power_laws(series: Series) -> list[Line]:
    """k = alpha n^C with 0 < C < 1; an exponent below 0.02 is a constant k for every n that can be measured."""
    found = []
    for law in series.k_laws:
        power = laws.power_law(law)
        if power is not None and _SLOW <= power.exponent < 1.0:
            found.append(_k_line(law, power.exponent))
    return found


def every_law(series: Series) -> list[Line]:
    """All k laws of a series; C is the exponent of those that are powers of n, else NaN."""
    found = []
    for law in series.k_laws:
        power = laws.power_law(law)
        found.append(_k_line(law, math.nan if power is None else power.exponent))
    return found


def _slowness(law: str) -> float | None:
    """The power of log n of a law that is o(log n), 0 for a constant; None for any other law."""
    power = laws.power_law(law)
    if power is not None:
        return 0.0 if power.exponent == 0.0 else None
    try:
        values = [laws.evaluate(law, n) for n in _FAR_PROBES]
    except laws.LawError:
        return None
    logs = [math.log(n) for n in _FAR_PROBES]
    shares = [value / log_n for value, log_n in zip(values, logs, strict=True)]
    falling = all(b < a * (1.0 - 1e-9) for a, b in pairwise(shares))
    if min(values) <= 0 or not falling or shares[-1] > 0.5 * shares[0]:
        return None
    return math.log(values[-1] / values[-2]) / math.log(logs[-1] / logs[-2])


def slow_laws(series: Series) -> list[Line]:
    """k = o(log n): a constant, sqrt(log n), log n / log log n."""
    slow = {law: _slowness(law) for law in series.k_laws}
    return [_k_line(law, power, True) for law, power in slow.items() if power is not None]


def itself(series: Series) -> list[Line]:
    """The one line of a quantity without a parameter."""
    return [Line("", math.nan, lambda case: None, lambda n: None)]


def at_thresholds(wanted: Callable[[str], bool]) -> Callable[[Series], list[Line]]:
    """Lines of count_p_above at the thresholds of the file that are wanted."""

    def lines(series: Series) -> list[Line]:
        return [_threshold_line(text) for text in series.thresholds if wanted(text)]

    return lines


def _threshold_line(text: str) -> Line:
    return Line(f"p > {text}", math.nan, lambda case: text, lambda n: text)


def at_epsilons(series: Series) -> list[Line]:
    return [epsilon_line(epsilon) for epsilon in series.epsilons]


def epsilon_line(epsilon: float) -> Line:
    return Line(f"ε = {epsilon:g}", math.nan, lambda case: epsilon, lambda n: epsilon)
