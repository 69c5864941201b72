"""asymptop attend against plain numpy in float64, and the same bytes for every number of ranks and threads.

Queries, keys and values come from a file, so that numpy has the same ones. Outputs, errors and norms may differ by
rounding: 1e-5, the stated precision of sums of fp32 exponentials, and a few 2^-24 of the largest logit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import Outcome, assert_equal, asymptop, compare
from numpy.typing import NDArray
from test_bad_input import check_refused

Array = NDArray[np.float64]
LAYOUTS = [(1, 2), (2, 1), (3, 1), (4, 1), (5, 1), (7, 1), (8, 1), (2, 2)]
KS = "1,20,n^0.7,n"


def attend(folder: Path, *arguments: str | Path, ranks: int = 1, threads: int = 1, code: int = 0) -> Outcome:
    outcome = asymptop("attend", *arguments, "--block", "64", ranks=ranks, threads=threads, cwd=folder)
    assert outcome.code == code, str(outcome)
    return outcome


@dataclass(frozen=True)
class Inputs:
    """One head, or several in front of one another, as they are stored, fp32."""

    q: NDArray[np.float32]
    k: NDArray[np.float32]
    v: NDArray[np.float32]

    def write(self, path: Path) -> Path:
        with h5py.File(path, "w") as file:
            for name, values in (("Q", self.q), ("K", self.k), ("V", self.v)):
                file[name] = values
        return path


def normal_inputs(n: int, d: int, seed: int, spread: float = 1.0) -> Inputs:
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((n, d)).astype(np.float32) for _ in range(3))
    return Inputs((spread * q).astype(np.float32), k, v)


def stacked(heads: list[Inputs]) -> Inputs:
    return Inputs(*(np.stack([getattr(head, name) for head in heads]) for name in "qkv"))


def integer_inputs(n: int, d: int, seed: int) -> Inputs:
    """Scores with many ties; with scale 1 they are exact in fp32."""
    rng = np.random.default_rng(seed)
    q, k = (rng.integers(-1, 2, (n, d)).astype(np.float32) for _ in range(2))
    return Inputs(q, k, rng.standard_normal((n, d)).astype(np.float32))


def attention_matrix(inputs: Inputs, n: int, causal: bool) -> tuple[Array, Array]:
    """Logits and P over the first n rows, in float64 from the fp32 queries that the binary multiplies."""
    d = inputs.q.shape[1]
    q = (inputs.q[:n].astype(np.float64) / np.sqrt(d)).astype(np.float32).astype(np.float64)
    s = q @ inputs.k[:n].astype(np.float64).T
    if causal:
        s = np.where(np.tril(np.ones((n, n), bool)), s, -np.inf)
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return s, e / e.sum(axis=1, keepdims=True)


def kept(s: Array, k: int) -> NDArray[np.bool_]:
    """The k largest of each row, of equal ones the first."""
    order = np.argsort(-np.round(s, 12), axis=1, kind="stable")
    mask = np.zeros(s.shape, bool)
    np.put_along_axis(mask, order[:, :k], True, axis=1)
    return mask & np.isfinite(s)


def top_k_matrix(s: Array, p: Array, k: int) -> Array:
    head = np.where(kept(s, k), p, 0.0)
    return head / head.sum(axis=1, keepdims=True)


def unambiguous(s: Array, k: int) -> NDArray[np.bool_]:
    """Rows where rounding cannot swap the k-th and the next key."""
    if k >= s.shape[1]:
        return np.ones(len(s), bool)
    ordered = -np.sort(-s, axis=1)
    seen = np.isfinite(ordered[:, k])
    gap = np.subtract(ordered[:, k - 1], ordered[:, k], where=seen, out=np.ones(len(s)))
    return (gap == 0) | (gap >= 1e-5)


@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize(("n", "d", "spread"), [(700, 16, 1.0), (300, 33, 4.0), (50, 8, 1.0), (1, 4, 1.0)])
def test_brute_force(mask: str, n: int, d: int, spread: float, tmp_path: Path) -> None:
    """n = 50 and n = 1 are less than a block: all ranks but one have nothing."""
    inputs = normal_inputs(n + 10, d, 1, spread)
    inputs.write(tmp_path / "in.h5")
    ranks = 3 if n > 50 else 2
    laws = [k for k in KS.split(",") if k != "20" or n >= 20]
    arguments = ["--input", "in.h5", "--n", str(n), "--mask", mask, "--k", ",".join(laws), "--save-output", "out.h5"]
    attend(tmp_path, *arguments, ranks=ranks)
    s, p = attention_matrix(inputs, n, mask == "causal")
    v = inputs.v[:n].astype(np.float64)
    case = f"n{n}-d{d}-head0-{'causal' if mask == 'causal' else 'full'}"
    tolerance = 1e-5 + 8 * 2.0**-24 * np.abs(s[np.isfinite(s)]).max()
    with h5py.File(tmp_path / "out.h5") as out, h5py.File(tmp_path / "attend.h5") as results:
        draw = out[case]["draw0"]
        exact = p @ v
        size = np.linalg.norm(exact, axis=1)
        assert np.max(np.linalg.norm(draw["exact"][()] - exact, axis=1) / size) < tolerance
        group = results["cases"][case]
        ks = group["k"][()].tolist()
        assert ks == sorted({1, *([20] if n >= 20 else []), max(1, round(n**0.7)), n})
        for column, k in enumerate(ks):
            expected = top_k_matrix(s, p, k) @ v
            rows = unambiguous(s, k)
            assert rows.mean() > 0.9
            found = draw[f"top_k_{k}"][()].astype(np.float64)
            distance = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
            assert np.max(distance[rows]) < tolerance
            error = np.linalg.norm(expected - exact, axis=1) / size
            stored = draw[f"output_error_relative_{k}"][()][:, 0]
            assert np.allclose(stored[rows], error[rows], rtol=1e-4, atol=4 * tolerance)
            if rows.all():
                mean = group["output_error_relative"][0, column]
                assert mean == pytest.approx(error.mean(), rel=1e-4, abs=4 * tolerance)
        assert group.attrs["verdict"] == "VALID"


@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize(("n", "spread"), [(512, 1.0), (300, 3.0)])
def test_norms_against_a_stored_matrix(mask: str, n: int, spread: float, tmp_path: Path) -> None:
    inputs = normal_inputs(n, 16, 2, spread)
    inputs.write(tmp_path / "in.h5")
    attend(tmp_path, "--input", "in.h5", "--n", str(n), "--mask", mask, "--k", "1,20,n^0.7,n", "--spectral", ranks=2)
    s, p = attention_matrix(inputs, n, mask == "causal")
    with h5py.File(tmp_path / "attend.h5") as results:
        (group,) = results["cases"].values()
        assert group.attrs["verdict"] == "VALID", group.attrs["verdict_reason"]
        for column, k in enumerate(group["k"][()].tolist()):
            difference = p - top_k_matrix(s, p, k)
            singular = np.linalg.svd(difference, compute_uv=False)

            def value(name: str, at: int = column) -> float:
                return float(group[name][0, at])

            assert value("frobenius_error") == pytest.approx(np.linalg.norm(difference) / n, rel=1e-4, abs=1e-12)
            largest_row = np.linalg.norm(difference, axis=1).max()
            assert value("largest_row_error") == pytest.approx(largest_row / n, rel=1e-4, abs=1e-12)
            # A lower bound, up to rounding; where it has converged some singular value is as near as the residual says.
            spectral = value("spectral_error") * n
            assert spectral <= singular[0] * (1 + 1e-4) + 1e-12
            if k == n:
                assert spectral == 0.0
                continue
            assert value("spectral_converged") == 1
            assert spectral >= singular[0] * (1 - 2e-3)
            distance = np.min(np.abs(singular**2 - spectral**2)) / spectral**2
            assert distance <= value("spectral_residual") + 1e-4


def test_ties_go_to_the_first_keys(tmp_path: Path) -> None:
    """Integer scores: which of many equal keys are kept is seen in the output."""
    n, d = 260, 4  # 1 / sqrt(d) is a power of two: scores are exact
    inputs = integer_inputs(n, d, 3)
    inputs.write(tmp_path / "in.h5")
    for mask in ("none", "causal"):
        for ranks in (1, 3, 4):
            out = f"{mask}{ranks}.h5"
            arguments = ["--input", "in.h5", "--n", str(n), "--mask", mask, "--k", "1,7,100", "--save-output", out]
            attend(tmp_path, *arguments, "--force", ranks=ranks)
            s, p = attention_matrix(inputs, n, mask == "causal")
            with h5py.File(tmp_path / out) as file:
                (case,) = file.values()
                for k in (1, 7, 100):
                    expected = top_k_matrix(s, p, k) @ inputs.v.astype(np.float64)
                    assert np.allclose(case["draw0"][f"top_k_{k}"][()], expected, rtol=0, atol=1e-5), (mask, ranks, k)


def outputs(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with h5py.File(path) as file:

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = item[()].tobytes()

        file.visititems(visit)
    return found


SAME = {
    "both-masks": ["--n", "1000", "--d", "16", "--mask", "none,causal", "--k", "5,n^0.5,n", "--sigma", "1,log(n)"],
    "less-than-a-block": ["--n", "5,63", "--d", "33", "--mask", "none,causal", "--k", "1,3"],
    "norms": ["--n", "500", "--d", "8", "--mask", "none,causal", "--k", "5,50", "--spectral", "--iterations", "20"],
}


@pytest.mark.parametrize("name", SAME)
def test_same_bytes_for_any_ranks_and_threads(name: str, tmp_path: Path) -> None:
    arguments = [*SAME[name], "--draws", "2", "--seed", "7"]
    attend(tmp_path, *arguments, "--save-output", "out1.h5", "-o", "alone.h5")
    expected = outputs(tmp_path / "out1.h5")
    assert len(expected) >= 2 * len(SAME[name][1].split(","))
    for ranks, threads in LAYOUTS if name != "norms" else LAYOUTS[::2]:
        more = ["--groups", "1", "--save-output", "out.h5", "-o", "b.h5", "--force"]
        attend(tmp_path, *arguments, *more, ranks=ranks, threads=threads)
        assert outputs(tmp_path / "out.h5") == expected, (ranks, threads)
        assert_equal(tmp_path / "alone.h5", tmp_path / "b.h5")


def test_groups_share_draws_and_heads_out(tmp_path: Path) -> None:
    """As many groups as there are draws to share, more or fewer; ranks in unequal groups, and groups with nothing left
    to do: the same bytes, and the file says what was shared."""
    rng = np.random.default_rng(3)
    stacked([normal_inputs(300, 16, seed, rng.uniform(0.5, 3.0)) for seed in range(5)]).write(tmp_path / "in.h5")
    of_file = ["--input", "in.h5", "--n", "130,300", "--mask", "none,causal", "--k", "1,n^0.5"]
    of_file += ["--spectral", "--iterations", "9"]
    synthetic = ["--n", "150,200", "--d", "8", "--sigma", "1,3,log(n)", "--draws", "3", "--k", "7"]
    splits = ((4, 2), (5, 3), (3, "auto"), (4, 4)), ((4, 1), (4, 3), (5, 5), (8, 3))
    for arguments, split in zip((of_file, synthetic), splits, strict=True):
        attend(tmp_path, *arguments, "--save-output", "out1.h5", "-o", "alone.h5", "--force")
        expected = outputs(tmp_path / "out1.h5")
        for ranks, groups in split:
            more = ["--groups", str(groups), "--save-output", "out.h5", "-o", "b.h5", "--force"]
            attend(tmp_path, *arguments, *more, ranks=ranks)
            assert outputs(tmp_path / "out.h5") == expected, (ranks, groups)
            assert_equal(tmp_path / "alone.h5", tmp_path / "b.h5")
            with h5py.File(tmp_path / "b.h5") as file, h5py.File(tmp_path / "alone.h5") as alone:
                assert list(file["cases"]) == list(alone["cases"])
                for case in file["cases"].values():
                    shared = int(case.attrs["groups"])
                    assert groups in (shared, "auto")
                    assert case.attrs["ranks"] == ranks // shared
                    if ranks % shared == 0:
                        assert np.all((case["bytes_sent"][()] > 0) == (ranks > shared))


def test_groups_follow_rows_and_memory(tmp_path: Path) -> None:
    """auto: blocks that cannot be spread over all ranks are not; a sequence that must be spread is."""

    def groups(*arguments: str, ranks: int) -> list[str]:
        plan = attend(tmp_path, *arguments, "--dry-run", ranks=ranks).stdout
        return [line.split()[5] for line in plan.splitlines() if line.startswith("n")]

    one_block = ["--n", "64", "--draws", "4"]
    assert groups(*one_block, ranks=4) == ["4"]
    assert groups(*one_block, ranks=3) == ["3"], "two turns, as with two groups"
    assert groups("--n", "2^12", "--draws", "1", ranks=4) == ["1"]
    assert groups("--n", "2^12", "--draws", "3", ranks=2) == ["1"], "two groups would take two turns of all rows"
    assert groups("--n", "2^12", "--draws", "4", ranks=2) == ["2"]


@pytest.mark.parametrize("case", range(3))
def test_random_cases(case: int, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([seed, case, 77])
    n = int(np.exp(rng.uniform(np.log(8.0), np.log(3000.0))))
    ks = ",".join(dict.fromkeys(map(str, [1, n, *rng.integers(1, n + 1, 2).tolist()])))
    arguments = ["--n", str(n), "--d", str(rng.integers(4, 80)), "--k", ks, "--seed", str(rng.integers(0, 2**60))]
    arguments += ["--mask", str(rng.choice(["none", "causal"])), "--sigma", str(rng.choice(["0.3", "2", "log(n)"]))]
    ranks, threads = LAYOUTS[rng.integers(len(LAYOUTS))]
    print(f"ASYMPTOP_TEST_SEED={seed} case {case}: {ranks} ranks x {threads}: {' '.join(arguments)}")
    attend(tmp_path, *arguments, "--save-output", "out1.h5", "-o", "alone.h5")
    attend(tmp_path, *arguments, "--save-output", "out2.h5", "-o", "b.h5", ranks=ranks, threads=threads)
    assert outputs(tmp_path / "out1.h5") == outputs(tmp_path / "out2.h5")
    assert_equal(tmp_path / "alone.h5", tmp_path / "b.h5")


def test_memory_does_not_grow_with_ranks(tmp_path: Path) -> None:
    """The largest rank's peak at n / ranks = 4096, where a matrix of a rank's rows takes 4 MB. Top-k attention holds as
    many of them whatever the ranks; exact attention's rows hold a few more subtrees' sums for every doubling."""

    def peak(kernel: str, ranks: int) -> float:
        arguments = ["--n", str(4096 * ranks), "--d", "256", "--k", "64", "--mask", "causal", "--kernel", kernel]
        attend(tmp_path, *arguments, "--force", ranks=ranks)
        with h5py.File(tmp_path / "attend.h5") as file:
            (group,) = file["cases"].values()
            return float(group.attrs["peak_bytes_per_rank"])

    shard = 4096 * 256 * 4
    for kernel, matrices in (("top-k-attention", 1), ("exact-attention", 4)):
        three, six = peak(kernel, 3), peak(kernel, 6)
        assert six - three < matrices * shard, (kernel, three, six)


def test_records_file_and_table_agree(tmp_path: Path) -> None:
    arguments = ["--n", "200", "--d", "8", "--k", "4,n^0.5", "--sigma", "2", "--spectral", "--draws", "3"]
    outcome = attend(tmp_path, *arguments, "--json", "r.json", ranks=2)
    records = json.loads((tmp_path / "r.json").read_text())
    first = ["n", "d", "sigma_law", "sigma", "mask", "metric", "parameter", "k_law", "mean", "standard_error", "rows"]
    assert all(list(r)[: len(first)] == first for r in records)
    by_metric = {(r["metric"], r["parameter"]): r for r in records}
    metrics = {"output_error_relative", "spectral_error", "frobenius_error", "largest_row_error"}
    assert {m for m, p in by_metric if p} == metrics
    assert {m for m, p in by_metric if not p} == {
        f"{kernel}_attention_{what}" for kernel in ("exact", "top_k") for what in ("seconds", "gflops")
    }
    with h5py.File(tmp_path / "attend.h5") as file:
        assert file.attrs["kind"] == "attend"
        assert file.attrs["schema_version"] == 1
        assert "spectral = true" in file.attrs["config_text"]
        (group,) = file["cases"].values()
        for metric in metrics:
            for column, k in enumerate(group["k"][()].tolist()):
                record, values = by_metric[metric, str(k)], group[metric][:, column]
                assert record["mean"] == pytest.approx(values.mean(), rel=1e-12)
                assert record["standard_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(3), rel=1e-9)
                assert (record["draws"], record["rows"], record["verdict"]) == (3, 600, "VALID")
        assert np.all(group["residual"][()] <= group["tolerance"][()])
        assert np.all(group["spectral_error"][()] <= group["frobenius_error"][()])
        assert len(set(group["output_error_relative"][:, 0])) == 3, "draws differ"
        for data in group.values():
            assert "long_name" in data.attrs
    assert outcome.stdout.count(" VALID") == 3  # and the last word
    info = asymptop("info", "attend.h5", cwd=tmp_path)
    assert info.code == 0
    assert "causal" not in info.stdout
    assert "mask none" in info.stdout


def test_agrees_with_a_study_of_all_rows(tmp_path: Path) -> None:
    """The same queries, keys and values as a study's, whose errors come from other kernels."""
    n, ks = 300, [20, 100]
    common = ["--n", str(n), "--d", "24", "--sigma", "2", "--k", "20,100", "--draws", "2", "--seed", "5"]
    study = asymptop("study", *common, "--block", "64", "--rows", str(n), "-o", "study.h5", cwd=tmp_path)
    assert study.code == 0, str(study)
    attend(tmp_path, *common, "--spectral", ranks=2)
    with h5py.File(tmp_path / "study.h5") as a, h5py.File(tmp_path / "attend.h5") as b:
        (rows,), (full,) = a["cases"].values(), b["cases"].values()
        for k in ks:
            column, of_study = full["k"][()].tolist().index(k), rows["k"][()].tolist().index(k)
            error = rows["output_error_relative"][()][:, :, of_study].mean(axis=1)
            assert np.allclose(full["output_error_relative"][:, column], error, rtol=1e-5)
            square = (rows["row_l2_error"][()][:, :, of_study] ** 2).sum(axis=1)
            assert np.allclose(full["frobenius_error"][:, column] * n, np.sqrt(square), rtol=1e-5)
            largest = rows["row_l2_error"][()][:, :, of_study].max(axis=1)
            assert np.allclose(full["largest_row_error"][:, column] * n, largest, rtol=1e-5)


