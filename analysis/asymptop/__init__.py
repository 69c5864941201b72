"""Asymptop's analysis: reads results files, fits scaling laws, judges claims, writes the report.

    open_results(path)          a results file, checked: its cases and how they were measured
    to_xarray(case)             all numbers of a case as labelled arrays
    group_series(cases)         cases that differ in n only, as lines
    fit_law(series, name, at)   the exponent of a quantity along a line, with its interval
    judge(series, claims)       a verdict for every claim; CLAIMS are the package's own, SELECTOR_CLAIMS its own about
                                other selectors than exact top-k, read_claims(path) yours

What is named in `__all__` is the public interface; modules are imported when a name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .claims.registry import CLAIMS, SELECTOR_CLAIMS, judge
    from .claims.toml_file import ClaimsError, read_claims
    from .criteria.verdicts import Claim, Finding, Judgement, Verdict
    from .fits.exponents import FitError, PowerFit
    from .fits.law_fit import fit_law
    from .fits.quantities import QUANTITIES
    from .io.labelled import to_xarray
    from .io.reader import Case, Results, ResultsError, open_results
    from .io.series import Series, group_series

__version__ = "0.1.0"

_HOMES = {
    "CLAIMS": "claims.registry",
    "SELECTOR_CLAIMS": "claims.registry",
    "judge": "claims.registry",
    "ClaimsError": "claims.toml_file",
    "read_claims": "claims.toml_file",
    "Claim": "criteria.verdicts",
    "Finding": "criteria.verdicts",
    "Judgement": "criteria.verdicts",
    "Verdict": "criteria.verdicts",
    "FitError": "fits.exponents",
    "PowerFit": "fits.exponents",
    "fit_law": "fits.law_fit",
    "QUANTITIES": "fits.quantities",
    "to_xarray": "io.labelled",
    "Case": "io.reader",
    "Results": "io.reader",
    "ResultsError": "io.reader",
    "open_results": "io.reader",
    "Series": "io.series",
    "group_series": "io.series",
}

__all__ = [
    "CLAIMS",
    "QUANTITIES",
    "SELECTOR_CLAIMS",
    "Case",
    "Claim",
    "ClaimsError",
    "Finding",
    "FitError",
    "Judgement",
    "PowerFit",
    "Results",
    "ResultsError",
    "Series",
    "Verdict",
    "fit_law",
    "group_series",
    "judge",
    "open_results",
    "read_claims",
    "to_xarray",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
