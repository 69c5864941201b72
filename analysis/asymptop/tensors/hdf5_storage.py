"""Parts of an HDF5 dataset that nobody ever wrote: HDF5 reads them as the fill value, mostly 0, without a word."""

from __future__ import annotations

import os
from math import ceil, prod
from pathlib import Path

import h5py
from h5py import h5d

_DEEPEST = 16  # virtual datasets of virtual datasets


def never_written(dataset: h5py.Dataset, depth: int = 0) -> str:
    """What of the dataset nobody wrote, in words; empty where all of it is stored."""
    layout = dataset.id.get_create_plist().get_layout()
    if layout == h5d.VIRTUAL:
        return _virtual(dataset, depth)
    if layout == h5d.CHUNKED:
        chunks = prod(ceil(extent / size) for extent, size in zip(dataset.shape, dataset.chunks, strict=True))
        missing = chunks - dataset.id.get_num_chunks()
        return f"{missing} of its {chunks} chunks were never written" if missing else ""
    if layout == h5d.CONTIGUOUS and dataset.external:
        return _external(dataset)
    if layout == h5d.CONTIGUOUS and dataset.id.get_storage_size() < dataset.size * dataset.id.get_type().get_size():
        return "it was made but never written"
    return ""


def _external(dataset: h5py.Dataset) -> str:
    for name, offset, size in dataset.external:
        found = os.path.getsize(name) if os.path.isfile(name) else None
        if found is None:
            return f"its external file {name} is not there"
        if size != h5py.h5f.UNLIMITED and found < offset + size:
            return f"its external file {name} has {found} bytes of {offset + size}"
    return ""


def _virtual(dataset: h5py.Dataset, depth: int) -> str:
    filled = 0
    if depth > _DEEPEST:
        return f"it is virtual more than {_DEEPEST} levels deep"
    for source in dataset.virtual_sources():
        if "%" in source.file_name or not _is_bounded(source.vspace):
            words = f"its sources {source.file_name}:{source.dset_name.lstrip('/')} are a pattern or have no end"
            return f"{words}, so what they lack cannot be told"
        path = _source_file(dataset, source.file_name)
        named = f"its source {source.file_name}:{source.dset_name.lstrip('/')}"
        if path is None:
            return f"its source file {source.file_name} is not there"
        why = _missing_in_source(path, source, depth)
        if why:
            return f"{named}: {why}"
        filled += source.vspace.get_select_npoints()
    if filled != dataset.size:
        return f"its sources fill {filled} of {dataset.size} values"
    return ""


def _is_bounded(space: h5py.h5s.SpaceID) -> bool:
    try:
        return space.get_select_npoints() >= 0
    except RuntimeError:
        return False


def _missing_in_source(path: Path, mapped: h5py._hl.vds.VDSmap, depth: int) -> str:
    try:
        with h5py.File(path, "r") as file:
            source = file.get(mapped.dset_name)
            if not isinstance(source, h5py.Dataset):
                return "no such dataset"
            if not _holds(source, mapped):
                return f"its shape is {source.shape}, which is not what is taken of it"
            return never_written(source, depth + 1)
    except OSError as error:
        return one_line(error)


def _holds(source: h5py.Dataset, mapped: h5py._hl.vds.VDSmap) -> bool:
    selected = mapped.src_space
    if selected.get_select_type() == h5py.h5s.SEL_ALL:  # its extent is not stored
        return source.size == mapped.vspace.get_select_npoints()
    _, last = selected.get_select_bounds()
    return len(last) == source.ndim and all(at < size for at, size in zip(last, source.shape, strict=True))


def _source_file(dataset: h5py.Dataset, name: str) -> Path | None:
    """Where HDF5 looks for it: as named by HDF5_VDS_PREFIX, beside the file, and from the working folder."""
    here = Path(os.fsdecode(dataset.file.filename))
    if name == ".":
        return here
    folders = [here.parent, Path(), here.resolve().parent]
    if prefix := os.environ.get("HDF5_VDS_PREFIX"):
        folders.insert(0, Path(prefix.replace("${ORIGIN}", str(here.resolve().parent))))
    tails = [Path(name)] if not os.path.isabs(name) else [Path(name), Path(Path(name).name)]
    return next((folder / tail for tail in tails for folder in folders if (folder / tail).is_file()), None)


def one_line(error: BaseException) -> str:
    """HDF5's own words."""
    return " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__
