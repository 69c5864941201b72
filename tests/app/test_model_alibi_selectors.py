"""Selectors where logits have ALiBi slopes, against brute force: true scores have them, and so have priorities that
stand for logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import open_results
from asymptop.io.row_checks import faults_of
from command_line import assert_equal, asymptop, study
from model_files import ModelFile
from selector_reference import quantised
from test_model_selectors import HEAD, NAMES, Loaded, check_case, gemma, louder
from test_study_estimators import SEED
from test_study_selectors import COMMON

REFUSED = ("infllm:block=32", "xattention:block=32:stride=8")
TAKEN = tuple(name for name in NAMES if not name.startswith(("infllm", "xattention")))


def with_slopes(model: ModelFile, slopes: tuple[float, ...], keep: tuple[str, ...] = ()) -> ModelFile:
    """slopes: of the head in each layer, whose attributes but for `keep` are taken away."""
    attributes = {layer: {name: of[name] for name in of if name in keep} for layer, of in model.attributes.items()}
    of_head = {layer: np.full(4, 0.3) for layer in model.datasets}
    for layer, slope in enumerate(slopes):
        of_head[layer][HEAD] = slope
    datasets = {layer: of | {"alibi": of_head[layer]} for layer, of in model.datasets.items()}
    return replace(model, attributes=attributes, datasets=datasets)


@pytest.mark.parametrize(
    ("n", "slopes", "keep", "more"),
    [
        # As BLOOM has them, one in a window; keys ahead of their queries, far ones liked best; behind a softcap.
        (300, (0.04, 0.01), ("window", "attention"), ["--contexts", "prefix", "--drop-first", "37"]),
        (260, (0.02, -0.015), (), ["--mask", "none", "--path", "blas-tile"]),
        (210, (0.5, 0.02), ("softcap",), ["--contexts", "places"]),
    ],
)
def test_brute_force(n: int, slopes: tuple[float, ...], keep: tuple[str, ...], more: list[str], tmp_path: Path) -> None:
    model = with_slopes(louder(gemma(np.random.default_rng([160, n]), n + 60, 77, 2.5, (None, 3.0)), 1.3), slopes, keep)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", str(n), "--heads", str(HEAD), "--seed", str(SEED)]
    words += ["--rows", "2", "--draws", "1", "--k", "1,n^0.5,90", "--selectors", ",".join(TAKEN), *more, *COMMON]
    with open_results(study(tmp_path / "r.h5", words)) as opened:
        assert [faults_of(case) for case in opened.cases] == [[]] * len(opened.cases)
    with h5py.File(tmp_path / "r.h5") as file:
        found = dict.fromkeys(TAKEN, 0)
        for case in file["cases"].values():
            name = str(case.attrs.get("selector", "score"))
            found[name] += 1
            assert case.attrs["alibi_slope"] == slopes[int(case.attrs["layer"])]
            if name != "score":
                check_case(Loaded(case), model, name)
        assert found == dict.fromkeys(TAKEN, 4 if "--drop-first" in more else 2)


def test_same_bytes_over_ranks_threads_and_storage(tmp_path: Path) -> None:
    model = with_slopes(gemma(np.random.default_rng(161), 800, 130, 2.0, (1.5, None)), (0.03, 0.03), ("window",))
    more = ("quest:page=4:share=group", "sparq:share=group", "loki", "double-sparsity:r=4", "pq", "clusters:c=9")
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "700", "--heads", str(HEAD), "--rows", "3"]
    words += ["--layers", "0", "--draws", "1", "--k", "16,n^0.5", "--drop-first", "600"]
    words += ["--selectors", ",".join((*TAKEN, *more)), *COMMON]
    one = study(tmp_path / "one.h5", words)
    for ranks, keys, threads in ((2, "resident", 2), (3, "streamed", 1)):
        assert_equal(one, study(tmp_path / "more.h5", [*words, "--keys", keys], ranks=ranks, threads=threads))


def test_orders_that_have_the_whole_bias_are_exact_top_k(tmp_path: Path) -> None:
    """fp32 copies, all channels and blocks of one key; heads that choose together, where both are the same."""
    model = with_slopes(gemma(np.random.default_rng(162), 400, 130, 2.0), (0.04, 0.02))
    for tensors in (of for layers in model.texts for of in layers.values()):
        tensors.q[HEAD - 1] = tensors.q[HEAD]
    for of in model.datasets.values():
        of["alibi"][HEAD - 1] = of["alibi"][HEAD]
    names = ("quantised:fp32", "sparq:r=8", "block-max:block=1", "sparq:r=8:share=group")
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "350", "--heads", str(HEAD), "--rows", "4"]
    words += ["--draws", "2", "--k", "1,9,n^0.5", "--selectors", ",".join(names), *COMMON]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        assert len(file["cases"]) == 2 * len(names)
        for case in file["cases"].values():
            assert case["recall"][()].min() == 1.0, case.attrs["selector"]


@pytest.mark.parametrize("slopes", [(0.02, 0.05), (0.03, 0.0), (0.04, -0.04)])
def test_heads_that_choose_together_add_their_slopes_up(slopes: tuple[float, float], tmp_path: Path) -> None:
    """Those of the other head and of the one that is measured, which may have none."""
    n, names = 200, ("sparq:r=8:share=group", "quantised:bf16:share=group")
    model = with_slopes(gemma(np.random.default_rng(164), n, 50, 2.0), (slopes[1],))
    model = replace(model, texts=[{0: model.texts[0][0]}], attributes={}, datasets={0: model.datasets[0]})
    model.datasets[0]["alibi"][HEAD - 1] = slopes[0]
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", str(n), "--heads", str(HEAD), "--rows", "5"]
    words += ["--contexts", "prefix", "--draws", "1", "--k", "3,20", "--selectors", ",".join(names), *COMMON]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        assert len(file["cases"]) == len(names)
        for case in file["cases"].values():
            tensors = model.of_layer(0)[0]
            kind = "bf16" if "bf16" in str(case.attrs["selector"]) else ""
            for row, position in enumerate(case["row_position"][0].tolist()):
                keys = tensors.k[HEAD // 2, : position + 1].astype(float)
                distance = np.arange(position + 1) - position
                pair = tensors.q[HEAD - 1 : HEAD + 1, position] * np.float32(tensors.logit_scale())
                both = pair.astype(float)
                p = np.exp(keys @ both[1] + slopes[1] * distance)
                p /= p.sum()
                told, seen = (quantised(x, kind) if kind else x for x in (both, keys))
                order = np.argsort(-(seen @ told.sum(axis=0) + sum(slopes) * distance))
                for i, k in enumerate(case["k"][:].tolist()):
                    assert case["tail_mass"][0, row, i] == pytest.approx(p[order[k:]].sum(), rel=1e-4), (row, k)


@pytest.mark.parametrize("name", REFUSED)
def test_what_goes_by_keys_that_lie_apart_is_refused(name: str, tmp_path: Path) -> None:
    model = with_slopes(gemma(np.random.default_rng(163), 64, 30, 2.0), (0.0, 0.1))
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "64", "--selectors", f"quest,{name}"]
    outcome = asymptop("study", *words, "-o", tmp_path / "r.h5")
    assert outcome.code == 2, str(outcome)
    assert f"'{name}' is not defined under ALiBi slopes, which layer 0 has" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
