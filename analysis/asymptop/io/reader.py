"""Strict reader of results files, schema version 1 (src/results/README.md).

A file that breaks the schema is refused with a ResultsError of one line that names the file, the group and what
is wrong. Arrays stay on disk until asked for, so a study with many cases fits in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from ..theory.statistics import Array, mean_over_rows
from .schema import (
    CASE_INTEGERS,
    CASE_NUMBERS,
    CASE_TEXT,
    DATA,
    EXACT,
    NUMBER_SCALES,
    OF_GPUS,
    OF_ORDERS,
    OF_SELECTORS,
    OF_TARGETS,
    OPTIONAL,
    OPTIONAL_DATA,
    ROOT_INTEGERS,
    ROOT_NUMBERS,
    ROOT_TEXT,
    SCHEMA_VERSION,
    TEXT_SCALES,
)
from .seal import SealError, check_seal
from .streams import UsageError
from .trial import refusal, why_no_file


def has_order(selector: str) -> bool:
    """False for those that keep another set at every k, and under every law of sigma."""
    return selector.split(":")[0] not in ("vattention", "magicpig", "twilight", "threshold")


def keeps_by_rule(selector: str) -> bool:
    """True for those that keep as many keys as a rule says, the same set at every k."""
    return selector.split(":")[0] == "threshold"


# Attributes that a Case has under their own names.
_SAME = ("n", "d", "sigma_law", "sigma", "draws", "rows", "input", "head", "row_sigma", "weights", "mask", "seed")


# An array, or nothing where there is none.
Kept = TypeVar("Kept", bound=NDArray | None)


class ResultsError(UsageError):
    """A results file that cannot be read as schema version 1, in one line."""


@dataclass(frozen=True, eq=False)
class Case:
    """One case: attributes and scales in memory, arrays read on demand."""

    id: str
    n: int
    d: int
    sigma_law: str
    sigma: float
    draws: int
    rows: int
    input: str
    head: int
    row_sigma: str
    weights: str
    self_key: str
    mask: str
    seed: int
    valid: bool
    verdict_reason: str
    attributes: dict[str, str | int | float]
    k: NDArray[np.int64]
    epsilon: Array
    threshold: tuple[str, ...]
    k_law: tuple[str, ...]
    k_of_law: NDArray[np.int64]
    threshold_value: Array
    check: tuple[str, ...]
    check_residual: Array
    check_tolerance: Array
    _group: h5py.Group = field(repr=False)
    _kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    selector: str = EXACT  # which keys are kept, as `study --selectors` has it
    layer: int = -1  # of a model; -1 where the file has none
    window: int = 0  # keys that a row sees up to its own; 0 for all
    drop_first: int = 0  # first keys of the context that no row sees
    contexts: str = "prefix"  # "places": they end at places of their own; "starts": texts begin with them
    attention: str = ""  # what a model calls it, such as global or sliding
    softcap: float = 0.0  # logits are softcap tanh(. / softcap); 0 for none
    alibi_slope: float = 0.0  # and slope (key - query), of their places, on top
    d_v: int = 0  # columns of V, where they are not d
    index_d: int = 0  # of the trained indexer that `file` goes by, and its heads; 0 for other selectors
    index_heads: int = 0

    def __repr__(self) -> str:
        return f"<Case {self.id}: {'VALID' if self.valid else 'INVALID'}, {self.draws} draws of {self.rows} rows>"

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self._group)

    @property
    def seen(self) -> int:
        """Keys that a row sees, at most."""
        return min(self.n - self.drop_first, self.window or self.n)

    @property
    def paired(self) -> bool:
        """Whether draw i is of the same text at every n."""
        return self.contexts == "starts"

    @property
    def texts(self) -> int:
        """Texts of a tensor file that its draws are of; 1 where the file names none."""
        return len(set(self.raw("draw_text").tolist())) if self.has("draw_text") else 1

    def has(self, name: str) -> bool:
        return name in self._names

    @property
    def ordered(self) -> bool:
        """Whether what it keeps are the first keys of an order at every k."""
        return has_order(self.selector)

    def raw(self, name: str) -> NDArray:
        """The dataset as stored, unchecked; text as bytes."""
        return self._group[name][()]

    def datasets(self) -> dict[str, tuple[str, ...]]:
        """Names and axes of what the case holds: of the schema, and quantities of rows that only the file knows of."""
        found = {name: axes for name, axes in (DATA | OPTIONAL_DATA).items() if name in self._group}
        scales = [(name, data) for name, data in self._group.items() if data.is_scale]
        for name, data in self._group.items():
            if name in found or data.dtype.kind not in "iuf" or not all(len(axis) for axis in data.dims):
                continue
            # By object: HDF5 looks for the name of a scale in the whole file.
            axes = tuple(next((scale for scale, it in scales if it == axis[0]), "") for axis in data.dims)
            if axes[:2] == ("draw", "row"):
                found[name] = axes
        return found

    def values(self, name: str) -> NDArray:
        """The dataset as stored, (draw, row, ...). A VALID case with a number that is not finite is refused."""
        values = self._group[name][()]
        if self.valid and not np.all(np.isfinite(values)):
            raise ResultsError(f"{self._group.file.filename}: case '{self.id}' is VALID but '{name}' is not finite")
        return values

    def described(self, name: str) -> dict[str, str]:
        """`units` and `long_name` of a dataset, as far as the file has them."""
        attributes = self._group[name].attrs
        return {key: _text(attributes[key]) for key in ("units", "long_name") if key in attributes}

    def draw_means(self, name: str) -> Array:
        """Means over rows, (draw, ...)."""
        return self.kept(name, lambda: mean_over_rows(self.values(name)))

    def kept(self, key: Hashable, compute: Callable[[], Kept]) -> Kept:
        """A small derived array, computed once: several claims and figures ask for the same."""
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    @property
    def sigma_i(self) -> Array:
        """(draw, row): read once, since every expectation is one at each row's own sigma."""
        return self.kept("sigma_i, each", lambda: self.values("sigma_i").astype(float))

    def k_index(self, k: int) -> int:
        return int(np.searchsorted(self.k, k))


