"""Writes results files of schema version 1 from brute-force numpy, for tests of the analysis package.

    python3 tests/support/make_results.py out.h5 --n 1024,4096,16384 --sigma 1,2 --k n^0.5,n^0.75

Rows are i.i.d. Gaussian logits (the whole row is drawn, sorted and summed), or come from a function that plants
an error. Nothing here is shared with the C++ writer: the two meet in src/results/README.md alone.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

PLANTED = ("tail_mass", "row_l2_error", "row_linf_error")


@dataclass
class Study:
    """What to write. `planted(name, n, k, generator, shape)` replaces an error by values of its own."""

    n: Sequence[int] = (256, 1024, 4096)
    sigma: Sequence[str] = ("1",)
    k: Sequence[str] = ("n^0.5", "n^0.75")
    d: int = 64
    draws: int = 8
    rows: int = 4
    seed: int = 1
    epsilon: Sequence[float] = (0.1, 0.01)
    threshold: Sequence[str] = ("1/n", "1e-3", "1e-2")
    row_sigma: str = "natural"
    mask: str = "none"
    input: str = "gaussian"
    heads: int = 0
    layers: Sequence[int] = ()  # of a model, each with these heads
    first_keys_mass: float | None = None  # of the first keys, in every row
    invalid_n: Sequence[int] = ()
    output_errors: bool = False
    identity_residual: float = 2e-7
    schema_version: int = 1
    planted: Callable[[str, int, int, np.random.Generator, tuple[int, int]], np.ndarray] | None = None
    root: dict[str, object] = field(default_factory=dict)


def law_value(law: str, n: int) -> float:
    names = {"n": float(n), "log": math.log, "sqrt": math.sqrt, "__builtins__": {}}
    return float(eval(re.sub(r"(?<![\d.])0+(?=\d)", "", law).replace("^", "**"), names))


def k_values(laws: Sequence[str], n: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """(ascending k, k of each law, whether one was clipped)."""
    wanted = [max(1, round(law_value(law, n))) for law in laws]
    of_law = np.array([min(k, n) for k in wanted], dtype=np.int64)
    grid = np.unique(np.round(np.geomspace(1, n, 24)).astype(np.int64))
    return np.union1d(of_law, grid), of_law, any(k > n for k in wanted)


def row_metrics(logits: np.ndarray, k: np.ndarray, epsilon: Sequence[float], thresholds: np.ndarray) -> dict:
    """Every per-row number of the schema for logits of shape (rows, n)."""
    n = logits.shape[1]
    ordered = -np.sort(-logits, axis=1)
    largest = ordered[:, :1]
    weights = np.exp(ordered - largest)
    total = weights.sum(axis=1, keepdims=True)
    p = weights / total
    # Tails are summed from the small end, so that they keep their digits.
    tail = np.concatenate([np.cumsum(p[:, ::-1], axis=1)[:, ::-1], np.zeros((len(p), 1))], axis=1)
    tail2 = np.concatenate([np.cumsum((p**2)[:, ::-1], axis=1)[:, ::-1], np.zeros((len(p), 1))], axis=1)
    head2 = np.concatenate([np.zeros((len(p), 1)), np.cumsum(p**2, axis=1)], axis=1)
    next_p = np.concatenate([p, np.zeros((len(p), 1))], axis=1)
    tau = tail[:, k]
    odds = tau / (1.0 - tau)
    log_sum_exp = np.log(total) + largest
    square = np.sum(p**2, axis=1)
    return {
        "row_n": np.full(len(p), n, dtype=np.int64),
        "row_position": np.full(len(p), -1, dtype=np.int64),
        "logit_mean": logits.mean(axis=1),
        "logit_std": logits.std(axis=1),
        "logit_max": largest[:, 0],
        "log_sum_exp": log_sum_exp[:, 0],
        "entropy_nats": log_sum_exp[:, 0] - np.sum(p * ordered, axis=1),
        "sum_p_squared": square,
        "p_max": p[:, 0],
        "participation_ratio": 1.0 / square,
        "tail_mass": tau,
        "row_l2_error": np.sqrt(odds**2 * head2[:, k] + tail2[:, k]),
        "row_linf_error": np.maximum(p[:, :1] * odds, next_p[:, k]),
        "k_epsilon": np.stack([np.argmax(tail <= e, axis=1) for e in epsilon], axis=1).astype(np.int64),
        "count_p_above": np.stack([np.sum(p > t, axis=1) for t in thresholds], axis=1).astype(np.int64),
    }


def sigma_of(law: str, n: int, head: int) -> float:
    """head: of all heads of all layers."""
    return 2.0 + 0.15 * head if law == "measured" else law_value(law, n)


def logits_of(
    study: Study, n: int, law: str, head: int, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Logits (row, n) and the sigma of each row, draw by draw."""
    for _ in range(study.draws):
        spread = np.ones(study.rows)
        if study.row_sigma == "natural":
            spread = np.sqrt(generator.chisquare(study.d, study.rows) / study.d)
        sigma = sigma_of(law, n, head) * spread
        yield generator.standard_normal((study.rows, n)) * sigma[:, None], sigma


