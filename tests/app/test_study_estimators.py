"""Estimators (selectors whose kept keys have weights) against brute force, and what holds for them on average."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import Tensors
from command_line import study
from estimator_reference import Bound, Tables, Weighted, permutation, random_keys, row_name
from test_study_selectors import COMMON, SHAPES_OF_SETS, assert_refused, tensors_of

SEED = 5
# What selects, and as text: vAttention with a window, without one, with a bound that asks for more than there is.
RANDOM = {"random": (0, 0), "random:sinks=3": (3, 0), "random:sinks=2:recent=7": (2, 7), "random:sinks=400": (400, 0)}
BOUNDS = {
    "vattention:sinks=4:recent=8": Bound(4, 8, 0.02, 0.1, 0.1),
    "vattention:sinks=0:recent=0:base=0.3:epsilon=0.5": Bound(0, 0, 0.3, 0.5, 0.1),
    "vattention:sinks=0:recent=3:epsilon=0.3:delta=0.4": Bound(0, 3, 0.02, 0.3, 0.4),
    "vattention:sinks=1:recent=1:epsilon=1e-6": Bound(1, 1, 0.02, 1e-6, 0.1),
    "vattention": Bound(128, 128, 0.02, 0.1, 0.1),
}
# Few tables, whose signs numpy's fp64 finds like the binary's fp32; few bits, so that most keys are kept.
TABLES = {
    "magicpig:K=4:L=12:sinks=1:recent=2": Tables(4, 12, 1, 2),
    "magicpig:K=2:L=9:sinks=0:recent=0": Tables(2, 9, 0, 0),
    "magicpig:K=16:L=3:sinks=700:recent=0": Tables(16, 3, 700, 0),
}
ALL = ",".join(("score", *RANDOM, *BOUNDS, *TABLES))
WITHOUT_ORDER = ("row_l2_error", "row_linf_error", "k_epsilon", "regret", "recall")


def study_of(tmp_path: Path, tensors: Tensors, n: int, mask: str, ks: str, rows: int) -> Path:
    file = tensors.write(tmp_path / "tensors.h5")
    what = ("--input", file, "--n", str(n), "--mask", mask, "--seed", str(SEED), "--selectors", ALL)
    return study(tmp_path / "results.h5", [*what, "--rows", str(rows), "--draws", "2", "--k", ks, *COMMON])


def check_numbers(
    case: h5py.Group,
    at: tuple[int, int, int],
    kept: Weighted,
    e: np.ndarray,
    values: np.ndarray,
    known: float = 1e-12,
    sink: float = 0.0,
) -> None:
    """The numbers at one k; e: of the keys that the row sees; known: how well the tail mass is; sink: as e."""
    assert int(case["kept"][at]) == len(kept.keys)
    tail = float(np.delete(e, kept.keys).sum() / (e.sum() + sink))
    assert float(case["tail_mass"][at]) == pytest.approx(tail, rel=3e-5, abs=known)
    scale = 1e-5 * float(kept.weights.max(initial=1.0))
    assert float(case["denominator_error"][at]) == pytest.approx(kept.denominator_error(e, sink), rel=1e-4, abs=scale)
    error = kept.output_error(e, values, sink)
    assert float(case["output_error"][at]) == pytest.approx(error, rel=1e-4, abs=1e-5)
    if len(kept.keys) == len(e) and np.all(kept.weights == 1.0):
        numbers = ("tail_mass", "denominator_error", "output_error", "output_error_relative")
        assert [float(case[name][at]) for name in numbers] == [0.0] * 4


def check_k_epsilon(case: h5py.Group, at: tuple[int, int], order: np.ndarray, e: np.ndarray, sink: float = 0.0) -> None:
    """Keys of the smallest first part of an order that leaves epsilon, to the last key."""
    p = e[order] / (e.sum() + sink)
    tails = np.append(np.cumsum(p[::-1])[::-1], 0.0)
    for epsilon, found in zip(case["epsilon"][:], case["k_epsilon"][at], strict=True):
        least, most = (int(np.argmax(tails <= epsilon * factor)) for factor in (1.0 + 3e-5, 1.0 - 3e-5))
        assert least <= int(found) <= most


def check_case(
    case: h5py.Group, tensors: Tensors, kept_of: Callable[[np.ndarray, np.ndarray, int, int], Weighted]
) -> None:
    """kept_of(order, e, k, keys that the file says are kept)."""
    assert case.attrs["verdict"] == "VALID"
    q, k, v = (part[0].astype(float) for part in (tensors.q, tensors.k, tensors.v))
    d = k.shape[1]
    for draw, row in np.ndindex(case["row_n"].shape):
        visible, position = int(case["row_n"][draw, row]), int(case["row_position"][draw, row])
        logits = k[:visible] @ q[position]
        e = np.exp(logits - logits.max())
        order = permutation(row_name(SEED, draw, int(case.attrs["n"]), d, 0, row), visible)
        assert sorted(order) == list(range(visible))
        for i, budget in enumerate(case["k"][:]):
            kept = kept_of(order, e, min(int(budget), visible), int(case["kept"][draw, row, i]))
            check_numbers(case, (draw, row, i), kept, e, v[:visible])
        if "k_epsilon" in case:
            whole = kept_of(order, e, visible, visible).keys
            check_k_epsilon(case, (draw, row), whole, e)


@pytest.mark.parametrize(("n", "d", "whole", "ks", "mask"), SHAPES_OF_SETS)
def test_brute_force(n: int, d: int, whole: bool, ks: str, mask: str, tmp_path: Path) -> None:
    tensors = tensors_of(np.random.default_rng([19, n]), n, d, whole)
    with h5py.File(study_of(tmp_path, tensors, n, mask, ks, min(4, n // 6))) as read:
        cases = {case.attrs.get("selector", "score"): case for case in read["cases"].values()}
        for name, (sinks, recent) in RANDOM.items():
            check_case(
                cases[name],
                tensors,
                lambda order, _e, k, _kept, s=sinks, r=recent: random_keys(order, k, s, r),
            )
        for name, bound in BOUNDS.items():

            def sampled(order: np.ndarray, e: np.ndarray, k: int, kept: int, bound: Bound = bound) -> Weighted:
                others = bound.others(order, e, k)
                drawn = kept - len(bound.forced(e, k))
                wanted = np.clip(bound.count(others, e), bound.base_count(len(others)), len(others))
                assert drawn == pytest.approx(np.ceil(wanted), rel=1e-4, abs=1.0)
                return bound.kept(order, e, k, drawn)

            check_case(cases[name], tensors, sampled)
            assert not any(field in cases[name] for field in WITHOUT_ORDER)
        assert "denominator_error" not in cases["score"]
        # A bound that no sample meets at k = 1, and a window of all keys: all are kept.
        seen = cases["score"]["row_n"][:]
        assert np.all(cases["vattention:sinks=1:recent=1:epsilon=1e-6"]["kept"][:, :, 0] == seen)
        assert n > 256 or np.all(cases["vattention"]["kept"][:] == seen[:, :, None])


@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize(("n", "d", "whole"), [(600, 8, True), (333, 17, False), (20, 4, True)])
def test_hash_tables(n: int, d: int, whole: bool, mask: str, tmp_path: Path) -> None:
    """Rows in which a sign hangs on fp32's rounding are compared by how many keys they keep alone."""
    tensors = tensors_of(np.random.default_rng([20, n]), n, d, whole)
    q, k, v = (part[0].astype(float) for part in (tensors.q, tensors.k, tensors.v))
    compared = 0
    with h5py.File(study_of(tmp_path, tensors, n, mask, "1,n^0.5", min(8, n // 6))) as read:
        cases = {case.attrs.get("selector", "score"): case for case in read["cases"].values()}
        for name, tables in TABLES.items():
            case = cases[name]
            assert case.attrs["verdict"] == "VALID"
            assert not any(field in case for field in WITHOUT_ORDER)
            for draw, row in np.ndindex(case["row_n"].shape):
                visible, position = int(case["row_n"][draw, row]), int(case["row_position"][draw, row])
                logits = k[:visible] @ q[position]
                e = np.exp(logits - logits.max())
                kept, close = tables.kept(q[position], k[:visible], k.mean(axis=0), tables.planes(SEED, draw, n, d))
                assert abs(int(case["kept"][draw, row, 0]) - len(kept.keys)) <= (3 if close else 0)
                for i in range(0 if close else len(case["k"])):
                    check_numbers(case, (draw, row, i), kept, e, v[:visible], known=2e-6)
                    compared += 1
    assert compared > 10


def test_one_key(tmp_path: Path) -> None:
    arguments = ["--n", "1,2", "--d", "4", "--sigma", "2", "--k", "1", "--rows", "3", "--draws", "2", *COMMON]
    with h5py.File(study(tmp_path / "results.h5", [*arguments, "--selectors", ALL])) as read:
        for case in read["cases"].values():
            assert case.attrs["verdict"] == "VALID"
            if int(case.attrs["n"]) == 1 and "kept" in case and not case.attrs["selector"].startswith("magicpig"):
                assert np.all(case["kept"][:] == 1)
                assert np.all(case["denominator_error"][:] == 0.0)
                assert np.all(case["output_error"][:] == 0.0)


def signed_errors(case: h5py.Group) -> np.ndarray:
    """D^/D - 1 of (draw, row, k), from tail mass, kept keys and forced ones: 0 forced keys."""
    kept, tail = case["kept"][:].astype(float), case["tail_mass"][:]
    return (1.0 - tail) * case["row_n"][:][:, :, None] / kept - 1.0


def test_random_is_unbiased(tmp_path: Path) -> None:
    """The mean of D^/D is 1 for any input, within four standard errors."""
    arguments = ["--n", "1000", "--d", "16", "--sigma", "1", "--k", "50,400", "--rows", "32", "--draws", "64", *COMMON]
    with h5py.File(study(tmp_path / "results.h5", [*arguments, "--selectors", "random", "--seed", "7"])) as read:
        case = read["cases/n1000-d16-sigma1-random"]
        signed = signed_errors(case)
        assert np.allclose(np.abs(signed), case["denominator_error"][:], atol=1e-9)
        means = signed.mean(axis=1)
        assert np.all(np.abs(means.mean(axis=0)) < 4.0 * means.std(axis=0, ddof=1) / np.sqrt(len(means)))
        # Without forced keys the weights cancel: the output is that of the renormalised set.
        assert np.all(case["output_error"][:] > 0.0)


def test_vattention_is_unbiased(tmp_path: Path) -> None:
    """Where what was drawn does not decide the size of the sample: z_(1/2) = 0 asks for the base sample alone.
    The forced keys are the k best here, whose mass exact top-k says."""
    bound = "vattention:sinks=0:recent=0:base=0.05:delta=0.5"
    arguments = ["--n", "1000", "--d", "16", "--sigma", "2", "--k", "4,50", "--rows", "32", "--draws", "64", *COMMON]
    with h5py.File(
        study(tmp_path / "results.h5", [*arguments, "--selectors", f"score,{bound}", "--seed", "7"])
    ) as read:
        exact, case = sorted(read["cases"].values(), key=lambda one: "kept" in one)
        k, n, rest = exact["k"][:], 1000, exact["tail_mass"][:]
        weights = (n - k) / (case["kept"][:] - k)
        signed = weights * (rest - case["tail_mass"][:]) - rest
        assert np.allclose(np.abs(signed), case["denominator_error"][:], atol=1e-7)
        means = signed.mean(axis=1)
        assert np.all(np.abs(means.mean(axis=0)) < 4.0 * means.std(axis=0, ddof=1) / np.sqrt(len(means)))


def test_magicpig_is_close(tmp_path: Path) -> None:
    """The weighted denominator of most rows, over draws, which have other hyperplanes."""
    arguments = ["--n", "1000", "--d", "16", "--sigma", "1", "--k", "4", "--rows", "8", "--draws", "200", *COMMON]
    selector = "magicpig:K=3:L=10:sinks=0:recent=0"
    arguments += ["--selectors", selector, "--output-error", "off", "--seed", "7"]
    with h5py.File(study(tmp_path / "results.h5", arguments)) as read:
        (case,) = read["cases"].values()
        error, kept = case["denominator_error"][:, :, 0], case["kept"][:, :, 0]
        # Weights are over 1, and few rows are far off.
        assert 200 < kept.mean() < 900
        assert np.quantile(error, 0.9) < 0.5
        assert np.median(error) < 0.1


def test_vattention_keeps_its_promise(tmp_path: Path) -> None:
    """Gaussian logits of sigma 1: the bound is that of one side, so both are missed in at most about twice delta of the
    rows, and in fewer where the base sample is larger than the bound asks for."""
    bound = "vattention:sinks=0:recent=0:epsilon=0.1:delta=0.1"
    arguments = ["--n", "4096", "--d", "16", "--sigma", "1", "--k", "1,64", "--rows", "64", "--draws", "16", *COMMON]
    arguments += ["--selectors", bound, "--output-error", "off"]
    with h5py.File(study(tmp_path / "results.h5", arguments)) as read:
        (case,) = read["cases"].values()
        error = case["denominator_error"][:]
        share, rows = (error > 0.1).mean(axis=(0, 1)), error[..., 0].size
        assert np.all(share < 0.2 + 4.0 * np.sqrt(0.2 * 0.8 / rows))
        assert np.all(share > 0.02)
        assert case["kept"][:].mean() < 1024


BAD = {
    "random:sinks=-1": "has sinks=-1, which is no whole number",
    "random:page=4": "gives random a parameter 'page'; it takes sinks, recent",
    "vattention:epsilon=0": "has epsilon=0, which is no number over 0, at most 1.0",
    "vattention:delta=0.7": "has delta=0.7, which is no number over 0, at most 0.5",
    "vattention:base=x": "has base=x, which is no number over 0, at most 1.0",
    "magicpig:K=17": "has K=17, which is no whole number from 1 to 16",
    "magicpig:L=1": "has L=1, which is no whole number from 2 to 1024",
}


@pytest.mark.parametrize("entry", BAD)
def test_a_bad_entry_is_one_line(entry: str, tmp_path: Path) -> None:
    assert_refused(entry, BAD[entry], tmp_path)