@dataclass(frozen=True)
class Results:
    """A results file, open for reading; use as a context manager."""

    path: Path
    provenance: dict[str, str | int | float]
    cases: tuple[Case, ...]
    _file: h5py.File = field(repr=False)

    def __repr__(self) -> str:
        return f"<Results {self.path}: {len(self.cases)} cases>"

    @property
    def exact(self) -> tuple[Case, ...]:
        """The cases of exact top-k; those of other selectors stand beside them in `cases`."""
        return tuple(case for case in self.cases if case.selector == EXACT)

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def read_attribute(node: h5py.Group, name: str, kind: type, where: str) -> Any:
    value = node.attrs.get(name)
    if value is None:
        raise ResultsError(f"{where}: attribute '{name}' is missing")
    if isinstance(value, np.ndarray):
        if value.size != 1:
            raise ResultsError(f"{where}: attribute '{name}' holds {value.size} values, expected one")
        value = value.reshape(-1)[0]
    if kind is str:
        if not isinstance(value, str | bytes):
            raise ResultsError(f"{where}: attribute '{name}' is {value!r}, expected text")
        return _text(value)
    if isinstance(value, str | bytes) or not isinstance(value, np.number | int | float):
        raise ResultsError(f"{where}: attribute '{name}' is {value!r}, expected a number")
    # An integer may be beyond a double's 53 bits, as a seed is.
    if kind is int and not isinstance(value, int | np.integer) and not float(value).is_integer():
        raise ResultsError(f"{where}: attribute '{name}' is {value!r}, expected an integer")
    return kind(value)


def _attributes(node: h5py.Group, names: dict[type, tuple[str, ...] | list[str]], where: str) -> dict:
    return {name: read_attribute(node, name, kind, where) for kind, group in names.items() for name in group}


