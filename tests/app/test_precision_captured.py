"""`asymptop precision --input`: rows of heads of a tensor file, against softmax in numpy, stage by stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop.io.precision_file import read_precision
from asymptop.report.precision import findings
from brute_force import Tensors
from command_line import asymptop, compare
from model_files import ModelFile, random_model
from test_precision import check_row, precision

SETS = "bf16; fp16:pairwise; fp8,sum=fp32; logits=bf16,sum=fp32; bf16:blocked"
# Of the four heads, from far to near.
SLOPES = np.array([2.0**-8, 2.0**-6, 2.0**-4, 0.037])
COMMON = ["--k", "1,n^0.5", "--precision", SETS, "--block", "64"]


def logits_of(
    tensors: Tensors, head: int, position: int, keys: slice, softcap: float = 0.0, slope: float = 0.0
) -> np.ndarray:
    key_head = head // (tensors.q.shape[0] // tensors.k.shape[0])
    query = tensors.q[head, position - tensors.first_query()].astype(np.float64)
    logits = tensors.logit_scale() * (tensors.k[key_head, keys].astype(np.float64) @ query)
    logits = softcap * np.tanh(logits / softcap) if softcap else logits
    return logits + slope * (np.arange(keys.start, keys.stop) - position)


def check_head(case: h5py.Group, texts: list[Tensors], softcap: float = 0.0, slope: float = 0.0) -> None:
    """Every row is one that sees exactly n keys, none is there twice, and its weights are numpy's. Which of them it is
    follows from its spread."""
    n, head = int(case.attrs["n"]), int(case.attrs["head"])
    causal = case.attrs["mask"] == "causal"
    rows, spread = {}, case["sigma_i"][()]
    for text, tensors in enumerate(texts):
        length, first = tensors.k.shape[1], tensors.first_query()
        for position in range(first, length):
            begins = [position - n + 1] if causal else range(length - n + 1)
            for begin in begins:
                if begin >= 0 and begin <= position < begin + n:
                    logits = logits_of(tensors, head, position, slice(begin, begin + n), softcap, slope)
                    rows[text, position, begin] = logits
    found = set()
    for at in np.ndindex(spread.shape):
        same = [where for where, logits in rows.items() if np.isclose(np.std(logits), spread[at], rtol=1e-12)]
        assert len(same) == 1, f"{case.name} {at}: sigma {spread[at]} is that of {same}"
        found.add(same[0][:2])
        check_row(case, rows[same[0]], at)
        assert same[0][0] == at[0] % len(texts)
    assert len(found) == spread.size
    assert case.attrs["sigma"] == pytest.approx(np.sqrt(np.mean(spread**2)), rel=1e-13)
    assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]


@pytest.fixture
def model() -> ModelFile:
    """A softcap and slopes in one layer, a window in the other, values of their own width, fewer queries than keys."""
    made = random_model(np.random.default_rng(130), texts=2, layers=(1, 6), n=300, d=12, m=150)
    attributes = {1: {"softcap": 4.0}, 6: {"window": 64, "attention": "sliding"}}
    datasets = {1: {"alibi": SLOPES}}
    texts = [{layer: replace(t, v=t.v[..., :5]) for layer, t in layers.items()} for layers in made.texts]
    return replace(made, texts=texts, attributes=attributes, datasets=datasets)


def test_is_what_numpy_makes_of_the_files_rows(model: ModelFile, tmp_path: Path) -> None:
    words = ["--input", str(model.write(tmp_path / "m.h5")), "--n", "64,220,300", "--heads", "3", *COMMON]
    words += ["--rows", "3", "--draws", "4", "--json", str(tmp_path / "r.json")]
    one = precision(tmp_path / "one.h5", words)
    with h5py.File(one) as file:
        cases = file["cases"]
        wanted = ["n220-layer1-head3-causal", "n300-layer1-head3-causal", "n64-layer1-head3-causal"]
        assert sorted(cases) == [*wanted, "n64-layer6-head3-causal"]  # rows of layer 6 see 64 keys
        for case in cases.values():
            layer = int(case.attrs["layer"])
            assert case.attrs["input"] == "m.h5"
            assert (case.attrs["d"], case.attrs["scale"]) == (12, model.texts[0][layer].logit_scale())
            softcap, slope = (4.0, float(SLOPES[3])) if layer == 1 else (0.0, 0.0)
            check_head(case, model.of_layer(layer), softcap, slope)
            assert (case.attrs.get("softcap", 0.0), case.attrs.get("alibi_slope", 0.0)) == (softcap, slope)
        assert cases["n300-layer1-head3-causal"]["sum_p"].shape[:2] == (2, 1)  # one row of each text sees 300 keys
    record = json.loads((tmp_path / "r.json").read_text())[0]
    wanted = {"n": 64, "d": 12, "layer": 1, "head": 3, "sigma_law": "measured"}
    assert {name: record[name] for name in wanted} == wanted
    results = read_precision(one)
    assert sorted(results.by_law) == ["layer 1, head 3", "layer 6, head 3"]
    assert [title for title, _ in findings(results)] == sorted(results.by_law)
    three = precision(tmp_path / "three.h5", words[:-2], ranks=3, threads=2)
    compare(one, three)


def test_rows_of_a_file_without_layers(tmp_path: Path) -> None:
    """Of version 1, without a mask: every row sees the n keys of its context; --mask causal is another case."""
    tensors = random_model(np.random.default_rng(131), texts=1, layers=(0,), n=70, d=6).texts[0][0]
    words = ["--input", str(tensors.write(tmp_path / "t.h5")), "--n", "32", "--heads", "1", "--rows", "2", *COMMON]
    with h5py.File(precision(tmp_path / "none.h5", words)) as file:
        check_head(file["cases/n32-head1"], [tensors])
    with h5py.File(precision(tmp_path / "causal.h5", [*words, "--mask", "causal"])) as file:
        check_head(file["cases/n32-head1-causal"], [tensors])


def test_what_is_refused(model: ModelFile, tmp_path: Path) -> None:
    file = model.write(tmp_path / "m.h5")
    sunk = replace(model, datasets={6: {"sinks": np.zeros(4)}}).write(tmp_path / "s.h5")
    for n, words, wanted in (
        (64, ("--input", file, "--sigma", "1"), "--sigma: '1' applies to rows that are drawn, not to --input"),
        (64, ("--layers", "1"), "--layers needs --input"),
        (64, ("--input", file, "--layers", "2"), "--layers: '2' is no layer of m.h5, which has 1, 6"),
        (512, ("--input", file), "nothing to measure: n = 512, layer 1, head 0: the tensors"),
        (64, ("--input", sunk), "has learned sinks in layer 6, which precision does not apply"),
    ):
        outcome = asymptop("precision", "--n", str(n), *words, "-o", "r.h5", cwd=tmp_path)
        assert outcome.code == 2, str(outcome)
        assert wanted in outcome.stderr
        assert not (tmp_path / "r.h5").exists()
    plan = asymptop("precision", "--input", file, "--n", "300", "--dry-run", cwd=tmp_path)
    assert "skipped: n = 300, layer 6, head 0: a row sees 64 keys, the layer's window" in plan.stdout
    assert "lowered: n = 300, layer 1, head 0: 2 draws x 1 rows instead of 16 draws x 4 rows" in plan.stdout
