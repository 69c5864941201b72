"""What a case is, whatever else was studied: --resume with other lists, merge and compare."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import Outcome, asymptop, compare
from running import Run

SIZE = ("--rows", "4", "--draws", "3", "--block", "64", "--output-error", "off")
AXES = ("--n", "64,100", "--sigma", "1,2", "--epsilon", "0.1,0.3", "--count-above", "1/n,0.1", "--k", "4,8")
CASES = ["n100-d64-sigma1", "n100-d64-sigma2", "n64-d64-sigma1", "n64-d64-sigma2"]
OTHER = {  # options that ask for less, and for more with what then is lacking
    "--k": (["8", "n^0.5,4"], "4,8,16", "k = 16"),
    "--epsilon": (["0.3", "0.3,0.1"], "0.1,0.2,0.3", "epsilon = 0.2"),
    "--count-above": (["0.1", "0.1,1/n"], "1/n,0.1,0.2", "count-above = 0.2"),
}


def ran(folder: Path, *arguments: str, command: str = "study") -> Outcome:
    outcome = asymptop(command, *arguments, cwd=folder)
    assert outcome.code == 0, str(outcome)
    return outcome


def with_option(name: str, value: str) -> list[str]:
    return [value if i > 0 and AXES[i - 1] == name else word for i, word in enumerate(AXES)]


def times(folder: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "results.h5.cases").iterdir()}


def cases_of(path: Path) -> list[str]:
    with h5py.File(path) as file:
        return sorted(file["cases"])


@pytest.fixture(scope="module", params=["study", "simulate"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A command and the folder of its finished study. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    ran(folder, *AXES, *size_of(request.param), command=request.param)
    return request.param, folder


def size_of(command: str) -> tuple[str, ...]:
    return SIZE if command == "study" else SIZE[:4]


@pytest.fixture
def copy(finished: tuple[str, Path], tmp_path: Path) -> tuple[str, Path]:
    """The same study, to be changed."""
    return finished[0], Path(shutil.copytree(finished[1], tmp_path / "copy"))


@pytest.mark.parametrize("option", OTHER)
def test_cases_that_hold_what_is_asked_are_kept(option: str, copy: tuple[str, Path]) -> None:
    command, folder = copy
    before = times(folder)
    with h5py.File(folder / "results.h5") as file:
        tail = {case: file[f"cases/{case}/tail_mass"][()] for case in CASES}
        k = {case: file[f"cases/{case}/k"][()] for case in CASES}
    for less in OTHER[option][0]:
        if less.startswith("n^0.5"):  # 8 at n = 64, but 10 at n = 100, which nobody asked for
            arguments = [word if word != "64,100" else "64" for word in with_option(option, less)]
        else:
            arguments = with_option(option, less)
        outcome = ran(folder, *arguments, *size_of(command), "--resume", "--json", "-", command=command)
        assert "is not taken over" not in outcome.stderr
        assert times(folder) == before
        assert cases_of(folder / "results.h5") == CASES
        if (option, less) != ("--k", "8"):
            continue
        records = [record for record in json.loads(outcome.stdout) if record["metric"] == "tail_mass"]
        assert len(records) == len(CASES)
        for record in records:
            case = f"n{record['n']}-d64-sigma{record['sigma_law']}"
            mean = tail[case][..., k[case].tolist().index(8)].mean()
            assert (record["parameter"], record["mean"]) == ("8", pytest.approx(mean, rel=1e-6))
    with h5py.File(folder / "results.h5") as file:
        for case in CASES:
            np.testing.assert_array_equal(file[f"cases/{case}/tail_mass"][()], tail[case])


@pytest.mark.parametrize("option", OTHER)
def test_cases_that_lack_something_are_measured_again(option: str, copy: tuple[str, Path], tmp_path: Path) -> None:
    command, folder = copy
    before = times(folder)
    _, more, lacking = OTHER[option]
    outcome = ran(folder, *with_option(option, more), *size_of(command), "--resume", command=command)
    assert outcome.stderr.count(f"is not taken over: it lacks {lacking}") == len(CASES)
    assert all(time != before[name] for name, time in times(folder).items())
    ran(tmp_path, *with_option(option, more), *size_of(command), command=command)
    assert compare(folder / "results.h5", tmp_path / "results.h5").code == 0


MORE = {"--k": "16", "--epsilon": "0.2", "--count-above": "0.2"}  # of what no finished case holds
SCALES = {"--k": "k", "--epsilon": "epsilon", "--count-above": "threshold"}
ALONG = {"k": ("tail_mass", "row_l2_error"), "epsilon": ("k_epsilon",), "threshold": ("count_p_above",)}


def columns(file: Path, case: str) -> dict[tuple[str, str], np.ndarray]:
    """The numbers of each field at each k, epsilon and threshold."""
    with h5py.File(file) as opened:
        group = opened[f"cases/{case}"]
        return {
            (name, str(item)): group[name][..., column]
            for scale, names in ALONG.items()
            for column, item in enumerate(group[scale].asstr() if scale == "threshold" else group[scale])
            for name in names
        }


@pytest.mark.parametrize("options", [*([option] for option in MORE), list(MORE)], ids=" ".join)
def test_cases_that_are_measured_again_keep_what_they_hold(options: list[str], copy: tuple[str, Path]) -> None:
    """Asked for the new items alone, they have those that they had beside them, with the same numbers. What is held by
    rank follows from the largest k, and from that the last digits of sums over the other keys."""
    command, folder = copy
    words = list(AXES)
    for option in options:
        words[words.index(option) + 1] = MORE[option]
    before = {case: columns(folder / "results.h5", case) for case in CASES}
    outcome = ran(folder, *words, *size_of(command), "--resume", command=command)
    kept = " ".join(f"{option} {AXES[AXES.index(option) + 1].replace('1/n,0.1', '0.1,1/n')}" for option in options)
    assert f"are measured again with what they hold beside it: {kept}\n" in outcome.stderr
    for case in CASES:
        after = columns(folder / "results.h5", case)
        assert before[case].keys() < after.keys()
        for key, numbers in before[case].items():
            np.testing.assert_allclose(after[key], numbers, rtol=1e-6 if "--k" in options else 0.0)
    with h5py.File(folder / "results.h5") as file:
        for option in options:
            assert MORE[option] in [
                f"{item:g}" if option != "--count-above" else item for item in items_of(file, option)
            ]
        (folder / "again.cfg").write_text(file.attrs["config_text"])
    ran(folder, "--config", "again.cfg", "-o", "again.h5", command=command)
    assert compare(folder / "results.h5", folder / "again.h5").code == 0
    finished = times(folder)
    outcome = ran(folder, *words, *size_of(command), "--resume", command=command)
    assert outcome.stderr == ""
    assert times(folder) == finished


def items_of(file: h5py.File, option: str) -> list:
    scale = file[f"cases/{CASES[0]}/{SCALES[option]}"]
    return list(scale.asstr() if option == "--count-above" else scale)


def test_only_what_lacks_something_is_measured_again(tmp_path: Path) -> None:
    """A case that holds what is asked for does not gain what another one holds."""
    for sigma, k in (("1", "4"), ("2", "8"), ("1,2,3", "8")):
        outcome = ran(tmp_path, "--n", "64", "--sigma", sigma, "--k", k, *SIZE, "--resume")
        assert ("hold beside it: --k 4\n" in outcome.stderr) == (sigma == "1,2,3")
        if sigma == "2":
            before = times(tmp_path)
    after = times(tmp_path)
    assert after["n64-d64-sigma1"] != before["n64-d64-sigma1"]
    assert after["n64-d64-sigma2"] == before["n64-d64-sigma2"]
    with h5py.File(tmp_path / "results.h5") as file:
        laws = {case: sorted(group["k_law"].asstr()) for case, group in file["cases"].items()}
    assert laws["n64-d64-sigma1"] == ["4", "8"]
    assert laws["n64-d64-sigma2"] == ["8"]
    assert "8" in laws["n64-d64-sigma3"]


def test_a_stop_while_a_case_is_measured_again(start: Callable[..., Run], tmp_path: Path) -> None:
    """Its file stays until then, and its checkpoint is gone on from by whoever asks for the same."""
    output = tmp_path / "results.h5"
    options = ["--n", "4096", "--sigma", "1,2", "--block", "256", "--rows", "16", "--draws", "24", "--threads", "1"]
    ran(tmp_path, *options, "--k", "8")
    before = times(tmp_path)
    run = start(output, 1, *options, "--k", "64", "--epsilon", "0.10,1e-2", "--resume", "--checkpoint-minutes", "0")
    run.wait_for("*.checkpoint")
    run.process.send_signal(signal.SIGUSR1)
    assert run.finish().code == 75
    for case, when in before.items():
        assert (tmp_path / f"results.h5.cases/{case}.h5").stat().st_mtime_ns == when
    outcome = ran(tmp_path, *options, "--k", "64.0", "--resume")
    assert outcome.stderr.count("it lacks k = 64") == 2
    assert "checkpoint" not in outcome.stderr
    ran(tmp_path, *options, "--k", "64.0,8", "-o", "fresh.h5")
    assert compare(output, tmp_path / "fresh.h5").code == 0


def test_draws_of_a_target_stay(tmp_path: Path) -> None:
    """A case that is measured again has as many as it had, though there is no more time for them."""
    options = ["--n", "64", "--k", "8", *SIZE, "--target-se", "3%", "--target-metrics", "tail_mass"]
    ran(tmp_path, *options)
    with h5py.File(tmp_path / "results.h5") as file:
        draws = file["cases/n64-d64-sigma1"].attrs["draws"]
    assert draws > 3
    ran(tmp_path, *options, "--count-above", "0.2", "--max-time", "0.000001s", "--resume")
    with h5py.File(tmp_path / "results.h5") as file:
        case = file["cases/n64-d64-sigma1"]
        assert case.attrs["draws"] == draws
        assert set(case["threshold"].asstr()) == {"0.2", "1/n", "1e-3", "1e-2"}


def test_a_law_that_fails_elsewhere_is_refused(tmp_path: Path) -> None:
    """One that a finished case holds has to be kept, but has no value at another n of the run."""
    ran(tmp_path, "--n", "100", "--k", "n-70", *SIZE)
    before = times(tmp_path)
    outcome = asymptop("study", "--n", "64,100", "--k", "9", *SIZE, "--resume", cwd=tmp_path)
    assert outcome.code == 2
    last = outcome.stderr.splitlines()[-1]
    assert "n-70" in last
    assert "run other cases apart" in last
    assert times(tmp_path) == before


def test_other_spellings_are_the_same_items(copy: tuple[str, Path]) -> None:
    command, folder = copy
    before = times(folder)
    words = [
        "--n",
        "64,100",
        "--sigma",
        "1.0,2e0",
        "--epsilon",
        "1e-1,.30",
        "--count-above",
        "1.0 / n,1e-1",
        "--k",
        "4.0,08",
    ]
    outcome = ran(folder, *words, *size_of(command), "--resume", command=command)
    assert outcome.stderr == ""
    assert times(folder) == before
    assert cases_of(folder / "results.h5") == CASES


@pytest.mark.parametrize(
    "options",
    [("--n", "200"), ("--sigma", "1"), ("--k", "4"), ("--epsilon", "0.2"), ("--count-above", "0.1"), ("--seed", "3")],
    ids=" ".join,
)
def test_cases_without_files_are_not_lost(options: tuple[str, str], copy: tuple[str, Path]) -> None:
    """Whoever keeps the results file alone, and measures on with --resume."""
    command, folder = copy
    shutil.rmtree(folder / "results.h5.cases")
    before = (folder / "results.h5").read_bytes()
    words = with_option(*options) if options[0] in AXES else [*AXES, *options]
    outcome = asymptop(command, *words, *size_of(command), "--resume", cwd=folder)
    assert outcome.code == 2, str(outcome)
    assert "holds the case n100-d64-sigma" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert (folder / "results.h5").read_bytes() == before
    ran(folder, *AXES, *size_of(command), "--resume", command=command)
    assert cases_of(folder / "results.h5") == CASES


@pytest.mark.parametrize("fewer", [("--n", "64"), ("--sigma", "2")])
def test_cases_beside_those_of_the_run_stay(fewer: tuple[str, str], copy: tuple[str, Path]) -> None:
    command, folder = copy
    before = times(folder)
    outcome = ran(folder, *with_option(*fewer), *size_of(command), "--resume", command=command)
    assert "kept: 2 finished case(s) beside those of this run: n100-d64-sigma1, " in outcome.stdout
    assert times(folder) == before
    assert cases_of(folder / "results.h5") == CASES


def test_cases_of_other_options_are_left_out_and_told(copy: tuple[str, Path]) -> None:
    command, folder = copy
    before = times(folder)
    outcome = ran(folder, *with_option("--n", "80"), *size_of(command), "--seed", "7", "--resume", command=command)
    for case in CASES:
        told = f"{case}.h5 is left out of results.h5: it was made with other options (seed = 1 there, seed = 7 here)"
        assert told in outcome.stderr
        assert times(folder)[case] == before[case]
    assert "kept:" not in outcome.stdout
    assert cases_of(folder / "results.h5") == ["n80-d64-sigma1", "n80-d64-sigma2"]


def test_merge_notes_what_runs_have_otherwise(tmp_path: Path) -> None:
    """Root attributes are the first file's; a case of another run carries those that differ, after more merges too."""
    for name, sigma, k in (("a", "1", "8"), ("b", "2", "4,8"), ("c", "3", "8")):
        (tmp_path / name).mkdir()
        ran(tmp_path / name, "--n", "64", "--sigma", sigma, "--k", k, *SIZE)
    for output, *inputs in (("ab.h5", "a/results.h5", "b/results.h5"), ("cab.h5", "c/results.h5", "ab.h5")):
        outcome = asymptop("merge", "-o", output, *inputs, cwd=tmp_path)
        assert outcome.code == 0, str(outcome)
    with h5py.File(tmp_path / "ab.h5") as file, h5py.File(tmp_path / "b" / "results.h5") as b:
        first, second = (file[f"cases/n64-d64-sigma{sigma}"].attrs for sigma in (1, 2))
        assert not [name for name in first if name.startswith("run_")]
        for name in ("config_text", "command_line", "sgemm_gflops"):
            assert second[f"run_{name}"] == b.attrs[name] != file.attrs[name]
        assert "run_schema_version" not in second
        assert "run_seed" not in second
    with h5py.File(tmp_path / "cab.h5") as file:
        for name in "abc":
            case = f"n64-d64-sigma{'abc'.index(name) + 1}"
            with h5py.File(tmp_path / name / "results.h5") as own:
                attributes = file[f"cases/{case}"].attrs
                text = attributes.get("run_config_text", file.attrs["config_text"])
                assert text == own.attrs["config_text"]
    assert asymptop("info", "--verify", "cab.h5", cwd=tmp_path).code == 0


