"""Writes benchmark files of schema version 1 whose scaling studies follow a known model, for tests of the analysis.

    python3 tests/support/make_bench.py out.h5 --ranks 1,2,4,8 --noise 0.01

Nothing here is shared with the C++ writer or with the model that is fitted: they meet in src/results/README.md alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

# (busy seconds, seconds of the merge) of one rank at (ranks, n).
Times = Callable[[int, int], tuple[float, float]]


def even_times(ranks: int, n: int) -> tuple[float, float]:
    return 1e-9 * n / ranks + 1e-3, 5e-4 + 2e-5 * (ranks - 1)


@dataclass
class Scaling:
    """One study. `imbalance`: how much the busiest rank has above the mean."""

    kernel: str = "top-k"
    path: str = "fused"
    scaling: str = "strong"
    merge: str = "owner"
    n: int = 1 << 20
    m: int = 256
    d: int = 64
    k_law: str = "1024"
    k: int = 1024
    ranks: Sequence[int] = (1, 2, 4)
    samples: int = 9
    noise: float = 0.0
    imbalance: float = 0.0
    interleaved: bool = True
    valid: bool = True
    times: Times = even_times


@dataclass
class BenchFile:
    studies: Sequence[Scaling] = field(default_factory=lambda: (Scaling(),))
    kind: str = "bench"
    schema_version: int = 1
    seed: int = 1


def _put(group: h5py.Group, name: str, values: object, scales: Sequence[str]) -> None:
    dataset = group.create_dataset(name, data=values)
    for axis, scale in enumerate(scales):
        dataset.dims[axis].attach_scale(group[scale])
    dataset.attrs["long_name"], dataset.attrs["units"] = name.replace("_", " "), "1"


def _put_scale(group: h5py.Group, name: str, values: Sequence) -> None:
    text = isinstance(values[0], str)
    dataset = group.create_dataset(
        name,
        data=np.array(values, dtype=object if text else np.int64),
        dtype=h5py.string_dtype("utf-8") if text else None,
    )
    dataset.make_scale(name)


def _write_study(file: h5py.File, study: Scaling, generator: np.random.Generator) -> None:
    selects = study.kernel in ("top-k", "profile", "top-k-attention")
    law = f"-k{study.k}-{study.merge}" if selects else ""
    identity = f"{study.kernel}-{study.path}-n{study.n}-d{study.d}-m{study.m}{law}-resident-{study.scaling}"
    phases = ["generate", "score+select" if selects else "score", "merge", "other"]
    sizes = [study.n * (p if study.scaling == "weak" else 1) for p in study.ranks]
    all_seconds, all_phases, all_imbalance = [], [], []
    for p, n in zip(study.ranks, sizes, strict=True):
        busy, merge = study.times(p, n)
        spread = np.exp(study.noise * generator.standard_normal(study.samples))
        mean_busy = busy / (1.0 + study.imbalance) * spread
        seconds = (busy + merge) * spread
        work = np.stack([0.02 * mean_busy, 0.97 * mean_busy, merge * spread, 0.01 * mean_busy], axis=1)
        statistics = np.stack([0.99 * work, work, 1.01 * work], axis=2)
        group = file.create_group(f"cases/{identity}-ranks{p}")
        group.attrs.update(verdict="VALID" if study.valid else "INVALID", ranks=p, n=n)
        _put_scale(group, "sample", list(range(study.samples)))
        _put_scale(group, "phase", phases)
        _put_scale(group, "over_ranks", ["min", "mean", "max"])
        _put(group, "seconds", seconds, ("sample",))
        _put(group, "phase_seconds", statistics, ("sample", "phase", "over_ranks"))
        _put(group, "imbalance", np.full(study.samples, study.imbalance), ("sample",))
        all_seconds.append(seconds)
        all_phases.append(np.median(statistics, axis=0))
        all_imbalance.append(study.imbalance)
    ranks, seconds = np.array(study.ranks), np.array(all_seconds)
    median = np.median(seconds, axis=1)
    speed_up = median[0] / median * (ranks if study.scaling == "weak" else 1)
    group = file.create_group(f"scaling/{identity}")
    group.attrs.update(
        id=identity,
        scaling=study.scaling,
        kernel=study.kernel,
        path=study.path,
        keys="resident",
        k_law=study.k_law if selects else "",
        merge=study.merge if selects else "",
        d=study.d,
        m=study.m,
        threads=1,
        interleaved=int(study.interleaved),
    )
    _put_scale(group, "ranks", [int(p) for p in ranks])
    _put_scale(group, "sample", list(range(study.samples)))
    _put_scale(group, "phase", phases)
    _put_scale(group, "over_ranks", ["min", "mean", "max"])
    by_ranks = {
        "n": np.array(sizes),
        "k": np.full(len(ranks), study.k if selects else 0),
        "median_seconds": median,
        "speed_up": speed_up,
        "efficiency": speed_up / ranks,
        "load_imbalance": np.array(all_imbalance),
        "fma_gflops": 100.0 * ranks,
        "read_bandwidth": 20.0 * ranks**0.9,
    }
    for name, values in by_ranks.items():
        _put(group, name, values, ("ranks",))
    _put(group, "seconds", seconds, ("ranks", "sample"))
    _put(group, "phase_seconds", np.array(all_phases), ("ranks", "phase", "over_ranks"))


def write_bench(path: str | Path, bench: BenchFile | None = None) -> Path:
    """Write one file and return its path."""
    bench, path = bench or BenchFile(), Path(path)
    names = (
        "version git_hash date_utc config_text compiler build_type compile_options kokkos_version execution_space blas"
    )
    names += " blas_kernel mpi_version hdf5_version slurm"
    with h5py.File(path, "w") as file:
        file.attrs.update(dict.fromkeys(names.split(), "as tested"))
        file.attrs.update(
            schema_version=bench.schema_version,
            kind=bench.kind,
            command_line="asymptop bench --scaling strong --output <bench>.h5",
            host_names="node1",
            rank_layout="0 node1 0\n1 node1 1",
            cpu="A processor & more",
            ranks=max((max(s.ranks) for s in bench.studies), default=1),
            threads_per_rank=1,
            seed=bench.seed,
            block=4096,
        )
        generator = np.random.default_rng(bench.seed)
        for study in bench.studies:
            _write_study(file, study, generator)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--ranks", default="1,2,4,8")
    parser.add_argument("--noise", type=float, default=0.01)
    arguments = parser.parse_args(argv)
    ranks = tuple(int(p) for p in arguments.ranks.split(","))
    kernels = ("top-k", "profile", "exact-attention")
    studies = [Scaling(k, ranks=ranks, noise=arguments.noise, scaling=s) for k in kernels for s in ("strong", "weak")]
    write_bench(arguments.output, BenchFile(studies))
    return 0


if __name__ == "__main__":
    sys.exit(main())
