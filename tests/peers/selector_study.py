"""Times a study of seven selectors beside the same quantities by dense formulas over PyTorch, in turns.

Evaluations of sparse attention in PyTorch (sparse-attention-hub and the methods' own code) make, for every method, a
priority of each key, the indices of the largest ones and a mask over all keys. That is done here, written for this
comparison: `tail mass` (with the row error and the recall), and `k_epsilon` too, which takes a sort of the whole order.
Started by run.sh --selectors with the Python that has PyTorch.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from peer_worker import import_torch

torch = import_torch()
EPSILON = (0.1, 0.01)
Times = tuple[float, float]
"""Wall and processor seconds."""
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


def now(who: int) -> Times:
    used = resource.getrusage(who)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def timed(who: int, work: Callable[[], Any]) -> Times:
    """who: whose processor time, resource.RUSAGE_SELF or RUSAGE_CHILDREN."""
    before = now(who)
    work()
    wall, used = now(who)
    return wall - before[0], used - before[1]


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
    times: dict[str, list[Times]] = {"asymptop": [], "PyTorch, tail mass": [], "PyTorch, k_epsilon too": []}
    tails: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [options.asymptop, "study", "--n", str(options.n), "--d", str(options.d), "--rows", str(options.m)]
        command += ["--k", str(options.k), "--sigma", "1", "--draws", "1", "--output-error", "off", "--force"]
        command += ["--selectors", names, "--threads", str(options.threads), "-o", f"{folder}/results.h5"]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        for _ in range(options.rounds):
            run = partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL, env=environment)
            times["asymptop"].append(timed(resource.RUSAGE_CHILDREN, run))
            for name, whole in (("PyTorch, tail mass", False), ("PyTorch, k_epsilon too", True)):
                whole_time = timed(resource.RUSAGE_SELF, lambda w=whole: tails.update(measure(q, keys, options.k, w)))
                times[name].append(whole_time)
    medians = {name: [statistics.median(of) for of in zip(*both, strict=True)] for name, both in times.items()}
    print(f"{names}: n = {options.n}, d = {options.d}, m = {options.m}, k = {options.k}, {options.threads} threads")
    print("medians; start-up included in Asymptop's; on a busy machine the processor's seconds say more")
    for name, (wall, used) in medians.items():
        ratios = [mine / own for mine, own in zip((wall, used), medians["asymptop"], strict=True)]
        print(f"  {name:24}{wall:8.2f} s{ratios[0]:7.1f} times; of the processor {used:8.2f} s{ratios[1]:7.1f} times")
    print("  mean tail mass by PyTorch: " + ", ".join(f"{name} {tail:.4f}" for name, tail in tails.items()))


if __name__ == "__main__":
    main()
