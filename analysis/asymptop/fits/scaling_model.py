"""A model of a kernel's time on p ranks: compute that is shared, serial work, messages and bytes.

    T(p) = compute * n m d / p  +  serial  +  latency * messages(p)  +  bytes(p) / bandwidth

Time outside the merge and the rest of the slowest rank's time are fitted apart, so that few counts of ranks go far.
Coefficients are not negative (a cost cannot be), and errors count relative to T. A term whose column the others already
span at the measured counts cannot be told from them: it is left out, and named.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from ..io.bench_reader import ScalingStudy
from ..theory import laws

TERMS = ("compute", "serial merge", "serial compute", "bytes", "messages")
# Columns of unit length that are closer than this to what others span count as spanned.
_SPANNED = 0.02
# Bins of a row: 20 units of score with 32 bins each, about.
_BINS = 640
# Candidates above the cuts of `threshold`, as a multiple of k, where ranks share the k best at random.
_CUT_EXCESS = 1.1


class ModelError(ValueError):
    """Nothing to fit."""


@dataclass(frozen=True)
class Work:
    """What a case asks of each of its ranks."""

    ranks: int
    n: float
    m: int
    d: int
    k: float
    messages: float  # sent by a rank
    bytes: float  # sent by a rank

    @property
    def products(self) -> float:
        return self.n * self.m * self.d / self.ranks


@dataclass(frozen=True)
class Observation:
    """Medians over samples at one count of ranks: of the slowest rank, and outside the merge of the busiest."""

    work: Work
    seconds: float
    busy_seconds: float


@dataclass(frozen=True)
class Model:
    compute: float  # seconds per key, row and column
    serial_compute: float  # seconds
    serial_merge: float  # seconds
    per_byte: float  # seconds
    per_message: float  # seconds
    open_terms: tuple[str, ...]  # what the measured counts do not determine; their coefficients are 0

    @property
    def serial(self) -> float:
        return self.serial_compute + self.serial_merge

    def parts(self, work: Work) -> dict[str, float]:
        """Seconds of each term."""
        return {
            "compute": self.compute * work.products,
            "serial": self.serial,
            "latency": self.per_message * work.messages,
            "bandwidth": self.per_byte * work.bytes,
        }

    def seconds(self, work: Work) -> float:
        return sum(self.parts(work).values())


def selection_traffic(merge: str, ranks: int, m: float, k: float, n: float) -> tuple[float, float]:
    """(messages, bytes) that a rank sends to agree on the k largest of m rows; by `root`, those that pass through
    rank 0. The counts of src/comm/README.md."""
    others, length = ranks - 1, min(k, n / ranks)
    lists = m * (8.0 * length + 8.0)
    if merge == "root":
        return 2.0 * others, others * lists + others / ranks * m * (10.0 * min(k, n) + 8.0)
    if merge == "tree":
        steps = [2.0**s for s in range(math.ceil(math.log2(ranks)))]
        sent = [m / (2 * s) * (8.0 + (8 if s == 1 else 10) * min(k, s * length)) for s in steps]
        return float(len(steps)), sum(sent)
    if merge == "threshold":
        samples = length if length <= 10 else 10.0 + math.log(length / 10.0) / math.log(1.2)
        cut = min(ranks * length, _CUT_EXCESS * min(k, n))
        return 3.0 * others, others / ranks * m * (8.0 * cut / ranks + 4.0 * (1.0 + samples) + 16.0)
    return float(others), others / ranks * lists


def traffic(kernel: str, merge: str, ranks: int, n: float, m: int, d: int, k: float) -> tuple[float, float]:
    """(messages, bytes) that a rank sends after its own keys are done: candidates by a merge, sums and subtrees of rows
    to their owners. Bins and subtrees are counted roughly."""
    others, share = ranks - 1, (ranks - 1) / ranks
    if others == 0 or kernel == "score":
        return 0.0, 0.0
    if kernel == "exact-attention":
        return 4.0 * others, 2.0 * m * (4 * (d + 2) + 16) * share
    keep = k + 1 if kernel == "profile" else k
    messages, sent = selection_traffic(merge, ranks, m, keep, n)
    if kernel == "profile":
        messages, sent = messages + others, sent + 24.0 * _BINS * m * share
    if kernel == "top-k-attention":
        messages, sent = messages + 5.0 * others, sent + m * (16 + 8 * (d + 1)) * share
    return messages, sent


def work_of(study: ScalingStudy, ranks: int, n: float, k: float) -> Work:
    return Work(ranks, n, study.m, study.d, k, *traffic(study.kernel, study.merge, ranks, n, study.m, study.d, k))


def observations(studies: Iterable[ScalingStudy]) -> list[Observation]:
    """Of all counts of ranks of VALID studies of one kernel, path and shape."""
    return [
        Observation(
            work_of(study, int(ranks), float(n), float(k)),
            float(np.median(study.seconds[i])),
            float(min(np.median(study.busy_seconds[i]), np.median(study.seconds[i]))),
        )
        for study in studies
        if study.valid
        for i, (ranks, n, k) in enumerate(zip(study.ranks, study.n, study.k, strict=True))
    ]


def _independent(columns: np.ndarray) -> list[int]:
    """The columns, in order, that those before them do not span."""
    kept: list[int] = []
    basis: list[np.ndarray] = []
    for index, column in enumerate(columns.T):
        length = np.linalg.norm(column)
        if length == 0:
            continue
        rest = column / length
        for direction in basis:
            rest = rest - (rest @ direction) * direction
        if np.linalg.norm(rest) > _SPANNED:
            basis.append(rest / np.linalg.norm(rest))
            kept.append(index)
    return kept


def fit(measured: Sequence[Observation]) -> Model:
    """Least squares of relative errors with coefficients from 0 on. Raises ModelError without data."""
    if not measured:
        raise ModelError("no VALID measurement")
    rows, target = [], []
    for o in measured:
        rows.append(np.array([o.work.products, 0, 1, 0, 0]) / o.seconds)
        target.append(o.busy_seconds / o.seconds)
        rows.append(np.array([0, 1, 0, o.work.bytes, o.work.messages]) / o.seconds)
        target.append(1 - o.busy_seconds / o.seconds)
    design = np.array(rows, dtype=float)
    kept = _independent(design)
    scale = np.linalg.norm(design[:, kept], axis=0)
    found, _ = nnls(design[:, kept] / scale, np.array(target))
    coefficients = np.zeros(len(TERMS))
    coefficients[kept] = found / scale
    compute, serial_merge, serial_compute, per_byte, per_message = (float(c) for c in coefficients)
    missing = tuple(name for i, name in enumerate(TERMS) if i not in kept)
    return Model(compute, serial_compute, serial_merge, per_byte, per_message, missing)


@dataclass(frozen=True)
class HeldOut:
    """What a fit without the largest count of ranks says of it."""

    observation: Observation
    predicted: float
    trained_on: tuple[int, ...]  # counts of ranks

    @property
    def error(self) -> float:
        return self.predicted / self.observation.seconds - 1.0


def hold_out(measured: Sequence[Observation]) -> list[HeldOut]:
    """The cases on most ranks, predicted from those on fewer. Empty where there are no fewer."""
    if not measured:
        return []
    most = max(o.work.ranks for o in measured)
    seen = [o for o in measured if o.work.ranks < most]
    if not seen:
        return []
    model = fit(seen)
    counts = tuple(sorted({o.work.ranks for o in seen}))
    return [HeldOut(o, model.seconds(o.work), counts) for o in measured if o.work.ranks == most]


# What a projection takes for a term that the measured counts leave open.
ASSUMED_LATENCY = 2e-6
ASSUMED_BANDWIDTH = 1e10


@dataclass(frozen=True)
class Network:
    """What replaces the fitted costs of messages and bytes in a projection; None: as fitted, or as assumed above."""

    latency: float | None = None  # seconds per message
    bandwidth: float | None = None  # bytes per second


def projected(study: ScalingStudy, model: Model, n: float, ranks: int, network: Network) -> dict[str, float]:
    """Seconds of each term at a size and count that were not measured."""
    k = min(n, laws.evaluate(study.k_law, n)) if study.k_law else 0.0
    work = work_of(study, ranks, n, k)
    parts = model.parts(work)
    if network.latency is not None or "messages" in model.open_terms:
        parts["latency"] = (network.latency or ASSUMED_LATENCY) * work.messages
    if network.bandwidth is not None or "bytes" in model.open_terms:
        parts["bandwidth"] = work.bytes / (network.bandwidth or ASSUMED_BANDWIDTH)
    return parts
