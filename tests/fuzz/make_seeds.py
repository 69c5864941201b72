"""Sound small HDF5 files for the fuzz targets: make_seeds.py FOLDER fills FOLDER/tensors and FOLDER/results."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from make_results import Study, write_results


def tensors(path: Path, shape: tuple[int, ...], dtype: str, chunks: bool, scale: float | None) -> None:
    random = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for name in "QKV":
            values = random.standard_normal(shape).astype(dtype)
            file.create_dataset(name, data=values, chunks=chunks or None, compression="gzip" if chunks else None)
        if scale:
            file.attrs["scale"] = scale


def main(folder: Path) -> None:
    for name in ("tensors", "results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    tensors(folder / "tensors" / "plain.h5", (64, 4), "f4", False, None)
    tensors(folder / "tensors" / "heads.h5", (3, 64, 4), "f8", False, 0.5)
    tensors(folder / "tensors" / "chunks.h5", (2, 64, 8), "f4", True, 1.0)
    write_results(folder / "results" / "study.h5", Study(n=(64, 256), rows=2, draws=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
