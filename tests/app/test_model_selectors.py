"""Every kind of selector on rows that see a run of their context, under a softcap, beside learned sinks and with V of
another width than K, against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop import open_results
from asymptop.io.row_checks import faults_of
from brute_force import PRECISION, Tensors, contexts_of, ends_of
from command_line import assert_equal, study
from estimator_reference import SELECTION, Bound, Tables, Weighted, permutation, random_keys, row_name
from model_files import ModelFile, random_model
from observed_reference import ABSOLUTE, RELATIVE, Context, h2o, snapkv, socket, vertical_slash, xattention
from selector_reference import SELECTORS, Array, Order, pages, rounding, single, under_slope
from synthetic_input import Draw
from test_model_values import with_values
from test_study_calibrated import infllm
from test_study_estimators import SEED, check_k_epsilon, check_numbers
from test_study_expected import calibration_queries
from test_study_selectors import COMMON, Row, check_row
from test_study_shards import order_of
from test_study_twilight import Twilight, check_set, matches
from threshold_reference import THRESHOLDS

HEAD = 3
SHARDS = ("shard-union:P=3", "shard-share:P=5")
TWILIGHT = {
    "twilight": Twilight(),
    "twilight:budget=60:p=0.3:page=4:sinks=33:recent=9": Twilight(60, 0.3, 4, 33, 9),
}
RANDOM = {"random": (0, 0), "random:sinks=40:recent=5": (40, 5)}
BOUNDS = {"vattention:sinks=70:recent=9:epsilon=0.2": Bound(70, 9, 0.02, 0.2, 0.1)}
TABLES = {"magicpig:K=4:L=12:sinks=70:recent=3": Tables(4, 12, 70, 3)}
ORDERS = (
    *SELECTORS,
    *SHARDS,
    *("infllm:block=32", "file:idx", "socket:K=4:L=9:tau=0.3", "snapkv:queries=20", "snapkv:queries=3:pool=1"),
    *("h2o:queries=30", "vertical-slash:queries=20", "xattention:block=32:stride=8", "xattention:block=8:stride=8"),
)
NAMES = ("score", *ORDERS, *TWILIGHT, *THRESHOLDS, *RANDOM, *BOUNDS, *TABLES)


class Loaded(dict[str, Array]):
    """A case in memory."""

    def __init__(self, case: h5py.Group) -> None:
        super().__init__({name: case[name][()] for name in case})
        self.attrs = dict(case.attrs)


class Seen:
    """One row of a case: what it sees, and where that lies in the context."""

    def __init__(self, case: Loaded, model: ModelFile, at: tuple[int, int]) -> None:
        self.n, self.layer, self.draw = int(case.attrs["n"]), int(case.attrs["layer"]), at[0]
        texts, begins = contexts_of(case)
        tensors = model.of_layer(self.layer)[texts[at[0]]]
        begin, self.position = int(begins[at[0]]), int(case["row_position"][at])
        positions = case["row_position"][:] - begins[:, None]
        end = int(ends_of(case, positions)[at])
        self.first = end - int(case["row_n"][at])
        context = slice(begin, begin + self.n)
        self.q = tensors.q[HEAD, context].astype(float) * tensors.logit_scale()
        self.context = tensors.k[HEAD // 2, context].astype(float)
        self.keys, self.values = (
            part[HEAD // 2, begin + self.first : begin + end].astype(float) for part in (tensors.k, tensors.v)
        )
        self.row = self.q[self.position - begin]
        self.of = Context(
            self.q,
            self.context,
            positions[at[0]],
            str(case.attrs["mask"]) == "causal",
            int(case.attrs.get("window", 0)),
            int(case.attrs.get("drop_first", 0)),
            float(case.attrs.get("softcap", 0.0)),
            float(case.attrs.get("sink_logit", -np.inf)),
            float(case.attrs.get("alibi_slope", 0.0)),
        )
        self.queries = calibration_queries(self.q, self.n, positions[at[0]])
        self.softcap = self.of.softcap
        logits = self.keys @ self.row
        self.own = self.position - begin - self.first  # the query's place among the keys
        self.bias = self.of.slope * (np.arange(len(logits)) - self.own)
        self.logits = (self.softcap * np.tanh(logits / self.softcap) if self.softcap > 0.0 else logits) + self.bias
        self.e = np.exp(self.logits - self.logits.max())
        self.of_sink = float(np.exp(self.of.sink - self.logits.max()))
        z = self.e.sum() + self.of_sink
        self.p, self.sink_mass = self.e / z, self.of_sink / z
        index = model.datasets[self.layer]
        of_index = index["idx_k"][context][self.first : end].astype(float)
        products = np.maximum(of_index @ index["idx_q"][:, self.position].astype(float).T, 0.0)
        self.index = products.sum(axis=1)
        name = row_name(SEED, at[0], self.n, len(self.row), HEAD + ((self.layer + 1) << 20), at[1])
        self.drawn = permutation(name, len(self.keys))

    def sinks(self, count: int) -> int:
        return max(0, count - self.first)


def by_attention(seen: Seen, name: str) -> Array:
    """Priorities over the context's keys, or blocks of them."""
    kind, *values = name.split(":")
    of = {key: int(value) for key, _, value in (part.partition("=") for part in values)}
    if kind == "snapkv":
        return snapkv(seen.of, of["queries"], of.get("pool", 5))
    if kind == "h2o":
        return h2o(seen.of, of["queries"], seen.first + len(seen.keys) - 1)
    if kind == "xattention":
        return xattention(seen.of, of["block"], of["stride"])
    return vertical_slash(seen.of, of["queries"], seen.first + len(seen.keys) - 1)


