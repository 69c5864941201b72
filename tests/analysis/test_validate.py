"""`validate`: brute-force rows agree with the reference that comes with the package, and planted faults are found."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import __main__ as command_line
from asymptop.commands.validate import REFERENCE, read_reference
from asymptop.io.streams import UsageError
from make_results import Study, write_results

LAWS = ("1", "2", "sqrt(log(n))", "log(n)")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4096 keys, rows at exactly sigma, every k, epsilon and threshold of the reference."""
    reference = read_reference(REFERENCE)
    k = sorted({int(e.parameter) for e in reference if e.metric == "tail_mass"})
    epsilon = sorted({float(e.parameter) for e in reference if e.metric == "k_epsilon"})
    threshold = sorted({e.parameter for e in reference if e.metric == "count_p_above"})
    study = Study(
        n=(4096,), sigma=LAWS, k=[str(one) for one in k], epsilon=epsilon, threshold=threshold, draws=24, rows=12,
        row_sigma="fixed",
    )  # fmt: skip
    return write_results(tmp_path_factory.mktemp("validate") / "rows.h5", study)


def validate(path: Path, *options: str) -> int:
    return command_line.main(["validate", str(path), *options])


def spoiled(rows: Path, folder: Path, name: str, change) -> Path:
    """A copy with one dataset of the case at sigma = 2 changed."""
    path = folder / "spoiled.h5"
    path.write_bytes(rows.read_bytes())
    with h5py.File(path, "r+") as file:
        (group,) = (g for g in file["cases"].values() if g.attrs["sigma_law"] in ("2", b"2"))
        group[name][...] = change(group[name][()])
    return path


def test_brute_force_rows_are_valid(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(rows) == 0
    out = capsys.readouterr().out
    assert f"reference: {len(read_reference(REFERENCE))} cells" in out
    assert out.endswith("VALID\n")
    assert "INVALID" not in out


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("participation_ratio", lambda v: v * 1.001, "participation_ratio * sum_p_squared = 1"),
        ("p_max", lambda v: v * 0.999, "p_max = exp(logit_max - log_sum_exp)"),
        ("entropy_nats", lambda v: v + 10.0, "entropy <= log(n)"),
        ("tail_mass", lambda v: v[:, :, ::-1], "tail_mass falls with k"),
        ("tail_mass", lambda v: v + 1e-3, "errors at k = n"),
        ("row_l2_error", lambda v: v * 3.0, "row_l2_error^2 <= 2 tail_mass row_linf_error"),
        ("row_linf_error", lambda v: v * 3.0, "row_linf_error <= row_l2_error"),
        ("k_epsilon", lambda v: v // 2, "k_epsilon at 0.1 against tail_mass"),
        ("count_p_above", lambda v: v * 0, "not positive exactly where p_max > t"),
        ("row_n", lambda v: v - 1, "row_n: 4095 to 4095 keys seen"),
        ("k_of_law", lambda v: np.full_like(v, 4096), "k_of_law:"),
        ("check_residual", lambda v: v + 1.0, "is over its tolerance"),
        ("sigma_i", lambda v: v * 1.01, "sigma_i = sigma"),
    ],
)
def test_faults_between_the_numbers_of_a_row(
    rows: Path, tmp_path: Path, name: str, change, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(spoiled(rows, tmp_path, name, change)) == 1
    out = capsys.readouterr().out
    (line,) = [one for one in out.splitlines() if words in one][:1]
    assert line.startswith("case ")
    assert out.endswith("INVALID\n")


def test_means_that_are_off(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All rows at sigma 2 have 3% less entropy: no identity is broken, and the reference says so."""
    path = spoiled(rows, tmp_path, "entropy_nats", lambda v: v * 0.97)
    assert validate(path) == 1
    out = capsys.readouterr().out
    assert "entropy_nats at n = 4096, sigma = 2: " in out
    assert "1 over 6 (allowed 0): FAILED" in out


def test_what_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_results(tmp_path / "natural.h5", Study(n=(256,), sigma=("1",)))
    assert validate(path) == 0
    out = capsys.readouterr().out
    assert "not compared: 1 case, rows differ in sigma" in out
    assert "no cell of iid_gaussian_rows_4096.csv" in out
    assert validate(path, "--reference", str(REFERENCE)) == 1  # asked for, and nothing was compared
    invalid = write_results(tmp_path / "invalid.h5", Study(n=(256,), invalid_n=(256,)))
    assert validate(invalid) == 1
    assert "verdict: INVALID" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("log2_n,sigma_law,metric,parameter,mean\n", "column 'standard_error' is missing"),
        ("log2_n,sigma_law,metric,parameter,mean,standard_error\n12,1,error,,1,1\n", "metric is 'error', allowed are"),
        ("log2_n,sigma_law,metric,parameter,mean,standard_error\n12,1,p_max,,x,1\n", "cannot be read"),
        ("log2_n,sigma_law,metric,parameter,mean,standard_error\n12,m,p_max,,1,1\n", "cannot be read"),
        ("log2_n,sigma_law,metric,parameter,mean,standard_error\n12,1,p_max,,nan,1\n", "not a finite number"),
    ],
)
def test_bad_tables(rows: Path, tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        read_reference(tmp_path / "table.csv")
    assert validate(rows, "--reference", str(tmp_path / "table.csv")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_files_that_are_no_results(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(tmp_path / "absent.h5") == 2
    assert "no such file" in capsys.readouterr().err
    path = tmp_path / "broken.h5"
    path.write_bytes(rows.read_bytes())
    with h5py.File(path, "r+") as file:
        del next(iter(file["cases"].values()))["entropy_nats"]
    assert validate(path) == 1
    assert "schema: " in capsys.readouterr().out
    with h5py.File(path, "r+") as file:
        file.attrs["kind"] = "bench"
    assert validate(path) == 2
    assert "allowed are files of study and simulate" in capsys.readouterr().err
