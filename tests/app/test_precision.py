"""`asymptop precision`: against softmax in numpy, stage by stage, from the same random words; known effects against
theory; on any number of ranks; its options and files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, exp, log2
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
import xarray
from command_line import ROOT, assert_equal, asymptop, compare, study
from numpy.typing import NDArray
from running import Run
from scipy.stats import norm
from test_bad_input import check_refused

Array = NDArray[np.float64]

# Significant bits, exponent of the smallest normal number, largest number, what is beyond it.
FORMATS = {
    "fp64": (53, -1022, np.finfo(np.float64).max, np.inf),
    "fp32": (24, -126, float(np.finfo(np.float32).max), np.inf),
    "bf16": (8, -126, float(ml_dtypes.finfo(ml_dtypes.bfloat16).max), np.inf),
    "fp16": (11, -14, 65504.0, np.inf),
    "fp8": (4, -6, 448.0, 448.0),
}


def rounded(x: Array | float, name: str) -> Array:
    """Significands scaled to integers, rounded to the nearest (even) one, scaled back."""
    bits, lowest, largest, beyond = FORMATS[name]
    x = np.asarray(x, dtype=np.float64)
    if name == "fp64":
        return x
    last_place = np.maximum(np.frexp(x)[1] - 1, lowest) - (bits - 1)
    y = np.ldexp(np.rint(np.ldexp(x, -last_place)), last_place)
    return np.where(np.abs(y) > largest, np.copysign(beyond, x), y)


def sequential(x: Array, name: str) -> float:
    total = 0.0
    for value in rounded(x, name).tolist():
        total = float(rounded(total + value, name))
    return total


def pairwise(x: Array, name: str) -> float:
    x = rounded(x, name)
    while len(x) > 1:
        odd = x[-1:] if len(x) % 2 else x[:0]
        x = np.concatenate([rounded(x[: len(x) - len(odd) : 2] + x[1 : len(x) : 2], name), odd])
    return float(x[0])


def blocked(x: Array, name: str, block: int) -> float:
    return pairwise(np.array([sequential(x[i : i + block], name) for i in range(0, len(x), block)]), name)


def normals(seed: int, n: int, draw: int, row: int) -> Array:
    """Box and Muller on the words of the row's own Philox stream."""
    words = np.random.Philox(key=[seed, 0], counter=[0, n, draw, row]).random_raw(4 * ceil((n + 1) / 4))
    words = words.reshape(-1, 4)[:, ::-1].reshape(-1)  # a block's words come last first
    uniform = 1.0 - words.astype(np.float64) * 2.0**-64
    radius, angle = np.sqrt(-2.0 * np.log(uniform[0::2])), 2.0 * np.pi * uniform[1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:n]


@dataclass(frozen=True)
class Arithmetic:
    logits: str
    difference: str
    exp: str
    sum: str
    p: str
    order: str

    def add(self, x: Array, block: int) -> float:
        if self.order == "blocked":
            return blocked(x, self.sum, block)
        return (pairwise if self.order == "pairwise" else sequential)(x, self.sum)

    def weights(self, logits: Array, block: int) -> tuple[float, Array]:
        """Z and p."""
        s = rounded(logits, self.logits)
        e = rounded(np.exp(rounded(s - s.max(), self.difference)), self.exp)
        z = self.add(e, block)
        return z, rounded(e / z, self.p)


def sets_of(case: h5py.Group) -> list[Arithmetic]:
    columns = [[t.decode() for t in case[name][()]] for name in ("logits", "difference", "exp", "sum", "p", "order")]
    return [Arithmetic(*values) for values in zip(*columns, strict=True)]


def largest(p: Array, k: int) -> NDArray[np.bool_]:
    chosen = np.zeros(len(p), dtype=bool)
    chosen[np.argsort(-p, kind="stable")[:k]] = True
    return chosen


def precision(output: Path, arguments: list[str], ranks: int = 1, threads: int = 1, code: int = 0) -> Path:
    outcome = asymptop("precision", *arguments, "--force", "-o", output, ranks=ranks, threads=threads)
    assert outcome.code == code, str(outcome)
    return output


SETS = (
    "bf16; bf16:pairwise; bf16:blocked; bf16,sum=fp32; logits=bf16,sum=fp32; fp16:pairwise; fp16; exp=fp16; p=fp16; "
    "fp8; fp8,sum=fp16:blocked; logits=fp16,exp=bf16,sum=fp32,p=fp8; difference=bf16; p=bf16; logits=e4m3; "
    "fp32; sum=fp16:pairwise"
)


