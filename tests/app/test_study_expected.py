"""Expected Attention's order, by the mean of e^(q . k) over Gaussian queries, against brute force."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import PRECISION, Tensors
from command_line import assert_equal, study
from selector_reference import Array, Order, single
from synthetic_input import Draw, input_rows, queries_and_keys
from test_study_selectors import COMMON, Row, check_row, tensors_of

CALIBRATION = 11
MOST = 4096


def expected(queries: Array, keys: Array) -> Order:
    """Moments over the number of queries, about their mean."""
    mean = queries.mean(axis=0) if len(queries) else np.zeros(keys.shape[1])
    covariance = (queries - mean).T @ (queries - mean) / max(len(queries), 1)
    priority = keys @ mean + 0.5 * np.einsum("nc,cd,nd->n", keys, covariance, keys)
    size = np.abs(keys) @ np.abs(mean) + 0.5 * np.einsum("nc,cd,nd->n", np.abs(keys), np.abs(covariance), np.abs(keys))
    return Order(priority, single(len(keys)), float(2.0**-20 * size.max()))


def calibration_queries(q: Array, n: int, measured: Array) -> Array:
    count = min(MOST, n)
    places = np.arange(count) * n // count
    return q[places[~np.isin(places, measured)]]


def check_case(case: h5py.Group, tensors: Tensors, rough: float) -> None:
    assert case.attrs["verdict"] == "VALID"
    q, k, v = (part[0].astype(float) for part in (tensors.q, tensors.k, tensors.v))
    q = q * tensors.logit_scale()
    n = int(case.attrs["n"])
    for draw, row in np.ndindex(case["row_n"].shape):
        visible, position = int(case["row_n"][draw, row]), int(case["row_position"][draw, row])
        queries = calibration_queries(q, n, case["row_position"][draw])
        logits = k[:visible] @ q[position]
        p = np.exp(logits - logits.max())
        check_row(case, (draw, row), Row(p / p.sum(), expected(queries, k[:visible]), v[:visible], 2), rough)


@pytest.mark.parametrize(
    ("n", "d", "whole", "ks", "mask"),
    [
        (300, 8, True, "1,2,n^0.5,150,n", "none"),
        (333, 70, False, "1,2,n^0.5,166,n", "causal"),
        (20, 4, False, "1,2,n^0.5,10,n", "none"),
        (5001, 9, False, "1,n^0.5,500", "causal"),
        (1, 3, False, "1", "none"),
    ],
)
def test_brute_force(n: int, d: int, whole: bool, ks: str, mask: str, tmp_path: Path) -> None:
    tensors = tensors_of(np.random.default_rng([23, n]), n, d, whole)
    # A mean that matters, and a scale that is not 1.
    tensors = Tensors(tensors.q + np.linspace(0.0, 0.5, d, dtype=np.float32), tensors.k, tensors.v, 0.5)
    file = tensors.write(tmp_path / "tensors.h5")
    size = ("--rows", str(max(1, min(4, n // 6))), "--draws", "2" if n > 1 else "1", "--k", ks)
    what = ("--input", file, "--n", str(n), "--mask", mask, "--selectors", "expected", *size, *COMMON)
    with h5py.File(study(tmp_path / "results.h5", what)) as read:
        (case,) = read["cases"].values()
        check_case(case, tensors, PRECISION + 1e-5)


@pytest.mark.parametrize("name", ["gaussian", "clusters:5:0.5", "student:4", "ar1:0.99", "needle:2"])
def test_synthetic_queries_of_a_stream_of_their_own(name: str, tmp_path: Path) -> None:
    """4096 of them, independent of each other. Priorities are made of fp32 queries and keys."""
    n, d, rows, sigma = 500, 12, 3, 2.0
    what = ["--inputs", name, "--n", str(n), "--d", str(d), "--sigma", "2", "--k", "5,n/4", "--rows", str(rows)]
    what += ["--draws", "2", "--seed", "3", "--selectors", "expected", *COMMON]
    with h5py.File(study(tmp_path / "results.h5", what)) as read:
        (case,) = read["cases"].values()
        assert case.attrs["verdict"] == "VALID"
        for at in np.ndindex(case["row_n"].shape):
            draw = Draw(3, at[0], n, d)
            q, keys, _ = queries_and_keys(draw, rows, name, fixed=False)
            law = "gaussian" if name.startswith(("ar1", "needle")) else name
            order = expected(input_rows(draw, CALIBRATION, MOST, law) / np.sqrt(d), keys)
            logits = sigma * (keys @ q[at[1]])
            p = np.exp(logits - logits.max())
            p /= p.sum()
            for i, k in enumerate(case["k"][:]):
                kept = order.ranked()[:k]
                tail = float(np.sort(np.delete(p, kept)).sum())
                assert float(case["tail_mass"][at][i]) == pytest.approx(tail, rel=1e-4, abs=1e-9)


def test_gaussian_queries_ask_for_long_keys(tmp_path: Path) -> None:
    """Sigma is the identity over d but for chance, so the order is that of the largest norms but for neighbours."""
    n, d, draws = 2000, 16, 2
    what = ["--n", str(n), "--d", str(d), "--sigma", "2", "--k", "20,200,1000", "--rows", "16", "--draws", str(draws)]
    with h5py.File(study(tmp_path / "results.h5", [*what, "--selectors", "expected,key-norm", *COMMON])) as read:
        by_name = {str(case.attrs["selector"]): case for case in read["cases"].values()}
        case = by_name["expected"]
        for draw in range(draws):
            q, keys, _ = queries_and_keys(Draw(int(read.attrs["seed"]), draw, n, d), 16, "gaussian", fixed=False)
            ranked = np.argsort(-np.sum(keys**2, axis=1))
            p = np.exp(2.0 * q @ keys.T)
            p /= p.sum(axis=1, keepdims=True)
            for i, k in enumerate(case["k"][:]):
                if k < 20:
                    continue
                tails = 1.0 - p[:, ranked[:k]].sum(axis=1)
                assert np.mean(case["tail_mass"][draw, :, i]) == pytest.approx(np.mean(tails), abs=0.03)
        # Long keys have more than their share, which short ones lack.
        shares = 1.0 - case["k"][:] / n
        assert np.all(case["tail_mass"][:].mean(axis=(0, 1))[-3:] < shares[-3:])
        assert np.all(by_name["key-norm"]["tail_mass"][:].mean(axis=(0, 1))[-3:] > shares[-3:])


def test_same_bytes_over_ranks_threads_and_storage(tmp_path: Path) -> None:
    size = ["--k", "16,n^0.75", "--rows", "7", "--draws", "2", *COMMON]
    tensors = tensors_of(np.random.default_rng(24), 700, 12, False).write(tmp_path / "tensors.h5")
    read = ["--input", tensors, "--n", "500,700", "--mask", "causal", *size]
    arguments = [*read, "--selectors", "expected,expected:sinks=2:recent=3"]
    one = study(tmp_path / "one.h5", arguments)
    for ranks, keys, threads in ((2, "resident", 2), (3, "streamed", 1)):
        assert_equal(one, study(tmp_path / "more.h5", [*arguments, "--keys", keys], ranks=ranks, threads=threads))
