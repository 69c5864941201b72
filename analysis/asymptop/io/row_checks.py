"""What must hold between the numbers stored for a row, whatever the input: recomputed here, apart from the program.

A check takes a case and yields one line per fault. Numbers are sums of up to n fp32 exponentials in fp64, binned in a
study: TOLERANCE is what they are stated to be known to, with some room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..theory import laws
from ..theory.statistics import Array
from .reader import Case
from .schema import EXACT, LARGEST_ERROR, ROW_ERROR

TOLERANCE = 5e-5
# A tail below this is the difference that rounding leaves.
_SMALLEST_TAIL = 1e-7
# Numbers below this lose digits in float64.
_SMALLEST = 1e-300

Faults = Iterator[str]


def _worst(excess: Array) -> float:
    """The largest excess over a bound, 0 where there is none."""
    return float(np.max(excess, initial=0.0))


def _holds(name: str, excess: Array) -> Faults:
    worst = _worst(excess)
    if not worst <= TOLERANCE:
        yield f"{name}: off by {worst:.2g} (relative), allowed is {TOLERANCE:g}"


def _equal(name: str, left: Array, right: Array | float) -> Faults:
    scale = np.maximum(np.maximum(np.abs(left), np.abs(right)), _SMALLEST)
    return _holds(name, np.abs(left - right) / scale)


def _at_most(name: str, left: Array, right: Array) -> Faults:
    scale = np.maximum(np.maximum(np.abs(left), np.abs(right)), _SMALLEST)
    return _holds(name, (left - right) / scale)


def verdict(case: Case) -> Faults:
    """The stored verdict is VALID, and is what the stored residuals say."""
    over = [
        name
        for name, residual, tolerance in zip(case.check, case.check_residual, case.check_tolerance, strict=True)
        if not residual <= tolerance
    ]
    if not case.valid:
        yield f"verdict: INVALID ({case.verdict_reason})"
    elif over:
        yield f"verdict: VALID, yet {', '.join(over)} is over its tolerance"


def laws_of_case(case: Case) -> Faults:
    """sigma, k and thresholds are those of their laws at n."""
    for law, k in zip(case.k_law, case.k_of_law.tolist(), strict=True):
        wanted = min(case.n, max(1, int(np.floor(laws.evaluate(law, case.n) + 0.5))))
        if abs(wanted - k) > (1 if wanted > 2**40 else 0):
            yield f"k_of_law: {law} is {k} at n = {case.n}, should be {wanted}"
    for text, value in zip(case.threshold, case.threshold_value.tolist(), strict=True):
        if not np.isclose(value, laws.evaluate(text, case.n), rtol=1e-12):
            yield f"threshold_value: {text} is {value:g} at n = {case.n}"
    if case.row_sigma == "fixed" and case.sigma_law != "measured":
        yield from _equal("sigma_i = sigma", case.values("sigma_i").astype(float), np.float64(case.sigma))


def keys_seen(case: Case) -> Faults:
    if case.mask == "none":
        seen, wanted = case.values("row_n"), case.n - case.drop_first
        if not np.all(seen == wanted):
            yield f"row_n: {int(seen.min())} to {int(seen.max())} keys seen, should be {wanted} at n = {case.n}"


def _of_keys(case: Case) -> Array:
    """What all keys of each row weigh together: what a learned sink leaves them."""
    seen = case.values("row_n").shape
    return 1.0 - case.values("sink_mass").astype(float) if case.has("sink_mass") else np.ones(seen)


def entries(case: Case) -> Faults:
    """With w = sum p, 1 unless a learned sink has its share: PR = w^2 / sum p^2; p_max = exp(max - log sum);
    p_max^2 <= sum p^2 <= w p_max; log PR <= H <= log n."""
    square, largest, whole = case.values("sum_p_squared"), case.values("p_max"), _of_keys(case)
    entropy, keys = case.values("entropy_nats"), np.maximum(case.values("row_n"), 1)
    ratio = case.values("participation_ratio").astype(float)
    some = whole > _SMALLEST_TAIL / TOLERANCE  # below, 1 - sink_mass has no digits left
    yield from _equal("participation_ratio * sum_p_squared = 1", (ratio * square)[some], np.square(whole)[some])
    yield from _holds("0 <= sink_mass <= 1", np.maximum(-whole, whole - 1.0))
    # Logits of size L are known to about L 2^-24.
    highest = case.values("logit_max").astype(float)
    room = np.abs(highest) * 2.0**-22
    wanted = highest - case.values("log_sum_exp")
    # Beside the heaviest sinks no key's share is a number of float64.
    apart = np.abs(np.log(np.maximum(largest, _SMALLEST)) - np.maximum(wanted, np.log(_SMALLEST)))
    yield from _holds("p_max = exp(logit_max - log_sum_exp)", apart - room)
    yield from _at_most("p_max^2 <= sum_p_squared", np.square(largest), square)
    yield from _at_most("sum_p_squared <= p_max", square[some], (whole * largest)[some])
    yield from _holds("log(participation_ratio) <= entropy", np.log(ratio) - entropy)
    yield from _holds("entropy <= log(n)", entropy - np.log(keys))


def errors(case: Case) -> Faults:
    """Total variation bounds the norms: linf <= tau, l2^2 <= 2 tau linf, linf <= l2; tau falls with k, to 0 at n."""
    tau = case.values("tail_mass").astype(float)
    if not case.ordered:
        yield from _holds("0 <= tail_mass <= 1", np.maximum(-tau, tau - 1.0))
        return
    l2, linf = (case.values(name).astype(float) for name in (ROW_ERROR, LARGEST_ERROR))
    if not tau.size:
        return
    yield from _holds("0 <= tail_mass <= 1", np.maximum(-tau, tau - 1.0))
    yield from _holds("tail_mass falls with k", np.diff(tau, axis=2))
    yield from _at_most(f"{LARGEST_ERROR} <= {ROW_ERROR}", linf, l2)
    some = tau > _SMALLEST_TAIL
    yield from _at_most(f"{LARGEST_ERROR} <= tail_mass", linf[some], tau[some])
    bound = 2.0 * (tau * linf)[some]
    yield from _at_most(f"{ROW_ERROR}^2 <= 2 tail_mass {LARGEST_ERROR}", np.square(l2)[some], bound)
    seen = case.values("row_n")[:, :, None]
    ended = case.k[None, None, :] >= seen
    if np.any(np.where(ended, np.maximum(tau, l2), 0.0) != 0.0):
        yield "errors at k = n: not exactly 0"
    if case.k[0] == 1 and case.selector == EXACT:
        yield from _holds(
            "tail_mass at k = 1 is 1 - p_max", np.abs(tau[:, :, 0] - (_of_keys(case) - case.values("p_max")))
        )


def _at_rows(law: str, keys: Array) -> Array:
    """A law at each row's own number of keys."""
    values, places = np.unique(keys, return_inverse=True)
    return np.array([laws.evaluate(law, int(n)) for n in values.tolist()])[places].reshape(keys.shape)


