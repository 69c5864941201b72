"""Every dataset of a tensor study computed again, row by row, with plain numpy in float64.

The binary scores in fp32: its inputs are rounded to fp32 first, which is done here too. A metric may then differ by
- 1e-5 relative, the precision that the design states for sums of fp32 exponentials, plus
- 2^-24 times a few times the largest sum of |q_c k_c|, the rounding of the logits themselves, which reaches the metrics
  through the exponential.
Counts (`k_epsilon`, `count_p_above`) are exact for the binary's own scores; a score within that allowance of the
threshold may fall on either side, so a count must lie between the counts at the threshold moved down and up by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Data = dict[str, NDArray[np.generic]]

PRECISION = 1e-5
ULP = 2.0**-24
VANISHES = 1e-307  # smaller numbers lose digits in float64


@dataclass(frozen=True)
class Tensors:
    """Q, K and V as (heads, n, d), in any float type, and the logit scale if it is given.

    Of a model's layer Q may have fewer rows: those of the last places.
    """

    q: NDArray[np.floating]
    k: NDArray[np.floating]
    v: NDArray[np.floating]
    scale: float | None = None

    def write(self, path: Path, with_heads: bool = True) -> Path:
        with h5py.File(path, "w") as file:
            for name, values in (("Q", self.q), ("K", self.k), ("V", self.v)):
                file[name] = values if with_heads else values[0]
            if self.scale is not None:
                file.attrs["scale"] = self.scale
        return path

    def logit_scale(self) -> float:
        return self.scale if self.scale is not None else 1.0 / float(np.sqrt(self.q.shape[-1]))

    def first_query(self) -> int:
        return self.k.shape[1] - self.q.shape[1]


def in_fp32(values: NDArray[np.floating]) -> Array:
    return values.astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class Row:
    """One softmax row over the keys it sees, sorted by score descending, then by index."""

    logits: Array
    values: Array
    p: Array
    log_sum_exp: float
    allowance: float
    """Relative difference allowed to a p and to a sum of them."""
    near_tie: float
    """Two logits closer than this may swap places in fp32."""
    order: NDArray[np.int64]
    """Of each of them, which of the keys that the row sees it is of."""
    among: Array
    """p of the keys among themselves, without a learned sink."""
    sink_mass: float = 0.0
    """Share of a learned sink, which no key has."""

    @property
    def n(self) -> int:
        return len(self.p)

    def tail_mass(self, k: int) -> float:
        return float(np.sum(self.p[k:][::-1]))

    def smallest_k(self, epsilon: float) -> int:
        """Smallest k with tail mass <= epsilon; the tail is summed from its small end."""
        tails = np.append(np.cumsum(self.p[::-1])[::-1], 0.0)
        return int(np.argmax(tails <= epsilon))


def softmax_row(
    q: Array,
    keys: Array,
    values: Array,
    scale: float,
    softcap: float = 0.0,
    sink: float = -math.inf,
    bias: Array | None = None,
) -> Row:
    """softcap: logits are softcap tanh(scale q.k / softcap); 0: they are scale q.k. sink: a logit of no key.
    bias (keys): what is added to logits on top."""
    logits = scale * np.sum(keys * q, axis=1)  # not a BLAS product: equal keys must give equal logits
    if softcap > 0.0:
        logits = softcap * np.tanh(logits / softcap)
    steepest = 0.0
    if bias is not None:
        logits = logits + bias
        steepest = float(np.max(np.abs(bias)))
    order = np.lexsort((np.arange(len(logits)), -logits))
    logits = logits[order]
    e = np.exp(logits - logits[0])
    of_keys = float(np.sum(e[::-1]))
    # Of the logs, since a sink may lie beyond what float64's exponentials reach.
    log_z = float(np.logaddexp(np.log(of_keys), sink - logits[0])) if math.isfinite(sink) else math.log(of_keys)
    rounding = ULP * (float(np.max(scale * (np.abs(keys) @ np.abs(q)))) + softcap + steepest)
    return Row(
        logits=logits,
        values=values[order],
        p=e * math.exp(-log_z) if log_z < 700.0 else np.exp(logits - logits[0] - log_z),
        log_sum_exp=float(logits[0] + log_z),
        allowance=PRECISION + 8.0 * rounding,
        near_tie=8.0 * rounding,
        order=order,
        among=e / of_keys,
        sink_mass=math.exp(sink - logits[0] - log_z),
    )


def norm(values: Array) -> float:
    """2-norm, of numbers whose squares may leave float64's range."""
    largest = float(np.max(np.abs(values)))
    return largest * float(np.linalg.norm(values / largest)) if largest > 0.0 else 0.0


