"""Version 2 of the tensor file: several texts and layers, and beside Q and K all that a layer's logits consist of.

/ has `tensor_format` = 2. text<T>/layer<L> holds Q (heads, m, d), K (key heads, n, d) and V (key heads, n, d_v); query
row i stands at position n - m + i, and query head h reads key head h // (heads / key heads). With s = scale q.k of a
query at position p and a key at position j, the logit is

    softcap tanh(s / softcap) + a (j - p)        softcap 0: s + a (j - p)

over the keys j that the row sees: all for mask "none"; j <= p for "causal"; of these the last `window` where that is
not 0. exp(sink) of a head's learned sink takes part in the denominator of the softmax, with no value.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5_tensors import SUFFIXES
from .mapped import SourceTensor, TensorError
from .study_input import chunk_rows
from .views import Reading

FORMAT = 2
MASKS = ("causal", "none")
DATASETS = {"Q": "queries", "K": "keys", "V": "values"}
# One number a head, each: what it is.
PER_HEAD = {
    "sinks": "learned logit of each head that takes part in the denominator, with no value",
    "alibi": "slope a of each head: a logit gets a * (key position - query position)",
}


@dataclass(frozen=True, eq=False)
class LogitTerms:
    """What a layer's logits consist of beside queries and keys."""

    scale: float
    mask: str  # one of MASKS
    softcap: float = 0.0  # 0: none
    window: int = 0  # keys that a row sees, its own among them; 0: all
    attention: str = ""  # "global", "sliding", or not known
    per_head: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # of PER_HEAD, (heads) each

    def __post_init__(self) -> None:
        if self.mask not in MASKS:
            raise TensorError(f"the mask is '{self.mask}', allowed are {' and '.join(MASKS)}")
        if self.window < 0:
            raise TensorError(f"window is {self.window}, allowed are integers from 0 on")
        if self.window and self.mask != "causal":
            raise TensorError(f"a window of {self.window} keys needs the mask 'causal'")
        if not 0.0 < self.scale < np.inf:
            raise TensorError(f"scale is {self.scale:g}, allowed are finite numbers over 0")
        if not 0.0 <= self.softcap < np.inf:
            raise TensorError(f"softcap is {self.softcap:g}, allowed are finite numbers from 0 on")
        for name, values in self.per_head.items():
            if not np.isfinite(values).all():
                raise TensorError(f"{name} has a number that is not finite, of head {np.argmin(np.isfinite(values))}")


def write_root(file: h5py.File, model: str, source_dtype: str, more: dict[str, str]) -> None:
    """Attributes of the whole file; `source_dtype` is the type that the numbers were computed in."""
    file.attrs["tensor_format"] = np.int64(FORMAT)
    file.attrs["model"] = model
    file.attrs["source_dtype"] = source_dtype
    file.attrs.update(more)


def write_text(group: h5py.Group, name: str, tokens: int, start: int) -> None:
    """`tokens` of the context, which begins at token `start` of the text called `name`."""
    group.attrs["name"] = name
    group.attrs["tokens"] = np.int64(tokens)
    group.attrs["start"] = np.int64(start)


def write_layer(
    group: h5py.Group, layer: int, tensors: dict[str, NDArray], terms: LogitTerms, first_position: int = 0
) -> None:
    """Q, K and V, (heads, rows, columns) each, a head at a time; other number types become float32."""
    for name, words in DATASETS.items():
        tensor = tensors[name]
        heads, rows, columns = tensor.shape
        kind: np.dtype = np.dtype(np.float32)
        chunks = (1, chunk_rows(rows, columns, kind.itemsize), columns)
        dataset = group.create_dataset(name, tensor.shape, kind, chunks=chunks)
        dataset.attrs["long_name"] = words
        for head in range(heads):
            head_values: NDArray = np.ascontiguousarray(tensor[head], dtype=kind)
            if not np.isfinite(head_values).all():
                raise TensorError(f"layer {layer}: {name} has a number that is not finite, in head {head}")
            dataset[head] = head_values
    write_terms(group, layer, terms, first_position)


