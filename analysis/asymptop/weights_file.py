"""W_Q and W_K of a model, head by head, from .safetensors, .npz, .npy or HDF5 files.

A tensor is (heads, d_model, d_head), or a matrix of all heads: out-first (heads * d_head, d_model) as torch stores a
linear layer, or in-first, its transpose. Where keys have fewer heads than queries (grouped-query attention),
consecutive query heads share one.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from .tensors import SUFFIXES, WIDENED, TensorError, read_catalogue
from .trial import refusal

HDF5_SUFFIXES = (".h5", ".hdf5")
LAYOUTS = ("auto", "out-first", "in-first")
# The part of a name that tells the role, at the end but for ".weight".
_ROLE = {
    "Q": r"(?:q_proj|query|query_proj|q_lin|to_q|attn_q|w_?q|q)",
    "K": r"(?:k_proj|key|key_proj|k_lin|to_k|attn_k|w_?k|k)",
}
# Query, key and value below one another: out-first, and in-first for GPT-2's c_attn.
_FUSED = r"(?:in_proj|in_proj_weight|qkv_proj|wqkv|c_attn)"
_IN_FIRST = re.compile(r"(?:^|[._/])(?:W_[QK]|c_attn)(?:[._/]weight)?$")


@dataclass(frozen=True)
class Tensor:
    """A tensor by name: its shape, and its values as float64 when asked for."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], NDArray[np.float64]]


@dataclass(frozen=True)
class Shape:
    """What the file may not say: taken from config.json beside it, or from options. 0 is unknown."""

    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    layout: str = "auto"


@dataclass(frozen=True, eq=False)
class Head:
    """One query head: W_Q and W_K as (d_head, d_model), and the query bias, which moves every key alike otherwise."""

    layer: str
    head: int
    kv_head: int
    query: NDArray[np.float64]
    key: NDArray[np.float64]
    query_bias: NDArray[np.float64]

    @property
    def product_norm(self) -> float:
        """‖W_Q W_K^T‖_F from the Gram matrices of the factors: nothing of size d_model x d_model is made."""
        with np.errstate(all="ignore"):
            norm = float(np.sqrt(np.sum((self.query @ self.query.T) * (self.key @ self.key.T))))
        if not np.isfinite(norm):
            raise TensorError(f"head {self.head}: the norm of W_Q W_K^T is {norm}, the weights hold numbers of no use")
        return norm