def test_merge_refuses_cases_of_other_quantities(tmp_path: Path) -> None:
    """Other samples of the same are joined; nothing is written where a case does not belong."""
    others = {"a": ["64"], "seed": ["100", "--seed", "7"], "scale": ["128", "--scale", "0.25"]}
    for name, (n, *more) in others.items():
        (tmp_path / name).mkdir()
        ran(tmp_path / name, "--n", n, "--k", "8", *SIZE, *more)
    files = [f"{name}/results.h5" for name in others]
    assert asymptop("merge", "-o", "both.h5", *files[:2], cwd=tmp_path).code == 0
    for inputs in (files, [*files[:2], "scale/results.h5.cases/n128-d64-sigma1.h5"], ["both.h5", files[2]]):
        outcome = asymptop("merge", "-o", "all.h5", *inputs, cwd=tmp_path)
        assert outcome.code == 2, str(outcome)
        (line,) = outcome.stderr.splitlines()
        assert f"merge: '{inputs[-1]}' holds n128-d64-sigma1, of other options" in line
        assert "(not given there, scale = 0.25 here)" in line
        assert not list(tmp_path.glob("all.h5*"))
    outcome = asymptop("merge", "-o", "all.h5", *files[:2], "both.h5", cwd=tmp_path)
    assert outcome.code == 1, str(outcome)
    assert "of both.h5 is one of an earlier file too: leave it, or that file, out" in outcome.stderr
    assert not list(tmp_path.glob("all.h5*"))