def write_terms(group: h5py.Group, layer: int, terms: LogitTerms, first_position: int = 0) -> None:
    """All of a layer's group but Q, K and V."""
    group.attrs["layer"] = np.int64(layer)
    group.attrs["first_position"] = np.int64(first_position)
    group.attrs["scale"] = np.float64(terms.scale)
    group.attrs["softcap"] = np.float64(terms.softcap)
    group.attrs["window"] = np.int64(terms.window)
    group.attrs["mask"] = terms.mask
    if terms.attention:
        group.attrs["attention"] = terms.attention
    for name, values in terms.per_head.items():
        group.create_dataset(name, data=np.asarray(values, dtype=np.float64)).attrs["long_name"] = PER_HEAD[name]


def read_terms(group: h5py.Group) -> LogitTerms:
    """Of a layer's group. Raises TensorError, with the file and the layer, where a part is missing or cannot be."""
    try:
        _check_kinds(group)
        return LogitTerms(
            scale=float(_attribute(group, "scale", "fiu", "one number")),
            mask=_text(_attribute(group, "mask", "SUO", "a text")),
            softcap=float(_attribute(group, "softcap", "fiu", "one number", 0.0)),
            window=int(_attribute(group, "window", "iu", "an integer", 0)),
            attention=_text(_attribute(group, "attention", "SUO", "a text", "")),
            per_head={name: _per_head(group, name) for name in PER_HEAD if name in group},
        )
    except TensorError as error:
        raise TensorError(f"{group.file.filename}: {group.name.lstrip('/')}: {error}") from None


def _check_kinds(group: h5py.Group) -> None:
    """Raises TensorError for a part that lies where it would not be read."""
    for name in PER_HEAD:
        if name in group.attrs:
            raise TensorError(f"has {name} as an attribute, allowed is a dataset of a number for each head")
    for name in ("scale", "softcap", "window", "mask", "attention"):
        if name in group:
            raise TensorError(f"has {name} as a dataset, allowed is an attribute")


def _attribute(group: h5py.Group, name: str, kinds: str, allowed: str, default: object = None) -> Any:
    """One value of a NumPy type of these kinds."""
    value = group.attrs.get(name, default)
    if value is None:
        raise TensorError(f"lacks the attribute {name}, which every layer has")
    if np.ndim(value) or np.asarray(value).dtype.kind not in kinds:
        raise TensorError(f"the attribute {name} is {textwrap.shorten(repr(value), 60)}, allowed is {allowed}")
    return value


def _per_head(group: h5py.Group, name: str) -> NDArray[np.float64]:
    heads = group["Q"].shape[:1]
    if group[name].shape != heads or group[name].dtype.kind != "f":
        raise TensorError(f"{name} is {group[name].dtype} of shape {group[name].shape}, allowed are floats of {heads}")
    return group[name][()].astype(np.float64)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def is_layered(path: Path) -> bool:
    """A tensor file of version 2."""
    try:
        with h5py.File(path, "r") as file:
            return np.array_equal(file.attrs.get("tensor_format", 0), FORMAT)
    except OSError:
        return False


def layer_names(file: h5py.File) -> list[str]:
    """Every text<T>/layer<L>, in the order of texts and layers."""

    def numbered(group: h5py.Group, prefix: str) -> list[str]:
        found = [name for name in group if name.removeprefix(prefix).isdecimal() and name.startswith(prefix)]
        return sorted(found, key=lambda name: int(name.removeprefix(prefix)))

    return [f"{text}/{layer}" for text in numbered(file, "text") for layer in numbered(file[text], "layer")]


# ---- from arrays of many layers or texts -----------------------------------------------------------------------------


