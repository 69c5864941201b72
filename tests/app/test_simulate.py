"""`asymptop simulate`: against studies, at n = 2^60, on any number of ranks, with every reader, and its options.

test_reference_values.py holds it to independently simulated means.
"""

from __future__ import annotations

import subprocess
import sys
import time
from math import log, sqrt
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import ROOT, Outcome, assert_equal, asymptop, compare, study
from scipy.stats import norm
from test_bad_input import check_refused
from test_reference_values import cells_of, check_agreement


def simulate(output: Path, arguments: list[str], ranks: int = 1, threads: int = 1, code: int = 0) -> Path:
    outcome = asymptop("simulate", *arguments, "--force", "-o", output, ranks=ranks, threads=threads)
    assert outcome.code == code, str(outcome)
    return output


@pytest.mark.parametrize(("n", "draws", "rows"), [(4096, 64, 24), (65536, 40, 6)])
def test_agrees_with_studies(n: int, draws: int, rows: int, tmp_path: Path) -> None:
    """Every metric at laws of k and thresholds that the reference does not have, beyond the ranks drawn one by one."""
    axes = f"--n {n} --sigma 0.5,1,sqrt(log(n)),log(n) --k 1,16,400,n^0.75,n/2,n-n/64,n --draws {draws}".split()
    asked = ["--epsilon", "0.5,0.1,0.001", "--count-above", "1/n,1e-5,2/n"]
    measured = cells_of("study", tmp_path, [*axes, *asked, "--rows", str(rows)])
    simulated = cells_of("simulate", tmp_path, [*axes, *asked, "--rows", "32", "--seed", "5"])
    assert measured.keys() == simulated.keys()
    check_agreement(simulated, measured)


def test_same_bytes_on_any_ranks(tmp_path: Path) -> None:
    arguments = ["--n", "1,63,4096,5000,2^20,2^62", "--sigma", "1,log(n)+1", "--k", "1,n^0.5,n,0.5*n+0.5"]
    arguments += ["--rows", "5", "--draws", "3"]
    alone = simulate(tmp_path / "alone.h5", arguments)
    for ranks, threads in [(2, 1), (3, 1), (7, 1), (1, 2)]:
        assert_equal(alone, simulate(tmp_path / f"{ranks}x{threads}.h5", arguments, ranks, threads))
    assert compare(alone, simulate(tmp_path / "seed.h5", [*arguments, "--seed", "2"])).code == 1


def test_cases_do_not_depend_on_others(tmp_path: Path) -> None:
    """A row's numbers come from its seed, draw, n and d, whatever else is simulated beside it."""
    k = ["--k", "64,n^0.5", "--rows", "3"]
    many = simulate(tmp_path / "many.h5", ["--n", "2^10,2^30", "--d", "32,64", "--sigma", "2,1", "--draws", "4", *k])
    one = simulate(tmp_path / "one.h5", ["--n", "2^30", "--d", "64", "--sigma", "1", "--draws", "2", *k])
    with h5py.File(many) as a, h5py.File(one) as b:
        of_many, of_one = a["cases/n1073741824-d64-sigma1"], b["cases/n1073741824-d64-sigma1"]
        for name in ("tail_mass", "row_l2_error", "entropy_nats", "k_epsilon", "count_p_above", "logit_std"):
            assert np.array_equal(of_many[name][:2], of_one[name][()]), name
        other = a["cases/n1073741824-d32-sigma1"]
        assert not np.any(other["logit_max"][()] == of_many["logit_max"][()])
        # One set of scores under every sigma.
        assert np.allclose(a["cases/n1073741824-d64-sigma2/logit_max"][()], 2.0 * of_many["logit_max"][()], rtol=1e-14)