def order_on(seen: Seen, name: str) -> Order:
    if name.startswith("socket"):
        planes = Draw(SEED, seen.draw, seen.n, len(seen.row)).normals(SELECTION, np.arange(36, dtype=np.uint64))
        priority, slack = socket(seen.row, seen.keys, planes, 9, 0.3)
        return Order(priority, single(len(seen.keys)), slack)
    if name.startswith(("snapkv", "h2o", "vertical", "xattention")):
        size = int(name.split("=")[1].split(":")[0]) if name.startswith("xattention") else 1
        entries = pages(len(seen.keys), size, seen.first)
        priority = by_attention(seen, name)[seen.first // size :][: len(entries)]
        return Order(priority, entries, RELATIVE * priority + ABSOLUTE, size)
    if name in SHARDS:
        return order_of(seen.logits, seen.n, name, seen.first)
    if name == "infllm:block=32":
        return infllm(32, 4, seen.first)(seen.row, seen.keys, seen.context, seen.queries)
    if name == "file:idx":
        return Order(seen.index, single(len(seen.keys)), 1e-5)
    order = SELECTORS[name](seen.row, seen.keys, seen.first)
    if name.startswith(("window", "key-norm")):
        return order
    if name.startswith("block-max") and seen.of.slope:
        best = np.array([seen.logits[entry].max() for entry in order.entries])
        return replace(order, priority=best, slack=order.slack + float(2.0**-22 * np.abs(seen.bias).max()))
    return under_slope(order, seen.bias, seen.softcap, largest=name.startswith("quest"))


def kept_by(seen: Seen, name: str, k: int, kept: int) -> Weighted | None:
    """None where rounding may decide what is kept."""
    if name in RANDOM:
        sinks, recent = RANDOM[name]
        return random_keys(seen.drawn, k, seen.sinks(sinks), recent)
    if name in BOUNDS:
        bound = replace(BOUNDS[name], sinks=seen.sinks(BOUNDS[name].sinks), sink=seen.of_sink)
        drawn = kept - len(bound.forced(seen.e, k))
        others = bound.others(seen.drawn, seen.e, k)
        wanted = np.clip(bound.count(others, seen.e), bound.base_count(len(others)), len(others))
        assert drawn == pytest.approx(np.ceil(wanted), rel=1e-4, abs=1.0)
        return bound.kept(seen.drawn, seen.e, k, drawn)
    tables = replace(TABLES[name], sinks=seen.sinks(TABLES[name].sinks))
    planes = tables.planes(SEED, seen.draw, seen.n, len(seen.row))
    mean = seen.context.mean(axis=0).astype(np.float32)
    weighted, close = tables.kept(seen.row, seen.keys, mean, planes)
    return None if close else weighted


def check_case(case: Loaded, model: ModelFile, name: str) -> None:
    assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
    for draw, row in np.ndindex(case["row_n"].shape):
        seen = Seen(case, model, (draw, row))
        if name in ORDERS:
            order = order_on(seen, name)
            check_row(case, (draw, row), Row(seen.p, order, seen.values, 3, seen.sink_mass), PRECISION + 2e-5)
            continue
        for i, k in enumerate(case["k"][:]):
            at, budget = (draw, row, i), min(int(k), len(seen.p))
            if name in TWILIGHT:
                twilight = replace(TWILIGHT[name], first=seen.first, softcap=seen.softcap, sink=seen.of.sink)
                twilight = replace(twilight, slope=seen.of.slope, own=seen.own)
                sets = list(twilight.kept(seen.row, seen.keys, int(k), 1.0) or [])
                if sets:
                    fits = (s for s in sets if matches(case, at, s, seen.p))
                    check_set(case, at, next(fits, sets[0]), seen.p, seen.values, seen.sink_mass)
                continue
            if name in THRESHOLDS:
                rule = replace(THRESHOLDS[name], sinks=seen.sinks(THRESHOLDS[name].sinks))
                of_row = rule.kept(seen.row, seen.keys, 1.0, seen.softcap, seen.of.sink, seen.bias)
                if of_row is not None:
                    check_set(case, at, of_row, seen.p, seen.values, seen.sink_mass)
                continue
            kept = kept_by(seen, name, budget, int(case["kept"][at]))
            if kept is not None:
                check_numbers(case, at, kept, seen.e, seen.values, known=2e-6, sink=seen.of_sink)
        if name in RANDOM:
            sinks, recent = RANDOM[name]
            whole = random_keys(seen.drawn, len(seen.p), seen.sinks(sinks), recent).keys
            check_k_epsilon(case, (draw, row), whole, seen.e, seen.of_sink)


def gemma(rng: np.random.Generator, n: int, window: int, cap: float, sinks: tuple[float | None, ...] = ()) -> ModelFile:
    """One text; a layer with a window and a softcap, one with a softcap, and an index of two heads beside the keys;
    sinks: of each layer the head's learned logit, if it has one."""
    model = random_model(rng, texts=1, layers=(0, 1), n=n, d=8)
    index = {
        "idx_q": rng.standard_normal((2, n, 6)).astype(np.float32),
        "idx_k": rng.standard_normal((n, 6)).astype(np.float32),
    }
    attributes = {0: {"softcap": cap, "window": window, "attention": "sliding"}, 1: {"softcap": cap}}
    datasets = {layer: dict(index) for layer in (0, 1)}
    for layer, sink in enumerate(sinks):
        if sink is not None:
            datasets[layer]["sinks"] = np.full(4, sink)
    return replace(model, attributes=attributes, datasets=datasets)


def louder(model: ModelFile, factor: float) -> ModelFile:
    def scaled(tensors: Tensors) -> Tensors:
        return replace(tensors, q=(factor * tensors.q).astype(np.float32))

    return replace(model, texts=[{layer: scaled(t) for layer, t in layers.items()} for layers in model.texts])


def wide(model: ModelFile, more: int) -> ModelFile:
    """With columns of zeros behind those of V."""

    def widened(tensors: Tensors) -> Tensors:
        return replace(tensors, v=np.pad(tensors.v, ((0, 0), (0, 0), (0, more))))

    return replace(model, texts=[{layer: widened(t) for layer, t in layers.items()} for layers in model.texts])


@pytest.mark.parametrize(
    ("n", "window", "draws", "ks", "sinks", "width", "more"),
    [
        # Windows of several pages, cut anywhere; of fewer keys than a page, in contexts that begin in mid-text.
        (400, 100, 1, "1,n^0.5,90,n", (None, 5.0), 13, ["--contexts", "prefix", "--drop-first", "37"]),
        (260, 5, 2, "1,2,50", (1.0, 30.0), 5, ["--contexts", "places"]),
        (
            *(300, 77, 1, "2,90", (None, 3.0), 8),
            ["--contexts", "prefix", "--drop-first", "17", "--window", "0", "--mask", "none"],
        ),
    ],
)
def test_brute_force(
    n: int,
    window: int,
    draws: int,
    ks: str,
    sinks: tuple[float | None, ...],
    width: int,
    more: list[str],
    tmp_path: Path,
) -> None:
    """A sink of 30 outweighs all keys: none is needed."""
    model = louder(gemma(np.random.default_rng([118, n]), n + 60, window, 2.5, sinks), 1.3)
    model = with_values(model, width)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", str(n), "--heads", str(HEAD), "--seed", str(SEED)]
    words += ["--rows", "2", "--draws", str(draws), "--k", ks, "--selectors", ",".join(NAMES), *more, *COMMON]
    with open_results(study(tmp_path / "r.h5", words)) as opened:
        assert [faults_of(case) for case in opened.cases] == [[]] * len(opened.cases)
    with h5py.File(tmp_path / "r.h5") as file:
        found = {}
        for case in file["cases"].values():
            name = str(case.attrs.get("selector", "score"))
            found[name] = found.get(name, 0) + 1
            if name != "score":
                check_case(Loaded(case), model, name)
        assert found == dict.fromkeys(NAMES, 4 if "--drop-first" in more else 2)


def test_sampled_orders(tmp_path: Path) -> None:
    """A sample of many keys says where k_epsilon lies, also where a window holds few of them."""
    names = ("quest:page=4", "block-max:block=32", "quantised", "window", "file:idx")
    model = gemma(np.random.default_rng(119), 66001, 3001, 3.0, (None, 10.0))
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "66001", "--heads", str(HEAD), "--rows", "1"]
    words += ["--draws", "1", "--k", "1,n^0.5", "--contexts", "prefix", "--drop-first", "1001"]
    words += ["--output-error", "off", "--selectors", ",".join(names), "--seed", str(SEED), *COMMON]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        assert len(file["cases"]) == 4 * len(names)
        for case in file["cases"].values():
            assert case.attrs["verdict"] == "VALID"
            seen = Seen(Loaded(case), model, (0, 0))
            row = Row(seen.p, order_on(seen, str(case.attrs["selector"])), seen.values, 3, seen.sink_mass)
            for i, epsilon in enumerate(case["epsilon"][:]):
                rough = 2.0 * (PRECISION + rounding(seen.row, seen.keys))
                low, high = sorted(row.k_epsilon(float(epsilon) * f) for f in (1.0 - rough, 1.0 + rough))
                assert low - 64 <= int(case["k_epsilon"][0, 0, i]) <= high + 64


