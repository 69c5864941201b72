"""python3 -m asymptop convert: queries, keys and values from .npy, .npz or .safetensors into one tensor file."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .tensor_file import TensorFile
from .tensors import SUFFIXES, WIDENED, SourceTensor, TensorError, read_catalogue

ROLES = ("Q", "K", "V")
USUAL_NAMES = {
    "Q": ("q", "query", "queries", "query_states", "query_layer"),
    "K": ("k", "key", "keys", "key_states", "key_layer"),
    "V": ("v", "value", "values", "value_states", "value_layer"),
}
SLAB_BYTES = 16 << 20

DESCRIPTION = """\
Makes the HDF5 file that `asymptop study --input FILE` reads from tensors in .npy, .npz or .safetensors files.

Q, K and V are each (n, d), (heads, n, d) or (batch, heads, n, d), in float64, float32, float16 or bfloat16; the last
two are widened to float32, which keeps every value exactly. Where keys have fewer heads than queries (grouped-query
attention) they are written as they are, or once per query head with --repeat-kv. Files may be larger than memory.
"""
EPILOG = """\
examples:
  python3 -m asymptop convert layer3.npz -o tensors.h5
  python3 -m asymptop convert q.npy k.npy v.npy -o tensors.h5 --layout tokens-first
  python3 -m asymptop convert acts.safetensors --q l3.query --k l3.key --v l3.value -o tensors.h5 --head 0,4-7
  python3 -m asymptop convert --q a.npz:query --k a.npz:key --v b.npy -o tensors.h5 --scale 0.125
