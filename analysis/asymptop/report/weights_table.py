"""The report of `weights`, as a table to read and as records."""

from __future__ import annotations

from typing import TextIO

from ..criteria.decisions import power_of_two
from .weights import WeightsReport


def print_heads(report: WeightsReport, stream: TextIO) -> None:
    inputs, measured = report.inputs, any(r.sigma_measured is not None for r in report.heads)
    sizes = [p.n for p in report.heads[0].predictions]
    captured = any(r.sigma_captured is not None for r in report.heads)
    first = ["layer", "head", "‖W‖_F", "R", "sigma", *(["sigma measured"] if measured else [])]
    first += ["captured"] if captured else []
    first += [f"n={power_of_two(n)}" for n in sizes]
    rows = [[*first, f"k for tail mass {report.epsilon:g}", "largest tail mass", "row l2 error"]]
    for r in report.heads:
        cells = [r.layer or "–", str(r.head), f"{r.norm:.4g}", f"{r.r:.4g}", f"{r.sigma_isotropic:.3f}"]
        cells += [f"{r.sigma_measured:.3f}"] if measured else []
        cells += ["–" if r.sigma_captured is None else f"{r.sigma_captured:.3f}"] if captured else []
        cells += [f"{p.phase} {p.c:.2f}, {p.entries:.3g}" for p in r.predictions]
        errors = (max(p.tail_mass for p in r.predictions), max(p.row_error for p in r.predictions))
        rows.append([*cells, r.law, *(f"{e:.3g}" for e in errors)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(f"B = {inputs.bound:.4g}, std = {inputs.std:.4g} ({inputs.words})", file=stream)
    print(f"scale = {_scales(report)}", file=stream)
    for note in report.notes:
        print(f"note: {note}", file=stream)
    if report.left_out:
        print(f"left out: {'; '.join(report.left_out)}", file=stream)
    print("under each n: regime, c of sigma = c sqrt(log n), entries that carry a row (exp of entropy)\n", file=stream)
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip(), file=stream)
    print(
        "\nspread: c < 0.71; thinning: c < 1.41, about n^(1-c^2/2) entries; frozen: a few entries. A fixed sigma "
        "spreads as n grows.",
        file=stream,
    )


def _scales(report: WeightsReport) -> str:
    """The factors on the logits, and where they come from."""
    factors = {r.scale.factor for r in report.heads}
    words = "; ".join(dict.fromkeys(r.scale.source for r in report.heads))
    return f"{min(factors):.6g}{f' to {max(factors):.6g}' if len(factors) > 1 else ''} ({words})"


def records(report: WeightsReport) -> dict:
    factors = {r.scale.factor for r in report.heads}
    return {
        "bound": report.inputs.bound,
        "std": report.inputs.std,
        "inputs": report.inputs.words,
        "epsilon": report.epsilon,
        "scale": factors.pop() if len(factors) == 1 else None,
        "scale_from": "; ".join(dict.fromkeys(r.scale.source for r in report.heads)),
        "notes": list(report.notes),
        "left_out": list(report.left_out),
        "heads": [
            {
                "layer": r.layer,
                "head": r.head,
                "kv_head": r.kv_head,
                "scale": r.scale.factor,
                "frobenius": r.norm,
                "R": r.r,
                "sigma": r.sigma_isotropic,
                "sigma_measured": r.sigma_measured,
                "sigma_captured": r.sigma_captured,
                "k_law": r.law,
                "predictions": [vars(p) for p in r.predictions],
            }
            for r in report.heads
        ],
    }
