"""`advise`: the best law of k for your own context lengths, at the cost of a fixed k, from one results file; or the
selector that reads least."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from ..criteria.budgets import COSTS, NORMS, Comparison, compare_laws, places
from ..criteria.cheapest import Choice, cheapest, need_of
from ..criteria.replicates import rows_words
from ..fits.quantities import TAIL_MASS, Quantity
from ..io.output_target import records_file, write_records
from ..io.reader import open_results
from ..io.selectors import side_by_side
from ..io.series import Series, exact_series, group_series
from ..io.streams import UsageError
from ..theory import laws
from ..theory.law_grammar import number
from ..theory.sizes import SizeError, expand, parse_size
from .advise_tables import need_records, print_advice, print_choices, print_needs, records, selector_records

EXIT_OK = 0
EXIT_USAGE = 2
DESCRIPTION = """\
Compares k = alpha n^C with a fixed k at equal cost over a set of context lengths, for C from -0.5 to 1, in every norm,
and prints the law with the smallest mean error. The cost is the sum of k over the lengths (keys selected, rows of V
read) or the sum of n k. The error at any k is interpolated between the k that the study stored; intervals are a
bootstrap over draws.

With neither --budget nor --selectors: how many keys each head of a model, or each law of sigma, needs at the lengths so
that the mean tail mass is epsilon, also as a share of the keys that a row sees there (n, or its window), and how many
are enough for all of them. --norm takes another error instead, output_error_relative say, at the k that were stored.

With --selectors, of a study --selectors: the selector, and its law of k, that reads the fewest bytes per query and head
while the mean tail mass, or --norm, stays at epsilon or below at every length. Bytes are from formulas, which the
report prints.
"""
EPILOG = """\
examples:
  python3 -m asymptop advise results.h5 --epsilon 0.1 --lengths 8192,32768
  python3 -m asymptop advise results.h5 --epsilon 0.01 --norm output_error_relative
  python3 -m asymptop advise results.h5 --budget 64
  python3 -m asymptop advise results.h5 --budget 64,256 --lengths 4096,16384,65536 --norm tail_mass --cost k
  python3 -m asymptop advise results.h5 --selectors --epsilon 0.1,0.01 --lengths 4096,2^16
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    names = [norm.name for norm in NORMS]
    parser.add_argument("results", type=Path, help="results file of a study")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--budget", metavar="LIST", help="cost, as the fixed k of every length: 64 or 64,256")
    what.add_argument("--selectors", action="store_true", help="which selector reads least for an error of epsilon")
    parser.add_argument(
        "--epsilon", metavar="LIST", help="error allowed: 0.1,0.01 (default: those of the file); not with --budget"
    )
    parser.add_argument(
        "--lengths", metavar="LIST", help="your context lengths: 4096,2^14 (default: the n of the file)"
    )
    default = "all with --budget, else tail_mass"
    parser.add_argument("--norm", metavar="LIST", help=f"of {', '.join(names)} (default: {default})")
    parser.add_argument("--cost", choices=tuple(COSTS), help="equal sum of k, or of n*k (default: both)")
    parser.add_argument("--sigma", metavar="LAW", help="only series of this law of σ (default: all)")
    parser.add_argument(
        "--json", type=records_file, metavar="FILE", help="all that was compared as records; - is stdout"
    )


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


def _norm(arguments: argparse.Namespace) -> Quantity:
    """Of what comes without a budget: one."""
    if arguments.cost is not None:
        raise UsageError("--cost goes with --budget")
    if arguments.norm is None:
        return TAIL_MASS
    norms = _norms(arguments.norm)
    if len(norms) > 1:
        raise UsageError(f"--norm is '{arguments.norm}', allowed is one without --budget")
    return norms[0]


def _check_present(series: Sequence[Series], norm: Quantity) -> None:
    if not any(norm.present(one.first) for one in series):
        raise UsageError(f"the file has no {norm.name}")


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


