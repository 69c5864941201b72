"""Tables of the section `Selectors` on estimators: how far off their weighted denominators are."""

from __future__ import annotations

from collections.abc import Sequence

from ..criteria.estimators import FIELD, misses, promise_of
from ..fits.quantities import k_of_law
from ..io.selectors import SelectorGroup
from ..theory.statistics import binomial_interval
from .templates import prose

HEADINGS = (
    "k law",
    "selector",
    "keys kept",
    "median error",
    "95% of rows below",
    "over ε",
    "share of rows (95%)",
    "promised",
)


def rows_of_estimators(group: SelectorGroup, n: int, laws: Sequence[tuple[str, int]]) -> list[tuple[str, ...]]:
    """By law of k at one n; over heads the errors are medians of theirs, and rows are counted together."""
    rows: list[tuple[str, ...]] = []
    for law, _ in laws:
        for name in group.lines:
            cases = [case for case in group.cases_at(name, n) if law in case.k_law and case.has(FIELD)]
            if not cases:
                continue
            promise = promise_of(name)
            found = [miss for case in cases for miss in misses(case, promise.epsilon) if miss.k == k_of_law(case, law)]
            middle = sorted(found, key=lambda miss: miss.median)[len(found) // 2]
            over, count = sum(miss.over for miss in found), sum(miss.rows for miss in found)
            interval = binomial_interval(over, count)
            rows.append(
                (
                    prose(law),
                    name,
                    f"{sum(miss.kept for miss in found) / len(found):,.0f}",
                    f"{middle.median:.3g}",
                    f"{max(miss.high for miss in found):.3g}",
                    f"{promise.epsilon:g}",
                    f"{over / count:.2%} [{interval.low:.2%}, {interval.high:.2%}]",
                    "–" if promise.delta is None else f"at most {promise.delta:.0%}",
                )
            )
    return rows
