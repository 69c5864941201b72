"""The sections of report.html."""

from __future__ import annotations

import json
from collections.abc import Sequence

from markupsafe import Markup

from ..claims.verdict_table import HEADINGS, cells, short
from ..criteria.exponents import power_of_two
from ..criteria.replicates import contexts_of, contexts_words, replicates_words, rows_words, target_words
from ..criteria.verdicts import Judgement
from ..figures.captions import (
    CHECKS,
    CHECKS_OF_SIMULATED,
    FITS_EXPLAINED,
    REPLICATES_EXPLAINED,
    VERDICTS_EXPLAINED,
)
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
from ..io.series import SIMULATED, Series
from ..theory.sizes import count_words
from .templates import badge, prose, render

_NUMERIC = {"fitted", "95% interval", "corrected", "claimed", "i.i.d. limit", "largest n", "draws", "rows"}
_MOST_NAMED = 8


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _names(series: Sequence[Series]) -> str:
    """All titles where they are few. Heads of one file after its name, which is said once."""
    titles = [one.title for one in series]
    name = f"{series[0].first.input}, "
    of_one_file = len(series) > 1 and all(title.startswith(name) for title in titles)
    if len(series) > _MOST_NAMED:
        return f"{len(series)} heads of {series[0].first.input}" if of_one_file else f"{len(series)} series"
    if not of_one_file:
        return _listed(titles)
    return f"{name}{'; '.join(title.removeprefix(name) for title in titles)}"


def summary_section(results: Results, series: Sequence[Series]) -> Markup:
    cases = results.exact or results.cases
    valid = [c for c in cases if c.valid]
    sizes = sorted({c.n for c in cases})
    extent = "= " if len(sizes) == 1 else f"from {power_of_two(sizes[0])} to "
    extent += power_of_two(sizes[-1])
    draws = sorted({c.draws for c in cases})
    rows = sum(c.draws * c.rows for c in valid)
    invalid = len(cases) - len(valid)
    what = _names(series) if series else "none of exact top-k, which claims and figures are about"
    of = " of exact top-k" if 0 < len(results.exact) < len(results.cases) else ""
    independent = "" if contexts_of(cases) else "independent "
    data = (
        f"{len(cases)} case{'s' if len(cases) != 1 else ''}{of} with n {extent}, "
        f"{draws[0] if len(draws) == 1 else f'{draws[0]} to {draws[-1]}'} {independent}draw{'s' * (draws[-1] > 1)} each"
        f"{contexts_words(cases)} and {rows:,} measured rows in all: {what}."
    )
    fault = f" {invalid} of the cases failed a self-check; they are shown and never fitted." if invalid else ""
    sentences = filter(None, (data + fault, rows_words(cases), target_words(results.cases)))
    return render("summary", name=results.path.name, date=results.provenance["date_utc"], sentences=sentences)


def _tests(judgement: Judgement) -> list[list[str]]:
    """The tests of a claim, as rows of its table."""
    rows: list[list[str]] = []
    for finding in judgement.findings:
        row: list[str] = [prose(cell) for cell in cells(judgement.claim.id, finding)]
        row[-1] = badge(finding.verdict.value)
        rows.append([*row[1:3], *row[4:], prose(finding.match or ("" if finding.fitted_name else finding.sentence))])
    return rows


def claims_section(judgements: Sequence[Judgement]) -> Markup:
    headings = (*HEADINGS[1:3], *HEADINGS[4:], "prediction, held-out n, alternatives")
    judged = [(judgement, _tests(judgement)) for judgement in judgements]
    return render("claims", words=VERDICTS_EXPLAINED, headings=headings, numeric=_NUMERIC, judged=judged)


def _reach(slope: Slope) -> str:
    return f"[{short(slope.interval.low)}, {short(slope.interval.high)}]"


def _slope_words(slope: Slope) -> tuple[str, str, str]:
    return f"{power_of_two(slope.n_low)}–{power_of_two(slope.n_high)}", short(slope.value), _reach(slope)


def _fit_row(quantity: Quantity, parameter: str, fit: PowerFit) -> tuple[str, ...]:
    without = fit.without_smallest
    excluded = "; ".join(f"n = {power_of_two(p.n)}: {p.excluded}" for p in fit.excluded)
    return (
        quantity.words,
        prose(parameter),
        short(fit.exponent),
        f"[{short(fit.interval.low)}, {short(fit.interval.high)}]",
        "–" if without is None else f"{short(without.value)} {_reach(without)}",
        render("slopes", slopes=[_slope_words(s) for s in fit.local_slopes]),
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
            along = parameter if "ε" in parameter or not parameter else f"k = {parameter}"
            rows.append(_fit_row(quantity, along, fit_power(measured)))
        except FitError:
            continue
    return rows


def fits_section(series: Sequence[Series]) -> Markup:
    blocks = [(one.title, rows) for one in series if one.cases and (rows := _fits_of(one))]
    return render("fits", words=FITS_EXPLAINED, blocks=blocks)


def checks_section(cases: Sequence[Case]) -> Markup:
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
        words = (CHECKS | CHECKS_OF_SIMULATED if case.input == SIMULATED else CHECKS).get(name, "")
        rows.append((name, words, count_words(residual, 3), count_words(tolerance, 3), case.id, badge(state)))
    invalid = [(case, power_of_two(case.n)) for case in cases if not case.valid]
    return render("checks", rows=rows, invalid=invalid, count=len(cases))


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


def _counted(number: object, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def provenance_section(results: Results) -> Markup:
    facts = results.provenance
    entries = [
        ("Asymptop", f"{facts['version']}, git {facts['git_hash']}"),
        ("Date (UTC)", facts["date_utc"]),
        ("Seed, block", f"{facts['seed']}, {facts['block']} keys"),
        ("Ranks", f"{_counted(facts['ranks'], 'rank')} with {_counted(facts['threads_per_rank'], 'thread')} each"),
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
    cases = results.exact or results.cases
    # Cases that share passes over the keys, as laws of sigma and selectors do, have the same seconds: those of all.
    seconds = sum(took for _, _, took in {(c.n, c.d, float(c.attributes["seconds_total"])) for c in cases})
    how = sorted(
        {f"{c.attributes['keys']} keys, {c.attributes['merge']} merge, {c.attributes['path']} path" for c in cases}
    )
    entries += [("Computed by", "; ".join(how)), ("Time", f"{seconds:.3g} s, the slowest rank's of each case")]
    on_gpus = [c.attributes for c in cases if "device_peak_bytes" in c.attributes]
    if on_gpus:
        held = max(int(a["device_peak_bytes"]) for a in on_gpus)
        planned = max(int(a["device_planned_bytes"]) for a in on_gpus)
        entries.append(
            ("GPU memory", f"at most {held / 1e9:.3g} GB of a rank's GPU held, {planned / 1e9:.3g} GB planned")
        )
    words = REPLICATES_EXPLAINED.format(draws=replicates_words(cases))
    return render("measured", words=words, entries=entries, provenance=facts)
