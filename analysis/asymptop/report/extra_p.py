"""Extra-P's text format, for a second opinion on every exponent: the parameter n, a region per series.

Extra-P numbers the data lines of a region by the points, so that all regions share the n that every series has. The
repetitions are the draws' means. Zeros and clipped k are left out with the whole metric. Extra-P takes values to grow
unless it is told otherwise (findings/extrap-falling-powers.sh), and most errors fall: the file names the options.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..fits.exponents import Point
from ..fits.quantities import (
    EFFECTIVE_ENTRIES,
    ERRORS,
    K_EPSILON,
    OUTPUT_ERROR,
    P_MAX,
    PARTICIPATION_RATIO,
    points,
    points_of_law,
)
from ..io.series import Series

COMMAND = "extrap --text FILE --modeler basic --options allow_negative_exponents=1"


def _metrics(series: Series) -> dict[str, list[Point]]:
    found = {
        f"{q.name} k={law}": points_of_law(series, q, law) for q in (*ERRORS, OUTPUT_ERROR) for law in series.k_laws
    }
    found |= {f"k_epsilon epsilon={e:g}": points(series, K_EPSILON, e) for e in series.epsilons}
    return found | {q.name: points(series, q) for q in (PARTICIPATION_RATIO, EFFECTIVE_ENTRIES, P_MAX)}


def _region(series: Series) -> str:
    return series.title.replace("σ", "sigma").replace(" ", "")


def _usable(found: Sequence[Point], sizes: Sequence[int]) -> dict[int, Point] | None:
    by_n = {
        p.n: p for p in found if not p.excluded and np.all(np.isfinite(p.draw_values)) and np.mean(p.draw_values) > 0
    }
    return by_n if all(n in by_n for n in sizes) else None


def extra_p_text(series: Sequence[Series]) -> str:
    """The file; empty where the series share no n."""
    measured = [s for s in series if s.cases]
    if not measured:
        return ""
    sizes = sorted(set.intersection(*({c.n for c in s.cases} for s in measured)))
    if not sizes:
        return ""
    by_region = {_region(s): {m: _usable(p, sizes) for m, p in _metrics(s).items()} for s in measured}
    shared = [
        metric
        for metric in next(iter(by_region.values()))
        if all(metrics.get(metric) is not None for metrics in by_region.values())
    ]
    lines = [
        "# Asymptop: means over rows, one repetition per draw",
        f"# {COMMAND}",
        "PARAMETER n",
        f"POINTS {' '.join(map(str, sizes))}",
    ]
    for region, metrics in by_region.items():
        lines.append(f"REGION {region}")
        for metric in shared:
            found = metrics[metric]
            if found is None:
                continue
            lines.append(f"METRIC {metric}")
            for n in sizes:
                point = found[n]
                lines.append("DATA " + " ".join(repr(float(v)) for v in point.draw_values**point.power))
    return "\n".join(lines) + "\n"


def write_extra_p(path: Path, series: Sequence[Series]) -> None:
    path.write_text(extra_p_text(series), encoding="utf-8")
