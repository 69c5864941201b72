"""`scaling`: efficiency, phases, a fitted model and its projection from scaling studies of `asymptop bench`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from ..fits.scaling_model import Network
from ..io.bench_reader import read_bench
from ..io.output_target import output_folder
from ..io.streams import UsageError
from ..report.page import write_page
from ..report.scaling import (
    Target,
    build_scaling_report,
    efficiency_table,
    families_of,
    held_out_table,
    model_table,
    of_one_count,
    print_tables,
    projection_table,
    render_figures,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="+", help="results files of asymptop bench --scaling")
    parser.add_argument("-o", "--output", type=output_folder, default="scaling", metavar="DIR", help="(%(default)s)")
    add_projection_options(parser)


def add_projection_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project-n", default="1e9", metavar="N", help="keys of the projection (default: %(default)s)")
    parser.add_argument("--project-ranks", default="1000", metavar="P", help="its ranks (default: %(default)s)")
    parser.add_argument("--latency", metavar="SECONDS", help="of a message in the projection (default: as fitted)")
    parser.add_argument("--bandwidth", metavar="BYTES", help="bytes per second and rank in it (default: as fitted)")


def _positive(option: str, text: str, whole: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0) or (whole and (value != int(value) or value > 1e7)):
        allowed = "a whole number from 1 to 10000000" if whole else "a positive finite number"
        raise UsageError(f"{option} is '{text}', allowed is {allowed}")
    return value


def target_of(arguments: argparse.Namespace) -> Target:
    latency = None if arguments.latency is None else _positive("--latency", arguments.latency)
    bandwidth = None if arguments.bandwidth is None else _positive("--bandwidth", arguments.bandwidth)
    ranks = int(_positive("--project-ranks", arguments.project_ranks, whole=True))
    return Target(_positive("--project-n", arguments.project_n), ranks, Network(latency, bandwidth))


def write_scaling(paths: Sequence[Path], target: Target, page: Path, figures: Path | None) -> None:
    """The tables on stdout, the page, and the figures as files. Raises ResultsError, OSError."""
    results = [read_bench(path) for path in paths]
    studies = [study for one in results for study in one.studies]
    families = families_of(studies)
    rendered = render_figures(studies, target, figures)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_page(page, build_scaling_report(results, target, rendered))
    tables = [efficiency_table(studies), model_table(families), held_out_table(families)]
    print_tables([*tables, projection_table(families, target)], sys.stdout)
    if words := of_one_count(families):
        print(words)


def run(arguments: argparse.Namespace) -> int:
    page = arguments.output / "scaling.html"
    write_scaling(arguments.results, target_of(arguments), page, arguments.output)
    print(f"report: {page}")
    print(f"figures: {arguments.output}")
    return 0
