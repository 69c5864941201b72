"""Values with a common offset, and extreme ones: output errors against float64, or INVALID with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import Array, Tensors, contexts_of, difference, in_fp32, norm, softmax_row
from command_line import assert_equal, study
from model_files import ModelFile, random_model
from test_model_selectors import BOUNDS, HEAD, RANDOM, TABLES, THRESHOLDS, Loaded, gemma
from test_model_selectors import check_case as check_selector
from test_study_estimators import SEED
from test_study_selectors import COMMON

WAY = np.random.default_rng(180).standard_normal(16)
SINKS = np.array([-9.0, 2.0, 7.0, 900.0])
WORDS = ["--n", "350", "--draws", "2", "--rows", "6", "--k", "1,9,n^0.5,180", "--block", "64"]


def with_values(model: ModelFile, of: Callable[[Array], Array]) -> ModelFile:
    def moved(tensors: Tensors) -> Tensors:
        return replace(tensors, v=of(tensors.v.astype(np.float64)).astype(np.float32))

    return replace(model, texts=[{layer: moved(t) for layer, t in layers.items()} for layers in model.texts])


def check_outputs(case: h5py.Group, model: ModelFile, precision: float) -> None:
    """In float64, with what the file's values share taken off: they are what fp32 has of them."""
    assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
    tensors, head = model.of_layer(int(case.attrs["layer"])), int(case.attrs["head"])
    sink, begins = float(case.attrs.get("sink_logit", -np.inf)), contexts_of(case)[1]
    for at in np.ndindex(case["row_position"].shape):
        of, own = tensors[0], int(case["row_position"][at])
        first = max(own + 1 - int(case["row_n"][at]), int(begins[at[0]]))
        keys, values = (in_fp32(x[head // 2, first : own + 1]) for x in (of.k, of.v))
        middle = np.median(values, axis=0)
        row = softmax_row(in_fp32(of.q[head, own]), keys, values - middle, of.logit_scale(), sink=sink)
        # A sink beyond float64 leaves nothing to keys: relative errors are those of the limit.
        lost = row.log_sum_exp - row.logits[0] > 709.0
        for i, k in enumerate(case["k"][()].tolist()):
            kept = float(np.sum(row.p[:k]))
            of_offset = middle * (row.tail_mass(k) * row.sink_mass / (kept + row.sink_mass))
            error = norm(difference(row, k) @ row.values + of_offset)
            relative = norm(row.among[k:] @ (row.values[k:] + middle)) if lost else error
            whole = norm(row.among @ (row.values + middle)) * (1.0 if lost else float(np.sum(row.p)))
            name = f"{case.name} {at} k={k}"
            # Where the offset's part takes away most of the rest, that much is rounded.
            allowed = precision + 1e-7 * norm(of_offset) / error if error > 0.0 else precision
            for field, expected in (
                ("output_error", 0.0 if lost else error),
                ("output_error_relative", relative / whole),
            ):
                np.testing.assert_allclose(case[field][(*at, i)], expected, rtol=allowed, err_msg=f"{name} {field}")


FORMS: dict[str, Callable[[Array], Array]] = {
    "1e5": lambda v: v + 1e5 * WAY,
    "12": lambda v: v + 12.0 * WAY,
    "1e38": lambda v: 7e37 * v,
    "1e-20": lambda v: 1e-20 * v,
    "1e-42": lambda v: 1e-42 * v,
    "all": lambda v: 1e32 * (v + 1e5 * WAY),
    # As where a text begins, of another size than the others: they are still the offset of most.
    "first": lambda v: np.where(np.arange(v.shape[1])[:, None] == 3, 0.0, v + 1e4 * WAY),
}


@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_output_errors(form: str, sinks: bool, tmp_path: Path) -> None:
    """With learned sinks an offset is in the errors, by as much as kept weights and all of them differ."""
    model = with_values(random_model(np.random.default_rng(181), texts=1, layers=(0,), n=400, d=16), FORMS[form])
    model = replace(model, datasets={0: {"sinks": SINKS}} if sinks else {})
    heads = "1,2,3" if sinks else "2"
    with h5py.File(
        study(tmp_path / "r.h5", ["--input", model.write(tmp_path / "m.h5"), *WORDS, "--heads", heads])
    ) as file:
        assert len(file["cases"]) == len(heads.split(","))
        for case in file["cases"].values():
            check_outputs(case, model, 3e-6)


def test_few_logits_apart(tmp_path: Path) -> None:
    """Nearly uniform weights of the largest numbers that fp32 has: their sums do not overflow."""
    model = with_values(
        random_model(np.random.default_rng(182), texts=1, layers=(0,), n=400, d=16), lambda v: 3.4e38 * np.sign(v)
    )
    model = replace(model, texts=[{0: replace(t[0], q=1e-3 * t[0].q)} for t in model.texts])
    with h5py.File(
        study(tmp_path / "r.h5", ["--input", model.write(tmp_path / "m.h5"), *WORDS, "--heads", "0"])
    ) as file:
        for case in file["cases"].values():
            check_outputs(case, model, 1e-5)


@pytest.mark.parametrize("sinks", [False, True])
def test_selectors(sinks: bool, tmp_path: Path) -> None:
    """Every way in which kept values are added up, within what is allowed of outputs with an offset of 30 in them."""
    names = ("score", "window", "shard-share:P=5", "twilight", *THRESHOLDS, *RANDOM, *BOUNDS, *TABLES)
    model = gemma(np.random.default_rng(183), 360, 100, 0.0, (1.0, 4.0) if sinks else ())
    model = with_values(replace(model, attributes={0: {"window": 100}}), lambda v: v + 10.0 * WAY[: v.shape[2]])
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "300", "--heads", str(HEAD), "--seed", str(SEED)]
    words += ["--rows", "2", "--draws", "1", "--k", "1,n^0.5,90,n", "--selectors", ",".join(names), *COMMON]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        found = []
        for case in file["cases"].values():
            found.append(str(case.attrs.get("selector", "score")))
            if found[-1] == "score":
                check_outputs(case, model, 3e-6)
            else:
                check_selector(Loaded(case), model, found[-1])
        assert len(found) == 2 * len(names)


def test_selectors_know_no_offset(tmp_path: Path) -> None:
    """Their errors are what they are without it, to what is known of outputs without it. All values are whole multiples
    of 1/64, of which fp32 has those at 4096: nothing is rounded."""
    names = "quest,random,vattention:sinks=9:recent=9,magicpig,twilight,threshold,h2o:queries=30,shard-share:P=3"
    plain = random_model(np.random.default_rng(184), texts=1, layers=(0,), n=400, d=16)
    plain = with_values(plain, lambda v: np.round(64.0 * v) / 64.0)
    files = []
    for i, model in enumerate(
        (plain, with_values(plain, lambda v: v + 4096.0), with_values(plain, lambda v: 2.0**-70 * v))
    ):
        words = ["--input", model.write(tmp_path / f"m{i}.h5"), *WORDS, "--heads", "2", "--selectors", names]
        files.append(study(tmp_path / f"r{i}.h5", words))
    with h5py.File(files[0]) as of, h5py.File(files[1]) as moved, h5py.File(files[2]) as small:
        assert len(of["cases"]) == 8
        for name, case in of["cases"].items():
            # Outputs have norms of about 1.
            np.testing.assert_allclose(moved["cases"][name]["output_error"], case["output_error"], rtol=0.0, atol=1e-6)
            for field in ("output_error_relative", "tail_mass"):
                np.testing.assert_allclose(small["cases"][name][field], case[field], rtol=1e-5, atol=1e-7, err_msg=name)
            np.testing.assert_allclose(
                small["cases"][name]["output_error"],
                2.0**-70 * case["output_error"][()],
                rtol=1e-5,
                atol=1e-7 * 2.0**-70,
            )


def halves(v: Array, size: float) -> Array:
    """An offset that turns half-way: of no use to most rows, but rows in a window see one side of it alone."""
    return v + size * np.where(np.arange(v.shape[1]) < 200, -1.0, 1.0)[:, None] * WAY


def one_far(v: Array) -> Array:
    return np.where(np.arange(v.shape[1])[:, None] == 10, 1e30 * v, v)


@pytest.mark.parametrize(("of", "window"), [(lambda v: halves(v, 1e5), 60), (one_far, 60), (one_far, 0)])
def test_too_few_digits(of: Callable[[Array], Array], window: int, tmp_path: Path) -> None:
    """Also where a value that some contexts do not see takes the digits of all others."""
    model = with_values(random_model(np.random.default_rng(185), texts=1, layers=(0,), n=400, d=16), of)
    model = replace(model, attributes={0: {"window": window}} if window else {})
    words = ["--input", model.write(tmp_path / "m.h5"), *WORDS, "--heads", "2", "--selectors", "score,quest"]
    with h5py.File(study(tmp_path / "r.h5", words, code=1)) as file:
        assert len(file["cases"]) == 2
        for case in file["cases"].values():
            assert case.attrs["verdict"] == "INVALID"
            assert case.attrs["verdict_reason"].startswith("output_rounding ")
            assert "fp32 keeps too few digits of the means of V" in case.attrs["verdict_reason"]


def test_rows_before_a_far_one(tmp_path: Path) -> None:
    """Those that see it have nearly all of the errors, and the others none of the digits of their relative ones."""
    model = random_model(np.random.default_rng(188), texts=1, layers=(0,), n=400, d=16)
    model = with_values(model, lambda v: np.where(np.arange(v.shape[1])[:, None] == 375, 1e14 * v, v))
    words = ["--input", model.write(tmp_path / "m.h5"), "--n", "400", "--draws", "1", "--rows", "40", "--k", "1,9"]
    with h5py.File(study(tmp_path / "r.h5", [*words, "--block", "64", "--heads", "2"], code=1)) as file:
        (case,) = file["cases"].values()
        assert (case["row_position"][()] < 375).any()
        assert (case["row_position"][()] >= 375).any()
        assert case.attrs["verdict_reason"].startswith("output_rounding ")


@pytest.mark.parametrize("shared", [0.0, 1.0], ids=["nothing", "one"])
def test_rows_that_see_equal_values_alone(tmp_path: Path, shared: float) -> None:
    """Such rows have no error at all, beside others that do: nothing is lost."""
    model = random_model(np.random.default_rng(189), texts=1, layers=(0,), n=350, d=16)
    model = with_values(model, lambda v: np.where(np.arange(v.shape[1])[:, None] < 328, shared * v[:, :1], v))
    words = ["--n", "350", "--draws", "2", "--rows", "40", "--k", "1,9,180", "--block", "64", "--mask", "causal"]
    with h5py.File(study(tmp_path / "r.h5", ["--input", model.write(tmp_path / "m.h5"), *words])) as file:
        for case in file["cases"].values():
            assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
            equal = case["row_position"][()] < 328
            assert equal.any()
            assert (case["output_error"][()][equal] == 0.0).all()
            assert (case["output_error"][()][~equal] > 0.0).all()


def test_what_rounding_may_be(tmp_path: Path) -> None:
    """`output_error_rounding` bounds how far errors are off, where some digits are left."""
    model = with_values(
        random_model(np.random.default_rng(186), texts=1, layers=(0,), n=400, d=16), lambda v: halves(v, 300.0)
    )
    model = replace(model, attributes={0: {"window": 60}})
    words = ["--input", model.write(tmp_path / "m.h5"), *WORDS, "--heads", "2"]
    with h5py.File(study(tmp_path / "r.h5", words)) as file:
        (case,) = file["cases"].values()
        tensors = model.of_layer(0)[0]
        for at in np.ndindex(case["row_position"].shape):
            own, seen = int(case["row_position"][at]), int(case["row_n"][at])
            keys, values = (in_fp32(x[1, own + 1 - seen : own + 1]) for x in (tensors.k, tensors.v))
            row = softmax_row(in_fp32(tensors.q[2, own]), keys, values - values[0], tensors.logit_scale())
            for i, k in enumerate(case["k"][()].tolist()):
                error = norm(difference(row, k) @ row.values) if k < seen else 0.0
                measured, rounding = (
                    float(case["output_error"][(*at, i)]),
                    float(case["output_error_rounding"][(*at, i)]),
                )
                assert abs(measured - error) <= rounding + 1e-6 * error
                assert rounding <= 2.0**-10 * error


def test_same_bytes_over_ranks_and_storage(tmp_path: Path) -> None:
    model = with_values(random_model(np.random.default_rng(187), texts=2, layers=(0,), n=500, d=16), FORMS["all"])
    model = replace(model, datasets={0: {"sinks": SINKS}})
    words = [
        "--input",
        str(model.write(tmp_path / "m.h5")),
        "--n",
        "450",
        "--heads",
        "1",
        "--rows",
        "5",
        "--draws",
        "3",
        "--k",
        "1,16,n^0.5",
    ]
    words += ["--selectors", "score,quest,threshold,vattention:sinks=9:recent=9", *COMMON]
    one = study(tmp_path / "one.h5", words)
    assert_equal(one, study(tmp_path / "three.h5", [*words, "--keys", "streamed", "--batch-rows", "2"], ranks=3))
    with h5py.File(one) as file, h5py.File(study(tmp_path / "tile.h5", [*words, "--path", "blas-tile"])) as tile:
        for name, case in tile["cases"].items():
            of_file = file["cases"][name]["output_error"]
            np.testing.assert_allclose(
                case["output_error"], of_file, rtol=1e-5, atol=1e-6 * np.max(of_file), err_msg=name
            )