def test_two_to_the_sixty(tmp_path: Path) -> None:
    """In seconds, VALID, and where n is that large the laws of large numbers must hold."""
    begin = time.monotonic()
    arguments = ["--n", "2^60", "--sigma", "1,sqrt(log(n)),log(n)", "--k", "64,n^0.75,n/1000", "--epsilon", "0.1"]
    file = simulate(tmp_path / "huge.h5", [*arguments, "--rows", "8", "--draws", "16"])
    assert time.monotonic() - begin < 60.0
    n = 2.0**60
    with h5py.File(file) as results:
        for law, sigma in {"1": 1.0, "sqrt(log(n))": sqrt(log(n)), "log(n)": log(n)}.items():
            case = results[f"cases/n{2**60}-d64-sigma{law}"]
            assert case.attrs["verdict"] == "VALID"
            assert case.attrs["sigma"] == pytest.approx(sigma)
            assert np.all(case["row_n"][()] == 2**60)
            tail = case["tail_mass"][()].mean(axis=(0, 1))
            if sigma > 6.0:  # below the freezing point the row is a sum of many keys
                assert np.all(np.diff(tail) <= 0)
                continue
            for k, tau in zip(case["k"][()], tail, strict=True):
                if k > 2**30:
                    assert tau == pytest.approx(norm.cdf(norm.isf(k / n) - sigma), rel=2e-3), k
            share = norm.sf(sigma + norm.ppf(0.1))
            assert case["k_epsilon"][()].mean() / n == pytest.approx(share, rel=2e-3)
            assert case["entropy_nats"][()].mean() == pytest.approx(log(n) - sigma**2 / 2, abs=0.05)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulate")
    axes = ["--n", "2^10:2^50:32", "--sigma", "1,2*sqrt(log(n))", "--k", "64,n^0.5,n^0.75"]
    arguments = [*axes, "--rows", "4", "--draws", "30"]
    return simulate(folder / "simulated.h5", arguments)


def python(*arguments: str | Path) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "asymptop", *map(str, arguments)],
        cwd=ROOT / "analysis",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_every_reader_takes_the_file(results: Path, tmp_path: Path) -> None:
    info = asymptop("info", results)
    assert info.code == 0, str(info)
    assert info.stdout.count("VALID") == 18
    assert "sigma law 2*sqrt(log(n)), 30 draws x 4 rows" in info.stdout
    assert_equal(results, results)
    parts = sorted(results.with_name("simulated.h5.cases").iterdir())
    outcome = asymptop("merge", "-o", tmp_path / "merged.h5", *parts)
    assert outcome.code == 0, str(outcome)
    assert_equal(results, tmp_path / "merged.h5")
    report = python("report", results, "-o", tmp_path / "report.html", "--table")
    assert report.code == 0, str(report)
    assert "tail_mass_against_n" in (tmp_path / "report.html").read_text(encoding="utf-8")
    # The claim's law of k holds or fails by the same rules as for measured rows.
    assert "A-tv" in report.stdout


def test_says_that_it_was_simulated(results: Path) -> None:
    with h5py.File(results) as file:
        assert file.attrs["kind"] == "study"
        assert file.attrs["command_line"].startswith("asymptop simulate ")
        case = file[f"cases/n{2**50}-d64-sigma1"]
        assert case.attrs["input"] == "simulated"
        assert case.attrs["path"] == "order-statistics"
        assert case.attrs["keys"] == "none"
        assert case.attrs["row_sigma"] == "fixed"
        assert case.attrs["gflop"] == 0.0
        assert "output_error" not in case
        assert np.all(case["row_position"][()] == -1)
        assert np.all(case["sigma_i"][()] == 1.0)


def test_resume_continues(tmp_path: Path) -> None:
    arguments = ["--n", "64,2^40", "--rows", "4", "--draws", "3"]
    whole = simulate(tmp_path / "whole.h5", arguments)
    part = simulate(tmp_path / "part.h5", arguments)
    kept = part.with_name("part.h5.cases") / "n64-d64-sigma1.h5"
    (part.with_name("part.h5.cases") / f"n{2**40}-d64-sigma1.h5").unlink()
    before = kept.stat().st_mtime_ns
    assert asymptop("simulate", *arguments, "-o", part).code == 2
    outcome = asymptop("simulate", *arguments, "-o", part, "--resume")
    assert outcome.code == 0, str(outcome)
    assert kept.stat().st_mtime_ns == before
    assert_equal(whole, part)


