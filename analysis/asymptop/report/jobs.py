"""What a cluster run cost, as tables for people: `jobs` prints them, a report has them as a section."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from ..io.job_records import JobRecords, Unit
from .templates import render

Rows = tuple[tuple[str, ...], list[list[str]]]


def hours(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _spread(values: Sequence[float]) -> str:
    """Median and extremes."""
    if not values:
        return "not known"
    return f"{hours(float(np.median(values)))} ({hours(min(values))} to {hours(max(values))})"


def suggestion(records: JobRecords) -> str:
    """What to ask for next time: the safety factor that would have covered nine units of ten, with a fifth to spare."""
    # A run of a few seconds is start-up.
    ratios = [unit.ratio for unit in records.units if unit.done and unit.planned >= 10.0]
    if not ratios:
        return ""
    wanted = max(1.0, 1.2 * float(np.quantile(ratios, 0.9)))
    return f"--safety {wanted:.2g} would have covered nine units of ten (asked for: {records.manifest['safety']:.2g})"


def summary(records: JobRecords, valid_cases: int | None, decided_claims: int | None) -> Rows:
    attempts = records.attempts
    killed = sum(not attempt.ended_itself for attempt in attempts)
    done = [unit for unit in records.units if unit.done]
    rows = [
        ["units", f"{len(done)} of {len(records.units)} done"],
        ["attempts", f"{len(attempts)}, of which {sum(a.restart > 0 for a in attempts)} requeued, {killed} killed"],
        ["queue time", _spread([a.queued for a in attempts if a.queued is not None])],
        ["run time", _spread([a.seconds for a in attempts])],
        ["node hours", f"{records.node_hours:.3g}{' at least' if killed else ''}"],
        ["core hours", f"{records.core_hours:.3g}"],
        ["node hours without a finished unit", f"{records.lost_node_hours:.3g}"],
    ]
    planned = sum(unit.planned for unit in done)
    if planned > 0:
        measured = sum(unit.measured for unit in done)
        rows.append(["seconds, measured over planned", f"{measured:.3g} / {planned:.3g} = {measured / planned:.3g}"])
    if valid_cases:
        rows.append(["node hours per VALID case", f"{records.node_hours / valid_cases:.3g}"])
    if decided_claims:
        rows.append(["node hours per decided claim", f"{records.node_hours / decided_claims:.3g}"])
    accounting = records.accounting
    energy = accounting.joules if accounting else None
    rows.append(["energy", f"{energy / 3.6e6:.3g} kWh" if energy is not None else "not known to Slurm"])
    if accounting and accounting.largest_memory:
        rows.append(["largest memory of a step", f"{accounting.largest_memory / 1e9:.3g} GB"])
    if text := suggestion(records):
        rows.append(["next time", text])
    return ("of the run", ""), rows


def _sizes(unit: Unit) -> str:
    if not unit.n:
        return "-"
    return str(unit.n[0]) if len(unit.n) == 1 else f"{unit.n[0]} to {unit.n[-1]}"


def unit_rows(records: JobRecords) -> Rows:
    rows = [
        [
            unit.name,
            _sizes(unit),
            str(unit.cases),
            hours(unit.planned),
            hours(unit.measured) if unit.attempts else "-",
            f"{unit.ratio:.2g}" if unit.attempts and math.isfinite(unit.ratio) else "-",
            str(unit.attempts),
            "yes" if unit.done else "no",
        ]
        for unit in records.units
    ]
    return ("unit", "n", "cases", "planned", "measured", "ratio", "attempts", "done"), rows


def jobs_section(records: JobRecords, valid_cases: int | None = None, decided_claims: int | None = None) -> Markup:
    return render("jobs", tables=(summary(records, valid_cases, decided_claims), unit_rows(records)))