def test_a_joined_file_says_the_run_that_joined_it(copy: tuple[str, Path]) -> None:
    """Finished cases carry what their own run has otherwise, also where nothing is measured any more."""
    command, folder = copy
    for words in (with_option("--n", "64,100,128"), list(AXES)):
        ran(folder, *words, *size_of(command), "--resume", command=command)
        with h5py.File(folder / "results.h5") as file:
            present = " ".join([command, *words, *size_of(command), "--resume"])
            assert file.attrs["command_line"].endswith(present)
            assert f"n = {words[1]}\n" in file.attrs["config_text"]
            for case in CASES:
                attributes = file[f"cases/{case}"].attrs
                assert "--resume" not in attributes["run_command_line"]
                assert attributes.get("run_config_text", file.attrs["config_text"]).count("n = 64,100\n") == 1
                with h5py.File(folder / f"results.h5.cases/{case}.h5") as own:
                    for name, value in own.attrs.items():
                        assert attributes.get(f"run_{name}", file.attrs[name]) == value
            later = file["cases/n128-d64-sigma1"].attrs
            assert later.get("run_command_line", file.attrs["command_line"]).count("64,100,128") == 1
    assert asymptop("info", "--verify", "results.h5", cwd=folder).code == 0


def test_compare_finds_a_case_whatever_else_was_studied(tmp_path: Path) -> None:
    """Of n, of merged files; what only one file has is said after what both have was compared."""
    for name, n, seed in (("a", "64", "1"), ("b", "64,100", "1"), ("c", "100", "1"), ("d", "64,100", "2")):
        (tmp_path / name).mkdir()
        ran(tmp_path / name, "--n", n, "--seed", seed, "--k", "8", *SIZE)
    outcome = compare(tmp_path / "a" / "results.h5", tmp_path / "b" / "results.h5")
    assert outcome.code == 1
    assert "case n100-d64-sigma1 is only in the second file; the 1 case(s) of both are equal" in outcome.stdout
    outcome = compare(tmp_path / "a" / "results.h5", tmp_path / "c" / "results.h5")
    assert outcome.stdout == "case n64-d64-sigma1 is only in the first file\n"
    outcome = compare(tmp_path / "a" / "results.h5", tmp_path / "d" / "results.h5")
    assert outcome.stdout.startswith("case n64-d64-sigma1: ")
    assert asymptop("merge", "-o", "ac.h5", "a/results.h5", "c/results.h5", cwd=tmp_path).code == 0
    assert compare(tmp_path / "ac.h5", tmp_path / "b" / "results.h5").code == 0
