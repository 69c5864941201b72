"""`import asymptop`: the example of the README runs, names are documented and lazy, errors are one line."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import asymptop
import numpy as np
import pytest
import xarray
from make_results import Study, write_results

ANALYSIS = Path(__file__).resolve().parents[2] / "analysis"
STUDY = Study(n=(256, 1024, 4096), sigma=("1", "2"), k=("4*n^0.5", "n^0.75"), draws=6, rows=3)


@pytest.fixture(scope="module")
def results_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("public") / "results.h5", STUDY)


def run_python(code: str, folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ANALYSIS)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_example_of_the_readme_runs(results_file: Path) -> None:
    (example,) = re.findall(r"(?s)```python\n(import asymptop\n.*?)```", (ANALYSIS / "README.md").read_text("utf-8"))
    assert len(example.splitlines()) <= 12
    printed = run_python(example, results_file.parent)
    assert "(draw: 6)" in printed
    verdicts = {verdict for verdict in asymptop.Verdict if re.search(rf"(?m)^\S+ {verdict} ", printed)}
    assert asymptop.Verdict.CONTRADICTED in verdicts
    assert asymptop.Verdict.NOT_TESTED in verdicts


def test_import_is_lazy_and_names_are_complete(tmp_path: Path) -> None:
    code = "import sys, asymptop; print([name for name in ('numpy', 'h5py', 'scipy', 'xarray') if name in sys.modules])"
    assert run_python(code, tmp_path) == "[]\n"
    run_python("from asymptop import *; assert open_results and judge and CLAIMS", tmp_path)
    assert asymptop.__all__ == sorted(asymptop._HOMES, key=lambda name: (not name.isupper(), name))
    assert set(asymptop.__all__) <= set(dir(asymptop))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        asymptop.nothing  # noqa: B018


@pytest.mark.parametrize("name", asymptop.__all__)
def test_public_names_are_documented(name: str) -> None:
    value = getattr(asymptop, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)
        assert not (value.__doc__ or "").startswith(f"{name}(")  # a dataclass's own


def test_arrays_are_those_of_the_file(results_file: Path) -> None:
    with asymptop.open_results(results_file) as results:
        case = results.cases[-1]
        data = asymptop.to_xarray(case)
    assert data.tail_mass.dims == ("draw", "row", "k")
    assert (data.sizes["draw"], data.sizes["row"]) == (STUDY.draws, STUDY.rows)
    assert list(data.k_law.values) == list(STUDY.k)
    assert data.attrs["n"] == case.n
    assert data.attrs["verdict"] == "VALID"
    with xarray.open_dataset(results_file, engine="h5netcdf", group=f"/cases/{case.id}") as stored:
        for name in data.data_vars:
            np.testing.assert_array_equal(data[name].values, stored[name].values)
            assert data[name].dims == stored[name].dims
            assert data[name].attrs.get("units") == stored[name].attrs.get("units")
        for name in data.coords:
            expected = [v.decode() if isinstance(v, bytes) else v for v in stored[name].values.tolist()]
            assert data[name].values.tolist() == expected


def test_fit_of_a_planted_law(tmp_path: Path) -> None:
    def planted(name: str, n: int, k: int, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return n**-0.25 * (1 + 0.01 * generator.standard_normal(shape))

    path = write_results(tmp_path / "r.h5", Study(n=(256, 1024, 4096), draws=8, planted=planted))
    with asymptop.open_results(path) as results:
        (series,) = asymptop.group_series(results.cases)
        fit = asymptop.fit_law(series, "row_l2_error", at="n^0.5")
        assert fit.exponent == pytest.approx(-0.25, abs=0.02)
        assert fit.interval.contains(-0.25)
        assert asymptop.fit_law(series, "k_epsilon", at=0.1).exponent > 0
        assert asymptop.fit_law(series, "count_p_above", at="1/n").exponent > 0
        assert asymptop.fit_law(series, "p_max").exponent < 0


@pytest.mark.parametrize(
    ("quantity", "at", "message"),
    [
        ("speed", None, "quantity is 'speed', allowed are tail_mass"),
        ("tail_mass", None, "at is None for tail_mass"),
        ("tail_mass", "n^0.6", "allowed is ('4*n^0.5', 'n^0.75')"),
        ("k_epsilon", 0.5, "allowed is (0.1, 0.01)"),
        ("p_max", "n^0.5", "allowed is None"),
    ],
)
def test_fit_says_what_is_allowed(results_file: Path, quantity: str, at: float | str | None, message: str) -> None:
    with asymptop.open_results(results_file) as results:
        series = asymptop.group_series(results.cases)
        with pytest.raises(asymptop.FitError, match=re.escape(message)):
            asymptop.fit_law(series[0], quantity, at)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(asymptop.ResultsError, match="no such file") as error:
        asymptop.open_results(tmp_path / "none.h5")
    assert "\n" not in str(error.value)


def test_what_a_notebook_shows_is_short(results_file: Path, tmp_path: Path) -> None:
    """Of objects that hold many others; of a signature whose default is all claims."""
    with asymptop.open_results(results_file) as results:
        lines = asymptop.group_series(results.cases)
        judgements = asymptop.judge(lines)
    shown = [results, results.cases[0], lines[0], asymptop.CLAIMS[0], judgements[0]]
    assert all(20 < len(repr(one)) < 300 for one in shown), shown
    assert len(str(inspect.signature(asymptop.judge))) < 200
    with pytest.raises(asymptop.ClaimsError, match="No such file"):
        asymptop.read_claims(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("command", ["advise", "weights", "convert"])
def test_help_does_not_wait_for_scipy(command: str, tmp_path: Path) -> None:
    code = f"""
import sys
from asymptop.__main__ import build_parser
build_parser("{command}")
print([name for name in sys.modules if name.startswith(("scipy.special", "scipy.stats", "scipy.interpolate"))])
"""
    assert run_python(code, tmp_path).strip() == "[]"