def test_an_iteration_cut_short_is_invalid(tmp_path: Path) -> None:
    """After one step from a random vector the bound is below the largest row: no result, and the exit code says so."""
    arguments = ["--n", "400", "--d", "8", "--k", "10", "--spectral", "--iterations", "1"]
    outcome = attend(tmp_path, *arguments, "--json", "r.json", code=1)
    assert "INVALID: norms_order" in outcome.stdout
    assert {r["verdict"] for r in json.loads((tmp_path / "r.json").read_text())} == {"INVALID"}
    with h5py.File(tmp_path / "attend.h5") as file:
        (group,) = file["cases"].values()
        assert group.attrs["verdict"] == "INVALID"
        assert group["spectral_converged"][0, 0] == 0
    assert asymptop("info", "attend.h5", cwd=tmp_path).code == 1


def test_compare_sees_another_seed(tmp_path: Path) -> None:
    for name, more in (("a", []), ("b", ["--seed", "2"])):
        attend(tmp_path, "--n", "128", "--d", "8", "--k", "4", "-o", f"{name}.h5", *more)
    assert compare(tmp_path / "a.h5", tmp_path / "b.h5").code == 1


def test_help_dry_run_and_kernels(tmp_path: Path) -> None:
    text = asymptop("attend", "--help", cwd=tmp_path).stdout
    options = ["n", "d", "k", "sigma", "kernel", "mask", "spectral", "iterations", "input", "heads", "groups"]
    for option in [*options, "save-output"]:
        assert f"--{option} " in text, option
    plan = attend(tmp_path, "--n", "2^10:2^12", "--mask", "none,causal", "--dry-run")
    assert plan.stdout.count("causal") >= 3
    assert list(tmp_path.iterdir()) == []
    attend(tmp_path, "--n", "100", "--d", "8", "--kernel", "exact-attention", "--json", "r.json")
    assert {r["metric"] for r in json.loads((tmp_path / "r.json").read_text())} == {
        "exact_attention_seconds",
        "exact_attention_gflops",
    }
    config = tmp_path / "attend.cfg"
    config.write_text("n = 100\nd = 8\nkernel = top-k-attention\nk = 3,7\nspectral = true\n")
    attend(tmp_path, "--config", config, "--force", "--k", "5", "--json", "r.json")
    records = json.loads((tmp_path / "r.json").read_text())
    assert {(r["metric"], r["parameter"]) for r in records if r["parameter"]} == {
        (m, "5") for m in ("spectral_error", "frobenius_error", "largest_row_error")
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["--n"]),
        (["--n", "0"], ["--n", "'0'"]),
        (["--n", "2^40"], ["--n", "2^40"]),
        (["--n", "64", "--mask", "full"], ["--mask", "full"]),
        (["--n", "64", "--mask", "causal,causal"], ["--mask", "twice"]),
        (["--n", "64", "--kernel", "score"], ["--kernel", "score"]),
        (["--n", "64", "--kernel", "exact-attention", "--spectral"], ["--spectral", "top-k-attention"]),
        (["--n", "64", "--iterations", "0"], ["--iterations"]),
        (["--n", "64", "--sigma", "1e6"], ["--sigma", "1e6"]),
        (["--n", "64", "--k", "n+"], ["--k", "n+"]),
        (["--n", "64", "--heads", "0"], ["--heads", "--input"]),
        (["--n", "64", "--groups", "0"], ["--groups", "'0'"]),
        (["--n", "64", "--draws", "2", "--groups", "2"], ["--groups", "ranks (1)"]),
        (["--n", "64", "--input", "missing.h5"], ["--input", "missing.h5"]),
        (["--n", "64", "-o", "no/such/a.h5"], ["no/such/a.h5"]),
        (["--n", "64", "--save-output", "no/such/a.h5"], ["--save-output", "no/such/a.h5"]),
        (["--n", "64", "--save-output", "attend.h5"], ["--save-output", "attend.h5"]),
        (["--n", "2^30", "--d", "4096"], ["GB"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_refused(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    check_refused(tmp_path, ["attend", *arguments], named)


def test_refused_inputs(tmp_path: Path) -> None:
    inputs = normal_inputs(100, 8, 4)
    inputs.write(tmp_path / "in.h5")
    for arguments, named in [
        (["--n", "101"], ["--n", "101", "in.h5"]),
        (["--n", "64", "--heads", "1"], ["--heads", "1"]),
        (["--n", "64", "--sigma", "2"], ["--sigma", "--input"]),
        (["--n", "64", "--draws", "2"], ["--draws", "--input"]),
    ]:
        check_refused(tmp_path, ["attend", "--input", "in.h5", *arguments], named)
    with h5py.File(tmp_path / "in.h5", "r+") as file:
        file["K"][70, 3] = np.nan
    check_refused(tmp_path, ["attend", "--input", "in.h5", "--n", "100"], ["K", "row 70", "column 3"])
    assert asymptop("attend", "--input", "in.h5", "--n", "64", cwd=tmp_path).code == 0


def test_existing_files_are_kept(tmp_path: Path) -> None:
    attend(tmp_path, "--n", "64", "--d", "8", "--save-output", "out.h5")
    for arguments in (["-o", "attend.h5"], ["-o", "new.h5", "--save-output", "out.h5"]):
        check_refused(tmp_path, ["attend", "--n", "64", "--d", "8", *arguments], ["--force"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attend.h5", "out.h5"]