def _dataset(group: h5py.Group, name: str, where: str) -> h5py.Dataset:
    data = group.get(name)
    if not isinstance(data, h5py.Dataset):
        raise ResultsError(f"{where}: dataset '{name}' is missing")
    return data


def _scale(data: h5py.Dataset, name: str, where: str) -> NDArray | tuple[str, ...]:
    if data.ndim != 1:
        raise ResultsError(f"{where}: dimension scale '{name}' has {data.ndim} dimensions, expected 1")
    if not data.is_scale:
        raise ResultsError(f"{where}: dataset '{name}' is not a dimension scale")
    is_text = h5py.check_string_dtype(data.dtype) is not None
    if is_text != (name in TEXT_SCALES):
        raise ResultsError(
            f"{where}: dimension scale '{name}' has type {data.dtype}, expected "
            f"{'text' if name in TEXT_SCALES else 'numbers'}"
        )
    values = data[()]
    return tuple(_text(v) for v in values) if is_text else values


def _has_scale(data: h5py.Dataset, axis: int, scale: h5py.Dataset) -> bool:
    """By identity, not by name: HDF5 finds the name of a scale by searching the whole file."""
    found: list[h5py.h5d.DatasetID] = []
    if h5py.h5ds.get_num_scales(data.id, axis):
        h5py.h5ds.iterate(data.id, axis, found.append)
    return scale.id in found


def _check_dimensions(
    data_name: str,
    data: h5py.Dataset,
    names: tuple[str, ...],
    lengths: dict[str, int],
    scales: dict[str, h5py.Dataset],
    where: str,
) -> None:
    expected = tuple(lengths[name] for name in names)
    what = f"'{data_name}'"
    if data.shape != expected:
        raise ResultsError(f"{where}: dataset {what} has shape {data.shape}, expected {expected} ({', '.join(names)})")
    if data.dtype.kind not in "iuf":
        raise ResultsError(f"{where}: dataset {what} has type {data.dtype}, expected numbers")
    for axis, name in enumerate(names):
        try:
            if _has_scale(data, axis, scales[name]):
                continue
            attached = [Path(scale.name).name for scale in data.dims[axis].values()]
        except (RuntimeError, KeyError) as error:
            raise ResultsError(f"{where}: dimension {axis} of {what} has a scale that cannot be followed") from error
        if name not in attached:
            raise ResultsError(f"{where}: dimension {axis} of {what} has scale {attached or 'none'}, expected '{name}'")


def _check_consistency(case: Case, where: str) -> None:
    if case.k.size and np.any(np.diff(case.k) <= 0):
        raise ResultsError(f"{where}: 'k' is not ascending")
    if case.k.size and (case.k[0] < 1 or case.k[-1] > case.n):
        raise ResultsError(f"{where}: 'k' reaches outside 1..n")
    missing = set(case.k_of_law.tolist()) - set(case.k.tolist())
    if missing:
        raise ResultsError(f"{where}: 'k_of_law' holds {min(missing)}, which is not in 'k'")