def difference(row: Row, k: int) -> Array:
    """p - p_hat, sorted as p is. Over the head it is -p tau / (1 - tau): no digit of a small tau is lost."""
    if k >= row.n:
        return np.zeros(row.n)
    tau, head = row.tail_mass(k), float(np.sum(row.p[:k])) + row.sink_mass
    return np.concatenate((-row.p[:k] * (tau / head), row.p[k:]))


def assert_close(what: str, measured: float, expected: float, relative: float, absolute: float = 0.0) -> None:
    allowed = relative * abs(expected) + absolute
    assert abs(measured - expected) <= allowed, (
        f"{what}: {measured!r}, brute force {expected!r}, allowed +-{allowed:.3g}"
    )


def check_scalars(where: str, data: Data, at: tuple[int, int], row: Row, spread_floor: float) -> None:
    """Metrics without a parameter."""

    def close(name: str, expected: float, relative: float = row.allowance, absolute: float = 0.0) -> None:
        assert_close(f"{where} {name}", float(data[name][at]), expected, relative, absolute)

    among = row.among
    entropy = float(-np.sum(among * np.log(np.maximum(among, 1e-300))))
    squares = float(np.sum((row.p**2)[::-1]))
    assert ("sink_mass" in data) == (row.sink_mass > 0.0)
    if "sink_mass" in data:
        close("sink_mass", row.sink_mass)
    close("entropy_nats", entropy, absolute=row.allowance * min(1.0, 1.0 - among[0] + 1e-9) * max(1.0, np.log(row.n)))
    close("sum_p_squared", squares, absolute=VANISHES)
    close("participation_ratio", 1.0 / float(np.sum((among**2)[::-1])))
    close("p_max", float(row.p[0]), absolute=VANISHES)
    close("log_sum_exp", row.log_sum_exp, absolute=row.allowance)
    close("logit_max", float(row.logits[0]), relative=2 * ULP, absolute=row.near_tie)
    spread = float(np.std(row.logits))
    # A score's place in its bin is rounded by at most 2^-15 of the bin's width, which is at most 1/32;
    # its square by 2^-10.
    place = 2.0**-15 / 32
    variance = 2.0**-10 / 32**2
    close("logit_mean", float(np.mean(row.logits)), relative=0.0, absolute=PRECISION * spread + row.near_tie + place)
    for name in ("logit_std", "sigma_i"):
        absolute = row.near_tie + spread_floor + variance / max(2.0 * spread, 1e-3)
        close(name, spread, relative=PRECISION, absolute=absolute)


