"""Studies have the same bytes for every strategy of the global selection, on up to 16 ranks, resident and streamed."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import assert_equal, study

RANKS = (1, 2, 3, 4, 5, 7, 8, 16)
STRATEGIES = ("root", "owner", "tree", "threshold")
SMALL = ["--block", "64", "--draws", "1", "--d", "8"]


def equal_scores(path: Path) -> list[str]:
    """All keys are the same, so that ranks and indices decide alone."""
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        file["Q"] = rng.standard_normal((400, 8)).astype(np.float32)
        file["K"] = np.ones((400, 8), np.float32)
        file["V"] = rng.standard_normal((400, 8)).astype(np.float32)
    return ["--input", str(path), "--n", "400", "--k", "1,37,n", "--rows", "9", "--block", "64", "--draws", "1"]


def arguments_of(name: str, rng: np.random.Generator, folder: Path) -> list[str]:
    if name == "less than a block":
        return ["--n", str(rng.integers(2, 64)), "--k", "1,n", "--rows", str(rng.integers(1, 9)), *SMALL]
    if name == "fewer blocks than ranks":
        return ["--n", str(rng.integers(65, 450)), "--k", "3,n^0.5,n", "--rows", str(rng.integers(1, 30)), *SMALL]
    if name == "all scores equal":
        return equal_scores(folder / "tensors.h5")
    ks = ",".join(map(str, sorted({*rng.integers(1, 3000, 3).tolist()})))
    return ["--n", "3000", "--k", ks, "--rows", str(rng.integers(1, 40)), "--sigma", "1,log(n)", *SMALL]


@pytest.mark.parametrize("case", range(4))
def test_same_bytes(case: int, seed: int, tmp_path: Path) -> None:
    """Each rank count once, with strategies, threads and storage in turns that differ from case to case."""
    name = ("less than a block", "fewer blocks than ranks", "all scores equal", "any")[case]
    rng = np.random.default_rng([seed, case, 7])
    arguments = arguments_of(name, rng, tmp_path)
    print(f"ASYMPTOP_TEST_SEED={seed} {name}: {' '.join(arguments)}")
    alone = study(tmp_path / "alone.h5", arguments)
    for i, ranks in enumerate(RANKS):
        strategy = STRATEGIES[(case + i) % 4]
        threads = 1 + (i + case // 2) % 2
        keys = ("resident", "streamed")[(i // 2 + case) % 2]
        options = ["--merge", strategy, "--keys", keys]
        other = study(tmp_path / f"{ranks}.h5", [*arguments, *options], ranks, threads)
        print(f"{ranks} ranks x {threads}, {' '.join(options)}")
        with h5py.File(other) as file:
            assert {group.attrs["merge"] for group in file["cases"].values()} == {strategy}
        assert_equal(alone, other)