def test_kept_keys_and_a_sink_far_below_the_best_key(tmp_path: Path) -> None:
    """Where e^(s - max) is 0 in fp64, p_hat is still shared with the sink."""
    rng = np.random.default_rng(124)
    n, sink, names = 64, 1.0, ("window:sinks=0", "twilight:page=1:recent=5", "random:recent=3")
    logits = np.append(900.0, rng.uniform(0.0, 3.0, n - 1)).astype(np.float32)
    tensors = Tensors(np.ones((2, n, 1), np.float32), logits[None, :, None], rng.standard_normal((1, n, 3)), 1.0)
    tensors = replace(tensors, v=tensors.v.astype(np.float32))
    model = ModelFile([{0: tensors}], datasets={0: {"sinks": np.full(2, sink)}})
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", str(n), "--heads", "0", "--rows", "4", "--draws", "1"]
    words += ["--k", "1,3,7", "--selectors", ",".join(names), "--contexts", "prefix", "--seed", str(SEED), *COMMON]
    values = tensors.v[0].astype(float)
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        assert len(file["cases"]) == 3
        for case in file["cases"].values():
            name = str(case.attrs["selector"])
            assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
            for row, seen in enumerate(case["row_n"][0].tolist()):
                order = np.arange(seen)[::-1]
                if name.startswith("random"):
                    order = random_keys(permutation(row_name(SEED, 0, n, 1, 1 << 20, row), seen), seen, 0, 3).keys
                for i, k in enumerate(case["k"][:].tolist()):
                    kept = order[: min(k, 5)] if name.startswith("twilight") else order[:k]
                    if 0 in kept or (name.startswith("twilight") and k > 3):
                        continue  # with the best key; which keys top-p adds is not asked here
                    weights = np.ones(len(kept))
                    weights[3:] = (seen - 3) / max(1, k - 3) if name.startswith("random") else 1.0
                    e = np.exp(logits[kept].astype(float))
                    output = (weights * e) @ values[kept] / (weights @ e + np.exp(sink))
                    error = float(np.linalg.norm(values[0] - output))
                    assert case["output_error"][0, row, i] == pytest.approx(error, rel=1e-4), (name, k)
                    if "row_l2_error" in case:
                        p_hat = e / (e.sum() + np.exp(sink))
                        wanted = np.sqrt(1.0 + np.sum(np.square(p_hat)))
                        assert case["row_l2_error"][0, row, i] == pytest.approx(wanted, rel=1e-4)


