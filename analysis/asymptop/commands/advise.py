"""`advise`: the best law of k for your own context lengths, at the cost of a fixed k, from one results file; or the
selector that reads least."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from ..criteria.budgets import COSTS, NORMS, BudgetError, Comparison, compare_laws
from ..criteria.cheapest import Choice, Need, cheapest
from ..criteria.decisions import power_of_two
from ..io.output_target import check_no_input
from ..io.reader import EXACT, ResultsError, open_results
from ..io.selectors import side_by_side
from ..io.series import Series, exact_series, group_series
from ..theory import laws
from ..theory.costs import bytes_words, share_words
from ..theory.law_grammar import number
from ..theory.sizes import SizeError, expand, parse_size

EXIT_OK = 0
EXIT_USAGE = 2
DESCRIPTION = """\
Compares k = alpha n^C with a fixed k at equal cost over a set of context lengths, for C from -0.5 to 1, in every norm,
and prints the law with the smallest mean error. The cost is the sum of k over the lengths (keys selected, rows of V
read) or the sum of n k. The error at any k is interpolated between the k that the study stored; intervals are a
bootstrap over draws.

With --selectors, of a study --selectors: the selector, and its law of k, that reads the fewest bytes per query and head
while the mean tail mass stays at epsilon or below at every length. Bytes are from formulas, which the report prints.
"""
EPILOG = """\
examples:
  python3 -m asymptop advise results.h5 --budget 64
  python3 -m asymptop advise results.h5 --budget 64,256 --lengths 4096,16384,65536 --norm tail_mass --cost k
  python3 -m asymptop advise results.h5 --selectors --epsilon 0.1,0.01 --lengths 4096,2^16
