"""`report`: the findings on stdout, report.html, the figures as files on request; of a benchmark, its scaling."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..claims.registry import CLAIMS, MEASURED_CLAIMS, judge
from ..claims.toml_file import read_claims
from ..claims.verdict_table import print_verdicts
from ..figures.builders import draw
from ..figures.simulated import simulated_series
from ..io.attend_file import read_attend
from ..io.bench_reader import kind_of
from ..io.output_target import check_no_input, output_file, output_folder
from ..io.precision_file import KIND, PrecisionResults, read_precision
from ..io.reader import ResultsError, open_results
from ..io.selectors import selector_groups
from ..io.series import exact_series, group_series, marked_simulated
from ..report.extra_p import COMMAND, write_extra_p
from ..report.heads import draw_heads, heads_section
from ..report.inputs import judge_inputs, primary
from ..report.page import Numbered, Section, build_report, write_page
from ..report.precision import (
    ANCHOR,
    TITLE,
    findings,
    precision_section,
    render_precision,
    write_precision_report,
)
from ..report.scaling import Target
from ..report.selectors import draw_selectors, judge_selectors, selectors_section
from ..report.summary import precision_summary, study_findings, summary
from .jobs import cost_section
from .scaling import write_scaling

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", type=Path, help="results file of a study, of asymptop precision, or of a benchmark with --scaling"
    )
    parser.add_argument("-o", "--output", type=output_file, default="report.html", help="default: %(default)s")
    parser.add_argument(
        "--figures", type=output_folder, metavar="DIR", help="also write each figure as PNG, PDF and CSV here"
    )
    parser.add_argument(
        "--simulated",
        type=Path,
        metavar="FILE",
        help="file of asymptop simulate: its rows as a band beside measured keys, and claims tested on them too",
    )
    parser.add_argument("--claims", type=Path, metavar="FILE", help="your own claims too, as TOML (claims/entry.py)")
    parser.add_argument("--attend", type=Path, metavar="FILE", help="file of asymptop attend --spectral, for A-spec")
    parser.add_argument(
        "--precision", type=Path, metavar="FILE", help="file of asymptop precision: a section on arithmetic"
    )
    parser.add_argument(
        "--extra-p",
        type=output_file,
        metavar="FILE",
        help=f"also export the means in Extra-P's text format, for {COMMAND}",
    )
    parser.add_argument("--jobs", type=Path, metavar="RUN", help="folder of jobs/submit: adds what the run cost")
    parser.add_argument("--table", action="store_true", help="also print every test of every claim (wide)")


def _precision(results: PrecisionResults | None, folder: Path | None, number: int) -> tuple[Section, ...]:
    """The section on arithmetic, whose first figure has that number; nothing without a file."""
    if results is None:
        return ()
    return (Section(ANCHOR, TITLE, precision_section(results, render_precision(results, folder), number)),)


def run(arguments: argparse.Namespace) -> int:
    read = (arguments.results, arguments.simulated, arguments.precision, arguments.attend, arguments.claims)
    for written in filter(None, (arguments.output, arguments.extra_p)):
        check_no_input(written, [path for path in read if path is not None])
    if kind_of(arguments.results) == "attend":
        raise ResultsError(
            f"{arguments.results}: kind is 'attend', which goes beside a study: report STUDY --attend FILE"
        )
    if kind_of(arguments.results) == KIND:
        rounded = read_precision(arguments.results)
        write_precision_report(arguments.output, rounded, arguments.figures)
        print(precision_summary(rounded.cases, findings(rounded)))
        print(f"\nreport: {arguments.output}")
        return EXIT_OK
    if kind_of(arguments.results) == "bench":
        write_scaling([arguments.results], Target(), arguments.output, arguments.figures)
        print(f"report: {arguments.output}")
        return EXIT_OK
    claims = CLAIMS if arguments.claims is None else (*CLAIMS, *read_claims(arguments.claims))
    arithmetic = read_precision(arguments.precision) if arguments.precision is not None else None
    with open_results(arguments.results) as results, simulated_series(arguments.simulated) as simulated:
        lines = group_series(results.cases)
        series, groups = exact_series(lines), selector_groups(lines)
        norms = read_attend(arguments.attend) if arguments.attend is not None else ()
        # Other processors go on with the figures meanwhile.
        drawing = draw(series, arguments.figures, simulated)
        of_heads = draw_heads(series, arguments.figures)
        of_selectors = draw_selectors(groups, arguments.figures)
        judgements = judge((*primary(lines), *marked_simulated(simulated), *norms), claims)
        if any(one.cases and not one.synthetic for one in series):
            judgements = (*judge(series, MEASURED_CLAIMS), *judgements)
        inputs = judge_inputs(lines, claims)
        beside = judge_selectors(primary(lines))
        maps, figures, drawn = of_heads.figures(), drawing.figures(), of_selectors.figures()
        numbered = Numbered.of(figures, len(maps) + 1, between=len(drawn))
        selectors = selectors_section(lines, groups, beside, drawn, len(maps) + len(numbered.front) + 1)
        more = _precision(arithmetic, arguments.figures, len(maps) + len(figures) + len(drawn) + 1)
        more += cost_section(arguments.jobs, results.cases, judgements)
        found = study_findings(results, lines, groups, series, judgements)
        heads = heads_section(series, maps, {one.sentence for one in found})
        page = build_report(results, series, judgements, numbered, found, more, inputs, heads, selectors)
        write_page(arguments.output, page)
        if arguments.extra_p is not None:
            write_extra_p(arguments.extra_p, series)
        words = summary(results, groups, series, found)
    if arguments.table:
        print_verdicts((*judgements, *beside), sys.stdout)
        print()
    print(words)
    print(f"\nreport: {arguments.output} (--table prints every test of every claim here)")
    if arguments.figures is not None:
        print(f"figures: {arguments.figures}")
    return EXIT_OK
