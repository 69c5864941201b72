"""One peer library in a process of its own: loads the arrays, then answers one JSON line for each JSON line it reads.

`peer_worker.py faiss|torch ARRAYS_FOLDER THREADS`, started by peers.py. The libraries live in different Pythons, and
settings of theirs are environment variables that count only at the start. With --version it prints the version alone.

    {"do": "time", "kernel": "top-k", "k": 16}                  {"seconds": [0.1, 0.1, 0.1]}
    {"do": "answer", "kernel": "top-k", "k": 16, "rows": [0]}   {"keys": [[5, 3, ...]], "scores": [[2.7, ...]]}
    {"do": "answer", "kernel": "exact-attention", ...}          {"output": [[0.1, ...]]}
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = 3
# A run longer than this is not repeated within a round: the rounds repeat it.
LONG_RUN_SECONDS = 1.0
TUNED = "FAISS_TUNE_"  # begins variables of the environment that set one of faiss.cvar


class Arrays:
    def __init__(self, folder: Path) -> None:
        self.queries = np.load(folder / "queries.npy")
        self.keys = np.load(folder / "keys.npy")
        self.values = np.load(folder / "values.npy")


class Faiss:
    @staticmethod
    def version() -> str:
        import faiss

        return f"FAISS {faiss.__version__} IndexFlatIP"

    def __init__(self, arrays: Arrays, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        for name, value in os.environ.items():
            if name.startswith(TUNED):
                setattr(faiss.cvar, name.removeprefix(TUNED), int(value))
        self.queries = arrays.queries
        self.index = faiss.IndexFlatIP(arrays.keys.shape[1])
        self.index.add(arrays.keys)

    def work(self, kernel: str, k: int) -> Callable[[], Any]:
        assert kernel == "top-k", kernel
        return lambda: self.index.search(self.queries, k)

    def answer(self, kernel: str, k: int, rows: list[int]) -> dict[str, Any]:
        scores, keys = self.work(kernel, k)()
        return {"keys": keys[rows].tolist(), "scores": scores[rows].tolist()}


def import_torch() -> Any:
    # The CUDA half of PyTorch is loaded and never called; its libraries are absent, so its calls must stay unresolved.
    sys.setdlopenflags(os.RTLD_LAZY)
    import torch

    return torch


class Torch:
    @staticmethod
    def version() -> str:
        torch = import_torch()
        return f"PyTorch {torch.__version__}, CPU capability {torch.backends.cpu.get_cpu_capability()}"

    def __init__(self, arrays: Arrays, threads: int) -> None:
        self.torch = torch = import_torch()
        torch.set_num_threads(threads)
        self.queries = torch.from_numpy(arrays.queries)
        self.keys = torch.from_numpy(arrays.keys)
        self.values = torch.from_numpy(arrays.values)
        self.scores: Any = None
        self.best: dict[int, tuple[Any, Any]] = {}

    def top_k(self, k: int) -> tuple[Any, Any]:
        """matmul, then topk, into memory that is there before the clock starts."""
        torch = self.torch
        if self.scores is None:
            self.scores = torch.empty((len(self.queries), len(self.keys)))
        if k not in self.best:
            self.best[k] = (torch.empty((len(self.queries), k)), torch.empty((len(self.queries), k), dtype=torch.int64))
        torch.matmul(self.queries, self.keys.T, out=self.scores)
        return torch.topk(self.scores, k, dim=1, out=self.best[k])

    def exact_attention(self) -> Any:
        attention = self.torch.nn.functional.scaled_dot_product_attention
        return attention(self.queries[None, None], self.keys[None, None], self.values[None, None], scale=1.0)[0, 0]

    def top_k_attention(self, k: int) -> Any:
        scores, keys = self.top_k(k)
        weights = self.torch.softmax(scores, dim=1)
        # Gathers and sums at once; values[keys] would write m k d numbers first.
        return self.torch.nn.functional.embedding_bag(keys, self.values, per_sample_weights=weights, mode="sum")

    def work(self, kernel: str, k: int) -> Callable[[], Any]:
        if kernel == "top-k":
            return lambda: self.top_k(k)
        if kernel == "top-k-attention":
            return lambda: self.top_k_attention(k)
        assert kernel == "exact-attention", kernel
        return self.exact_attention

    def answer(self, kernel: str, k: int, rows: list[int]) -> dict[str, Any]:
        result = self.work(kernel, k)()
        if kernel == "top-k":
            scores, keys = result
            return {"keys": keys[rows].tolist(), "scores": scores[rows].tolist()}
        return {"output": result[rows].tolist()}


def timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def samples(work: Callable[[], Any], warm: bool) -> list[float]:
    """The first run counts only when the peer did this work before."""
    first = timed(work)
    seconds = [first] if warm and first > LONG_RUN_SECONDS else []
    while len(seconds) < SAMPLES and (not seconds or seconds[0] <= LONG_RUN_SECONDS):
        seconds.append(timed(work))
    return seconds


def serve(peer: Any) -> None:
    done: set[tuple[str, int]] = set()
    for line in sys.stdin:
        request = json.loads(line)
        kernel, k = request["kernel"], request["k"]
        if request["do"] == "answer":
            reply = peer.answer(kernel, k, request["rows"])
        else:
            reply = {"seconds": samples(peer.work(kernel, k), (kernel, k) in done)}
        done.add((kernel, k))
        print(json.dumps(reply), flush=True)


def main() -> None:
    peer_class = {"faiss": Faiss, "torch": Torch}[sys.argv[1]]
    if sys.argv[2] == "--version":
        print(peer_class.version())
        return
    peer = peer_class(Arrays(Path(sys.argv[2])), int(sys.argv[3]))
    print(json.dumps({"ready": peer_class.version()}), flush=True)
    serve(peer)


if __name__ == "__main__":
    main()
