"""Times a study of seven selectors beside the same quantities by dense formulas over PyTorch, in turns.

Evaluations of sparse attention in PyTorch (sparse-attention-hub and the methods' own code) make, for every method, a
priority of each key, the indices of the largest ones and a mask over all keys. That is done here, written for this
comparison: `tail mass` (with the row error and the recall), and `k_epsilon` too, which takes a sort of the whole order.
Started by run.sh --selectors with the Python that has PyTorch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peer_worker import import_torch

torch = import_torch()
EPSILON = (0.1, 0.01)
SINKS, PAGE, BLOCK = 4, 16, 128


def priorities(q: Any, keys: Any, scores: Any) -> Iterator[tuple[str, Any, int]]:
    """Per selector, the priorities of its entries, (rows, entries), and the keys of an entry."""
    n, d = keys.shape
    rows = len(q)
    places = torch.arange(n)
    window = torch.where(places < SINKS, 2.0 * n - places, places.double()).float()
    yield "window", window.expand(rows, n), 1
    pages = keys.view(n // PAGE, PAGE, d)
    low, high = pages.amin(1), pages.amax(1)
    yield "quest", q.clamp(min=0) @ high.T + q.clamp(max=0) @ low.T, PAGE
    yield "block-max", scores.view(rows, n // BLOCK, BLOCK).amax(2), BLOCK

    def int8(x: Any) -> Any:
        scale = x.abs().amax(1, keepdim=True) / 127.0
        return (x / scale).round() * scale

    yield "quantised", int8(q) @ int8(keys).T, 1
    kept = q.abs().topk(d // 8, dim=1).indices
    yield "sparq", torch.zeros_like(q).scatter(1, kept, q.gather(1, kept)) @ keys.T, 1
    yield "random", torch.rand(rows, n), 1


def measure(q: Any, keys: Any, k: int, whole: bool) -> dict[str, float]:
    """Mean tail mass per selector. whole: k_epsilon as well."""
    scores = q @ keys.T
    p = (scores - scores.amax(1, keepdim=True)).double().softmax(1)
    rows, n = p.shape
    best = torch.zeros(rows, n, dtype=torch.bool).scatter_(1, scores.topk(k, dim=1).indices, True)
    tails = {"score": 1.0 - float((p * best).sum(1).mean())}
    orders = [("score", scores, 1), *priorities(q, keys, scores)] if whole else list(priorities(q, keys, scores))
    for name, priority, page in orders:
        mask = torch.zeros(rows, n // page, dtype=torch.bool)
        mask.scatter_(1, priority.topk(max(1, k // page), dim=1).indices, True)
        mask = mask.repeat_interleave(page, dim=1)
        kept = p * mask
        total = kept.sum(1, keepdim=True)
        (p - kept / total).norm(dim=1), (mask & best).sum(1)
        tails[name] = 1.0 - float(total.mean())
        if whole:
            mass = p.view(rows, n // page, page).sum(2)
            along = mass.gather(1, priority.argsort(1, descending=True)).flip(1).cumsum(1)
            for epsilon in EPSILON:
                page * (n // page - (along <= epsilon).sum(1))
    return tails


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--asymptop", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1 << 17)
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--m", type=int, default=256)
    parser.add_argument("--k", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    # The root mean square of a query's norm is 1: logits have sigma = 1.
    q = torch.randn(options.m, options.d) / options.d**0.5
    keys = torch.randn(options.n, options.d)
    names = "score,window,quest,block-max,quantised,sparq,random"
    seconds: dict[str, list[float]] = {"asymptop": [], "PyTorch, tail mass": [], "PyTorch, k_epsilon too": []}
    with tempfile.TemporaryDirectory() as folder:
        command = [options.asymptop, "study", "--n", str(options.n), "--d", str(options.d), "--rows", str(options.m)]
        command += ["--k", str(options.k), "--sigma", "1", "--draws", "1", "--output-error", "off", "--force"]
        command += ["--selectors", names, "--threads", str(options.threads), "-o", f"{folder}/results.h5"]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        for _ in range(options.rounds):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            seconds["asymptop"].append(time.perf_counter() - start)
            for name, whole in (("PyTorch, tail mass", False), ("PyTorch, k_epsilon too", True)):
                start = time.perf_counter()
                tails = measure(q, keys, options.k, whole)
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{names}: n = {options.n}, d = {options.d}, m = {options.m}, k = {options.k}, {options.threads} threads")
    for name, median in medians.items():
        print(f"  {name:24}{median:8.2f} s{median / medians['asymptop']:8.1f} times Asymptop, start-up included")
    print("  mean tail mass by PyTorch: " + ", ".join(f"{name} {tail:.4f}" for name, tail in tails.items()))


if __name__ == "__main__":
    main()
