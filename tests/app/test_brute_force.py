"""Studies of tensor files against brute force: all datasets, all rows, ordinary and adversarial tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import Tensors, check_file
from command_line import study

COMMON = ("--block", "64", "--epsilon", "0.5,0.1,0.01", "--count-above", "1/n,1e-3,2/n")


def random_tensors(
    rng: np.random.Generator,
    heads: int,
    n: int,
    d: int,
    dtype: type[np.floating] = np.float32,
    kv_heads: int | None = None,
    scale: float | None = None,
    sigma: float = 1.0,
) -> Tensors:
    """Gaussian tensors; logits have a standard deviation of about sigma at the default scale."""
    kv = heads if kv_heads is None else kv_heads
    return Tensors(
        q=(sigma * rng.standard_normal((heads, n, d))).astype(dtype),
        k=rng.standard_normal((kv, n, d)).astype(dtype),
        v=rng.standard_normal((kv, n, d)).astype(dtype),
        scale=scale,
    )


@dataclass(frozen=True)
class RandomStudy:
    heads: int
    n: int
    d: int
    ns: str
    dtype: type[np.floating] = np.float32
    kv_heads: int | None = None
    scale: float | None = None
    sigma: float = 1.0
    rows: int = 5
    draws: int = 3
    cases: int = 1
    with_heads: bool = True


STUDIES = {
    "two-dimensional": RandomStudy(1, 1000, 64, "64,65,1000", cases=3, with_heads=False),
    "heads-double": RandomStudy(2, 333, 17, "333", dtype=np.float64, rows=20, cases=2),
    "grouped-queries": RandomStudy(4, 300, 17, "300", kv_heads=2, scale=0.3, sigma=2.0, rows=20, cases=4),
    "one-key-head": RandomStudy(2, 257, 3, "257", dtype=np.float64, kv_heads=1, sigma=4.0, rows=40, cases=2),
    "d-one": RandomStudy(1, 2000, 1, "2000", scale=1.5, rows=200, draws=2),
}


@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("name", STUDIES)
def test_random_tensors(name: str, mask: str, tmp_path: Path) -> None:
    s = STUDIES[name]
    rng = np.random.default_rng([7, *name.encode()])
    tensors = random_tensors(rng, s.heads, s.n, s.d, s.dtype, s.kv_heads, s.scale, s.sigma)
    file = tensors.write(tmp_path / "tensors.h5", s.with_heads)
    size = ["--rows", str(s.rows), "--draws", str(s.draws)]
    results = study(
        tmp_path / "results.h5",
        ["--input", file, "--n", s.ns, "--mask", mask, "--k", "1,2,n^0.5,n/2,n", *size, *COMMON],
    )
    assert check_file(results, tensors) == s.cases


def adversarial_tensors() -> dict[str, Tensors]:
    """Tensors that break a careless sum, selection or bound. All (1, n, d)."""
    rng = np.random.default_rng(11)
    n, d = 300, 8
    base = random_tensors(rng, 1, n, d, sigma=2.0)
    direction = base.q[0, 0] / np.linalg.norm(base.q[0, 0])

    def with_keys(keys: np.ndarray) -> Tensors:
        return replace(base, k=keys.astype(np.float32))

    def with_values(values: np.ndarray) -> Tensors:
        return replace(base, v=values.astype(np.float32))

    huge, sink = base.k.copy(), base.k.copy()
    huge[0, 77] *= 100.0
    clusters = 0.1 * base.k + np.where(np.arange(n) % 3 == 0, 30.0, -30.0)[None, :, None] * direction
    positive = replace(base, q=np.abs(base.q))
    sink[0, 0] = 4.0
    outliers = base.v.copy()
    outliers[0, ::50] *= 1e5
    five = rng.standard_normal((5, d))
    return {
        "all-keys-equal": with_keys(np.broadcast_to(base.k[:, :1], base.k.shape)),
        "all-keys-nearly-zero": with_keys(np.full_like(base.k, 1e-30)),
        "one-huge-key": with_keys(huge),
        "exact-ties": with_keys(five[rng.integers(0, 5, n)][None]),
        "two-clusters": with_keys(clusters),
        "sink": replace(positive, k=sink),
        "value-outliers": with_values(outliers),
        "values-equal": with_values(np.broadcast_to(base.v[:, :1], base.v.shape)),
        "large-common-key": with_keys(base.k + 100.0 * direction),
        "weak-logits": replace(base, q=(1e-2 * base.q).astype(np.float32)),
        "strong-logits": replace(base, q=(100.0 * base.q).astype(np.float32)),
        "first-value-zero": with_values(np.where(np.arange(n)[None, :, None] == 0, 0.0, base.v)),
    }


ADVERSARIAL = adversarial_tensors()
# Equal logits: their standard deviation is known to be inexact, and has a test of its own below.
FLAT = {"all-keys-equal": 1e-5, "all-keys-nearly-zero": 1e-5, "weak-logits": 1e-5}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_tensors(name: str, tmp_path: Path) -> None:
    tensors = ADVERSARIAL[name]
    file = tensors.write(tmp_path / "tensors.h5")
    results = study(
        tmp_path / "results.h5",
        [
            "--input",
            file,
            "--n",
            "300",
            "--mask",
            "causal",
            "--k",
            "1,2,64,100,n",
            "--rows",
            "30",
            "--draws",
            "4",
            *COMMON,
        ],
    )
    assert check_file(results, tensors, FLAT.get(name, 0.0)) == 1


@pytest.mark.parametrize("gap", [20.0, 45.0, 80.0, 110.0])
@pytest.mark.parametrize("k", ["1", "1,3"])
def test_tail_far_below_the_head(k: str, gap: float, tmp_path: Path) -> None:
    """Three keys stand out by `gap` from one another and the others: every error is tiny, and known to its digits."""
    rng = np.random.default_rng(31)
    tensors = random_tensors(rng, 1, 300, 16, scale=1.0)
    q = np.abs(tensors.q) + 0.5
    keys = 0.1 * tensors.k
    for place, steps in ((7, 3), (100, 2), (250, 1)):
        keys[0, place] += steps * gap / 16.0
    tensors = replace(tensors, q=q.astype(np.float32), k=keys.astype(np.float32))
    words = ["--input", tensors.write(tmp_path / "tensors.h5"), "--n", "300", "--k", k, "--rows", "10", "--draws", "2"]
    assert check_file(study(tmp_path / "results.h5", [*words, *COMMON]), tensors) == 1


@pytest.mark.parametrize("size", [1e-5, 1e-4, 1e-3])
def test_spread_of_weak_logits(size: float, tmp_path: Path) -> None:
    """logit_std, and with it sigma_i of tensors, is known to 1e-5 (moments in bins of 1/32), as the schema says."""
    rng = np.random.default_rng(23)
    tensors = random_tensors(rng, 1, 300, 8)
    tensors = replace(tensors, q=(size * tensors.q).astype(np.float32))
    file = tensors.write(tmp_path / "tensors.h5")
    results = study(
        tmp_path / "results.h5", ["--input", file, "--n", "300", "--rows", "30", "--draws", "4", "--k", "64", *COMMON]
    )
    assert check_file(results, tensors, spread_floor=1e-5) == 1


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_one_and_two_keys(mask: str, tmp_path: Path) -> None:
    tensors = random_tensors(np.random.default_rng(3), 1, 2, 64, sigma=2.0)
    file = tensors.write(tmp_path / "tensors.h5")
    results = study(
        tmp_path / "results.h5",
        ["--input", file, "--n", "1,2", "--mask", mask, "--k", "1,5", "--rows", "1", "--draws", "1"],
    )
    assert check_file(results, tensors, spread_floor=1e-5) == 2
    with h5py.File(results) as f:
        one = f["cases/n1-d64-head0" + ("-causal" if mask == "causal" else "")]
        assert one.attrs["k_clipped"] == 1
        np.testing.assert_array_equal(one["k"], [1])
        for name in ("tail_mass", "row_l2_error", "row_linf_error", "output_error", "entropy_nats"):
            assert np.all(one[name][()] == 0.0), name
        for name in ("p_max", "sum_p_squared", "participation_ratio", "k_epsilon"):
            assert np.all(one[name][()] == 1.0), name
