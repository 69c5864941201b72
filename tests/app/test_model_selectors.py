"""Every kind of selector on rows that see a run of their context, and under a softcap, against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import PRECISION, Tensors, contexts_of, ends_of
from command_line import assert_equal, study
from estimator_reference import SELECTION, Bound, Tables, Weighted, permutation, random_keys, row_name
from model_files import ModelFile, random_model
from observed_reference import ABSOLUTE, RELATIVE, Context, h2o, snapkv, socket, vertical_slash, xattention
from selector_reference import SELECTORS, Array, Order, pages, rounding, single
from synthetic_input import Draw
from test_study_calibrated import infllm
from test_study_estimators import SEED, check_k_epsilon, check_numbers
from test_study_expected import calibration_queries
from test_study_selectors import COMMON, Row, check_row
from test_study_shards import order_of
from test_study_twilight import Twilight, check_set, matches

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
NAMES = ("score", *ORDERS, *TWILIGHT, *RANDOM, *BOUNDS, *TABLES)


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
        )
        self.queries = calibration_queries(self.q, self.n, positions[at[0]])
        self.softcap = self.of.softcap
        logits = self.keys @ self.row
        self.logits = self.softcap * np.tanh(logits / self.softcap) if self.softcap > 0.0 else logits
        self.e = np.exp(self.logits - self.logits.max())
        self.p = self.e / self.e.sum()
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
        return h2o(seen.of, of["queries"])
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
    return SELECTORS[name](seen.row, seen.keys, seen.first)


def kept_by(seen: Seen, name: str, k: int, kept: int) -> Weighted | None:
    """None where rounding may decide what is kept."""
    if name in RANDOM:
        sinks, recent = RANDOM[name]
        return random_keys(seen.drawn, k, seen.sinks(sinks), recent)
    if name in BOUNDS:
        bound = replace(BOUNDS[name], sinks=seen.sinks(BOUNDS[name].sinks))
        drawn = kept - len(bound.forced(seen.e, k))
        others = bound.others(seen.drawn, seen.e, k)
        wanted = np.clip(bound.count(others, seen.e), bound.base_count(len(others)), len(others))
        assert drawn == pytest.approx(np.ceil(wanted), rel=1e-4, abs=1.0)
        return bound.kept(seen.drawn, seen.e, k, drawn)
    tables = replace(TABLES[name], sinks=seen.sinks(TABLES[name].sinks))
    planes = tables.planes(SEED, seen.draw, seen.n, len(seen.row))
    weighted, close = tables.kept(seen.row, seen.keys, seen.context.mean(axis=0), planes)
    return None if close else weighted


def check_case(case: Loaded, model: ModelFile, name: str) -> None:
    assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
    for draw, row in np.ndindex(case["row_n"].shape):
        seen = Seen(case, model, (draw, row))
        if name in ORDERS:
            order = order_on(seen, name)
            check_row(case, (draw, row), Row(seen.p, order, seen.values, 3), PRECISION + 2e-5)
            continue
        for i, k in enumerate(case["k"][:]):
            at, budget = (draw, row, i), min(int(k), len(seen.p))
            if name in TWILIGHT:
                twilight = replace(TWILIGHT[name], first=seen.first, softcap=seen.softcap)
                sets = list(twilight.kept(seen.row, seen.keys, int(k), 1.0) or [])
                if sets:
                    fits = (s for s in sets if matches(case, at, s, seen.p))
                    check_set(case, at, next(fits, sets[0]), seen.p, seen.values)
                continue
            kept = kept_by(seen, name, budget, int(case["kept"][at]))
            if kept is not None:
                check_numbers(case, at, kept, seen.e, seen.values, known=2e-6)
        if name in RANDOM:
            sinks, recent = RANDOM[name]
            whole = random_keys(seen.drawn, len(seen.p), seen.sinks(sinks), recent).keys
            check_k_epsilon(case, (draw, row), whole, seen.e)


def gemma(rng: np.random.Generator, n: int, window: int, cap: float) -> ModelFile:
    """One text; a layer with a window and a softcap, one with a softcap, and an index of two heads beside the keys."""
    model = random_model(rng, texts=1, layers=(0, 1), n=n, d=8)
    index = {
        "idx_q": rng.standard_normal((2, n, 6)).astype(np.float32),
        "idx_k": rng.standard_normal((n, 6)).astype(np.float32),
    }
    attributes = {0: {"softcap": cap, "window": window, "attention": "sliding"}, 1: {"softcap": cap}}
    return replace(model, attributes=attributes, datasets=dict.fromkeys((0, 1), index))


def louder(model: ModelFile, factor: float) -> ModelFile:
    def scaled(tensors: Tensors) -> Tensors:
        return replace(tensors, q=(factor * tensors.q).astype(np.float32))

    return replace(model, texts=[{layer: scaled(t) for layer, t in layers.items()} for layers in model.texts])


@pytest.mark.parametrize(
    ("n", "window", "draws", "ks", "more"),
    [
        # Windows of several pages, cut anywhere; of fewer keys than a page, in contexts that begin in mid-text.
        (400, 100, 1, "1,n^0.5,90,n", ["--contexts", "prefix", "--drop-first", "37"]),
        (260, 5, 2, "1,2,50", ["--contexts", "places"]),
        (300, 77, 1, "2,90", ["--contexts", "prefix", "--drop-first", "17", "--window", "0", "--mask", "none"]),
    ],
)
def test_brute_force(n: int, window: int, draws: int, ks: str, more: list[str], tmp_path: Path) -> None:
    model = louder(gemma(np.random.default_rng([118, n]), n + 60, window, 2.5), 1.3)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", str(n), "--heads", str(HEAD), "--seed", str(SEED)]
    words += ["--rows", "2", "--draws", str(draws), "--k", ks, "--selectors", ",".join(NAMES), *more, *COMMON]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
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
    model = gemma(np.random.default_rng(119), 66001, 3001, 3.0)
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "66001", "--heads", str(HEAD), "--rows", "1"]
    words += ["--draws", "1", "--k", "1,n^0.5", "--contexts", "prefix", "--drop-first", "1001"]
    words += ["--output-error", "off", "--selectors", ",".join(names), "--seed", str(SEED), *COMMON]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        assert len(file["cases"]) == 4 * len(names)
        for case in file["cases"].values():
            assert case.attrs["verdict"] == "VALID"
            seen = Seen(Loaded(case), model, (0, 0))
            row = Row(seen.p, order_on(seen, str(case.attrs["selector"])), seen.values, 3)
            for i, epsilon in enumerate(case["epsilon"][:]):
                rough = 2.0 * (PRECISION + rounding(seen.row, seen.keys))
                low, high = sorted(row.k_epsilon(float(epsilon) * f) for f in (1.0 - rough, 1.0 + rough))
                assert low - 64 <= int(case["k_epsilon"][0, 0, i]) <= high + 64


def test_same_bytes_over_ranks_threads_and_storage(tmp_path: Path) -> None:
    model = gemma(np.random.default_rng(120), 800, 130, 2.0)
    more = (
        "quest:page=4:sinks=2:recent=9",
        "loki",
        "key-diff",
        "expected",
        "double-sparsity:r=4",
        "pq",
        "clusters:c=9",
    )
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "700", "--heads", str(HEAD), "--rows", "3"]
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
