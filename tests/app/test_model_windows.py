"""Rows that do not see the first keys of their context: sliding windows, and --drop-first, against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import Tensors, check_case
from command_line import asymptop, study
from model_files import ModelFile, random_model

COMMON = ["--k", "1,5,n^0.5,n", "--block", "64", "--epsilon", "0.5,0.1", "--count-above", "1/n,1e-2"]


def with_sink(model: ModelFile, place: int) -> ModelFile:
    """A key that every query weighs much, at one place of every text: what a row must not see shows at once."""

    def sunk(tensors: Tensors) -> Tensors:
        keys = tensors.k.copy()
        keys[:, place] = 3.0
        return replace(tensors, q=np.abs(tensors.q), k=keys)

    return replace(model, texts=[{layer: sunk(t) for layer, t in layers.items()} for layers in model.texts])


def check_all(results: Path, model: ModelFile) -> dict[str, dict[str, int]]:
    """Every case against brute force. Returns window and drop_first by id."""
    with h5py.File(results) as file:
        found = {}
        for name, case in file["cases"].items():
            check_case(case, model.of_layer(int(case.attrs["layer"])))
            found[name] = {key: int(case.attrs[key]) for key in ("window", "drop_first") if key in case.attrs}
        return found


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
@pytest.mark.parametrize("window", [1, 17, 64, 130])
def test_windows(window: int, path: str, tmp_path: Path) -> None:
    """Of the model in one layer, none in the other; windows that begin and end anywhere in strips of keys."""
    model = random_model(np.random.default_rng(70), texts=2, layers=(0, 1), n=700, d=8)
    model = replace(with_sink(model, 300), attributes={0: {"window": window, "attention": "sliding"}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "100,640", "--heads", "3", "--rows", "9", "--draws", "5"]
    results = study(tmp_path / "r.h5", [*words, *COMMON, "--path", path])
    seen = {"window": window}
    assert check_all(results, model) == {
        f"n{n}-d8-layer{layer}-head3-causal": seen if layer == 0 else {} for n in (100, 640) for layer in (0, 1)
    }


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
@pytest.mark.parametrize("mask", ["causal", "none"])
def test_first_keys_are_dropped(mask: str, path: str, tmp_path: Path) -> None:
    """In cases beside those that see them; with a prefix the first key of the text is the sink."""
    model = with_sink(random_model(np.random.default_rng(71), texts=2, layers=(4,), n=300, d=8), 0)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "64,290", "--heads", "0", "--rows", "6", "--draws", "4"]
    words += ["--contexts", "prefix", "--mask", mask, "--drop-first", "5", "--path", path]
    results = study(tmp_path / "r.h5", [*words, *COMMON])
    end = "-causal" if mask == "causal" else ""
    found = check_all(results, model)
    assert found == {
        f"n{n}-d8-layer4-head0{end}{drop}": {"drop_first": 5} if drop else {}
        for n in (64, 290)
        for drop in ("", "-drop5")
    }
    with h5py.File(results) as file:
        for n in (64, 290):
            whole, rest = (file[f"cases/n{n}-d8-layer4-head0{end}{drop}"] for drop in ("", "-drop5"))
            np.testing.assert_array_equal(whole["row_position"], rest["row_position"])
            assert np.median(whole["p_max"]) > 2 * np.median(rest["p_max"])


def test_window_of_ones_own(tmp_path: Path) -> None:
    """--window beats the file's, 0 takes it away; a file of version 1 has none but this."""
    model = random_model(np.random.default_rng(72), texts=1, layers=(0,), n=200, d=4)
    file = replace(model, attributes={0: {"window": 30}}).write(tmp_path / "m.h5")
    words = ["--n", "200", "--heads", "1", "--rows", "4", "--draws", "1", *COMMON]
    whole = replace(model, attributes={0: {"window": 10**9}}).write(tmp_path / "whole.h5")
    results = study(tmp_path / "all.h5", ["--input", whole, *words])
    assert check_all(results, model) == {"n200-d4-layer0-head1-causal": {}}  # it cuts nothing
    for window, seen in (("7", {"window": 7}), ("0", {}), ("model", {"window": 30})):
        results = study(tmp_path / f"{window}.h5", ["--input", file, *words, "--window", window])
        end = "" if window == "model" else f"-window{window}"
        assert check_all(results, model) == {f"n200-d4-layer0-head1-causal{end}": seen}
    plain = model.texts[0][0].write(tmp_path / "t.h5")
    results = study(tmp_path / "plain.h5", ["--input", plain, *words, "--window", "7", "--mask", "causal"])
    with h5py.File(results) as f:
        check_case(f["cases/n200-d4-head1-causal-window7"], model.of_layer(0))


def test_the_same_bytes_on_any_number_of_ranks_and_threads(tmp_path: Path) -> None:
    model = random_model(np.random.default_rng(73), texts=2, layers=(0,), n=900, d=8)
    file = replace(model, attributes={0: {"window": 100}}).write(tmp_path / "m.h5")
    words = [
        "--input",
        file,
        "--n",
        "800",
        "--draws",
        "3",
        "--rows",
        "10",
        "--heads",
        "2",
        "--drop-first",
        "690",
        *COMMON,
    ]
    one = study(tmp_path / "one.h5", words)
    three = study(tmp_path / "three.h5", [*words, "--keys", "streamed", "--batch-rows", "4"], ranks=3, threads=2)
    outcome = asymptop("compare", one, three)
    assert outcome.code == 0, str(outcome)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    model = random_model(np.random.default_rng(74), texts=1, layers=(0,), n=64, d=4)
    file = replace(model, attributes={0: {"window": 16}}).write(tmp_path / "m.h5")
    cases = [
        (["--mask", "none"], "--mask: 'none' does not go with the window of 16 keys that layer 0 has"),
        (["--mask", "none", "--window", "9"], "--window: '9' needs --mask causal"),
        (["--window", "x"], "--window"),
        (["--drop-first", "-1"], "--drop-first"),
        (
            ["--drop-first", "60"],
            "without the first 60 keys (--drop-first) some rows see none: the earliest has 57 keys up to its own",
        ),
    ]
    for more, wanted in cases:
        outcome = asymptop("study", "--input", file, "--n", "64", *more, "--dry-run", cwd=tmp_path)
        assert (outcome.code == 2) == (more[1] != "60"), str(outcome)
        assert wanted in outcome.stderr + outcome.stdout
    for option in ("--window", "--drop-first"):
        outcome = asymptop("study", "--n", "64", option, "4", cwd=tmp_path)
        assert outcome.code == 2
        assert f"{option} needs --input" in outcome.stderr