def check_errors(where: str, data: Data, at: tuple[int, int], row: Row) -> int:
    """Errors at every k. Returns how many output errors a near tie at the k-th place left unchecked."""
    exact = norm(row.among @ row.values)
    unchecked = 0
    for column, k in enumerate(data["k"].tolist()):
        name = f"{where} k={k}"
        p_difference = difference(row, k)
        tau = 0.0 if k >= row.n else row.tail_mass(k)
        index = (*at, column)
        assert_close(f"{name} tail_mass", float(data["tail_mass"][index]), tau, row.allowance, VANISHES)
        l2, linf = norm(p_difference), float(np.max(np.abs(p_difference)))
        assert_close(f"{name} row_l2_error", float(data["row_l2_error"][index]), l2, row.allowance, VANISHES)
        assert_close(f"{name} row_linf_error", float(data["row_linf_error"][index]), linf, row.allowance, VANISHES)
        if k >= row.n:
            for metric in ("tail_mass", "row_l2_error", "row_linf_error", "output_error", "output_error_relative"):
                assert float(data[metric][index]) == 0.0, f"{name} {metric} must be exactly 0: all keys are kept"
            continue
        gap = float(row.logits[k - 1] - row.logits[k])
        if 0.0 < gap < row.near_tie:
            unchecked += 1
            continue
        error = norm(p_difference @ row.values)
        # Rounding is relative to the two means whose difference this is, not to the difference.
        head_mean = row.p[:k] @ row.values[:k] / (np.sum(row.p[:k]) + row.sink_mass)
        size = norm(row.p[k:] @ row.values[k:]) + tau * norm(head_mean)
        allowed = row.allowance * size + VANISHES
        assert_close(f"{name} output_error", float(data["output_error"][index]), error, 0.0, allowed)
        # Over p V: the same of what keys are among themselves, whatever a sink leaves them.
        ratio = tau / float(np.sum(row.p[:k]) + row.sink_mass)
        head, rest = ratio * (row.among[:k] @ row.values[:k]), row.among[k:] @ row.values[k:]
        relative = norm(rest - head) / exact
        lengths = float(row.among @ np.linalg.norm(row.values, axis=1)) / exact
        allowed = row.allowance * ((norm(rest) + norm(head)) / exact + relative * lengths)
        measured = float(data["output_error_relative"][index])
        assert_close(f"{name} output_error_relative", measured, relative, 0.0, allowed)
    return unchecked


def check_near(
    where: str, case: h5py.Group, data: Data, at: tuple[int, int], row: Row, from_key: int, own: int
) -> None:
    """Weights of the first keys and of those up to the query's own, and which is the largest.

    `from_key`: the first key that the row sees, and `own`: the query's own, counted from the context's beginning.
    """
    keys = from_key + row.order
    for name, chosen in (
        ("first_keys_mass", keys < int(case.attrs["first_keys"])),
        ("recent_keys_mass", (keys > own - int(case.attrs["recent_keys"])) & (keys <= own)),
    ):
        expected = float(np.sum(row.p[chosen][::-1]))
        assert_close(f"{where} {name}", float(data[name][at]), expected, row.allowance, VANISHES)
    largest = int(data["largest_place"][at])
    near = keys[row.logits >= row.logits[0] - row.near_tie]
    assert largest in near.tolist(), f"{where} largest_place: {largest}, brute force {near.tolist()}"


def check_counts(where: str, data: Data, at: tuple[int, int], row: Row) -> None:
    for column, epsilon in enumerate(data["epsilon"].tolist()):
        measured = int(data["k_epsilon"][(*at, column)])
        low, high = row.smallest_k(epsilon * (1.0 + row.allowance)), row.smallest_k(epsilon * (1.0 - row.allowance))
        assert low <= measured <= high, f"{where} k_epsilon({epsilon}): {measured}, brute force {low} to {high}"
    for column, text in enumerate(data["threshold"].tolist()):
        threshold = law_value(text.decode(), row.n)  # a threshold on p such as 1/n is meant at the row's own n
        measured = int(data["count_p_above"][(*at, column)])
        low = int(np.count_nonzero(row.p > threshold * (1.0 + row.allowance)))
        high = int(np.count_nonzero(row.p > threshold * (1.0 - row.allowance)))
        assert low <= measured <= high, f"{where} count_p_above({threshold}): {measured}, brute force {low} to {high}"


def law_value(text: str, n: int) -> float:
    """A law at n, in Python's own arithmetic."""
    return float(eval(text.replace("^", "**"), {"__builtins__": {}}, {"n": n, "log": math.log, "sqrt": math.sqrt}))