def test_numpy_rounds_as_ml_dtypes_does() -> None:
    """The reference of this file: ml_dtypes and numpy convert fp32, which has no double rounding."""
    generator = np.random.default_rng(3)
    x = np.ldexp(generator.uniform(-1, 1, 50000), generator.integers(-30, 17, 50000)).astype(np.float32)
    for name, kind in (("bf16", ml_dtypes.bfloat16), ("fp16", np.float16), ("fp8", ml_dtypes.float8_e4m3fn)):
        inside = x[np.abs(x) < FORMATS[name][2]]
        assert np.array_equal(rounded(inside, name), inside.astype(kind).astype(np.float64)), name


def test_is_what_numpy_makes_stage_by_stage(tmp_path: Path, seed: int) -> None:
    arguments = [
        "--n",
        "1,7,1100",
        "--sigma",
        "1,5",
        "--k",
        "1,n^0.5",
        "--precision",
        SETS,
        "--rows",
        "2",
        "--draws",
        "2",
    ]
    file = precision(tmp_path / "out.h5", [*arguments, "--seed", str(seed), "--block", "64"])
    with h5py.File(file) as results:
        for case in results["cases"].values():
            n, sigma = int(case.attrs["n"]), float(case.attrs["sigma"])
            assert len(sets_of(case)) == SETS.count(";") + 2
            assert case.attrs["block"] == 64
            for draw in range(2):
                for row in range(2):
                    check_row(case, sigma * normals(seed, n, draw, row), (draw, row))


def check_row(case: h5py.Group, logits: Array, place: tuple[int, int]) -> None:
    sets, block = sets_of(case), int(case.attrs["block"])
    exact = sets[0].weights(logits, block)[1]
    thresholds = case["threshold_value"][()]
    for at, arithmetic in enumerate(sets):
        z, p = arithmetic.weights(logits, block)
        where = f"{case.name} {arithmetic} {place}"
        # Last places of fp64 exponentials and logits differ between libraries; rounded ones only next to a midpoint.
        near = {"rel": 1e-12} if "fp64" in (arithmetic.exp, arithmetic.sum) else {"rel": 0.0, "abs": 0.0}
        assert case["normaliser"][(*place, at)] == pytest.approx(z, **near), where
        assert case["p_max"][(*place, at)] == pytest.approx(p.max(), rel=1e-12), where
        assert case["sum_p"][(*place, at)] == pytest.approx(p.sum(), rel=1e-12), where
        inside = arithmetic.add(p, block)
        assert case["sum_p_in_format"][(*place, at)] == pytest.approx(inside, rel=1e-12), where
        assert case["zeros"][(*place, at)] == np.count_nonzero(p == 0), where
        assert np.array_equal(case["count_p_above"][(*place, at)], [np.count_nonzero(p > t) for t in thresholds]), where
        total = p.sum()
        if total > 0:
            q = p[p > 0] / total
            assert case["participation_ratio"][(*place, at)] == pytest.approx(1.0 / np.sum(q * q), rel=1e-11), where
            assert case["entropy_nats"][(*place, at)] == pytest.approx(-np.sum(q * np.log(q)), rel=1e-11, abs=1e-12)
        for j, k in enumerate(case["k"][()]):
            chosen = largest(p, int(k))
            tail = p[~chosen].sum() / total if total > 0 else 1.0
            assert case["tail_mass"][(*place, at, j)] == pytest.approx(tail, rel=1e-11, abs=1e-300), where
            missed = exact[~chosen].sum() - exact[~largest(exact, int(k))].sum()
            assert case["missed_mass"][(*place, at, j)] == pytest.approx(missed, abs=1e-13), where


def drift(z_max: float, sigma: float, n: int, bits: int) -> tuple[float, float]:
    """Where a sequential sum of n exponentials ends, and its standard deviation. In a binade an addition moves it by
    the addend rounded to the last place there; mean and variance of that follow from the law of the addends."""
    z = np.linspace(-8.0, z_max, 400001)
    density = norm.pdf(z)
    density /= density.sum()
    e = np.exp(sigma * (z - z_max))
    total, variance, left = 0.0, 0.0, float(n)
    for exponent in range(-8, bits + 2):
        low, high = (0.0 if exponent == -8 else 2.0**exponent), 2.0 ** (exponent + 1)
        step = np.rint(rounded(e, "bf16") / 2.0 ** (exponent + 1 - bits)) * 2.0 ** (exponent + 1 - bits)
        mean, spread = float(density @ step), float(density @ step**2)
        if mean == 0.0:
            break
        takes = min((high - max(low, total)) / mean, left)
        total, variance, left = total + takes * mean, variance + takes * spread, left - takes
        if left <= 0:
            break
    return total, variance**0.5