"""


@dataclass(frozen=True)
class HeadedTensor:
    """A source tensor seen as (heads, n, d): a view of its map, and the heads of it that are to be written."""

    role: str
    source: SourceTensor
    view: NDArray
    heads: tuple[int, ...]
    has_heads: bool  # False: written as (n, d)

    @property
    def shape(self) -> tuple[int, ...]:
        rows = self.view.shape[1:]
        return (len(self.heads), *rows) if self.has_heads else rows


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="make a tensor file for `asymptop study --input` from .npy, .npz or .safetensors",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="files that hold Q, K and V, or three in that order")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="tensor file to write")
    for role in ROLES:
        usual = ", ".join((role, *USUAL_NAMES[role]))
        what = f"tensor of the inputs, or FILE[:NAME] (default: the one named {usual})"
        parser.add_argument(f"--{role.lower()}", metavar="NAME", help=what)
    parser.add_argument("--head", metavar="LIST", help="query heads to keep, such as 0,4-7 (default: all)")
    parser.add_argument("--batch", metavar="B", help="batch entry to take where there are several")
    parser.add_argument(
        "--layout",
        default="heads-first",
        metavar="ORDER",
        help="heads-first: (heads, n, d); tokens-first: (n, heads, d) (default: %(default)s)",
    )
    parser.add_argument("--head-dim", metavar="D", help="the last axis is heads*D: (n, heads*D) or (batch, n, heads*D)")
    parser.add_argument("--repeat-kv", action="store_true", help="write keys and values once per query head")
    parser.add_argument("--scale", metavar="S", help="logit scale to store (the study's default: 1/sqrt(d))")
    parser.add_argument("--force", action="store_true", help="replace an existing output file")
    parser.set_defaults(run=run)
    parser.error = lambda message: parser.exit(2, f"asymptop convert: {message}\n")  # one line, without the usage


def run(arguments: argparse.Namespace) -> int:
    try:
        scale = None if arguments.scale is None else _positive_number("--scale", arguments.scale)
        output = _output_path(arguments)
        sources = choose_tensors(arguments.inputs, {role: getattr(arguments, role.lower()) for role in ROLES})
        _check_not_an_input(output, sources)
        tensors = select_heads(_views(sources, arguments, output.parent), arguments.head, arguments.repeat_kv)
        check_agreement(tensors)
        write_tensors(output, tensors, scale)
    except TensorError as error:
        print(f"asymptop convert: {error}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:  # h5py has both for storage that fails
        file, reason = getattr(error, "filename", None) or arguments.output, getattr(error, "strerror", None) or error
        # HDF5 says the time, on a line of its own.
        print(f"asymptop convert: {file}: {' '.join(str(reason).split())}", file=sys.stderr)
        return 1
    for tensor in tensors:
        kinds = f"{tensor.source.kind} -> {WIDENED[tensor.source.kind].name}"
        print(f"{tensor.role} {tensor.shape} {kinds} from {tensor.source.label}")
    print(f"wrote {output}")
    return 0


def _positive_number(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise TensorError(f"{option} is '{text}', allowed is a positive finite number")
    return value


def _whole_number(option: str, text: str, smallest: int) -> int:
    if not re.fullmatch(r"\d+", text) or int(text) < smallest:
        raise TensorError(f"{option} is '{text}', allowed is a whole number from {smallest} on")
    return int(text)


def _output_path(arguments: argparse.Namespace) -> Path:
    output = Path(arguments.output)
    if output.is_dir():
        raise TensorError(f"{output}: is a folder, allowed is the name of a file to write")
    if output.exists() and not arguments.force:
        raise TensorError(f"{output}: exists already; --force replaces it")
    folder = output.parent
    if not folder.is_dir():
        raise TensorError(f"{output}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise TensorError(f"{output}: the folder {folder} cannot be written to")
    return output


def _check_not_an_input(output: Path, sources: Mapping[str, SourceTensor]) -> None:
    for source in sources.values():
        if output.exists() and output.samefile(source.path):
            raise TensorError(f"{output}: is the input itself, allowed is another name")


# ---- which tensor is which ---------------------------------------------------------------------------------------


def choose_tensors(inputs: list[str], wanted: Mapping[str, str | None]) -> dict[str, SourceTensor]:
    """The source of each of Q, K and V: by name, by FILE[:NAME], by its usual name, or by the order of three files."""
    catalogues = {Path(name): read_catalogue(Path(name)) for name in inputs}
    if not inputs and not all(wanted.values()):
        raise TensorError("no input: give one file with Q, K and V, three files, or --q, --k and --v as FILE[:NAME]")
    if not any(wanted.values()):
        by_order = [next(iter(found.values())) for found in catalogues.values() if len(found) == 1]
        by_name = {role: _usual(role, catalogues) for role in ROLES}
        if len(inputs) == len(by_order) == 3 and not all(by_name.values()):
            return dict(zip(ROLES, by_order, strict=True))
    return {role: _choose(role, wanted[role], catalogues) for role in ROLES}


def _available(catalogues: Mapping[Path, Mapping[str, SourceTensor]]) -> str:
    names = [name for found in catalogues.values() for name in found]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"


def _usual(role: str, catalogues: Mapping[Path, Mapping[str, SourceTensor]]) -> list[SourceTensor]:
    return [t for found in catalogues.values() for t in found.values() if t.name.lower() in USUAL_NAMES[role]]


def _choose(role: str, wanted: str | None, catalogues: Mapping[Path, Mapping[str, SourceTensor]]) -> SourceTensor:
    option = f"--{role.lower()}"
    if wanted is None:
        found = _usual(role, catalogues)
        problem = f"no tensor is named {role}" if not found else f"{len(found)} tensors could be {role}"
    else:
        found = [catalogue[wanted] for catalogue in catalogues.values() if wanted in catalogue]
        problem = f"{option} is '{wanted}', {'no' if not found else 'more than one'} input has such a tensor"
        if not found and (parts := re.fullmatch(rf"(.*?(?:{'|'.join(map(re.escape, SUFFIXES))}))(?::(.+))?", wanted)):
            return _choose_in_file(option, Path(parts[1]), parts[2])
    if len(found) != 1:
        raise TensorError(f"{problem}; choose with {option} NAME or FILE[:NAME] from: {_available(catalogues)}")
    return found[0]


def _choose_in_file(option: str, path: Path, name: str | None) -> SourceTensor:
    catalogue = read_catalogue(path)
    if name is None and len(catalogue) == 1:
        return next(iter(catalogue.values()))
    if name not in catalogue:
        problem = f"{option} names no tensor of" if name is None else f"{option} asks for '{name}', which is not in"
        raise TensorError(f"{problem} {path}; allowed: {_available({path: catalogue})}")
    return catalogue[name]


# ---- shapes ------------------------------------------------------------------------------------------------------


def _views(
    sources: Mapping[str, SourceTensor], arguments: argparse.Namespace, scratch: Path
) -> dict[str, HeadedTensor]:
    if arguments.layout not in ("heads-first", "tokens-first"):
        raise TensorError(f"--layout is '{arguments.layout}', allowed are heads-first and tokens-first")
    batch = None if arguments.batch is None else _whole_number("--batch", arguments.batch, 0)
    head_dim = None if arguments.head_dim is None else _whole_number("--head-dim", arguments.head_dim, 1)
    for role, source in sources.items():
        if source.kind not in WIDENED:
            raise TensorError(f"{role} ({source.label}) is of type {source.kind}, allowed are {', '.join(WIDENED)}")
        if 0 in source.shape:
            raise TensorError(f"{role} ({source.label}) of shape {source.shape} is empty")
    return {
        role: view_with_heads(role, source, source.map(scratch), batch, head_dim, arguments.layout == "tokens-first")
        for role, source in sources.items()
    }


def view_with_heads(
    role: str, source: SourceTensor, data: NDArray, batch: int | None, head_dim: int | None, tokens_first: bool
) -> HeadedTensor:
    """(n, d), (heads, n, d) or (batch, heads, n, d), or what the options make of these, as (heads, n, d)."""
    what = f"{role} ({source.label}) of shape {source.shape}"
    if head_dim is not None:
        if data.ndim not in (2, 3) or data.shape[-1] % head_dim:
            raise TensorError(f"{what}: --head-dim {head_dim} needs a last axis of heads*{head_dim} after n")
        data = data.reshape(*data.shape[:-1], data.shape[-1] // head_dim, head_dim)
    if data.ndim not in (2, 3, 4):
        raise TensorError(f"{what} has {data.ndim} axes, allowed are (n, d), (heads, n, d) and (batch, heads, n, d)")
    if data.ndim == 4:
        if batch is None and data.shape[0] > 1:
            raise TensorError(f"{what} has {data.shape[0]} batch entries; choose one with --batch")
        if (batch or 0) >= data.shape[0]:
            raise TensorError(f"--batch is {batch}, {what} has entries 0 to {data.shape[0] - 1}")
        data = data[batch or 0]
    has_heads = data.ndim == 3
    if not has_heads:
        data = data[np.newaxis]
    elif tokens_first or head_dim is not None:
        data = data.swapaxes(0, 1)
    return HeadedTensor(role, source, data, tuple(range(data.shape[0])), has_heads)


def parse_heads(text: str, heads: int) -> tuple[int, ...]:
    chosen: list[int] = []
    for part in text.split(","):
        bounds = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(bounds[1]), int(bounds[2] or bounds[1])) if bounds else (1, 0)
        if first > last or last >= heads:
            raise TensorError(f"--head is '{text}', allowed is a list such as 0,2-3 of heads 0 to {heads - 1}")
        chosen.extend(range(first, last + 1))
    if len(set(chosen)) < len(chosen):
        raise TensorError(f"--head is '{text}', allowed is each head once")
    return tuple(chosen)


def select_heads(tensors: Mapping[str, HeadedTensor], text: str | None, repeat: bool) -> list[HeadedTensor]:
    """Query heads by --head; each keeps the head of keys and values that it attends with."""
    counts = {role: tensor.view.shape[0] for role, tensor in tensors.items()}
    for role in ("K", "V"):
        if counts[role] != counts["K"] or counts["Q"] % counts[role]:
            found = ", ".join(f"{name} {counts[name]}" for name in ROLES)
            raise TensorError(f"heads are {found}; allowed is K = V, and Q the same or a multiple of it")
    chosen = tuple(range(counts["Q"])) if text is None else parse_heads(text, counts["Q"])
    shared = chosen
    if counts["K"] < counts["Q"]:
        shared = tuple(head // (counts["Q"] // counts["K"]) for head in chosen)
        if text is None and not repeat:
            shared = tuple(range(counts["K"]))
    with_heads = any(tensor.has_heads for tensor in tensors.values())
    return [
        HeadedTensor(role, tensor.source, tensor.view, chosen if role == "Q" else shared, with_heads)
        for role, tensor in tensors.items()
    ]


def check_agreement(tensors: list[HeadedTensor]) -> None:
    if len({tensor.view.shape[1:] for tensor in tensors}) > 1:
        shapes = ", ".join(f"{t.role} ({t.source.label}) n = {t.view.shape[1]} d = {t.view.shape[2]}" for t in tensors)
        raise TensorError(f"shapes differ: {shapes}; allowed is the same n and d (see also --layout and --head-dim)")


# ---- writing -----------------------------------------------------------------------------------------------------


def write_tensors(output: Path, tensors: list[HeadedTensor], scale: float | None) -> None:
    with TensorFile(output) as target:
        if scale is not None:
            target.file.attrs["scale"] = scale
        for tensor in tensors:
            dataset = target.create(tensor.role, tensor.shape, WIDENED[tensor.source.kind])
            dataset.attrs["source"] = tensor.source.label
            dataset.attrs["source_type"] = tensor.source.kind
            for places, rows in slabs(tensor):
                slab = read_slab(tensor, places, rows)
                if tensor.has_heads:
                    dataset[places, rows] = slab
                else:
                    dataset[rows] = slab[0]


def slabs(tensor: HeadedTensor) -> Iterator[tuple[slice, slice]]:
    """(places among the heads to write, rows), in the order in which the source lies on disk."""
    heads, (n, d) = len(tensor.heads), tensor.view.shape[1:]
    rows_lie_first = tensor.view.strides[1] > tensor.view.strides[0]
    together = heads if rows_lie_first else 1
    step = max(1, SLAB_BYTES // (together * d * 8))
    for head in range(0, heads, together):
        for row in range(0, n, step):
            yield slice(head, head + together), slice(row, min(row + step, n))


def read_slab(tensor: HeadedTensor, places: slice, rows: slice) -> NDArray:
    """(heads, rows, d) in float32 or float64; TensorError at the first value that is not finite."""
    heads = tensor.heads[places]
    slab = tensor.source.widen(tensor.view[:, rows][list(heads)])
    finite = np.isfinite(slab)
    if not finite.all():
        head, row, column = (int(index[0]) for index in np.nonzero(~finite))
        where = f"head {heads[head]}, " if tensor.has_heads else ""
        raise TensorError(
            f"{tensor.role} ({tensor.source.label}) has {slab[head, row, column]} at {where}row {rows.start + row}, "
            f"column {column}; allowed are finite values"
        )
    return slab
