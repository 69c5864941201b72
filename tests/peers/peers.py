"""Times `asymptop bench` and its peers in turns on this CPU and prints the ratios. Started by run.sh, which finds them.

arrays -> setting of each peer -> answers against fp64 -> rounds (asymptop, FAISS, PyTorch, ...) -> medians -> table
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from comparison import Case, Measured, as_records, cases_of, settle_asymptop, table

# Settings are tried on at most this many keys.
TRIAL_KEYS = 1 << 16
TRIAL_TURNS = 3
# One that is slower than the best by more than this is not tried again.
HOPELESS = 2.5
CHECKED_ROWS = 4
# fp32 sums of d products, and of n weights, against fp64: relative to the largest value of a row.
TOLERANCE = 1e-5
CHUNK = 1 << 16
# Threads that meet at a barrier wait for the one whose core does other work: a little of it multiplies some times.
QUIET_CORES = 0.1
ARRAYS = ("queries", "keys", "values")

Setting = dict[str, "str | None"]


class PeerError(Exception):
    pass


def say(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


@dataclass
class Surroundings:
    """What the rounds say about the machine."""

    bench_lines: list[str] = field(default_factory=list)  # of the first round
    sgemm_rounds: list[float] = field(default_factory=list)  # GFLOP/s
    busy_cores: list[float] = field(default_factory=list)  # by other work, before each round

    @property
    def sgemm(self) -> float:
        return statistics.median(self.sgemm_rounds)


@dataclass
class Peer:
    """A peer library, how to start it, and the environments among which its fastest is chosen (None unsets)."""

    name: str
    python: str
    kernels: tuple[str, ...]
    base: Setting
    settings: dict[str, Setting]
    chosen: str = ""
    version: str = ""
    tried: dict[str, float | None] = field(default_factory=dict)


class Worker:
    """A running peer_worker.py."""

    def __init__(self, peer: Peer, setting: str, folder: Path, threads: int, log: Path) -> None:
        environment = dict(os.environ)
        for name, value in {"OMP_NUM_THREADS": str(threads), **peer.base, **peer.settings[setting]}.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        command = [peer.python, str(Path(__file__).with_name("peer_worker.py")), peer.name, str(folder), str(threads)]
        self.name = peer.name
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        try:
            self.version = self.read()["ready"]
        except PeerError:
            self.close()
            raise

    def read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(f"{self.name} ended early, see {self.log}")
        return json.loads(line)

    def ask(self, do: str, case: Case, **more: Any) -> dict[str, Any]:
        try:
            self.process.stdin.write(json.dumps({"do": do, "kernel": case.kernel, "k": case.k, **more}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise PeerError(f"{self.name} ended early, see {self.log}") from error
        return self.read()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_arrays(folder: Path, n: int, d: int, m: int) -> None:
    """Standard normal; queries divided by sqrt(d), as `asymptop bench` makes its own."""
    folder.mkdir()
    generator = np.random.default_rng(1)
    for name, rows in zip(ARRAYS, (m, n, n), strict=True):
        array = generator.standard_normal((rows, d), dtype=np.float32)
        np.save(folder / f"{name}.npy", array / np.float32(d**0.5) if name == "queries" else array)


def top_k_residual(scores: np.ndarray, k: int, keys: list[int], found: list[float]) -> float:
    """Both the scores that a peer gives and the keys that it names have to be those of the k largest."""
    if len(set(keys)) != k:
        return float("inf")
    best = np.sort(scores)[::-1][:k]
    return float(max(np.abs(best - found).max(), np.abs(best - scores[keys]).max()) / np.abs(best).max())


def output_residual(scores: np.ndarray, k: int, values: np.ndarray, output: list[float]) -> float:
    chosen = np.argsort(scores)[::-1][:k] if k else np.arange(len(scores))
    weights = np.exp(scores[chosen] - scores.max())
    spans = [slice(begin, begin + CHUNK) for begin in range(0, len(chosen), CHUNK)]
    right = sum(weights[span] @ values[chosen[span]].astype(float) for span in spans) / weights.sum()
    return float(np.abs(right - output).max() / np.abs(right).max())


def residual(folder: Path, case: Case, rows: list[int], answer: dict[str, Any]) -> float:
    """Largest deviation of a peer's answer from fp64, relative to the largest value of its row."""
    queries, keys, values = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
    chunks = [keys[begin : begin + CHUNK].astype(float) for begin in range(0, len(keys), CHUNK)]
    worst = 0.0
    for place, row in enumerate(rows):
        scores = np.concatenate([chunk @ queries[row].astype(float) for chunk in chunks])
        if case.kernel == "top-k":
            off = top_k_residual(scores, case.k, answer["keys"][place], answer["scores"][place])
        else:
            off = output_residual(scores, case.k, values, answer["output"][place])
        worst = max(worst, off)
    return worst


