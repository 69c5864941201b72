"""python3 -m asymptop convert: queries, keys and values from .npy, .npz, .safetensors or HDF5 into one tensor file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..io.number_formats import WIDENED
from ..io.output_target import new_output
from ..tensors.hdf5_tensors import stored_scale
from ..tensors.layered_file import (
    LogitTerms,
    check_not_whole,
    layers_of,
    parse_without,
    terms_beside,
    told_beside_scale,
    write_root,
    write_terms,
    write_text,
)
from ..tensors.mapped import SourceTensor, TensorError
from ..tensors.roles import ROLES, USUAL_NAMES, Catalogues, choose_tensors, named, read_catalogue
from ..tensors.scales import positive_number, scaled
from ..tensors.study_input import TensorFile
from ..tensors.views import HeadedTensor, check_agreement, parse_reading, read_bits, select_heads, views

SLAB_BYTES = 16 << 20

DESCRIPTION = """\
Makes the HDF5 file that `asymptop study --input FILE` reads from tensors in .npy, .npz, .safetensors or HDF5 files.

Q, K and V are each (n, d), (heads, n, d) or (batch, heads, n, d), in float64, float32, float16, bfloat16 or float8; the
short ones are widened to float32, which keeps every value exactly. (n, heads, d) is seen by the shapes where they agree
in no other way. Where keys have fewer heads than queries (grouped-query attention) they are written as they are, or
once per query head with --repeat-kv. float8 is multiplied by the scale beside it (k_scale, v_scale). Files may be
larger than memory.

Only what is asked for is judged and only that is written; what else lies in the inputs is named. No mask is applied:
padding is left out with --tokens. Arrays of MATLAB and R have their axes in reverse in HDF5, which is undone; Julia's
do too, without a mark (--reverse-axes). What was never written to an HDF5 file is refused, and so is a tensor of zeros.