def _comparisons(series: Sequence[Series], arguments: argparse.Namespace) -> tuple[list[Comparison], int]:
    """And how many heads see no more keys as n grows, which no law of n is for."""
    budgets = _budgets(arguments.budget)
    lengths = None if arguments.lengths is None else _lengths(arguments.lengths)
    norms = _norms(arguments.norm)
    costs = [arguments.cost] if arguments.cost else list(COSTS)
    chosen = _chosen(series, arguments.sigma)
    growing = [one for one in chosen if not one.window_cuts(max(lengths or [one.cases[-1].n]))]
    if chosen and not growing:
        raise UsageError(
            "--budget compares laws of n, and all heads of the file have windows shorter than the lengths: a fixed k "
            "is theirs (--epsilon says which)"
        )
    if not chosen:
        raise UsageError("the file has no VALID case of exact top-k")
    found = [
        compare_laws(one, norm, budget, cost, lengths)
        for one in growing
        for budget in budgets
        for cost in costs
        for norm in norms
    ]
    return [one for one in found if one is not None], len(chosen) - len(growing)


def _choices(series: Sequence[Series], arguments: argparse.Namespace) -> list[Choice]:
    """One per law of sigma (or head) and epsilon."""
    norm = _norm(arguments)
    chosen = _chosen(series, arguments.sigma)
    groups = side_by_side(chosen)
    if not groups:
        raise UsageError("the file has no VALID case of another selector than exact top-k (study --selectors)")
    _check_present([one for group in groups for one in group], norm)
    if arguments.epsilon is None and not any(one.epsilons for one in chosen):
        raise UsageError("the file has no epsilon: say --epsilon, such as 0.1,0.01")
    lengths = None if arguments.lengths is None else _lengths(arguments.lengths)
    return [
        cheapest(group, epsilon, lengths or sorted({case.n for one in group for case in one.cases}), norm)
        for group in groups
        for epsilon in _epsilons(arguments.epsilon, group)
    ]


def _needs(series: Sequence[Series], arguments: argparse.Namespace) -> tuple[list[dict], Callable[[TextIO], None]]:
    """Keys for epsilon, line by line."""
    norm = _norm(arguments)
    chosen = _chosen(series, arguments.sigma)
    if not chosen:
        raise UsageError("the file has no VALID case of exact top-k")
    _check_present(chosen, norm)
    known = [case.n for one in chosen for case in one.cases]
    lengths = sorted(set(known)) if arguments.lengths is None else sorted(_lengths(arguments.lengths))
    places([min(known), max(known)], lengths)
    needs, missing = [], []
    for epsilon in _epsilons(arguments.epsilon, chosen):
        for one in chosen:
            need = need_of(one, epsilon, norm)
            if need is None:
                missing.append(f"{one.title} ({epsilon:g})")
            else:
                needs.append(need)
    if not needs and not missing:
        raise UsageError("the file has no epsilon: say --epsilon, such as 0.1,0.01")
    return need_records(needs, lengths), partial(print_needs, needs, missing, lengths, norm.words)


def _advice(arguments: argparse.Namespace) -> tuple[list[dict], Callable[[TextIO], None], str]:
    """Records of what was compared, what prints the advice, and what its intervals are over where that is no matter of
    course. Raises ResultsError, UsageError and BudgetError."""
    with open_results(arguments.results) as results:
        over = rows_words(results.cases)
        lines = group_series(results.cases)
        if invalid := sum(not case.valid for case in results.cases):
            print(f"asymptop advise: {invalid} INVALID case{'s' * (invalid > 1)} left out", file=sys.stderr)
        if arguments.selectors:
            choices = _choices(lines, arguments)
            return selector_records(choices), partial(print_choices, choices), over
        if arguments.budget is None:
            return *_needs(exact_series(lines), arguments), over
        if arguments.epsilon is not None:
            raise UsageError("--epsilon does not go with --budget: that compares laws at equal cost")
        found, windowed = _comparisons(exact_series(lines), arguments)
    if not found:
        raise UsageError(f"{arguments.results}: no VALID case that holds the norm")
    return records(found), partial(print_advice, found, windowed), over


def run(arguments: argparse.Namespace) -> int:
    found, show, over = _advice(arguments)
    stream = write_records(arguments.json, found, [arguments.results])
    show(stream)
    if over:
        print(f"\n{over}", file=stream)
    return EXIT_OK