def _read_case(group: h5py.Group, where: str) -> Case:
    attributes = _attributes(group, {str: CASE_TEXT, int: CASE_INTEGERS, float: CASE_NUMBERS}, where)
    there = {name: type(default) for name, default in OPTIONAL.items() if name in group.attrs}
    attributes |= {name: read_attribute(group, name, kind, where) for name, kind in there.items()}
    attributes |= {name: read_attribute(group, name, int, where) for name in OF_GPUS if name in group.attrs}
    attributes |= {
        name: read_attribute(group, name, kind, where) for name, kind in OF_TARGETS.items() if name in group.attrs
    }
    if attributes["verdict"] not in ("VALID", "INVALID"):
        raise ResultsError(f"{where}: verdict is '{attributes['verdict']}', expected VALID or INVALID")
    if attributes["n"] < 1 or attributes["draws"] < 1 or attributes["rows"] < 1:
        raise ResultsError(f"{where}: n, draws and rows must be at least 1")
    held = {name: _dataset(group, name, where) for name in NUMBER_SCALES + TEXT_SCALES}
    scales: dict[str, Any] = {name: _scale(data, name, where) for name, data in held.items()}
    lengths = {name: len(values) for name, values in scales.items()}
    for name, attribute in (("draw", "draws"), ("row", "rows")):
        if lengths[name] != attributes[attribute]:
            raise ResultsError(
                f"{where}: '{name}' has {lengths[name]} entries but {attribute} = {attributes[attribute]}"
            )
    selector = attributes.get("selector", EXACT)
    for name, dimensions in (DATA if selector == EXACT else DATA | OF_SELECTORS).items():
        if name in OF_ORDERS and not has_order(selector):
            continue
        _check_dimensions(name, _dataset(group, name, where), dimensions, lengths, held, where)
    for name, dimensions in OPTIONAL_DATA.items():
        if name in group:
            _check_dimensions(name, _dataset(group, name, where), dimensions, lengths, held, where)
    same: dict[str, Any] = {name: attributes[name] for name in (*_SAME, "verdict_reason")}
    case = Case(
        id=Path(group.name).name,
        **same,
        self_key=attributes["self"],
        valid=attributes["verdict"] == "VALID",
        attributes=attributes,
        **{name: scales[name] for name in ("k", "epsilon", "threshold", "k_law", "check")},
        **{name: group[name][()] for name in ("k_of_law", "threshold_value", "check_residual", "check_tolerance")},
        _group=group,
        **{name: attributes[name] for name in there},
    )
    _check_consistency(case, where)
    return case


def _read_root(file: h5py.File, path: Path) -> Results:
    version = read_attribute(file, "schema_version", int, str(path))
    if version != SCHEMA_VERSION:
        raise ResultsError(f"{path}: schema_version is {version}, this reader knows {SCHEMA_VERSION}")
    kind = read_attribute(file, "kind", str, str(path))
    if kind != "study":
        raise ResultsError(f"{path}: kind is '{kind}', expected 'study'")
    provenance = _attributes(file, {str: ROOT_TEXT, int: ROOT_INTEGERS, float: ROOT_NUMBERS}, str(path))
    if "cases" not in file or not isinstance(file["cases"], h5py.Group) or not len(file["cases"]):
        raise ResultsError(f"{path}: there are no cases under /cases")
    cases = []
    for name, group in file["cases"].items():
        where = f"{path}: /cases/{name}"
        if not isinstance(group, h5py.Group):
            raise ResultsError(f"{where}: is not a group")
        cases.append(_read_case(group, where))
    return Results(path, provenance, tuple(cases), file)


def open_file(path: Path) -> h5py.File:
    """Open an HDF5 file, unless its seal is broken, or it has none and fails its trial. Raises ResultsError."""
    if not path.is_file():
        raise ResultsError(f"{path}: {why_no_file(path)}")
    try:
        if not check_seal(path) and (why := refusal(path)):
            raise ResultsError(f"{path}: {why}")
        return h5py.File(path, "r", locking=False)  # results never change once they have their name
    except SealError as error:
        raise ResultsError(str(error)) from error
    except OSError as error:
        raise ResultsError(f"{path}: not a readable HDF5 file") from error


def open_results(path: str | Path) -> Results:
    """Open a file of `asymptop study` or `simulate` and check its seal and schema; a context manager.

    Arrays stay on disk until asked for, so the file must stay open while its cases are used. Raises ResultsError, with
    one line that names the file and what is wrong: no such file, a broken seal, another schema version, damage.
    """
    path = Path(path)
    file = open_file(path)
    try:
        return _read_root(file, path)
    except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:  # h5py's, of what it cannot follow
        file.close()
        raise ResultsError(f"{path}: is damaged ({str(error).strip()})") from error
    except Exception:
        file.close()
        raise
