"""The reader refuses whatever the schema does not say, in one line; what it accepts opens in xarray too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from asymptop import __main__ as command_line
from asymptop.io.labelled import to_xarray
from asymptop.io.reader import ResultsError, open_results
from make_results import Study, write_results

CASE = "cases/n256_s0"


@pytest.fixture
def results_file(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results.h5", Study(n=(256, 512), draws=3, rows=2))


def test_reads_attributes_and_arrays(results_file: Path) -> None:
    with open_results(results_file) as results:
        assert [c.id for c in results.cases] == ["n256_s0", "n512_s0"]
        case = results.cases[0]
        assert (case.n, case.d, case.draws, case.rows, case.sigma_law) == (256, 64, 3, 2, "1")
        assert case.threshold == ("1/n", "1e-3", "1e-2")
        assert case.values("tail_mass").shape == (3, 2, len(case.k))
        assert case.draw_means("p_max").shape == (3,)
        assert results.provenance["git_hash"] == "0123abc-dirty"


def test_sees_fields_that_only_the_file_knows(results_file: Path) -> None:
    with h5py.File(results_file, "a") as file:
        data = file[CASE].create_dataset("regret", data=np.full(file[f"{CASE}/tail_mass"].shape, 0.5))
        data.attrs["long_name"] = "tail mass over the least"
        for axis, name in enumerate(("draw", "row", "k")):
            data.dims[axis].attach_scale(file[f"{CASE}/{name}"])
    with open_results(results_file) as results:
        assert results.cases[0].datasets()["regret"] == ("draw", "row", "k")
        assert results.cases[0].draw_means("regret").shape == (3, len(results.cases[0].k))
        labelled = to_xarray(results.cases[0])
        assert labelled["regret"].dims == ("draw", "row", "k")
        assert labelled["regret"].attrs["long_name"] == "tail mass over the least"
        assert "regret" not in results.cases[1].datasets()


@pytest.mark.parametrize("seed", [2**53 + 1, 2**62 + 1])
def test_seeds_beyond_what_doubles_hold(seed: int, tmp_path: Path) -> None:
    with open_results(write_results(tmp_path / "r.h5", Study(n=(256,), seed=seed))) as results:
        assert results.cases[0].seed == seed
        assert results.provenance["seed"] == seed


def _drop_dataset(file: h5py.File) -> None:
    del file[f"{CASE}/tail_mass"]


def _drop_attribute(file: h5py.File) -> None:
    del file[CASE].attrs["sigma_law"]


def _drop_root_attribute(file: h5py.File) -> None:
    del file.attrs["git_hash"]


def _wrong_shape(file: h5py.File) -> None:
    del file[f"{CASE}/p_max"]
    file[f"{CASE}/p_max"] = np.zeros((3, 5))


def _no_scales(file: h5py.File) -> None:
    del file[f"{CASE}/p_max"]
    file[f"{CASE}/p_max"] = np.zeros((3, 2))


def _swapped_scales(file: h5py.File) -> None:
    data = file[f"{CASE}/p_max"]
    for axis, (old, new) in enumerate((("draw", "row"), ("row", "draw"))):
        data.dims[axis].detach_scale(file[f"{CASE}/{old}"])
        data.dims[axis].attach_scale(file[f"{CASE}/{new}"])


def _unknown_verdict(file: h5py.File) -> None:
    file[CASE].attrs["verdict"] = "FINE"


def _text_for_number(file: h5py.File) -> None:
    file[CASE].attrs["n"] = "many"


def _fraction_for_integer(file: h5py.File) -> None:
    file[CASE].attrs["n"] = 256.5


def _draws_disagree(file: h5py.File) -> None:
    file[CASE].attrs["draws"] = 4


def _k_of_law_not_in_k(file: h5py.File) -> None:
    file[f"{CASE}/k_of_law"][0] = 200


def _no_cases(file: h5py.File) -> None:
    del file["cases"]


def _wrong_kind(file: h5py.File) -> None:
    file.attrs["kind"] = "attend"


def _new_schema(file: h5py.File) -> None:
    file.attrs["schema_version"] = 2


FAULTS: tuple[tuple[Callable[[h5py.File], None], str], ...] = (
    (_drop_dataset, "dataset 'tail_mass' is missing"),
    (_drop_attribute, "attribute 'sigma_law' is missing"),
    (_drop_root_attribute, "attribute 'git_hash' is missing"),
    (_wrong_shape, "'p_max' has shape (3, 5), expected (3, 2)"),
    (_no_scales, "dimension 0 of 'p_max' has scale none, expected 'draw'"),
    (_swapped_scales, "dimension 0 of 'p_max' has scale ['row'], expected 'draw'"),
    (_unknown_verdict, "verdict is 'FINE'"),
    (_text_for_number, "attribute 'n' is 'many', expected a number"),
    (_fraction_for_integer, "expected an integer"),
    (_draws_disagree, "'draw' has 3 entries but draws = 4"),
    (_k_of_law_not_in_k, "'k_of_law' holds 200, which is not in 'k'"),
    (_no_cases, "no cases"),
    (_wrong_kind, "kind is 'attend'"),
    (_new_schema, "schema_version is 2, this reader knows 1"),
)


def test_a_benchmark_is_no_study(results_file: Path) -> None:
    """`report` hands benchmarks to a reader of their own; that of studies refuses them."""
    with h5py.File(results_file, "r+") as file:
        file.attrs["kind"] = "bench"
    with pytest.raises(ResultsError, match="kind is 'bench'"):
        open_results(results_file)


@pytest.mark.parametrize(("spoil", "message"), FAULTS, ids=[f.__name__.strip("_") for f, _ in FAULTS])
def test_refuses_with_one_line_and_exit_2(
    results_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[h5py.File], None],
    message: str,
) -> None:
    with h5py.File(results_file, "r+") as file:
        spoil(file)
    report = tmp_path / "report.html"
    assert command_line.main(["report", str(results_file), "-o", str(report)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not captured.out
    assert not report.exists()


def test_refuses_what_is_no_results_file(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such file"):
        open_results(tmp_path / "absent.h5")
    with pytest.raises(ResultsError, match="is a folder, allowed is a file"):
        open_results(tmp_path)
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(ResultsError, match="not a readable HDF5 file"):
        open_results(tmp_path / "text.h5")


def test_valid_case_with_nan_is_refused_and_invalid_one_is_not(tmp_path: Path) -> None:
    path = write_results(tmp_path / "results.h5", Study(n=(256, 512), invalid_n=(512,)))
    with h5py.File(path, "r+") as file:
        for name in ("n256_s0", "n512_s0"):
            file[f"cases/{name}/p_max"][0, 0] = np.nan
    with open_results(path) as results:
        bad, invalid = results.cases
        assert np.isnan(invalid.values("p_max")).any()
        with pytest.raises(ResultsError, match="'n256_s0' is VALID but 'p_max' is not finite"):
            bad.values("p_max")


def test_xarray_shows_named_axes(results_file: Path) -> None:
    with xarray.open_dataset(results_file, engine="h5netcdf", group=f"/{CASE}") as dataset:
        assert dataset["tail_mass"].dims == ("draw", "row", "k")
        assert dataset["k_epsilon"].dims == ("draw", "row", "epsilon")
        assert dataset["count_p_above"].dims == ("draw", "row", "threshold")
        assert dataset["tail_mass"].sel(k=16).shape == (3, 2)
        assert dataset["tail_mass"].attrs["long_name"] == "tail mass"


def test_scales_lost_in_a_copy_are_refused(
    results_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copying a group to another file leaves its references to dimension scales pointing nowhere."""
    copy = tmp_path / "copy.h5"
    with h5py.File(results_file) as source, h5py.File(copy, "w") as target:
        for name, value in source.attrs.items():
            target.attrs[name] = value
        source.copy("cases", target)
    assert command_line.main(["report", str(copy), "-o", str(tmp_path / "report.html")]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "scale" in captured.err