"""
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
SELECTOR_HEADINGS = (
    "σ",
    "tail mass",
    "selector",
    "law of k",
    "C (95%)",
    "keys at the lengths",
    "bytes read per query",
    "of exact top-k",
    "index, bytes per key",
)
_SHOWN = 3


class UsageError(ValueError):
    """A bad option, in one line."""


def add_parser(subparsers: argparse._SubParsersAction, summary: str) -> None:
    parser = subparsers.add_parser(
        "advise",
        help=summary,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [norm.name for norm in NORMS]
    parser.add_argument("results", type=Path, help="results file of a study")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--budget", metavar="LIST", help="cost, as the fixed k of every length: 64 or 64,256")
    what.add_argument("--selectors", action="store_true", help="which selector reads least for a tail mass of epsilon")
    parser.add_argument(
        "--epsilon", metavar="LIST", help="tail mass allowed, with --selectors: 0.1,0.01 (default: those of the file)"
    )
    parser.add_argument(
        "--lengths", metavar="LIST", help="your context lengths: 4096,2^14 (default: the n of the file)"
    )
    parser.add_argument("--norm", metavar="LIST", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--cost", choices=tuple(COSTS), help="equal sum of k, or of n*k (default: both)")
    parser.add_argument("--sigma", metavar="LAW", help="only series of this law of σ (default: all)")
    parser.add_argument("--json", metavar="FILE", help="all that was compared as records; - is stdout")
    parser.set_defaults(run=run)


def _budgets(text: str) -> list[float]:
    """Sizes, and numbers between them."""
    try:
        found = [float(number(part.strip(" \t")) or parse_size(part.strip(" \t"))) for part in text.split(",")]
    except SizeError:
        found = [0.0]
    if min(found) < 1.0:
        raise UsageError(f"--budget is '{text}', allowed is a list of numbers from 1, such as 64,2^10")
    return found


def _lengths(text: str) -> list[int]:
    try:
        return expand(text)
    except SizeError as error:
        raise UsageError(f"--lengths is '{text}': {error}") from error


def _norms(text: str | None) -> list:
    names = {norm.name: norm for norm in NORMS}
    if text is None:
        return list(NORMS)
    for name in text.split(","):
        if name not in names:
            raise UsageError(f"--norm is '{name}', allowed are {', '.join(names)}")
    return [names[name] for name in text.split(",")]


def _epsilons(text: str | None, series: Sequence[Series]) -> list[float]:
    if text is None:
        return sorted({epsilon for one in series for epsilon in one.epsilons}, reverse=True)
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [0.0]
    if not all(0.0 < epsilon < 1.0 for epsilon in found):
        raise UsageError(f"--epsilon is '{text}', allowed is a list of numbers between 0 and 1, such as 0.1,0.01")
    return found


def _chosen(series: Sequence[Series], law: str | None) -> list[Series]:
    measured = [s for s in series if s.cases]
    if law is None:
        return measured
    chosen = [s for s in measured if laws.same(s.first.sigma_law, law)]
    if not chosen:
        known = ", ".join(dict.fromkeys(s.first.sigma_law for s in measured))
        raise UsageError(f"--sigma is '{law}', the file holds {known}")
    return chosen


def _comparisons(series: Sequence[Series], arguments: argparse.Namespace) -> list[Comparison]:
    budgets = _budgets(arguments.budget)
    lengths = None if arguments.lengths is None else _lengths(arguments.lengths)
    norms = _norms(arguments.norm)
    costs = [arguments.cost] if arguments.cost else list(COSTS)
    found = [
        compare_laws(one, norm, budget, cost, lengths)
        for one in _chosen(series, arguments.sigma)
        for budget in budgets
        for cost in costs
        for norm in norms
    ]
    return [one for one in found if one is not None]


def _choices(series: Sequence[Series], arguments: argparse.Namespace) -> list[Choice]:
    """One per law of sigma (or head) and epsilon."""
    for option in ("norm", "cost"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option} goes with --budget: selectors are compared by tail mass and bytes read")
    chosen = _chosen(series, arguments.sigma)
    groups = side_by_side(chosen)
    if not groups:
        raise UsageError("the file has no VALID case of another selector than exact top-k (study --selectors)")
    if arguments.epsilon is None and not any(one.epsilons for one in chosen):
        raise UsageError("the file has no epsilon: say --epsilon, such as 0.1,0.01")
    lengths = None if arguments.lengths is None else _lengths(arguments.lengths)
    return [
        cheapest(group, epsilon, lengths or sorted({case.n for one in group for case in one.cases}))
        for group in groups
        for epsilon in _epsilons(arguments.epsilon, group)
    ]


def _reach(need: Need) -> str:
    if need.fit is None:
        return "–"
    low, high = need.fit.interval.low, need.fit.interval.high
    return (
        f"{need.fit.exponent:.3f} [{low:.3f}, {high:.3f}]" if math.isfinite(high - low) else f"{need.fit.exponent:.3f}"
    )


def _law(need: Need, lengths: Sequence[int]) -> str:
    """As `asymptop study --k` takes it."""
    alpha, exponent = need.law(lengths)
    return f"{alpha:g}*n^{exponent:g}" if exponent else f"{math.ceil(alpha)}"


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


def print_choices(choices: Sequence[Choice], stream: TextIO) -> None:
    """The three that read least, and exact top-k."""
    lengths = ", ".join(power_of_two(n) for n in choices[0].lengths)
    print(f"mean tail mass at n = {lengths}; the selector that reads least first\n", file=stream)
    rows: list[tuple[str, ...]] = [SELECTOR_HEADINGS]
    for choice in choices:
        shown = [need for i, need in enumerate(choice.ranked) if i < _SHOWN or need.selector == EXACT]
        rows += [_selector_row(choice, need) for need in shown]
    _print_rows(rows, stream)
    for choice in choices:
        where = f"{choice.title}, tail mass {choice.epsilon:g}"
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
            "epsilon": choice.epsilon,
            "lengths": list(choice.lengths),
            "selector": need.selector,
            "alpha": need.law(choice.lengths)[0],
            "C": need.law(choice.lengths)[1],
            "C_low": None if need.fit is None or not math.isfinite(need.fit.interval.low) else need.fit.interval.low,
            "C_high": None if need.fit is None or not math.isfinite(need.fit.interval.high) else need.fit.interval.high,
            "k": need.budgets(choice.lengths),
            "bytes_read": need.bytes_read(choice.lengths),
            "index_bytes_per_key": None if need.costs is None else need.costs.index_bytes_per_key(need.series.first.d),
            "best": need is choice.best,
            "draws": need.series.draws,
            "rows": need.series.rows,
        }
        for choice in choices
        for need in choice.ranked
    ]


def _row(found: Comparison) -> tuple[str, ...]:
    best, reach = found.best, found.best_exponents
    fixed = int((found.exponents == 0).argmax())
    gain = found.interval
    change = "–"
    if found.best_exponent != 0:
        change = f"{found.ratio[best] - 1.0:+.1%} [{gain.low - 1.0:+.1%}, {gain.high - 1.0:+.1%}]"
    return (
        found.series.title.removeprefix("σ = "),
        found.norm.name,
        COSTS[found.cost],
        f"{found.fixed_k:g}",
        f"{found.error[fixed]:.4g}",
        found.law,
        f"{found.best_exponent:g}{'*' if found.at_the_edge else ''} [{reach.low:g}, {reach.high:g}]",
        f"{found.error[best]:.4g}",
        change,
        ",".join(str(k) for k in found.keys(best)),
    )


def _print_rows(rows: Sequence[tuple[str, ...]], stream: TextIO) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip(), file=stream)
    print(file=stream)


def print_advice(comparisons: Sequence[Comparison], stream: TextIO) -> None:
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


def _advice(arguments: argparse.Namespace) -> tuple[list[dict], Callable[[TextIO], None]]:
    """Records of what was compared, and what prints the advice. Raises ResultsError, UsageError and BudgetError."""
    with open_results(arguments.results) as results:
        lines = group_series(results.cases)
        if arguments.selectors:
            choices = _choices(lines, arguments)
            return selector_records(choices), partial(print_choices, choices)
        if arguments.epsilon is not None:
            raise UsageError("--epsilon goes with --selectors")
        found = _comparisons(exact_series(lines), arguments)
    if not found:
        raise UsageError(f"{arguments.results}: no VALID case that holds the norm")
    return records(found), partial(print_advice, found)


def run(arguments: argparse.Namespace) -> int:
    try:
        found, show = _advice(arguments)
    except (ResultsError, UsageError, BudgetError) as error:
        print(f"asymptop advise: {error}", file=sys.stderr)
        return EXIT_USAGE
    text = json.dumps(found, indent=1) + "\n"
    if arguments.json == "-":
        sys.stdout.write(text)
    elif arguments.json is not None:
        try:
            check_no_input(Path(arguments.json), [arguments.results]).write_text(text, encoding="utf-8")
        except OSError as error:
            print(f"asymptop advise: --json {arguments.json}: {error.strerror}", file=sys.stderr)
            return 1
    show(sys.stderr if arguments.json == "-" else sys.stdout)
    return EXIT_OK