def layers_of(
    axis: str | None, mask: str | None, sources: Mapping[str, SourceTensor], reading: Reading
) -> list[tuple[str, Reading]]:
    """Each layer's place in the file, and how it is read of (layers or texts, heads, n, d); '' is the root."""
    if axis is None:
        if mask is not None:
            raise TensorError(f"--mask is '{mask}', and goes with --first-axis; study has a --mask of its own")
        return [("", reading)]
    if axis not in ("layers", "texts"):
        raise TensorError(f"--first-axis is '{axis}', allowed are layers and texts")
    if mask not in MASKS:
        given = "is not given" if mask is None else f"is '{mask}'"
        raise TensorError(f"--mask {given}, --first-axis needs it: allowed are {' and '.join(MASKS)}")
    shapes = {source.shape for source in sources.values()}
    axes = {len(shape) + (reading.head_dim is not None) for shape in shapes}
    if reading.batch is not None or axes != {4} or len({shape[0] for shape in shapes}) > 1:
        told = ", ".join(f"{role} {source.shape}" for role, source in sources.items())
        raise TensorError(f"--first-axis {axis} needs four axes, the first alike, and no --batch: {told}")
    count = next(iter(shapes))[0]
    names = (f"text0/layer{i}" if axis == "layers" else f"text{i}/layer0" for i in range(count))
    return [(name, replace(reading, batch=i)) for i, name in enumerate(names)]


# ---- one layer of it, for those who read Q, K and V alone ---------------------------------------------------------


def check_not_whole(paths: Iterable[Path]) -> None:
    """Raises TensorError for a file of version 2: nothing has to be made of it."""
    for path in paths:
        if path.suffix not in SUFFIXES or not is_layered(path):
            continue
        with h5py.File(path, "r") as file:
            names = layer_names(file)
            texts = len({name.split("/")[0] for name in names})
        one = f"; one layer of it: {' '.join(f'--{role.lower()} {names[0]}/{role}' for role in 'QKV')}" if names else ""
        held = f"{len(names)} layers of {texts} texts in all"
        raise TensorError(f"{path}: is a tensor file of version 2 ({held}), which study reads as it is{one}")


def terms_beside(sources: Mapping[str, SourceTensor]) -> LogitTerms | None:
    """What a file of version 2 says of the layer that Q and K are of; None where they are of no such file."""
    places = {(source.path, source.name.rpartition("/")[0]) for role, source in sources.items() if role in "QK"}
    if not any(path.suffix in SUFFIXES and is_layered(path) for path, _ in places):
        return None
    if len(places) > 1:
        labels = " and ".join(sources[role].label for role in "QK")
        raise TensorError(f"{labels} are not of one layer: a scale is that of both")
    ((path, name),) = places
    with h5py.File(path, "r") as file:
        return read_terms(file[name])


# Parts of logits that a file of version 1 cannot say, nor an option of study in its place.
ONLY_OF_LAYERS = ("softcap", *PER_HEAD)


def parse_without(given: str | None) -> set[str]:
    """Of ONLY_OF_LAYERS, those that are to be left out."""
    names = set() if given is None else {name.strip() for name in given.split(",")}
    if wrong := sorted(names - set(ONLY_OF_LAYERS)):
        raise TensorError(f"--without is '{given}', allowed are {', '.join(ONLY_OF_LAYERS)}, not '{wrong[0]}'")
    return names


def told_beside_scale(terms: LogitTerms, label: str, without: set[str]) -> list[str]:
    """Lines about what a file of Q, K, V and a scale does not say of the logits of the layer that `label` is of. Raises
    TensorError where that is a part that study cannot be told either, unless `without` names it."""
    found = [*(["softcap"] if terms.softcap else []), *terms.per_head]
    if lost := [name for name in found if name not in without]:
        raise TensorError(
            f"{label} is of a layer whose logits have {' and '.join(lost)}; a file of one layer has no place for that: "
            f"study reads the file as it is (--layers), --without {','.join(found)} leaves that out"
        )
    options = [f"--mask {terms.mask}"] if terms.mask != "none" else []
    options += [f"--window {terms.window}"] if terms.window else []
    return [
        *([f"left out, as asked for: {', '.join(found)} of the logits"] if found else []),
        *([f"a file of one layer does not say it: study takes {' '.join(options)}"] if options else []),
    ]