def generator_of(study: Study, n: int, head: int) -> np.random.Generator:
    return np.random.default_rng([study.seed, n, head + 2])


def case_data(study: Study, n: int, law: str, head: int) -> dict[str, np.ndarray]:
    """All draws of one case, (draw, row, ...)."""
    generator = generator_of(study, n, head)
    k, of_law, clipped = k_values(study.k, n)
    thresholds = np.array([law_value(t, n) for t in study.threshold])
    collected: dict[str, list[np.ndarray]] = {}
    for logits, sigma in logits_of(study, n, law, head, generator):
        metrics = row_metrics(logits, k, study.epsilon, thresholds) | {"sigma_i": sigma}
        for name, values in metrics.items():
            collected.setdefault(name, []).append(values)
    data = {name: np.stack(values) for name, values in collected.items()}
    if study.planted is not None:
        for name in PLANTED:
            columns = [study.planted(name, n, int(one), generator, (study.draws, study.rows)) for one in k]
            data[name] = np.stack(columns, axis=-1)
    if study.first_keys_mass is not None:
        data["first_keys_mass"] = np.full((study.draws, study.rows), study.first_keys_mass)
    if study.output_errors:
        data["output_error_relative"] = data["tail_mass"] * 1.2
        data["output_error"] = data["tail_mass"] * 0.3
    return data | {
        "k": k,
        "k_of_law": of_law,
        "threshold_value": thresholds,
        "sigma": np.float64(sigma_of(law, n, head)),
        "clipped": np.int64(clipped),
    }


DIMENSIONS = {
    "k_of_law": ("k_law",),
    "threshold_value": ("threshold",),
    "check_residual": ("check",),
    "check_tolerance": ("check",),
    "phase_seconds": ("draw", "phase"),
    "tail_mass": ("draw", "row", "k"),
    "row_l2_error": ("draw", "row", "k"),
    "row_linf_error": ("draw", "row", "k"),
    "output_error": ("draw", "row", "k"),
    "output_error_relative": ("draw", "row", "k"),
    "k_epsilon": ("draw", "row", "epsilon"),
    "count_p_above": ("draw", "row", "threshold"),
}


