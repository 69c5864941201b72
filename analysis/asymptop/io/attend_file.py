"""Spectral norms from a file of `asymptop attend --spectral`, as series that claims can be judged on."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from .reader import Case, ResultsError, open_file
from .series import Series, group_series

SPECTRAL = "spectral_error"


def _case(group: h5py.Group, where: str) -> Case | None:
    """A case that holds the spectral norm alone; None where it was not measured."""
    if SPECTRAL not in group:
        return None
    values = np.asarray(group[SPECTRAL], dtype=np.float64)
    text = [t.decode("utf-8") if isinstance(t, bytes) else str(t) for t in group["k_law"][()]]
    facts = {name: group.attrs[name] for name in ("n", "d", "sigma", "head", "draws")}
    if values.shape != (facts["draws"], len(group["k"])):
        raise ResultsError(f"{where}: '{SPECTRAL}' has shape {values.shape}, expected (draw, k)")
    law = str(group.attrs["sigma_law"])
    return Case(
        id=str(group.attrs["id"]),
        n=int(facts["n"]),
        d=int(facts["d"]),
        sigma_law=law,
        sigma=float(facts["sigma"]),
        draws=int(facts["draws"]),
        rows=int(facts["n"]),
        input="tensors" if law == "measured" else "gaussian",
        head=int(facts["head"]),
        row_sigma="natural",
        weights="identity",
        self_key="exclude",
        mask=str(group.attrs["mask"]),
        seed=0,
        valid=str(group.attrs["verdict"]) == "VALID",
        verdict_reason=str(group.attrs["verdict_reason"]),
        attributes={},
        k=group["k"][()],
        epsilon=np.empty(0),
        threshold=(),
        k_law=tuple(text),
        k_of_law=group["k_of_law"][()],
        threshold_value=np.empty(0),
        check=(),
        check_residual=np.empty(0),
        check_tolerance=np.empty(0),
        _group={SPECTRAL: values[:, None, :]},
    )


def read_attend(path: Path) -> tuple[Series, ...]:
    """Raises ResultsError in one line."""
    try:
        with open_file(path) as file:
            kind = file.attrs.get("kind", "")
            if kind != "attend":
                raise ResultsError(f"{path}: kind is '{kind}', expected 'attend'")
            cases = [_case(group, f"{path}: /cases/{name}") for name, group in file["cases"].items()]
    except (OSError, KeyError) as error:
        raise ResultsError(f"{path}: not a readable file of asymptop attend ({error})") from error
    found = [case for case in cases if case is not None]
    if not found:
        raise ResultsError(f"{path}: no spectral norm; measure it with asymptop attend --spectral")
    return group_series(found)
