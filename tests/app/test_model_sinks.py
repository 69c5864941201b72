"""Learned sinks: a logit of each head in the denominator of its rows, with no key and no value, against brute force."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import open_results
from asymptop.__main__ import main
from asymptop.io.row_checks import faults_of
from brute_force import check_case, in_fp32, softmax_row
from command_line import asymptop, study
from model_files import ModelFile, random_model

COMMON = ["--k", "1,9,n^0.5,n", "--block", "64", "--epsilon", "0.5,0.1,1e-3", "--count-above", "1/n,1e-2"]
# Of no weight, of about that of a key, of most of it, and of nearly all: no key is needed then.
SINKS = np.array([-9.1, 1.0, 7.3, 30.0])


def with_sinks(model: ModelFile, *layers: int) -> ModelFile:
    return replace(model, datasets={layer: {"sinks": SINKS} for layer in layers})


def check_all(results: Path, model: ModelFile) -> dict[str, dict[str, np.ndarray]]:
    """Every case against brute force with the file's own logit, and by the identities of validate. Some of its data."""
    with h5py.File(results) as file:
        found = {}
        for name, case in file["cases"].items():
            assert case.attrs["sink_logit"] == SINKS[case.attrs["head"]]
            check_case(case, model.of_layer(int(case.attrs["layer"])))
            found[name] = {key: case[key][()] for key in ("sink_mass", "k_epsilon", "tail_mass", "row_n")}
    with open_results(results) as opened:
        assert {case.id: faults_of(case) for case in opened.cases} == {name: [] for name in found}
    return found


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
def test_every_head(path: str, tmp_path: Path) -> None:
    """With a window beside in one layer; the weight of keys and sink is 1, and a heavy sink leaves no key to keep."""
    model = with_sinks(random_model(np.random.default_rng(110), texts=2, layers=(0, 1), n=600, d=16), 0, 1)
    model = replace(model, attributes={1: {"window": 90, "attention": "sliding"}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "70,500", "--draws", "3", "--rows", "6", "--path", path]
    found = check_all(study(tmp_path / "r.h5", [*words, *COMMON]), model)
    assert main(["advise", str(tmp_path / "r.h5"), "--epsilon", "0.1", "--json", str(tmp_path / "advice.json")]) == 0
    keys = {(one["layer"], one["head"]): one["k"] for one in json.loads((tmp_path / "advice.json").read_text())}
    assert all((keys[layer, head] == [0, 0]) == (head == 3) for layer in (0, 1) for head in range(4))
    assert len(found) == 2 * 2 * 4
    for name, data in found.items():
        head = int(name.split("head")[1].split("-")[0])
        assert np.all(data["sink_mass"] < 1e-3) == (head == 0)
        assert np.all(data["sink_mass"] > 1.0 - 1e-9) == (head == 3)
        if head == 3:
            assert not data["k_epsilon"].any()
            assert data["tail_mass"].max() > 0.0


def test_beside_keys_with_a_common_offset(tmp_path: Path) -> None:
    """Which is taken off them, and so off the sinks; errors at k beyond what is held are those of counted keys."""
    plain = random_model(np.random.default_rng(111), texts=1, layers=(0,), n=400, d=16).texts[0][0]
    way = np.random.default_rng(112).standard_normal(16)
    way /= np.linalg.norm(way)
    across = plain.q - (plain.q @ way)[..., None] * way
    # All logits are raised by 5.
    moved = replace(plain, k=(plain.k + 300.0 * way).astype(np.float32))
    moved = replace(moved, q=(across + 5.0 / (300.0 * plain.logit_scale()) * way).astype(np.float32))
    model = with_sinks(ModelFile([{0: moved}]), 0)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "300", "--draws", "4", "--rows", "6", "--heads", "1,2"]
    found = check_all(study(tmp_path / "r.h5", [*words, *COMMON]), model)
    assert all(1e-6 < np.median(data["sink_mass"]) < 0.3 for data in found.values())
    with h5py.File(tmp_path / "r.h5", "a") as file:
        file["cases/n300-d16-layer0-head2-causal/sink_mass"][0, 0] *= 1.01
    with open_results(tmp_path / "r.h5") as opened:
        faults = {case.head: faults_of(case) for case in opened.cases}
    assert faults[1] == []
    assert any("participation_ratio" in fault for fault in faults[2])
    results = study(tmp_path / "held.h5", [*words, *COMMON, "--output-error", "off", "--hold", "20"])
    with open_results(results) as opened:
        assert [faults_of(case) for case in opened.cases] == [[], []]
    with h5py.File(results) as file:
        for case in file["cases"].values():
            head, begins = case.attrs["head"], case["draw_end"][()] - 300
            assert np.any(case["k_counted"][()] > 20)
            for at in np.ndindex(case["row_position"].shape):
                position = int(case["row_position"][at])
                keys, values = (in_fp32(x[head // 2, begins[at[0]] : position + 1]) for x in (moved.k, moved.v))
                query = in_fp32(moved.q[head, position])
                row = softmax_row(query, keys, values, moved.logit_scale(), sink=SINKS[head])
                wanted = [row.tail_mass(k) for k in case["k_counted"][at].tolist()]
                np.testing.assert_allclose(case["tail_mass"][at], wanted, rtol=row.allowance, atol=1e-300)


def test_beside_an_offset_that_fp32_queries_would_blur(tmp_path: Path) -> None:
    """Logits of 300 + 1.5 N(0, 1), by an offset of 10^5 and a scale that rounds queries."""
    plain = random_model(np.random.default_rng(116), texts=1, layers=(0,), n=400, d=16).texts[0][0]
    way = np.random.default_rng(117).standard_normal(16)
    way /= np.linalg.norm(way)
    offset, level = 1e5, 300.0
    along = level / (offset * plain.logit_scale())
    moved = replace(
        plain,
        q=(plain.q - (plain.q @ way - along)[..., None] * way).astype(np.float32),
        k=(plain.k + offset * way).astype(np.float32),
    )
    model = ModelFile([{0: moved}], datasets={0: {"sinks": level + np.array([0.0, 3.0, 6.0, 9.0])}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "300", "--draws", "2", "--rows", "6", "--k", "1"]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        assert len(file["cases"]) == 4
        for case in file["cases"].values():
            head = int(case.attrs["head"])
            for at in np.ndindex(case["row_position"].shape):
                position = int(case["row_position"][at])
                begin = position + 1 - int(case["row_n"][at])
                keys, values = (in_fp32(x[head // 2, begin : position + 1]) for x in (moved.k, moved.v))
                query, sink = in_fp32(moved.q[head, position]), float(case.attrs["sink_logit"])
                row = softmax_row(query, keys, values, moved.logit_scale(), sink=sink)
                assert 1e-4 < row.sink_mass < 0.999
                np.testing.assert_allclose(case["sink_mass"][at], row.sink_mass, rtol=1e-6)
                np.testing.assert_allclose(case["log_sum_exp"][at], row.log_sum_exp, rtol=0.0, atol=1e-6)
                np.testing.assert_allclose(case["p_max"][at], row.p[0], rtol=2e-6)
                np.testing.assert_allclose(case["first_keys_mass"][at], np.sum(row.p[row.order < 4]), rtol=2e-6)


def test_sinks_far_above_all_logits(tmp_path: Path) -> None:
    """Squares of shares leave float64's range, then the shares themselves; what keys are among themselves stays."""
    sinks = np.array([400.0, 700.0, 720.0, 1e5])
    model = random_model(np.random.default_rng(115), texts=1, layers=(0,), n=400, d=16)
    model = replace(model, datasets={0: {"sinks": sinks}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "350", "--draws", "2", "--rows", "6"]
    results = study(tmp_path / "r.h5", [*words, *COMMON])
    with h5py.File(results) as file:
        for case in file["cases"].values():
            check_case(case, model.of_layer(0))
            head = int(case.attrs["head"])
            assert np.all(case["sink_mass"][()] == 1.0)
            assert not case["k_epsilon"][()].any()
            assert np.all(case["tail_mass"][:, :, 0] > 0.0) == (head < 2)
            assert np.all(case["first_keys_mass"][()] > 0.0) == (head < 3)
            np.testing.assert_allclose(case["log_sum_exp"][()], sinks[head], rtol=1e-15)
            assert np.all(np.abs(case["output_error_relative"][:, :, 0] - 0.9) < 0.8)
    with open_results(results) as opened:
        assert [faults_of(case) for case in opened.cases] == [[]] * 4


def test_the_same_bytes_on_any_number_of_ranks_and_threads(tmp_path: Path) -> None:
    model = with_sinks(random_model(np.random.default_rng(113), texts=2, layers=(0,), n=500, d=8), 0)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "450", "--draws", "3", "--heads", "1,2", *COMMON]
    one = study(tmp_path / "one.h5", words)
    three = study(tmp_path / "three.h5", [*words, "--keys", "streamed", "--batch-rows", "5"], ranks=3, threads=2)
    outcome = asymptop("compare", one, three)
    assert outcome.code == 0, str(outcome)


def test_what_is_refused(tmp_path: Path) -> None:
    """Sinks that are none."""
    model = random_model(np.random.default_rng(114), texts=1, layers=(3,), n=64, d=4)
    for sinks, wanted in (
        (np.zeros(3), "has a dataset text0/layer3/sinks of shape (3); it must be (4), a number for each head of Q"),
        (np.array([0, np.nan, 1, 2]), "has a NaN or infinity in text0/layer3/sinks at head 1"),
        (np.zeros(4, np.int64), "has a dataset text0/layer3/sinks that is neither float32 nor float64"),
    ):
        file = replace(model, datasets={3: {"sinks": sinks}}).write(tmp_path / "m.h5")
        outcome = asymptop("study", "--input", file, "--n", "64", "--dry-run", cwd=tmp_path)
        assert outcome.code == 2, str(outcome)
        assert wanted in outcome.stderr
