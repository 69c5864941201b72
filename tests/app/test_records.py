"""--json: tidy records that say exactly what the results file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import asymptop
from field_table import fields_of_a_study

KEYS = ["n", "d", "input", "sigma_law", "sigma", "selector", "metric", "parameter", "k_law", "mean", "standard_error"]
KEYS += ["rows", "draws", "verdict"]
PER_K, PER_ROW = (
    [field.name for field in fields_of_a_study() if field.recorded and field.dimensions == dimensions]
    for dimensions in (("draw", "row", "k"), ("draw", "row"))
)
ARGUMENTS = ["--n", "64,300", "--d", "16", "--sigma", "1,log(n)", "--k", "8,n^0.5,400", "--rows", "16", "--draws", "5"]
ARGUMENTS += ["--epsilon", "1e-1,0.05", "--count-above", "1/n,1e-3,0.010,2/n", "--block", "64"]

Record = dict[str, Any]
Key = tuple[int, str, str, str, str | None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records")
    outcome = asymptop("study", *ARGUMENTS, "--json", "records.json", cwd=path)
    assert outcome.code == 0, str(outcome)
    return path


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    return json.loads((folder / "records.json").read_text())


def statistics(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error over draws of means over rows."""
    draws = values.astype(np.float64).mean(axis=1)
    return float(draws.mean()), float(draws.std(ddof=1) / np.sqrt(len(draws)))


def parameter_text(text: str) -> str:
    """1/n as given; a number in its shortest form."""
    try:
        return repr(float(text)).removesuffix(".0")
    except ValueError:
        return text


def expected_records(case: h5py.Group) -> dict[Key, tuple[float, float]]:
    """One entry per metric and parameter, with numpy's statistics."""
    n, sigma_law = int(case.attrs["n"]), str(case.attrs["sigma_law"])
    expected: dict[Key, tuple[float, float]] = {}
    for law, k in zip(case["k_law"].asstr()[()], case["k_of_law"][()].tolist(), strict=True):
        column = case["k"][()].tolist().index(k)
        for metric in PER_K:
            expected[n, sigma_law, metric, str(k), law] = statistics(case[metric][..., column])
    for column, epsilon in enumerate(case["epsilon"][()].tolist()):
        expected[n, sigma_law, "k_epsilon", repr(epsilon), None] = statistics(case["k_epsilon"][..., column])
    for column, text in enumerate(case["threshold"].asstr()[()]):
        key = (n, sigma_law, "count_p_above", parameter_text(text), None)
        expected[key] = statistics(case["count_p_above"][..., column])
    for metric in PER_ROW:
        expected[n, sigma_law, metric, "", None] = statistics(case[metric][()])
    return expected


def test_keys_and_types(records: list[Record]) -> None:
    for record in records:
        assert list(record) == KEYS
        for name in ("n", "d", "rows", "draws"):
            assert type(record[name]) is int
        for name in ("sigma_law", "metric", "parameter", "verdict"):
            assert type(record[name]) is str
        assert type(record["sigma"]) is float
        assert record["d"] == 16
        assert record["rows"] == 80
        assert record["draws"] == 5
        assert record["verdict"] == "VALID"


def test_one_record_per_case_metric_and_parameter(folder: Path, records: list[Record]) -> None:
    found = {(r["n"], r["sigma_law"], r["metric"], r["parameter"], r["k_law"]): r for r in records}
    assert len(found) == len(records), "a record is there twice"
    with h5py.File(folder / "results.h5") as file:
        cases = list(file["cases"].values())
        assert len(cases) == 4
        expected = {key: value for case in cases for key, value in expected_records(case).items()}
        sigmas = {(int(case.attrs["n"]), case.attrs["sigma_law"]): float(case.attrs["sigma"]) for case in cases}
    assert set(found) == set(expected)
    for key, (mean, standard_error) in expected.items():
        record = found[key]
        assert record["mean"] == pytest.approx(mean, rel=1e-13, abs=0), key
        # Deviations from the mean lose the digits that draws share.
        assert record["standard_error"] == pytest.approx(standard_error, rel=1e-9, abs=1e-15 * abs(mean)), key
        assert record["sigma"] == sigmas[record["n"], record["sigma_law"]]


def test_numbers_read_back(folder: Path) -> None:
    """Each number is the text of one double, in full: reading and printing it changes nothing."""
    texts: list[str] = []

    def keep(text: str) -> float:
        texts.append(text)
        return float(text)

    json.loads((folder / "records.json").read_text(), parse_float=keep)
    assert texts
    for text in texts:
        assert float(f"{float(text):.17g}") == float(text)
        assert len(text.replace("0.", "").replace(".", "").split("e")[0].lstrip("-0")) <= 17
    assert max(len(text) for text in texts) >= 17, "numbers seem to be rounded"


def test_clipped_k_is_the_parameter(records: list[Record]) -> None:
    clipped = [r for r in records if r["k_law"] == "400"]
    assert {(r["n"], r["parameter"]) for r in clipped} == {(64, "64"), (300, "300")}
    assert all(r["mean"] == 0.0 for r in clipped)


def test_standard_output_holds_json_only(folder: Path, records: list[Record], tmp_path: Path) -> None:
    outcome = asymptop("study", *ARGUMENTS, "--json", "-", cwd=tmp_path)
    assert outcome.code == 0
    assert json.loads(outcome.stdout) == records
    assert "tail_mass" in outcome.stderr
    assert "VALID" in outcome.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.h5", "results.h5.cases"]


def test_one_draw_has_no_standard_error(tmp_path: Path) -> None:
    outcome = asymptop(
        "study", *("--n", "64", "--k", "8", "--rows", "16", "--draws", "1", "--json", "-", "--output-error", "off"),
        cwd=tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, str(outcome)
    records = json.loads(outcome.stdout)
    assert all(r["standard_error"] is None and isinstance(r["mean"], float) for r in records)
    assert not any(r["metric"].startswith("output_error") for r in records)


def test_tensor_and_invalid_records(tmp_path: Path) -> None:
    """Large parts of queries and keys that cancel leave fp32 scores without the digits that p needs: the audit sees."""
    rng = np.random.default_rng(1)
    with h5py.File(tmp_path / "tensors.h5", "w") as file:
        queries, keys = rng.standard_normal((2, 2, 100, 8))
        queries[1, :, :2] = 60.0
        keys[1, :, 0] *= 100.0
        keys[1, :, 1] = -keys[1, :, 0]
        file["Q"], file["K"] = queries, keys
        file["V"] = rng.standard_normal((2, 100, 8))
    size = ["--n", "100", "--k", "4", "--rows", "16", "--draws", "3"]
    outcome = asymptop("study", "--input", "tensors.h5", *size, "--json", "-", cwd=tmp_path)
    assert outcome.code == 1, str(outcome)
    records = json.loads(outcome.stdout)
    assert {(r["head"], r["verdict"]) for r in records} == {(0, "VALID"), (1, "INVALID")}
    assert {r["sigma_law"] for r in records} == {"measured"}
    assert "INVALID" in outcome.stderr
    with h5py.File(tmp_path / "results.h5") as file:
        bad = file["cases/n100-d8-head1"].attrs
        assert bad["verdict"] == "INVALID"
        assert "audit_metrics" in bad["verdict_reason"]
    info = asymptop("info", "results.h5", cwd=tmp_path)
    assert info.code == 1
    assert "INVALID" in info.stdout
