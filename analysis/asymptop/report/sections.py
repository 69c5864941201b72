"""The sections of report.html."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape

from ..claims.verdict_table import HEADINGS, cells, short
from ..criteria.exponents import power_of_two
from ..criteria.verdicts import Judgement, Verdict
from ..figures.captions import FITS_EXPLAINED, REPLICATES_EXPLAINED, VERDICTS_EXPLAINED
from ..fits.exponents import FitError, PowerFit, Slope, fit_power
from ..fits.quantities import (
    EFFECTIVE_ENTRIES,
    ERRORS,
    K_EPSILON,
    OUTPUT_ERROR,
    PARTICIPATION_RATIO,
    Quantity,
    points,
    points_of_law,
)
from ..io.reader import Case, Results
from ..io.series import Series

_FEW_CLAIMS = 8
_NUMERIC = {"fitted", "95% interval", "corrected", "claimed", "i.i.d. limit", "largest n", "draws", "rows"}


def prose(text: str) -> str:
    """Escaped text with powers set as superscripts."""
    return re.sub(
        r"\^\+?(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|[-−]?\w+(?:\.\d+)?)",
        lambda m: f"<sup>{m[1].replace('-', '−')}</sup>",
        escape(text),
    )


def badge(verdict: str) -> str:
    return f'<span class="verdict {escape(verdict)}">{escape(verdict)}</span>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: set[str] = frozenset()) -> str:
    """An HTML table of cells that are already HTML."""
    kinds = ['class="number"' if h in numeric else "" for h in headings]
    head = "".join(f"<th {kind}>{escape(h)}</th>" for h, kind in zip(headings, kinds, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td {kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _headline(judgements: Sequence[Judgement]) -> str:
    """The verdicts in one sentence: by name where they are few."""
    parts = []
    for verdict, words in (
        (Verdict.CONTRADICTED, "contradict"),
        (Verdict.SUPPORTED, "support"),
        (Verdict.UNDECIDED, "leave open"),
        (Verdict.NOT_TESTED, "do not test"),
    ):
        names = [j.claim.id for j in judgements if j.verdict is verdict]
        if names:
            parts.append(f"{words} {_listed(names) if len(judgements) <= _FEW_CLAIMS else len(names)}")
    if not parts:
        return "No claim is registered."
    among = f"Of {len(judgements)} claims the data" if len(judgements) > _FEW_CLAIMS else "The data"
    return f"{among} {_listed(parts)}."


def _striking_number(judgements: Sequence[Judgement]) -> str:
    """The first decided claim's example, as the number to remember."""
    for judgement in judgements:
        if judgement.verdict in (Verdict.CONTRADICTED, Verdict.SUPPORTED) and judgement.findings:
            return f"{judgement.claim.id}: {judgement.sentence}"
    return ""


def summary_section(results: Results, series: Sequence[Series], judgements: Sequence[Judgement]) -> str:
    valid = [c for c in results.cases if c.valid]
    sizes = sorted({c.n for c in results.cases})
    extent = power_of_two(sizes[0]) if len(sizes) == 1 else f"{power_of_two(sizes[0])} to {power_of_two(sizes[-1])}"
    draws = sorted({c.draws for c in results.cases})
    rows = sum(c.draws * c.rows for c in valid)
    invalid = len(results.cases) - len(valid)
    what = _listed([s.title for s in series]) if len(series) <= 8 else f"{len(series)} series"
    data = (
        f"{len(results.cases)} case{'s' if len(results.cases) != 1 else ''} with n from {extent}, "
        f"{draws[0] if len(draws) == 1 else f'{draws[0]} to {draws[-1]}'} independent draws each and {rows:,} "
        "measured rows in "
        f"all: {what}."
    )
    fault = f" {invalid} of the cases failed a self-check; they are shown and never fitted." if invalid else ""
    striking = _striking_number(judgements)
    return (
        "<h1>How attention becomes sparse as the context grows</h1>"
        f'<p class="muted">Asymptop report on {escape(results.path.name)}, measured '
        f"{escape(str(results.provenance['date_utc']))}</p>"
        f'<p class="lead">{prose(data)}{prose(fault)} {prose(_headline(judgements))} {prose(striking)}</p>'
    )


