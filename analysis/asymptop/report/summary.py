"""What a person sees first, in a terminal and on the page: what was measured, the findings that matter most."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..criteria.decisions import power_of_two
from ..criteria.heads import HeadNeed, epsilons_of, finding_words_in_short, heads_of
from ..criteria.least_read import at_smaller_tail_masses, what_to_use
from ..criteria.practice import measured_laws
from ..criteria.replicates import contexts_words, rows_words, target_words
from ..criteria.verdicts import Judgement, Verdict, clarity
from ..fits.exponents import FitError
from ..fits.law_fit import fit_law
from ..fits.quantities import QUANTITIES, k_of_law, points_of_law
from ..io.precision_file import PrecisionCase
from ..io.reader import Case, Results
from ..io.schema import EXACT
from ..io.selectors import SelectorGroup
from ..io.series import Series

COLUMNS, LINES = 100, 25
_MOST_SERIES, _MOST_LAWS, _MOST_WRAPPED, _MOST_SENTENCES = 4, 4, 3, 3
_MORE = "More in the page: "
_CUT_OFF = " ..."  # ends text that has no room
_SAME_BUDGET = 0.02  # of the budget: kept keys that differ by more are named


@dataclass(frozen=True)
class Finding:
    """A sentence, a small table below it (headings, then rows), and further sentences of at most so many lines."""

    sentence: str
    table: tuple[tuple[str, ...], ...] = ()
    details: tuple[str, ...] = ()
    lines_of_detail: int = 1


def _wrapped(text: str) -> list[str]:
    """A few lines, with room for a number before the first; the page has what is cut off."""
    return textwrap.wrap(text, COLUMNS - 3, subsequent_indent="   ", max_lines=_MOST_WRAPPED, placeholder=_CUT_OFF)


def _cases(cases: Sequence[Case] | Sequence[PrecisionCase]) -> str:
    valid = sum(case.valid for case in cases)
    sizes = sorted({case.n for case in cases})
    reach = power_of_two(sizes[0]) if len(sizes) == 1 else f"{power_of_two(sizes[0])} to {power_of_two(sizes[-1])}"
    if len(cases) == 1:
        return f"1 case, {'VALID' if valid else 'INVALID and left out'}: n = {reach}"
    states = "all VALID" if valid == len(cases) else f"{valid} VALID, {len(cases) - valid} INVALID and left out"
    return f"{len(cases)} cases, {states}: n = {reach}"


def _range(counts: Sequence[int]) -> str:
    """Of ascending numbers."""
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _measured(results: Results) -> str:
    cases = results.cases
    draws, rows = sorted({case.draws for case in cases}), sorted({case.rows for case in cases})
    count = f"{_range(draws)} draw{'s' * (draws[-1] > 1)} of {_range(rows)} row{'s' * (rows[-1] > 1)}"
    # How draws of tensor files take their keys decides what a sweep over n compares (src/draw/README.md).
    where, rows_only = contexts_words(cases), rows_words(cases)
    dimensions = ", ".join(map(str, sorted({case.d for case in cases})))
    others = len({case.selector for case in cases} - {EXACT})
    rest = "the other selector is not" if others == 1 else f"none of the {others} other selectors is"
    beside = f" Exact top-k, where {rest} named." if others else ""
    return f"{_cases(cases)}, d = {dimensions}, {count}{where}.{beside}{' ' * bool(rows_only)}{rows_only}"


def _error_cell(one: Series, law: str, n: int) -> str:
    """The mean tail mass at n, and its exponent where there is one; else that of the largest n that has one, named."""
    found = points_of_law(one, QUANTITIES["tail_mass"], law)
    if not found:
        return "-"
    if found[-1].n != n:
        return f"{found[-1].mean:#.3g} at {power_of_two(found[-1].n)}"
    try:
        exponent = f"n^{fit_law(one, 'tail_mass', law).exponent:+.2f}"
    except FitError:
        exponent = ""
    return f"{found[-1].mean:#.3g} {exponent}".rstrip()


def _errors(series: Sequence[Series], n: int) -> list[Finding]:
    """Lines of the study against laws of k."""
    shown = [one for one in series if one.cases][:_MOST_SERIES]
    laws = list(dict.fromkeys(law for one in shown for law in one.k_laws))[:_MOST_LAWS]
    if not laws:
        return []
    rows = [(one.title, *(_error_cell(one, law, n) if law in one.k_laws else "-" for law in laws)) for one in shown]
    grows = ", and how it goes with n" if any(" n^" in cell for row in rows for cell in row[1:]) else ""
    sentence = f"Mean mass of the softmax that the k best keys miss at n = {power_of_two(n)}{grows}:"
    return [Finding(sentence, (("", *(f"k = {law}" for law in laws)), *rows))]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    first = min(40, max(len(row[0]) for row in rows))
    room = (COLUMNS - 3 - first) // (len(rows[0]) - 1) - 2
    other = min(room, max(len(cell) for row in rows for cell in row[1:]))
    lines = (
        f"   {row[0][:first]:<{first}}" + "".join(f"  {cell[:other]:<{other}}" for cell in row[1:]) for row in rows
    )
    return [line.rstrip() for line in lines]


def _needs(series: Sequence[Series]) -> list[Finding]:
    laws = measured_laws(series)
    if not laws:
        return []
    epsilon = max(law.epsilon for law in laws)
    details = tuple(
        f"{law.series.title}: k = {law.law}, C = {law.exponent}; {law.last_k:,.0f} of {power_of_two(law.last_n)}"
        for law in [law for law in laws if law.epsilon == epsilon][:_MOST_SERIES]
    )
    words = f"Keys that a row needs for a tail mass of {epsilon:g}, mean over rows, with C of n^C and its 95% interval:"
    return [Finding(words, details=details)]


def _selectors(lines: Sequence[Series], groups: Sequence[SelectorGroup]) -> list[Finding]:
    """What a budget misses at the largest n, by selector, best first: the largest budget of at most half the keys; of
    made inputs at the first law of sigma, of models the mean over heads.

    Selectors that keep another number of keys than the budget (thresholds, estimators, unions of shards) say how many
    and come last.
    """
    shown = [one for one in lines if one.cases and one.k_laws]
    if all(one.selector == EXACT for one in shown):
        return []
    of = ""
    if shown[0].synthetic:
        first = groups[0]
        shown = [one for members in first.lines.values() for one in members if one.cases and one.k_laws]
        of = f"{first.words}: "
    whole = [one for one in shown if not one.window_ends_growth] or shown
    where = of if len(whole) == len(shown) else f"{of}Where heads see all keys: "
    shown, n = whole, max(one.cases[-1].n for one in whole)
    last = [one for one in shown if one.cases[-1].n == n]
    laws = {law: _keys_at(last, law, n) for one in last for law in one.k_laws}
    seen = max(one.cases[-1].seen for one in last)
    law = max(laws, key=lambda law: (laws[law] <= seen / 2, laws[law] if laws[law] <= seen / 2 else -laws[law]))
    missed: dict[str, list[float]] = {}
    budgets: dict[str, list[tuple[float, float]]] = {}
    for one in shown:
        found = points_of_law(one, QUANTITIES["tail_mass"], law) if law in one.k_laws else []
        if found and found[-1].n == n:
            missed.setdefault(one.selector, []).append(found[-1].mean)
            budgets.setdefault(one.selector, []).append(_kept_and_budget(one.cases[-1], law))
    kept = {selector: _kept_words(found) for selector, found in budgets.items()}
    means = sorted((kept[selector] != "", sum(values) / len(values), selector) for selector, values in missed.items())
    words = ", ".join(f"{selector} {mean:.3g}{kept[selector]}" for _, mean, selector in means)
    many = max(map(len, missed.values()))
    over = f", means over {many} {'series' if shown[0].synthetic else 'heads'}" if many > 1 else ""
    no_order = " Made keys have no order: judge windows and pages on a model's." if shown[0].synthetic else ""
    keys = f"{laws[law]:,} keys (k = {law})"
    missed_at = f"{where}{'m' if where else 'M'}ass that {keys} miss at n = {power_of_two(n)}{over}"
    return [Finding(f"{missed_at}: {words}.{no_order}")]


def _kept_and_budget(case: Case, law: str) -> tuple[float, float]:
    """Means over rows: keys that are kept at a law's k, and those of the k that the row has."""
    k = k_of_law(case, law)
    budget = float(np.minimum(k, case.values("row_n")).mean())
    if case.selector == EXACT:
        return budget, budget
    return float(case.values("kept")[:, :, list(case.k).index(k)].mean()), budget


