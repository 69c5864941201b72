"""Adds cases of selectors to a file of make_results, from brute-force numpy: the same logits, other keys kept.

    python3 tests/support/make_selectors.py out.h5 --selectors random,window,quantised:int4,block-max:block=16

Orders come from logits alone, which is all that a made row has: `random`, `window` (from the last key backwards),
`block-max` (exact), `quantised:fp32` (exact) and, for any other name, scores with noise. Pages are read whole.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from make_results import DIMENSIONS, Study, generator_of, logits_of, write_results

EXACT = ("quantised:fp32", "sparq:r=d", "shard-union:P=1")
_NOISE = 1.0


def page_of(selector: str) -> int:
    return int(dict(part.split("=") for part in selector.split(":")[1:] if "=" in part).get("block", 1))


def order_of(selector: str, logits: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Keys of one row, the first kept first; whole blocks for block-max."""
    n, name = len(logits), selector.split(":")[0]
    exact = np.argsort(-logits, kind="stable")
    if selector in EXACT:
        return exact
    if name == "random":
        return generator.permutation(n)
    if name == "window":
        return np.arange(n)[::-1]
    if name == "block-max":
        page = page_of(selector)
        blocks = list(dict.fromkeys((exact // page).tolist()))
        return np.concatenate([np.arange(block * page, min(n, (block + 1) * page)) for block in blocks])
    return np.argsort(-(logits + _NOISE * generator.standard_normal(n)), kind="stable")


def along(selector: str, logits: np.ndarray, order: np.ndarray, k: np.ndarray, epsilon: Sequence[float]) -> dict:
    """Numbers of one row at every budget k."""
    n, page = len(logits), page_of(selector)
    weights = np.exp(logits - logits.max())
    p = weights / weights.sum()
    best = np.sort(p)[::-1]
    kept = np.minimum(n, np.maximum(1, k // page) * page) if page > 1 else k
    found: dict[str, list[float]] = {}
    for count in kept:
        inside, outside = p[order[:count]], p[order[count:]]
        tail = float(np.sort(outside).sum())
        odds = tail / (1.0 - tail)
        least = float(np.sort(best[count:]).sum())
        top = np.argsort(-logits, kind="stable")[:count]
        for name, value in (
            ("kept", count),
            ("tail_mass", tail),
            ("regret", max(0.0, tail - least)),
            ("recall", len(set(order[:count].tolist()) & set(top.tolist())) / count),
            ("row_l2_error", np.sqrt(odds**2 * np.sum(inside**2) + np.sum(outside**2))),
            ("row_linf_error", max(inside.max() * odds, outside.max(initial=0.0))),
        ):
            found.setdefault(name, []).append(value)
    sums = np.concatenate([np.cumsum(p[order][::-1])[::-1], [0.0]])
    ends = np.append(np.arange(page, n, page), n)
    found["k_epsilon"] = [int(ends[np.argmax(sums[ends] <= e)]) for e in epsilon]
    return found


def _name_of(case: str, selector: str) -> str:
    return f"{case}-{selector.replace(':', '-')}"


def add_selectors(path: str | Path, study: Study, selectors: Sequence[str]) -> Path:
    """`study` is what the file was made of."""
    path = Path(path)
    with h5py.File(path, "r+") as file:
        for case in list(file["cases"]):
            base = file["cases"][case]
            n, law, head = (base.attrs[name] for name in ("n", "sigma_law", "head"))
            drawn = list(logits_of(study, int(n), str(law), int(head), generator_of(study, int(n), int(head))))
            for selector in selectors:
                generator = np.random.default_rng([study.seed, int(n), zlib.crc32(selector.encode())])
                group = file["cases"].create_group(_name_of(case, selector))
                group.attrs.update(dict(base.attrs) | {"id": _name_of(case, selector), "selector": selector})
                if selector in EXACT or selector == "block-max:block=1":
                    replaced = {name: base[name][()] for name in ("tail_mass", "row_l2_error", "row_linf_error")}
                    k = np.broadcast_to(base["k"][()], replaced["tail_mass"].shape)
                    replaced |= {"kept": k, "regret": np.zeros(k.shape), "recall": np.ones(k.shape)}
                else:
                    rows = [
                        along(selector, row, order_of(selector, row, generator), base["k"][()], study.epsilon)
                        for logits, _ in drawn
                        for row in logits
                    ]
                    replaced = {
                        name: np.array([row[name] for row in rows]).reshape(study.draws, study.rows, -1)
                        for name in rows[0]
                    }
                _write(group, base, replaced)
    return path


def _write(group: h5py.Group, base: h5py.Group, replaced: dict[str, np.ndarray]) -> None:
    """All that the base holds, but for what is replaced or new; on scales of its own."""
    scales = [name for name, data in base.items() if data.is_scale]
    for name in scales:
        dataset = group.create_dataset(name, data=base[name][()], dtype=base[name].dtype)
        dataset.make_scale(name)
    for name, data in ({name: base[name][()] for name in base if name not in scales} | replaced).items():
        dataset = group.create_dataset(name, data=data)
        along_k = ("draw", "row", "k")
        for axis, scale in enumerate(DIMENSIONS.get(name, along_k if data.ndim == len(along_k) else ("draw", "row"))):
            dataset.dims[axis].attach_scale(group[scale])
    for dataset in group.values():
        dataset.attrs["long_name"], dataset.attrs["units"] = Path(dataset.name).name.replace("_", " "), "1"


def seal(path: Path) -> None:
    """As src/results/seal.hpp has it: a file without one is read twice, slowly where it has many cases."""
    data = path.read_bytes()
    path.write_bytes(data + b"asymptop sha256 " + hashlib.sha256(data).hexdigest().encode())


def write_selectors(path: str | Path, study: Study, selectors: Sequence[str]) -> Path:
    path = add_selectors(write_results(path, study), study, selectors)
    seal(path)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--selectors", default="random,window,quantised:int4,block-max:block=16")
    arguments = parser.parse_args(argv)
    write_selectors(arguments.output, Study(), arguments.selectors.split(","))
    return 0


if __name__ == "__main__":
    sys.exit(main())
