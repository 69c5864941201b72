"""What selectors cost, against the same numbers written out; and which of them reads least for an epsilon."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from asymptop.criteria.cheapest import cheapest, keys_for, need_of
from asymptop.criteria.least_read import what_to_use
from asymptop.io.reader import open_results
from asymptop.io.selectors import selector_groups, side_by_side
from asymptop.io.series import group_series
from asymptop.theory.costs import (
    FORMULAS,
    bytes_words,
    costs_of,
    dense_bytes,
    order_of,
    page_of,
    parameters_of,
    share_words,
)
from case_files import changing
from make_results import Study, generator_of, logits_of, write_results
from make_selectors import write_selectors

N, D, K = 65536, 64, 4096


@pytest.mark.parametrize(
    ("selector", "index", "read", "flops"),
    [
        ("score", 0, 2 * N * D + 2 * K * D, 2 * N * D + 2 * K * D),
        ("window:sinks=4", 0, 4 * K * D, 4 * K * D),
        ("random", 0, 4 * K * D, 4 * K * D),
        ("quest", 16, 4 * D * (N // 16) + 4 * K * D, 4 * D * (N // 16) + 4 * K * D),
        ("quest:page=32:sinks=4", 8, 4 * D * (N // 32) + 4 * K * D, 4 * D * (N // 32) + 4 * K * D),
        ("block-mean", 2, 2 * D * (N // 64) + 4 * K * D, 2 * D * (N // 64) + 4 * K * D),
        ("block-max", 0, 2 * N * D + 2 * K * D, 2 * N * D + 2 * K * D),
        ("shard-union:P=4", 0, 2 * N * D + 2 * K * D, 2 * N * D + 2 * K * D),
        ("shard-share", 0, 2 * N * D + 2 * K * D, 2 * N * D + 2 * K * D),
        ("quantised", D + 4, N * (D + 4) + 4 * K * D, 2 * N * D + 4 * K * D),
        ("quantised:fp8", D + 4, N * (D + 4) + 4 * K * D, 2 * N * D + 4 * K * D),
        ("quantised:format=int4", D / 2 + 4, N * (D / 2 + 4) + 4 * K * D, 2 * N * D + 4 * K * D),
        ("quantised:bf16", 2 * D, 2 * N * D + 4 * K * D, 2 * N * D + 4 * K * D),
        ("sparq", 2 * D, 2 * 8 * N + 4 * K * D, 2 * 8 * N + 4 * K * D),
        ("sparq:r=16", 2 * D, 2 * 16 * N + 4 * K * D, 2 * 16 * N + 4 * K * D),
        ("sparq:r=d", 2 * D, 2 * D * N + 4 * K * D, 2 * D * N + 4 * K * D),
        ("loki", 0, 2 * 16 * N + 4 * K * D, 2 * 16 * N + 2 * D * D + 4 * K * D),
        ("key-norm", 4, 4 * K * D, 4 * K * D),
        ("key-diff:recent=8", 4, 4 * K * D, 4 * K * D),
        ("expected:4", 4, 4 * K * D, 4 * K * D),
        ("snapkv:32:pool=7", 4, 4 * K * D, 4 * K * D),
        ("h2o", 4, 4 * K * D, 4 * K * D),
        ("vertical-slash", 8, 4 * K * D, 4 * K * D),
        ("xattention:block=64", 4 / 64, 4 * K * D, 4 * K * D),
        ("socket:8:L=20", 40, 40 * N + 4 * K * D, 2 * 160 * D + 40 * N + 4 * K * D),
        (
            "twilight:8192:p=0.9",
            16 + D / 2 + 4,
            4 * D * (N // 16) + 8192 * (D / 2 + 4) + 4 * K * D,
            4 * D * (N // 16) + 2 * 8192 * D + 4 * K * D,
        ),
        (
            "twilight:page=32",
            8 + D / 2 + 4,
            4 * D * (N // 32) + K * (D / 2 + 4) + 4 * K * D,
            4 * D * (N // 32) + 2 * K * D + 4 * K * D,
        ),
        ("threshold:1e-3", 0, 2 * N * D + 2 * K * D, 2 * N * D + 2 * K * D),
        ("threshold:by=int8:recent=3", D + 4, N * (D + 4) + 4 * K * D, 2 * N * D + 4 * K * D),
        ("threshold:2/n:by=sparq", 2 * D, 2 * 8 * N + 4 * K * D, 2 * 8 * N + 4 * K * D),
    ],
)
def test_costs(selector: str, index: float, read: float, flops: float) -> None:
    costs = costs_of(selector)
    assert costs is not None
    assert costs.index_bytes_per_key(D) == index
    assert costs.bytes_read(N, D, K) == read
    assert costs.flops(N, D, K) == flops


def test_every_formula_is_printed() -> None:
    for name in FORMULAS:
        costs = costs_of(name, (2, 8))
        assert costs is not None
        assert not any(word in "".join(costs.words) for word in ("width", "*"))
    assert costs_of("sparq").with_words == "r = d/8"
    assert costs_of("quantised:fp8").words[:2] == ("d + 4", "(d + 4)·n + 4·k·d")
    assert costs_of("window:sinks=4").with_words == ""


@pytest.mark.parametrize(
    "selector", ["nosuch:K=10", "magicpig:K=x", "quantised:fp5", "sparq:r=x", "quest:page=0", "file:dsa"]
)
def test_no_formula(selector: str) -> None:
    assert costs_of(selector) is None


def test_a_trained_indexer_is_as_wide_as_the_file_says() -> None:
    costs = costs_of("file:dsa:relu=off", (4, 32))
    assert costs is not None
    assert costs.index_bytes_per_key(D) == 64
    assert costs.bytes_read(N, D, K) == 64 * N + 256 + 4 * K * D
    assert costs.flops(N, D, K) == 2 * N * 4 * 32 + 2 * N * 4 + 4 * K * D
    assert costs.with_words == "H = 4, w = 32"


@pytest.mark.parametrize("selector", ["score", "window", "quest:page=32", "pq", "twilight:page=32", "magicpig"])
def test_values_of_their_own_width(selector: str) -> None:
    """Kept values count by their width, in what is read and in what is computed; keys by theirs."""
    same, narrow = costs_of(selector), costs_of(selector, d_v=D // 4)
    assert same is not None
    assert narrow is not None
    spared = 2 * K * (D - D // 4)
    assert narrow.bytes_read(N, D, K) == same.bytes_read(N, D, K) - spared
    assert narrow.flops(N, D, K) == same.flops(N, D, K) - spared
    assert narrow.index_bytes_per_key(D) == same.index_bytes_per_key(D)
    assert "2·k·v" in narrow.words[1] or "2·k·(d + v)" in narrow.words[1]
    assert not any("v)" in words or "·v" in words for words in same.words)
    assert dense_bytes(N, D, D // 4) == 2 * N * (D + D // 4)


def test_values_and_windows_of_a_file(tmp_path: Path) -> None:
    """Bytes are of the width that V has, and of the keys that rows in a window see."""
    study = Study(n=(256, 1024), heads=2, input="t.h5", draws=3, k=("n^0.5",), epsilon=(0.5,))
    path = write_selectors(tmp_path / "r.h5", study, ["window"])
    with changing(path) as file:
        for group in file["cases"].values():
            group.attrs["window"], group.attrs["d_v"] = 300, 16
    with open_results(path) as results:
        lines = group_series(results.cases)
        (group,) = selector_groups(lines)
        assert (group.words, group.d_v, group.seen(256), group.seen(1024)) == (
            "t.h5, 2 heads, window of 300 keys", 16, 256, 300
        )  # fmt: skip
        need = need_of(lines[0], 0.5)
        assert need is not None
        assert need.fit is None
        assert need.law([256, 1024])[1] == 0.0
        first, second = need.budgets([256, 1024])
        d = lines[0].first.d
        assert need.bytes_read([256, 1024]) == [2 * 256 * d + 2 * first * 16, 2 * 300 * d + 2 * second * 16]
        (found,) = what_to_use([group])
        assert " of dense attention." in found
        spent, share = re.search(r"least, (\S+) kB per query .* (\d+%) of dense", found).groups()
        assert f"{1000 * float(spent) / (2 * 300 * (d + 16)):.0%}" == share


def test_words() -> None:
    assert [bytes_words(v) for v in (896, 1.44e6, 8.39e9)] == ["896 B", "1.44 MB", "8.39 GB"]
    assert [share_words(v) for v in (0.38, 0.0033)] == ["38%", "0.33%"]
    assert dense_bytes(N, D) == 4 * N * D
    assert parameters_of("quantised:fp8:sinks=4") == ("quantised", {"format": "fp8", "sinks": "4"})
    assert page_of("block-max") == 128
    assert page_of("quest:32") == page_of("quest:page=32") == 32
    assert costs_of("key-norm:4") is not None
    assert page_of("window") == page_of("random") == 1
    assert sorted(["magicpig", "quest:page=32", "quest", "score", "key-norm"], key=order_of) == [
        "score",
        "quest",
        "quest:page=32",
        "key-norm",
        "magicpig",
    ]


STUDY = Study(n=(128, 512, 2048), sigma=("2",), k=("n^0.75",), draws=6, epsilon=(0.4, 0.1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("costs") / "r.h5"
    return write_selectors(path, STUDY, ["random", "block-max:block=16", "quantised:int4", "unknown"])


def exact_budget(n: int, epsilon: float) -> float:
    """Mean over draws of the fewest largest entries that leave a mean tail mass of epsilon, by sorting whole rows."""
    budgets = []
    for logits, _ in logits_of(STUDY, n, "2", -1, generator_of(STUDY, n, -1)):
        p = np.sort(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
        p /= p.sum(axis=1, keepdims=True)
        budgets.append(n - np.searchsorted(np.cumsum(p, axis=1).mean(axis=0), epsilon, side="right"))
    return float(np.mean(budgets))


@pytest.mark.parametrize("epsilon", [0.4, 0.1, 0.05])
def test_keys_for_a_tail_mass(made: Path, epsilon: float) -> None:
    """One budget for all rows: at random it is n (1 - epsilon), and exact top-k needs the fewest."""
    with open_results(made) as results:
        cases = [case for case in results.cases if case.n == 2048]
        keys = {case.selector: keys_for(case, epsilon) for case in cases}
        for case in cases:
            found = keys[case.selector]
            assert found is not None
            assert found.shape == (6,)
            below = case.draw_means("tail_mass")[:, np.searchsorted(case.k, math.ceil(found.max()) + 16) :]
            assert np.all(below.mean(axis=0) <= epsilon)
        assert np.mean(keys["score"]) == pytest.approx(exact_budget(2048, epsilon), rel=0.02)
        share = np.mean(keys["random"]) / (2048 * (1.0 - epsilon))
        # Below the epsilons of the file, and beyond the last k below n, it is a bound.
        assert 0.95 <= share <= (1.05 if epsilon in STUDY.epsilon else 1.0 / (1.0 - epsilon))
        assert min(keys, key=lambda name: np.mean(keys[name])) == "score"


def test_cheapest(made: Path) -> None:
    with open_results(made) as results:
        (members,) = side_by_side(group_series(results.cases))
        choice = cheapest(members, 0.4, [256, 2048])
        assert choice.title == "σ = 2"
        assert choice.left_out == ("unknown",)
        assert choice.best is choice.ranked[0]
        spent = [sum(need.bytes_read(choice.lengths)) for need in choice.ranked]
        assert spent == sorted(spent)
        for need in choice.ranked:
            alpha, exponent = need.law(choice.lengths)
            assert need.fit is not None
            assert exponent == round(need.fit.exponent, 3)
            for n, k, wanted in zip(
                choice.lengths, need.budgets(choice.lengths), need.keys_at([256, 2048]), strict=True
            ):
                assert wanted <= alpha * n**exponent * (1.0 + 1e-9)
                assert k >= math.floor(wanted)
                assert k % page_of(need.selector) == 0
        assert choice.exact is not None
        assert choice.exact.selector == "score"


@pytest.mark.parametrize("sigma", ["1", "2", "3"])
@pytest.mark.parametrize("epsilon", [0.2, 0.1])
def test_keys_between_stored_k_are_those_of_all_k(tmp_path: Path, sigma: str, epsilon: float) -> None:
    """Stored k a factor of eight apart: within a hundredth of what every k of the same rows says, on both sides."""
    n = 2048
    few, all_k = (
        Study(n=(n,), sigma=(sigma,), k=laws, draws=3, rows=6, epsilon=(0.1,), seed=5)
        for laws in (("4", "32", "256"), tuple(str(k) for k in range(1, n, 3)))
    )
    found = []
    for name, study in (("few", few), ("all", all_k)):
        with open_results(write_results(tmp_path / f"{name}.h5", study)) as results:
            keys = keys_for(results.cases[0], epsilon)
            assert keys is not None
            found.append(keys.mean())
    assert found[0] == pytest.approx(found[1], rel=0.01)


@pytest.mark.parametrize(("epsilon", "keys"), [(0.5, 8.0), (0.25, 16.0), (0.1, 40.0), (0.05, None)])
def test_beyond_the_stored_k_the_epsilons_answer(epsilon: float, keys: float | None) -> None:
    """Rows of tail mass 4 / k, stored up to k = 16 of 1024, with k_epsilon at 0.1."""
    k = np.array([4, 8, 16])
    stored = {"tail_mass": 4.0 / k, "k_epsilon": np.array([40]), "row_n": np.array(1024)}
    case = SimpleNamespace(
        k=k, epsilon=np.array([0.1]), n=1024, draws=2, rows=3, selector="score", kept=lambda key, compute: compute(),
        has=lambda name: name in stored,
        values=lambda name: np.broadcast_to(stored[name], (2, 3, *stored[name].shape)),
    )  # fmt: skip
    found = keys_for(case, epsilon)
    assert (found is None) if keys is None else found == pytest.approx([keys] * 2, rel=1e-3)


@pytest.mark.parametrize("selector", ["shard-union:P=32", "score"])
def test_no_fewer_keys_than_at_the_smallest_k(selector: str) -> None:
    """Tail mass 4 / kept, stored from 64 kept keys on, where it is less than asked for: k = 2 of 32 shards keeps 64,
    exact top-k can keep fewer."""
    kept = np.array([64, 128, 256])
    stored = {"tail_mass": 4.0 / kept, "kept": kept, "k_epsilon": np.array([40]), "row_n": np.array(1024)}
    if selector != "score":
        stored["k_epsilon"] = np.array([64])
    k = kept if selector == "score" else kept // 32
    case = SimpleNamespace(
        k=k, epsilon=np.array([0.1]), n=1024, draws=2, rows=3, selector=selector, kept=lambda key, compute: compute(),
        has=lambda name: name in stored,
        values=lambda name: np.broadcast_to(stored[name], (2, 3, *stored[name].shape)),
    )  # fmt: skip
    found = keys_for(case, 0.4)
    assert found is not None
    if selector == "score":
        assert np.all((found > 1.0) & (found < 40.0))
    else:
        assert found == pytest.approx([64.0] * 2, rel=1e-9)


def test_all_is_dropped_before_the_first_key_that_is_known() -> None:
    """Selectors that keep every key at their smallest k: nothing is known of fewer."""
    stored = {
        "tail_mass": np.zeros(2),
        "kept": np.array([1000, 1000]),
        "k_epsilon": np.array([1000]),
        "row_n": np.array(1000),
    }
    case = SimpleNamespace(
        k=np.array([1, 16]), epsilon=np.array([0.1]), n=1024, draws=1, rows=2, selector="shard-union:P=1000",
        kept=lambda key, compute: compute(), has=lambda name: name in stored,
        values=lambda name: np.broadcast_to(stored[name], (1, 2, *stored[name].shape)),
    )  # fmt: skip
    assert keys_for(case, 0.4) == pytest.approx([1000.0], rel=1e-9)
