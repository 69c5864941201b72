"""Strict reader of files of `asymptop precision`, schema version 1 (end of src/results/README.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..theory import laws
from ..theory.statistics import Array
from .reader import ResultsError, open_file, read_attribute
from .schema import ROOT_TEXT, SCHEMA_VERSION

KIND = "precision"
_PER_ROW = ("sum_p", "sum_p_in_format", "entropy_nats", "participation_ratio", "zeros")
_PER_K = ("tail_mass", "missed_mass")
ORDER_WORDS = {"sequential": "one after another", "pairwise": "in pairs", "blocked": "in blocks"}


@dataclass(frozen=True)
class Arithmetic:
    """A set of formats: as it was given, and the order of its sum."""

    text: str
    order: str

    @property
    def label(self) -> str:
        return f"{self.text}, {self.order}"

    @property
    def words(self) -> str:
        return f"{self.text} summed {ORDER_WORDS.get(self.order, self.order)}"


@dataclass(frozen=True, eq=False)
class PrecisionCase:
    """Rows of one length under one sigma law, or of one head of a tensor file. Arrays are (draw, row, set, ...); set 0
    is fp64, in pairs."""

    id: str
    n: int
    sigma_law: str
    valid: bool
    verdict_reason: str
    sets: tuple[Arithmetic, ...]
    k: NDArray[np.int64]
    k_law: tuple[str, ...]
    k_of_law: NDArray[np.int64]
    data: dict[str, Array]
    layer: int = -1
    head: int = -1  # of drawn rows

    @property
    def source(self) -> str:
        """What the rows are of: their law of sigma, or `layer 5, head 3`."""
        if self.head < 0:
            return self.sigma_law
        return (f"layer {self.layer}, " if self.layer >= 0 else "") + f"head {self.head}"

    @property
    def rows(self) -> int:
        return int(np.prod(self.data["sum_p"].shape[:2]))

    @property
    def draws(self) -> int:
        return self.data["sum_p"].shape[0]

    def values(self, name: str, at: int, k_law: str | None = None) -> Array:
        """(draw, row) of one set; of the k of a law where the metric has one."""
        values = self.data[name][:, :, at]
        if k_law is None:
            return values
        return values[:, :, int(np.searchsorted(self.k, self.k_of_law[self.k_law.index(k_law)]))]


@dataclass(frozen=True)
class PrecisionResults:
    path: Path
    provenance: dict[str, str | int | float]
    cases: tuple[PrecisionCase, ...]

    @property
    def by_law(self) -> dict[str, list[PrecisionCase]]:
        """VALID cases of every sigma law, or head, in ascending n."""
        found: dict[str, list[PrecisionCase]] = {}
        for case in sorted(self.cases, key=lambda c: c.n):
            if case.valid:
                found.setdefault(case.source, []).append(case)
        return found


def _texts(group: h5py.Group, name: str, where: str) -> tuple[str, ...]:
    if name not in group:
        raise ResultsError(f"{where}: dimension scale '{name}' is missing")
    return tuple(v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in group[name][()])


def _read_case(group: h5py.Group, where: str) -> PrecisionCase:
    facts = {name: read_attribute(group, name, int, where) for name in ("n", "draws", "rows")}
    texts = {name: read_attribute(group, name, str, where) for name in ("id", "sigma_law", "verdict", "verdict_reason")}
    sets = tuple(
        Arithmetic(text, order)
        for text, order in zip(_texts(group, "precision", where), _texts(group, "order", where), strict=True)
    )
    shape = (facts["draws"], facts["rows"], len(sets))
    data = {}
    for name in (*_PER_ROW, *_PER_K):
        if name not in group:
            raise ResultsError(f"{where}: dataset '{name}' is missing")
        expected = (*shape, len(group["k"])) if name in _PER_K else shape
        data[name] = np.asarray(group[name][()], dtype=np.float64)
        if data[name].shape != expected:
            raise ResultsError(f"{where}: dataset '{name}' has shape {data[name].shape}, expected {expected}")
        if texts["verdict"] == "VALID" and not np.all(np.isfinite(data[name])):
            raise ResultsError(f"{where}: is VALID but '{name}' is not finite")
    return PrecisionCase(
        id=texts["id"],
        n=facts["n"],
        sigma_law=texts["sigma_law"],
        valid=texts["verdict"] == "VALID",
        verdict_reason=texts["verdict_reason"],
        sets=sets,
        k=group["k"][()],
        k_law=_texts(group, "k_law", where),
        k_of_law=group["k_of_law"][()],
        data=data,
        **{name: read_attribute(group, name, int, where) for name in ("layer", "head") if name in group.attrs},
    )


def source_tex(source: str) -> str:
    """A name of PrecisionResults.by_law, for the title of a panel."""
    return source if "head" in source else f"σ = {laws.to_tex(source)}"


def read_precision(path: Path) -> PrecisionResults:
    """Raises ResultsError in one line."""
    try:
        with open_file(path) as file:
            kind = str(file.attrs.get("kind", ""))
            if kind != KIND:
                raise ResultsError(f"{path}: kind is '{kind}', expected '{KIND}'")
            version = read_attribute(file, "schema_version", int, str(path))
            if version != SCHEMA_VERSION:
                raise ResultsError(f"{path}: schema_version is {version}, this reader knows {SCHEMA_VERSION}")
            provenance = {name: read_attribute(file, name, str, str(path)) for name in ROOT_TEXT}
            provenance |= {
                name: read_attribute(file, name, int, str(path))
                for name in ("ranks", "threads_per_rank", "seed", "block")
            }
            cases = tuple(_read_case(group, f"{path}: /cases/{name}") for name, group in file["cases"].items())
    except (OSError, KeyError) as error:
        raise ResultsError(f"{path}: not a readable file of asymptop precision ({error})") from error
    return PrecisionResults(path, provenance, cases)