def _claim_block(judgement: Judgement) -> str:
    claim = judgement.claim
    rows = []
    for finding in judgement.findings:
        row = [prose(cell) for cell in cells(claim.id, finding)]
        row[-1] = badge(finding.verdict.value)
        rows.append([*row[1:3], *row[4:], prose(finding.match or ("" if finding.fitted_name else finding.sentence))])
    headings = (*HEADINGS[1:3], *HEADINGS[4:], "prediction, held-out n, alternatives")
    open_now = " open" if len(rows) <= 3 else ""
    details = (
        f"<details{open_now}><summary>{len(rows)} test{'s' if len(rows) != 1 else ''}, by regime and k law</summary>"
        f"{table(headings, rows, _NUMERIC)}</details>"
        if rows
        else ""
    )
    return (
        f'<section class="claim" id="claim-{escape(claim.id)}">'
        f"<h3>{escape(claim.id)} {badge(judgement.verdict.value)}</h3>"
        f'<p>{prose(claim.sentence)} <span class="muted">({escape(claim.source)}; {escape(claim.regime)}; '
        f"norm: {escape(claim.norm)})</span></p>"
        f"<p>{prose(judgement.sentence)}</p>"
        f'<p class="formula">{prose(claim.formula)}</p>'
        f"{details}</section>"
    )


def claims_section(judgements: Sequence[Judgement]) -> str:
    explanation = f'<p class="muted">{prose(VERDICTS_EXPLAINED)}</p>'
    blocks = "\n".join(_claim_block(j) for j in judgements)
    return f'<h2 id="claims">Claims and verdicts</h2>{explanation}{blocks}'


def _slope_words(slope: Slope) -> str:
    reach = f"[{short(slope.interval.low)}, {short(slope.interval.high)}]"
    pair = f"{power_of_two(slope.n_low)}–{power_of_two(slope.n_high)}"
    return f"{prose(pair)}: {short(slope.value)} <span class='muted'>{reach}</span>"


def _fit_row(series: Series, quantity: Quantity, parameter: str, fit: PowerFit) -> tuple[str, ...]:
    without = fit.without_smallest
    excluded = "; ".join(f"n = {power_of_two(p.n)}: {p.excluded}" for p in fit.excluded)
    return (
        prose(series.title),
        escape(quantity.words),
        prose(parameter),
        short(fit.exponent),
        f"[{short(fit.interval.low)}, {short(fit.interval.high)}]",
        "–"
        if without is None
        else f"{short(without.value)} [{short(without.interval.low)}, {short(without.interval.high)}]",
        "<br>".join(_slope_words(s) for s in fit.local_slopes),
        "yes" if fit.bends else "no",
        prose(excluded),
    )


def _fits_of(series: Series) -> list[tuple[str, ...]]:
    wanted = [(q, law, points_of_law(series, q, law)) for q in (*ERRORS, OUTPUT_ERROR) for law in series.k_laws]
    wanted += [(K_EPSILON, f"ε = {e:g}", points(series, K_EPSILON, e)) for e in series.epsilons]
    wanted += [(q, "", points(series, q)) for q in (PARTICIPATION_RATIO, EFFECTIVE_ENTRIES)]
    rows = []
    for quantity, parameter, measured in wanted:
        try:
            rows.append(
                _fit_row(
                    series,
                    quantity,
                    parameter if "ε" in parameter or not parameter else f"k = {parameter}",
                    fit_power(measured),
                )
            )
        except FitError:
            continue
    return rows


def fits_section(series: Sequence[Series]) -> str:
    headings = (
        "regime",
        "quantity",
        "along",
        "exponent",
        "95% interval",
        "without the smallest n",
        "local slopes",
        "bends",
        "left out",
    )
    blocks = []
    for one in series:
        rows = _fits_of(one) if one.cases else []
        if rows:
            body = table(
                headings[1:], [row[1:] for row in rows], {"exponent", "95% interval", "without the smallest n"}
            )
            blocks.append(f"<details><summary>{prose(one.title)}: {len(rows)} fits</summary>{body}</details>")
    words = f"<p>{prose(FITS_EXPLAINED)}</p>"
    content = "\n".join(blocks) if blocks else "<p>No series has two usable n.</p>"
    return f'<h2 id="fits">Fitted exponents and local slopes</h2>{words}{content}'


