"""The study command as a user meets it: config files, dry runs, resuming, what numbers depend on, merge and info."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import Outcome, assert_equal, asymptop, compare

# What sums of squares of binned exponentials may differ by, relative (kernels/profile/score_bins.hpp), twice.
SUM_BOUND = 1.2e-5
SIZE = ("--rows", "16", "--draws", "3", "--block", "64", "--output-error", "off")
LAWS = ("--n", "64,100", "--sigma", "1,2", "--k", "8")
CASES = ["n100-d64-sigma1", "n100-d64-sigma2", "n64-d64-sigma1", "n64-d64-sigma2"]


def ran(folder: Path, *arguments: str, code: int = 0) -> Outcome:
    outcome = asymptop("study", *arguments, cwd=folder)
    assert outcome.code == code, str(outcome)
    return outcome


def case_data(path: Path, case: str, *names: str) -> list[np.ndarray]:
    with h5py.File(path) as file:
        return [file["cases"][case][name][()] for name in names]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished study LAWS. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    ran(folder, *LAWS, *SIZE)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The same study, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_config_file(finished: Path, tmp_path: Path) -> None:
    lines = ["# a study", "n = 64,100", "sigma = 1,2", "k = 999", "rows = 16", "draws = 3", "block = 64"]
    (tmp_path / "study.cfg").write_text("\n".join([*lines, "output-error = off", "output = from-config.h5", ""]))
    ran(tmp_path, "--config", "study.cfg", "--k", "8")
    assert_equal(finished / "results.h5", tmp_path / "from-config.h5")
    ran(tmp_path, "--config", "study.cfg", "--k", "8", "--n", "64", "-o", "short.h5")
    with h5py.File(tmp_path / "short.h5") as file:
        assert sorted(file["cases"]) == CASES[2:]


@pytest.mark.parametrize(
    ("arguments", "cases"),
    [
        ("--n 2048 --d 4096 --sigma 1,3,12 --k n/2 --rows 16", 3),
        ("--n 874 --d 57 --sigma log(n) --k n/2 --inputs rademacher --self include", 1),
        ("--n 600 --d 256 --sigma 2 --k 9 --inputs rademacher --self include", 1),
    ],
    ids=["long-products", "products-of-like-terms", "longer-ones"],
)
def test_what_fp32_costs_is_allowed(arguments: str, cases: int, tmp_path: Path) -> None:
    """Roundings of d additions grow with sqrt(d), and with d where all terms of a key's product with itself are alike:
    the audit, which is in fp64, sees them, and they are no fault."""
    outcome = ran(tmp_path, *arguments.split(), "--draws", "6")
    assert outcome.stdout.count(" VALID") == cases + 1  # and the last word


def test_stored_config_runs_again(finished: Path, tmp_path: Path) -> None:
    with h5py.File(finished / "results.h5") as file:
        (tmp_path / "again.cfg").write_text(str(file.attrs["config_text"]))
    ran(tmp_path, "--config", "again.cfg")
    assert_equal(finished / "results.h5", tmp_path / "results.h5")


def test_threads_from_config_file(tmp_path: Path) -> None:
    (tmp_path / "study.cfg").write_text("threads = 2\n")
    ran(tmp_path, "--config", "study.cfg", "--n", "64", "--k", "8", *SIZE)
    with h5py.File(tmp_path / "results.h5") as file:
        assert file.attrs["threads_per_rank"] == 2


def test_dry_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    with h5py.File(tmp_path / "tensors.h5", "w") as file:
        for name in "QKV":
            file[name] = rng.standard_normal((100, 8))
    before = sorted(tmp_path.rglob("*"))
    plan = ran(tmp_path, "--dry-run", "--n", "2^20", "--sigma", "1,2*sqrt(log(n))", "--k", "64,n^0.5").stdout
    for text in ("1048576", "64, 1024", "2*sqrt(log(n))", "MB", "flop", "bytes/rank", "2 case(s)"):
        assert text in plan, f"{text} is missing:\n{plan}"
    plan = ran(
        tmp_path, "--dry-run", "--input", "tensors.h5", "--n", "20,100,200", "--rows", "8", "--draws", "4"
    ).stdout
    (skipped,) = [line for line in plan.splitlines() if line.startswith("skipped")]
    assert "n = 200" in skipped
    assert "100 keys" in skipped
    (lowered,) = [line for line in plan.splitlines() if line.startswith("lowered")]
    assert "n = 20: 4 draws x 2 rows instead of 4 draws x 8 rows" in lowered
    assert "10 places" in lowered
    assert sorted(tmp_path.rglob("*")) == before


def test_the_plan_counts_what_rows_cost(tmp_path: Path) -> None:
    """At the same n, rows and draws: many laws of sigma and large heads take far longer than the products."""

    def seconds(sigma: str, k: str) -> float:
        plan = ran(tmp_path, "--dry-run", "--n", "2^16", "--sigma", sigma, "--k", k).stdout
        return float(re.search(r"about ([\d.e+-]+) s", plan)[1])

    laws = "1,2,3,4,5,6,7,8"
    small, large = seconds("1", "64"), seconds(laws, "n^0.95")
    assert large > 5.0 * small
    assert seconds("1", "n^0.95") < large
    assert seconds(laws, "64") < large


def test_skips_are_not_failures(tmp_path: Path) -> None:
    outcome = ran(tmp_path, "--n", "8,64", "--self", "include", "--k", "4", *SIZE)
    assert "skipped: n = 8" in outcome.stdout
    with h5py.File(tmp_path / "results.h5") as file:
        assert list(file["cases"]) == ["n64-d64-sigma1"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite_middle(path: Path) -> None:
    """Bytes of the file's index, not of its numbers: damage that HDF5 can see."""
    content = bytearray(path.read_bytes())
    content[600 : len(content) // 2] = bytes(len(content) // 2 - 600)
    path.write_bytes(bytes(content))


def make_invalid(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        next(iter(file["cases"].values())).attrs["verdict"] = "INVALID"


def drop_dataset(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del next(iter(file["cases"].values()))["tail_mass"]


DAMAGE: list[Callable[[Path], None]] = [
    truncate,
    empty,
    overwrite_middle,
    make_invalid,
    drop_dataset,
    Path.unlink,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_resume_redoes_what_is_not_whole(damage: Callable[[Path], None], finished: Path, copy: Path) -> None:
    cases = copy / "results.h5.cases"
    (copy / "results.h5").unlink()
    damage(cases / "n64-d64-sigma1.h5")
    before = {path.name: path.stat().st_mtime_ns for path in cases.iterdir()}
    ran(copy, *LAWS, *SIZE, "--resume")
    assert_equal(finished / "results.h5", copy / "results.h5")
    assert sorted(path.stem for path in cases.iterdir()) == CASES
    for name in ("n100-d64-sigma1.h5", "n100-d64-sigma2.h5"):
        assert (cases / name).stat().st_mtime_ns == before[name], f"{name} was whole and has been redone"


def test_resume_keeps_everything_finished(finished: Path, copy: Path) -> None:
    cases = copy / "results.h5.cases"
    before = {path.name: path.stat().st_mtime_ns for path in cases.iterdir()}
    outcome = ran(copy, *LAWS, *SIZE, "--resume", "--json", "-")
    assert {path.name: path.stat().st_mtime_ns for path in cases.iterdir()} == before
    assert_equal(finished / "results.h5", copy / "results.h5")
    records = json.loads(outcome.stdout)
    assert {(r["n"], r["sigma_law"]) for r in records} == {(64, "1"), (64, "2"), (100, "1"), (100, "2")}


def test_resume_from_nothing(finished: Path, tmp_path: Path) -> None:
    ran(tmp_path, *LAWS, *SIZE, "--resume")
    assert_equal(finished / "results.h5", tmp_path / "results.h5")


def test_resume_with_a_longer_list(copy: Path) -> None:
    cases = copy / "results.h5.cases"
    before = {path.name: path.stat().st_mtime_ns for path in cases.iterdir()}
    ran(copy, "--n", "64,100,200", *LAWS[2:], *SIZE, "--resume")
    for name, time in before.items():
        assert (cases / name).stat().st_mtime_ns == time
    with h5py.File(copy / "results.h5") as file:
        assert sorted(file["cases"]) == sorted([*CASES, "n200-d64-sigma1", "n200-d64-sigma2"])


def test_a_law_more_keeps_what_is_finished(finished: Path, copy: Path, tmp_path: Path) -> None:
    """Laws of sigma before and after those that are there, in any order; the new cases are those of a study of all."""
    cases = copy / "results.h5.cases"
    before = {path.name: path.stat().st_mtime_ns for path in cases.iterdir()}
    laws = ["--n", "64,100", "--sigma", "log(n)/2, 2,0.5*sqrt(log(n)),1", "--k", "8"]
    outcome = ran(copy, *laws, *SIZE, "--resume", "--json", "-")
    assert outcome.stderr.count("is not taken over") == 0
    for name, time in before.items():
        assert (cases / name).stat().st_mtime_ns == time
    words = ["log(n)by2", "2", "0.5xsqrt(log(n))", "1"]
    ran(tmp_path, *laws, *SIZE)
    with (
        h5py.File(copy / "results.h5") as a,
        h5py.File(tmp_path / "results.h5") as b,
        h5py.File(finished / "results.h5") as c,
    ):
        names = sorted(f"n{n}-d64-sigma{word}" for n in (64, 100) for word in words)
        assert sorted(a["cases"]) == sorted(b["cases"]) == names
        for name in names:
            other = c if name in c["cases"] else b
            for dataset in NAMES:
                np.testing.assert_array_equal(a[f"cases/{name}/{dataset}"][()], other[f"cases/{name}/{dataset}"][()])
    # Records are in the order of the list, however they came about.
    assert [r["sigma_law"] for r in json.loads(outcome.stdout) if r["n"] == 64 and r["metric"] == "p_max"] == [
        "log(n)/2",
        "2",
        "0.5*sqrt(log(n))",
        "1",
    ]


def test_studies_of_other_laws_merge(tmp_path: Path) -> None:
    for name, words in {
        "a": ["--sigma", "1"],
        "b": ["--sigma", "2"],
        "c": ["--R", "8"],
        "d": ["--sigma", "n/50"],
    }.items():
        (tmp_path / name).mkdir()
        ran(tmp_path / name, "--n", "64", *words, "--k", "8", *SIZE)
    files = [f"{name}/results.h5" for name in "abcd"]
    outcome = asymptop("merge", "-o", "all.h5", *files, cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    with h5py.File(tmp_path / "all.h5") as file:
        wanted = [f"n64-d64-{of}" for of in ("R8", "sigma1", "sigma2", "sigmanby50")]
        assert sorted(file["cases"]) == wanted
        assert [file[f"cases/{name}"].attrs["sigma"] for name in wanted] == [1.0, 1.0, 2.0, 1.28]
    assert asymptop("info", "--verify", "all.h5", cwd=tmp_path).code == 0


def test_resume_keeps_what_is_finished(copy: Path) -> None:
    """Cases of another seed are neither taken for this study's nor replaced; --force does that."""
    before = {path.name: path.read_bytes() for path in [*copy.glob("*.h5"), *(copy / "results.h5.cases").iterdir()]}
    refused = asymptop("study", *LAWS, *SIZE, "--resume", "--seed", "5", cwd=copy)
    assert refused.code == 2
    assert "is finished, of other options (seed = 1 there, seed = 5 here)" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert {
        path.name: path.read_bytes() for path in [*copy.glob("*.h5"), *(copy / "results.h5.cases").iterdir()]
    } == before
    ran(copy, *LAWS, *SIZE, "--force", "--seed", "5")


def test_existing_results(copy: Path) -> None:
    refused = asymptop("study", "--n", "64", "--k", "8", *SIZE, cwd=copy)
    assert refused.code == 2
    ran(copy, "--n", "64", "--k", "8", *SIZE, "--force")
    with h5py.File(copy / "results.h5") as file:
        assert list(file["cases"]) == ["n64-d64-sigma1"]
    assert [path.stem for path in (copy / "results.h5.cases").iterdir()] == ["n64-d64-sigma1"]


def test_r_sets_sigma(finished: Path, tmp_path: Path) -> None:
    """sigma = R / sqrt(d): at d = 64, R = 8 and 16 are sigma = 1 and 2."""
    ran(tmp_path, "--n", "64,100", "--R", "8,16", "--k", "8", *SIZE)
    for case in CASES:
        with h5py.File(finished / "results.h5") as a, h5py.File(tmp_path / "results.h5") as b:
            of_norm = case.replace("sigma1", "R8").replace("sigma2", "R16")
            first, second = a["cases"][case], b["cases"][of_norm]
            for name in ("sigma", "R", "scale"):
                assert first.attrs[name] == second.attrs[name]
            for name in first:
                if not name.startswith("phase"):
                    np.testing.assert_array_equal(first[name][()], second[name][()])


NAMES = ("sigma_i", "logit_mean", "logit_max", "tail_mass", "row_l2_error", "k_epsilon", "count_p_above")


def test_draws_and_other_n_leave_a_draw_as_it_is(finished: Path, tmp_path: Path) -> None:
    """The first draws of many are the few draws, to the bit, whatever else is in the lists."""
    size = ["--rows", "16", "--draws", "6", "--block", "64", "--output-error", "off"]
    ran(tmp_path, "--n", "30,64", "--d", "64,9", "--sigma", "1,2", "--k", "8", *size)
    for case in ("n64-d64-sigma1", "n64-d64-sigma2"):
        few = case_data(finished / "results.h5", case, *NAMES)
        many = case_data(tmp_path / "results.h5", case, *NAMES)
        for a, b in zip(few, many, strict=True):
            np.testing.assert_array_equal(a, b[:3])
    # Draws, n, d and seeds have keys and queries of their own.
    ran(tmp_path, "--n", "64", "--k", "8", *SIZE, "--seed", "2", "-o", "seed.h5")
    files = [("results.h5", case) for case in ("n30-d64-sigma1", "n64-d64-sigma1", "n64-d9-sigma1")]
    rows = [
        tuple(draw)
        for name, case in [*files, ("seed.h5", "n64-d64-sigma1")]
        for draw in case_data(tmp_path / name, case, "sigma_i")[0]
    ]
    assert len(rows) == 3 * 6 + 3
    assert len(set(rows)) == len(rows)


@pytest.fixture(scope="module")
def other_laws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study with smaller and larger sigma beside its sigma = 2, which is the second law in both."""
    folder = tmp_path_factory.mktemp("laws")
    ran(folder, "--n", "64", "--sigma", "0.5,2,log(n)", "--k", "8", *SIZE)
    return folder / "results.h5"


def test_other_sigma_laws_share_keys_and_queries(finished: Path, other_laws: Path) -> None:
    case = "n64-d64-sigma2"
    a, b = (case_data(path, case, *NAMES) for path in (finished / "results.h5", other_laws))
    for name, x, y in zip(NAMES, a, b, strict=True):
        if name in {"sigma_i", "logit_max", "k_epsilon", "count_p_above"}:
            np.testing.assert_array_equal(x, y, name)
        else:  # bins of another width round the scores' places in them anew, by at most 2^-15 / 32
            np.testing.assert_allclose(x, y, rtol=SUM_BOUND, atol=1e-6, err_msg=name)


def test_other_sigma_laws_leave_the_numbers_as_they_are(finished: Path, other_laws: Path) -> None:
    """Selection is the same; sums agree to the bound of the bins, whose width follows the largest sigma of the run."""
    a, b = (case_data(path, "n64-d64-sigma2", *NAMES) for path in (finished / "results.h5", other_laws))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=SUM_BOUND, atol=1e-6)


def test_merge(finished: Path, tmp_path: Path) -> None:
    cases = sorted((finished / "results.h5.cases").iterdir())
    outcome = asymptop("merge", "-o", "merged.h5", *cases, cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    assert_equal(finished / "results.h5", tmp_path / "merged.h5")
    ran(tmp_path, "--n", "200", "--k", "8", *SIZE)
    outcome = asymptop("merge", "-o", "all.h5", "merged.h5", "results.h5", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    with h5py.File(tmp_path / "all.h5") as file:
        assert sorted(file["cases"]) == sorted([*CASES, "n200-d64-sigma1"])
    assert compare(tmp_path / "all.h5", tmp_path / "merged.h5").code == 1
    again = asymptop("merge", "-o", "all.h5", "merged.h5", cwd=tmp_path)
    assert again.code == 2
    assert "all.h5" in again.stderr


def test_merge_of_one_case_twice(finished: Path, tmp_path: Path) -> None:
    case = finished / "results.h5.cases" / "n64-d64-sigma1.h5"
    outcome = asymptop("merge", "-o", "merged.h5", case, case, cwd=tmp_path)
    assert outcome.code in (1, 2)
    assert "n64-d64-sigma1" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_info(finished: Path) -> None:
    outcome = asymptop("info", "results.h5", cwd=finished)
    assert outcome.code == 0
    for text in [*CASES, "VALID", "asymptop study", "host_names"]:
        assert text in outcome.stdout


def test_version_and_help() -> None:
    version = asymptop("--version")
    assert version.code == 0
    assert version.stdout.startswith("asymptop ")
    overview = asymptop("--help")
    assert overview.code == 0
    for command in ("study", "compare", "merge", "info"):
        assert command in overview.stdout
        own = asymptop(command, "--help")
        assert own.code == 0
        assert command in own.stdout
        assert own.stderr == ""
    nothing = asymptop()
    assert nothing.code == 2


def test_help_names_every_option() -> None:
    text = asymptop("study", "--help").stdout
    options = "config output force resume n d sigma R k rows draws seed row-sigma weights self input mask epsilon"
    for option in [*options.split(), "count-above", "block", "keys", "merge", "json", "dry-run", "help"]:
        assert f"--{option} " in text, f"--{option} is missing"
    assert "-o [" in text
    for default in ("results.h5", "64,n^0.5,n^0.75", "1/n,1e-3,1e-2", "0.1,0.01", "4096", "natural", "identity"):
        assert default in text


def test_one_rank_without_settings(tmp_path: Path) -> None:
    """Alone, started as a user does, in a folder of its own, with the default output name."""
    unset = {"OMPI_MCA_ess_singleton_isolated": "0"}
    outcome = asymptop("study", "--n", "64", "--k", "8", *SIZE, cwd=tmp_path, settings=unset)
    assert outcome.code == 0, str(outcome)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.h5", "results.h5.cases"]


def test_large_k_by_thresholds(tmp_path: Path) -> None:
    """Errors at k beyond --hold are those of a counted number of keys near k, within the stored bound."""
    axes = ["--n", "20000", "--sigma", "0.5,4", "--k", "10,n^0.9,n", "--output-error", "off"]
    size = [*axes, "--rows", "8", "--draws", "2"]
    ran(tmp_path, *size, "-o", "ranks.h5")
    ran(tmp_path, *size, "--hold", "300", "-o", "counts.h5")
    for case in ("n20000-d64-sigma0.5", "n20000-d64-sigma4"):
        names = ("k", "tail_mass", "row_l2_error", "row_linf_error")
        k, *exact = case_data(tmp_path / "ranks.h5", case, *names)
        _, *counted = case_data(tmp_path / "counts.h5", case, *names)
        keys, bound = case_data(tmp_path / "counts.h5", case, "k_counted", "k_counted_bound")
        held = k <= 300
        for a, b in zip(exact, counted, strict=True):
            np.testing.assert_allclose(a[..., held], b[..., held], rtol=SUM_BOUND)
            assert np.all(np.abs(b - a) <= 0.02 * a)
        assert np.all(keys[..., held | (k == 20000)] == k[held | (k == 20000)])
        assert np.any(keys != k), "a threshold hits few ranks exactly"
        assert np.all(np.abs(keys - k) <= 10.0 + 0.01 * k)
        assert np.all(np.abs(counted[0] - exact[0]) <= bound + SUM_BOUND * exact[0])
        assert np.any(np.abs(counted[0] - exact[0]) > 0.01 * bound), "a bound that nothing comes near says nothing"
    outcome = asymptop("study", "--n", "100", "--hold", "5", cwd=tmp_path)
    assert outcome.code == 2
    assert "--hold" in outcome.stderr
