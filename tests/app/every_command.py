"""Small runs of every command that together take every way through it, for tests that watch a whole process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

SIZES = ["--block", "64", "--force"]
STUDY = ["study", "--n", "64,300", "--k", "8,n/2", "--rows", "6", "--draws", "2", *SIZES]
ATTEND = ["attend", "--k", "8", *SIZES]
REFUSED = ["study", "--n", "0"]
BENCH = ["bench", "--kernel", "top-k", "--n", "300", "--d", "8", "--m", "6", "--k", "10", "--samples", "3", *SIZES]
COMMANDS: dict[str, Sequence[Sequence[str]]] = {
    "study": [
        [*STUDY, "-o", "s.h5", "--merge", "owner", "--checkpoint-minutes", "0"],
        [*STUDY, "-o", "s.h5", "--merge", "threshold", "--sigma", "1,2", "--keys", "streamed", "--self", "include"],
        [*STUDY, "-o", "s.h5", "--merge", "tree", "--target-se", "50%", "--path", "blas-tile"],
        ["compare", "s.h5", "s.h5"],
        ["info", "--verify", "s.h5"],
        ["merge", "-o", "m.h5", "s.h5.cases/n64-d64-sigma1.h5", "s.h5.cases/n300-d64-sigma1.h5"],
    ],
    "groups": [["study", "--input", "qkv.h5", "--n", "100", "--draws", "2", "--rows", "8", "--groups", "2", *SIZES]],
    "attend": [
        [*ATTEND, "--n", "300", "--mask", "none,causal", "--spectral", "--save-output", "out.h5"],
        [*ATTEND, "--n", "200", "--input", "qkv.h5"],
    ],
    "bench": [[*BENCH, "--merge", "all"]],
    "others": [
        ["simulate", "--n", "2^20", "--draws", "3", "--force"],
        ["precision", "--n", "100", "--draws", "3", "--force"],
        REFUSED,
    ],
}


def write_tensors(path: Path) -> None:
    """The file that `groups` and `attend` read: two heads of 200 keys."""
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for tensor in "QKV":
            file[tensor] = rng.standard_normal((2, 200, 8)).astype(np.float32)