def _kept_words(budgets: Sequence[tuple[float, float]]) -> str:
    """Empty where as many keys are kept as the budget has, but for what whole pages leave over."""
    kept, budget = (sum(part) / len(budgets) for part in zip(*budgets, strict=True))
    return "" if abs(kept - budget) <= _SAME_BUDGET * budget else f" (keeps {kept:,.0f})"


def _keys_at(lines: Sequence[Series], law: str, n: int) -> int:
    """The largest k of a law at an n."""
    at = [case for one in lines for case in one.cases if case.n == n and law in case.k_law]
    return max((int(case.k_of_law[case.k_law.index(law)]) for case in at), default=0)


def _claims(judgements: Sequence[Judgement]) -> Finding:
    """How many say what, and the clearest one that the data contradict, or support."""
    counts = {verdict: [j for j in judgements if j.verdict is verdict] for verdict in Verdict}
    words = ", ".join(f"{len(found)} {verdict.value.lower()}" for verdict, found in counts.items() if found)
    clearest = []
    for verdict in (Verdict.CONTRADICTED, Verdict.SUPPORTED):
        fitted = [j for j in counts[verdict] if any(finding.fit is not None for finding in j.findings)]
        if fitted:
            one = max(fitted, key=lambda j: max(clarity(finding) for finding in j.findings))
            clearest.append(f"{one.claim.id}: {one.claim.sentence} {one.brief}")
    return Finding(f"Claims: {words or 'none'}.", details=tuple(clearest), lines_of_detail=_MOST_WRAPPED)


