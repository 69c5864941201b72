"""Which tensor of which file is Q, K and V, and which lie beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from . import hdf5_tensors, mapped
from .foreign_files import not_taken
from .mapped import SourceTensor, TensorError

ROLES = ("Q", "K", "V")
USUAL_NAMES = {
    "Q": ("q", "query", "queries", "query_states", "query_layer"),
    "K": ("k", "key", "keys", "key_states", "key_layer"),
    "V": ("v", "value", "values", "value_states", "value_layer"),
}
SUFFIXES = (*mapped.SUFFIXES, *hdf5_tensors.SUFFIXES)
Catalogues = Mapping[Path, Mapping[str, SourceTensor]]


def read_catalogue(path: Path) -> dict[str, SourceTensor]:
    """Every tensor of a file by name."""
    if path.suffix in hdf5_tensors.SUFFIXES:
        return hdf5_tensors.hdf5_catalogue(path)
    if path.suffix not in mapped.SUFFIXES:
        raise TensorError(not_taken(path, SUFFIXES))
    return mapped.read_catalogue(path)


def choose_tensors(catalogues: Catalogues, wanted: Mapping[str, str | None]) -> dict[str, SourceTensor]:
    """The source of each of Q, K and V: by name, by FILE[:NAME], by its usual name, or by the order of three files."""
    if not catalogues and not all(wanted.values()):
        raise TensorError("no input: give one file with Q, K and V, three files, or --q, --k and --v as FILE[:NAME]")
    if not any(wanted.values()):
        by_order = [next(iter(found.values())) for found in catalogues.values() if len(found) == 1]
        by_name = {role: _usual(role, catalogues) for role in ROLES}
        if len(catalogues) == len(by_order) == 3 and not all(by_name.values()):
            return dict(zip(ROLES, by_order, strict=True))
    return {role: _choose(role, wanted[role], catalogues) for role in ROLES}


def named(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"


def _available(catalogues: Catalogues) -> str:
    return named(name for found in catalogues.values() for name in found)


def _usual(role: str, catalogues: Catalogues) -> list[SourceTensor]:
    return [t for found in catalogues.values() for t in found.values() if t.name.lower() in USUAL_NAMES[role]]


def _choose(role: str, wanted: str | None, catalogues: Catalogues) -> SourceTensor:
    option = f"--{role.lower()}"
    if wanted is not None:
        return find(option, wanted, catalogues)
    found = _usual(role, catalogues)
    if len(found) != 1:
        problem = f"no tensor is named {role}" if not found else f"{len(found)} tensors could be {role}"
        raise TensorError(f"{problem}; choose with {option} NAME or FILE[:NAME] from: {_available(catalogues)}")
    return found[0]


def find(option: str, wanted: str, catalogues: Catalogues) -> SourceTensor:
    """The tensor of that name among the inputs, or that of FILE[:NAME]."""
    names = {wanted, wanted.lstrip("/")}  # HDF5's may begin with its root
    found = [t for catalogue in catalogues.values() for name, t in catalogue.items() if name in names]
    if not found and (parts := re.fullmatch(rf"(.*?(?:{'|'.join(map(re.escape, SUFFIXES))}))(?::(.+))?", wanted)):
        return _find_in_file(option, Path(parts[1]), parts[2])
    if len(found) != 1:
        problem = f"{option} is '{wanted}', {'no' if not found else 'more than one'} input has such a tensor"
        raise TensorError(f"{problem}; choose with {option} NAME or FILE[:NAME] from: {_available(catalogues)}")
    return found[0]


def _find_in_file(option: str, path: Path, name: str | None) -> SourceTensor:
    catalogue = read_catalogue(path)
    if name is None and len(catalogue) == 1:
        return next(iter(catalogue.values()))
    found = [t for known, t in catalogue.items() if name is not None and known in {name, name.lstrip("/")}]
    if len(found) != 1:
        problem = f"{option} names no tensor of" if name is None else f"{option} asks for '{name}', which is not in"
        raise TensorError(f"{problem} {path}; allowed: {named(catalogue)}")
    return found[0]