def peers_of(options: argparse.Namespace) -> list[Peer]:
    peers = []
    threads = str(options.threads)
    asleep: Setting = {"OMP_WAIT_POLICY": "passive"}
    if options.faiss_python:
        # The threshold counts queries times columns; at its height few go by BLAS (findings/faiss-batch-cliff.sh).
        by_blas: Setting = {"OPENBLAS_NUM_THREADS": threads, "FAISS_TUNE_distance_compute_blas_threshold": "1"}
        settings: dict[str, Setting] = {
            "as installed": {"OPENBLAS_NUM_THREADS": threads},
            "all by BLAS": by_blas,
            "all by BLAS, waiting threads asleep": {**by_blas, **asleep},
            "all by BLAS, 16384 keys a block": {**by_blas, "FAISS_TUNE_distance_compute_blas_database_bs": "16384"},
            "all by BLAS, 256 keys a block": {**by_blas, "FAISS_TUNE_distance_compute_blas_database_bs": "256"},
        }
        peers.append(Peer("faiss", options.faiss_python, ("top-k",), {"PYTHONPATH": None}, settings))
    if options.torch_python:
        kernels = ("top-k", "exact-attention", "top-k-attention")
        avx2: Setting = {"ATEN_CPU_CAPABILITY": "avx2"}
        settings = {"as installed": {}, "waiting threads asleep": asleep, "AVX2 only": avx2}
        peers.append(Peer("torch", options.torch_python, kernels, {"PYTHONPATH": None}, settings))
    return peers


def try_setting(peer: Peer, setting: str, folder: Path, cases: list[Case], options: argparse.Namespace) -> list[float]:
    """Least seconds of each case; raises PeerError where the setting does not run or answers wrongly."""
    log = options.work / f"{peer.name}-trial.log"
    seconds = []
    with Worker(peer, setting, folder, options.threads, log) as worker:
        for case in cases:
            off = residual(folder, case, [0], worker.ask("answer", case, rows=[0]))
            if not off <= TOLERANCE:
                raise PeerError(f"{peer.name} is off by {off:.2g} in the setting {setting}")
            seconds.append(min(worker.ask("time", case)["seconds"]))
    return seconds


def choose_setting(peer: Peer, folder: Path, keys: int, options: argparse.Namespace) -> None:
    """Takes the setting with the least total over the peer's cases. Tried in turns, as other load comes and goes."""
    cases = cases_of([kernel for kernel in options.kernel if kernel in peer.kernels], [min(k, keys) for k in options.k])
    least: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for _ in range(TRIAL_TURNS):
        best = min(map(sum, least.values()), default=float("inf"))
        hopeless = {setting for setting, seconds in least.items() if sum(seconds) > HOPELESS * best}
        for setting in [name for name in peer.settings if name not in failed and name not in hopeless]:
            try:
                seconds = try_setting(peer, setting, folder, cases, options)
            except PeerError as error:
                failed[setting] = str(error)
                continue
            least[setting] = [min(pair) for pair in zip(seconds, least.get(setting, seconds), strict=True)]
    ran = {setting: sum(seconds) for setting, seconds in least.items() if setting not in failed}
    if not ran:
        raise PeerError("; ".join(failed.values()))
    peer.tried = {setting: ran.get(setting) for setting in peer.settings}
    peer.chosen = min(ran, key=ran.__getitem__)


