"""Selections shard by shard against brute force: any number of shards, ranks and ties, and one shard as the oracle."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import PRECISION
from command_line import study
from selector_reference import Array, Order
from test_study_selectors import COMMON, SYNTHETIC, Row, assert_refused, check_row, datasets, tensors_of

SHARDS = (1, 2, 3, 7, 500)
NAMES = tuple(f"shard-{budget}:P={shards}" for shards in SHARDS for budget in ("union", "share"))


def order_of(scores: Array, n: int, name: str, first: int = 0) -> Order:
    """Entry t: the t-th best key of each shard of a context of n keys, of which the row sees those with a score, from
    the `first` on."""
    shards = int(name.partition("=")[2])
    edges = [n * p // shards for p in range(shards + 1)]
    ranked = []
    for begin, end in pairwise(edges):
        seen = np.arange(max(begin, first), max(begin, first, min(end, first + len(scores)))) - first
        ranked.append(seen[np.lexsort((seen, -scores[seen]))])
    longest = max(len(keys) for keys in ranked)
    entries = [np.array([keys[t] for keys in ranked if t < len(keys)]) for t in range(longest)]
    # A budget k pays for k entries, or for k / P.
    return Order(-np.arange(longest, dtype=float), entries, 0.0, 1 if "union" in name else shards)


@pytest.mark.parametrize(
    ("n", "d", "whole", "ks", "mask"),
    [
        (300, 6, True, "1,2,n^0.5,70,n", "none"),
        (300, 6, True, "1,2,n^0.5,70,n", "causal"),
        (333, 17, False, "1,2,n^0.5,166,n", "none"),
        (20, 4, True, "1,n", "causal"),
        (250, 1, True, "1,3", "none"),  # five scores in all
    ],
)
def test_brute_force(n: int, d: int, whole: bool, ks: str, mask: str, tmp_path: Path) -> None:
    tensors = tensors_of(np.random.default_rng([46076, n]), n, d, whole)
    file = tensors.write(tmp_path / "tensors.h5")
    size = ("--n", str(n), "--rows", str(min(4, n // 6)), "--draws", "2", "--k", ks, "--mask", mask)
    results = study(tmp_path / "results.h5", ["--input", file, "--selectors", ",".join(NAMES), *size, *COMMON])
    with h5py.File(results) as read:
        cases = {case.attrs["selector"]: case for case in read["cases"].values()}
        assert set(cases) == set(NAMES)
        for name, case in cases.items():
            assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
            q, k = tensors.q[0].astype(float), tensors.k[0].astype(float)
            for at in np.ndindex(case["row_n"].shape):
                visible, position = int(case["row_n"][at]), int(case["row_position"][at])
                scores = k[:visible] @ q[position]
                p = np.exp(scores - scores.max())
                row = Row(p / p.sum(), order_of(scores, n, name), tensors.v[0, :visible].astype(float), 2 - 2 * whole)
                check_row(case, at, row, PRECISION + (0.0 if whole else 1e-5))


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
def test_one_shard_is_the_oracle(path: str, tmp_path: Path) -> None:
    arguments = ["1,60" if word == "1,3" else word for word in SYNTHETIC] + ["--path", path]
    arguments += ["--selectors", "score,shard-union:P=1,shard-share:P=1"]
    with h5py.File(study(tmp_path / "results.h5", arguments)) as read:
        for name, case in read["cases"].items():
            assert datasets(case) == datasets(read["cases"][name.partition("-shard")[0]])
        assert len(read["cases"]) == 12


def test_all_scores_equal(tmp_path: Path) -> None:
    """Indices decide within each shard: the keys that 1 - epsilon of the row takes are those of so many entries."""
    rng = np.random.default_rng(5)
    tensors = tensors_of(rng, 20000, 8, whole=False)
    tensors.k[:] = 1.0
    file = tensors.write(tmp_path / "tensors.h5")
    size = ("--n", "20000", "--rows", "3", "--draws", "1", "--k", "16")
    names = "shard-union:P=1,shard-union:P=3,shard-share:P=1000"
    with h5py.File(study(tmp_path / "results.h5", ["--input", file, "--selectors", names, *size, *COMMON])) as read:
        for case in read["cases"].values():
            assert case.attrs["verdict"] == "VALID"
            shards = int(str(case.attrs["selector"]).partition("=")[2])
            for i, epsilon in enumerate(case["epsilon"][:]):
                entries = int(np.ceil(20000 * (1.0 - epsilon) / shards - 1e-9))
                sizes = np.diff([20000 * p // shards for p in range(shards + 1)])
                assert np.all(case["k_epsilon"][:, :, i] == np.minimum(entries, sizes).sum())


@pytest.mark.parametrize("value", ["0", "1025", "d/8"])
def test_bad_counts_of_shards(value: str, tmp_path: Path) -> None:
    assert_refused(f"shard-union:P={value}", f"has P={value}, which is no whole number from 1 to 1024", tmp_path)


def test_many_walks(tmp_path: Path) -> None:
    """More keys than are looked at one by one, few different scores: k_epsilon beyond the held keys is exact."""
    n = 20000
    tensors = tensors_of(np.random.default_rng(9), n, 4, whole=True)
    file = tensors.write(tmp_path / "tensors.h5")
    size = ("--n", str(n), "--rows", "2", "--draws", "1", "--k", "16")
    names = ("shard-union:P=1", "shard-union:P=7", "shard-share:P=1000")
    with h5py.File(
        study(tmp_path / "results.h5", ["--input", file, "--selectors", ",".join(names), *size, *COMMON])
    ) as read:
        for case in read["cases"].values():
            assert case.attrs["verdict"] == "VALID"
            for at in np.ndindex(case["row_n"].shape):
                scores = tensors.k[0].astype(float) @ tensors.q[0, int(case["row_position"][at])].astype(float)
                p = np.exp(scores - scores.max())
                row = Row(p / p.sum(), order_of(scores, n, str(case.attrs["selector"])), tensors.v[0].astype(float), 0)
                check_row(case, at, row, PRECISION)