Make arrays contiguous before saving them as .safetensors (numpy.ascontiguousarray, torch's .contiguous()):
safetensors 0.8.0 stores a transposed, sliced or Fortran-ordered numpy array in the order of its memory, under its
shape, and no reader can tell.
"""
EPILOG = """\
examples:
  python3 -m asymptop convert layer3.npz -o tensors.h5
  python3 -m asymptop convert q.npy k.npy v.npy -o tensors.h5 --layout tokens-first
  python3 -m asymptop convert acts.safetensors --q l3.query --k l3.key --v l3.value -o tensors.h5 --head 0,4-7
  python3 -m asymptop convert --q a.npz:query --k a.npz:key --v b.npy -o tensors.h5 --scale 0.125
  python3 -m asymptop convert hooks.npz -o tensors.h5 --head-dim 128 --tokens 5:
  python3 -m asymptop convert bits.npz -o tensors.h5 --read-as bfloat16
  python3 -m asymptop convert all.npz -o tensors.h5 --first-axis layers --mask causal
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("inputs", nargs="*", metavar="INPUT", help="files that hold Q, K and V, or three in that order")
    add("-o", "--output", required=True, metavar="FILE", help="tensor file to write")
    for role in ROLES:
        usual = ", ".join((role, *USUAL_NAMES[role]))
        add(f"--{role.lower()}", metavar="NAME", help=f"tensor of the inputs, or FILE[:NAME] (default: of {usual})")
    add("--head", metavar="LIST", help="query heads to keep, such as 0,4-7 (default: all)")
    add("--tokens", metavar="A:B", help="keep tokens A to B-1 of Q, K and V, such as 5: or :60 (default: all)")
    add("--batch", metavar="B", help="batch entry to take where there are several")
    add("--layout", metavar="ORDER", help="heads-first: (heads, n, d); tokens-first: (n, heads, d) (default: by shape)")
    add("--head-dim", metavar="D", help="the last axis is heads*D: (n, heads*D) or (batch, n, heads*D)")
    add("--reverse-axes", action="store_true", help="the axes are stored in reverse, as in HDF5 files of Julia")
    add("--read-as", metavar="TYPE", help=f"what bits saved as integers or void are: {', '.join(list(WIDENED)[2:])}")
    for role in ROLES:
        what = f"multiply {role} by this number or tensor (default: the one beside a float8 {role})"
        add(f"--{role.lower()}-scale", metavar="S", help=what)
    add("--first-axis", metavar="WHAT", help="layers or texts: what the first of four axes is; a file of version 2")
    add("--mask", metavar="MASK", help="causal or none: of every layer of --first-axis, which needs it")
    add("--repeat-kv", action="store_true", help="write keys and values once per query head")
    add("--without", metavar="LIST", help="softcap, sinks, alibi: what of a layer's logits may be left out")
    add("--scale", metavar="S", help="logit scale to store (the study's default: 1/sqrt(d))")
    add("--force", action="store_true", help="replace an existing output file")


def run(arguments: argparse.Namespace) -> int:
    scale = None if arguments.scale is None else positive_number("--scale", arguments.scale)
    reading = parse_reading(arguments.layout, arguments.batch, arguments.head_dim, arguments.tokens)
    output = new_output(Path(arguments.output), arguments.force)
    catalogues = {Path(name): read_catalogue(Path(name)) for name in arguments.inputs}
    wanted = {role: getattr(arguments, role.lower()) for role in ROLES}
    if not all(wanted.values()):
        check_not_whole(catalogues)
    chosen = choose_tensors(catalogues, wanted)
    _check_not_an_input(output, chosen)
    sources = {
        role: source.with_reversed_axes() if arguments.reverse_axes else source
        for role, source in read_bits(chosen, arguments.read_as).items()
    }
    everywhere = catalogues | {s.path: read_catalogue(s.path) for s in chosen.values() if s.path not in catalogues}
    scales = {role: getattr(arguments, f"{role.lower()}_scale") for role in ROLES}
    scale, notes = _scale(scale, chosen, parse_without(arguments.without))
    layers = layers_of(arguments.first_axis, arguments.mask, sources, reading)
    taken = {source.label for source in chosen.values()}
    with TensorFile(output) as target:
        for place, entry in layers:
            seen, layout = views(sources, entry, output.parent)
            seen, said, used = scaled(seen, scales, everywhere, output.parent)
            check_agreement(seen, place)
            tensors = select_heads(seen, arguments.head, arguments.repeat_kv)
            said += write_tensors(target, tensors, place)
            notes += [f"{place}: {note}" if place else note for note in said]
            taken.update(used)
            if place:
                write_layer_facts(target.file, place, tensors, scale, arguments.mask)
        if scale is not None and not arguments.first_axis:
            target.file.attrs["scale"] = scale
    for tensor in tensors:
        print(_description(tensor, layout if tensor.has_heads else "", len(layers) if arguments.first_axis else 0))
    for note in (*notes, *_left_out(catalogues, taken)):
        print(f"note: {note}")
    print(f"wrote {output}")
    return 0


def _scale(
    given: float | None, chosen: Mapping[str, SourceTensor], without: set[str]
) -> tuple[float | None, list[str]]:
    """The logit scale to store, and what is to be said of it."""
    if terms := terms_beside(chosen):
        notes = told_beside_scale(terms, chosen["Q"].label, without)
        said = f"the logit scale {terms.scale:g} is that of {chosen['Q'].label}"
        return (terms.scale, [said, *notes]) if given is None else (given, notes)
    paths = {source.path for source in chosen.values()}
    scale = stored_scale(next(iter(paths))) if given is None and len(paths) == 1 else given
    return scale, [f"the logit scale {scale:g} is that of {next(iter(paths))}"] if scale != given else []


def _description(tensor: HeadedTensor, layout: str, times: int) -> str:
    source = tensor.source
    words = [f"of shape {source.shape}"]
    words += [layout] if layout else []
    words += [f"axes turned from {source.turned}'s order"] if source.turned else []
    words += [f"tokens from {tensor.first_row} on"] if tensor.first_row else []
    kinds = f"{source.kind} -> {np.dtype(np.float32) if times else WIDENED[source.kind]}"
    many = f"{times} of " if times else ""
    return f"{tensor.role} {many}{tensor.shape} {kinds} from {source.label} {', '.join(words)}"


def _left_out(catalogues: Catalogues, taken: set[str]) -> list[str]:
    others = [t for found in catalogues.values() for t in found.values() if t.label not in taken]
    if not others:
        return []
    return [f"not asked for and left out: {len(others)} of the inputs, {named(t.name for t in others)}"]


def _check_not_an_input(output: Path, sources: Mapping[str, SourceTensor]) -> None:
    for source in sources.values():
        if output.exists() and output.samefile(source.path):
            raise TensorError(f"{output}: is the input itself, allowed is another name")


# ---- writing -----------------------------------------------------------------------------------------------------


def write_tensors(target: TensorFile, tensors: list[HeadedTensor], place: str) -> list[str]:
    """Writes Q, K and V, at the root or in a layer's group; what of the values is legal but odd, in words."""
    notes: list[str] = []
    for tensor in tensors:
        stored = np.dtype(np.float32) if place else WIDENED[tensor.source.kind]
        dataset = target.create(f"{place}/{tensor.role}" if place else tensor.role, tensor.shape, stored)
        dataset.attrs["source"] = tensor.source.label
        dataset.attrs["source_type"] = tensor.source.kind
        zero_heads = np.ones(len(tensor.heads), dtype=bool)
        constant_rows = np.ones(tensor.view.shape[1], dtype=bool)
        for places, rows in slabs(tensor):
            slab = read_slab(tensor, places, rows)
            zero_heads[places] &= ~slab.any(axis=(1, 2))
            constant_rows[rows] &= (slab == slab[:, :, :1]).all(axis=(0, 2))
            if tensor.has_heads:
                dataset[places, rows] = slab
            else:
                dataset[rows] = slab[0]
        notes += _oddities(tensor, zero_heads, constant_rows)
        if stored != WIDENED[tensor.source.kind]:
            notes.append(f"{tensor.role} ({tensor.source.label}) is rounded from float64 to float32")
    return notes


def write_layer_facts(file: h5py.File, place: str, tensors: list[HeadedTensor], scale: float | None, mask: str) -> None:
    """What stands beside Q, K and V in a file of version 2."""
    text, layer = place.split("/")
    _, n, d = tensors[1].shape
    source = tensors[0].source
    write_root(file, str(source.path), source.kind, {})
    write_text(file[text], source.label, n, 0)
    terms = LogitTerms(d**-0.5 if scale is None else scale, mask)
    write_terms(file[place], int(layer.removeprefix("layer")), terms, tensors[1].first_row)


def _oddities(tensor: HeadedTensor, zero_heads: NDArray, constant_rows: NDArray) -> list[str]:
    what = f"{tensor.role} ({tensor.source.label})"
    if zero_heads.all():
        raise TensorError(f"{what} is zero everywhere: it was never written, or is not what was meant")
    found = []
    if zero_heads.any():
        heads = ", ".join(str(tensor.heads[i]) for i in np.flatnonzero(zero_heads)[:12])
        found.append(f"{what} is zero in {zero_heads.sum()} of {len(zero_heads)} heads: {heads}")
    n, d = tensor.view.shape[1:]
    advice = _padding(constant_rows, tensor.first_row)
    if d > 1 and advice:
        found.append(f"{what} has the same number in all columns of {constant_rows.sum()} rows: {advice}")
    if n < d:
        found.append(f"{what} has fewer tokens than columns, n = {n} and d = {d}; were they stored in reverse?")
    return found


def _padding(bad_rows: NDArray, first_row: int) -> str:
    """Which --tokens leaves out the rows in question at either end; empty where there are none there."""
    if bad_rows.all() or not (bad_rows[0] or bad_rows[-1]):
        return ""
    first, end = int(np.argmin(bad_rows)), len(bad_rows) - int(np.argmin(bad_rows[::-1]))
    return f"if that is padding, --tokens {first_row + first}:{first_row + end} leaves it out"


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
    heads = list(tensor.heads[places])
    slab = tensor.source.widen(tensor.view[:, rows][heads])
    if tensor.factors is not None:
        slab = (slab * tensor.factors[heads][:, np.newaxis, np.newaxis]).astype(slab.dtype)
    finite = np.isfinite(slab)
    if not finite.all():
        head, row, column = (int(index[0]) for index in np.nonzero(~finite))
        where = f"head {heads[head]}, " if tensor.has_heads else ""
        advice = _padding(_rows_not_finite(tensor, heads[head]), tensor.first_row)
        raise TensorError(
            f"{tensor.role} ({tensor.source.label}) has {slab[head, row, column]} at {where}"
            f"row {tensor.first_row + rows.start + row}, column {column}; allowed are finite values"
            + (f"; {advice}" if advice else "")
        )
    return slab


def _rows_not_finite(tensor: HeadedTensor, head: int) -> NDArray:
    n, d = tensor.view.shape[1:]
    step = max(1, SLAB_BYTES // (d * 8))
    return np.concatenate(
        [~np.isfinite(tensor.source.widen(tensor.view[head, i : i + step])).all(axis=-1) for i in range(0, n, step)]
    )
