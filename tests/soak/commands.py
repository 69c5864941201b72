"""Random small commands of every kind that writes results, and what their numbers are held against afterwards."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import test_attend
import test_inputs
import test_precision
from asymptop.io.reader import open_results
from asymptop.io.row_checks import faults_of
from brute_force import check_case, in_fp32
from synthetic_input import VALUES, Draw, queries_and_keys
from test_brute_force import random_tensors

INPUTS = ("uniform", "rademacher", "sphere", "student:3", "ar1:0.9", "clusters:5:0.3", "needle:1.5")


@dataclass
class Command:
    """`words` say what is computed, `how` draws options that change nothing of the results."""

    kind: str
    name: str
    words: list[str]
    check: Callable[[Path], None] = lambda path: None
    how: Callable[[random.Random, int], list[str]] = lambda rng, ranks: []
    again: list[str] = field(default_factory=lambda: ["--resume"])
    """How the command is given again after it was disturbed."""

    @property
    def resumable(self) -> bool:
        return "--resume" in self.again


def log_uniform(rng: random.Random, low: float, high: float) -> int:
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))


def some(rng: random.Random, low: int, high: int, values: tuple[str, ...]) -> str:
    return ",".join(rng.sample(values, rng.randint(low, high)))


def axes(rng: random.Random, most: float, rows: int) -> tuple[list[str], list[int]]:
    """Context lengths and laws of k; the lengths once more as numbers."""
    lengths = sorted({log_uniform(rng, max(8, rows), most) for _ in range(rng.randint(1, 3))})
    k = some(rng, 1, 3, ("1", "7", "n^0.5", "log(n)^2", "n/2", "n", "400*n^0.001"))
    words = ["--n", ",".join(map(str, lengths)), "--k", k]
    words += ["--epsilon", some(rng, 1, 2, ("0.5", "0.1", "0.01")), "--count-above", some(rng, 1, 2, ("1/n", "1e-3"))]
    return words, lengths


def checkpoints(rng: random.Random) -> list[str]:
    return ["--checkpoint-minutes", rng.choice(["0", "0", "0.01", "5"])]


def check_rows_with_themselves(path: Path) -> None:
    """What `python3 -m asymptop validate` asks of every row."""
    with open_results(path) as results:
        for case in results.cases:
            faults = faults_of(case)
            assert not faults, f"{case.id}: {'; '.join(faults)}"


def synthetic_study(rng: random.Random, folder: Path) -> Command:
    rows, draws, d, seed = rng.randint(1, 24), log_uniform(rng, 2, 60), rng.randint(4, 80), rng.randrange(2**60)
    words, _ = axes(rng, 6000.0, rows)
    words += ["--d", str(d), "--rows", str(rows), "--draws", str(draws), "--seed", str(seed)]
    words += ["--sigma", some(rng, 1, 3, ("0.3", "1", "3", "2*sqrt(log(n))", "log(n)"))]
    words += ["--block", rng.choice(["64", "256", "1024", "4096"])]
    words += ["--path", rng.choice(["auto", "fused", "blas-tile"])]
    fixed = rng.random() < 0.5
    words += ["--row-sigma", "fixed" if fixed else "natural"]
    weights = rng.choice(["identity", "identity", "gaussian", "product"])
    self_key = "include" if rng.random() < 0.2 else "exclude"
    output_error = rng.choice(["on", "on", "off"])
    words += ["--weights", weights, "--self", self_key, "--output-error", output_error]
    if rng.random() < 0.5:
        inputs = INPUTS if self_key == "exclude" else INPUTS[:-1]
        words += ["--inputs", some(rng, 1, 2, ("gaussian", *inputs))]
    by_hand = weights == "identity" and self_key == "exclude" and output_error == "on"
    cells = random.Random(rng.random())

    def check(path: Path) -> None:
        check_rows_with_themselves(path)
        with h5py.File(path) as file:
            for case in file["cases"].values() if by_hand else ():
                draw = Draw(seed, cells.randrange(draws), int(case.attrs["n"]), d)
                q, keys, _ = queries_and_keys(draw, rows, case.attrs["input"], fixed=fixed)
                values = draw.normals(VALUES, np.arange(draw.n, dtype=np.uint64))
                for row in cells.sample(range(rows), min(rows, 2)):
                    test_inputs.check_row(case, (draw.draw, row), case.attrs["sigma"] * q[row], keys, values)

    return Command("study, synthetic", "study", words + checkpoints(rng), check, keys_and_merge)


def keys_and_merge(rng: random.Random, ranks: int) -> list[str]:
    del ranks
    merge = rng.choice(["auto", "root", "owner", "tree", "threshold"])
    memory = rng.choice(["host", "device"])
    return ["--keys", rng.choice(["auto", "resident", "streamed"]), "--merge", merge, "--mpi-memory", memory]


def tensor_study(rng: random.Random, folder: Path) -> Command:
    heads, d = rng.randint(1, 4), rng.randint(4, 48)
    rows, draws = rng.randint(1, 10), rng.randint(1, 10)
    words, lengths = axes(rng, 3000.0, 4 * rows * draws)
    tensors = random_tensors(
        np.random.default_rng(rng.randrange(2**32)), heads, lengths[-1], d, sigma=rng.choice([1.0, 3.0])
    )
    words += ["--input", str(tensors.write(folder / "tensors.h5")), "--mask", rng.choice(["none", "causal"])]
    words += ["--rows", str(rows), "--draws", str(draws), "--block", rng.choice(["64", "256", "4096"])]
    cells = random.Random(rng.random())

    def check(path: Path) -> None:
        check_rows_with_themselves(path)
        with h5py.File(path) as file:
            for case in file["cases"].values():
                check_case(case, tensors, cells={(cells.randrange(draws), cells.randrange(rows))})

    def how(rng: random.Random, ranks: int) -> list[str]:
        return [*keys_and_merge(rng, ranks), *groups_of(heads)(rng, ranks)]

    return Command("study, tensors", "study", words + checkpoints(rng), check, how)


def groups_of(heads: int) -> Callable[[random.Random, int], list[str]]:
    """Of ranks, among which heads are shared out."""
    return lambda rng, ranks: ["--groups", rng.choice(["auto", *map(str, range(1, min(heads, ranks) + 1))])]


def simulate(rng: random.Random, folder: Path) -> Command:
    del folder
    rows = rng.randint(1, 700)
    words, _ = axes(rng, 2.0 ** rng.uniform(11.0, 50.0), 8)
    words += [
        "--rows",
        str(rows),
        "--draws",
        str(rng.randint(1, max(1, 2500 // rows))),
        "--seed",
        str(rng.randrange(2**60)),
    ]
    words += ["--sigma", some(rng, 1, 3, ("0.3", "1", "3", "2*sqrt(log(n))", "log(n)"))]
    return Command("simulate", "simulate", words + checkpoints(rng), check_rows_with_themselves)


def attend(rng: random.Random, folder: Path) -> Command:
    n, d, spread = rng.randint(100, 1200), rng.randint(4, 40), rng.choice([1.0, 3.0])
    heads = [test_attend.normal_inputs(n, d, rng.randrange(2**32), spread) for _ in range(rng.choice([1, 1, 2, 3]))]
    lengths = sorted({rng.randint(20, n) for _ in range(rng.randint(1, 3))})
    words = ["--input", str(test_attend.stacked(heads).write(folder / "tensors.h5"))]
    words += ["--n", ",".join(map(str, lengths))]
    words += ["--k", some(rng, 1, 3, ("1", "7", "n^0.5", "n/2", "n")), "--block", rng.choice(["64", "256", "4096"])]
    words += ["--mask", some(rng, 1, 2, ("none", "causal"))]
    if rng.random() < 0.3:
        words += ["--spectral", "--iterations", "100"]

    def check(path: Path) -> None:
        with h5py.File(path) as file:
            case = rng.choice(list(file["cases"].values()))
            n, inputs = int(case.attrs["n"]), heads[int(case.attrs["head"])]
            s, p = test_attend.attention_matrix(inputs, n, case.attrs["mask"] == "causal")
            exact = p @ in_fp32(inputs.v[:n])
            for column, k in enumerate(case["k"][()].tolist()):
                if test_attend.unambiguous(s, k).all():
                    difference = test_attend.top_k_matrix(s, p, k) @ in_fp32(inputs.v[:n]) - exact
                    error = np.mean(np.linalg.norm(difference, axis=1) / np.linalg.norm(exact, axis=1))
                    found = float(case["output_error_relative"][0, column])
                    assert abs(found - error) <= 1e-4 * error + 1e-4, f"{case.name} k={k}: {found}, numpy {error}"

    return Command("attend", "attend", words, check, groups_of(len(heads)), again=["--force"])


def precision(rng: random.Random, folder: Path) -> Command:
    del folder
    seed, rows, draws = rng.randrange(2**60), rng.randint(1, 4), rng.randint(1, 12)
    lengths = {log_uniform(rng, 8.0, 20000.0) for _ in range(rng.randint(1, 2))} | {rng.randint(1, 500)}
    sets = rng.sample([text.strip() for text in test_precision.SETS.split(";")], rng.randint(1, 5))
    words = ["--n", ",".join(map(str, sorted(lengths))), "--sigma", some(rng, 1, 2, ("0.3", "1", "5", "log(n)+1"))]
    words += ["--k", "1,n^0.5", "--precision", "; ".join(sets), "--rows", str(rows), "--draws", str(draws)]
    words += ["--seed", str(seed), "--block", rng.choice(["64", "128"])]

    def check(path: Path) -> None:
        with h5py.File(path) as file:
            for case in file["cases"].values():
                n, at = int(case.attrs["n"]), (rng.randrange(draws), rng.randrange(rows))
                if n <= 500:
                    logits = float(case.attrs["sigma"]) * test_precision.normals(seed, n, *at)
                    test_precision.check_row(case, logits, at)

    return Command("precision", "precision", words, check, again=["--force"])


KINDS = {
    "study, synthetic": synthetic_study,
    "study, tensors": tensor_study,
    "simulate": simulate,
    "attend": attend,
    "precision": precision,
}
WEIGHTS = (4, 2, 2, 1, 1)


def random_command(rng: random.Random, folder: Path) -> Command:
    (kind,) = rng.choices(list(KINDS), WEIGHTS)
    return KINDS[kind](rng, folder)
