"""Which files make a checkpoint, and their tensors: one file or many, a folder, an index of shards."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..io.number_formats import WIDENED
from ..tensors.foreign_files import is_foreign, not_taken
from ..tensors.mapped import SourceTensor, TensorError
from ..tensors.roles import SUFFIXES, read_catalogue
from . import gguf_tensors
from .checkpoint import Checkpoint, Tensor
from .model_config import ModelConfig

INDEX_SUFFIX = ".safetensors.index.json"
ALLOWED = (*SUFFIXES, gguf_tensors.SUFFIX, INDEX_SUFFIX)
_SHARD = re.compile(r"(.*?)-?(\d+)-of-(\d+)(\.\w+)$")


def read_checkpoint(paths: Sequence[Path]) -> Checkpoint:
    """Raises TensorError, also where two files hold tensors of one name."""
    files, notes, folder = [], [], None
    for path in paths:
        found, said = _files_of(path)
        files += found
        notes += said
        folder = folder or (path if path.is_dir() else path.parent)
    checkpoint = Checkpoint({}, folder or Path(), notes)
    for path, names in files:
        held, config = _opened(path)
        checkpoint.config = checkpoint.config or config
        for name, tensor in held.items():
            if names is not None and name not in names:
                continue
            if (other := checkpoint.tensors.get(name)) is not None:
                raise TensorError(f"{path} and {other.path} both hold a tensor called {name}; give one of them")
            checkpoint.tensors[name] = tensor
        if lost := sorted((names or set()) - set(checkpoint.tensors)):
            raise TensorError(f"{path} does not hold {lost[0]}, which the index says lies there")
    checkpoint.missing_shards = _missing_shards([path for path, _ in files])
    if checkpoint.missing_shards:
        checkpoint.notes.append(checkpoint.missing_shards)
    return checkpoint


def file_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of one file. Raises TensorError."""
    return _opened(path)[0]


def _opened(path: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    if path.suffix == gguf_tensors.SUFFIX:
        return gguf_tensors.gguf_tensors(path)
    if path.suffix.lower() in SUFFIXES and not is_foreign(path):
        return {name: _tensor(source) for name, source in read_catalogue(path).items()}, None
    raise TensorError(not_taken(path, ALLOWED))


def _tensor(source: SourceTensor) -> Tensor:
    def read() -> NDArray[np.float64]:
        with tempfile.TemporaryDirectory() as scratch:
            return np.asarray(source.widen(source.map(Path(scratch))), dtype=np.float64)

    fault = "" if source.kind in WIDENED else source.kind
    return Tensor(source.name, source.shape, fault, source.path, read, source.kind, source.turned)


# ---- which files -------------------------------------------------------------------------------------------------

_Files = list[tuple[Path, set[str] | None]]


def _files_of(path: Path) -> tuple[_Files, list[str]]:
    """(file, the names wanted of it, None for all), and what was left out of a folder."""
    if path.name.endswith(INDEX_SUFFIX):
        return _of_index(path), []
    if not path.is_dir():
        return [(path, None)], []
    if is_foreign(path):
        raise TensorError(not_taken(path, ALLOWED))
    indices = sorted(path.glob(f"*{INDEX_SUFFIX}"))
    if len(indices) == 1:
        return _of_index(indices[0]), []
    files = sorted(path.glob("*.safetensors"))
    usual = [file for file in files if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", file.name)]
    chosen = usual or files
    if not chosen or len(indices) > 1 or (len(chosen) > 1 and not all(_SHARD.match(f.name) for f in chosen)):
        raise TensorError(_choose(path, [*indices, *files]))
    left = [file.name for file in files if file not in chosen]
    return [(f, None) for f in chosen], [f"{path}: left out are {', '.join(left)}"] if left else []


def _choose(path: Path, found: Sequence[Path]) -> str:
    if found:
        return f"{path}: more than one file of weights ({', '.join(f.name for f in found[:6])}); name those to read"
    other = [f for f in sorted(path.iterdir()) if f.suffix.lower() in SUFFIXES or is_foreign(f)]
    if len(other) == 1 and is_foreign(other[0]):
        return not_taken(other[0], ALLOWED)
    names = f"; name those to read of {', '.join(f.name for f in other[:6])}" if other else ""
    return f"{path}: the folder holds no .safetensors{names}"


def _of_index(path: Path) -> _Files:
    try:
        places = json.loads(path.read_text(encoding="utf-8-sig"))["weight_map"]
        pairs = [(str(name), path.parent / place) for name, place in places.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TensorError(f"{path}: not a readable index of shards ({type(error).__name__}: {error})") from error
    files = sorted({place for _, place in pairs})
    if not files:
        raise TensorError(f"{path}: the index names no tensor")
    for file in files:
        if not file.is_file():
            raise TensorError(f"{path}: the shard {file.name} is not there ({len(files)} are named)")
    return [(file, {name for name, place in pairs if place == file}) for file in files]


def _missing_shards(files: Sequence[Path]) -> str:
    """Shards are numbered 'name-00001-of-00003': which were not given."""
    given: dict[tuple[Path, str, int], set[int]] = {}
    for path in files:
        if shard := _SHARD.match(path.name):
            given.setdefault((path.parent, shard[1], int(shard[3])), set()).add(int(shard[2]))
    for (_, name, total), numbers in given.items():
        if len(numbers) < total:
            some = ", ".join(map(str, sorted(numbers)[:6]))
            return f"given of the {total} shards of {name}: {some}; tensors of the others are not counted"
    return ""
