"""Sigma of heads as a capture of the model shows it: what numbers of the weights alone are held against."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ..tensors.layered_file import is_layered, layer_names
from ..tensors.mapped import TensorError
from .exact_rows import row_deviations

# Rows of each text and layer, evenly spaced over the last half of its queries.
ROWS = 64


def captured_sigmas(path: Path) -> dict[tuple[int, int], float]:
    """By (layer, head): the root mean square over rows and texts of the standard deviation of a row's logits over the
    keys that it sees. Raises TensorError for what is not a tensor file of version 2."""
    if not path.is_file():
        raise TensorError(f"{path}: is not a file")
    if not is_layered(path):
        raise TensorError(f"{path}: is no tensor file of version 2, as capture writes it")
    squares: dict[tuple[int, int], list[float]] = {}
    with h5py.File(path, "r") as file:
        for name in layer_names(file):
            queries = file[name]["Q"].shape[1]
            rows = np.unique(np.linspace(queries // 2, queries - 1, ROWS).astype(int)).tolist()
            layer = int(name.rpartition("/layer")[2])
            for head, deviations in enumerate(row_deviations(file[name], rows)):
                squares.setdefault((layer, head), []).extend(np.square(deviations).tolist())
    return {place: float(np.sqrt(np.mean(found))) for place, found in squares.items()}