def run_bench(options: argparse.Namespace, work: Path) -> tuple[list[dict[str, Any]], str]:
    """Records and printed lines of one `asymptop bench`: one process, one rank."""
    command = [options.asymptop, "bench", "--force", "--output", str(work / "bench.h5"), "--json", "-", "--path", "all"]
    command += ["--samples", "3", "--kernel", ",".join(options.kernel), "--k", ",".join(map(str, options.k))]
    for name in ("n", "d", "m", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise PeerError("asymptop bench failed: " + (done.stderr.strip().splitlines() or ["no output"])[-1])
    return json.loads(done.stdout), done.stderr


def cases_for(peer: Peer, options: argparse.Namespace) -> list[Case]:
    return cases_of([kernel for kernel in options.kernel if kernel in peer.kernels], options.k)


def describe(options: argparse.Namespace, peers: list[Peer], around: Surroundings) -> str:
    lines = [line for line in around.bench_lines if line.startswith(("asymptop ", "machine ", "sgemm "))]
    lines.append(
        f"run       n = {options.n}, d = {options.d}, m = {options.m}, {options.threads} thread(s), "
        f"{options.rounds} rounds in turns"
    )
    lines.append("arrays    standard normal fp32: one set for the peers, asymptop's own of the same law and shape")
    lines.append(f"yardstick best sgemm of this shape, median of the rounds: {around.sgemm:.4g} GFLOP/s")
    most = max(around.busy_cores)
    warning = ": ratios measured beside it are not to be trusted" if most > QUIET_CORES else ""
    lines.append(f"others    other work kept up to {most:.2f} core(s) busy before the rounds{warning}")
    for peer in peers:
        lines.append(f"{peer.name:<9} {peer.version}; setting: {peer.chosen}")
        for setting, seconds in peer.tried.items():
            lines.append(
                f"          tried {setting}: "
                + ("does not run or answers wrongly" if seconds is None else f"{seconds:.4g} s")
            )
    return "\n".join(lines)


def check_answers(worker: Worker, folder: Path, cases: list[Case], m: int) -> dict[Case, str]:
    rows = sorted({i * (m - 1) // max(1, CHECKED_ROWS - 1) for i in range(CHECKED_ROWS)})
    verdicts = {}
    for case in cases:
        off = residual(folder, case, rows, worker.ask("answer", case, rows=rows))
        verdicts[case] = "VALID" if off <= TOLERANCE else f"INVALID: off by {off:.2g}"
    return verdicts


def busy_cores(seconds: float = 1.0) -> float:
    """Cores that other work keeps busy; asked while everything of ours waits. NaN where the system does not tell."""

    def now() -> tuple[float, float]:
        fields = [int(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields) - fields[3] - fields[4], time.monotonic()  # all but idle and waiting for input

    try:
        busy, begin = now()
        time.sleep(seconds)
        later, end = now()
    except OSError:
        return float("nan")
    return (later - busy) / os.sysconf("SC_CLK_TCK") / (end - begin)


def measure(options: argparse.Namespace, folder: Path, peers: list[Peer]) -> tuple[list[Measured], Surroundings]:
    """All rounds."""
    measured: dict[tuple[str, Case], Measured] = {}
    around = Surroundings()
    cases = {peer.name: cases_for(peer, options) for peer in peers}
    with ExitStack() as stack:
        workers = {}
        for peer in peers:
            log = options.work / f"{peer.name}.log"
            workers[peer.name] = stack.enter_context(Worker(peer, peer.chosen, folder / "all", options.threads, log))
            peer.version = workers[peer.name].version
            for case, verdict in check_answers(workers[peer.name], folder / "all", cases[peer.name], options.m).items():
                measured[peer.name, case] = Measured(peer.name, case, verdict=verdict)
        for r in range(options.rounds):
            say(f"round {r + 1} of {options.rounds}")
            around.busy_cores.append(busy_cores())
            records, lines = run_bench(options, folder)
            around.bench_lines = around.bench_lines or lines.splitlines()
            around.sgemm_rounds.append(records[0]["sgemm_gflops"])
            settle_asymptop(records, measured)
            for peer in peers:
                for case in cases[peer.name]:
                    seconds = workers[peer.name].ask("time", case)["seconds"]
                    measured[peer.name, case].rounds.append(statistics.median(seconds))
    return list(measured.values()), around


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asymptop", required=True)
    parser.add_argument("--work", type=Path, required=True)
    for name in ("n", "d", "m", "threads", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--k", type=lambda text: sorted({int(k) for k in text.split(",")}), required=True)
    parser.add_argument("--kernel", type=lambda text: list(dict.fromkeys(text.split(","))), required=True)
    for name in ("output", "faiss-python", "torch-python"):
        parser.add_argument(f"--{name}", default="")
    return parser.parse_args()


def compare(options: argparse.Namespace, folder: Path) -> int:
    peers = [peer for peer in peers_of(options) if set(peer.kernels) & set(options.kernel)]
    say("making arrays")
    trial_keys = min(options.n, TRIAL_KEYS)
    make_arrays(folder / "all", options.n, options.d, options.m)
    make_arrays(folder / "trial", trial_keys, options.d, options.m)
    for peer in peers:
        say(f"trying settings of {peer.name}")
        choose_setting(peer, folder / "trial", trial_keys, options)
    measured, around = measure(options, folder, peers)
    sizes = (options.n, options.d, options.m)
    print(describe(options, peers, around) + "\n\n" + table(measured, sizes, around.sgemm))
    if options.output:
        report = {
            **{name: getattr(options, name) for name in ("n", "d", "m", "threads", "rounds")},
            "sgemm_gflops": around.sgemm,
            "other_work_cores": around.busy_cores,
            "bench": around.bench_lines,
            "peers": {p.name: {"version": p.version, "setting": p.chosen, "tried_seconds": p.tried} for p in peers},
            "rows": as_records(measured, sizes, around.sgemm),
        }
        new = Path(f"{options.output}.new")
        new.write_text(json.dumps(report, indent=1) + "\n")
        new.replace(options.output)
    return 0 if all(row.verdict == "VALID" for row in measured) else 1


def main() -> int:
    options = parse_options()
    # An end on request still removes the arrays and ends the workers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with tempfile.TemporaryDirectory(prefix="arrays-", dir=options.work) as folder:
            return compare(options, Path(folder))
    except PeerError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
