"""Strict reader of benchmark files, schema version 1 (end of src/results/README.md), as far as scaling studies go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..theory.statistics import Array
from .reader import ResultsError, open_file, read_attribute
from .schema import ROOT_TEXT, SCHEMA_VERSION

TEXT = ("scaling", "kernel", "path", "keys", "k_law", "merge")
INTEGERS = ("d", "m", "threads", "interleaved")
BY_RANKS = ("n", "k", "median_seconds", "speed_up", "efficiency", "load_imbalance", "fma_gflops", "read_bandwidth")
MERGE = "merge"


@dataclass(frozen=True, eq=False)
class ScalingStudy:
    """One kernel on one path, measured on several counts of ranks within one run; arrays run over `ranks`."""

    id: str
    scaling: str  # strong, weak
    kernel: str
    path: str
    keys: str
    k_law: str
    merge: str  # the global selection on most ranks
    d: int
    m: int
    threads: int
    interleaved: bool
    valid: bool
    ranks: NDArray[np.int64]
    n: NDArray[np.int64]
    k: NDArray[np.int64]
    seconds: Array  # (ranks, sample), the slowest rank
    busy_seconds: Array  # (ranks, sample), outside the merge, of the rank that has most to do
    median_seconds: Array
    speed_up: Array
    efficiency: Array
    load_imbalance: Array
    fma_gflops: Array
    read_bandwidth: Array
    phase: tuple[str, ...]
    phase_seconds: Array  # (ranks, phase, [min, mean, max] over ranks), medians over samples

    @property
    def title(self) -> str:
        selects = f", k = {self.k_law}" if self.k_law else ""
        keys = "" if self.keys == "resident" else ", streamed keys"
        size = f"n = {size_words(int(self.n[0]))}{self.per_rank}"
        return f"{self.kernel} ({self.path}), {size}, m = {self.m}{selects}{keys}"

    @property
    def per_rank(self) -> str:
        return " per rank" if self.scaling == "weak" else ""


@dataclass(frozen=True)
class BenchResults:
    path: Path
    provenance: dict[str, str | int | float]
    studies: tuple[ScalingStudy, ...]


def size_words(n: int) -> str:
    """A count of keys as a power of two where it is one."""
    return f"2^{n.bit_length() - 1}" if n >= 1024 and n & (n - 1) == 0 else f"{n}"


def kind_of(path: Path) -> str:
    """`study`, `bench`, or nothing where the file does not say."""
    try:
        with open_file(path) as file:
            return str(file.attrs.get("kind", ""))
    except (ResultsError, OSError):
        return ""


def _values(group: h5py.Group, name: str, shape: tuple[int, ...], where: str) -> Array:
    if name not in group or not isinstance(group[name], h5py.Dataset):
        raise ResultsError(f"{where}: dataset '{name}' is missing")
    values = group[name][()]
    if values.shape != shape:
        raise ResultsError(f"{where}: dataset '{name}' has shape {values.shape}, expected {shape}")
    if values.dtype.kind not in "iuf":
        raise ResultsError(f"{where}: dataset '{name}' has type {values.dtype}, expected numbers")
    return values


def _scale(group: h5py.Group, name: str, where: str) -> NDArray:
    if name not in group or not isinstance(group[name], h5py.Dataset) or group[name].ndim != 1:
        raise ResultsError(f"{where}: dimension scale '{name}' is missing")
    return group[name][()]


def _texts(group: h5py.Group, name: str, where: str) -> tuple[str, ...]:
    values = _scale(group, name, where)
    return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values)


def _busy_seconds(case: h5py.Group, phase: tuple[str, ...], samples: int, where: str) -> Array:
    """Per sample: the mean over ranks of all phases but the merge, times how much the busiest rank is above it."""
    phases = _values(case, "phase_seconds", (samples, len(phase), 3), where)
    outside = [i for i, name in enumerate(phase) if name != MERGE]
    return phases[:, outside, 1].sum(axis=1) * (1.0 + _values(case, "imbalance", (samples,), where))


def _read_study(file: h5py.File, group: h5py.Group, where: str) -> ScalingStudy:
    text: dict[str, Any] = {name: read_attribute(group, name, str, where) for name in TEXT}
    integers: dict[str, Any] = {name: read_attribute(group, name, int, where) for name in INTEGERS}
    if text["scaling"] not in ("strong", "weak"):
        raise ResultsError(f"{where}: scaling is '{text['scaling']}', expected strong or weak")
    ranks = _scale(group, "ranks", where)
    if len(ranks) == 0 or ranks[0] != 1 or np.any(np.diff(ranks) <= 0):
        raise ResultsError(f"{where}: 'ranks' does not ascend from 1")
    phase = _texts(group, "phase", where)
    samples = len(_scale(group, "sample", where))
    seconds = _values(group, "seconds", (len(ranks), samples), where)
    if samples == 0 or not np.all(seconds > 0):
        raise ResultsError(f"{where}: 'seconds' must be positive")
    identity = Path(group.name).name
    busy, valid = [], True
    for count in ranks:
        name = f"cases/{identity}-ranks{count}"
        if name not in file:
            raise ResultsError(f"{where}: /{name} is missing")
        inside = f"{file.filename}: /{name}"
        busy.append(_busy_seconds(file[name], phase, samples, inside))
        valid &= read_attribute(file[name], "verdict", str, inside) == "VALID"
    by_ranks: dict[str, Any] = {name: _values(group, name, (len(ranks),), where) for name in BY_RANKS}
    return ScalingStudy(
        id=identity,
        **text,
        **(integers | {"interleaved": bool(integers["interleaved"])}),
        valid=valid,
        ranks=ranks,
        seconds=seconds,
        busy_seconds=np.array(busy),
        **by_ranks,
        phase=phase,
        phase_seconds=_values(group, "phase_seconds", (len(ranks), len(phase), 3), where),
    )


def read_bench(path: str | Path) -> BenchResults:
    """The scaling studies of a benchmark file. Raises ResultsError, also where there is none."""
    path = Path(path)
    try:
        with open_file(path) as file:
            where = str(path)
            version = read_attribute(file, "schema_version", int, where)
            if version != SCHEMA_VERSION:
                raise ResultsError(f"{path}: schema_version is {version}, this reader knows {SCHEMA_VERSION}")
            kind = read_attribute(file, "kind", str, where)
            if kind != "bench":
                raise ResultsError(f"{path}: kind is '{kind}', expected 'bench'")
            provenance = {name: read_attribute(file, name, str, where) for name in [*ROOT_TEXT, "cpu"]}
            provenance |= {
                name: read_attribute(file, name, int, where) for name in ("ranks", "threads_per_rank", "seed")
            }
            if "scaling" not in file or not len(file["scaling"]):
                raise ResultsError(
                    f"{path}: there are no scaling studies; asymptop bench --scaling strong measures some"
                )
            studies = tuple(
                _read_study(file, group, f"{path}: /scaling/{name}") for name, group in file["scaling"].items()
            )
            return BenchResults(path, provenance, studies)
    except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:  # h5py's, of what it cannot follow
        raise ResultsError(f"{path}: is damaged ({str(error).strip()})") from error
