"""Orders by copies of the keys that a sample of them decides (channels, centroids, representatives), by brute force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import PRECISION, Tensors
from command_line import assert_equal, study
from selector_reference import Array, Order, pages, quantised, rounding, single
from test_study_expected import calibration_queries
from test_study_selectors import COMMON, Row, assert_refused, check_row, tensors_of

MOST = 4096


def calibration_keys(keys: Array) -> Array:
    """Evenly spaced keys of all that the context has."""
    n = len(keys)
    count = min(MOST, n)
    return keys[np.arange(count) * n // count]


def double_sparsity(channels: int) -> Callable[[Array, Array, Array, Array], Order]:
    def order(q: Array, visible: Array, sample: Array, queries: Array) -> Order:
        weight = np.abs(sample).mean(axis=0) * np.abs(queries).mean(axis=0)
        chosen = np.argsort(-weight, kind="stable")[:channels]
        labels = quantised(visible[:, chosen], "int4")
        return Order(labels @ q[chosen], single(len(visible)), rounding(q[chosen], visible[:, chosen]) * 2)

    return order


def centroids(vectors: Array, wanted: int, iterations: int) -> Array:
    """Lloyd's, from evenly spaced vectors."""
    count = min(wanted, len(vectors))
    at = vectors[len(vectors) * np.arange(count) // count].astype(np.float32).astype(float)
    for _ in range(iterations):
        nearest = np.argmin(((vectors[:, None] - at[None]) ** 2).sum(axis=2), axis=1)
        for i in range(count):
            if np.any(nearest == i):
                at[i] = vectors[nearest == i].mean(axis=0).astype(np.float32)
    return at


def product_quantised(parts: int, wanted: int, iterations: int) -> Callable[[Array, Array, Array, Array], Order]:
    def order(q: Array, visible: Array, sample: Array, _queries: Array) -> Order:
        d = len(q)
        coded = np.empty_like(visible)
        for p in range(min(parts, d)):
            columns = slice(d * p // min(parts, d), d * (p + 1) // min(parts, d))
            book = centroids(sample[:, columns], wanted, iterations)
            distance = ((visible[:, columns][:, None] - book[None]) ** 2).sum(axis=2)
            coded[:, columns] = book[np.argmin(distance, axis=1)]
        return Order(coded @ q, single(len(visible)), rounding(q, coded) * 4)

    return order


def infllm(block: int, representatives: int, first: int = 0) -> Callable[[Array, Array, Array, Array], Order]:
    def order(q: Array, visible: Array, _sample: Array, queries: Array) -> Order:
        along = visible @ queries.mean(axis=0)
        entries = pages(len(visible), block, first)
        found = [e[np.argsort(-along[e], kind="stable")[:representatives]] for e in entries]
        priority = np.array([(visible[of] @ q).sum() for of in found])
        return Order(priority, entries, rounding(q, visible) * 4 * representatives, block)

    return order


REFERENCES = {
    "double-sparsity:r=3": double_sparsity(3),
    "double-sparsity": double_sparsity(1),
    "pq": product_quantised(2, 64, 10),
    "pq:parts=1:bits=2:iterations=3": product_quantised(1, 4, 3),
    "pq:parts=3:bits=3": product_quantised(3, 8, 10),
    "clusters:c=16": product_quantised(1, 16, 10),
    "clusters:c=5:iterations=0": product_quantised(1, 5, 0),
    "infllm:block=32": infllm(32, 4),
    "infllm:block=16:keys=1": infllm(16, 1),
}


@pytest.mark.parametrize(
    ("n", "d", "ks", "mask"),
    [
        (300, 9, "1,2,n^0.5,150,n", "causal"),
        (333, 16, "1,2,n^0.5,166,n", "none"),
        (21, 4, "1,2,10,n", "causal"),
        (4500, 5, "1,n^0.5,500", "none"),
    ],
)
def test_brute_force(n: int, d: int, ks: str, mask: str, tmp_path: Path) -> None:
    divides = {"pq": 2, "pq:parts=3:bits=3": 3}
    references = {name: order for name, order in REFERENCES.items() if d % divides.get(name, 1) == 0}
    tensors = tensors_of(np.random.default_rng([29, n]), n, d, False)
    tensors = Tensors(tensors.q + np.linspace(0.0, 0.7, d, dtype=np.float32), tensors.k, tensors.v, 0.5)
    file = tensors.write(tmp_path / "tensors.h5")
    size = ("--rows", str(max(1, min(4, n // 6))), "--draws", "2", "--k", ks)
    what = ("--input", file, "--n", str(n), "--mask", mask, "--selectors", ",".join(references), *size, *COMMON)
    q, k, v = (part[0].astype(float) for part in (tensors.q, tensors.k, tensors.v))
    q = q * tensors.logit_scale()
    with h5py.File(study(tmp_path / "results.h5", what)) as read:
        cases = {str(case.attrs["selector"]): case for case in read["cases"].values()}
        assert set(cases) == set(references)
        for name, case in cases.items():
            assert case.attrs["verdict"] == "VALID"
            for draw, row in np.ndindex(case["row_n"].shape):
                visible, position = int(case["row_n"][draw, row]), int(case["row_position"][draw, row])
                queries = calibration_queries(q, n, case["row_position"][draw])
                order = references[name](q[position], k[:visible], calibration_keys(k), queries)
                logits = k[:visible] @ q[position]
                p = np.exp(logits - logits.max())
                check_row(case, (draw, row), Row(p / p.sum(), order, v[:visible], 2), PRECISION + 1e-5)


def test_a_centroid_for_every_key_is_exact(tmp_path: Path) -> None:
    """As many centroids as keys, which all are there: the copies are the keys."""
    tensors = tensors_of(np.random.default_rng(30), 64, 8, False).write(tmp_path / "tensors.h5")
    names = "score,clusters:c=64,pq:parts=4,infllm:block=1"
    what = ("--input", tensors, "--n", "64", "--rows", "4", "--draws", "2", "--k", "1,3,8,40", "--selectors", names)
    with h5py.File(study(tmp_path / "results.h5", [*what, *COMMON])) as read:
        cases = {str(case.attrs.get("selector", "score")): case for case in read["cases"].values()}
        for name in names.split(",")[1:]:
            assert np.all(cases[name]["regret"][:] == 0.0), name
            assert np.array_equal(cases[name]["tail_mass"][:], cases["score"]["tail_mass"][:]), name
            assert np.array_equal(cases[name]["k_epsilon"][:], cases["score"]["k_epsilon"][:]), name


def test_more_of_a_copy_loses_less(tmp_path: Path) -> None:
    names = "pq:bits=2,pq:bits=8,double-sparsity:r=2,double-sparsity:r=d,clusters:c=4,clusters:c=512"
    what = ("--n", "2000", "--d", "16", "--sigma", "2", "--k", "100", "--rows", "16", "--draws", "2")
    with h5py.File(study(tmp_path / "results.h5", [*what, "--selectors", names, *COMMON])) as read:
        tails = {str(case.attrs["selector"]): float(case["tail_mass"][:].mean()) for case in read["cases"].values()}
    few, many = names.split(",")[::2], names.split(",")[1::2]
    for coarse, fine in zip(few, many, strict=True):
        assert tails[fine] < tails[coarse] - 0.05, (coarse, fine)


def test_same_bytes_over_ranks_threads_and_storage(tmp_path: Path) -> None:
    size = ["--k", "16,n^0.75", "--rows", "7", "--draws", "2", *COMMON]
    tensors = tensors_of(np.random.default_rng(31), 700, 12, False).write(tmp_path / "tensors.h5")
    names = "double-sparsity:r=4,pq:sinks=2:recent=3,clusters:c=20,infllm:block=16"
    what = ["--input", tensors, "--n", "500,700", "--mask", "causal", *size, "--selectors", names]
    one = study(tmp_path / "one.h5", [*what, "--threads", "1"])
    for name, ranks, more in (("three", 3, ["--threads", "1"]), ("streamed", 2, ["--keys", "streamed"])):
        assert_equal(one, study(tmp_path / f"{name}.h5", [*what, *more], ranks))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("pq:bits=0", "bits=0, which is no whole number from 1 to 10"),
        ("clusters:c=0", "c=0, which is no whole number from 1 to 1024"),
        ("double-sparsity:r=99", "r=99, which is over d = 16"),
        ("infllm:block=48", "block=48, which is no power of two"),
        ("pq:parts=3", "parts=3, which does not divide d = 16, as 1, 2, 4, 8, 16 do"),
        ("snapkv:pool=4", "pool=4, which is no odd number from 1 to 63"),
        ("h2o:queries=2000", "queries=2000, which is no whole number from 1 to 1024"),
        ("xattention:block=8:stride=16", "stride=16, which is no whole number from 1 to 8"),
        (
            "threshold:2",
            "theta=2, which is neither a number over 0, at most 1, nor one over 0 with /n behind it, such as 1/n",
        ),
        (
            "threshold:theta=0x1p-3",
            "theta=0x1p-3, which is neither a number over 0, at most 1, nor one over 0 with /n behind it, such as 1/n",
        ),
        ("socket:tau=0x1p-3", "tau=0x1p-3, which is no number over 0, at most 100.0"),
        ("threshold:by=quest", "by=quest, which estimates no scores: score, bf16, fp8, int8, int4, sparq, loki, "),
        ("socket:tau=0", "tau=0, which is no number over 0, at most 100.0"),
    ],
)
def test_bad_values_are_one_line(entry: str, words: str, tmp_path: Path) -> None:
    assert_refused(entry, words, tmp_path)
