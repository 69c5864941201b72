"""Times Asymptop's kernels on a GPU beside PyTorch's and FlashInfer's; counts the rows whose k largest those get wrong.

`python3 tests/peers/gpu.py --program build/device/asymptop`, with any Python that has PyTorch with CUDA; nothing else
is needed. FlashInfer (flashinfer-python, which compiles its kernels by nvcc) takes part where it can be loaded.

All starts from fp32 tensors in the GPU's memory and ends with fp32 results there (peers) or on the host (Asymptop,
whose times are the longer for it). Peers' times are by CUDA events, medians of ten; Asymptop's those of
`asymptop bench --path device`, case by case in turns with theirs.

Ways of peers: fp32 products (TF32 off) and torch.topk or flashinfer.top_k (sorted), also of bf16 tensors; attention
as products, softmax, products in fp32, scaled_dot_product_attention in fp32 and in bf16, beside `device-bf16`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

try:
    import flashinfer
except ImportError:
    flashinfer = None

Selection = Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]
SAMPLES = 10
CHECKED = 4  # rows of attention against fp64


def selections() -> dict[str, Selection]:
    """Values and indices of the k largest of every row, largest first."""
    ways: dict[str, Selection] = {"torch.topk": torch.topk}
    if flashinfer is not None:
        ways["flashinfer.top_k"] = partial(flashinfer.top_k, sorted=True)
    return ways


def seconds(work: Callable[[], Any]) -> float:
    for _ in range(2):
        work()
    times = []
    for _ in range(SAMPLES):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(1e-3 * begin.elapsed_time(end))
    return statistics.median(times)


class Tensors:
    def __init__(self, n: int, d: int, m: int) -> None:
        generator = torch.Generator("cuda").manual_seed(1)

        def normal(rows: int) -> torch.Tensor:
            return torch.randn(rows, d, generator=generator, device="cuda")

        self.q, self.k, self.v = normal(m) / d**0.5, normal(n), normal(n)
        self.low = [x.bfloat16() for x in (self.q, self.k, self.v)]

    def select(self, k: int, low: bool, way: Selection) -> tuple[torch.Tensor, torch.Tensor]:
        queries, keys, _ = self.low if low else (self.q, self.k, self.v)
        return way(queries @ keys.T, k)

    def products(self) -> torch.Tensor:
        return torch.softmax(self.q @ self.k.T, 1) @ self.v

    def sdpa(self, low: bool) -> torch.Tensor:
        queries, keys, values = (x[None, None] for x in (self.low if low else (self.q, self.k, self.v)))
        return torch.nn.functional.scaled_dot_product_attention(queries, keys, values, scale=1.0)[0, 0]

    def error(self, output: torch.Tensor) -> float:
        """||output - reference|| / ||reference|| of the first rows, fp64."""
        worst = 0.0
        for row in range(min(CHECKED, len(self.q))):
            exact = torch.softmax(self.k.double() @ self.q[row].double(), 0) @ self.v.double()
            worst = max(worst, float((output[row].double() - exact).norm() / exact.norm()))
        return worst


def asymptop(program: str, threads: int, words: list[str], path: str = "device") -> float:
    """Median seconds of one case; INVALID ends the run by its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder, "b.json")
        command = [program, "bench", "--path", path, "--threads", str(threads), "--samples", str(SAMPLES), *words]
        command += ["-o", str(Path(folder, "b.h5")), "--json", str(records)]
        subprocess.run(command, check=True, capture_output=True)
        (case,) = json.loads(records.read_text())
        return float(case["median_seconds"])


