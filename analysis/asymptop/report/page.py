"""report.html: one file that opens offline, with the verdicts, the figures, the fits and how it was measured."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ..criteria.verdicts import Judgement
from ..figures.drawing import RenderedFigure
from ..io.output_target import output_target
from ..io.reader import Results
from ..io.series import Series
from .front import practice_section, verdict_table
from .inputs import InputVerdicts, inputs_section
from .sections import checks_section, claims_section, fits_section, provenance_section, summary_section
from .summary import Finding
from .templates import render

# Size on screen of an inch of a figure: its 8.5 pt text then reads like the captions.
PIXELS_PER_INCH = 128


@dataclass(frozen=True)
class Section:
    """A further section of the page, already HTML."""

    anchor: str
    title: str
    body: str


# Figures that belong on the first page, before the details.
FRONT = ("needed_keys_against_n", "phase_diagram")


def figure_blocks(figures: Sequence[tuple[int, RenderedFigure]]) -> list[dict[str, object]]:
    """Figures with their numbers, as the templates draw them."""
    return [
        {
            "number": number,
            "name": figure.name,
            "title": figure.title,
            "caption": figure.caption,
            "pixels": f"{figure.width * PIXELS_PER_INCH:.0f}",
            "image": base64.b64encode(figure.svg.encode("utf-8")).decode("ascii"),
        }
        for number, figure in figures
    ]


@dataclass(frozen=True)
class Numbered:
    """Figures as the page has them: how many keys are needed, then those of `between` others, then the rest."""

    front: tuple[tuple[int, RenderedFigure], ...] = ()
    rest: tuple[tuple[int, RenderedFigure], ...] = ()

    @classmethod
    def of(cls, figures: Sequence[RenderedFigure], first: int, between: int) -> Numbered:
        """first: the number of the first one."""
        front = [figure for figure in figures if figure.name in FRONT]
        rest = [figure for figure in figures if figure.name not in FRONT]
        return cls(tuple(enumerate(front, first)), tuple(enumerate(rest, first + len(front) + between)))


def _front_figures(front: Sequence[tuple[int, RenderedFigure]]) -> Markup:
    if not front:
        return Markup()
    return render("figures", anchor="keys", title="How many keys are needed", blocks=figure_blocks(front))


def figures_section(figures: Numbered) -> Markup:
    blocks = figure_blocks(figures.rest) if figures.front or figures.rest else None
    return render("figures", anchor="figures", title="Figures", blocks=blocks)


def build_report(
    results: Results,
    series: Sequence[Series],
    judgements: Sequence[Judgement],
    figures: Numbered,
    found: Sequence[Finding] = (),
    more: Sequence[Section] = (),
    inputs: Sequence[InputVerdicts] = (),
    heads: Sequence[Section] = (),
    selectors: Sequence[Section] = (),
) -> str:
    """The page as text; everything that comes from the file is escaped. What to use comes first: the findings, heads
    and keys needed, selectors; then what becomes of claims; then the rest."""
    contents = (
        *((section.anchor, section.title) for section in heads),
        *((("keys", "Keys needed"),) if figures.front else ()),
        *((section.anchor, section.title) for section in selectors),
        ("verdicts", "Verdicts"),
        *((("inputs", "Inputs"),) if inputs else ()),
        ("practice", "In practice"),
        ("claims", "Claims"),
        ("figures", "Figures"),
        *((section.anchor, section.title) for section in more),
        ("fits", "Fitted exponents"),
        ("checks", "Self-checks"),
        ("measured", "How this was measured"),
    )
    sections = (
        summary_section(results, series),
        render("findings", found=found),
        render("contents", contents=contents),
        *(Markup(section.body) for section in heads),
        _front_figures(figures.front),
        *(Markup(section.body) for section in selectors),
        verdict_table(judgements),
        inputs_section(inputs),
        practice_section(series),
        claims_section(judgements),
        figures_section(figures),
        *(Markup(section.body) for section in more),
        fits_section(series),
        checks_section(results.exact or results.cases),
        provenance_section(results),
    )
    return page(results.path.name, sections)


def page(name: str, sections: Sequence[Markup]) -> str:
    """A page that needs nothing else."""
    return render("page", name=name, sections=sections) + "\n"


def _draft(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}")


def write_page(path: Path, text: str) -> None:
    """Write beside the target and rename, so that a failure leaves an older report whole."""
    target = output_target(path)
    draft = _draft(target)
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
