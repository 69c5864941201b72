"""`jobs`: queue and run times, node hours, energy and cost of a run of jobs/submit, against what was planned."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..claims.registry import CLAIMS, judge
from ..criteria.verdicts import Judgement, Verdict
from ..io.job_records import read_jobs
from ..io.reader import Case, ResultsError, open_results
from ..io.series import group_series
from ..report.jobs import jobs_section, summary, unit_rows
from ..report.page import Section
from ..report.scaling import print_tables


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run of jobs/submit")


def decided(judgements: Sequence[Judgement]) -> int:
    """Claims that the data support or contradict."""
    return sum(judgement.verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED) for judgement in judgements)


def verdict_counts(path: Path) -> tuple[int | None, int | None]:
    """VALID cases and decided claims of the run's results; None where there are none, or not of a study."""
    try:
        with open_results(path) as results:
            valid = sum(case.valid for case in results.cases)
            return valid, decided(judge(group_series(results.cases), CLAIMS))
    except ResultsError:
        return None, None


def cost_section(run: Path | None, cases: Sequence[Case], judgements: Sequence[Judgement]) -> tuple[Section, ...]:
    """The section of a report; none where no run was named."""
    if run is None:
        return ()
    body = jobs_section(read_jobs(run), sum(case.valid for case in cases), decided(judgements))
    return (Section("jobs", "Cost", body),)


def run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    records = read_jobs(folder)
    print_tables([summary(records, *verdict_counts(folder / "results.h5")), unit_rows(records)], sys.stdout)
    return 0
