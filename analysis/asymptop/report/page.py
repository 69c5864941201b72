"""report.html: one file that opens offline, with the verdicts, the figures, the fits and how it was measured."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ..criteria.verdicts import Judgement
from ..figures.builders import RenderedFigure
from ..io.output_target import output_target
from ..io.reader import Results
from ..io.series import Series
from .front import practice_section, verdict_table
from .inputs import InputVerdicts, inputs_section
from .sections import (
    checks_section,
    claims_section,
    fits_section,
    prose,
    provenance_section,
    summary_section,
)

# Size on screen of an inch of a figure: its 8.5 pt text then reads like the captions.
PIXELS_PER_INCH = 128
CSS = """
:root { --ink: #1d2329; --muted: #5d6873; --paper: #ffffff; --wash: #f4f6f8; --line: #d9dfe5; --accent: #0072b2;
  --good: #0b6b45; --good-wash: #dcf3e8; --bad: #a32116; --bad-wash: #fbe3e0; --open: #7a5200; --open-wash: #fdf0d2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --muted: #9fabb6; --paper: #14181c; --wash: #1d2329;
  --line: #333c45; --accent: #6cb8ea; --good: #8fe0bb; --good-wash: #123626; --bad: #ff9d92; --bad-wash: #44191a;
  --open: #f3cd7a; --open-wash: #3b2e10; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
p { max-width: 50rem; } .muted { color: var(--muted); } .lead { font-size: 1.08rem; }
nav a { margin-right: 1.1rem; color: var(--accent); text-decoration: none; }
nav a:hover { text-decoration: underline; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .38rem .7rem .38rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:first-child { white-space: nowrap; } td a { color: var(--accent); text-decoration: none; }
.verdicts td:not(:first-child):not(:last-child) { text-align: center; } .verdicts td:last-child { min-width: 24rem; }
.verdicts th { vertical-align: bottom; }
th { color: var(--muted); font-weight: 600; } td.number, th.number { text-align: right; white-space: nowrap; }
sup { line-height: 0; font-size: .72em; }
.verdict { display: inline-block; padding: .1rem .55rem; border-radius: 1rem; font-weight: 650; font-size: .76rem;
  letter-spacing: .03em; white-space: nowrap; background: var(--wash); color: var(--muted); }
.SUPPORTED, .VALID { background: var(--good-wash); color: var(--good); }
.CONTRADICTED, .INVALID { background: var(--bad-wash); color: var(--bad); }
.UNDECIDED { background: var(--open-wash); color: var(--open); }
.claim { border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.2rem; margin: .9rem 0; }
.claim h3 { margin: 0 0 .3rem; display: flex; gap: .7rem; align-items: center; } .claim p { margin: .35rem 0; }
.formula { font-family: "STIX Two Text", Cambria, Georgia, serif; font-size: 1.02rem; }
details { margin-top: .6rem; } summary { cursor: pointer; color: var(--accent); }
figure { margin: 1.5rem 0 2.5rem; } figcaption { max-width: 50rem; color: var(--muted); font-size: .92rem; }
figcaption b { color: var(--ink); }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: .6rem; padding: .8rem; margin-bottom: .7rem; }
pre { background: var(--wash); padding: .8rem 1rem; border-radius: .5rem; overflow-x: auto; font-size: .82rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.4rem; font-size: .92rem; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
@media print { details > * { display: block; } main { max-width: none; } }
"""


@dataclass(frozen=True)
class Section:
    """A further section of the page, already HTML."""

    anchor: str
    title: str
    body: str


# Figures that belong on the first page, before the details.
FRONT = ("needed_keys_against_n", "phase_diagram")


def figure_blocks(figures: Sequence[tuple[int, RenderedFigure]]) -> str:
    parts = []
    for number, figure in figures:
        image = base64.b64encode(figure.svg.encode("utf-8")).decode("ascii")
        width = f"{figure.width * PIXELS_PER_INCH:.0f}px"
        title = escape(figure.title)
        parts.append(
            f'<figure id="{escape(figure.name)}">'
            f'<img alt="{title}" style="width: {width}" src="data:image/svg+xml;base64,{image}">'
            f"<figcaption><b>Figure {number}. {prose(figure.title)}.</b> {prose(figure.caption)}</figcaption></figure>"
        )
    return "\n".join(parts)


def _front_figures(figures: Sequence[tuple[int, RenderedFigure]]) -> str:
    front = [(number, figure) for number, figure in figures if figure.name in FRONT]
    return f'<h2 id="keys">How many keys are needed</h2>{figure_blocks(front)}' if front else ""


def figures_section(figures: Sequence[RenderedFigure]) -> str:
    """All figures but those of the first page, numbered with them."""
    rest = [(number, figure) for number, figure in enumerate(figures, start=1) if figure.name not in FRONT]
    body = figure_blocks(rest) if figures else "<p>No VALID case to draw.</p>"
    return f'<h2 id="figures">Figures</h2>{body}'


def build_report(
    results: Results,
    series: Sequence[Series],
    judgements: Sequence[Judgement],
    figures: Sequence[RenderedFigure],
    more: Sequence[Section] = (),
    inputs: Sequence[InputVerdicts] = (),
) -> str:
    """The page as text. Everything that comes from the file is escaped."""
    numbered = list(enumerate(figures, start=1))
    contents = (
        ("verdicts", "Verdicts"),
        *((("keys", "Keys needed"),) if any(f.name in FRONT for f in figures) else ()),
        *((("inputs", "Inputs"),) if inputs else ()),
        ("practice", "In practice"),
        ("claims", "Claims"),
        ("figures", "Figures"),
        *((section.anchor, section.title) for section in more),
        ("fits", "Fitted exponents"),
        ("checks", "Self-checks"),
        ("measured", "How this was measured"),
    )
    links = "".join(f'<a href="#{anchor}">{words}</a>' for anchor, words in contents)
    sections = (
        summary_section(results, series, judgements),
        f"<nav>{links}</nav>",
        verdict_table(judgements),
        _front_figures(numbered),
        inputs_section(inputs),
        practice_section(series),
        claims_section(judgements),
        figures_section(figures),
        *(section.body for section in more),
        fits_section(series),
        checks_section(results.cases),
        provenance_section(results),
    )
    return page(results.path.name, sections)


def page(name: str, sections: Sequence[str]) -> str:
    """A page that needs nothing else; `name` is escaped here, the sections are HTML."""
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Asymptop: {escape(name)}</title>\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def write_report(
    path: Path,
    results: Results,
    series: Sequence[Series],
    judgements: Sequence[Judgement],
    figures: Sequence[RenderedFigure],
    more: Sequence[Section] = (),
    inputs: Sequence[InputVerdicts] = (),
) -> None:
    write_page(path, build_report(results, series, judgements, figures, more, inputs))


def _draft(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}")


def check_place(path: Path) -> None:
    """OSError now, not after the figures are drawn, where a page cannot be written."""
    draft = _draft(output_target(path))
    try:
        draft.touch()
    finally:
        draft.unlink(missing_ok=True)


def write_page(path: Path, text: str) -> None:
    """Write beside the target and rename, so that a failure leaves an older report whole."""
    target = output_target(path)
    draft = _draft(target)
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