def test_sequential_bf16_stops_where_theory_says(tmp_path: Path, seed: int) -> None:
    """At n = 2^20 and sigma = 1 the sum in bf16 is off by two orders of magnitude, and a sum in pairs is not."""
    n = 2**20
    sets = "sum=bf16; sum=bf16:pairwise; sum=bf16:blocked; bf16"
    arguments = ["--n", str(n), "--k", "64", "--precision", sets, "--rows", "1", "--draws", "2", "--seed", str(seed)]
    file = precision(tmp_path / "out.h5", arguments, threads=2)
    with h5py.File(file) as results:
        case = results[f"cases/n{n}-sigma1"]
        assert case.attrs["verdict"] == "VALID"
        z, sum_p = case["normaliser"][:, 0], case["sum_p"][:, 0]
        for draw in range(2):
            expected, spread = drift(float(normals(seed, n, draw, 0).max()), 1.0, n, 8)
            # No addend is over 1, so 2^8 is the end in any case.
            assert max(z[draw, 1], z[draw, 4]) <= 256.0
            assert abs(z[draw, 1] - expected) < 6.0 * spread + 2.0 ** (log2(expected) // 1 - 7), (
                z[draw],
                expected,
                spread,
            )
            assert sum_p[draw, 1] == pytest.approx(z[draw, 0] / z[draw, 1], rel=1e-9)
            assert 30.0 < sum_p[draw, 1] < 1000.0
            # Higham's bound: a factor of 1 + 2^-8 a level of the tree, and for rounding the terms.
            assert abs(sum_p[draw, 2] - 1.0) < exp(21 * 2.0**-8) - 1.0
            assert abs(sum_p[draw, 2] - 1.0) < 0.02
            # The kernel's own sum of its p is lost in the same way.
            assert case["sum_p_in_format"][draw, 0, 4] == pytest.approx(1.0, abs=0.2)


def test_merge_refuses_other_kinds(tmp_path: Path) -> None:
    stages = precision(tmp_path / "stages.h5", ["--n", "64", "--draws", "2"])
    measured = study(tmp_path / "study.h5", ["--n", "64", "--k", "8", "--rows", "4", "--draws", "2"])
    outcome = asymptop("merge", "-o", tmp_path / "mixed.h5", measured, stages)
    assert outcome.code == 1, str(outcome)
    assert "stages.h5 is of another kind" in outcome.stderr
    assert not (tmp_path / "mixed.h5").exists()


def test_more_than_fits_is_refused(tmp_path: Path) -> None:
    arguments = ["precision", "--n", "2^30", "--threads", "128", "--dry-run"]
    check_refused(tmp_path, arguments, ["--n", "lower --n or --threads"])


def test_same_bytes_on_any_ranks(tmp_path: Path) -> None:
    arguments = ["--n", "1,63,3000", "--sigma", "1,log(n)+1", "--rows", "3", "--draws", "3", "--block", "64"]
    alone = precision(tmp_path / "alone.h5", arguments)
    for ranks, threads in [(2, 1), (5, 1), (1, 3)]:
        assert_equal(alone, precision(tmp_path / f"{ranks}x{threads}.h5", arguments, ranks, threads))
    outcome = compare(alone, precision(tmp_path / "seed.h5", [*arguments, "--seed", "2"]))
    assert outcome.code == 1
    assert "differs" in outcome.stdout


