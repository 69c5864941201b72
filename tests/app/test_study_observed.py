"""Orders by what drawn queries attended to, on synthetic input against brute force."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import study
from estimator_reference import SELECTION
from observed_reference import Array, antidiagonal_blocks, lines, socket
from synthetic_input import Draw, input_rows, queries_and_keys
from test_study_expected import CALIBRATION
from test_study_selectors import COMMON
from threshold_reference import THRESHOLDS

NAMES = ("snapkv:queries=30", "h2o:queries=8", "vertical-slash", "xattention:block=16:stride=4", "socket:K=3:L=4")


def priorities(name: str, draw: Draw, q: Array, keys: Array) -> Array:
    """Of one row, per key or block. Observing queries are the first ones of their stream, and see all keys."""
    n, d = keys.shape
    if name.startswith("socket"):
        return socket(q, keys, draw.normals(SELECTION, np.arange(12, dtype=np.uint64)), 4, 0.5)[0]
    count = {"snapkv": 30, "h2o": 8, "vertical": 64, "xattention": 16}[name.split(":")[0].split("-")[0]]
    observing = input_rows(draw, CALIBRATION, count, "gaussian") / np.sqrt(d)
    if name.startswith("xattention"):
        return antidiagonal_blocks(observing, keys, [(0, n)] * count, 16, 4)
    weights = np.exp(observing @ keys.T)
    weights /= weights.sum(axis=1, keepdims=True)
    if name.startswith("vertical"):
        return lines(weights, np.arange(n - count, n), n - 1)
    pool = 5 if name.startswith("snapkv") else 1
    return np.convolve(weights.sum(axis=0), np.ones(pool) / pool, "same")


def check_rule(case: h5py.Group, at: tuple[int, int], q: Array, keys: Array) -> None:
    """At every k the keys above a threshold, which depends on sigma."""
    kept = THRESHOLDS[str(case.attrs["selector"])].kept(q, keys, 2.0)
    if kept is None:
        return
    p = np.exp(2.0 * keys @ q)
    tail = np.delete(p / p.sum(), kept).sum()
    assert np.all(case["kept"][at] == len(kept))
    np.testing.assert_allclose(case["tail_mass"][at], tail, rtol=1e-4)


def test_brute_force(tmp_path: Path) -> None:
    n, d, rows = 500, 12, 3
    what = ["--n", str(n), "--d", str(d), "--sigma", "2", "--k", "48,n/4", "--rows", str(rows), "--draws", "2"]
    what += ["--seed", "3", "--selectors", ",".join((*NAMES, *THRESHOLDS)), *COMMON]
    with h5py.File(study(tmp_path / "results.h5", what)) as read:
        assert len(read["cases"]) == len(NAMES) + len(THRESHOLDS)
        for case in read["cases"].values():
            assert case.attrs["verdict"] == "VALID"
            name, tails = str(case.attrs["selector"]), case["tail_mass"][:]
            page = 16 if name.startswith("xattention") else 1
            for draw in range(2):
                drawn = Draw(3, draw, n, d)
                queries, keys, _ = queries_and_keys(drawn, rows, "gaussian", fixed=False)
                for row, q in enumerate(queries):
                    if name in THRESHOLDS:
                        check_rule(case, (draw, row), q, keys)
                        continue
                    ranked = np.argsort(-priorities(name, drawn, q, keys), kind="stable")
                    p = np.exp(2.0 * keys @ q)
                    p /= p.sum()
                    for i, k in enumerate(case["k"][:]):
                        entries = ranked[: max(1, k // page)]
                        tail = np.delete(
                            p, np.concatenate([np.arange(e * page, min(n, e * page + page)) for e in entries])
                        ).sum()
                        assert tails[draw, row, i] == pytest.approx(tail, rel=1e-4), (name, k)


def test_a_key_that_all_attend_to_comes_first(tmp_path: Path) -> None:
    """A sink, which queries that see it weigh much, and which none of the rows is asked about."""
    n, d, sink = 300, 8, 100
    rng = np.random.default_rng(5)
    q, k = np.abs(rng.standard_normal((2, 1, n, d))).astype(np.float32)
    k[:, sink] = 9.0
    with h5py.File(tmp_path / "tensors.h5", "w") as file:
        for name, values in (("Q", q), ("K", k), ("V", k)):
            file[name] = values
    names = ("snapkv:pool=1", "h2o", "vertical-slash", "xattention:block=1:stride=1")
    what = ["--input", tmp_path / "tensors.h5", "--n", str(n), "--mask", "causal", "--k", "1", "--rows", "5"]
    what += ["--draws", "2", "--selectors", ",".join(names), *COMMON]
    with h5py.File(study(tmp_path / "results.h5", what)) as read:
        for case in read["cases"].values():
            assert np.all(case["recall"][:] == 1.0), case.attrs["selector"]
