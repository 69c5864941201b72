"""Trained indexers from the tensor file (`file:NAME`) against brute force, and what a bad one says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import PRECISION, Tensors
from command_line import assert_equal, asymptop, study
from numpy.typing import NDArray
from selector_reference import Array, Order, single
from test_study_selectors import COMMON, Row, check_row, datasets, tensors_of

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Index:
    """Queries (index heads, n, d), keys (n, d) and weights (index heads, n) of one index, as it serves one head."""

    q: Floats
    k: Floats
    w: Floats

    def order(self, position: int, visible: int, relu: bool = True, sinks: int = 0, recent: int = 0) -> Order:
        q, k, w = (part.astype(float) for part in (self.q[:, position], self.k[:visible], self.w[:, position]))
        products = q @ k.T
        priority = w @ (np.maximum(products, 0.0) if relu else products)
        size = np.abs(w) @ (np.abs(q) @ np.abs(k).T)
        for place, key in enumerate((*range(sinks), *range(visible - 1, visible - 1 - recent, -1))):
            priority[key] = 1e9 - place
        return Order(priority, single(visible), float(2.0**-20 * size.max()))


def index_of(rng: np.random.Generator, n: int, d: int, heads: int, whole: bool) -> Index:
    if whole:
        q, k, w = (rng.integers(-2, 3, shape).astype(np.float32) for shape in ((heads, n, d), (n, d), (heads, n)))
        return Index(q, k, w)
    return Index(
        rng.standard_normal((heads, n, d)).astype(np.float32),
        rng.standard_normal((n, d)).astype(np.float32),
        rng.standard_normal((heads, n)).astype(np.float32),
    )


def add(path: Path, name: str, q: Floats, k: Floats, w: Floats | None = None) -> None:
    with h5py.File(path, "a") as file:
        for part, values in (("q", q), ("k", k), ("w", w)):
            if values is not None:
                file[f"{name}_{part}"] = values


def check_orders(case: h5py.Group, tensors: Tensors, index: Index, whole: bool, **options: int) -> None:
    assert case.attrs["verdict"] == "VALID"
    q, k, v = (part[0].astype(float) for part in (tensors.q, tensors.k, tensors.v))
    for at in np.ndindex(case["row_n"].shape):
        visible, position = int(case["row_n"][at]), int(case["row_position"][at])
        logits = k[:visible] @ q[position]
        p: Array = np.exp(logits - logits.max())
        order = index.order(position, visible, **options)  # type: ignore[arg-type]
        if whole:
            order = Order(order.priority, order.entries, 0.0)
        check_row(case, at, Row(p / p.sum(), order, v[:visible], 0 if whole else 2), PRECISION + 1e-5)


SIZES = [
    (300, 8, 5, 3, True, "1,2,n^0.5,150,n"),  # ReLU and small whole numbers: many ties
    (333, 17, 70, 2, False, "1,2,n^0.5,166,n"),
    (20, 4, 1, 1, True, "1,2,n^0.5,10,n"),
    (5001, 9, 6, 4, False, "1,n^0.5,500"),
]


@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize(("n", "d", "width", "heads", "whole", "ks"), SIZES)
def test_brute_force(n: int, d: int, width: int, heads: int, whole: bool, ks: str, mask: str, tmp_path: Path) -> None:
    rng = np.random.default_rng([31, n])
    tensors = tensors_of(rng, n, d, whole)
    file = tensors.write(tmp_path / "tensors.h5")
    index = index_of(rng, n, width, heads, whole)
    add(file, "dsa", index.q.astype(np.float64), index.k, index.w)
    add(file, "plain", index.q, index.k)
    ones = Index(index.q, index.k, np.ones_like(index.w))
    forced = {"sinks": 2, "recent": 3} if n > 100 else {}
    with_forced = "file:dsa" + "".join(f":{key}={value}" for key, value in forced.items())
    selectors = ["score", "file:dsa", "file:dsa:relu=off", "file:plain", *([with_forced] if forced else [])]
    options = ["--input", file, "--n", str(n), "--mask", mask, "--selectors", ",".join(selectors)]
    rows = ["--rows", str(min(4, n // 6)), "--draws", "2", "--k", ks, *COMMON]
    with h5py.File(study(tmp_path / "results.h5", [*options, *rows])) as read:
        cases = {str(case.attrs.get("selector", "score")): case for case in read["cases"].values()}
        assert set(cases) == set(selectors)
        check_orders(cases["file:dsa"], tensors, index, whole)
        check_orders(cases["file:dsa:relu=off"], tensors, index, whole, relu=False)
        check_orders(cases["file:plain"], tensors, ones, whole)
        assert [cases["file:dsa"].attrs[name] for name in ("index_d", "index_heads")] == [width, heads]
        if forced:
            check_orders(cases[with_forced], tensors, index, whole, **forced)


def test_queries_and_keys_as_an_index_are_the_oracle(tmp_path: Path) -> None:
    """Of every head by itself, in groups that share key heads, and with an axis of one index head or none."""
    rng = np.random.default_rng(32)
    n, heads = 260, 4
    q = rng.standard_normal((heads, n, 8)).astype(np.float32)
    k, v = (rng.standard_normal((2, n, 8)).astype(np.float32) for _ in range(2))
    file = Tensors(q, k, v, 1.0).write(tmp_path / "tensors.h5")
    add(file, "of_k", q[:, None], k)
    add(file, "of_q", q, np.repeat(k, 2, axis=0), np.ones((heads, n)))
    options = [
        "--input",
        file,
        "--n",
        str(n),
        "--mask",
        "causal",
        "--selectors",
        "score,file:of_k:relu=off,file:of_q:relu=off",
    ]
    rows = ["--rows", "5", "--draws", "2", "--k", "3,n^0.5", *COMMON]
    with h5py.File(study(tmp_path / "results.h5", [*options, *rows])) as read:
        cases = read["cases"]
        for head in range(heads):
            exact = datasets(cases[f"n{n}-d8-head{head}-causal"])
            for name in ("of_k", "of_q"):
                assert datasets(cases[f"n{n}-d8-head{head}-causal-file-{name}-relu=off"]) == exact


def test_groups_that_choose_together_leave_an_index_as_it_is(tmp_path: Path) -> None:
    """It says itself which heads it serves."""
    rng = np.random.default_rng(38)
    q, k, v = (rng.standard_normal((heads, 128, 4)).astype(np.float32) for heads in (2, 1, 1))
    file = Tensors(q, k, v).write(tmp_path / "tensors.h5")
    index = index_of(rng, 128, 5, 2, whole=False)
    add(file, "index", index.q, index.k, index.w)
    options = ["--input", file, "--n", "128", "--selectors", "file", "--k", "4", "--rows", "4", "--draws", "2", *COMMON]
    alone = study(tmp_path / "alone.h5", options)
    assert_equal(alone, study(tmp_path / "group.h5", [*options, "--share-selection", "group"]))


def test_axes_of_matlab(tmp_path: Path) -> None:
    rng = np.random.default_rng(33)
    tensors, index = tensors_of(rng, 150, 6, whole=False), index_of(rng, 150, 5, 3, whole=False)
    straight, turned = (tensors.write(tmp_path / name / "tensors.h5") for name in folders(tmp_path))
    add(straight, "index", index.q, index.k, index.w)
    with h5py.File(turned, "a") as file:
        for part, values in (("q", index.q), ("k", index.k), ("w", index.w)):
            file[f"index_{part}"] = values.T
            file[f"index_{part}"].attrs["MATLAB_class"] = np.bytes_("single")
    results = []
    for file in (straight, turned):
        options = ["--input", file, "--n", "150", "--selectors", "file", "--k", "4", "--rows", "4", "--draws", "2"]
        results.append(study(file.parent / "results.h5", [*options, *COMMON]))
    assert_equal(*results)


def folders(path: Path) -> list[str]:
    names = ["straight", "turned"]
    for name in names:
        (path / name).mkdir()
    return names


@pytest.mark.parametrize("path", ["fused", "blas-tile"])
def test_same_bytes_over_ranks_threads_and_storage(path: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(34)
    file = tensors_of(rng, 900, 12, whole=False).write(tmp_path / "tensors.h5")
    whole, real = (index_of(rng, 900, 7, 3, whole) for whole in (True, False))
    add(file, "ties", whole.q, whole.k, whole.w)
    add(file, "real", real.q, real.k, real.w)
    options = [
        "--input",
        file,
        "--n",
        "100,900",
        "--mask",
        "causal",
        "--selectors",
        "score,file:ties,file:real:sinks=3",
    ]
    options += ["--k", "5,n^0.75", "--rows", "7", "--draws", "2", *COMMON, "--path", path]
    one = study(tmp_path / "one.h5", options)
    for ranks, keys, threads in ((2, "resident", 2), (3, "streamed", 1)):
        assert_equal(one, study(tmp_path / "more.h5", [*options, "--keys", keys], ranks=ranks, threads=threads))


Q, K = (2, 64, 3), (64, 3)
BAD_SHAPES = {
    "no queries": ((None, K, None), "has no dataset index_q; a selector file:NAME reads NAME_q and NAME_k"),
    "no keys": ((Q, None, None), "has no dataset index_k"),
    "short keys": ((Q, (63, 3), None), "has a dataset index_k of shape (63, 3); it must be (64, d), or (heads, 64, d)"),
    "heads of keys": ((Q, (5, 64, 3), None), "with 1 heads, d from 1 to 4096"),
    "another width": (
        ((2, 64, 4), K, None),
        "has a dataset index_q of shape (2, 64, 4); it must be (64, 3) or (index heads, 64, 3)",
    ),
    "queries without heads": (((64, 3), (1, 64, 3), None), "it must be (heads, 64, 3) or (heads, index heads, 64, 3)"),
    "weights": (
        (Q, K, (64, 2)),
        "has a dataset index_w of shape (64, 2); it must be (2, 64), as index_q is (2, 64, 3)",
    ),
}


@pytest.mark.parametrize("what", BAD_SHAPES)
def test_a_bad_shape_is_one_line(what: str, tmp_path: Path) -> None:
    shapes, message = BAD_SHAPES[what]
    file = tensors_of(np.random.default_rng(35), 64, 4, whole=True).write(tmp_path / "tensors.h5")
    with h5py.File(file, "a") as write:
        for part, shape in zip("qkw", shapes, strict=True):
            if shape is not None:
                write[f"index_{part}"] = np.ones(shape)
    for more in ([], ["--dry-run"]):
        refuse(tmp_path, ["--input", file, "--n", "64", "--selectors", "file", *more], message)


@pytest.mark.parametrize(
    ("part", "at", "message"),
    [
        ("q", (1, 133, 2), "has a NaN or infinity in index_q at index head 1, row 133, column 2"),
        ("k", (140, 1), "has a NaN or infinity in index_k at row 140, column 1"),
        ("w", (0, 63), "has a NaN or infinity in index_w at index head 0, row 63, column 0"),
    ],
)
def test_values_that_are_not_finite(part: str, at: tuple[int, ...], message: str, tmp_path: Path) -> None:
    file = tensors_of(np.random.default_rng(36), 192, 4, whole=False).write(tmp_path / "tensors.h5")
    values = {"q": np.ones((2, 192, 3)), "k": np.ones((192, 3)), "w": np.ones((2, 192))}
    values[part][at] = np.inf if part == "k" else np.nan
    add(file, "index", values["q"], values["k"], values["w"])
    refuse(tmp_path, ["--input", file, "--n", "192", "--selectors", "file"], message, ranks=2)


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    file = tensors_of(np.random.default_rng(37), 64, 4, whole=False).write(tmp_path / "tensors.h5")
    add(file, "index", np.ones(Q, np.int32), np.ones(K))
    refuse(
        tmp_path, ["--input", file, "--n", "64", "--selectors", "file"], "index_q that is neither float32 nor float64"
    )


def test_an_index_needs_tensors(tmp_path: Path) -> None:
    refuse(tmp_path, ["--n", "64", "--selectors", "file:dsa"], "'file:dsa' needs --input, a tensor file with an index")


def test_parameters(tmp_path: Path) -> None:
    for entry, message in {
        "file:a.b": "has name=a.b, which is no name of datasets: up to 64 letters, digits, _ and -",
        "file:dsa:relu=yes": "has relu=yes, which is neither on nor off",
        "file:dsa:page=4": "gives file a parameter 'page'; it takes name, relu, sinks, recent",
    }.items():
        refuse(tmp_path, ["--n", "64", "--selectors", entry], message)


def refuse(folder: Path, options: list[str | Path], message: str, ranks: int = 1) -> None:
    size = ("--k", "2", "--rows", "2", "--draws", "1", "--block", "64")
    outcome = asymptop("study", *options, *size, "-o", folder / "no.h5", ranks=ranks)
    assert outcome.code == 2, str(outcome)
    assert message in outcome.stderr
    if ranks == 1:  # mpirun has more to say
        assert outcome.stderr.count("\n") == 1
    assert not (folder / "no.h5").exists()
