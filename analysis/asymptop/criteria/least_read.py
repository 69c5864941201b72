"""What to use for a tail mass, in words: the selector that reads least, beside exact top-k and dense attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..io.schema import EXACT
from ..io.selectors import SelectorGroup
from ..theory.costs import bytes_words, dense_bytes, share_words
from .cheapest import Need, need_of
from .decisions import power_of_two


def _needs(group: SelectorGroup, epsilon: float, n: int) -> list[tuple[float, str, list[Need]]]:
    """(bytes read at n, selector, one need for each head), the fewest bytes first; those that get to epsilon."""
    found = []
    for name, members in group.lines.items():
        needs = [need_of(series, epsilon) for series in members]
        there = [need for need in needs if need is not None and need.points[-1].n == n and need.costs is not None]
        if len(there) == len(needs):
            found.append((float(np.mean([need.bytes_read([n])[0] for need in there])), name, there))
    return sorted(found, key=lambda one: one[0])


def _keys(of: Sequence[Need], n: int) -> str:
    mean = np.mean([need.budgets([n])[0] for need in of])
    return f"{mean:,.0f} keys{', the mean of what its rule keeps' if of[0].by_rule else ''}"


def _finding(group: SelectorGroup, epsilon: float) -> str:
    """What to use for a tail mass of epsilon, in a sentence or two."""
    n = group.largest_n
    where = f"{group.words}, n = {power_of_two(n)}, mean tail mass {epsilon:g}"
    ranked = _needs(group, epsilon, n)
    dense = dense_bytes(group.seen(n), group.d, group.d_v)
    if not ranked:
        return f"{where}: no selector gets there within the stored k; dense attention reads {bytes_words(dense)}."
    spent, name, needs = ranked[0]
    by_name = {other: (b, their) for b, other, their in ranked}

    text = f"{where}: {name} reads least, {bytes_words(spent)} per query and head for {_keys(needs, n)}"
    if len(needs) == 1 and needs[0].fit is not None and len(needs[0].points) > 1:
        alpha, exponent = needs[0].law([n])
        text += f" ({'like ' if needs[0].by_rule else f'k = {alpha:g}·'}n^{exponent:g})"
    if name != EXACT and EXACT in by_name:
        exact, its = by_name[EXACT]
        text += f", {share_words(spent / exact)} of what exact top-k reads ({bytes_words(exact)} for {_keys(its, n)})"
    text += f" and {share_words(spent / dense)} of dense attention. "
    index = needs[0].costs.index_bytes_per_key(group.d) if needs[0].costs is not None else 0.0
    text += (
        f"Its index takes {index:g} bytes per key beside {dense_bytes(1, group.d, group.d_v):g} of key and value."
        if index
        else "It needs no index."
    )
    others = [f"{other} with {bytes_words(b)}" for b, other, _ in ranked[1:3] if other != EXACT]
    return text + (f" Next: {', '.join(others)}." if others else "")


def _epsilons(group: SelectorGroup) -> list[float]:
    return sorted({e for members in group.lines.values() for s in members for e in s.epsilons}, reverse=True)


def what_to_use(groups: Sequence[SelectorGroup]) -> list[str]:
    """Of every group which selector reads least for each tail mass at its largest n, the largest tail mass first."""
    return [_finding(group, epsilon) for group in groups for epsilon in _epsilons(group)]


def at_smaller_tail_masses(group: SelectorGroup) -> str:
    """The selector that reads least for each tail mass but the largest, in short; empty where there is one alone."""
    n, told = group.largest_n, []
    for epsilon in _epsilons(group)[1:]:
        best = _needs(group, epsilon, n)[:1]
        words = [f"{name}, {bytes_words(spent)} for {_keys(needs, n)}" for spent, name, needs in best]
        told.append(f"tail mass {epsilon:g}: {words[0] if words else 'none within the stored k'}")
    return "; ".join(told)