def write_case(group: h5py.Group, study: Study, n: int, law: str, head: int) -> None:
    data = case_data(study, n, law, head)
    sigma, clipped = float(data.pop("sigma")), int(data.pop("clipped"))
    invalid = n in study.invalid_n
    text = h5py.string_dtype("utf-8")
    scales = {
        "draw": np.arange(study.draws),
        "row": np.arange(study.rows),
        "k": data.pop("k"),
        "epsilon": np.array(study.epsilon),
        "threshold": np.array(study.threshold, dtype=object),
        "k_law": np.array(study.k, dtype=object),
        "check": np.array(["keys_seen", "audit_metrics", "identity_kl", "identity_output"], dtype=object),
        "phase": np.array(["generate", "score", "profile", "top_k"], dtype=object),
    }
    data["check_residual"] = np.array([0.0, 3e-6, study.identity_residual, study.identity_residual])
    data["check_tolerance"] = np.array([0.0, 1e-5, 1e-5, 1e-5])
    if invalid:
        data["check_residual"][0] = 17.0
    data["phase_seconds"] = np.full((study.draws, 4), 0.01)
    for name, values in scales.items():
        is_text = values.dtype == object
        dataset = group.create_dataset(name, data=values, dtype=text if is_text else None)
        dataset.make_scale(name)
        dataset.attrs["long_name"], dataset.attrs["units"] = name, "1"
    for name, values in data.items():
        dataset = group.create_dataset(name, data=values)
        for axis, scale in enumerate(DIMENSIONS.get(name, ("draw", "row"))):
            dataset.dims[axis].attach_scale(group[scale])
        dataset.attrs["long_name"], dataset.attrs["units"] = name.replace("_", " "), "1"
    scale = 1.0 / math.sqrt(study.d)
    if study.layers:
        group.attrs["layer"] = study.layers[head // study.heads]
        group.attrs["attention"], group.attrs["contexts"] = "global", "places"
        head %= study.heads
    group.attrs.update(
        id=Path(group.name).name,
        n=n,
        d=study.d,
        sigma_law=law,
        sigma=sigma,
        R=sigma / scale,
        scale=scale,
        draws=study.draws,
        rows=study.rows,
        seed=study.seed,
        block=4096,
        input=study.input,
        head=head,
        row_sigma=study.row_sigma,
        weights="identity",
        self="exclude",
        mask=study.mask,
        k_clipped=clipped,
        verdict="INVALID" if invalid else "VALID",
        verdict_reason="keys_seen: 17 keys missing" if invalid else "",
        keys="streamed",
        merge="tree",
        path="scalar",
        seconds_total=0.5,
        seconds_pass=0.3,
        gflop=1.0,
    )


def write_results(path: str | Path, study: Study | None = None) -> Path:
    """Write one results file and return its path."""
    study = study or Study()
    path = Path(path)
    with h5py.File(path, "w") as file:
        root: dict[str, object] = dict(
            schema_version=study.schema_version,
            kind="study",
            version="0.1.0",
            git_hash="0123abc-dirty",
            date_utc="2026-01-01T00:00:00Z",
            command_line="asymptop study --n 256 --output <results>.h5",
            config_text="n = 256\nsigma = 1 & 2\n",
            compiler="g++ 12.2.0",
            build_type="Release",
            compile_options="-O3 -march=native",
            kokkos_version="4.6.0",
            execution_space="OpenMP",
            blas="OpenBLAS 0.3.21",
            blas_kernel="SkylakeX",
            mpi_version="3.1",
            hdf5_version="1.10.8",
            host_names="node1 node2",
            ranks=2,
            threads_per_rank=1,
            rank_layout="0 node1 0\n1 node2 0",
            slurm="{}",
            seed=study.seed,
            block=4096,
            sgemm_gflops=231.5,
        )
        file.attrs.update(root | study.root)
        laws = ["measured"] * study.heads * max(len(study.layers), 1) if study.heads else list(study.sigma)
        for index, law in enumerate(laws):
            for n in study.n:
                head = index if study.heads else -1
                group = file.create_group(f"cases/n{n}_s{index}")
                write_case(group, study, n, law, head)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--n", default="256,1024,4096")
    parser.add_argument("--sigma", default="1")
    parser.add_argument("--k", default="n^0.5,n^0.75")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--heads", type=int, default=0, help="write a tensor file with this many heads instead")
    parser.add_argument("--invalid-n", default="", help="n whose cases are INVALID")
    parser.add_argument("--row-sigma", default="natural")
    parser.add_argument("--output-errors", action="store_true")
    arguments = parser.parse_args(argv)
    integers = lambda text: tuple(int(part) for part in text.split(",") if part)  # noqa: E731
    write_results(
        arguments.output,
        Study(
            n=integers(arguments.n),
            sigma=arguments.sigma.split(","),
            k=arguments.k.split(","),
            draws=arguments.draws,
            rows=arguments.rows,
            heads=arguments.heads,
            row_sigma=arguments.row_sigma,
            input="tensors.h5" if arguments.heads else "gaussian",
            invalid_n=integers(arguments.invalid_n),
            output_errors=arguments.output_errors,
        ),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
