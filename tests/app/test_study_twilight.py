"""Twilight, top-p on 4-bit scores of what Quest's pages choose, against brute force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from brute_force import Tensors
from command_line import study
from selector_reference import Array, Keys, quantised, quest, under_slope
from test_study_selectors import COMMON, SHAPES_OF_SETS, assert_refused, tensors_of


def narrow_scores(q: Array, keys: Array) -> Array:
    """Products of 4-bit copies, one fp32 chain of fused multiply-adds over the columns: equal where those are."""
    narrow_q, narrow_keys = quantised(q[None], "int4")[0], quantised(keys, "int4")
    scores = np.zeros(len(keys), np.float32)
    for c, of_query in enumerate(narrow_q):
        scores = (scores + narrow_keys[:, c] * of_query).astype(np.float32)
    return scores.astype(np.float64)


@dataclass(frozen=True)
class Twilight:
    budget: int = 0
    p: float = 0.85
    page: int = 16
    sinks: int = 0
    recent: int = 0
    first: int = 0
    """Place in the context of the first key that the row sees."""
    softcap: float = 0.0
    sink: float = -np.inf
    """A learned logit of the denominator."""
    slope: float = 0.0
    """Of ALiBi."""
    own: int = 0
    """The query's place among the keys."""

    def bias(self, places: Keys) -> Array:
        return self.slope * (places - self.own)

    def candidates(self, q: Array, keys: Array, k: int) -> Keys | None:
        """None where the rounding of Quest's bounds may decide which they are."""
        n, budget = len(keys), self.budget or k
        if budget >= n:
            return np.arange(n)
        order = under_slope(quest(q, keys, self.page, self.first), self.bias(np.arange(n)), self.softcap, largest=True)
        count = max(1, budget // self.page)
        sinks = [i for i, e in enumerate(order.entries) if e[0] + self.first < self.sinks]
        recent = [i for i, e in enumerate(order.entries) if i not in sinks and e[-1] >= n - self.recent]
        forced = [*sinks, *recent[::-1]]
        others = [e for e in order.ranked() if e not in forced]
        left = count - len(forced)
        if 0 < left < len(others):
            gap = order.priority[others[left - 1]] - order.priority[others[left]]
            if 0.0 < gap <= order.slack:
                return None
        return np.concatenate([order.entries[e] for e in [*forced, *others][:count]])

    def kept(self, q: Array, keys: Array, k: int, sigma: float) -> Iterator[Keys] | None:
        """The sets that rounding leaves possible: as many keys, one more, one fewer."""
        candidates = self.candidates(q, keys, k)
        if candidates is None:
            return None
        n = len(keys)
        estimates = narrow_scores(q, keys[candidates])
        if self.softcap > 0.0:
            estimates = self.softcap * np.tanh(estimates / self.softcap)
        estimates = estimates + self.bias(candidates)
        sinks = max(0, self.sinks - self.first)
        forced = (candidates < sinks) | (candidates >= max(min(sinks, n), n - min(n, self.recent)))
        order = np.lexsort((candidates, -estimates, ~forced))
        weights = np.exp(sigma * (estimates - estimates.max()))[order]
        sums = np.cumsum([np.exp(self.sink - sigma * estimates.max()), *weights])
        sums /= sums[-1]
        if self.p >= 1.0:
            return iter([candidates])
        counts = [int(np.argmax(sums >= self.p * f)) for f in (1.0, 1.0 - 1e-5, 1.0 + 1e-5)]
        return iter([candidates[order[: max(count, int(forced.sum()))]] for count in dict.fromkeys(counts)])


SELECTORS = {
    "twilight": Twilight(),
    "twilight:p=0.5:page=4": Twilight(p=0.5, page=4),
    "twilight:p=1:page=8": Twilight(p=1.0, page=8),
    "twilight:100:page=4": Twilight(budget=100, page=4),
    "twilight:budget=8192:p=0.95": Twilight(budget=8192, p=0.95),
    "twilight:budget=60:p=0.3:page=4:sinks=3:recent=9": Twilight(60, 0.3, 4, 3, 9),
    "twilight:p=1e-9:page=1": Twilight(p=1e-9, page=1),
}
WITHOUT_ORDER = ("row_l2_error", "row_linf_error", "k_epsilon", "regret", "recall", "denominator_error")


def check_set(
    case: h5py.Group, at: tuple[int, int, int], kept: Keys, p: Array, values: Array, sink: float = 0.0
) -> None:
    """sink: what a learned one weighs, of which p are shares too."""
    assert int(case["kept"][at]) == len(kept)
    tail = float(np.delete(p, kept).sum())
    assert float(case["tail_mass"][at]) == pytest.approx(tail, rel=3e-5, abs=1e-12)
    exact, part = p @ values, p[kept] @ values[kept] / (p[kept].sum() + sink)
    error, known = float(np.linalg.norm(exact - part)), 1e-6 * float(np.linalg.norm(exact) + np.linalg.norm(part))
    assert float(case["output_error"][at]) == pytest.approx(error, rel=1e-4, abs=known)
    if len(kept) == len(p):
        numbers = ("tail_mass", "output_error", "output_error_relative")
        assert [float(case[name][at]) for name in numbers] == [0.0] * 3


def matches(case: h5py.Group, at: tuple[int, int, int], kept: Keys, p: Array) -> bool:
    tail = float(np.delete(p, kept).sum())
    return int(case["kept"][at]) == len(kept) and abs(float(case["tail_mass"][at]) - tail) <= 1e-4 * tail + 1e-9


def check_case(case: h5py.Group, tensors: Tensors, twilight: Twilight) -> int:
    """How many sets were compared."""
    assert case.attrs["verdict"] == "VALID"
    assert not any(field in case for field in WITHOUT_ORDER)
    q, k, v = (part[0].astype(float) for part in (tensors.q, tensors.k, tensors.v))
    compared = 0
    for draw, row in np.ndindex(case["row_n"].shape):
        visible, position = int(case["row_n"][draw, row]), int(case["row_position"][draw, row])
        logits = k[:visible] @ q[position]
        p = np.exp(logits - logits.max())
        p /= p.sum()
        for i, budget in enumerate(case["k"][:]):
            possible = twilight.kept(q[position], k[:visible], int(budget), 1.0)
            if possible is None:
                continue
            at = (draw, row, i)
            sets = list(possible)
            check_set(case, at, next((s for s in sets if matches(case, at, s, p)), sets[0]), p, v[:visible])
            compared += 1
    return compared


@pytest.mark.parametrize(("n", "d", "whole", "ks", "mask"), [*SHAPES_OF_SETS, (1, 3, False, "1", "causal")])
def test_brute_force(n: int, d: int, whole: bool, ks: str, mask: str, tmp_path: Path) -> None:
    tensors = tensors_of(np.random.default_rng([22, n]), n, d, whole)
    file = tensors.write(tmp_path / "tensors.h5")
    size = ("--rows", str(max(1, min(4, n // 6))), "--draws", "2" if n > 1 else "1", "--k", ks)
    what = ("--input", file, "--n", str(n), "--mask", mask, "--selectors", ",".join(("score", *SELECTORS)))
    with h5py.File(study(tmp_path / "results.h5", [*what, *size, *COMMON])) as read:
        cases = {case.attrs.get("selector", "score"): case for case in read["cases"].values()}
        for name, twilight in SELECTORS.items():
            compared = check_case(cases[name], tensors, twilight)
            assert compared > 0.8 * cases[name]["kept"].size


def test_each_law_has_its_set(tmp_path: Path) -> None:
    """The larger sigma, the fewer keys hold the share; and never fewer than the best set of the true scores would need
    to hold it, with candidates that are all keys and estimates that are good."""
    arguments = ["--n", "2048", "--d", "32", "--sigma", "1,2,4", "--k", "64,n", "--rows", "8", "--draws", "2", *COMMON]
    arguments += ["--selectors", "score,twilight:p=0.9,quest"]
    with h5py.File(study(tmp_path / "results.h5", arguments)) as read:
        kept, tails, candidates = [], [], []
        for sigma in ("1", "2", "4"):
            case = read[f"cases/n2048-d32-sigma{sigma}-twilight-p=0.9"]
            kept.append(case["kept"][:])
            tails.append(case["tail_mass"][:])
            candidates.append(read[f"cases/n2048-d32-sigma{sigma}-quest"]["tail_mass"][:])
        assert np.all(np.diff(kept, axis=0) <= 0)
        assert np.mean(kept[0]) > np.mean(kept[2])
        # All keys are candidates at k = n: what is dropped is a tenth, as estimated.
        assert np.all(np.abs(np.array(tails)[..., -1] - 0.1) < 0.08)
        # And otherwise a tenth more of what Quest's pages hold.
        held = 1.0 - np.array(candidates)[..., :-1]
        assert np.all(1.0 - np.array(tails)[..., :-1] <= held + 1e-9)


def test_scores_that_leave_nothing_of_the_others(tmp_path: Path) -> None:
    """sigma = 60: weights of most keys are nothing beside the best one's, and p_hat is known all the same."""
    tensors = tensors_of(np.random.default_rng(61), 200, 8, whole=True)
    tensors = Tensors(tensors.q * 20.0, tensors.k, tensors.v, 1.0)
    file = tensors.write(tmp_path / "tensors.h5")
    what = ("--input", file, "--n", "200", "--rows", "8", "--draws", "3", "--k", "3,20")
    chosen = {name: SELECTORS[name] for name in ("twilight:p=0.5:page=4", "twilight:p=1:page=8")}
    with h5py.File(study(tmp_path / "results.h5", [*what, "--selectors", ",".join(chosen), *COMMON])) as read:
        for case in read["cases"].values():
            assert check_case(case, tensors, chosen[str(case.attrs["selector"])]) > 0


BAD = {
    "twilight:p=0": "has p=0, which is no number over 0, at most 1.0",
    "twilight:p=1.5": "has p=1.5, which is no number over 0, at most 1.0",
    "twilight:budget=x": "has budget=x, which is no whole number from 0",
    "twilight:page=3": "has page=3, which is no power of two",
    "twilight:page=128": "128 does not divide --block 64",
    "twilight:epsilon=1": "gives twilight a parameter 'epsilon'; it takes budget, p, page, sinks, recent",
}


@pytest.mark.parametrize("entry", BAD)
def test_a_bad_entry_is_one_line(entry: str, tmp_path: Path) -> None:
    assert_refused(entry, BAD[entry], tmp_path)
