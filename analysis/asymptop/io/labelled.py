"""A case as an xarray.Dataset: every number with named axes, their values, its unit and what it is."""

from __future__ import annotations

import numpy as np
import xarray

from .reader import Case
from .schema import NUMBER_SCALES, TEXT_SCALES


def to_xarray(case: Case) -> xarray.Dataset:
    """All numbers of a case in memory, by the names of the schema (src/results/README.md).

    Axes are `draw`, `row`, `k` (number of keys kept), `epsilon`, `threshold` and `k_law` (as written), `check` and
    `phase`: `tail_mass` is (draw, row, k), `entropy_nats` (draw, row), `k_epsilon` (draw, row, epsilon). A variable's
    `units` and `long_name` are those of the file; the dataset's attributes are the case's own, with its `verdict`.
    The file may be closed afterwards. Raises ResultsError where a VALID case holds a number that is not finite.
    """
    text = {name: getattr(case, name) for name in TEXT_SCALES if name != "phase"}
    text["phase"] = tuple(value.decode() for value in case.raw("phase"))
    coordinates: dict[str, tuple] = {name: (name, case.raw(name), case.described(name)) for name in NUMBER_SCALES}
    coordinates |= {name: (name, np.array(values, dtype=str)) for name, values in text.items()}
    variables = {name: (axes, case.values(name), case.described(name)) for name, axes in case.datasets().items()}
    return xarray.Dataset(variables, coordinates, case.attributes)
