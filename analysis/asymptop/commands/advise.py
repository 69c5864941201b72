"""`advise`: the best law of k for your own context lengths, at the cost of a fixed k, from one results file."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ..criteria.budgets import COSTS, NORMS, BudgetError, Comparison, compare_laws
from ..criteria.decisions import power_of_two
from ..io.output_target import check_no_input
from ..io.reader import ResultsError, open_results
from ..io.series import Series, exact_series, group_series
from ..theory import laws
from ..theory.law_grammar import number
from ..theory.sizes import SizeError, expand, parse_size

EXIT_OK = 0
EXIT_USAGE = 2
DESCRIPTION = """\
Compares k = alpha n^C with a fixed k at equal cost over a set of context lengths, for C from -0.5 to 1, in every norm,
and prints the law with the smallest mean error. The cost is the sum of k over the lengths (keys selected, rows of V
read) or the sum of n k. The error at any k is interpolated between the k that the study stored; intervals are a
bootstrap over draws.
"""
EPILOG = """\
examples:
  python3 -m asymptop advise results.h5 --budget 64
  python3 -m asymptop advise results.h5 --budget 64,256 --lengths 4096,16384,65536 --norm row_l2_error --cost k
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
    parser.add_argument(
        "--budget", required=True, metavar="LIST", help="cost, as the fixed k of every length: 64 or 64,256"
    )
    parser.add_argument(
        "--lengths", metavar="LIST", help="your context lengths: 4096,2^14 (default: the n of the file)"
    )
    parser.add_argument("--norm", metavar="LIST", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--cost", choices=tuple(COSTS), help="equal sum of k, or of n*k (default: both)")
    parser.add_argument("--sigma", metavar="LAW", help="only series of this law of σ (default: all)")
    parser.add_argument("--json", metavar="FILE", help="every C of every comparison as records; - is stdout")
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


def print_advice(comparisons: Sequence[Comparison], stream: TextIO) -> None:
    lengths = ", ".join(power_of_two(n) for n in comparisons[0].lengths)
    print(f"mean error over n = {lengths}; every law costs what the fixed k costs\n", file=stream)
    rows = [HEADINGS, *(_row(one) for one in comparisons)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip(), file=stream)
    print(file=stream)
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


def run(arguments: argparse.Namespace) -> int:
    try:
        with open_results(arguments.results) as results:
            found = _comparisons(exact_series(group_series(results.cases)), arguments)
    except (ResultsError, UsageError, BudgetError) as error:
        print(f"asymptop advise: {error}", file=sys.stderr)
        return EXIT_USAGE
    if not found:
        print(f"asymptop advise: {arguments.results}: no VALID case that holds the norm", file=sys.stderr)
        return EXIT_USAGE
    text = json.dumps(records(found), indent=1) + "\n"
    if arguments.json == "-":
        sys.stdout.write(text)
    elif arguments.json is not None:
        try:
            check_no_input(Path(arguments.json), [arguments.results]).write_text(text, encoding="utf-8")
        except OSError as error:
            print(f"asymptop advise: --json {arguments.json}: {error.strerror}", file=sys.stderr)
            return 1
    print_advice(found, sys.stderr if arguments.json == "-" else sys.stdout)
    return EXIT_OK