def checks_section(cases: Sequence[Case]) -> str:
    """The worst residual of every self-check, and every INVALID case with its reason."""
    worst: dict[str, tuple[float, float, Case]] = {}
    for case in cases:
        for name, residual, tolerance in zip(case.check, case.check_residual, case.check_tolerance, strict=True):
            excess = float(residual - tolerance) if tolerance == 0 else float(residual / tolerance)
            known = worst.get(name)
            if known is None or not excess <= known[0]:
                worst[name] = (excess, float(residual), case)
    rows = []
    for name, (_, residual, case) in worst.items():
        tolerance = float(case.check_tolerance[case.check.index(name)])
        state = "VALID" if residual <= tolerance else "INVALID"
        rows.append((escape(name), f"{residual:.3g}", f"{tolerance:.3g}", escape(case.id), badge(state)))
    body = table(("check", "worst residual", "tolerance", "in case", "verdict"), rows, {"worst residual", "tolerance"})
    listing = "".join(
        f"<li>{badge('INVALID')} {escape(c.id)} (n = {prose(power_of_two(c.n))}, σ = {prose(c.sigma_law)}): "
        f"{escape(c.verdict_reason)}</li>"
        for c in cases
        if not c.valid
    )
    bad = (
        f"<p>INVALID cases, shown as crosses in the figures and left out of every fit:</p><ul>{listing}</ul>"
        if listing
        else (f"<p>All {len(cases)} cases are VALID.</p>")
    )
    words = (
        "<p>Every case checks itself while it runs. The worst residual over all cases stands beside its tolerance.</p>"
    )
    return f'<h2 id="checks">Self-checks</h2>{words}{body}{bad}'


def _slurm_words(text: str) -> str:
    try:
        variables = json.loads(text)
    except ValueError:
        return text
    return (
        ", ".join(f"{k}={v}" for k, v in variables.items())
        if isinstance(variables, dict) and variables
        else "not under SLURM"
    )


def provenance_section(results: Results) -> str:
    facts = results.provenance
    entries = [
        ("Asymptop", f"{facts['version']}, git {facts['git_hash']}"),
        ("Date (UTC)", facts["date_utc"]),
        ("Seed, block", f"{facts['seed']}, {facts['block']} keys"),
        ("Ranks", f"{facts['ranks']} ranks with {facts['threads_per_rank']} threads"),
        ("Hosts", facts["host_names"]),
        ("SLURM", _slurm_words(str(facts["slurm"]))),
        ("Compiler", f"{facts['compiler']}, {facts['build_type']}: {facts['compile_options']}"),
        ("Kokkos", f"{facts['kokkos_version']}, {facts['execution_space']}"),
        (
            "BLAS",
            f"{facts['blas']}, kernel {facts['blas_kernel']}; sgemm at the score tile's shape "
            f"{facts['sgemm_gflops']:.4g} GFLOP/s",
        ),
        ("MPI, HDF5", f"{facts['mpi_version']}, {facts['hdf5_version']}"),
    ]
    seconds = sum(float(c.attributes["seconds_total"]) for c in results.cases)
    how = sorted(
        {
            f"{c.attributes['keys']} keys, {c.attributes['merge']} merge, {c.attributes['path']} path"
            for c in results.cases
        }
    )
    entries += [("Computed by", "; ".join(how)), ("Time", f"{seconds:.3g} s over all cases, slowest rank")]
    listing = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in entries)
    words = f"<p>{prose(REPLICATES_EXPLAINED)}</p>"
    return (
        f'<h2 id="measured">How this was measured</h2>{words}<dl>{listing}</dl>'
        f"<h3>Command</h3><pre>{escape(str(facts['command_line']))}</pre>"
        f"<h3>Configuration</h3><pre>{escape(str(facts['config_text']))}</pre>"
        f"<h3>Rank layout</h3><pre>{escape(str(facts['rank_layout']))}</pre>"
    )