def tied_inputs(n: int, d: int, m: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Queries and keys whose scores are whole numbers, exact in fp32 in any order: many are equal."""
    generator = torch.Generator("cuda").manual_seed(2)
    coarse = torch.randint(-2, 3, (n, d), generator=generator, device="cuda").float()
    queries = torch.randint(-2, 3, (m, d), generator=generator, device="cuda").float()
    pivot = torch.zeros(n, d, device="cuda")
    pivot[:, 0] = 7.0
    pivot[:: n // 64, 0] = 8.0
    first = torch.zeros(m, d, device="cuda")
    first[:, 0] = 1.0
    return {
        "few values": (queries, coarse.sign()),
        "whole numbers": (queries, coarse),
        "all but 64 equal": (first, pivot),
    }


def wrong_sets(queries: torch.Tensor, keys: torch.Tensor, k: int, found: torch.Tensor) -> tuple[int, int]:
    """Rows that miss a key that is greater than one they have; rows that do not have the earliest of equal ones."""
    missed = later = 0
    for row in range(len(queries)):
        scores = keys.double() @ queries[row].double()
        best = torch.sort(scores, descending=True, stable=True).indices[:k]
        have, want = torch.sort(scores[found[row]]).values, torch.sort(scores[best]).values
        if not torch.equal(have, want) or len(torch.unique(found[row])) != k:
            missed += 1
        elif not torch.equal(torch.sort(found[row]).values, torch.sort(best).values):
            later += 1
    return missed, later


def milliseconds(name: str, time: float, own: float, more: str = "") -> str:
    return f"{name} {1e3 * time:.3f} ({time / own:.1f}x{more})"


def compare_selection(options: argparse.Namespace, tensors: Tensors, sizes: list[str], k: int) -> str:
    own = asymptop(options.program, options.threads, [*sizes, "--kernel", "top-k", "--k", str(k)])
    peers = [
        milliseconds(f"{name} {numbers}", seconds(partial(tensors.select, k, numbers == "bf16", way)), own)
        for name, way in selections().items()
        for numbers in ("fp32", "bf16")
    ]
    return ", ".join([f"asymptop {1e3 * own:.3f}", *peers])


def compare_attention(options: argparse.Namespace, tensors: Tensors, sizes: list[str]) -> str:
    words = [*sizes, "--kernel", "exact-attention"]
    own = asymptop(options.program, options.threads, words)
    own_bf16 = asymptop(options.program, options.threads, words, "device-bf16")
    ways = {
        "products fp32": tensors.products,
        "SDPA fp32": partial(tensors.sdpa, False),
        "SDPA bf16": partial(tensors.sdpa, True),
    }
    peers = [milliseconds(name, seconds(way), own, f", error {tensors.error(way()):.1e}") for name, way in ways.items()]
    return ", ".join([f"asymptop {1e3 * own:.3f}", f"its bf16 {1e3 * own_bf16:.3f}", *peers])


def compare(options: argparse.Namespace) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    print(
        f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}; n = {options.n}; milliseconds (times Asymptop's)"
    )
    for d, m in product(options.d, options.m):
        tensors = Tensors(options.n, d, m)
        sizes = ["--n", str(options.n), "--d", str(d), "--m", str(m)]
        for k in options.k:
            print(f"top-k, d = {d}, m = {m}, k = {k}: {compare_selection(options, tensors, sizes, k)}", flush=True)
        print(f"attention, d = {d}, m = {m}: {compare_attention(options, tensors, sizes)}", flush=True)
    for name, (queries, keys) in tied_inputs(1 << 16, 16, 64).items():
        for k, (way, select) in product((16, 1024), selections().items()):
            missed, later = wrong_sets(queries, keys, k, select(queries @ keys.T, k)[1])
            print(f"{way}, {name}, k = {k}: {missed} of 64 rows miss a greater key, {later} the first of equal ones")


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(x) for x in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--program", default="build/device/asymptop", help="asymptop of a build with -DASYMPTOP_DEVICE=ON"
    )
    parser.add_argument("--n", type=int, default=1 << 20)
    parser.add_argument("--d", type=numbers, default=[64, 128], metavar="LIST")
    parser.add_argument("--m", type=numbers, default=[1, 1024], metavar="LIST")
    parser.add_argument("--k", type=numbers, default=[16, 1024, 16384], metavar="LIST")
    parser.add_argument("--threads", type=int, default=16, help="of Asymptop's host side")
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
