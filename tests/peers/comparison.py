"""From measured seconds to medians, rates and ratios; the standard library alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SELECTING = ("top-k", "top-k-attention")


class Case(NamedTuple):
    kernel: str
    k: int  # 0 where the kernel does not select


@dataclass
class Measured:
    """One way to compute one case: `who` is a peer, or asymptop and its path."""

    who: str
    case: Case
    rounds: list[float] = field(default_factory=list)  # seconds, one median per round
    verdict: str = "VALID"

    @property
    def is_asymptop(self) -> bool:
        return self.who.startswith("asymptop ")

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


def cases_of(kernels: Iterable[str], ks: Iterable[int]) -> list[Case]:
    ks = list(ks)
    return [Case(kernel, k) for kernel in kernels for k in (ks if kernel in SELECTING else [0])]


def flops(case: Case, n: int, d: int, m: int) -> float:
    """As `asymptop bench` counts them."""
    if case.kernel == "exact-attention":
        return 4.0 * m * n * d
    return 2.0 * m * n * d + (2.0 * m * case.k * d if case.kernel == "top-k-attention" else 0.0)


def settle_asymptop(records: list[dict[str, Any]], measured: dict[tuple[str, Case], Measured]) -> None:
    """Adds the records of one `asymptop bench`, one round. An invalid round makes the row invalid."""
    for record in records:
        case = Case(record["kernel"], record["k"] or 0)
        who = f"asymptop {record['path']}"
        row = measured.setdefault((who, case), Measured(who, case))
        row.rounds.append(record["median_seconds"])
        if record["verdict"] != "VALID":
            row.verdict = f"{record['verdict']}: {record['verdict_reason']}"


def ratios(ours: Measured, peer: Measured) -> tuple[float, float, float]:
    """How many times faster ours is: of the medians, and the least and largest of the rounds."""
    each = [theirs / own for theirs, own in zip(peer.rounds, ours.rounds, strict=True)]
    return peer.median / ours.median, min(each), max(each)


def in_order(measured: Iterable[Measured]) -> list[Measured]:
    """By case in the order of first appearance; within a case peers first, as they were measured."""
    rows = list(measured)
    first: dict[tuple[str, int], int] = {}
    kernels: dict[str, int] = {}
    for row in rows:
        kernels.setdefault(row.case.kernel, len(kernels))
        first.setdefault(row.case, len(first))
    return sorted(rows, key=lambda row: (kernels[row.case.kernel], row.case.k, row.is_asymptop))


def as_records(measured: Iterable[Measured], sizes: tuple[int, int, int], sgemm: float) -> list[dict[str, Any]]:
    rows = in_order(measured)
    peers = {(row.who, row.case): row for row in rows if not row.is_asymptop}
    records = []
    for row in rows:
        rate = flops(row.case, *sizes) / row.median / 1e9
        record = {
            "kernel": row.case.kernel,
            "d": sizes[1],
            "k": row.case.k or None,
            "who": row.who,
            "median_seconds": row.median,
            "round_seconds": row.rounds,
            "gflops": rate,
            "share_of_sgemm": rate / sgemm,
            "times_faster_than": {},
            "verdict": row.verdict,
        }
        if row.is_asymptop:
            faster = {who: ratios(row, peer) for (who, case), peer in peers.items() if case == row.case}
            record["times_faster_than"] = {
                who: {"median": median, "least": least, "most": most} for who, (median, least, most) in faster.items()
            }
        records.append(record)
    return records


def table(measured: Iterable[Measured], sizes: tuple[int, int, int], sgemm: float) -> str:
    """Aligned rows: ratios above 1 mean that Asymptop is faster; in brackets their range over the rounds."""
    records = as_records(measured, sizes, sgemm)
    peers = list(dict.fromkeys(r["who"] for r in records if not r["who"].startswith("asymptop ")))
    heading = ["kernel", "d", "k", "who", "median s", "GFLOP/s", "% sgemm"]
    lines = [[*heading, *(f"times {peer}" for peer in peers), "verdict"]]
    for r in records:
        faster = []
        for peer in peers:
            ratio = r["times_faster_than"].get(peer)
            faster.append(f"{ratio['median']:.2f} ({ratio['least']:.2f}-{ratio['most']:.2f})" if ratio else "-")
        rate, share = f"{r['gflops']:.1f}", f"{100 * r['share_of_sgemm']:.1f}"
        row = [r["kernel"], str(r["d"]), str(r["k"] or "-"), r["who"], f"{r['median_seconds']:.4g}", rate, share]
        lines.append([*row, *faster, r["verdict"]])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    left = {0, 3, len(widths) - 1}

    def aligned(line: list[str]) -> str:
        cells = enumerate(zip(line, widths, strict=True))
        return "  ".join(cell.ljust(width) if i in left else cell.rjust(width) for i, (cell, width) in cells).rstrip()

    return "\n".join(aligned(line) for line in lines)
