"""--inputs: every synthetic input against brute force, on any ranks; its place in plan, file, records and messages."""

from __future__ import annotations

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import softmax_row
from command_line import assert_equal, asymptop, study
from synthetic_input import VALUES, Draw, queries_and_keys

INPUTS = ("gaussian", "uniform", "rademacher", "sphere", "student:3", "ar1:0.9", "clusters:5:0.3", "needle:1.5")
SHAPE = ["--n", "200", "--d", "7", "--rows", "5", "--draws", "3", "--block", "64", "--k", "1,14,n"]
SHAPE += ["--seed", "12345678901"]


def case_of(file: h5py.File, name: str, law: str = "sigma1") -> h5py.Group:
    part = "" if name == "gaussian" else "-" + name.replace(":", "-")
    return file[f"cases/n200-d7{part}-{law}"]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All inputs under two sigma laws, by one rank with keys in memory."""
    path = tmp_path_factory.mktemp("inputs") / "all.h5"
    arguments = [*SHAPE, "--inputs", ",".join(INPUTS), "--sigma", "1,log(n)", "--json", path.with_suffix(".json")]
    return study(path, arguments)


@pytest.mark.parametrize("name", INPUTS)
def test_brute_force(name: str, everything: Path) -> None:
    with h5py.File(everything) as file:
        for law, sigma in (("sigma1", 1.0), ("sigmalog(n)", math.log(200.0))):
            case = case_of(file, name, law)
            assert case.attrs["input"] == name
            assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
            assert case.attrs["sigma"] == pytest.approx(sigma, rel=1e-15)
            for at in range(3):
                draw = Draw(12345678901, at, 200, 7)
                q, keys, unit = queries_and_keys(draw, 5, name, fixed=False)
                values = draw.normals(VALUES, np.arange(200, dtype=np.uint64))
                for row in range(5):
                    check_row(case, (at, row), sigma * q[row], keys, values)
                    assert case["sigma_i"][at, row] == pytest.approx(sigma * unit[row], rel=2e-6)


def check_row(case: h5py.Group, at: tuple[int, int], q: np.ndarray, keys: np.ndarray, values: np.ndarray) -> None:
    row = softmax_row(q, keys, values, 1.0)
    # The binary's keys and queries are fp32: each product of a logit is known to 2e-6 of itself.
    logit = 2e-6 * float(np.max(np.abs(keys) @ np.abs(q)))
    relative = row.allowance + 2.0 * logit
    assert case["logit_max"][at] == pytest.approx(row.logits[0], abs=logit)
    assert case["log_sum_exp"][at] == pytest.approx(row.log_sum_exp, abs=relative)
    assert case["p_max"][at] == pytest.approx(row.p[0], rel=relative)
    assert case["sum_p_squared"][at] == pytest.approx(np.sum(row.p**2), rel=2.0 * relative)
    for column, k in enumerate(case["k"][()].tolist()):
        tau = 0.0 if k >= row.n else row.tail_mass(k)
        assert case["tail_mass"][(*at, column)] == pytest.approx(tau, rel=2.0 * relative, abs=1e-12)
        if k < row.n and row.logits[k - 1] - row.logits[k] < row.near_tie + logit:
            continue  # signs tie: another key may be the k-th
        head = row.p[:k] @ row.values[:k] / np.sum(row.p[:k])
        error = 0.0 if k >= row.n else float(np.linalg.norm(row.p @ row.values - head))
        size = tau * (np.linalg.norm(head) + 1.0) + 1e-12
        assert case["output_error"][(*at, column)] == pytest.approx(error, abs=20.0 * relative * size)


def test_any_ranks_and_storage(everything: Path, tmp_path: Path) -> None:
    inputs = ["--inputs", ",".join(INPUTS), "--sigma", "1,log(n)"]
    assert_equal(everything, study(tmp_path / "ranks.h5", [*SHAPE, *inputs, "--keys", "streamed"], ranks=3))
    arguments = ["--n", "3000", "--d", "9", "--rows", "5", "--draws", "1", "--block", "64", "--k", "1,14"]
    arguments += ["--row-sigma", "fixed", "--inputs", "sphere,student:1,ar1:0.999,ar1:-0.5,clusters:40,needle:0"]
    for path in ("fused", "blas-tile"):
        one = study(tmp_path / "one.h5", [*arguments, "--path", path, "--keys", "resident"])
        assert_equal(one, study(tmp_path / "two.h5", [*arguments, "--path", path, "--keys", "streamed"], ranks=2))


def test_records_say_the_input(everything: Path) -> None:
    records = json.loads(everything.with_suffix(".json").read_text())
    assert {record["input"] for record in records} == set(INPUTS)


def test_gaussian_is_the_default(everything: Path, tmp_path: Path) -> None:
    plain = study(tmp_path / "plain.h5", [*SHAPE, "--sigma", "1,log(n)"])
    with h5py.File(plain) as a, h5py.File(everything) as b:
        assert sorted(a["cases"]) == ["n200-d7-sigma1", "n200-d7-sigmalog(n)"]
        assert "inputs" not in a.attrs["config_text"]
        x, y = (file["cases/n200-d7-sigmalog(n)"] for file in (a, b))
        for name in x:
            if name != "phase_seconds":
                np.testing.assert_array_equal(x[name][()], y[name][()])


def test_norm_parameter(tmp_path: Path) -> None:
    """--R is B^2 |W|, and sigma = scale |W|."""
    bounds = {"gaussian": 1.0, "uniform": 3.0, "rademacher": 1.0, "sphere": 7.0, "clusters:5:0.3": 1.0}
    shape = ["--n", "200", "--d", "7", "--rows", "2", "--draws", "1", "--k", "1"]
    file = study(tmp_path / "r.h5", [*shape, "--R", "6", "--inputs", ",".join(bounds)])
    with h5py.File(file) as results:
        for name, square in bounds.items():
            case = case_of(results, name, "R6")
            assert case.attrs["sigma"] == pytest.approx(6.0 / square / math.sqrt(7.0), rel=1e-15)
            assert case.attrs["R"] == pytest.approx(6.0, rel=1e-15)


def test_own_keys_and_fixed_sigma(tmp_path: Path) -> None:
    """A query that is a key, through other weights, and every row at exactly sigma: all checks pass."""
    inputs = ["--inputs", "uniform,rademacher,sphere,student:4,ar1:0.99,clusters:3:0.1"]
    how = ["--self", "include", "--row-sigma", "fixed", "--weights", "gaussian"]
    file = study(tmp_path / "own.h5", [*SHAPE, *inputs, *how])
    with h5py.File(file) as results:
        for case in results["cases"].values():
            np.testing.assert_allclose(case["sigma_i"][()], 1.0, rtol=1e-6)
            assert np.all(case["row_position"][()] >= 0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--inputs", "normal"], ["--inputs", "normal", "gaussian", "needle"]),
        (["--inputs", "uniform,"], ["--inputs"]),
        (["--inputs", "uniform:2"], ["--inputs", "uniform:2"]),
        (["--inputs", "student"], ["--inputs", "student", "NU"]),
        (["--inputs", "student:0.5"], ["--inputs", "student:0.5", "NU"]),
        (["--inputs", "student:nan"], ["--inputs", "student:nan", "NU"]),
        (["--inputs", "student:2"], ["--inputs", "student:2", "--row-sigma fixed"]),
        (["--inputs", "ar1:1"], ["--inputs", "ar1:1", "RHO"]),
        (["--inputs", "ar1:0.5:2"], ["--inputs", "ar1:0.5:2"]),
        (["--inputs", "clusters:1"], ["--inputs", "clusters:1", "COUNT"]),
        (["--inputs", "clusters:2.5"], ["--inputs", "clusters:2.5", "COUNT"]),
        (["--inputs", "clusters:4:1.5"], ["--inputs", "clusters:4:1.5", "SPREAD"]),
        (["--inputs", "needle:-1"], ["--inputs", "needle:-1", "STRENGTH"]),
        (["--inputs", "needle:1", "--self", "include"], ["--self", "needle:1", "exclude"]),
        (["--inputs", "student:3,student:3.0"], ["--inputs", "student:3", "twice"]),
        (["--inputs", "uniform", "--input", "x.h5"], ["--inputs", "uniform", "--input"]),
    ],
    ids=lambda value: " ".join(value[1:]),
)
def test_bad_options(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    outcome = asymptop("study", "--n", "100", *arguments, cwd=tmp_path)
    assert outcome.code == 2, str(outcome)
    assert len(outcome.stderr.splitlines()) == 1
    for text in named:
        assert text in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_skips_say_why(tmp_path: Path) -> None:
    arguments = ["--n", "8,2^20", "--rows", "9", "--sigma", "8", "--row-sigma", "fixed"]
    arguments += ["--inputs", "needle:1,student:1,uniform"]
    outcome = asymptop("study", *arguments, "--dry-run", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    skips = [line for line in outcome.stdout.splitlines() if line.startswith("skipped")]
    assert any("n = 8" in line and "needle:1" in line and "9 rows" in line for line in skips)
    assert any("n = 1048576" in line and "student:1" in line and "raise NU" in line for line in skips)


def test_logits_that_span_more_than_planned_bins(tmp_path: Path) -> None:
    """A seed whose largest key is far out: its sums are over bins four times as wide, and are off by more than those of
    planned ones may be."""
    words = ["--n", "64", "--d", "4", "--inputs", "student:1", "--row-sigma", "fixed", "--rows", "16", "--draws", "2"]
    words += ["--block", "64", "--k", "8", "--seed", "110"]
    path = study(tmp_path / "r.h5", words)
    with h5py.File(path) as file:
        (case,) = file["cases"].values()
        assert case.attrs["bin_width"] == 0.125
        checks = case["check"].asstr()[()].tolist()
        residual, tolerance = (case[f"check_{of}"][checks.index("sum_p")] for of in ("residual", "tolerance"))
    # c^3 (1 + c) / 192 + c 2^-15 + c^2 2^-11 at c = 1/8 for 1/32 (kernels/profile/score_bins.hpp)
    assert tolerance == pytest.approx(1e-5 + 2.288818e-5 - 1.606e-6, rel=1e-3)
    assert 1e-5 < residual < tolerance
    again = asymptop("study", *words, "--resume", "-o", path)
    assert again.code == 0, str(again)
    assert "INVALID" not in again.stdout