def contexts_of(case: h5py.Group) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The text of each draw, and the place in it where the n keys of its context begin."""
    n, draws = int(case.attrs["n"]), int(case.attrs["draws"])
    if "draw_text" not in case:
        return np.zeros(draws, np.int64), np.zeros(draws, np.int64)
    return case["draw_text"][()], case["draw_end"][()] - n


def check_positions(case: h5py.Group) -> None:
    """Queries come from the second half of the prefix, or the last eighth of another context, none twice, and
    see the keys that the mask leaves them."""
    n = int(case.attrs["n"])
    positions, row_n = case["row_position"][()], case["row_n"][()]
    texts, begins = contexts_of(case)
    in_context = positions - begins[:, None]
    tail = max(1, n // 8) if "contexts" in case.attrs else n - n // 2
    assert in_context.min() >= n - tail
    assert in_context.max() < n
    assert len(np.unique(positions + (texts[:, None] << 32))) == positions.size
    end = ends_of(case, in_context)
    window = int(case.attrs.get("window", n))
    first = np.maximum(int(case.attrs.get("drop_first", 0)), end - window)
    np.testing.assert_array_equal(row_n, end - first)


def ends_of(case: h5py.Group, in_context: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in their contexts the keys end that rows at these places see."""
    return in_context + 1 if case.attrs["mask"] == "causal" else np.full_like(in_context, int(case.attrs["n"]))


def check_case(
    case: h5py.Group,
    tensors: Tensors | Sequence[Tensors],
    spread_floor: float = 0.0,
    cells: set[tuple[int, int]] | None = None,
) -> None:
    """Every row of the case, or those of the (draw, row) in `cells`, against brute force over the keys that it saw.

    `tensors`: of the case's layer, in every text. `spread_floor` is an absolute allowance for the standard deviations
    of the logits.
    """
    of_text = [tensors] if isinstance(tensors, Tensors) else tensors
    head = int(case.attrs["head"])
    key_head = head // (of_text[0].q.shape[0] // of_text[0].k.shape[0])
    scale = of_text[0].logit_scale()
    assert case.attrs["scale"] == scale
    assert case.attrs["verdict"] == "VALID", case.attrs["verdict_reason"]
    check_positions(case)
    data = {name: case[name][()] for name in case}
    at_n = [law_value(text.decode(), int(case.attrs["n"])) for text in data["threshold"].tolist()]
    np.testing.assert_allclose(data["threshold_value"], at_n, rtol=1e-15)
    keys, values = [in_fp32(t.k[key_head]) for t in of_text], [in_fp32(t.v[key_head]) for t in of_text]
    positions = data["row_position"]
    texts, begins = contexts_of(case)
    ends = begins[:, None] + ends_of(case, positions - begins[:, None])
    softcap, sink = float(case.attrs.get("softcap", 0.0)), float(case.attrs.get("sink_logit", -math.inf))
    slope = float(case.attrs.get("alibi_slope", 0.0))
    unchecked, compared = 0, 0
    for at in np.ndindex(positions.shape) if cells is None else cells:
        seen = int(data["row_n"][at])
        text, end = int(texts[at[0]]), int(ends[at])
        query = in_fp32(of_text[text].q[head, positions[at] - of_text[text].first_query()])
        bias = slope * (np.arange(end - seen, end) - positions[at]) if slope else None
        seen_keys, seen_values = keys[text][end - seen : end], values[text][end - seen : end]
        row = softmax_row(query, seen_keys, seen_values, scale, softcap, sink, bias)
        where = f"{case.name} draw {at[0]} row {at[1]}:"
        check_scalars(where, data, at, row, spread_floor)
        unchecked += check_errors(where, data, at, row)
        compared += data["k"].size
        check_counts(where, data, at, row)
        if "first_keys_mass" in data:
            begin = int(begins[at[0]])
            check_near(where, case, data, at, row, end - seen - begin, int(positions[at]) - begin)
    if cells is None:
        assert unchecked <= 0.02 * compared, f"{unchecked} of {compared} output errors had a near tie at the k-th place"
    sigma = float(np.sqrt(np.mean(data["sigma_i"] ** 2)))
    assert_close("sigma", float(case.attrs["sigma"]), sigma, 1e-12)
    assert_close("R", float(case.attrs["R"]), sigma / scale, 1e-12)


def check_file(path: Path, tensors: Tensors, spread_floor: float = 0.0) -> int:
    """All cases of a results file. Returns their number."""
    with h5py.File(path) as file:
        cases = file["cases"]
        for name in cases:
            check_case(cases[name], tensors, spread_floor)
        return len(cases)