def _least_read(groups: Sequence[SelectorGroup]) -> list[Finding]:
    """Of the first group."""
    words = what_to_use(groups[:1])
    if not words:
        return []
    others = at_smaller_tail_masses(groups[0])
    return [Finding(words[0], details=(others,) if others else ())]


def _more(series: Sequence[Series], groups: Sequence[SelectorGroup], of_heads: bool) -> list[str]:
    """What of the findings there was no room for. of_heads: they begin with what heads need."""
    shown = [one for one in series if one.cases]
    laws = {law for one in shown for law in one.k_laws}
    counts = [] if of_heads else [(len(shown) - _MOST_SERIES, "series"), (len(laws) - _MOST_LAWS, "laws of k")]
    found = [f"{count} {what}" for count, what in counts if count > 0]
    if smaller := sorted({e for one in shown for e in one.epsilons}, reverse=True)[1:]:
        found.append(f"what a tail mass of {', '.join(f'{e:g}' for e in smaller)} takes")
    if len(groups) > 1:
        found.append(f"which selector reads least in {len(groups) - 1} more series")
    return textwrap.wrap(_MORE + "; ".join(found) + ".", COLUMNS, max_lines=1, placeholder=_CUT_OFF) if found else []


def study_findings(
    results: Results,
    lines: Sequence[Series],
    groups: Sequence[SelectorGroup],
    series: Sequence[Series],
    judgements: Sequence[Judgement],
) -> list[Finding]:
    """What matters most, first. lines: all of the file; groups: selector_groups() of them; series: of exact top-k, as
    judged."""
    found: list[Finding] = []
    if heads := _first_heads(series):
        found += [Finding(sentence) for sentence in finding_words_in_short(heads)]
    else:
        found += _errors(series, max(case.n for case in results.cases))
        found += _needs(series)
    if of_selectors := _selectors(lines, groups):
        found += [*of_selectors, *_least_read(groups)]
    return [*found, _claims(judgements)]


def _first_heads(series: Sequence[Series]) -> Sequence[HeadNeed]:
    """Of a model's tensors, at the first epsilon; none of synthetic inputs."""
    epsilons = epsilons_of(series) if any(one.cases and not one.synthetic for one in series) else ()
    return heads_of(series, epsilons[0]) if epsilons else ()


def _block(finding: Finding) -> list[str]:
    """Its lines on a terminal, without a number."""
    lines = [*_wrapped(finding.sentence), *(_aligned(finding.table) if finding.table else ())]
    for words in finding.details:
        indent = "   "
        lines += textwrap.wrap(
            words,
            COLUMNS,
            initial_indent=indent,
            subsequent_indent=indent,
            max_lines=finding.lines_of_detail,
            placeholder=_CUT_OFF,
        )
    return lines


def summary(
    results: Results, groups: Sequence[SelectorGroup], series: Sequence[Series], found: Sequence[Finding]
) -> str:
    """At most LINES - 2 lines of COLUMNS columns. groups, series: as of study_findings(), whose result `found` is."""
    printed = [*_wrapped(_measured(results)), *_wrapped(target_words(results.cases))]
    for number, block in enumerate(map(_block, found), 1):
        printed += [f"{number}. {block[0]}", *block[1:]]
    more = _more(series, groups, bool(_first_heads(series)))
    room = LINES - 2 - len(more)
    if len(printed) > room:
        printed[room - 1 :] = [printed[room - 1][: COLUMNS - 4].removesuffix(_CUT_OFF) + _CUT_OFF]
    return "\n".join([*printed, *more])


def precision_summary(cases: Sequence[PrecisionCase], found: Sequence[tuple[str, list[str]]]) -> str:
    """The findings on arithmetic, `found`, of as many laws of sigma or heads as there is room for, at least of one."""
    printed = _wrapped(f"{_cases(cases)}, {min(case.draws for case in cases)} draws.")
    told = 0
    for number, (title, sentences) in enumerate(found):
        some = [f"{title}: " * (place == 0) + words for place, words in enumerate(sentences[:_MOST_SENTENCES])]
        blocks = [_wrapped(words) for words in some]
        if number > 0 and len(printed) + sum(map(len, blocks)) > LINES - 4:
            printed.append(f"{len(found) - number} more in the page.")
            break
        for block in blocks:
            told += 1
            printed += [f"{told}. {block[0]}", *block[1:]]
    return "\n".join(printed)
