"""Do two builds of the program make the same numbers? Runs a grid of small commands with both and compares their files.

    . jobs/setup/mpi.sh
    build/venv/bin/python tests/support/same_numbers.py OLD/asymptop NEW/asymptop

Every dataset that both files have must hold the same bytes, timings aside. Cases are matched by what they depend on,
not by their names, which may change between versions. For a change of the house that is to leave every number alone;
on one machine, since other kinds of CPU round otherwise. Exit 0 when all are equal, 1 with the differences.
"""

import argparse
import pathlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import h5py
import numpy as np

TIMINGS = {"phase_seconds", "exact_seconds", "top_k_seconds", "bytes_sent", "phase"}
KEYS = ("n", "d", "sigma_law", "input", "head", "mask")
STUDY = shlex.split("study --n 500,4096 --rows 6 --draws 3 --block 256 --k 16,n^0.5,n --sigma 1,2*sqrt(log(n))")
TENSORS = shlex.split("study --n 1000,2048 --rows 4 --draws 2 --block 128 --k 16,n^0.5")


def make_tensors(path: pathlib.Path) -> None:
    """Two heads of 2048 tokens, d = 24, drawn from a fixed seed."""
    draw = np.random.default_rng(5)
    with h5py.File(path, "w") as file:
        for name in "QKV":
            file[name] = draw.standard_normal((2, 2048, 24)).astype(np.float32)


def grid(tensors: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """(ranks, command) of every run."""
    for ranks in (1, 2, 3, 4):
        yield ranks, STUDY
        yield ranks, [*TENSORS, "--input", str(tensors)]
        yield ranks, [*TENSORS, "--input", str(tensors), "--mask", "causal"]
    for kind in ("uniform", "rademacher", "sphere", "student:3", "ar1:0.5", "clusters:8", "needle:1"):
        yield 2, [*STUDY, "--inputs", kind]
    for options in (
        "--path blas-tile",
        "--keys streamed",
        "--keys resident --merge tree",
        "--merge threshold",
        "--row-sigma fixed",
        "--weights gaussian",
        "--weights product",
        "--self include",
        "--output-error off --hold 32",
        "--batch-rows 2 --seed 9",
        "--d 8,33 --scale 0.5",
    ):
        yield 2, [*STUDY, *shlex.split(options)]
    yield 1, shlex.split("study --n 2048 --rows 4 --draws 2 --R 8,16 --epsilon 0.5,0.001 --count-above 1/n,0.1")
    for mask in ("none", "causal"):
        for ranks in (1, 3):
            yield ranks, shlex.split(f"attend --n 1024 --draws 2 --k 16,n^0.5 --sigma 1,2 --mask {mask} --spectral")
    yield 2, shlex.split("simulate --n 4096,2^20,2^50 --rows 4 --draws 3 --sigma 1,2*sqrt(log(n)) --k 64,n^0.5")
    yield 2, shlex.split("precision --n 1000,4096 --rows 2 --draws 2 --sigma 1,3 --k 16,n^0.5")


def datasets(path: pathlib.Path) -> dict[tuple[str, ...], np.ndarray]:
    """By (what the case depends on, name of the dataset)."""
    found = {}
    with h5py.File(path) as file:
        for group in file["cases"].values():
            case = tuple(f"{key}={group.attrs[key]}" for key in KEYS if key in group.attrs)
            for name, dataset in group.items():
                if name not in TIMINGS:
                    found[(*case, name)] = dataset[()]
    return found


def same(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype == object or b.dtype == object:
        return a.tolist() == b.tolist()
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def run(binary: str, ranks: int, command: list[str], output: pathlib.Path) -> str:
    """Empty, or why there is no results file."""
    launch = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    line = [*launch, binary, *command, "-o", str(output)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, check=False)
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    arguments = parser.parse_args()
    runs = compared = 0
    differences = []
    with tempfile.TemporaryDirectory() as folder:
        tensors = pathlib.Path(folder, "tensors.h5")
        make_tensors(tensors)
        for ranks, command in grid(tensors):
            runs += 1
            title = f"{ranks} rank(s): {' '.join(command).replace(folder, '.')}"
            files = [pathlib.Path(folder, f"{runs}-{side}.h5") for side in ("old", "new")]
            builds = zip((arguments.old, arguments.new), files, strict=True)
            errors = [run(binary, ranks, command, file) for binary, file in builds]
            if any(errors):
                differences.append(f"{title}: {' | '.join(errors)}")
                continue
            old, new = (datasets(file) for file in files)
            both = sorted(old.keys() & new.keys())
            unequal = [key for key in both if not same(old[key], new[key])]
            compared += len(both)
            print(f"{len(both) - len(unequal):5d} of {len(both):5d} equal  {title}", flush=True)
            if not both:
                differences.append(f"{title}: no dataset in common")
            differences += [f"{title}: {', '.join(key)}" for key in unequal]
    print(f"{runs} runs, {compared} datasets compared, {len(differences)} differences")
    for line in differences:
        print(f"  {line}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