def test_same_bytes_over_ranks_threads_and_storage(tmp_path: Path) -> None:
    """And for V of the width of K and wider by zeros: keys are chosen by what they are."""
    model = gemma(np.random.default_rng(120), 800, 130, 2.0, (1.5, None))
    wider = wide(model, 3)
    more = (
        "quest:page=4:sinks=2:recent=9",
        "loki",
        "key-diff",
        "expected",
        "double-sparsity:r=4",
        "pq",
        "clusters:c=9",
        "threshold:by=loki",
        "threshold:2/n:by=pq",
        "threshold:0.01:by=double-sparsity",
    )
    words = ["--input", wider.write(tmp_path / "m.h5"), "--n", "700", "--heads", str(HEAD), "--rows", "3"]
    words += [
        "--layers",
        "0",
        "--draws",
        "1",
        "--k",
        "16,n^0.5",
        "--drop-first",
        "600",
        "--selectors",
        ",".join((*NAMES, *more)),
    ]
    one = study(tmp_path / "one.h5", [*words, *COMMON])
    for ranks, keys, threads in ((2, "resident", 2), (3, "streamed", 1)):
        assert_equal(one, study(tmp_path / "more.h5", [*words, *COMMON, "--keys", keys], ranks=ranks, threads=threads))
    model.write(tmp_path / "m.h5")
    with h5py.File(one) as wide_ones, h5py.File(study(tmp_path / "narrow.h5", [*words, *COMMON])) as narrow_ones:
        assert set(wide_ones["cases"]) == set(narrow_ones["cases"])
        for name, case in narrow_ones["cases"].items():
            # What roundings may be, a bound, goes by the width of V.
            of_width = {"output_error_rounding", "check_residual", "check_tolerance"}
            for field in set(case) - {"phase_seconds"} - of_width:
                np.testing.assert_array_equal(wide_ones["cases"][name][field][()], case[field][()], f"{name} {field}")
