"""The block `FOM v1` that ends what a measuring command prints: jobs/README.md says how it is read."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import h5py
import pytest
from command_line import asymptop

LINE = re.compile(r"FOM +(?P<name>\S+) +(?P<value>\S+) +(?P<unit>\S+) +(?P<better>higher|lower)")
EVERY = {"elapsed": ("s", "lower"), "peak-memory-per-rank": ("MB", "lower")}
RUNS = {
    "study": (
        ["study", "--n", "64,300", "--k", "8", "--rows", "6", "--draws", "2", "--sigma", "1,2", "--block", "64"],
        2,
    ),
    "simulate": (["simulate", "--n", "2^20", "--draws", "3"], 1),
    "precision": (["precision", "--n", "100", "--draws", "3"], 1),
    "attend": (["attend", "--n", "200", "--k", "8", "--block", "64", "--mask", "none,causal"], 2),
    "bench": (
        [
            "bench",
            "--kernel",
            "score,top-k,merge",
            "--n",
            "300",
            "--d",
            "8",
            "--m",
            "6",
            "--k",
            "10",
            "--samples",
            "3",
            "--block",
            "64",
        ],
        2,
    ),
}


def figures(text: str) -> tuple[dict[str, tuple[float, str, str]], str]:
    """The block at the end of a text, and its last word."""
    head, _, block = text.rpartition("FOM v1\n")
    assert "FOM" not in head
    *lines, last = block.splitlines()
    assert last in ("FOM v1 VALID", "FOM v1 INVALID")
    found = {}
    for line in lines:
        match = LINE.fullmatch(line)
        assert match is not None, line
        assert match["name"] not in found
        found[match["name"]] = (float(match["value"]), match["unit"], match["better"])
    return found, last.split()[-1]


@pytest.mark.parametrize("command", RUNS)
def test_every_command_ends_with_figures(tmp_path: Path, command: str) -> None:
    arguments, ranks = RUNS[command]
    outcome = asymptop(*arguments, "-o", "r.h5", "--json", "r.json", cwd=tmp_path, ranks=ranks)
    found, verdict = figures(outcome.stdout)
    assert outcome.code == 0
    assert verdict == "VALID"
    for name, (unit, better) in EVERY.items():
        value = found.pop(name)
        assert value[1:] == (unit, better)
        assert 0.0 < value[0] < 1e5, name
    assert found
    assert all(math.isfinite(value) and value > 0.0 for value, *_ in found.values()), found
    records = json.loads((tmp_path / "r.json").read_text())
    if command == "study":
        assert found["cases"] == (4.0, "1", "higher")
        assert set(found) == {"cases", "pass-rate", "pass-rate-of-sgemm"}
    elif command == "attend":
        for which in ("exact", "top-k"):
            rates = [r["mean"] for r in records if r["metric"] == f"{which.replace('-', '_')}_attention_gflops"]
            shown = [value[0] for name, value in found.items() if name.endswith(f"/{which}-rate")]
            assert shown == pytest.approx(rates, rel=1e-5)
            assert len(shown) == 2
    elif command == "precision":
        with h5py.File(tmp_path / "r.h5") as file:
            cases = [dict(case.attrs) for case in file["cases"].values()]
        rows = sum(int(case["draws"] * case["rows"]) for case in cases)
        assert found["rows-per-second"][0] == pytest.approx(rows / sum(c["seconds_total"] for c in cases), rel=1e-4)
    elif command == "bench":
        (score,) = (r for r in records if r["kernel"] == "score")
        (name,) = (name.removesuffix("/rate") for name in found if name.startswith("score") and name.endswith("/rate"))
        assert found[f"{name}/rate"] == (pytest.approx(score["gflops"], rel=1e-5), "GFLOP/s", "higher")
        assert found[f"{name}/rate-of-sgemm"] == (
            pytest.approx(100.0 * score["share_of_sgemm"], rel=1e-5),
            "%",
            "higher",
        )
        (merge,) = (r for r in records if r["kernel"] == "merge")
        (time,) = (value for name, value in found.items() if name.startswith("merge") and name.endswith("/median-time"))
        assert time == (pytest.approx(merge["median_seconds"], rel=1e-5), "s", "lower")


def test_they_leave_records_on_standard_output_alone(tmp_path: Path) -> None:
    outcome = asymptop("simulate", "--n", "2^20", "--draws", "3", "--json", "-", cwd=tmp_path)
    json.loads(outcome.stdout)
    assert figures(outcome.stderr)[1] == "VALID"


def test_the_last_word_is_the_exit_code(tmp_path: Path) -> None:
    """A spectral norm after one step: no result."""
    outcome = asymptop("attend", "--n", "400", "--d", "8", "--k", "10", "--spectral", "--iterations", "1", cwd=tmp_path)
    assert outcome.code == 1
    assert figures(outcome.stdout)[1] == "INVALID"


def test_what_does_not_finish_has_none(tmp_path: Path) -> None:
    plan = asymptop("study", "--n", "64", "--dry-run", cwd=tmp_path)
    assert plan.code == 0
    assert "FOM" not in plan.stdout


def test_sgemm_is_measured_once_for_each_shape(tmp_path: Path) -> None:
    asymptop(
        "study",
        "--n",
        "256,512",
        "--d",
        "16,32",
        "--k",
        "4",
        "--rows",
        "4",
        "--draws",
        "2",
        "--case-files-only",
        "-o",
        "r.h5",
        cwd=tmp_path,
    )
    rates: dict[int, set[float]] = {16: set(), 32: set()}
    for path in (tmp_path / "r.h5.cases").glob("*.h5"):
        with h5py.File(path) as file:
            (case,) = file["cases"].values()
            rates[int(case.attrs["d"])].add(float(file.attrs["sgemm_gflops"]))
    assert [len(found) for found in rates.values()] == [1, 1], rates
    assert rates[16] != rates[32]
