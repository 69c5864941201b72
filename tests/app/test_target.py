"""--target-se: draws are added until standard errors are small enough; what is not met is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop.criteria.replicates import target_words
from asymptop.io.reader import open_results
from command_line import assert_equal, asymptop, study
from model_files import random_model

SHAPE = ["--n", "64,300", "--d", "8", "--rows", "6", "--block", "64", "--sigma", "0.5,2", "--k", "8,n^0.5"]


def relative_errors(case: h5py.Group, metric: str) -> np.ndarray:
    """Standard error over mean of each column of a metric, over draws of means over rows."""
    values = case[metric][()].astype(float)
    draws = values.mean(axis=1).reshape(len(values), -1)
    mean, error = draws.mean(axis=0), draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    return np.divide(error, np.abs(mean), out=np.where(error > 0.0, np.inf, 0.0), where=mean != 0.0)


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("target") / "met.h5"
    target = ["--draws", "4", "--target-se", "2%", "--target-metrics", "tail_mass,entropy_nats"]
    outcome = asymptop("study", *SHAPE, *target, "--json", path.with_suffix(".json"), "-o", path)
    assert outcome.code == 0, str(outcome)
    assert "at least 4 draws" in outcome.stdout
    assert "not met" not in outcome.stdout
    with h5py.File(path) as file:
        for case in file["cases"].values():
            assert f"{case.attrs['draws']} draws; standard errors are within 2%" in outcome.stdout
    return path


def test_draws_are_added_until_it_is_met(met: Path) -> None:
    with h5py.File(met) as file:
        for n in (64, 300):
            group = [file[f"cases/n{n}-d8-sigma{sigma}"] for sigma in ("0.5", "2")]
            draws = int(group[0].attrs["draws"])
            assert draws > 4
            for case in group:  # both laws share their draws
                assert case.attrs["draws"] == draws == len(case["draw"]) == len(case["phase_seconds"])
                assert case.attrs["target_se"] == 0.02
                assert case.attrs["target_missed"] == ""
            columns = [[i for i, k in enumerate(case["k"][()]) if k in case["k_of_law"][()]] for case in group]

            def worst(last: int, cases: list[h5py.Group] = group, columns: list[list[int]] = columns) -> float:
                found = []
                for case, of_law in zip(cases, columns, strict=True):
                    cut = {name: case[name][:last] for name in ("tail_mass", "entropy_nats")}
                    cut["tail_mass"] = cut["tail_mass"][..., of_law]
                    for values in cut.values():
                        means = values.mean(axis=1).reshape(last, -1)
                        found += (means.std(axis=0, ddof=1) / np.sqrt(last) / means.mean(axis=0)).tolist()
                return max(found)

            assert worst(draws) <= 0.02
            assert worst(4) > 0.02
    for record in json.loads(met.with_suffix(".json").read_text()):
        assert record["rows"] == 6 * record["draws"] > 24


def test_bytes_are_those_of_as_many_draws(met: Path, tmp_path: Path) -> None:
    """On other ranks, and asked for outright."""
    target = ["--draws", "4", "--target-se", "0.02", "--target-metrics", "tail_mass,entropy_nats"]
    assert_equal(met, study(tmp_path / "ranks.h5", [*SHAPE, *target, "--keys", "streamed"], ranks=3))
    with h5py.File(met) as file:
        draws = int(file["cases/n300-d8-sigma0.5"].attrs["draws"])
    plain = study(tmp_path / "plain.h5", [*SHAPE, "--draws", str(draws)])
    with h5py.File(met) as a, h5py.File(plain) as b:
        assert "target_se" not in b["cases/n300-d8-sigma0.5"].attrs
        for name in ("tail_mass", "k_epsilon", "output_error", "sigma_i"):
            x, y = (file[f"cases/n300-d8-sigma0.5/{name}"][()] for file in (a, b))
            np.testing.assert_array_equal(x, y)


def test_resume_keeps_what_met_it(met: Path, tmp_path: Path) -> None:
    with h5py.File(met) as file:
        before = {name: int(case.attrs["draws"]) for name, case in file["cases"].items()}
        date = file.attrs["date_utc"]
    target = ["--draws", "4", "--target-se", "0.02", "--target-metrics", "tail_mass,entropy_nats"]  # 2% before
    outcome = asymptop("study", *SHAPE, *target, "--max-time", "1h", "--resume", "-o", met)
    assert outcome.code == 0, str(outcome)
    with h5py.File(met) as file:
        assert {name: int(case.attrs["draws"]) for name, case in file["cases"].items()} == before
        for case in file["cases"].values():
            assert case.attrs.get("run_date_utc", file.attrs["date_utc"]) == date


def test_what_is_not_met_is_said(tmp_path: Path) -> None:
    target = ["--draws", "3", "--target-se", "0.001%", "--target-metrics", "tail_mass,p_max", "--max-time", "0.2s"]
    outcome = asymptop("study", *SHAPE, *target, "-o", "t.h5", ranks=2, cwd=tmp_path, timeout=60.0)
    assert outcome.code == 0, str(outcome)
    with h5py.File(tmp_path / "t.h5") as file:
        for name, case in file["cases"].items():
            assert case.attrs["draws"] >= 3
            assert case.attrs["verdict"] == "VALID"
            missed = case.attrs["target_missed"].split(", ")
            ended = case.attrs["target_ended"]
            assert ended == "--max-time was over"
            assert [text.split(" ")[0] for text in missed[:1]] == ["tail_mass(8)"]
            assert missed[-1].startswith("p_max ")
            assert float(missed[-1].split(" ")[1].rstrip("%")) == pytest.approx(
                100.0 * float(relative_errors(case, "p_max")[0]), rel=5e-3
            )
            assert (
                f"{case.attrs['draws']} draws; standard errors over 0.001%, {ended}: {', '.join(missed)}"
                in outcome.stdout
            )
            assert f"--target-se not met by {name}, {ended}: {', '.join(missed)}" in outcome.stdout


def test_texts_that_end_before_it_is_met(tmp_path: Path) -> None:
    """It is said that they have no room for more draws, also of what was finished before, and by the report."""
    model = random_model(np.random.default_rng(8), texts=3, layers=(0,), n=64, d=8)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "32", "--heads", "0", "--k", "4", "--block", "64"]
    words += ["--rows", "2", "--draws", "2", "--target-se", "0.001%", "-o", "r.h5", "--resume"]
    for _ in range(2):
        outcome = asymptop("study", *words, "--contexts", "starts", cwd=tmp_path)
        assert outcome.code == 0, str(outcome)
        ended = "with all 3 draw(s) that the texts have room for (--contexts starts, 3 text(s))"
        assert f"3 draws; standard errors over 0.001%, {ended}: " in outcome.stdout
        assert f"--target-se not met by n32-d8-layer0-head0-causal, {ended}: " in outcome.stdout
    with open_results(tmp_path / "r.h5") as results:
        (case,) = results.cases
        assert case.attributes["target_ended"] == ended
        assert target_words([case]) == f"--target-se 0.001% was not met in 1 of 1 cases: {ended}."


def test_simulated_rows(tmp_path: Path) -> None:
    arguments = ["simulate", "--n", "2^12,2^40", "--sigma", "1,2", "--k", "64", "--rows", "64", "--draws", "3"]
    target = ["--target-se", "0.3%", "--target-metrics", "tail_mass,k_epsilon"]
    for output, ranks in (("a.h5", 1), ("b.h5", 3)):
        outcome = asymptop(*arguments, *target, "-o", output, ranks=ranks, cwd=tmp_path)
        assert outcome.code == 0, str(outcome)
        assert "standard errors are within 0.3%" in outcome.stdout
    assert_equal(tmp_path / "a.h5", tmp_path / "b.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert any(case.attrs["draws"] > 3 for case in file["cases"].values())
        for case in file["cases"].values():
            assert relative_errors(case, "k_epsilon").max() <= 0.003


def test_sink_mass_of_heads_without_sinks(tmp_path: Path) -> None:
    model = random_model(np.random.default_rng(7), texts=1, layers=(0, 1), n=64, d=8)
    plain = model.write(tmp_path / "plain.h5")
    sunk = replace(model, datasets={1: {"sinks": np.zeros(4)}}).write(tmp_path / "sunk.h5")
    words = ["study", "--n", "32", "--k", "4", "--draws", "2", "--target-se", "50%", "--target-metrics", "sink_mass"]
    for file, layers in ((plain, "0,1"), (sunk, "0")):
        outcome = asymptop(*words, "--input", file, "--layers", layers, cwd=tmp_path)
        assert outcome.code == 2, str(outcome)
        (line,) = outcome.stderr.splitlines()
        assert "--target-metrics: 'sink_mass' is measured of heads with learned sinks" in line
    outcome = asymptop(*words, "--input", sunk, "--dry-run", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--target-se", "0"], ["--target-se", "'0'", "1%"]),
        (["--target-se", "100%"], ["--target-se", "100%"]),
        (["--target-se", "1%%"], ["--target-se", "1%%"]),
        (["--target-se", "x"], ["--target-se", "x"]),
        (["--target-se", "1%", "--draws", "1"], ["--draws", "1", "--target-se"]),
        (["--target-se", "1%", "--target-metrics", "tail"], ["--target-metrics", "tail", "tail_mass"]),
        (["--target-se", "1%", "--target-metrics", "sink_mass"], ["--target-metrics", "sink_mass", "tensor files"]),
        (["--target-se", "1%", "--target-metrics", "output_error", "--output-error", "off"], ["--target-metrics"]),
        (["--target-se", "1%", "--max-time", "5d"], ["--max-time", "5d", "30m"]),
        (["--target-se", "1%", "--max-time", "-1"], ["--max-time", "-1"]),
        (["--target-metrics", "p_max"], ["--target-metrics", "--target-se"]),
        (["--max-time", "1m"], ["--max-time", "--target-se"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_options(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    outcome = asymptop("study", "--n", "100", *arguments, cwd=tmp_path)
    assert outcome.code == 2, str(outcome)
    assert len(outcome.stderr.splitlines()) == 1
    for text in named:
        assert text.strip("'") in outcome.stderr
    assert not list(tmp_path.iterdir())
