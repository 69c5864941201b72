"""Bad command lines, config files and tensor files: exit 2, one line that names what is wrong, nothing written."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import asymptop

OK = ("--n", "64", "--rows", "2", "--draws", "1", "--k", "4", "--block", "64")


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything under the folder, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def check_refused(folder: Path, arguments: list[str], named: list[str]) -> None:
    before = snapshot(folder)
    outcome = asymptop(*arguments, cwd=folder, timeout=60.0)
    assert outcome.code == 2, str(outcome)
    lines = outcome.stderr.splitlines()
    assert len(lines) == 1, str(outcome)
    assert len(lines[0]) < 600, "a line to be read"
    assert "\ufffd" not in lines[0], "not UTF-8"
    for text in named:
        assert text in lines[0], f"{text!r} is not named: {lines[0]}"
    assert snapshot(folder) == before, "something was written"


def replaced(option: str, value: str) -> list[str]:
    """The good study with one option given anew."""
    words = list(OK)
    if option in words:
        words[words.index(option) + 1] = value
        return words
    return [*words, option, value]


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e300", "soon"])
@pytest.mark.parametrize(("option", "others"), [("--checkpoint-minutes", []), ("--max-time", ["--target-se", "1%"])])
def test_no_time(option: str, others: list[str], value: str, tmp_path: Path) -> None:
    options = [*OK[:4], "--draws", "2", *others]
    check_refused(tmp_path, ["study", *options, f"{option}={value}"], [option])
    if option == "--checkpoint-minutes":
        check_refused(tmp_path, ["simulate", *options, f"{option}={value}"], [option])


def test_smallest_numbers(tmp_path: Path) -> None:
    """That a double holds with fewer digits than others."""
    tiny = ["--checkpoint-minutes", "1e-320", "--scale", "1e-320"]
    outcome = asymptop("study", *OK, *tiny, "--dry-run", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)


@pytest.mark.parametrize("option", ["--input", "-o", "--json", "--config"])
def test_names_that_no_file_can_have(option: str, tmp_path: Path) -> None:
    """One line, and the long value cut."""
    name = option.replace("-o", "--output")
    for value in ("x" * 1000 + ".end", "x" * 1000 + "/file.end"):
        check_refused(tmp_path, ["study", *replaced(option, value)], [name, " ... ", ".end"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["fly"], ["fly"]),
        (["--bogus"], ["--bogus"]),
        (["study", *OK, "--bogus", "3"], ["bogus"]),
        (["study", *OK, "--row", "3"], ["--row"]),  # no guessing of shortened options
        (["study", *OK, "stray"], ["stray"]),
        (["study", "--n"], ["--n"]),
        (["study"], ["--n"]),
        (["study", *OK, "--R", "1", "--sigma", "1"], ["--R", "--sigma"]),
        (["study", *OK, "--force", "--resume"], ["--force", "--resume"]),
        (["study", *OK, "--n", "128"], ["--n"]),
        (["study", *OK, "--mask", "causal"], ["--mask", "causal", "--input"]),
        (["study", *OK, "--path", "device", "--dry-run"], ["--path", "device", "ASYMPTOP_DEVICE"]),
        (["study", *OK, "--heads", "0"], ["--heads"]),
        (["study", *OK, "--machine", "nodes=2"], ["--machine", "--dry-run"]),
        (["study", *OK, "--dry-run", "--machine", "hosts=2"], ["--machine", "hosts=2", "nodes=N"]),
        (["study", *OK, "--dry-run", "--machine", "nodes=0"], ["--machine", "nodes", "0"]),
        (["study", *OK, "--dry-run", "--machine", "nodes=2,nodes=3"], ["--machine", "nodes", "twice"]),
        (["study", *OK, "--dry-run", "--machine", "memory=4Gb"], ["--machine", "memory=4Gb"]),
        (["study", *OK, "--dry-run", "--json", "missing/plan.json"], ["--json", "missing/plan.json", "No such file"]),
        (["study", "--n", "8", "--rows", "16", "--draws", "1", "--k", "4", "--self", "include"], ["16", "8"]),
        (["merge"], ["merge"]),
        (["merge", "-o", "new.h5", "missing.h5"], ["missing.h5"]),
        (["merge", "--bogus", "a.h5"], ["--bogus"]),
        (["merge", "a.h5", "-o"], ["--output"]),
        (["info"], ["info"]),
        (["info", "a.h5", "--verfy"], ["--verfy", "[--verify] RESULTS.h5"]),
        (["info", "missing.h5"], ["missing.h5"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_command_line(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    check_refused(tmp_path, arguments, named)


NUMBERS = [
    *(("--n", value) for value in ("0", "-5", "abc", "1,024", "562949953421312", "3.5", "4096,", ",")),
    *(("--n", value) for value in ("2^4:", "16:8", "8:64:2:2", "0x10", "99999999999999999999", " ")),
    *(("--n", value) for value in ("2^49", "2^", "^5", "8:64:1")),
    *(("--d", value) for value in ("0", "-1", "5000", "x")),
    *(("--rows", value) for value in ("0", "-1", "x", "2.5", "9999999999")),
    *(("--draws", value) for value in ("0", "-1", "x")),
    *(("--seed", value) for value in ("-1", "x", "99999999999999999999")),
    *(("--threads", value) for value in ("x", "-1")),
    ("--threads", "300000"),
    *(("--scale", value) for value in ("0", "-1", "nan", "inf", "x")),
    *(("--epsilon", value) for value in ("0", "1", "-0.1", "nan", "x", "0.1,", "0.1,0.1", "0.1x")),
    *(("--block", value) for value in ("0", "63", "32", "100", "x", "2^21", "-64")),
]
CHOICES = [
    *(("--row-sigma", "both"), ("--weights", "random"), ("--self", "yes"), ("--mask", "full"), ("--keys", "disk")),
    *(("--merge", "magic"), ("--output-error", "maybe"), ("--weights", "")),
]
BAD_LAWS = [
    *("n^", "(n", "n)", "2**n", "n+", "3 4", "n n", "()", "log", "log()", "sqrt n", "1.2.3"),
    *("m", "exp(n)", "pi", "sin(n)", "n=3", "n:=3", "a=5", "n>2", "n?1:2", "log2(n)", "'n'", "n;1", "n!"),
    *("0", "-1", "n-n", "1/0", "1/(n-n)", "log(0)", "sqrt(-1)", "1e400", "n^n^n"),
    *("64,", "64,,32", ",", "64,64"),
]
LAWS = [("--k", law) for law in BAD_LAWS] + [("--sigma", law) for law in BAD_LAWS[::4]]
LAWS += [("--k", "0.4"), ("--k", "1/n"), ("--R", "m"), ("--R", "0"), ("--count-above", "0"), ("--count-above", "q/n")]
LAWS += [("--k", "\u03c3")]


@pytest.mark.parametrize(("option", "value"), NUMBERS + CHOICES + LAWS)
def test_option_value(option: str, value: str, tmp_path: Path) -> None:
    named = [option] if value in {"", " ", "-5", "-1", "-64", "-0.1"} else [option, value.split(",")[0]]
    check_refused(tmp_path, ["study", *replaced(option, value)], named)


@pytest.mark.parametrize(
    "law",
    ["(" * 400 + "n" + ")" * 400, "(" * 5000 + "n" + ")" * 5000, "n+" * 5000 + "n", "sqrt(" * 60 + "n" + ")" * 60],
)
@pytest.mark.parametrize("option", ["--k", "--sigma"])
def test_long_or_deep_law(option: str, law: str, tmp_path: Path) -> None:
    check_refused(tmp_path, ["study", *replaced(option, law)], [option])


def test_more_memory_than_the_machine(tmp_path: Path) -> None:
    large = ["--keys", "resident", "--d", "4096"]
    check_refused(tmp_path, ["study", *replaced("--n", "2^31"), *large], [str(2**31), "GB", "streamed"])
    check_refused(tmp_path, ["study", *replaced("--n", "2^40"), *large], [str(2**40)])


def test_too_large_sigma(tmp_path: Path) -> None:
    check_refused(tmp_path, ["study", *replaced("--sigma", "1e6")], ["--sigma"])


NO_OUTPUT = {
    "missing/results.h5": "missing/results.h5",
    "folder": "folder",
    "/proc/results.h5": "/proc/results.h5",
    "file/results.h5": "file/results.h5",
    "": "--output",
}


def output_cases() -> list[tuple[str, str, list[str]]]:
    """Places that take no results, with and without --resume and --force; and existing results without either."""
    switches: list[list[str]] = [[], ["--resume"], ["--force"]]
    cases = [(output, named, switch) for output, named in NO_OUTPUT.items() for switch in switches]
    return [*cases, ("existing.h5", "--force", []), ("cases-only.h5", "--resume", [])]


@pytest.mark.parametrize(("output", "named", "switch"), output_cases())
def test_output(output: str, named: str, switch: list[str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("a file")
    (tmp_path / "existing.h5").write_text("results of another day")
    (tmp_path / "cases-only.h5.cases").mkdir()
    (tmp_path / "cases-only.h5.cases" / "n64-d8-sigma1.h5").write_text("a case of another day")
    check_refused(tmp_path, ["study", *OK, *switch, "-o", output], [named])


@pytest.mark.parametrize("path", ["missing/records.json", "folder", "/proc/records.json"])
def test_records_path(path: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    check_refused(tmp_path, ["study", *OK, "--json", path], ["--json", path])


CONFIGS = {
    "unknown-key": ("n = 64\nfrobnicate = 3\n", ["frobnicate"]),
    "bad-value": ("n = 64\nrows = many\n", ["--rows", "many"]),
    "bad-law": ("n = 64\nk = n^\n", ["--k", "n^"]),
    "no-equals": ("n 64\n", ["n 64"]),
    "section": ("[study]\nn = 64\n", ["[study]"]),
    "both": ("n = 64\nR = 1\nsigma = 1\n", ["--R", "--sigma"]),
    "empty": ("", ["--n"]),
    "twice": ("n = 64\nn = 128\n", ["n"]),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_config_file(name: str, tmp_path: Path) -> None:
    text, named = CONFIGS[name]
    (tmp_path / "study.cfg").write_text(text)
    check_refused(tmp_path, ["study", "--config", "study.cfg"], named)


@pytest.mark.parametrize("path", ["missing.cfg", "."])
def test_config_path(path: str, tmp_path: Path) -> None:
    check_refused(tmp_path, ["study", "--config", path, "--n", "64"], ["--config", path])


def write_tensors(path: Path, **changed: np.ndarray | None) -> None:
    """Good tensors (2, 100, 8), with some datasets changed or (None) left out."""
    rng = np.random.default_rng(5)
    tensors: dict[str, np.ndarray | None] = {
        name: rng.standard_normal((2, 100, 8)).astype(np.float32) for name in ("Q", "K", "V")
    }
    tensors |= changed
    with h5py.File(path, "w") as file:
        for name, values in tensors.items():
            if values is not None:
                file[name] = values


def gaussian(*shape: int) -> np.ndarray:
    return np.random.default_rng(6).standard_normal(shape).astype(np.float32)


def with_value(value: float, *at: int, dtype: type = np.float32) -> np.ndarray:
    values = gaussian(2, 100, 8).astype(dtype)
    values[at] = value
    return values


BAD_TENSORS: dict[str, tuple[dict[str, np.ndarray | None], list[str]]] = {
    "no-q": ({"Q": None}, ["Q"]),
    "no-k": ({"K": None}, ["K"]),
    "no-v": ({"V": None}, ["V"]),
    "one-dimension": ({"K": gaussian(100)}, ["K", "(100)"]),
    "four-dimensions": ({"V": gaussian(1, 2, 100, 8)}, ["V", "(1, 2, 100, 8)"]),
    "scalar": ({"Q": gaussian()}, ["Q"]),
    "no-rows": ({"K": gaussian(2, 0, 8)}, ["K", "(2, 0, 8)"]),
    "integers": ({"K": np.ones((2, 100, 8), np.int32)}, ["K", "float"]),
    "half": ({"Q": gaussian(2, 100, 8).astype(np.float16)}, ["Q", "float"]),
    "text": ({"Q": np.full((2, 100, 8), b"x")}, ["Q", "float"]),
    "d-of-q": ({"Q": gaussian(2, 100, 7)}, ["Q", "7", "8"]),
    "n-of-q": ({"Q": gaussian(2, 90, 8)}, ["Q", "90", "100"]),
    "n-of-v": ({"V": gaussian(2, 90, 8)}, ["V", "K"]),
    "heads-of-v": ({"V": gaussian(1, 100, 8)}, ["V", "K"]),
    "heads-of-q": ({"Q": gaussian(3, 100, 8)}, ["Q", "3", "2"]),
    "nan-in-q": ({"Q": with_value(np.nan, 1, 77, 3)}, ["Q", "head 1", "row 77", "column 3"]),
    "nan-in-k": ({"K": with_value(np.nan, 0, 0, 0)}, ["K", "head 0", "row 0", "column 0"]),
    "inf-in-v": ({"V": with_value(np.inf, 1, 99, 7)}, ["V", "head 1", "row 99", "column 7"]),
    "minus-inf": ({"K": with_value(-np.inf, 0, 64, 2)}, ["K", "head 0", "row 64", "column 2"]),
    "too-wide-logits": ({"K": gaussian(2, 100, 8) * 1e5}, ["head", "span"]),
    "beyond-fp32": (
        {"K": with_value(1e300, 0, 64, 2, dtype=np.float64)},
        ["K", "head 0", "row 64", "column 2", "fp32"],
    ),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_tensor_file(name: str, tmp_path: Path) -> None:
    changed, named = BAD_TENSORS[name]
    write_tensors(tmp_path / "tensors.h5", **changed)
    check_refused(tmp_path, ["study", "--input", "tensors.h5", *replaced("--n", "100")], ["tensors.h5", *named])


def test_input_path(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("not HDF5")
    (tmp_path / "folder").mkdir()
    for path in ("missing.h5", "text.h5", "folder"):
        check_refused(tmp_path, ["study", "--input", path, *OK], ["--input", path])


def test_truncated_tensor_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "tensors.h5")
    whole = (tmp_path / "tensors.h5").read_bytes()
    (tmp_path / "tensors.h5").write_bytes(whole[: len(whole) // 2])
    check_refused(tmp_path, ["study", "--input", "tensors.h5", *OK], ["tensors.h5"])


def test_group_in_place_of_dataset(tmp_path: Path) -> None:
    write_tensors(tmp_path / "tensors.h5", K=None)
    with h5py.File(tmp_path / "tensors.h5", "r+") as file:
        file.create_group("K")
    check_refused(tmp_path, ["study", "--input", "tensors.h5", *OK], ["tensors.h5", "K"])


@pytest.mark.parametrize(
    "scale",
    [
        *(0.0, -1.0, np.nan, np.inf),
        "wide",
        [1.0, 2.0],
    ],
    ids=str,
)
def test_scale_attribute(scale: object, tmp_path: Path) -> None:
    write_tensors(tmp_path / "tensors.h5")
    with h5py.File(tmp_path / "tensors.h5", "r+") as file:
        file.attrs["scale"] = scale
    check_refused(tmp_path, ["study", "--input", "tensors.h5", *OK], ["tensors.h5", "scale"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--n", "101"], ["101", "100"]),
        (["--n", "100", "--heads", "2"], ["--heads", "2"]),
        (["--n", "100", "--heads", "x"], ["--heads", "x"]),
        (["--n", "100", "--heads", "-1"], ["--heads"]),
        (["--n", "100", "--heads", "0,0"], ["--heads", "0"]),
        (["--n", "100", "--sigma", "2"], ["--sigma", "--input"]),
        (["--n", "100", "--R", "2"], ["--R", "--input"]),
        (["--n", "100", "--d", "8"], ["--d", "--input"]),
        (["--n", "100", "--self", "include"], ["--self", "--input"]),
        (["--n", "100", "--weights", "gaussian"], ["--weights", "--input"]),
        (["--n", "100", "--row-sigma", "fixed"], ["--row-sigma", "--input"]),
    ],
    ids=lambda value: " ".join(value[2:] or value),
)
def test_options_with_tensors(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    write_tensors(tmp_path / "tensors.h5")
    small = ["--k", "4"] if "--rows" in arguments else ["--k", "4", "--rows", "2", "--draws", "1"]
    check_refused(tmp_path, ["study", "--input", "tensors.h5", *small, *arguments], named)


def test_numbers_beyond_a_format(tmp_path: Path) -> None:
    """Which quantities are no numbers is said by name; products that fp32 has no room for are refused."""
    path, rng = tmp_path / "t.h5", np.random.default_rng(3)
    size = ["--input", "t.h5", "--n", "64", "--k", "4", "-o", "r.h5", "--force"]
    write_tensors(path, V=(3e38 * rng.uniform(0.5, 1.0, (2, 100, 8))).astype(np.float32))
    outcome = asymptop("attend", *size, cwd=tmp_path)
    assert outcome.code == 1, str(outcome)
    assert re.search(r"finite \d+ over 0 \(output of exact attention, output_error\)", outcome.stdout), outcome.stdout
    large = (3e20 * rng.standard_normal((2, 2, 100, 8))).astype(np.float32)
    write_tensors(path, Q=large[0], K=large[1])
    outcome = asymptop("precision", *size, "--rows", "4", "--precision", "fp16", cwd=tmp_path)
    assert outcome.code == 1, str(outcome)
    assert re.search(r"finite \d over 0 \(sum_p, sum_p_in_format, .* and \d more\)", outcome.stdout), outcome.stdout
    refused = asymptop("attend", *size, cwd=tmp_path)
    assert refused.code == 2, str(refused)
    (line,) = refused.stderr.splitlines()
    assert "has queries and keys of head 0 whose products may reach" in line


def test_several_ranks_agree_on_a_bad_value(tmp_path: Path) -> None:
    """A NaN that one rank alone has seen ends all of them with its place."""
    write_tensors(tmp_path / "tensors.h5", V=with_value(np.nan, 1, 70, 4))
    before = snapshot(tmp_path)
    outcome = asymptop("study", "--input", "tensors.h5", *replaced("--n", "100"), ranks=3, cwd=tmp_path, timeout=60.0)
    assert outcome.code == 2, str(outcome)
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("asymptop:")]
    assert len(lines) == 1
    for text in ("V", "head 1", "row 70", "column 4"):
        assert text in lines[0]
    assert snapshot(tmp_path) == before


def test_several_ranks_agree_on_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "results.h5").write_text("results of another day")
    before = snapshot(tmp_path)
    outcome = asymptop("study", *OK, ranks=3, cwd=tmp_path, timeout=60.0)
    assert outcome.code == 2, str(outcome)
    assert sum(line.startswith("asymptop:") for line in outcome.stderr.splitlines()) == 1
    assert snapshot(tmp_path) == before


def test_too_large_k_is_clipped_and_said(tmp_path: Path) -> None:
    outcome = asymptop("study", *replaced("--k", "8,2*n"), cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    assert "clipped" in outcome.stdout
    with h5py.File(tmp_path / "results.h5") as file:
        case = file["cases/n64-d64-sigma1"]
        assert case.attrs["k_clipped"] == 1
        np.testing.assert_array_equal(case["k_of_law"], [8, 64])
        assert np.all(case["tail_mass"][..., -1] == 0.0)


def test_k_of_half_an_odd_number(tmp_path: Path) -> None:
    """k is rounded to nearest, halves up; 0.5 is still 1."""
    outcome = asymptop("study", *replaced("--k", "0.5,4.5,6.4,64.4"), cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    assert "clipped" not in outcome.stdout
    with h5py.File(tmp_path / "results.h5") as file:
        np.testing.assert_array_equal(file["cases/n64-d64-sigma1/k_of_law"], [1, 5, 6, 64])
