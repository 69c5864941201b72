"""Studies of tensor files of version 2, layers of a model over texts, against brute force."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import check_case, contexts_of
from case_files import changing
from command_line import Outcome, asymptop, study
from failing_storage import signal_at
from model_files import ModelFile, random_model

COMMON = ["--k", "1,n^0.5,n", "--block", "64", "--epsilon", "0.5,0.1", "--count-above", "1/n,1e-2", "--rows", "6"]
RNG_SEED = 90


def check_all(results: Path, model: ModelFile) -> list[str]:
    """Every case against brute force. Returns their ids."""
    with h5py.File(results) as file:
        for case in file["cases"].values():
            check_case(case, model.of_layer(int(case.attrs["layer"])))
        return sorted(file["cases"])


@pytest.mark.parametrize("contexts", ["places", "starts", "prefix"])
@pytest.mark.parametrize("mask", ["causal", "none"])
def test_every_layer_head_and_text(contexts: str, mask: str, tmp_path: Path) -> None:
    """The scale and the mask are each layer's own unless given."""
    model = random_model(np.random.default_rng(RNG_SEED), texts=3, layers=(2, 11), n=400, d=12)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "64,300,400", "--draws", "7", *COMMON]
    if mask == "none":
        words += ["--mask", mask]
    results = study(tmp_path / "r.h5", [*words, "--contexts", contexts, "--heads", "0,3"])
    end = "-causal" if mask == "causal" else ""
    wanted = [f"n{n}-d12-layer{layer}-head{h}{end}" for n in (300, 400, 64) for layer in (11, 2) for h in (0, 3)]
    assert check_all(results, model) == sorted(wanted)
    with h5py.File(results) as file:
        for case in file["cases"].values():
            texts, begins = contexts_of(case)
            np.testing.assert_array_equal(texts, np.arange(len(texts)) % 3)
            assert case["text"][()].tolist() == [b"book 0", b"book 1", b"book 2"]
            assert case.attrs["text"] == "book 0, book 1, book 2"
            assert case.attrs["attention"] == "global"
            if contexts != "places":
                assert not begins.any()
            if contexts == "starts":
                assert len(texts) == 3
            elif contexts == "places" and case.attrs["n"] == 64:  # of a text, contexts that lie apart in all of it
                for text in range(3):
                    ends = np.sort(begins[texts == text])
                    assert len(ends) >= 2
                    assert np.all(np.diff(ends) >= 64)


def test_places_are_spread_evenly_over_a_text(tmp_path: Path) -> None:
    """Any number of draws, and the first ones are the same whatever their number."""
    model = random_model(np.random.default_rng(RNG_SEED + 1), texts=1, layers=(0,), n=1024, d=4)
    file = model.write(tmp_path / "m.h5")
    ends = {}
    for draws in (4, 16):
        words = ["--input", file, "--n", "64", "--heads", "1", "--rows", "1", "--draws", str(draws), "--k", "4"]
        with h5py.File(study(tmp_path / f"{draws}.h5", [*words, "--block", "64"])) as results:
            (case,) = results["cases"].values()
            ends[draws] = case["draw_end"][()]
    np.testing.assert_array_equal(ends[4], ends[16][:4])
    assert ends[16].min() >= 64
    assert ends[16].max() == 1024
    gaps = np.diff(np.sort(ends[16]))
    assert gaps.max() <= 2 * 960 / 15
    assert gaps.min() >= 8  # the last eighth, where rows are, is each draw's own


