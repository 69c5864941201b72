"""asymptop bench --scaling: which ranks measure what, records and file that agree, verdicts, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest
import xarray
from command_line import ROOT, Outcome, asymptop
from test_bad_input import check_refused

sys.path.insert(0, str(ROOT / "analysis"))

from asymptop.fits.scaling_model import selection_traffic

SIZE = ["--n", "1000", "--d", "8", "--m", "6", "--k", "10,n^0.5", "--block", "64", "--samples", "4"]
KERNELS = ["--kernel", "top-k,exact-attention"]
COUNTS = {1: [1], 2: [1, 2], 3: [1, 2, 3], 4: [1, 2, 4]}
STUDIES = 3  # two laws of k, and exact attention


LONG = [pytest.param(one, marks=pytest.mark.long) for one in (("strong", 1), ("strong", 3))]
RUNS = [*LONG, ("strong", 4), ("weak", 3)]


@pytest.fixture(scope="module", params=RUNS, ids=str)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int, Outcome]:
    scaling, ranks = request.param
    folder = tmp_path_factory.mktemp("scaling")
    # Streamed: nothing that memory is read for, so that its bandwidth is not measured beside every case.
    arguments = ["bench", *KERNELS, *SIZE, "--keys", "streamed", "--scaling", scaling, "--json", "records.json"]
    outcome = asymptop(*arguments, ranks=ranks, cwd=folder)
    assert outcome.code == 0, str(outcome)
    return folder, scaling, ranks, outcome


def records_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "records.json").read_text())


def studies_of(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for r in records:
        found.setdefault(r["scaling_id"], []).append(r)
    return found


def test_every_count_of_ranks_is_measured(run: tuple[Path, str, int, Outcome]) -> None:
    folder, scaling, ranks, outcome = run
    records = records_of(folder)
    assert {r["verdict"] for r in records} == {"VALID"}
    assert {r["scaling"] for r in records} == {scaling}
    studies = studies_of(records)
    assert len(studies) == STUDIES
    for study in studies.values():
        assert [r["ranks"] for r in study] == COUNTS[ranks]
        for r in study:
            assert r["n"] == 1000 * (r["ranks"] if scaling == "weak" else 1)
            if r["k_law"] == "n^0.5":
                assert r["k"] == round(r["n"] ** 0.5)
    assert outcome.stdout.count(" VALID") == len(records) + 1  # and the last word
    for text in ("effic %", "imbal %", "speed-up", "merge", "T1", f"{scaling}, on the first"):
        assert text in outcome.stdout
    # Long form, as src/README.md reads it.
    table = pandas.read_json(folder / "records.json").pivot_table("efficiency", "ranks", "scaling_id")
    assert list(table.index) == COUNTS[ranks]
    assert {name: list(table[name]) for name in table} == {
        name: pytest.approx([r["efficiency"] for r in study]) for name, study in studies.items()
    }


def test_ratios_follow_from_the_samples(run: tuple[Path, str, int, Outcome]) -> None:
    folder, scaling, _, _ = run
    for study in studies_of(records_of(folder)).values():
        one = np.array(study[0]["samples"])
        for r in study:
            p, samples = r["ranks"], np.array(r["samples"])
            share = 1 if scaling == "weak" else p
            assert r["efficiency"] == pytest.approx(np.median(one / samples / share), rel=1e-12)
            assert r["speed_up"] == pytest.approx(p * r["efficiency"], rel=1e-12)
            assert r["interleaved"] is True
            low, high = np.quantile(one / samples / share, [0.25, 0.75])
            assert r["efficiency_iqr"] == pytest.approx(high - low, rel=1e-6, abs=1e-9)
            assert r["load_imbalance"] >= -1e-9
            assert r["write_seconds"] > 0
            assert set(r["phases"]) >= {"generate", "merge", "other"}
            for phase in r["phases"].values():
                assert phase["min"] <= phase["mean"] + 1e-12
                assert phase["mean"] <= phase["max"] + 1e-12
            assert r["fma_gflops"] > 0
            assert r["sgemm_gflops"] > 0
        assert study[0]["efficiency"] == study[0]["speed_up"] == 1.0
        assert study[0]["load_imbalance"] == pytest.approx(0.0, abs=1e-12), "one rank is its own mean"


def test_file_has_the_ranks_as_an_axis(run: tuple[Path, str, int, Outcome]) -> None:
    folder, scaling, ranks, _ = run
    studies = studies_of(records_of(folder))
    with h5py.File(folder / "bench.h5") as file:
        assert set(file["scaling"]) == set(studies)
        assert set(file["cases"]) == {f"{name}-ranks{r['ranks']}" for name, study in studies.items() for r in study}
        for name, study in studies.items():
            group = file["scaling"][name]
            assert group.attrs["scaling"] == scaling
            assert group.attrs["interleaved"] == 1
            for dataset in ("n", "k", "median_seconds", "speed_up", "efficiency", "efficiency_iqr", "load_imbalance"):
                assert group[dataset][()].tolist() == pytest.approx([r[dataset] or 0 for r in study]), dataset
                assert Path(group[dataset].dims[0][0].name).name == "ranks"
            assert group["seconds"][()].tolist() == [r["samples"] for r in study]
            for i, r in enumerate(study):
                case = file["cases"][f"{name}-ranks{r['ranks']}"]
                assert (case.attrs["ranks"], case.attrs["n"]) == (r["ranks"], r["n"])
                assert case.attrs["efficiency"] == r["efficiency"]
                assert case.attrs["scaling_id"] == name
                seconds = case["phase_seconds"][()]
                assert seconds.shape == (4, len(r["phases"]), 3)
                assert np.median(seconds, axis=0) == pytest.approx(group["phase_seconds"][i], rel=1e-12)
                assert [text.decode() for text in case["phase"][()]] == list(r["phases"])
                # A rank's phases and what lies between them are its time; the slowest rank's is the sample.
                assert np.all(seconds[:, :, 1].sum(axis=1) <= case["seconds"][()] * (1 + 1e-9))
    name = next(iter(studies))
    with xarray.open_dataset(folder / "bench.h5", engine="h5netcdf", group=f"scaling/{name}") as data:
        assert data.phase_seconds.dims == ("ranks", "phase", "over_ranks")
        assert data.ranks.values.tolist() == COUNTS[ranks]
        assert list(data.over_ranks.values) == ["min", "mean", "max"]
    info = asymptop("info", "bench.h5", cwd=folder)
    assert info.code == 0
    assert "efficiency on 1 rank(s) 100.0%" in info.stdout


def test_the_analysis_counts_what_was_sent(tmp_path: Path) -> None:
    """Messages and bytes of the model of `python3 -m asymptop scaling` against those that the ranks counted."""
    size = ["--n", "4000", "--d", "8", "--m", "24", "--k", "50", "--block", "64", "--samples", "3"]
    arguments = [
        "--kernel",
        "top-k",
        "--keys",
        "streamed",
        "--merge",
        "owner,tree,threshold",
        *size,
        "--scaling",
        "strong",
    ]
    outcome = asymptop("bench", *arguments, "--json", "-", ranks=4, cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    records = json.loads(outcome.stdout)
    assert {r["merge"] for r in records} == {"owner", "tree", "threshold"}
    for r in records:
        messages, sent = selection_traffic(r["merge"], r["ranks"], r["m"], r["k"], r["n"]) if r["ranks"] > 1 else (0, 0)
        assert r["merge_messages"] == pytest.approx(messages * r["ranks"]), r["merge"]
        assert r["merge_bytes"] == pytest.approx(sent * r["ranks"], rel=0.15), r["merge"]


def test_counts_can_be_chosen_and_the_rest_sleeps(tmp_path: Path) -> None:
    arguments = ["--kernel", "score", *SIZE, "--scaling", "strong", "--rank-counts", "1,3", "--json", "-"]
    outcome = asymptop("bench", *arguments, ranks=4, cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    assert [r["ranks"] for r in json.loads(outcome.stdout)] == [1, 3]


def test_a_plain_run_is_no_study(tmp_path: Path) -> None:
    outcome = asymptop("bench", "--kernel", "top-k", *SIZE, "--json", "-", ranks=2, cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    for r in json.loads(outcome.stdout):
        assert (r["scaling"], r["scaling_id"], r["efficiency"], r["ranks"]) == ("none", None, None, 2)
        assert set(r["phases"]) >= {"generate", "merge", "other"}
    with h5py.File(tmp_path / "bench.h5") as file:
        assert "scaling" not in file
    plan = asymptop("bench", "--dry-run", *SIZE, "--scaling", "weak", ranks=2, cwd=tmp_path)
    assert plan.code == 0
    assert "2000" in plan.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--scaling", "up"], ["--scaling", "up", "strong", "weak"]),
        (["--rank-counts", "1"], ["--rank-counts", "'1'", "--scaling"]),
        (["--scaling", "strong", "--rank-counts", "2"], ["--rank-counts", "'2'", "lacks 1"]),
        (["--scaling", "strong", "--rank-counts", "1,64"], ["--rank-counts", "64", "1 rank"]),
        (["--scaling", "weak", "--rank-counts", "one"], ["--rank-counts", "one"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_refused(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    check_refused(tmp_path, ["bench", *arguments], named)
