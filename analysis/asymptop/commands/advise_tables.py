"""What `advise` prints, and its records: laws of k at equal cost, selectors by bytes read, keys for a tail mass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TextIO

from ..criteria.budgets import COSTS, BudgetError, Comparison
from ..criteria.cheapest import Choice, Need
from ..criteria.decisions import power_of_two
from ..io.schema import EXACT
from ..theory.costs import bytes_words, share_words
from ..theory.sizes import count_words

HEADINGS = (
    "σ",
    "norm",
    "equal",
    "fixed k",
    "its error",
    "best law",
    "C (95%)",
    "its error",
    "change (95%)",
    "k at the lengths",
)
SELECTOR_HEADINGS = (  # behind whose keys and of what mean error
    "selector",
    "law of k",
    "C (95%)",
    "its keys at the lengths",
    "bytes read per query",
    "of exact top-k",
    "index, bytes per key",
)
NEED_HEADINGS = ("needed", "share of keys seen", "law of k", "C (95%)", "its keys")
_SHOWN = 3


def _reach(need: Need) -> str:
    if need.fit is None:
        return "–"
    found = (need.fit.exponent, need.fit.interval.low, need.fit.interval.high)
    exponent, low, high = (f"{round(value, 3) + 0.0:.3f}" for value in found)  # no -0
    text = f"{exponent} [{low}, {high}]" if math.isfinite(need.fit.interval.half_width) else exponent
    return text + (", bends" if _bends(need) else "")


def _bends(need: Need) -> bool:
    """Whether one exponent does not describe all n; fewer than three allow no bend."""
    return need.fit is not None and len(need.fit.used) >= 3 and need.fit.bends


def _law(need: Need, lengths: Sequence[int]) -> str:
    """As `asymptop study --k` takes it, where the selector takes a k."""
    if need.by_rule:
        return "its rule"
    if need.series.window_ends_growth:
        keys = need.budgets(lengths)
        return str(max(keys)) if all(map(need.series.window_cuts, lengths)) else "as listed"
    alpha, exponent = need.law(lengths)
    return f"{alpha:g}*n^{exponent:g}" if exponent else f"{min(math.ceil(alpha), int(need.series.seen(max(lengths))))}"


def _selector_row(choice: Choice, need: Need) -> tuple[str, ...]:
    spent = need.bytes_read(choice.lengths)
    exact = None if choice.exact is None else sum(choice.exact.bytes_read(choice.lengths))
    index = 0.0 if need.costs is None else need.costs.index_bytes_per_key(need.series.first.d)
    return (
        choice.title.removeprefix("σ = "),
        f"{choice.epsilon:g}",
        "score (exact top-k)" if need.selector == EXACT else need.selector,
        _law(need, choice.lengths),
        _reach(need),
        ",".join(str(k) for k in need.budgets(choice.lengths)),
        ", ".join(bytes_words(value) for value in spent),
        "–" if not exact else share_words(sum(spent) / exact),
        f"{index:g}",
    )


def _name_once(needs: Sequence[Need], stream: TextIO) -> str:
    """Where all are of heads of one file, says its name, and returns what lines may then begin without."""
    files = {need.series.first.input for need in needs}
    if len(files) != 1 or any(need.series.synthetic for need in needs):
        return ""
    print(f"{min(files)}:", file=stream)
    return f"{min(files)}, "


def print_choices(choices: Sequence[Choice], stream: TextIO) -> None:
    """The three that read least, and exact top-k."""
    lengths = ", ".join(power_of_two(n) for n in choices[0].lengths)
    name = _name_once([need for choice in choices for need in choice.ranked], stream)
    norm = choices[0].norm.words
    print(f"mean {norm} at n = {lengths}; the selector that reads least first\n", file=stream)
    rows: list[tuple[str, ...]] = [("" if name else "σ", norm, *SELECTOR_HEADINGS)]
    for choice in choices:
        shown = [need for i, need in enumerate(choice.ranked) if i < _SHOWN or need.selector == EXACT]
        found = (_selector_row(choice, need) for need in shown)
        rows += [(row[0].removeprefix(name), *row[1:]) for row in found]
    if len(rows) > 1:
        _print_rows(rows, stream)
    if any(row[3] == "its rule" for row in rows):
        print("its rule: the selector says how many keys a row keeps; keys are means over rows.", file=stream)
    for choice in choices:
        where = f"{choice.title.removeprefix(name)}, {norm} {choice.epsilon:g}"
        if choice.best is None:
            print(f"{where}: no selector gets there at all lengths within the stored k.", file=stream)
        elif choice.left_out:
            print(
                f"{where}: left out, not there within the stored k or without a formula or an order: "
                f"{', '.join(choice.left_out)}.",
                file=stream,
            )


def selector_records(choices: Sequence[Choice]) -> list[dict]:
    """One record per selector of every choice."""
    return [
        {
            "sigma_law": need.series.first.sigma_law,
            "head": need.series.first.head,
            "norm": choice.norm.name,
            "epsilon": choice.epsilon,
            "lengths": list(choice.lengths),
            "selector": need.selector,
            "alpha": need.law(choice.lengths)[0],
            "C": need.law(choice.lengths)[1],
            "C_low": None if need.fit is None or not math.isfinite(need.fit.interval.low) else need.fit.interval.low,
            "C_high": None if need.fit is None or not math.isfinite(need.fit.interval.high) else need.fit.interval.high,
            "k": need.budgets(choice.lengths),
            "by_rule": need.by_rule,
            "bytes_read": need.bytes_read(choice.lengths),
            "index_bytes_per_key": None if need.costs is None else need.costs.index_bytes_per_key(need.series.first.d),
            "best": need is choice.best,
            "draws": need.series.draws,
            "rows": need.series.rows,
        }
        for choice in choices
        for need in choice.ranked
    ]


def _change(ratio: float) -> str:
    return f"{ratio - 1.0:+.1%}" if ratio < 100.0 else f"x {ratio:.3g}"


def _row(found: Comparison) -> tuple[str, ...]:
    best, exponents = found.best, found.best_exponents
    fixed = int((found.exponents == 0).argmax())
    gain = found.interval
    change = "–"
    if found.best_exponent != 0:
        reach = f" [{_change(gain.low)}, {_change(gain.high)}]" if math.isfinite(gain.high) else ""
        change = _change(float(found.ratio[best])) + reach
    return (
        found.series.title.removeprefix("σ = "),
        found.norm.name,
        COSTS[found.cost],
        count_words(found.fixed_k),
        f"{found.error[fixed]:.4g}",
        found.law,
        f"{found.best_exponent:g}{'*' if found.at_the_edge else ''} [{exponents.low:g}, {exponents.high:g}]",
        f"{found.error[best]:.4g}",
        change,
        ",".join(str(k) for k in found.keys(best)),
    )


def _print_rows(rows: Sequence[tuple[str, ...]], stream: TextIO) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip(), file=stream)
    print(file=stream)


def print_advice(comparisons: Sequence[Comparison], windowed: int, stream: TextIO) -> None:
    """windowed: heads that were left out, as their windows are shorter than the longest length."""
    lengths = ", ".join(power_of_two(n) for n in comparisons[0].lengths)
    print(f"mean error over n = {lengths}; every law costs what the fixed k costs\n", file=stream)
    _print_rows([HEADINGS, *(_row(one) for one in comparisons)], stream)
    if any(one.at_the_edge for one in comparisons):
        print("*: the last C that could be tried; a better one may lie beyond.", file=stream)
    left = sorted({c for one in comparisons for c in one.left_out})
    if left:
        shown = ", ".join(f"{c:g}" for c in left)
        print(
            f"Left out somewhere: C = {shown}, whose k is below 1 or beyond the k that the study stored.", file=stream
        )
    if windowed:
        print(
            f"Left out: {windowed} head{'s' * (windowed > 1)} with a window shorter than the lengths; no law of n is "
            "for them, and --epsilon says how many keys of it they need.",
            file=stream,
        )


def records(comparisons: Sequence[Comparison]) -> list[dict]:
    """One record per C of every comparison."""
    return [
        {
            "sigma_law": one.series.first.sigma_law,
            "norm": one.norm.name,
            "cost": one.cost,
            "fixed_k": one.fixed_k,
            "lengths": list(one.lengths),
            "C": float(one.exponents[i]),
            "alpha": float(one.prefactor[i]),
            "k": one.keys(i),
            "mean_error": float(one.error[i]),
            "error_over_fixed": float(one.ratio[i]),
            "low": float(one.low[i]),
            "high": float(one.high[i]) if math.isfinite(one.high[i]) else None,
            "best": i == one.best,
            "draws": one.series.draws,
            "rows": one.series.rows,
        }
        for one in comparisons
        for i in range(len(one.exponents))
    ]


def _need_row(need: Need, lengths: Sequence[int]) -> tuple[str, ...] | None:
    """None where a length is beyond the n at which it gets there."""
    try:
        needed, keys, law = need.needed(lengths), need.budgets(lengths), _law(need, lengths)
    except BudgetError:
        return None
    return (
        need.series.title,
        _sees(need, lengths),
        f"{need.epsilon:g}",
        ",".join(str(k) for k in needed),
        ", ".join(share_words(k / need.series.seen(n), 3) for k, n in zip(needed, lengths, strict=True)),
        law,
        _reach(need),
        ",".join(str(k) for k in keys),
    )


def _sees(need: Need, lengths: Sequence[int]) -> str:
    return f"{need.series.first.window} keys" if need.series.window_cuts(max(lengths)) else "all keys"


def print_needs(
    needs: Sequence[Need], missing: Sequence[str], lengths: Sequence[int], norm: str, stream: TextIO
) -> None:
    """One line for each head, or law of sigma, and epsilon; then what is enough for all of them. norm: what the mean
    error is of, in words."""
    where = ", ".join(power_of_two(n) for n in lengths)
    name = _name_once(needs, stream)
    print(f"keys needed at n = {where} so that the mean {norm} is epsilon, and a law of k with", file=stream)
    print("no fewer keys at any of them; between stored k far apart keys are known to a few per cent\n", file=stream)
    if any(need.series.window_ends_growth for need in needs):
        print(
            "a head whose window ends the growth of its keys has no law of n: its keys are those needed at each\n"
            "length, its shares those of the keys that it sees there\n",
            file=stream,
        )
    rows = [(need, row) for need in needs if (row := _need_row(need, lengths)) is not None]
    if rows:
        table = [("", "sees", norm, *NEED_HEADINGS), *((row[0].removeprefix(name), *row[1:]) for _, row in rows)]
        alike = len({row[1] for _, row in rows}) == 1 and rows[0][1][1] == "all keys"
        _print_rows([(row[0], *row[2:]) for row in table] if alike else table, stream)
    if any(_bends(need) for need, _ in rows):
        print("bends: keys go like no one power of n here, and C is not how they go on\n", file=stream)
    groups: dict[tuple[float, str], list[list[int]]] = {}
    for need, row in rows:
        groups.setdefault((need.epsilon, row[1]), []).append(need.needed(lengths))
    sights = {sees for _, sees in groups}
    for (epsilon, sees), of_all in groups.items():
        if len(of_all) > 1:
            most = ",".join(str(max(keys)) for keys in zip(*of_all, strict=True))
            who = f"in all {len(of_all)} of them" + (f" that see {sees}" if len(sights) > 1 else "")
            print(f"{norm} {epsilon:g} {who}: {most} keys", file=stream)
    there = {(need.series.title, need.epsilon) for need, _ in rows}
    missing = [
        *missing,
        *(f"{n.series.title} ({n.epsilon:g})" for n in needs if (n.series.title, n.epsilon) not in there),
    ]
    if missing:
        words = ", ".join(one.removeprefix(name) for one in missing)
        print(f"not there at all lengths within the stored k (a larger --k stores more): {words}", file=stream)


def need_records(needs: Sequence[Need], lengths: Sequence[int]) -> list[dict]:
    """One record per line of the table."""
    found = []
    for need in needs:
        if _need_row(need, lengths) is None:
            continue
        case, (alpha, exponent) = need.series.first, need.law(lengths)
        found.append(
            {
                "sigma_law": case.sigma_law,
                "layer": case.layer if case.layer >= 0 else None,
                "head": case.head,
                "norm": need.norm.name,
                "epsilon": need.epsilon,
                "lengths": list(lengths),
                "alpha": alpha,
                "C": exponent,
                "k": need.budgets(lengths),
                "needed": need.needed(lengths),
                "keys_seen": [int(need.series.seen(n)) for n in lengths],
                "draws": need.series.draws,
                "rows": need.series.rows,
            }
        )
    return found
