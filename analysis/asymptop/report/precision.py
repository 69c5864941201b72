"""The section `Precision of arithmetic` of the report, and a page of its own for a file of `asymptop precision`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from ..criteria.decisions import power_of_two
from ..figures.captions import PRECISION_EXPLAINED
from ..figures.drawing import RenderedFigure, render_plots
from ..figures.precision import precision_against_n
from ..fits.precision_errors import EFFECTIVE_ENTRIES, MEASURES, OFF, SUM_P, TAIL_MASS, middle_k_law, off, off_from
from ..io.precision_file import ORDER_WORDS, Arithmetic, PrecisionCase, PrecisionResults
from ..theory.statistics import mean_over_rows, standard_error
from .page import figure_blocks, page, write_page
from .templates import prose, render

ANCHOR, TITLE = "precision", "Precision of arithmetic"
_HEADINGS = (
    "σ",
    "formats",
    "order of the sum",
    "Σp",
    "Σp as it adds up",
    "exp(entropy) / fp64",
    "p that are 0",
    "tail mass / fp64",
    "mass missed by its top k",
)


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _share(value: float) -> str:
    """A share of entries; neither all nor none where it is not."""
    if 0.0 < value < 1e-5:
        return "<0.001%"
    return ">99.999%" if 0.99999 < value < 1.0 else f"{value:.3%}"


def _ratio(value: float, reference: float) -> str:
    return _short(value / reference) if reference > 0 and np.isfinite(value) else "–"


def _sum_words(case: PrecisionCase, at: int) -> str:
    draws = mean_over_rows(case.values("sum_p", at))
    error = standard_error(draws)
    return _short(float(draws.mean())) + (f" ± {error:.2g}" if np.isfinite(error) and error > 0 else "")


def _same_formats(case: PrecisionCase, at: int) -> list[tuple[int, Arithmetic]]:
    """Sets of the same formats whose sums have another order."""
    return [(i, s) for i, s in enumerate(case.sets) if i != at and s.text == case.sets[at].text]


def _on_sum(cases: Sequence[PrecisionCase], at: int, k_law: str) -> str:
    last = cases[-1]
    first = off_from(cases, at, SUM_P, k_law)
    if first is None:
        return ""
    if not np.any(last.values("sum_p", at) > 0):
        return (
            f"{last.sets[at].words}: every p is rounded to 0 at n = {power_of_two(last.n)}; Σp is over {OFF:.0%} off "
            f"from n = {power_of_two(first)} on."
        )
    inside = float(last.values("sum_p_in_format", at).mean())
    unnoticed = " (so the kernel's own check does not notice)" if abs(inside - 1.0) < 0.1 else ""
    others = "; ".join(
        f"{ORDER_WORDS[s.order]} it is {_sum_words(last, i)}"
        for i, s in _same_formats(last, at)
        if not off(last, i, SUM_P, k_law).is_off
    )
    return (
        f"{last.sets[at].words}: Σp = {_sum_words(last, at)} at n = {power_of_two(last.n)}, over {OFF:.0%} off from "
        f"n = {power_of_two(first)} on. Added up in that arithmetic it reads {_short(inside)}{unnoticed}"
        f"{'; ' + others if others else ''}."
    )


def _on_shape(cases: Sequence[PrecisionCase], at: int, k_law: str) -> str:
    last = cases[-1]
    if not np.any(last.values("sum_p", at) > 0):
        return ""  # said already
    parts = []
    for measure, words in ((EFFECTIVE_ENTRIES, "exp(entropy)"), (TAIL_MASS, f"tail mass at k = {k_law}")):
        first = off_from(cases, at, measure, k_law)
        if first is None:
            continue
        found = off(last, at, measure, k_law)
        parts.append(
            f"the mean of {words} is {_ratio(found.mean, found.reference)} times that of fp64 (rows are over {OFF:.0%} "
            f"off from n = {power_of_two(first)} on)"
        )
    if not parts:
        return ""
    zeros = float(last.values("zeros", at).mean()) / last.n
    lost = f" {_share(zeros)} of the p are 0 there." if zeros > 0 else ""
    return f"{last.sets[at].words}: at n = {power_of_two(last.n)} {' and '.join(parts)}.{lost}"


def _on_growth(cases: Sequence[PrecisionCase]) -> str:
    """Whether effective entries grow as they do in fp64: the paper names higher precision as a remedy for collapse."""
    first, last = cases[0], cases[-1]
    if first.n == last.n:
        return ""

    def growth(at: int) -> float:
        low, high = (float(np.nan_to_num(EFFECTIVE_ENTRIES.values(c, at, "")).mean()) for c in (first, last))
        return high / low if low > 0 else float("nan")

    exact = growth(0)
    apart = [
        f"{_short(growth(at))} in {last.sets[at].words}"
        for at in range(1, len(last.sets))
        if not abs(np.log(max(growth(at), 1e-300) / exact)) < np.log(1.1)
    ]
    fact = (
        f"From n = {power_of_two(first.n)} to {power_of_two(last.n)} exp(entropy) grows by a factor of {_short(exact)} "
        "in fp64"
    )
    if not apart:
        return f"{fact}, and within 10% of that in every arithmetic here: collapse is not made by rounding."
    return (
        f"{fact}, but by {' and '.join(apart)}. The paper names higher precision as a remedy for collapse: it could "
        "be one only there, since in the others effective entries grow as in fp64, to 10%."
    )


def findings(results: PrecisionResults) -> list[tuple[str, list[str]]]:
    """Sentences per sigma law or head, every number computed from the file."""
    found = []
    for law, cases in results.by_law.items():
        k_law = middle_k_law(cases)
        last = cases[-1]
        sentences, close = [], []
        for at in range(1, len(last.sets)):
            words = [w for w in (_on_sum(cases, at, k_law), _on_shape(cases, at, k_law)) if w]
            sentences += words
            if not words and not any(off(c, at, m, k_law).is_off for c in cases for m in MEASURES):
                close.append(last.sets[at].words)
        if close:
            within = f"Within {OFF:.0%} of fp64 at every n, in Σp, exp(entropy) and tail mass (mean over rows)"
            sentences.append(f"{within}: {'; '.join(close)}.")
        growth = _on_growth(cases)
        title = law if last.head >= 0 else f"σ = {law}"
        found.append((title, [*sentences, *([growth] if growth else [])]))
    return found


def _rows(results: PrecisionResults) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for law, cases in results.by_law.items():
        last, k_law = cases[-1], middle_k_law(cases)
        for at, arithmetic in enumerate(last.sets):
            entries, tail = off(last, at, EFFECTIVE_ENTRIES, k_law), off(last, at, TAIL_MASS, k_law)
            rows.append(
                (
                    prose(law),
                    arithmetic.text,
                    arithmetic.order,
                    _sum_words(last, at),
                    _short(float(last.values("sum_p_in_format", at).mean())),
                    _ratio(entries.mean, entries.reference),
                    _share(float(last.values("zeros", at).mean()) / last.n),
                    _ratio(tail.mean, tail.reference),
                    _short(float(last.values("missed_mass", at, k_law).mean())),
                )
            )
    return rows


def render_precision(results: PrecisionResults, folder: Path | None) -> tuple[RenderedFigure, ...]:
    return render_plots([lambda: precision_against_n(results)], folder)


def precision_section(results: PrecisionResults, figures: Sequence[RenderedFigure], number: int) -> Markup:
    """number: of its first figure."""
    sizes = ", ".join(power_of_two(n) for n in sorted({cases[-1].n for cases in results.by_law.values()}))
    laws = ", ".join(sorted({middle_k_law(cases) for cases in results.by_law.values()}))
    return render(
        "precision",
        anchor=ANCHOR,
        title=TITLE,
        words=PRECISION_EXPLAINED,
        findings=findings(results),
        blocks=figure_blocks(list(enumerate(figures, start=number))),
        caption=f"At n = {sizes}; tail mass and missed mass at k = {laws}; means over rows." if sizes else "",
        headings=_HEADINGS,
        rows=_rows(results),
        invalid=[case for case in results.cases if not case.valid],
        count=len(results.cases),
        facts=results.provenance,
    )


def write_precision_report(path: Path, results: PrecisionResults, folder: Path | None) -> None:
    section = precision_section(results, render_precision(results, folder), 1)
    name = results.path.name
    heading = render("heading", title="What the precision of arithmetic does to attention", name=name)
    write_page(path, page(name, (heading, section)))
