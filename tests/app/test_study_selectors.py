"""Selectors against brute force, the equalities that must hold for any input, and what a bad entry says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop.theory.costs import costs_of
from brute_force import PRECISION, Tensors
from command_line import assert_equal, asymptop, study
from numpy.typing import NDArray
from selector_reference import SELECTORS, Array, Order

EPSILON = (0.9, 0.5, 0.1, 0.01)
COMMON = ("--block", "64", "--epsilon", ",".join(map(str, EPSILON)))


def tensors_of(rng: np.random.Generator, n: int, d: int, whole: bool) -> Tensors:
    """One head; `whole`: small whole numbers, whose products are exact, with many ties."""
    shape = (1, n, d)
    if whole:
        q, k = (rng.integers(-2, 3, shape).astype(np.float32) for _ in range(2))
    else:
        q, k = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    return Tensors(q, k, rng.standard_normal(shape).astype(np.float32), 1.0)


@dataclass(frozen=True)
class Row:
    """What one row of a case may have: bounds from both ways round of keys that rounding cannot tell apart."""

    p: Array
    order: Order
    values: Array
    loose_ranks: int
    """Keys whose scores rounding cannot tell apart, at most, at the edge of the best set."""
    sink: float = 0.0
    """What a learned sink weighs, of which p are shares too."""

    def kept_sets(self, entries: int) -> Iterator[NDArray[np.int64]]:
        """The most and the least mass that the first entries can have."""
        ranked = self.order.ranked()
        edge = self.order.priority[ranked[entries - 1]]
        near = (np.abs(self.order.priority - edge) <= self.order.slack) & (self.order.slack > 0.0)
        sure = [e for e in ranked[:entries] if not near[e]]
        by_mass = sorted(np.flatnonzero(near), key=lambda e: float(self.p[self.order.entries[e]].sum()))
        missing = entries - len(sure)
        for chosen in (by_mass[len(by_mass) - missing :], by_mass[:missing]):
            yield np.concatenate([self.order.entries[e] for e in (*sure, *chosen)])

    def tail(self, kept: NDArray[np.int64]) -> float:
        return float(np.sort(np.delete(self.p, kept)).sum())

    def oracle_tail(self, count: int) -> float:
        return float(np.sort(self.p)[: len(self.p) - count].sum())

    def output_error(self, kept: NDArray[np.int64]) -> tuple[float, float]:
        """Absolute, and how well it is known: the difference of two sums of fp32 exponentials."""
        exact, part = self.p @ self.values, self.p[kept] @ self.values[kept] / (self.p[kept].sum() + self.sink)
        return float(np.linalg.norm(exact - part)), 1e-6 * float(np.linalg.norm(exact) + np.linalg.norm(part))

    def tails(self, entries: int) -> tuple[float, float]:
        most, least = self.kept_sets(entries)
        return self.tail(most), self.tail(least)

    @cached_property
    def prefixes(self) -> tuple[Array, NDArray[np.int64]]:
        """Mass behind each prefix of the order, and its keys."""
        lengths = np.array([len(keys) for keys in self.order.entries])
        mass = np.add.reduceat(self.p[np.concatenate(self.order.entries)], np.append(0, np.cumsum(lengths)[:-1]))
        ranked = self.order.ranked()
        tails = np.append(np.cumsum(mass[ranked][::-1])[::-1][1:], 0.0)
        return tails, np.cumsum(lengths[ranked])

    def k_epsilon(self, epsilon: float) -> int:
        """Keys of the smallest prefix with a tail of at most epsilon."""
        if self.sink > 0.0 and self.p.sum() <= epsilon:
            return 0
        tails, keys = self.prefixes
        return int(keys[np.argmax(tails <= epsilon)])


def check_row(case: h5py.Group, at: tuple[int, int], row: Row, rough: float) -> None:
    n, page = len(row.p), row.order.page
    for i, k in enumerate(case["k"][:]):
        kept, tail = int(case["kept"][at][i]), float(case["tail_mass"][at][i])
        if k >= n:
            assert (kept, tail) == (n, 0.0)
            continue
        entries = min(max(1, int(k) // page), len(row.order.entries))
        low, high = row.tails(entries)
        allowed = rough * max(high, 1e-300) + 1e-12
        assert low - allowed <= tail <= high + allowed, (k, tail, low, high)
        most, least = row.kept_sets(entries)
        if set(most) == set(least):
            ranked = row.order.ranked()[:entries]
            assert kept == sum(len(row.order.entries[e]) for e in ranked)
            regret = tail - row.oracle_tail(kept)
            assert float(case["regret"][at][i]) == pytest.approx(regret, abs=2.0 * rough * high + 1e-12)
            error, known = row.output_error(most)
            assert float(case["output_error"][at][i]) == pytest.approx(error, rel=2.0 * rough, abs=known)
            best = set(np.argsort(-row.p, kind="stable")[:kept])
            assert float(case["recall"][at][i]) == pytest.approx(
                len(best & set(most)) / kept, abs=row.loose_ranks / kept
            )
        assert 0.0 <= float(case["recall"][at][i]) <= 1.0
    for i, epsilon in enumerate(case["epsilon"][:]):
        found = int(case["k_epsilon"][at][i])
        bounds = sorted(row.k_epsilon(float(epsilon) * factor) for factor in (1.0 - rough, 1.0 + rough))
        # Keys that may change places with others change the count by as many.
        loose = 0 if np.all(row.order.slack == 0.0) else 2 * page
        assert bounds[0] - loose <= found <= bounds[1] + loose, (epsilon, found, bounds)


# Their priorities are rounded even where queries and keys are small whole numbers.
INEXACT = ("quantised", "block-mean")


def check_case(case: h5py.Group, tensors: Tensors, name: str, rough: float, whole: bool) -> None:
    assert case.attrs["verdict"] == "VALID"
    q, k = tensors.q[0].astype(float), tensors.k[0].astype(float)
    for at in np.ndindex(case["row_n"].shape):
        visible, position = int(case["row_n"][at]), int(case["row_position"][at])
        logits = k[:visible] @ q[position]
        p = np.exp(logits - logits.max())
        order = SELECTORS[name](q[position], k[:visible], 0)
        if whole and not name.startswith(INEXACT):
            order = replace(order, slack=0.0)
        row = Row(p / p.sum(), order, tensors.v[0, :visible].astype(float), 0 if whole else 2)
        check_row(case, at, row, rough)


# Of selectors that keep another set at every k, whose references are slower.
SHAPES_OF_SETS = [
    (600, 8, True, "1,2,n^0.5,150,n", "none"),
    (600, 8, True, "1,2,n^0.5,150,n", "causal"),
    (333, 17, False, "1,n^0.5,166", "none"),
    (64, 5, False, "1,32,n", "causal"),
    (20, 4, True, "1,10,n", "none"),
]
SHAPES = [
    (300, 8, True, "1,2,n^0.5,150,n"),
    (333, 17, False, "1,2,n^0.5,166,n"),
    (64, 5, False, "1,2,n^0.5,32,n"),
    (20, 4, True, "1,2,n^0.5,10,n"),
    (250, 6, True, "1,5"),  # pages of more keys than any k
]


@pytest.mark.parametrize(
    ("n", "d", "whole", "ks", "mask"),
    [
        *((*shape, ("none", "causal")[i % 2]) for i, shape in enumerate([*SHAPES, *SHAPES[:1]])),
        # A sample says in which window of an order k_epsilon lies; ties are more than windows hold.
        (66001, 9, False, "1,n^0.5", "causal"),
        (66001, 3, True, "1,n^0.5", "none"),
    ],
)
def test_brute_force(n: int, d: int, whole: bool, ks: str, mask: str, tmp_path: Path) -> None:
    tensors = tensors_of(np.random.default_rng([18, n]), n, d, whole)
    file = tensors.write(tmp_path / "tensors.h5")
    rows, draws = (min(4, n // 6), 2) if n < 1000 else (1, 1)
    size = ("--rows", str(rows), "--draws", str(draws), "--k", ks)
    selectors = ",".join(("score", *SELECTORS))
    results = study(
        tmp_path / "results.h5",
        [
            "--input",
            file,
            "--n",
            str(n),
            "--mask",
            mask,
            "--selectors",
            selectors,
            *size,
            *COMMON,
        ],
    )
    with h5py.File(results) as read:
        cases = {case.attrs.get("selector", "score"): case for case in read["cases"].values()}
        assert set(cases) == {"score", *SELECTORS}
        for name in SELECTORS:
            check_case(cases[name], tensors, name, PRECISION + (0.0 if whole else 1e-5), whole)


def test_queries_of_a_group_choose_together(tmp_path: Path) -> None:
    """By the sum of their priorities, each at the row's own place."""
    rng = np.random.default_rng(88)
    n, d, heads = 300, 12, 4
    q = rng.standard_normal((heads, n, d)).astype(np.float32)
    k, v = (rng.standard_normal((2, n, d)).astype(np.float32) for _ in range(2))
    tensors = Tensors(q, k, v, 1.0)
    chosen = ("quest", "block-mean:block=8", "quantised", "quantised:fp8", "sparq:r=3")
    results = study(
        tmp_path / "results.h5",
        [
            *("--input", tensors.write(tmp_path / "tensors.h5"), "--n", str(n), "--mask", "causal"),
            *("--rows", "2", "--draws", "2", "--k", "1,n^0.5,150", *COMMON),
            *("--selectors", ",".join(("score", "window", *chosen)), "--share-selection", "group"),
        ],
    )
    with h5py.File(results) as read:
        cases = [case for case in read["cases"].values() if "share=group" in str(case.attrs.get("selector"))]
        assert len(cases) == heads * len(chosen)
        for case in cases:
            head = int(case.attrs["head"])
            name = str(case.attrs["selector"]).removesuffix(":share=group")
            group = range(head // 2 * 2, head // 2 * 2 + 2)
            for at in np.ndindex(case["row_n"].shape):
                visible, position = int(case["row_n"][at]), int(case["row_position"][at])
                keys = k[head // 2, :visible].astype(float)
                logits = keys @ q[head, position].astype(float)
                p = np.exp(logits - logits.max())
                orders = [SELECTORS[name](q[h, position].astype(float), keys, 0) for h in group]
                order = replace(
                    orders[0],
                    priority=sum(each.priority for each in orders),
                    slack=sum(each.slack for each in orders),
                )
                row = Row(p / p.sum(), order, v[head // 2, :visible].astype(float), 2)
                check_row(case, at, row, PRECISION + 1e-5)


def test_selectors_that_choose_alone_do_not_share(tmp_path: Path) -> None:
    for name in ("random", "block-max", "key-norm"):
        options = ["--n", "64", "--selectors", f"score,{name}", "--share-selection", "group"]
        outcome = asymptop("study", *options, "-o", tmp_path / "a.h5")
        assert outcome.code == 2, str(outcome)
        assert f"is not for {name}" in outcome.stderr


def test_output_of_keys_far_below_the_best(tmp_path: Path) -> None:
    """Random keys at sigma = 60: every weight is nothing beside the best key's, and p_hat is known all the same."""
    rng = np.random.default_rng(60)
    tensors = tensors_of(rng, 200, 8, whole=True)
    tensors = Tensors(tensors.q * 20.0, tensors.k, tensors.v, 1.0)
    file = tensors.write(tmp_path / "tensors.h5")
    size = ("--rows", "8", "--draws", "3", "--k", "3,20")
    results = study(
        tmp_path / "results.h5",
        ["--input", file, "--n", "200", "--selectors", "window,block-mean:block=8", *size, *COMMON],
    )
    with h5py.File(results) as read:
        for case in read["cases"].values():
            check_case(case, tensors, str(case.attrs["selector"]), 2.0 * PRECISION, whole=True)


ALL = (
    "score,window,random:sinks=4:recent=64,quest,quest:page=4:sinks=2:recent=9,block-mean:block=8,block-max:block=16,quantised,"
    "quantised:fp8,sparq,loki,key-norm,key-diff,expected,twilight,vattention,magicpig,shard-union:P=3,shard-share:P=100,"
    "threshold:2/n:by=int4,snapkv:queries=20,h2o:queries=9,vertical-slash:queries=7,xattention:block=32:stride=8,socket:K=5:L=9"
)
SYNTHETIC = (
    "--n",
    "1000,2^10",
    "--d",
    "16",
    "--sigma",
    "1,3",
    "--k",
    "16,n^0.75",
    "--rows",
    "7",
    "--draws",
    "2",
    *COMMON,
)


# Of 66000 keys a sample says in which window of an order k_epsilon lies.
@pytest.mark.parametrize(("path", "n"), [("fused", "1000"), ("fused", "66000"), ("blas-tile", "1100")])
def test_same_bytes_over_ranks_threads_and_storage(path: str, n: str, tmp_path: Path) -> None:
    arguments = ["--n", n, "--d", "16", "--sigma", "1" if n == "66000" else "1,3", "--k", "16,n^0.75"]
    arguments += ["--rows", "3", "--draws", "1", *COMMON, "--selectors", ALL, "--path", path]
    one = study(tmp_path / "one.h5", arguments)
    for ranks, keys, threads in ((2, "resident", 2), (3, "streamed", 1)):
        assert_equal(one, study(tmp_path / "more.h5", [*arguments, "--keys", keys], ranks=ranks, threads=threads))


def datasets(case: h5py.Group) -> dict[str, bytes]:
    names = ("tail_mass", "row_l2_error", "row_linf_error", "k_epsilon", "entropy_nats", "count_p_above")
    return {name: case[name][:].tobytes() for name in names}


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
def test_the_oracle_by_other_names(path: str, tmp_path: Path) -> None:
    """Also where squares of what is dropped leave fp64's range."""
    same = ("block-max:block=1", "quantised:fp32", "sparq:r=d")
    arguments = ["1,60" if word == "1,3" else word for word in SYNTHETIC] + ["--selectors", ",".join(("score", *same))]
    arguments += ["--path", path]
    with h5py.File(study(tmp_path / "results.h5", arguments)) as read:
        by_selector: dict[str, dict[tuple[int, str], dict[str, bytes]]] = {}
        for case in read["cases"].values():
            key = (int(case.attrs["n"]), str(case.attrs["sigma_law"]))
            by_selector.setdefault(str(case.attrs.get("selector", "score")), {})[key] = datasets(case)
            if "recall" in case:
                assert np.all(case["recall"][:] == 1.0)
                assert np.all(case["regret"][:] == 0.0)
        for name in same:
            assert by_selector[name] == by_selector["score"]


def test_random_keys_drop_their_share(tmp_path: Path) -> None:
    """The mean tail mass is 1 - k/n for any input; four standard errors."""
    arguments = ["--n", "1000", "--d", "16", "--sigma", "2", "--k", "50,400", "--rows", "32", "--draws", "64", *COMMON]
    with h5py.File(study(tmp_path / "results.h5", [*arguments, "--selectors", "random", "--seed", "7"])) as read:
        case = read["cases/n1000-d16-sigma2-random"]
        means = case["tail_mass"][:].mean(axis=1)
        for i, k in enumerate(case["k"][:]):
            error = means[:, i].std(ddof=1) / np.sqrt(len(means))
            assert abs(means[:, i].mean() - (1.0 - k / 1000)) < 4.0 * error


def test_a_selector_more_keeps_what_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "results.h5"
    study(out, [*SYNTHETIC, "--selectors", "score,quest"])
    finished = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results.h5.cases").glob("*.h5")}
    assert len(finished) == 8
    outcome = asymptop("study", *SYNTHETIC, "--selectors", "score,quest,window", "--resume", "-o", out)
    assert outcome.code == 0, str(outcome)
    for name, time in finished.items():
        assert (tmp_path / "results.h5.cases" / name).stat().st_mtime_ns == time
    assert_equal(out, study(tmp_path / "whole.h5", [*SYNTHETIC, "--selectors", "score,quest,window"]))


BAD = {
    "quset": "names no selector; there are score, window",
    "quest:pages=3": "gives quest a parameter 'pages'; it takes page, sinks, recent",
    "quest:page=3": "has page=3, which is no power of two",
    "quest:page=1024": "has page=1024, which is no whole number from 1 to 512",
    "quantised:fp9": "has format=fp9, which is no format: bf16, fp8, int8, int4, fp32",
    "sparq:r=17": "has r=17, which is over d = 16",
    "sparq:r=d/0": "has r=d/0, which is no number of channels",
    "random:seed=1": "gives random a parameter 'seed'; it takes sinks, recent",
    "quest,quest:page=16": "names quest:page=16 twice",
    "quest:page=16:page=32": "gives 'page' twice",
    "quantised:int8:format=fp8": "gives 'format' twice",
    "quest::page=16": "gives quest a parameter ''",
    "window:sinks=-1": "has sinks=-1, which is no whole number",
}


def assert_refused(entry: str, message: str, folder: Path) -> None:
    outcome = asymptop("study", *SYNTHETIC, "--selectors", entry, "-o", folder / "no.h5")
    assert outcome.code == 2
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not (folder / "no.h5").exists()


@pytest.mark.parametrize("entry", BAD)
def test_a_bad_entry_is_one_line(entry: str, tmp_path: Path) -> None:
    assert_refused(entry, BAD[entry], tmp_path)


def test_pages_do_not_cross_blocks(tmp_path: Path) -> None:
    outcome = asymptop("study", *SYNTHETIC, "--selectors", "quest:page=128", "-o", tmp_path / "no.h5")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    assert "128 does not divide --block 64" in outcome.stderr


def bytes_of(selector: str) -> tuple[float, float] | None:
    """Per key of the index, and read by a query; None where the package has no formulas for it."""
    costs = costs_of(selector)
    return costs and (costs.index_bytes_per_key(64), costs.bytes_read(4096.0, 64, 64.0))


def test_help_of_a_selector() -> None:
    outcome = asymptop("study", "--help-selector", "quest")
    assert outcome.code == 0
    assert outcome.stdout.startswith("quest: pages by an upper bound of their scores\n")
    assert "page=16" in outcome.stdout
    everything = [line.split()[0] for line in asymptop("study", "--help-selector", "all").stdout.splitlines()]
    assert everything[0] == "score"
    assert {"window", "random", "quest"} < set(everything)
    for name in everything:  # the report takes a value by itself as the program does
        first = re.search(r"^  (\w+)=", asymptop("study", "--help-selector", name).stdout, re.MULTILINE)
        assert first is None or bytes_of(f"{name}:16") == bytes_of(f"{name}:{first[1]}=16"), name
    assert asymptop("study", "--help-selector", "nothing").code == 2