def quantiles(case: Case) -> Faults:
    """k_epsilon is where tail_mass crosses epsilon; count_p_above is at most 1/t, and 0 exactly where p_max <= t, both
    with thresholds at the row's own number of keys."""
    tau = case.values("tail_mass").astype(float)
    kept = case.k[None, None, :] if case.selector == EXACT else case.values("kept")
    for column, epsilon in enumerate(case.epsilon.tolist() if case.ordered else ()):
        needed = case.values("k_epsilon")
        enough = kept >= needed[:, :, column, None]
        wrong = np.where(enough, tau - epsilon, epsilon - tau) / epsilon
        yield from _holds(f"k_epsilon at {epsilon:g} against tail_mass", wrong)
    counts, largest = case.values("count_p_above"), case.values("p_max")
    seen = np.maximum(case.values("row_n"), 1)
    for column, text in enumerate(case.threshold):
        t = _at_rows(text, seen)
        yield from _holds(f"count_p_above({text}) <= 1/t", counts[:, :, column] * t - 1.0)
        near = np.abs(largest / t - 1.0) <= TOLERANCE
        if np.any(((counts[:, :, column] > 0) != (largest > t)) & ~near):
            yield f"count_p_above({text}): not positive exactly where p_max > t"


def selection(case: Case) -> Faults:
    """Of another selector than exact top-k: 0 <= regret <= tail_mass, recall is a share, and the keys that are kept are
    some of the row's, more of them at larger k."""
    if case.selector == EXACT:
        return
    kept = case.values("kept")
    if case.has("denominator_error"):
        error = case.values("denominator_error")
        yield from _holds("0 <= denominator_error", -error)
        # Keys that hash tables keep have their weights also where they are all.
        all_kept = (kept == case.values("row_n")[:, :, None]) & (not case.selector.startswith("magicpig"))
        if np.any(error[all_kept] != 0.0):
            yield "denominator_error of all keys: not exactly 0"
    if not case.ordered:
        if np.any(kept < 0) or np.any(kept > case.values("row_n")[:, :, None]):
            yield "kept: below 0 or over row_n"
        return
    regret, recall = case.values("regret"), case.values("recall")
    yield from _holds("0 <= regret", -regret)
    yield from _holds("regret <= tail_mass", regret - case.values("tail_mass"))
    yield from _holds("0 <= recall <= 1", np.maximum(-recall, recall - 1.0))
    if np.any(kept < 1) or np.any(kept > case.values("row_n")[:, :, None]) or np.any(np.diff(kept, axis=2) < 0):
        yield "kept: below 1, over row_n or falling with k"


CHECKS: tuple[Callable[[Case], Faults], ...] = (
    verdict,
    laws_of_case,
    keys_seen,
    entries,
    errors,
    quantiles,
    selection,
)


def faults_of(case: Case) -> list[str]:
    """Every fault of a case, in the order of CHECKS; numbers that are not finite end the list."""
    found: list[str] = []
    with np.errstate(all="ignore"):
        for check in CHECKS:
            found += list(check(case))
    return found