def test_r_sets_sigma_through_the_scale(tmp_path: Path) -> None:
    a = simulate(tmp_path / "a.h5", ["--n", "2^20", "--R", "8", "--rows", "2", "--draws", "2"])
    b = simulate(tmp_path / "b.h5", ["--n", "2^20", "--sigma", "1", "--rows", "2", "--draws", "2"])
    with h5py.File(a) as x, h5py.File(b) as y:
        of_norm, of_sigma = x["cases/n1048576-d64-R8"], y["cases/n1048576-d64-sigma1"]
        assert of_norm.attrs["sigma"] == 1.0
        assert np.array_equal(of_norm["tail_mass"][()], of_sigma["tail_mass"][()])


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    outcome = asymptop("simulate", "--n", "2^62", "--sigma", "1,2", "--dry-run", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    assert "4611686018427387904" in outcome.stdout
    assert "2 case(s)" in outcome.stdout
    assert not list(tmp_path.iterdir())


def test_help_lists_its_options_only() -> None:
    outcome = asymptop("simulate", "--help")
    assert outcome.code == 0
    for name in (
        "--n",
        "--sigma",
        "--R",
        "--k",
        "--rows",
        "--draws",
        "--seed",
        "--epsilon",
        "--count-above",
        "--resume",
    ):
        assert f"{name} " in outcome.stdout, name
    for name in ("--input", "--mask", "--block", "--keys", "--path", "--merge", "--hold", "--weights"):
        assert name not in outcome.stdout, name


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--n", "2^63"], ["--n", "2^63", "4611686018427387904"]),
        (["--n", "0"], ["--n", "0"]),
        ([], ["--n"]),
        (["--n", "64", "--input", "x.h5"], ["--input", "simulate --help"]),
        (["--n", "64", "--block", "64"], ["--block"]),
        (["--n", "64", "--sigma", "n-64"], ["--sigma", "n-64", "64"]),
        (["--n", "2^60", "--sigma", "n"], ["--sigma", "10^9"]),
        (["--n", "2^60", "--R", "n"], ["--R", "10^9"]),
        (["--n", "64", "--k", "0.2"], ["--k", "0.2"]),
        (["--n", "64", "--epsilon", "1"], ["--epsilon", "1"]),
        (["--n", "64", "--sigma", "1", "--R", "1"], ["--R", "--sigma"]),
        (["--n", "64", "--output", "no/such/folder.h5"], ["--output", "no/such/folder.h5"]),
        (["--n", "64", "--config", "nowhere.cfg"], ["--config", "nowhere.cfg"]),
    ],
)
def test_refuses(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    check_refused(tmp_path, ["simulate", *arguments], named)


def test_config_file_and_command_line(tmp_path: Path) -> None:
    config = tmp_path / "simulate.cfg"
    config.write_text("n = 2^40\nsigma = 1\nrows = 3\ndraws = 4\nk = n^0.5\n")
    file = simulate(tmp_path / "out.h5", ["--config", str(config), "--draws", "2"])
    with h5py.File(file) as results:
        assert results[f"cases/n{2**40}-d64-sigma1"].attrs["draws"] == 2
        written = results.attrs["config_text"]
    # What it was run with runs again.
    config.write_text(written)
    assert_equal(file, simulate(tmp_path / "again.h5", ["--config", str(config)]))


def test_study_is_no_simulation(tmp_path: Path) -> None:
    axes = ["--n", "256", "--k", "16", "--rows", "4", "--draws", "2"]
    measured = study(tmp_path / "study.h5", [*axes, "--row-sigma", "fixed", "--output-error", "off"])
    outcome = compare(measured, simulate(tmp_path / "simulated.h5", axes))
    assert outcome.code == 1
    assert "input" in outcome.stdout or "differs" in outcome.stdout
