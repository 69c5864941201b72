"""The arithmetic of tests/peers: what rounds of `asymptop bench` and of the peers become. No peer is imported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[1] / "peers" / "comparison.py"
SPEC = importlib.util.spec_from_file_location("comparison", FILE)
comparison = importlib.util.module_from_spec(SPEC)
sys.modules["comparison"] = comparison  # dataclasses look their module up
SPEC.loader.exec_module(comparison)

Case, Measured = comparison.Case, comparison.Measured
TOP_16 = Case("top-k", 16)
SIZES = (1024, 64, 8)


def record(
    path: str, seconds: float, kernel: str = "top-k", k: int | None = 16, verdict: str = "VALID"
) -> dict[str, Any]:
    return {
        "kernel": kernel,
        "k": k,
        "path": path,
        "median_seconds": seconds,
        "verdict": verdict,
        "verdict_reason": "off",
    }


def test_cases_repeat_k_only_where_keys_are_selected() -> None:
    assert comparison.cases_of(["top-k", "exact-attention"], [16, 32]) == [
        TOP_16,
        Case("top-k", 32),
        Case("exact-attention", 0),
    ]


def test_flops_are_those_of_the_bench() -> None:
    n, d, m = SIZES
    assert comparison.flops(TOP_16, *SIZES) == 2 * m * n * d
    assert comparison.flops(Case("exact-attention", 0), *SIZES) == 4 * m * n * d
    assert comparison.flops(Case("top-k-attention", 16), *SIZES) == 2 * m * n * d + 2 * m * 16 * d


def test_rounds_gather_by_path_and_one_invalid_round_is_kept() -> None:
    measured: dict[Any, Any] = {}
    comparison.settle_asymptop(
        [record("fused", 1.0), record("blas-tile", 3.0), record("fused", 5.0, "exact-attention", None)], measured
    )
    comparison.settle_asymptop([record("fused", 2.0, verdict="INVALID"), record("blas-tile", 4.0)], measured)
    comparison.settle_asymptop([record("fused", 1.5)], measured)
    fused = measured["asymptop fused", TOP_16]
    assert fused.rounds == [1.0, 2.0, 1.5]
    assert fused.median == 1.5
    assert fused.verdict == "INVALID: off"
    assert measured["asymptop blas-tile", TOP_16].verdict == "VALID"
    assert measured["asymptop fused", Case("exact-attention", 0)].rounds == [5.0]


def test_ratio_is_of_medians_and_its_range_of_rounds() -> None:
    ours, peer = Measured("asymptop fused", TOP_16, [1.0, 2.0, 4.0]), Measured("faiss", TOP_16, [10.0, 10.0, 30.0])
    assert comparison.ratios(ours, peer) == (5.0, 5.0, 10.0)
    with pytest.raises(ValueError, match="zip"):
        comparison.ratios(ours, Measured("faiss", TOP_16, [1.0]))


def test_records_compare_with_peers_of_the_same_case_alone() -> None:
    rows = [
        Measured("faiss", TOP_16, [2.0]),
        Measured("torch", Case("top-k", 32), [8.0]),
        Measured("asymptop fused", TOP_16, [0.5]),
        Measured("asymptop fused", Case("top-k", 32), [1.0]),
    ]
    records = comparison.as_records(rows, SIZES, 1e-3)
    assert [(r["k"], r["who"]) for r in records] == [
        (16, "faiss"),
        (16, "asymptop fused"),
        (32, "torch"),
        (32, "asymptop fused"),
    ]
    assert records[0]["times_faster_than"] == {}
    assert records[1]["times_faster_than"] == {"faiss": {"median": 4.0, "least": 4.0, "most": 4.0}}
    assert list(records[3]["times_faster_than"]) == ["torch"]
    assert records[1]["gflops"] == pytest.approx(2 * 8 * 1024 * 64 / 0.5 / 1e9)
    assert records[1]["share_of_sgemm"] == pytest.approx(records[1]["gflops"] / 1e-3)


def test_table_is_aligned_and_says_what_was_not_measured() -> None:
    rows = [Measured("faiss", TOP_16, [2.0]), Measured("asymptop fused", TOP_16, [0.5], "INVALID: off")]
    rows.append(Measured("asymptop fused", Case("exact-attention", 0), [0.5]))
    lines = comparison.table(rows, SIZES, 1.0).splitlines()
    assert lines[0].split()[:4] == ["kernel", "d", "k", "who"]
    assert "4.00 (4.00-4.00)" in lines[2]
    assert lines[2].endswith("INVALID: off")
    assert (
        len({line.index(word) for line, word in zip(lines, ["verdict", "VALID", "INVALID", "VALID"], strict=True)}) == 1
    )
    assert "times faiss" in lines[0]
    assert lines[3].split()[-2:] == ["-", "VALID"]