def test_more_than_there_is_is_lowered_and_said(tmp_path: Path) -> None:
    model = random_model(np.random.default_rng(RNG_SEED + 2), texts=2, layers=(1,), n=256, d=4)
    file = model.write(tmp_path / "m.h5")
    words = ["--n", "32,256", "--heads", "0", "--k", "4", "--block", "64", "--json", tmp_path / "r.json"]
    outcome = asymptop("study", "--input", file, *words, "-o", "r.h5", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    assert (
        "lowered: n = 32: 32 draws x 4 rows instead of 32 draws x 64 rows: 2 text(s) with 57 context(s)"
        in outcome.stdout
    )
    assert (
        "lowered: n = 256: 2 draws x 32 rows instead of 32 draws x 64 rows: 2 text(s) with 1 context(s)"
        in outcome.stdout
    )
    records = json.loads((tmp_path / "r.json").read_text())
    assert {(r["n"], r["rows"], r["draws"]) for r in records} == {(32, 128, 32), (256, 64, 2)}
    assert {(r["layer"], r["head"], r["text"]) for r in records} == {(1, 0, "book 0, book 1")}
    assert len(check_all(tmp_path / "r.h5", model)) == 2


def test_prefixes_give_up_rows_for_draws(tmp_path: Path) -> None:
    """Also in a file of version 1."""
    tensors = random_model(np.random.default_rng(RNG_SEED + 3), texts=1, layers=(0,), n=100, d=4).texts[0][0]
    words = ["--input", tensors.write(tmp_path / "t.h5"), "--n", "10,100", "--heads", "0", "--k", "4", "-o", "r.h5"]
    outcome = asymptop("study", *words, "--rows", "8", "--draws", "16", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    assert "lowered: n = 10: 5 draws x 1 rows instead of 16 draws x 8 rows" in outcome.stdout
    assert "lowered: n = 100: 16 draws x 3 rows instead of 16 draws x 8 rows" in outcome.stdout
    with h5py.File(tmp_path / "r.h5") as file:
        assert len(file["cases"]) == 2
        for case in file["cases"].values():
            check_case(case, tensors)


@pytest.mark.parametrize("contexts", ["places", "starts", "prefix"])
def test_fewer_queries_than_keys(contexts: str, tmp_path: Path) -> None:
    """They are those of the last keys: rows stand there, and a prefix that does not reach them is skipped."""
    model = random_model(np.random.default_rng(RNG_SEED + 4), texts=2, layers=(3,), n=300, d=8, m=20)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "64,290,300", "--draws", "4", "-o", "r.h5"]
    outcome = asymptop("study", *words, *COMMON, "--contexts", contexts, "--heads", "2", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    ns = {"places": (300, 290, 64), "starts": (300, 290), "prefix": (300, 290)}[contexts]
    assert check_all(tmp_path / "r.h5", model) == sorted(f"n{n}-d8-layer3-head2-causal" for n in ns)
    plan = asymptop("study", *words, *COMMON, "--contexts", contexts, "--dry-run", cwd=tmp_path)
    assert ("queries for the last 20 of 300 keys, and none for" in plan.stdout) == (contexts != "places")


@pytest.mark.parametrize(("texts", "m", "contexts"), [(3, None, "places"), (4, None, "starts"), (4, 50, "places")])
def test_contexts_unless_given(texts: int, m: int | None, contexts: str, tmp_path: Path) -> None:
    """Contexts as the model saw them, its sink included, where texts are enough to tell an error by."""
    model = random_model(np.random.default_rng(RNG_SEED + 11), texts=texts, layers=(1,), n=128, d=4, m=m)
    file = model.write(tmp_path / "m.h5")
    results = study(tmp_path / "r.h5", ["--input", file, "--n", "64", "--draws", "6", "--heads", "0", *COMMON])
    assert check_all(results, model)
    with h5py.File(results) as stored:
        (case,) = stored["cases"].values()
        assert case.attrs["contexts"] == contexts
        assert case.attrs["draws"] == (4 if contexts == "starts" else 6)
        assert (case["draw_end"][()] == 64).all() == (contexts == "starts")
    (path,) = (tmp_path / "r.h5.cases").glob("*.h5")
    made = path.stat().st_mtime_ns
    # Named, they are those that were taken unnamed, and so are other defaults.
    words = ["--input", file, "--n", "64", "--draws", "6", "--heads", "0", *COMMON, "--first-keys", "4"]
    outcome = asymptop("study", *words, "--contexts", contexts, "-o", results, "--resume")
    assert outcome.code == 0, str(outcome)
    assert outcome.stderr == ""
    assert path.stat().st_mtime_ns == made
    # A finished case of other contexts is not taken over: what goes unsaid was something else in earlier versions.
    other = {"places": "starts", "starts": "places"}[contexts]
    # Those of another n stay beside the run's, but for those of other contexts.
    words[3] = "100"
    outcome = asymptop("study", *words, "--contexts", other, "-o", results, "--resume")
    assert outcome.code == 0, str(outcome)
    assert f"(contexts = {contexts} there, contexts = {other} here)" in outcome.stderr
    outcome = asymptop("merge", "-o", tmp_path / "m2.h5", path, results)
    assert outcome.code == 2, str(outcome)
    assert f"(contexts = {contexts} there, contexts = {other} here)" in outcome.stderr
    assert not (tmp_path / "m2.h5").exists()
    with changing(path) as stored:
        next(iter(stored["cases"].values())).attrs["contexts"] = other
    words = ["--input", file, "--n", "64,100", "--draws", "6", "--heads", "0", *COMMON, "-o", results, "--resume"]
    outcome = asymptop("study", *words, cwd=tmp_path)
    assert outcome.code == 2
    assert f"(contexts = {other} there, contexts = {contexts} here)" in outcome.stderr


def test_the_same_file_and_path_by_other_words(tmp_path: Path) -> None:
    """A file is what a name stands for, a path what `auto` came to: finished cases are kept."""
    random_model(np.random.default_rng(RNG_SEED + 14), texts=2, layers=(1,), n=256, d=4).write(tmp_path / "m.h5")
    (tmp_path / "link.h5").symlink_to("m.h5")
    shutil.copy(tmp_path / "m.h5", tmp_path / "copy.h5")
    words = ["--draws", "2", "--heads", "0", *COMMON, "-o", "r.h5"]

    def resumed(n: str, *others: str) -> Outcome:
        return asymptop("study", *words, "--n", n, *others, "--resume", cwd=tmp_path)

    outcome = resumed("64", "--input", "m.h5")
    assert outcome.code == 0, str(outcome)
    (path,) = (tmp_path / "r.h5.cases").glob("*.h5")
    made = path.stat().st_mtime_ns
    with h5py.File(path) as file:
        (case,) = file["cases"].values()
        came_to = str(case.attrs["path"])
    for n, name in (("64", "./m.h5"), ("64", str(tmp_path / "m.h5")), ("64", "link.h5"), ("100", "m.h5")):
        outcome = resumed(n, "--input", name, "--path", came_to)
        assert outcome.code == 0, str(outcome)
        assert outcome.stderr == ""
        assert path.stat().st_mtime_ns == made
    with h5py.File(tmp_path / "r.h5") as file:
        assert len(file["cases"]) == 2
    other_path = {"fused": "blas-tile", "blas-tile": "fused"}[came_to]
    for option, others in (
        (f"path = {other_path}", ["--input", "m.h5", "--path", other_path]),
        ("input = copy.h5", ["--input", "copy.h5"]),
    ):
        outcome = resumed("64", *others)
        assert outcome.code == 2, str(outcome)
        assert f"{option} here): another --output keeps it" in outcome.stderr


def test_a_draw_in_work_of_other_contexts(failing: Path, tmp_path: Path) -> None:
    """What is known of its rows is of other keys: it is not gone on with."""
    model = random_model(np.random.default_rng(RNG_SEED + 12), texts=3, layers=(1,), n=512, d=4)
    words = ["study", "--input", str(model.write(tmp_path / "m.h5")), "--n", "256", "--draws", "2", "--heads", "0"]
    words += [*COMMON, "--batch-rows", "2", "-o", "r.h5", "--resume"]
    settings = signal_at(failing, ".draw", 2, signal.SIGUSR1)
    outcome = asymptop(*words, "--checkpoint-minutes", "0", cwd=tmp_path, settings=settings)
    assert outcome.code == 75, str(outcome)
    outcome = asymptop(*words, "--contexts", "starts", cwd=tmp_path)
    assert outcome.code == 0, str(outcome)
    (line,) = outcome.stderr.splitlines()
    assert ".draw is not taken over: it was made with other options (contexts = places there, contexts = st" in line
    assert len(check_all(tmp_path / "r.h5", model)) == 1


def test_the_same_bytes_on_any_number_of_ranks(tmp_path: Path) -> None:
    model = random_model(np.random.default_rng(RNG_SEED + 5), texts=2, layers=(0, 1), n=600, d=8)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "150,500", "--draws", "5", "--heads", "1", *COMMON]
    words += ["--selectors", "score,quest,window:sinks=2"]
    one = study(tmp_path / "one.h5", words)
    three = study(tmp_path / "three.h5", [*words, "--groups", "1", "--keys", "streamed"], ranks=3)
    outcome = asymptop("compare", one, three)
    assert outcome.code == 0, str(outcome)


def test_draws_are_added_and_resumed(tmp_path: Path) -> None:
    """Up to as many as there are places; the finished file serves a second run."""
    model = random_model(np.random.default_rng(RNG_SEED + 6), texts=1, layers=(0,), n=96, d=4)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "64", "--heads", "0", "--draws", "2", *COMMON]
    words += ["--target-se", "0.01%", "-o", "r.h5", "--resume"]
    for _ in range(2):
        outcome = asymptop("study", *words, cwd=tmp_path)
        assert outcome.code == 0, str(outcome)
        with h5py.File(tmp_path / "r.h5") as file:
            (case,) = file["cases"].values()
            assert case.attrs["draws"] == (96 - 64) // 8 + 1
        assert len(check_all(tmp_path / "r.h5", model)) == 1