def _hdf5_tensors(path: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def read(name: str) -> NDArray[np.float64]:
        with h5py.File(path, "r") as file:
            return np.asarray(file[name], dtype=np.float64)

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and node.dtype.kind == "f":
            found[name] = Tensor(name, tuple(node.shape), lambda: read(name))

    try:
        if why := refusal(path):
            raise TensorError(f"{path}: {why}")
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise TensorError(f"{path}: not a readable HDF5 file") from error
    return found


def _catalogue_tensors(path: Path) -> dict[str, Tensor]:
    def reader(source) -> Callable[[], NDArray[np.float64]]:
        def read() -> NDArray[np.float64]:
            with tempfile.TemporaryDirectory() as scratch:
                return np.asarray(source.widen(source.map(Path(scratch))), dtype=np.float64)

        return read

    catalogue = read_catalogue(path)
    return {n: Tensor(n, s.shape, reader(s)) for n, s in catalogue.items() if s.kind in WIDENED}


def read_tensors(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Every floating-point tensor of the files. Raises TensorError."""
    found: dict[str, Tensor] = {}
    for path in paths:
        if path.suffix in HDF5_SUFFIXES:
            if not path.is_file():
                raise TensorError(f"{path}: no such file")
            found |= _hdf5_tensors(path)
        elif path.suffix in SUFFIXES:
            found |= _catalogue_tensors(path)
        else:
            allowed = ", ".join((*SUFFIXES, *HDF5_SUFFIXES))
            raise TensorError(f"{path}: the name ends in '{path.suffix}', allowed are {allowed}")
    return found


def read_config(path: Path, given: Shape) -> Shape:
    """Options over the model's config.json, if one lies beside the file."""
    config = path.parent / "config.json"
    facts: Mapping = {}
    if config.is_file():
        try:
            facts = json.loads(config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TensorError(f"{config}: not readable as JSON") from error
    heads = given.heads or int(facts.get("num_attention_heads") or facts.get("n_head") or 0)
    kv_heads = given.kv_heads or int(facts.get("num_key_value_heads") or 0)
    return Shape(heads, kv_heads, given.head_dim or int(facts.get("head_dim") or 0), given.layout)


def _pattern(role: str) -> re.Pattern:
    return re.compile(rf"(?:^|.*[._/]){_ROLE[role]}(?:[._/](?:weight|kernel))?$", re.IGNORECASE)


def _given(tensors: Mapping[str, Tensor], text: str, option: str) -> list[str]:
    """A name, or a pattern with * for what differs between layers."""
    expression = re.compile(".*".join(re.escape(part) for part in text.split("*")) + "$")
    names = [name for name in tensors if expression.match(name)]
    if not names:
        raise TensorError(f"{option} is '{text}', which no tensor is called; the file holds {_sample(tensors)}")
    return names


def _sample(tensors: Mapping[str, Tensor]) -> str:
    names = list(tensors)
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "no floating-point tensor"


def layer_of(name: str) -> str:
    numbers = re.findall(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])|(?<=layer)\d+|(?<=[hlL])\d+(?=[._/])", name)
    return numbers[0] if numbers else ""


def _paired(queries: Sequence[str], keys: Sequence[str]) -> list[tuple[str, str, str]]:
    """(layer, query, key): names that differ in the layer's number pair up by it."""
    by_layer = {layer_of(name): name for name in keys}
    if len(queries) != len(keys) or len(by_layer) != len(keys) or {layer_of(q) for q in queries} != set(by_layer):
        raise TensorError(
            f"{len(queries)} query and {len(keys)} key tensors do not pair up by layer; name them with --q and --k"
        )
    pairs = [(layer_of(q), q, by_layer[layer_of(q)]) for q in queries]
    return sorted(pairs, key=lambda pair: (len(pair[0]), pair[0]))


def _split(values: NDArray, name: str, heads: int, shape: Shape) -> NDArray:
    """(heads, d_head, d_model) of a tensor of all heads. `heads` is 0 where one matrix is one head."""
    if values.ndim == 3:
        return values.swapaxes(1, 2)
    if values.ndim != 2:
        raise TensorError(f"{name} has shape {values.shape}, allowed are matrices and (heads, d_model, d_head)")
    in_first = shape.layout == "in-first" or (shape.layout == "auto" and _IN_FIRST.search(name) is not None)
    matrix = values.T if in_first else values
    count = heads or 1
    if matrix.shape[0] % count or (shape.head_dim and matrix.shape[0] != count * shape.head_dim):
        wanted = f"{count} heads" + (f" of {shape.head_dim}" if shape.head_dim else "")
        raise TensorError(
            f"{name} has {matrix.shape[0]} outputs, which are not {wanted}; see --heads, --kv-heads, --layout"
        )
    return matrix.reshape(count, matrix.shape[0] // count, matrix.shape[1])


def _bias(tensors: Mapping[str, Tensor], name: str, heads: int, head_dim: int) -> NDArray[np.float64]:
    """The query bias beside a weight, or zeros."""
    other = re.sub(r"weight$", "bias", name)
    if other != name and other in tensors and tensors[other].shape == (heads * head_dim,):
        return tensors[other].read().reshape(heads, head_dim)
    return np.zeros((heads, head_dim))


def _heads_of_layer(layer: str, query: NDArray, key: NDArray, bias: NDArray, names: str) -> list[Head]:
    if query.shape[1:] != key.shape[1:]:
        raise TensorError(
            f"{names}: heads are {query.shape[1:]} and {key.shape[1:]} (d_head, d_model); they must agree"
        )
    if len(query) % len(key):
        raise TensorError(f"{names}: {len(query)} query heads cannot share {len(key)} key heads evenly")
    group = len(query) // len(key)
    return [Head(layer, h, h // group, query[h], key[h // group], bias[h]) for h in range(len(query))]


def _fused_layer(tensors: Mapping[str, Tensor], name: str, shape: Shape) -> list[Head]:
    if not shape.heads:
        raise TensorError(f"--heads is missing: {name} holds the queries, keys and values of all heads")
    values = tensors[name].read()
    in_first = shape.layout == "in-first" or (shape.layout == "auto" and _IN_FIRST.search(name) is not None)
    matrix = values.T if in_first else values
    kv_heads = shape.kv_heads or shape.heads
    total = shape.heads + 2 * kv_heads
    if matrix.ndim != 2 or matrix.shape[0] % total:
        raise TensorError(f"{name} has shape {values.shape}, which is not {shape.heads} + 2 x {kv_heads} heads")
    head_dim = matrix.shape[0] // total
    blocks = matrix.reshape(total, head_dim, matrix.shape[1])
    query, key = blocks[: shape.heads], blocks[shape.heads : shape.heads + kv_heads]
    return _heads_of_layer(layer_of(name), query, key, np.zeros((shape.heads, head_dim)), name)


def find_heads(
    tensors: Mapping[str, Tensor], shape: Shape, query_name: str | None = None, key_name: str | None = None
) -> list[Head]:
    """Every head of every layer, in order. Raises TensorError."""
    queries = _given(tensors, query_name, "--q") if query_name else [n for n in tensors if _pattern("Q").match(n)]
    keys = _given(tensors, key_name, "--k") if key_name else [n for n in tensors if _pattern("K").match(n)]
    queries, keys = ([n for n in names if len(tensors[n].shape) >= 2] for names in (queries, keys))
    if not queries and not keys:
        fused = re.compile(rf"(?:^|.*[._/]){_FUSED}(?:[._/]weight)?$", re.IGNORECASE)
        names = [n for n in tensors if fused.match(n) and len(tensors[n].shape) == 2]
        if not names:
            raise TensorError(f"no query and key weights found among {_sample(tensors)}; name them with --q and --k")
        return [head for name in names for head in _fused_layer(tensors, name, shape)]
    heads = []
    for layer, query, key in _paired(queries, keys):
        q_heads = shape.heads
        kv_heads = shape.kv_heads or shape.heads
        if not q_heads and not _IN_FIRST.search(query) and len(tensors[query].shape) == 2 and shape.layout == "auto":
            raise TensorError(
                f"--heads is missing: {query} is a matrix of all heads, and there is no config.json beside it"
            )
        split_query = _split(tensors[query].read(), query, q_heads, shape)
        split_key = _split(tensors[key].read(), key, kv_heads, shape)
        bias = _bias(tensors, query, len(split_query), split_query.shape[1])
        heads += _heads_of_layer(layer, split_query, split_key, bias, f"{query} and {key}")
    return heads
