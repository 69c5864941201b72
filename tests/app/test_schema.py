"""Results files for readers: xarray sees named axes, and every attribute of the schema is there."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from command_line import ROOT, asymptop
from field_table import fields_of_a_study

SCHEMA = ROOT / "src" / "results" / "README.md"
DIMENSIONS = {
    **{field.name: field.dimensions for field in fields_of_a_study()},
    "k_of_law": ("k_law",),
    "threshold_value": ("threshold",),
    "check_residual": ("check",),
    "check_tolerance": ("check",),
    "phase_seconds": ("draw", "phase"),
}
OF_TENSORS = {"layer", "text", "attention", "contexts", "window", "drop_first", "softcap", "first_keys", "recent_keys"}
AT_TIMES = {"target_se", "target_missed", "target_ended", "selector", "bin_width", "largest_logit"}
OF_TENSORS |= {"alibi_slope", "sink_logit", "d_v", "index_d", "index_heads"}
OF_GPUS = {"run_path", "device_peak_bytes", "device_planned_bytes"}
SCALES = ("draw", "row", "k", "epsilon", "threshold", "k_law", "check", "phase")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Case files and results of a study with one case per n."""
    folder = tmp_path_factory.mktemp("schema")
    arguments = ["--n", "128,256", "--k", "8,n^0.5", "--rows", "16", "--draws", "3", "--seed", "12", "--block", "64"]
    outcome = asymptop("study", *arguments, cwd=folder, settings={"SLURM_JOB_ID": "42"})
    assert outcome.code == 0, str(outcome)
    return folder / "results.h5"


def files_of(results: Path) -> list[tuple[Path, str]]:
    """The merged file and a case file, each with a case in it."""
    case = "n256-d64-sigma1"
    return [(results, case), (results.with_name("results.h5.cases") / f"{case}.h5", case)]


def test_xarray_sees_named_axes(results: Path) -> None:
    for path, case in files_of(results):
        with xarray.open_dataset(path, engine="h5netcdf", group=f"cases/{case}") as data:
            assert set(data.data_vars) | set(data.coords) >= set(DIMENSIONS)
            for name, dimensions in DIMENSIONS.items():
                assert data[name].dims == dimensions, name
            for scale in SCALES:
                assert data[scale].dims == (scale,)
                assert data[scale].attrs["long_name"]
            assert dict(data.sizes) | {"draw": 3, "row": 16, "epsilon": 2, "threshold": 3, "k_law": 2} == data.sizes
            tail = data["tail_mass"].sel(k=16).mean("row")
            assert tail.shape == (3,)
            assert data["k_law"].values.tolist() == ["8", "n^0.5"]
            assert data["threshold"].values.tolist() == ["1/n", "1e-3", "1e-2"]


def test_units_and_names(results: Path) -> None:
    for path, case in files_of(results):
        with h5py.File(path) as file:
            group = file["cases"][case]
            assert set(group) == set(DIMENSIONS) | set(SCALES)
            for name, dimensions in DIMENSIONS.items():
                dataset = group[name]
                assert dataset.attrs["long_name"], name
                assert "units" in dataset.attrs, name
                assert tuple(dimension[0].name.rsplit("/", 1)[1] for dimension in dataset.dims) == dimensions
            for name in ("row_n", "row_position", "k_epsilon", "count_p_above", "k", "k_of_law"):
                assert group[name].dtype == np.int64
            assert group["tail_mass"].dtype == np.float64
            k = group["k"][()]
            assert np.all(np.diff(k) > 0)
            assert set(group["k_of_law"][()]) <= set(k.tolist())
            assert np.all(group["row_position"][()] == -1)


def schema_attributes(heading: str) -> list[str]:
    """Names in the first column of the attribute table under a heading of the schema's page."""
    section = SCHEMA.read_text().split(heading, 1)[1]
    table = section.split("| attribute | content |", 1)[1].split("\n\n", 1)[0]
    first_column = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in first_column for name in re.findall(r"`(\w+)`", cell)]


def test_root_attributes(results: Path) -> None:
    names = schema_attributes("## Root attributes")
    assert len(names) > 20
    for path, _ in files_of(results):
        with h5py.File(path) as file:
            for name in names:
                assert name in file.attrs, name
            attributes = dict(file.attrs)
        assert attributes["schema_version"] == 1
        assert attributes["kind"] == "study"
        assert attributes["seed"] == 12
        assert attributes["block"] == 64
        assert attributes["ranks"] == 1
        assert attributes["threads_per_rank"] == 1
        assert attributes["sgemm_gflops"] > 0
        assert attributes["command_line"].startswith("asymptop study --n 128,256")
        assert "k = 8,n^0.5" in attributes["config_text"]
        assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?|unknown", attributes["git_hash"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", attributes["date_utc"])
        assert json.loads(attributes["slurm"]) == {"SLURM_JOB_ID": "42"}
        assert attributes["rank_layout"].startswith("0 " + attributes["host_names"])
        rank, level, vectors, _ = attributes["cpus"].split(maxsplit=3)
        assert rank == "0"
        assert level == "native" or level.startswith("x86-64")
        assert vectors.split("+")[0] == attributes["simd"]


def test_case_attributes(results: Path) -> None:
    names = schema_attributes("## `/cases/<id>`")
    assert len(names) > 20
    for path, case in files_of(results):
        with h5py.File(path) as file:
            attributes = dict(file["cases"][case].attrs)
        assert set(names) - AT_TIMES - OF_TENSORS - OF_GPUS <= set(attributes)
        assert not (OF_TENSORS | OF_GPUS) & set(attributes)
        assert attributes["id"] == case
        assert attributes["n"] == 256
        assert attributes["scale"] == 0.125
        assert attributes["R"] == 8.0
        assert attributes["head"] == -1
        assert attributes["verdict"] == "VALID"
        assert attributes["verdict_reason"] == ""
        assert 0 < attributes["seconds_pass"] <= attributes["seconds_total"]
        assert attributes["gflop"] == pytest.approx(2 * 3 * 16 * 256 * 64 / 1e9)


def test_what_only_a_gpu_has(results: Path, tmp_path: Path) -> None:
    """info shows what a case took of a GPU's memory; compare leaves it out."""
    path, case = tmp_path / "device.h5", "n256-d64-sigma1"
    shutil.copy(results, path)
    of_gpu = {"run_path": "device", "device_peak_bytes": 5 * 10**9, "device_planned_bytes": 6 * 10**9}
    with h5py.File(path, "r+") as file:
        file["cases"][case].attrs.update(of_gpu)
    outcome = asymptop("info", str(path), cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    lines = [line for line in outcome.stdout.splitlines() if "GPU" in line]
    assert len(lines) == 1
    assert case in lines[0]
    assert "GPU memory 5.00 GB of 6.00 GB planned" in lines[0]
    outcome = asymptop("compare", str(path), str(results), cwd=tmp_path)
    assert (outcome.code, outcome.stdout) == (0, "equal\n"), str(outcome)
