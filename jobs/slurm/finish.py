"""jobs/finish: merges the case files of a run that are whole, and reports.

The last job of a run does this; so may anybody at any time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import scheduler
from .errors import JobsError
from .program import REPOSITORY, call
from .run_folder import RunFolder, write_atomically
from .sites import user_path
from .status import case_states, exit_code, unit_states


def merge(run: RunFolder, manifest: dict) -> int:
    """How many cases went into results.h5; it appears whole, in place of an older one."""
    states = case_states(run, manifest)
    whole = [case for unit in manifest["units"] for case in unit["cases"] if states.get(case) in ("valid", "invalid")]
    if not whole:
        return 0
    draft = run.results.with_name(f".results.{os.getpid()}.h5")
    # Names relative to the folder: thousands of them fit on a command line.
    cases = run.results.with_name(run.results.name + ".cases")
    outcome = call([manifest["binary"], "merge", "--output", draft, *(f"{case}.h5" for case in whole)], cases)
    if outcome.returncode != 0:
        draft.unlink(missing_ok=True)
        raise JobsError(f"the case files cannot be merged: {outcome.stderr.strip()}", 1)
    draft.replace(run.results)
    return len(whole)


def report(run: RunFolder) -> str:
    """Where the report is, or why there is none."""
    python = REPOSITORY / "build" / "venv" / "bin" / "python"
    if not python.is_file():
        return (
            "no report: build/venv is not there (jobs/setup/debian.sh); python3 -m asymptop report makes it elsewhere"
        )
    page = run.path / "report.html"
    words = [python, "-m", "asymptop", "report", run.results, "--output", page, "--jobs", run.path]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "analysis")}
    outcome = subprocess.run(
        list(map(str, words)), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if outcome.returncode != 0:
        return f"no report: {outcome.stderr.strip()}"
    return f"report:  {page}"


def save_accounting(run: RunFolder, manifest: dict) -> None:
    jobs = [job for submission in manifest["submissions"] for job in submission["arrays"].values()]
    text = scheduler.accounting(jobs) if jobs else None
    if text is not None:
        write_atomically(run.path / "sacct.txt", text)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="jobs/finish",
        description="Merges what a run has measured so far and reports it. Exit codes are those of jobs/status.",
    )
    parser.add_argument("run", type=user_path, metavar="RUN", help="the run's folder")
    parser.error = lambda message: parser.exit(2, f"jobs/finish: {message}\n")  # type: ignore[method-assign]
    run = RunFolder(Path(os.path.abspath(parser.parse_args(argv).run)))
    manifest = run.read()
    save_accounting(run, manifest)
    units, _, _ = unit_states(run, manifest)
    if manifest["command"] == "study":
        merged = merge(run, manifest)
        print(f"results: {run.results}, {merged} case(s)" if merged else "nothing is measured yet")
    if run.results.is_file() and manifest["report"]:
        print(report(run))
    for unit in units:
        if unit.state != "done":
            print(f"{unit.state}: {unit.name}" + (f" ({unit.detail})" if unit.detail else ""))
    return exit_code(units)
