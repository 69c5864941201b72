"""asymptop bench: every kernel VALID at one and two ranks, complete records, files that say the same, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import Outcome, asymptop
from test_bad_input import check_refused

# Those of the interface first and in its order, then what else there is.
KEYS = ["kernel", "n", "d", "m", "k", "ranks", "threads", "keys", "path", "median_seconds", "iqr_seconds"]
KEYS += ["gflops", "sgemm_gflops", "share_of_sgemm", "peak_bytes", "verdict"]
MERGE_KEYS = {"merge", "merge_seconds", "merge_exposed_seconds", "merge_bytes", "merge_bytes_per_rank"}
MERGE_KEYS |= {"merge_messages", "merge_rounds"}
MORE_KEYS = MERGE_KEYS | {
    "samples",
    "sgemm_default_gflops",
    "sgemm_kernel",
    "fma_gflops",
    "read_bandwidth",
    "verdict_reason",
}
KERNELS = ["score", "profile", "top-k", "exact-attention", "top-k-attention"]
OPTIONS = ["kernel", "n", "d", "m", "k", "keys", "path", "samples", "threads", "seed", "block"]
OPTIONS += ["merge", "force", "json", "config", "output", "dry-run", "scaling", "rank-counts"]
WITH_K = {"profile", "top-k", "top-k-attention"}
SIZE = ["--n", "1000", "--d", "8", "--m", "1,6", "--k", "10,2000", "--block", "64", "--samples", "4"]


def bench(folder: Path, *arguments: str, ranks: int = 1, threads: int = 1, code: int = 0) -> Outcome:
    outcome = asymptop("bench", *arguments, ranks=ranks, threads=threads, cwd=folder)
    assert outcome.code == code, str(outcome)
    return outcome


@pytest.fixture(scope="module", params=[(1, 2), (2, 1)], ids=["one rank, two threads", "two ranks"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, int, int]:
    ranks, threads = request.param
    folder = tmp_path_factory.mktemp("bench")
    arguments = [*SIZE, "--keys", "resident,streamed", "--path", "all", "--json", "records.json"]
    return folder, bench(folder, *arguments, ranks=ranks, threads=threads), ranks, threads


def records_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "records.json").read_text())


def test_all_kernels_are_valid(run: tuple[Path, Outcome, int, int]) -> None:
    folder, outcome, ranks, threads = run
    records = records_of(folder)
    assert {r["verdict"] for r in records} == {"VALID"}
    assert {r["verdict_reason"] for r in records} == {""}
    cases = [(r["kernel"], r["m"], r["k"], r["keys"], r["path"]) for r in records]
    assert len(set(cases)) == len(cases)
    for kernel in KERNELS:
        # k = 2000 is clipped to n.
        for k in (10, 1000) if kernel in WITH_K else (None,):
            for m in (1, 6):
                for keys in ("resident", "streamed"):
                    assert (kernel, m, k, keys, "blas-tile") in cases
    assert {(r["ranks"], r["threads"]) for r in records} == {(ranks, threads)}
    assert outcome.stdout.count(" VALID") == len(records) + 1  # and the last word
    for text in ("command", "machine", "sgemm", "read", "fma", "median s", "clipped"):
        assert text in outcome.stdout


def test_records_are_complete(run: tuple[Path, Outcome, int, int]) -> None:
    for r in records_of(run[0]):
        assert list(r)[: len(KEYS)] == KEYS
        assert set(r) >= MORE_KEYS
        for name in ("n", "d", "m", "ranks", "threads", "peak_bytes"):
            assert type(r[name]) is int
        assert len(r["samples"]) == 4
        assert r["median_seconds"] == pytest.approx(np.median(r["samples"]), rel=1e-12)
        low, high = np.quantile(r["samples"], [0.25, 0.75])
        assert r["iqr_seconds"] == pytest.approx(high - low, rel=1e-6, abs=1e-12)
        flops = 2.0 * r["m"] * r["n"] * r["d"] * (2 if r["kernel"] == "exact-attention" else 1)
        if r["kernel"] == "top-k-attention":
            flops += 2.0 * r["m"] * r["k"] * r["d"]
        assert r["gflops"] == pytest.approx(flops / r["median_seconds"] / 1e9, rel=1e-12)
        assert r["share_of_sgemm"] == pytest.approx(r["gflops"] / r["sgemm_gflops"], rel=1e-12)
        assert r["sgemm_gflops"] >= r["sgemm_default_gflops"] > 0
        assert r["fma_gflops"] > 0
        assert r["read_bandwidth"] > 0
        assert (r["share_of_bandwidth"] is None) == (r["keys"] == "streamed")
        assert r["peak_bytes"] > 10e6


def test_file_says_what_the_records_say(run: tuple[Path, Outcome, int, int]) -> None:
    folder = run[0]
    records = records_of(folder)
    with h5py.File(folder / "bench.h5") as file:
        assert file.attrs["kind"] == "bench"
        assert file.attrs["schema_version"] == 1
        assert {"version", "git_hash", "date_utc", "command_line", "config_text", "host_names"} <= set(file.attrs)
        assert {"cpu", "fma_gflops", "byte_gops", "read_bandwidth"} <= set(file.attrs)
        cases = {
            (g.attrs["kernel"], g.attrs["m"], g.attrs["k"] or None, g.attrs["keys"], g.attrs["path"]): g
            for g in file["cases"].values()
        }
        assert len(cases) == len(records)
        for r in records:
            group = cases[r["kernel"], r["m"], r["k"], r["keys"], r["path"]]
            assert group["seconds"][()].tolist() == r["samples"]
            assert Path(group["seconds"].dims[0][0].name).name == "sample"
            for name in ("median_seconds", "iqr_seconds", "gflops", "sgemm_gflops", "share_of_sgemm", "peak_bytes"):
                assert group.attrs[name] == r[name]
            assert group.attrs["verdict"] == r["verdict"]
            assert np.all(group["check_residual"][()] <= group["check_tolerance"][()])
            for data in group.values():
                assert "long_name" in data.attrs
    info = asymptop("info", "bench.h5", cwd=folder)
    assert info.code == 0, str(info)
    assert info.stdout.count("VALID") == len(records)
    assert sorted(path.name for path in folder.iterdir()) == ["bench.h5", "records.json"]


def test_all_beside_names(tmp_path: Path) -> None:
    """`all` leaves out normals and merge, which can be named beside it; nothing twice."""
    size = ["--n", "64", "--d", "8", "--m", "4", "--k", "4", "--dry-run", "--json", "-"]
    cases = json.loads(bench(tmp_path, "--kernel", "all,normals", *size).stdout)["cases"]
    assert {case["kernel"] for case in cases} == {*KERNELS, "normals"}
    cases = json.loads(bench(tmp_path, "--kernel", "merge", "--merge", "all,auto", *size, ranks=2).stdout)["cases"]
    assert {case["merge"] for case in cases} == {"root", "owner", "tree", "threshold"}
    check_refused(tmp_path, ["bench", "--kernel", "top-k,all"], ["--kernel", "top-k twice"])


def test_merges(tmp_path: Path) -> None:
    """Every strategy on three ranks: what it sends, in the records, the file and the table."""
    size = ["--n", "30000", "--d", "8", "--m", "12", "--k", "200", "--block", "64", "--samples", "3"]
    arguments = ["--kernel", "top-k,score", *size, "--path", "blas-tile", "--merge", "all", "--json", "records.json"]
    outcome = bench(tmp_path, *arguments, ranks=3)
    records = {r["merge"]: r for r in records_of(tmp_path)}
    assert set(records) == {None, "root", "owner", "tree", "threshold"}
    assert {r["verdict"] for r in records.values()} == {"VALID"}
    assert records[None]["merge_bytes"] == 0
    assert records["owner"]["merge_bytes"] == 2 * 12 * (8 + 8 * 200)
    assert records["owner"]["merge_bytes_per_rank"] == 8 * (8 + 8 * 200)
    assert records["root"]["merge_bytes"] == 2 * 12 * (8 + 8 * 200) + 8 * (8 + 10 * 200)
    assert records["threshold"]["merge_bytes"] < 0.7 * records["owner"]["merge_bytes"]
    rounds = {"root": 2, "owner": 1, "tree": 2, "threshold": 3}
    assert {name: r["merge_rounds"] for name, r in records.items() if name} == rounds
    assert all(r["merge_seconds"] > 0 for name, r in records.items() if name)
    with h5py.File(tmp_path / "bench.h5") as file:
        for group in file["cases"].values():
            record = records[group.attrs["merge"] or None]
            for name in MERGE_KEYS - {"merge"}:
                assert group.attrs[name] == record[name], name
    for text in ("merge s", "sent MB", "threshold"):
        assert text in outcome.stdout
    plan = bench(tmp_path, "--dry-run", *arguments, ranks=3)
    for text in ("~merge s", "~sent MB", "threshold"):
        assert text in plan.stdout


def test_json_on_standard_output(tmp_path: Path) -> None:
    outcome = bench(tmp_path, "--kernel", "score", *SIZE, "--json", "-")
    assert [r["m"] for r in json.loads(outcome.stdout)] == [1, 6]
    assert "median s" in outcome.stderr
    again = asymptop("bench", "--kernel", "score", *SIZE, cwd=tmp_path)
    assert again.code == 2, "results are there already"
    assert "--force" in again.stderr
    config = tmp_path / "bench.cfg"
    config.write_text("kernel = top-k\nn = 500\nd = 8\nm = 3\nk = 5\nsamples = 3\nblock = 64\n")
    outcome = bench(tmp_path, "--config", str(config), "--force", "--m", "2", "--json", "-")
    assert [(r["kernel"], r["n"], r["m"], r["k"]) for r in json.loads(outcome.stdout)] == [("top-k", 500, 2, 5)]


def test_normals(tmp_path: Path) -> None:
    outcome = bench(tmp_path, "--kernel", "normals", "--path", "all", *SIZE, "--json", "-", ranks=2)
    records = json.loads(outcome.stdout)
    assert {r["path"] for r in records} >= {"rows"}
    assert len(records) == len({r["path"] for r in records}), "m, k and keys are no axes of it"
    for r in records:
        assert (r["kernel"], r["m"], r["k"], r["verdict"]) == ("normals", 0, None, "VALID")
        expected = 1e9 * r["median_seconds"] * r["ranks"] * r["threads"] / (r["n"] * r["d"])
        assert r["nanoseconds_per_normal"] == pytest.approx(expected, rel=1e-12)
        assert r["gflops"] is r["sgemm_gflops"] is r["share_of_sgemm"] is None
    assert outcome.stderr.count("ns of a core per number") == len(records)


def test_merge(tmp_path: Path) -> None:
    """Each way of selecting over ranks attends to the right keys, combines outputs rightly, and says its cost."""
    size = ["--n", "1000", "--d", "8", "--m", "1,6", "--k", "10,2000", "--block", "64", "--samples", "3"]
    arguments = ["--kernel", "merge", "--path", "all", "--merge", "all", "--json", "-", *size]
    outcome = bench(tmp_path, *arguments, ranks=3)
    records = json.loads(outcome.stdout)
    assert len(records) == 2 * 2 * (4 + 1 + 1)
    for r in records:
        assert (r["kernel"], r["verdict"], r["gflops"]) == ("merge", "VALID", None), r["verdict_reason"]
        assert 0.0 < r["combine_seconds"] <= r["merge_seconds"]
        if r["path"] == "exact":
            assert r["merge"] in ("root", "owner", "tree", "threshold")
            continue
        # A maximum, a sum and an output of every row, from every other rank to the owner's.
        assert (r["merge"], r["merge_bytes"]) == (None, 2 * r["m"] * (8 + 2) * 4)
    assert outcome.stderr.count("us to agree on its keys") == 2 * 2 * 4
    assert outcome.stderr.count("a row: each rank selects alone") == 2 * 2 * 2
    refused = asymptop("bench", "--kernel", "merge", "--scaling", "strong", cwd=tmp_path)
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)


def test_dry_run_and_help(tmp_path: Path) -> None:
    axes = ["--n", "2^10:2^12", "--k", "16,n^0.5", "--keys", "resident,streamed"]
    plan = bench(tmp_path, "--dry-run", "--path", "all", *axes)
    for text in (*KERNELS, "blas-tile", "streamed", "Gflop", "4096"):
        assert text in plan.stdout
    text = bench(tmp_path, "--help").stdout
    for option in OPTIONS:
        assert f"--{option} " in text, option
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--kernel", "fly"], ["--kernel", "fly"]),
        (["--merge", "magic"], ["--merge", "magic", "threshold"]),
        (["--path", "magic"], ["--path", "magic", "blas-tile"]),
        (["--path", "device"], ["--path", "device", "ASYMPTOP_DEVICE"]),
        (["--kernel", "merge", "--path", "exact-gpu"], ["--path", "exact-gpu", "ASYMPTOP_DEVICE", "exact, union"]),
        (["--keys", "disk"], ["--keys", "disk"]),
        (["--samples", "1"], ["--samples", "'1'"]),
        (["--m", "0"], ["--m", "'0'"]),
        (["--m", "x"], ["--m", "x"]),
        (["--n", "2^60"], ["--n", "2^60"]),
        (["--d", "0"], ["--d", "'0'"]),
        (["--k", "n+"], ["--k", "n+"]),
        (["--bogus", "3"], ["bogus"]),
        (["stray"], ["stray"]),
        (["--config", "missing.cfg"], ["missing.cfg"]),
        (["-o", "no/such/folder/bench.h5"], ["no/such/folder/bench.h5"]),
        (["--json", "no/such/folder/r.json"], ["no/such/folder/r.json"]),
        (["--n", "2^31", "--d", "4096"], [str(2**31), "GB", "streamed"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_refused(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    check_refused(tmp_path, ["bench", *arguments], named)


def test_compare_and_reader_refuse_timings(run: tuple[Path, Outcome, int, int]) -> None:
    folder = run[0]
    compare = asymptop("compare", "bench.h5", "bench.h5", cwd=folder)
    assert compare.code == 2, str(compare)
    assert "bench.h5" in compare.stderr
