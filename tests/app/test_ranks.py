"""The same bytes for every number of ranks and threads and every way of computing, shown with `asymptop compare`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import assert_equal, asymptop, compare, study

# (ranks, threads), each against (1, 1). More threads than cores are slow where tiles are small: few of them.
LAYOUTS = {
    "identity-natural": [(2, 1), (3, 1), (4, 1), (7, 1), (1, 2)],
    "gaussian-fixed": [(3, 1)],
    "product-self": [(4, 1)],
    "less-than-a-block": [(3, 1)],
    "large-blocks": [(2, 1), (4, 1), (1, 2), (2, 2)],
    "blas-tiles": [(2, 1), (3, 1), (7, 1), (1, 2)],
    "guessed-thresholds": [(2, 1), (3, 1), (1, 2)],
}

SYNTHETIC = {
    "identity-natural": ["--n", "1000", "--d", "64", "--weights", "identity", "--row-sigma", "natural"],
    "gaussian-fixed": ["--n", "777", "--d", "17", "--weights", "gaussian", "--row-sigma", "fixed"],
    "product-self": ["--n", "640", "--d", "8", "--weights", "product", "--self", "include"],
    "less-than-a-block": ["--n", "5,63", "--d", "33"],
    "large-blocks": ["--n", "20000", "--d", "64", "--block", "4096", "--rows", "32", "--draws", "1"],
    "blas-tiles": ["--n", "1000,5000", "--d", "64", "--path", "blas-tile"],
    # Shards large enough to guess the first thresholds from a sample on one and two ranks, but not on three.
    "guessed-thresholds": ["--n", "600000", "--d", "4", "--block", "4096", "--k", "20000", "--rows", "6"],
}
SMALL = ["--block", "64", "--k", "1,n^0.5,n/2,n", "--sigma", "1,log(n)", "--rows", "16", "--draws", "2"]


def tensor_file(path: Path, heads: int, n: int, d: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        for name in "QKV":
            file[name] = rng.standard_normal((heads, n, d)).astype(np.float32)
    return path


def with_defaults(arguments: list[str], defaults: list[str]) -> list[str]:
    """Arguments, and those defaults that they do not name."""
    pairs = zip(defaults[::2], defaults[1::2], strict=True)
    return arguments + [word for name, value in pairs if name not in arguments for word in (name, value)]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_synthetic(name: str, tmp_path: Path) -> None:
    arguments = with_defaults(SYNTHETIC[name], SMALL)
    alone = study(tmp_path / "alone.h5", [*arguments, "--keys", "resident"])
    assert_equal(alone, study(tmp_path / "streamed.h5", [*arguments, "--keys", "streamed"]))
    rng = np.random.default_rng([*name.encode()])
    for ranks, threads in LAYOUTS[name]:
        keys = str(rng.choice(["resident", "streamed"]))
        how = ["--keys", keys, "--mpi-memory", str(rng.choice(["host", "device"]))]
        other = study(tmp_path / f"{ranks}x{threads}.h5", [*arguments, *how], ranks, threads)
        assert_equal(alone, other)


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_tensors(mask: str, tmp_path: Path) -> None:
    file = tensor_file(tmp_path / "tensors.h5", 2, 700, 64, 1)
    arguments = ["--input", str(file), "--n", "60,700", "--mask", mask, "--block", "64", "--k", "1,n^0.5,n"]
    arguments += ["--rows", "10", "--draws", "3"]
    alone = study(tmp_path / "alone.h5", [*arguments, "--keys", "resident"])
    for ranks, threads, keys in [(3, 1, "streamed"), (1, 2, "resident")]:
        other = study(tmp_path / f"{ranks}.h5", [*arguments, "--keys", keys], ranks, threads)
        assert_equal(alone, other)


def test_guess_that_falls_short(tmp_path: Path) -> None:
    """The sample for first thresholds (every 32nd group of 32 keys) holds the largest scores alone."""
    n, d = 2**18, 4
    rng = np.random.default_rng(1)
    keys = rng.standard_normal((n, d), dtype="f4")
    keys[np.arange(n) // 32 % 32 == 0] += 4
    with h5py.File(tmp_path / "tensors.h5", "w") as file:
        file["Q"], file["K"], file["V"] = np.abs(rng.standard_normal((n, d), dtype="f4")), keys, keys
    arguments = ["--input", str(tmp_path / "tensors.h5"), "--n", str(n), "--k", "20000", "--rows", "6", "--draws", "1"]
    alone = study(tmp_path / "alone.h5", [*arguments, "--keys", "resident"])
    assert_equal(alone, study(tmp_path / "two.h5", arguments, ranks=2))  # shards too small for a guess


def random_arguments(rng: np.random.Generator) -> list[str]:
    """A study of any shape, small enough for a test."""

    def choose(*values: str) -> str:
        return str(rng.choice(values))

    n = int(np.exp(rng.uniform(np.log(8.0), np.log(6000.0))))
    rows = int(rng.integers(1, 25))
    ks = ",".join(dict.fromkeys(map(str, [1, n, *rng.integers(1, n + 1, 2).tolist()])))
    arguments = ["--n", str(n), "--d", str(rng.integers(4, 100)), "--rows", str(rows), "--k", ks]
    arguments += ["--draws", str(rng.integers(1, 4)), "--seed", str(rng.integers(0, 2**60))]
    arguments += ["--block", choose("64", "128", "1024", "4096"), "--sigma", choose("0.3", "1", "3,log(n)")]
    arguments += ["--weights", choose("identity", "gaussian", "product"), "--row-sigma", choose("natural", "fixed")]
    arguments += ["--self", choose("exclude", "include") if n >= rows else "exclude"]
    arguments += ["--output-error", choose("on", "on", "off")]
    return arguments


@pytest.mark.parametrize("case", range(4))
def test_random_studies(case: int, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([seed, case])
    arguments = random_arguments(rng)
    ranks, threads = ((2, 1), (3, 1), (5, 1), (1, 2))[rng.integers(4)]
    keys = ["--keys", str(rng.choice(["resident", "streamed"]))]
    print(f"ASYMPTOP_TEST_SEED={seed} case {case}: {ranks} ranks x {threads}: {' '.join(arguments + keys)}")
    alone = study(tmp_path / "alone.h5", arguments)
    assert_equal(alone, study(tmp_path / "ranks.h5", [*arguments, *keys], ranks, threads))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    return study(folder / "a.h5", ["--n", "128,256", "--k", "8", "--rows", "4", "--draws", "2"])


def flip_bit(file: h5py.File) -> None:
    """The last bit of one value."""
    values = file["cases/n256-d64-sigma1/row_l2_error"][()]
    values.view(np.int64)[1, 2, 3] ^= 1
    file["cases/n256-d64-sigma1/row_l2_error"][...] = values


def change_count(file: h5py.File) -> None:
    file["cases/n256-d64-sigma1/k_epsilon"][1, 3, 0] += 1


def change_attribute(file: h5py.File) -> None:
    file["cases/n128-d64-sigma1"].attrs["sigma"] = 1.0000000000000002


def change_threshold(file: h5py.File) -> None:
    file["cases/n128-d64-sigma1/threshold"][0] = "2/n"


def drop_case(file: h5py.File) -> None:
    del file["cases/n256-d64-sigma1"]


def drop_dataset(file: h5py.File) -> None:
    del file["cases/n256-d64-sigma1/p_max"]


def change_shape(file: h5py.File) -> None:
    case = file["cases/n256-d64-sigma1"]
    values = case["p_max"][()]
    del case["p_max"]
    case["p_max"] = values[:1]


DIFFERENCES: list[tuple[Callable[[h5py.File], None], tuple[str, ...]]] = [
    (flip_bit, ("n256-d64-sigma1", "row_l2_error")),
    (change_count, ("n256-d64-sigma1", "k_epsilon")),
    (change_attribute, ("n128-d64-sigma1", "sigma")),
    (change_threshold, ("n128-d64-sigma1", "threshold", "2/n")),
    (drop_case, ("n256-d64-sigma1", "only in the first")),
    (drop_dataset, ("p_max", "only in the first")),
    (change_shape, ("n256-d64-sigma1", "p_max")),
]


@pytest.mark.parametrize(("change", "named"), DIFFERENCES, ids=[change.__name__ for change, _ in DIFFERENCES])
def test_compare_finds(
    change: Callable[[h5py.File], None], named: tuple[str, ...], original: Path, tmp_path: Path
) -> None:
    changed = Path(shutil.copy(original, tmp_path / "b.h5"))
    with h5py.File(changed, "r+") as file:
        change(file)
    outcome = compare(original, changed)
    assert outcome.code == 1, str(outcome)
    for text in named:
        assert text in outcome.stdout
    assert compare(changed, original).code == 1


def test_compare_names_what_is_no_file(original: Path, tmp_path: Path) -> None:
    for path, words in ((tmp_path / "no.h5", "does not exist"), (tmp_path, "is a folder, not a results file")):
        outcome = compare(original, path)
        assert (outcome.code, outcome.stderr) == (2, f"asymptop: compare: '{path}' {words}\n")


def test_a_copy_that_was_cut_short_is_named(original: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.h5"
    cut.write_bytes(original.read_bytes()[:20000])
    for words in (("info", cut), ("compare", original, cut), ("merge", "-o", tmp_path / "m.h5", cut)):
        outcome = asymptop(*words)
        assert outcome.code == 2
        assert outcome.stderr.startswith(f"asymptop: {words[0]}: '{cut}' cannot be read. HDF5: ")
        assert "truncated" in outcome.stderr
        assert len(outcome.stderr.splitlines()) == 1


def test_compare_ignores_time_and_place(original: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copy(original, tmp_path / "b.h5"))
    with h5py.File(changed, "r+") as file:
        file.attrs["date_utc"] = "1999-01-01T00:00:00Z"
        file.attrs["host_names"] = "elsewhere"
        for case in file["cases"].values():
            case["phase_seconds"][...] *= 2.0
            case.attrs["seconds_total"] = 1e3
    assert compare(original, changed).code == 0
    assert compare(original, original).code == 0


def test_compare_finds_another_seed(original: Path, tmp_path: Path) -> None:
    arguments = ["--n", "128,256", "--k", "8", "--rows", "4", "--draws", "2", "--seed", "2"]
    other = study(tmp_path / "b.h5", arguments)
    assert compare(original, other).code == 1


def test_first_study_of_many_ranks(tmp_path: Path) -> None:
    """More ranks than cores, nothing there yet, no --force: several tries, because the order of ranks is chance."""
    for attempt in range(2):
        output = tmp_path / f"{attempt}.h5"
        outcome = asymptop(
            *("study", "--n", "256", "--k", "8", "--rows", "16", "--draws", "1", "-o", output), ranks=7, timeout=30.0
        )
        assert outcome.code == 0, str(outcome)


def test_compare_bad_usage(original: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    for arguments, named in [
        ([original], "two"),
        ([original, tmp_path / "missing.h5"], "missing.h5"),
        ([text, original], "text.h5"),
    ]:
        outcome = asymptop("compare", *arguments)
        assert outcome.code == 2, str(outcome)
        assert named in outcome.stderr
        assert len(outcome.stderr.splitlines()) == 1