def test_files_and_records(tmp_path: Path) -> None:
    """Tidy records are means of the file; readers see named axes; info, dry runs, existing files as elsewhere."""
    config = tmp_path / "precision.cfg"
    config.write_text("n = 256\nsigma = 2\nk = 16\nprecision = p=fp8; fp16:blocked\nrows = 2\ndraws = 3\n")
    arguments = ["--config", str(config), "-o", tmp_path / "out.h5"]
    plan = asymptop("precision", *arguments, "--dry-run")
    assert plan.code == 0
    assert "fp8" in plan.stdout
    assert not (tmp_path / "out.h5").exists()
    outcome = asymptop("precision", *arguments, "--json", "-")
    assert outcome.code == 0, str(outcome)
    records = json.loads(outcome.stdout)
    assert "blocked" in outcome.stderr
    refused = asymptop("precision", *arguments)
    assert refused.code == 2
    assert "--force" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    with xarray.open_dataset(tmp_path / "out.h5", engine="h5netcdf", group="cases/n256-sigma2") as data:
        assert data["tail_mass"].dims == ("draw", "row", "precision", "k")
        assert data["precision"].values.tolist() == ["fp64", "p=fp8", "fp16"]
        tail = data["tail_mass"].values[..., 0]
    found = {(r["precision"], r["order"], r["metric"]): r for r in records if r["parameter"] in ("", "16")}
    record = found["p=fp8", "sequential", "tail_mass"]
    assert (record["k_law"], record["verdict"], record["rows"], record["draws"]) == ("16", "VALID", 6, 3)
    assert record["mean"] == pytest.approx(tail[:, :, 1].mean(), rel=1e-14)
    difference = (tail[:, :, 1] - tail[:, :, 0]).mean(axis=1)
    record = found["p=fp8", "sequential", "tail_mass_difference"]
    assert record["mean"] == pytest.approx(difference.mean(), rel=1e-12)
    assert record["standard_error"] == pytest.approx(difference.std(ddof=1) / 3**0.5, rel=1e-9)
    info = asymptop("info", tmp_path / "out.h5")
    assert info.code == 0
    assert "kind: precision" in info.stdout
    assert "n256-sigma2" in info.stdout


def test_help_names_every_option() -> None:
    outcome = asymptop("precision", "--help")
    assert outcome.code == 0
    for name in (
        "--n",
        "--sigma",
        "--k",
        "--precision",
        "--rows",
        "--draws",
        "--block",
        "e4m3",
        "sequential",
        "difference",
    ):
        assert name in outcome.stdout, name


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["--n"]),
        (["--n", "2^31"], ["--n", "2^31", "1073741824"]),
        (["--n", "64", "--precision", "bf17"], ["--precision", "bf17", "fp8"]),
        (["--n", "64", "--precision", "mask=bf16"], ["--precision", "mask=bf16", "logits"]),
        (["--n", "64", "--precision", "p=bf16:pairwise"], ["--precision", "p=bf16:pairwise"]),
        (["--n", "64", "--precision", "sum=bf16:random"], ["--precision", "random", "pairwise"]),
        (["--n", "64", "--precision", "bf16;bf16"], ["--precision", "bf16", "twice"]),
        (["--n", "64", "--sigma", "2000"], ["--sigma", "2000", "1000"]),
        (["--n", "64", "--block", "65"], ["--block", "65"]),
        (["--n", "64", "--rows", "0"], ["--rows", "0"]),
        (["--n", "64", "--d", "64"], ["--d"]),
        (["--n", "64", "--output", "no/such/folder.h5"], ["--output", "no/such/folder.h5"]),
    ],
)
def test_refuses(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    check_refused(tmp_path, ["precision", *arguments], named)


def test_report_says_what_was_found(tmp_path: Path) -> None:
    arguments = ["--n", "2^8:2^14:8", "--precision", "bf16; bf16:pairwise; fp8,sum=fp32; fp32", "--draws", "4"]
    file = precision(tmp_path / "precision.h5", [*arguments, "--rows", "1"])
    with h5py.File(file) as results:
        sum_p = results["cases/n16384-sigma1/sum_p"][:, :, 1].mean()
    command = ["report", file, "-o", tmp_path / "report.html", "--figures", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "asymptop", *map(str, command)],
        cwd=ROOT / "analysis",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"bf16 summed one after another: Σp = {sum_p:.4g}" in text
    assert "bf16 summed in pairs; fp32 summed one after another" in text
    assert "remedy for collapse" in text
    for ending in ("png", "pdf", "csv"):
        assert (tmp_path / f"precision_against_n.{ending}").is_file()


@pytest.mark.parametrize("ranks", [1, 2])
def test_stops_within_a_case(ranks: int, start: Callable[..., Run], tmp_path: Path) -> None:
    """The case in work is lost, the finished one is in the file; the rank that is asked need not be the first."""
    output = tmp_path / "r.h5"
    options = ["--n", "64,2^18", "--precision", "bf16", "--draws", "256", "--threads", "1"]
    run = start(output, ranks, *options, command="precision")
    deadline = time.monotonic() + 60.0
    while not output.exists() and not run.over() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(run.ranks()[-1], signal.SIGTERM)
    outcome = run.finish()
    assert outcome.code == 75, str(outcome)
    assert f"stopped on request: 1 of 2 cases finished, in {output}\n" in outcome.stdout
    with h5py.File(output) as file:
        assert list(file["cases"]) == ["n64-sigma1"]
