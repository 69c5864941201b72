"""The section `Selectors` of the report: what each keeps and costs, beside exact top-k; nothing without such cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..claims.registry import SELECTOR_CLAIMS, judge
from ..claims.verdict_table import short
from ..criteria.decisions import power_of_two
from ..criteria.least_read import what_to_use
from ..criteria.verdicts import Judgement
from ..figures.captions import SELECTORS, SELECTORS_NO_ORDER
from ..figures.drawing import Drawing, RenderedFigure, draw_plots
from ..figures.selectors import BUILDERS
from ..fits.exponents import FitError, Point, fit_power
from ..fits.quantities import K_EPSILON, RECALL, REGRET, TAIL_MASS, Quantity, k_of_law, points, points_of_law
from ..io.reader import Case
from ..io.schema import EXACT
from ..io.selectors import SelectorGroup
from ..io.series import Series
from ..theory.costs import bytes_words, dense_bytes, share_words
from .estimators import HEADINGS, rows_of_estimators
from .page import Section, figure_blocks
from .templates import prose, render

ANCHOR, TITLE = "selectors", "Selectors"
_AT_LAWS = (
    *("k law", "selector", "keys kept", "tail mass", "regret", "recall"),
    *("exponent of regret in n (95%)", "bytes read"),
)
_NEEDED = ("ε", "selector", "k_ε", "share of keys seen", "its exponent C in n (95%)", "bytes read")
_COSTS = ("selector", "with", "index, bytes per key", "bytes read", "operations", "")


def _exponent(members: Sequence[Series], measured: Callable[[Series], list[Point]]) -> str:
    """With its interval; over heads the median and the reach of 10 to 90% of them. None of rows that see no more as n
    grows."""
    fits = []
    for series in members:
        if series.window_ends_growth:
            continue
        try:
            fits.append(fit_power(measured(series)))
        except FitError:
            continue
    if not fits:
        return "–"
    low, value, high = fits[0].interval.low, fits[0].exponent, fits[0].interval.high
    if len(members) > 1:
        low, value, high = np.percentile([fit.exponent for fit in fits], (10.0, 50.0, 90.0))
    return f"{short(value)} [{short(low)}, {short(high)}]" if np.isfinite(high - low) else short(value)


def _number(cases: Sequence[Case], quantity: Quantity, k: int | float) -> tuple[float, str]:
    """Mean and its words, with the standard error over draws; the median over heads."""
    means = [Point(case.n, quantity.draw_values(case, k), paired=case.paired) for case in cases]
    value = float(np.median([point.mean for point in means]))
    error = means[0].error if len(means) == 1 else 0.0
    words = f"{value:,.0f}" if value >= 1000.0 else f"{value:.4g}"
    if not np.isfinite(error) or error <= 0.0:
        return value, words
    return value, f"{words} ± {error:,.0f}" if error >= 10.0 else f"{words} ± {error:.1g}"


def _bytes(group: SelectorGroup, selector: str, n: int, keys: float) -> str:
    costs = group.costs(selector)
    return "–" if costs is None else bytes_words(costs.bytes_read(group.seen(n), group.d, keys))


def _laws_of(group: SelectorGroup, n: int) -> list[tuple[str, int]]:
    """Laws of k at the largest n, with their k, but for those that keep all keys."""
    found = {law: k_of_law(c, law) for name in group.lines for c in group.cases_at(name, n) for law in c.k_law}
    return sorted(((law, k) for law, k in found.items() if k < group.seen(n)), key=lambda pair: pair[1])


def _rows_at_laws(group: SelectorGroup, n: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for law, k in _laws_of(group, n):
        found = []
        for name, members in group.lines.items():
            cases = [case for case in group.cases_at(name, n) if law in case.k_law]
            if not cases:
                continue
            kept = float(k)
            regret, recall, exponent = "0", "1", "–"
            if name != EXACT:
                kept = float(np.median([case.draw_means("kept")[:, case.k_index(k)].mean() for case in cases]))
                regret, recall = (
                    _number(cases, quantity, k)[1] if all(map(quantity.present, cases)) else "–"
                    for quantity in (REGRET, RECALL)
                )
                exponent = _exponent(members, partial(points_of_law, quantity=REGRET, law=law))
            tail, words = _number(cases, TAIL_MASS, k)
            row = (prose(law), name, f"{kept:,.0f}", words, regret, recall, exponent, _bytes(group, name, n, kept))
            found.append((tail, row))
        rows += [row for _, row in sorted(found, key=lambda pair: pair[0])]
    return rows


def _rows_needed(group: SelectorGroup, n: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for epsilon in sorted({e for members in group.lines.values() for s in members for e in s.epsilons}, reverse=True):
        found = []
        for name, members in group.lines.items():
            cases = [case for case in group.cases_at(name, n) if epsilon in case.epsilon and K_EPSILON.present(case)]
            if not cases:
                continue
            keys, words = _number(cases, K_EPSILON, epsilon)
            exponent = _exponent(members, partial(points, quantity=K_EPSILON, parameter=epsilon))
            row = (
                f"{epsilon:g}",
                name,
                words,
                share_words(keys / group.seen(n), 3),
                exponent,
                _bytes(group, name, n, keys),
            )
            found.append((keys, row))
        rows += [row for _, row in sorted(found, key=lambda pair: pair[0])]
    return rows


def _cost_tables(groups: Sequence[SelectorGroup]) -> list[tuple[str, tuple[str, ...], list[tuple]]]:
    """One for every width of keys and of values: formulas, and their values at the largest n and the last law of k."""
    tables: list[tuple[str, tuple[str, ...], list[tuple]]] = []
    for d, d_v in sorted({(group.d, group.d_v) for group in groups}):
        of_d = [group for group in groups if (group.d, group.d_v) == (d, d_v)]
        dense, width = ("2·n·(d + v)", f"d = {d}, v = {d_v}") if d_v else ("4·n·d", f"d = {d}")
        n = max(group.seen(group.largest_n) for group in of_d)
        k = max((k for group in of_d for _, k in _laws_of(group, n)), default=n)
        rows: list[tuple] = [
            (
                "dense attention",
                "",
                "0",
                prose(f"{dense} = {bytes_words(dense_bytes(n, d, d_v))}"),
                prose(f"{dense} = {dense_bytes(n, d, d_v):.3g}"),
                "",
            )
        ]
        for name in dict.fromkeys([EXACT, *(name for group in of_d for name in group.lines)]):
            costs = next((group.costs(name) for group in of_d if name in group.lines), of_d[0].costs(name))
            if costs is None:
                rows.append((name, "", "–", "–", "–", "no formula"))
                continue
            values = (
                f"{costs.index_bytes_per_key(d):g}",
                bytes_words(costs.bytes_read(n, d, k)),
                f"{costs.flops(n, d, k):.3g}",
            )
            cells = (
                value if words == value else f"{words} = {value}"
                for words, value in zip(costs.words, values, strict=True)
            )
            rows.append((name, costs.with_words, *map(prose, cells), costs.formulas.note))
        caption = (
            f"Per query and head at n = {power_of_two(n)}, {width} and {k:,} keys kept; elements of keys and values "
            "take two bytes, a multiplication with its addition is two operations. In a window n is what a row "
            "sees."
        )
        tables.append((caption, _COSTS, rows))
    return tables


def draw_selectors(groups: Sequence[SelectorGroup], folder: Path | None) -> Drawing:
    return draw_plots([partial(build, groups) for build in BUILDERS if groups], folder)


def judge_selectors(lines: Sequence[Series]) -> tuple[Judgement, ...]:
    """Verdicts on the claims about selectors; none where the file has no case of one."""
    return judge(lines, SELECTOR_CLAIMS) if any(one.selector != EXACT for one in lines) else ()


def selectors_section(
    lines: Sequence[Series],
    groups: Sequence[SelectorGroup],
    judgements: Sequence[Judgement],
    figures: Sequence[RenderedFigure],
    number: int,
) -> tuple[Section, ...]:
    """`lines`: all of a file; nothing where it has exact top-k alone. `groups`: selector_groups() of them. `number` is
    that of the first figure."""
    others = [case for one in lines if one.selector != EXACT for case in (*one.cases, *one.invalid)]
    if not others:
        return ()
    findings = what_to_use(groups)
    tables = []
    for group in groups:
        n = group.largest_n
        at = f"at n = {power_of_two(n)}"
        heads = max(map(len, group.lines.values()))
        over = f"; medians over {heads} heads" if heads > 1 else ""
        tables.append(
            (
                group.words,
                (
                    f"What each selector keeps {at}, by law of k, the smallest tail mass first{over}",
                    _AT_LAWS,
                    _rows_at_laws(group, n),
                ),
                (
                    f"Keys that a row needs for a tail mass of ε {at}, the fewest first{over}",
                    _NEEDED,
                    _rows_needed(group, n),
                ),
                (
                    f"How far off the weighted denominator of estimators is {at}: |D̂/D − 1| over rows",
                    HEADINGS,
                    rows_of_estimators(group, n, _laws_of(group, n)),
                ),
            )
        )
    body = render(
        "selectors",
        anchor=ANCHOR,
        title=TITLE,
        words=SELECTORS,
        findings=findings,
        no_order=SELECTORS_NO_ORDER if any(group.synthetic for group in groups) else "",
        blocks=figure_blocks(list(enumerate(figures, start=number))),
        groups=tables,
        judgements=judgements,
        costs=_cost_tables(groups),
        invalid=[case for case in others if not case.valid],
        count=len(others),
    )
    return (Section(ANCHOR, TITLE, body),)