REFUSED = {
    "mask": ({"mask": "sideways"}, "mask 'sideways', which is neither causal nor none"),
    "scale": ({"scale": -1.0}, "has an attribute of text0/layer4, scale, that is -1.0, not a positive number"),
    "window-of-half-a-key": ({"window": 0.5}, "text0/layer4, window, that is 0.5, not an integer from 0 on"),
    "window-as-float": ({"window": 16.0}, "text0/layer4, window, that is 16.0, not an integer from 0 on"),
    "window-below-0": ({"window": -1}, "text0/layer4, window, that is -1, not an integer from 0 on"),
    "window-beside-no-mask": ({"window": 16, "mask": "none"}, "text0/layer4, mask none beside a window of 16 keys"),
    "another-layer": ({"layer": 5}, "text0/layer4, layer, that is 5, not the number in the group's name"),
    "layer-as-text": ({"layer": "4"}, "text0/layer4, layer, that is '4', not an integer from 0 on"),
    "position": ({"first_position": 0.0}, "text0/layer4, first_position, that is 0.0, not an integer from 0 on"),
    "attention": ({"attention": "flash"}, "text0/layer4, attention 'flash', which is neither global nor sliding"),
    "mask-as-number": ({"mask": 1}, "text0/layer4, mask, that is 1, not a text"),
    "softcap-as-text": ({"softcap": "30"}, "text0/layer4, softcap, that is '30', not one number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_measured_is_refused(name: str, tmp_path: Path) -> None:
    attributes, wanted = REFUSED[name]
    model = random_model(np.random.default_rng(RNG_SEED + 7), texts=2, layers=(3, 4), n=64, d=4)
    file = replace(model, attributes={4: attributes}).write(tmp_path / "m.h5")
    outcome = asymptop("study", "--input", file, "--n", "64", "-o", "r.h5", cwd=tmp_path)
    assert outcome.code == 2, str(outcome)
    (line,) = outcome.stderr.splitlines()
    assert wanted in line
    assert not (tmp_path / "r.h5.cases").exists()


def broken(path: Path, name: str) -> str:
    """A file that is wrong in one way, and what is said of it."""
    model = random_model(np.random.default_rng(RNG_SEED + 9), texts=2, layers=(0, 1), n=64, d=4)
    model.write(path)
    with h5py.File(path, "a") as file:
        if name == "version":
            file.attrs["tensor_format"] = np.int64(3)
            return "is of tensor_format 3; this version reads 2"
        if name == "no text":
            del file["text0"], file["text1"]
            return "has no group text0"
        if name == "gap":
            file.move("text1", "text2")
            return "has a group text2 and no text1"
        if name == "layers":
            del file["text1/layer1"]
            return "has layers of text1 that differ from those of text0"
        if name == "shapes":
            group = file["text1/layer1"]
            shorter = group["Q"][:, 1:]
            del group["Q"]
            group["Q"] = shorter
            return "has layers of text1 that differ from those of text0"
        if name == "attributes":
            file["text1/layer0"].attrs["scale"] = 0.7
            return "has layers of text1 that differ from those of text0"
        if name == "no mask":
            del file["text0/layer0"].attrs["mask"]
            return "lacks an attribute of text0/layer0, mask, which every layer has: causal or none"
        if name == "fewer tokens":
            file["text1"].attrs["tokens"] = np.int64(63)
            return "has an attribute of text1, tokens, that is 63; its layers have n = 64"
        if name == "start":
            file["text0"].attrs["start"] = 0.5
            return "has an attribute of text0, start, that is 0.5, not an integer from 0 on"
        if name == "model":
            file.attrs["model"] = np.int64(7)
            return "has an attribute of /, model, that is 7, not a text"
        if name == "format":
            file.attrs["tensor_format"] = 2.0
            return "has a root attribute tensor_format, that is 2.0, not one integer"
        if name == "no scale":
            del file["text0/layer0"].attrs["scale"]
            return "lacks an attribute of text0/layer0, scale, which every layer has"
        if name == "slope":
            file["text0/layer1"].attrs["alibi"] = 0.5
            return "has an attribute of text0/layer1, alibi, which is a dataset of a layer: a number for each head of Q"
        if name == "window dataset":
            file["text1/layer0/window"] = np.int64(8)
            return "has a dataset text1/layer0/window, which is an attribute of the layer"
        if name == "no values":
            del file["text0/layer1/V"]
            return "has no dataset text0/layer1/V"
        if name == "two axes":
            del file["text0/layer1/K"]
            file["text0/layer1/K"] = np.zeros((64, 4), np.float32)
            return "has a dataset text0/layer1/K of shape (64, 4); it must be (heads, n, d)"
        if name == "more queries":
            del file["text0/layer1/Q"]
            file["text0/layer1/Q"] = np.zeros((4, 65, 4), np.float32)
            return "has text0/layer1/Q of n = 65 and text0/layer1/K of n = 64; queries are those of the last keys"
        assert name == "infinity"
        file["text1/layer1/Q"][2, 7, 1] = np.inf
        return "has a NaN or infinity in text1/layer1/Q at head 2, row 7, column 1"


BROKEN = ["version", "no text", "gap", "layers", "shapes", "attributes", "no mask", "no scale", "no values"]
BROKEN += [
    "two axes",
    "more queries",
    "infinity",
    "fewer tokens",
    "start",
    "model",
    "format",
    "slope",
    "window dataset",
]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused(name: str, tmp_path: Path) -> None:
    wanted = broken(tmp_path / "m.h5", name)
    outcome = asymptop("study", "--input", "m.h5", "--n", "64", "-o", "r.h5", cwd=tmp_path)
    assert outcome.code == 2, str(outcome)
    (line,) = outcome.stderr.splitlines()
    assert wanted in line
    assert not (tmp_path / "r.h5.cases").exists()


def test_texts_of_a_fixed_length(tmp_path: Path) -> None:
    """As HDF5's own tools and Fortran write them, filled up."""
    model = random_model(np.random.default_rng(RNG_SEED + 11), texts=1, layers=(0,), n=64, d=4)
    with h5py.File(model.write(tmp_path / "m.h5"), "a") as file:
        file["text0"].attrs["name"] = np.bytes_("Genesis")
        for name, value in (("mask", "causal"), ("attention", "global")):
            file["text0/layer0"].attrs.create(name, np.bytes_(value), dtype="S16")
    results = study(
        tmp_path / "r.h5", ["--input", tmp_path / "m.h5", "--n", "64", "--heads", "0", "--draws", "1", *COMMON]
    )
    assert check_all(results, model) == ["n64-d4-layer0-head0-causal"]
    with h5py.File(results) as file:
        assert file["cases/n64-d4-layer0-head0-causal"].attrs["text"] == "Genesis"


def test_options_of_layers(tmp_path: Path) -> None:
    model = random_model(np.random.default_rng(RNG_SEED + 10), texts=1, layers=(5,), n=64, d=4)
    file = model.write(tmp_path / "m.h5")
    plain = model.texts[0][5].write(tmp_path / "t.h5")
    cases = [
        ((file, "--layers", "4"), "--layers: '4' is no layer of m.h5, which has 5"),
        ((plain, "--layers", "4"), "--layers: '4' is no layer of t.h5, which has none by number"),
        ((file, "--layers", "5,5"), "names layer 5 twice"),
        ((file, "--heads", "4"), "is not a head of layer 5 of m.h5, which has heads 0 to 3"),
        ((file, "--contexts", "middle"), "--contexts: 'middle' is none of: places, starts, prefix"),
    ]
    for words, wanted in cases:
        outcome = asymptop("study", "--input", *words, "--n", "64", "--dry-run", cwd=tmp_path)
        assert outcome.code == 2, str(outcome)
        assert wanted in outcome.stderr
    assert asymptop("attend", "--input", file, "--n", "64", cwd=tmp_path).code == 2
    plan = asymptop(
        "study", "--input", file, "--n", "64", "--layers", "all", "--heads", "all", "--dry-run", cwd=tmp_path
    )
    assert "Input: m.h5, toy/model, 1 text(s), 1 layer(s), 4 head(s) of Q on 2 of K and V, n = 64, d = 4" in plan.stdout
