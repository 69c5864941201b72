"""Wrong kernels, on purpose: what is changed where, and the runs or tests that must notice.

Each mutation replaces one text in one file of a copy of the repository (run.py). `{seed}` in a new text is a number
that run.py draws from its seed, so that the place of the fault differs from run to run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Runs whose own verdict must turn INVALID: (ranks, arguments). Heavy and light heads, small and large k, output errors.
STUDY = "study --n 100000 --d 32 --sigma 1,4 --k 8,n^0.5,n/4 --rows 16 --draws 1 --block 1024 --threads 1 --path "
STUDY_FUSED, STUDY_TILED = (2, STUDY + "fused"), (2, STUDY + "blas-tile")
STUDY_PEAKED = (1, "study --n 100000 --d 32 --sigma 'log(n)' --k n^0.5 --rows 16 --draws 1 --threads 1")
BENCH = "bench --n 300000 --d 32 --m 48 --k 500 --samples 3 --threads 1 "
BENCH_SCREENED = (1, BENCH + "--kernel top-k --path screened")
BENCH_EXACT = (1, BENCH + "--kernel exact-attention --path fused")
STUDY_LEFT = (2, STUDY + "auto --checkpoint-minutes 0")
ATTEND = (2, "attend --kernel exact-attention --n 6000 --d 16 --mask causal --block 256 --threads 1")
STUDY_SMALL_K = (1, "study --n 100000 --d 32 --sigma 1 --k 8 --rows 16 --draws 1 --threads 1")
STUDY_FORCED = (2, STUDY + "auto --selectors quantised:int8:sinks=4 --epsilon 0.9")
BENCH_GATHERED = (1, BENCH + "--kernel top-k-attention --path fused --keys streamed")

PRECISION = (
    2,
    "precision --n 100000 --k 64,n^0.5,n/4 --precision 'bf16; bf16:pairwise; fp16,sum=fp32' --rows 2 --draws 1 "
    "--threads 1",
)


@dataclass(frozen=True)
class Mutation:
    name: str
    what: str
    file: str
    old: str
    new: str
    runs: tuple[tuple[int, str], ...] = ()
    tests: tuple[str, ...] = field(default=())  # ctest names, built and run where no run's verdict notices


MUTATIONS = (
    Mutation(
        "dropped group",
        "the first pass skips the last 32 keys of a step",
        "kernels/path/fused.hpp",
        "    this->pass_.add(space, keys.keys.data, keys.first, keys.count, between_strips(watch));\n",
        "    this->pass_.add(space, keys.keys.data, keys.first, std::max(key_group, keys.count - key_group), "
        "between_strips(watch));\n",
        (STUDY_FUSED,),
    ),
    Mutation(
        "dropped block, tiled",
        "a tile never reaches the profile",
        "kernels/path/tiles.hpp",
        "      add_tile(space, *profile_, rows.scores, rows.ranges, tile);\n",
        "      if (step_ != 1 + {seed} % 9) add_tile(space, *profile_, rows.scores, rows.ranges, tile);\n",
        (STUDY_TILED,),
    ),
    Mutation(
        "twice counted block",
        "a leaf of exact attention is added twice",
        "src/attend/full_attention_exact.cpp",
        "    for (auto const& piece : pieces) rows.add(piece, poll);\n",
        "    for (auto const& piece : pieces) rows.add(piece, poll);\n"
        "    if (pieces.size() > 1) rows.add(pieces[1], poll);\n",
        (ATTEND,),
    ),
    Mutation(
        "k off by one",
        "the error at k is that at k - 1",
        "src/row/row_metrics.cpp",
        "std::size_t const i = k;\n      CutSums",
        "std::size_t const i = k - 1;\n      CutSums",
        (STUDY_FUSED,),
    ),
    Mutation(
        "k_epsilon off by one",
        "one key too many",
        "src/row/row_metrics.cpp",
        'metrics.count("k_epsilon").push_back(it - sums.dropped1.begin());',
        'metrics.count("k_epsilon").push_back(it - sums.dropped1.begin() + 1);',
        (STUDY_FUSED,),
        ("test_row_metrics",),
    ),
    Mutation(
        "heads one short",
        "pruning keeps one candidate less than asked for",
        "kernels/topk/row_heads.hpp",
        "count = rows_[row].fill, keep = keep_;\n    if (count <= keep) return;",
        "count = rows_[row].fill, keep = keep_ - 1;\n    if (count <= keep + 1) return;",
        (STUDY_SMALL_K,),
        ("test_fused_avx512", "test_fused_avx2", "test_fused_plain"),
    ),
    Mutation(
        "wrong tie order",
        "of equal scores the larger index wins",
        "kernels/core/candidate.hpp",
        "return a.score > b.score || (a.score == b.score && a.index < b.index);",
        "return a.score > b.score || (a.score == b.score && a.index > b.index);",
        (),
        ("test_radix_select",),
    ),
    Mutation(
        "wrong tie order, packed",
        "of equal scores the larger local index wins",
        "kernels/core/candidate.hpp",
        "| ~index;\n}",
        "| index;\n}",
        (STUDY_FUSED,),
        ("test_radix_select",),
    ),
    Mutation(
        "lost rescale",
        "a subtree's output is added without its e^(max - M)",
        "kernels/attend/softmax_tree.hpp",
        "a[c] = a[c] * l + b[c] * r;",
        "a[c] = a[c] + b[c] * r;",
        (BENCH_EXACT,),
    ),
    Mutation(
        "lost rescale of the weight",
        "the weights of two subtrees are added as they are",
        "kernels/attend/softmax_tree.hpp",
        "left.weight = left.weight * l + right.weight * r;",
        "left.weight = left.weight + right.weight;",
        (BENCH_EXACT,),
    ),
    Mutation(
        "shifted shard",
        "every rank but the first makes the keys one further on",
        "src/shard/shard_tensors.hpp",
        "fill_input_packed(space_, source_, shard_.begin + first, count, d_, out);",
        "fill_input_packed(space_, source_, shard_.begin + first + (shard_.begin > 0 ? 1 : 0), count, d_, out);",
        (STUDY_FUSED,),
    ),
    Mutation(
        "shifted indices",
        "a rank's winners carry the indices of its neighbours",
        "src/comm/merge/sorted_rows.cpp",
        "shard_begin[row.sources[i]] + index_of(row.entries[i])",
        "shard_begin[row.sources[i]] + index_of(row.entries[i]) + (row.sources[i] > 0)",
        (STUDY_FUSED,),
    ),
    Mutation(
        "lost rank",
        "the profile of one rank is left out",
        "src/comm/merge/merge_profile.hpp",
        "  return reduce_scatter(comm,",
        "  if (comm.size() > 1 && comm.rank() == {seed} % comm.size()) std::fill(moments.begin(), moments.end(), 0);\n"
        "  return reduce_scatter(comm,",
        (STUDY_FUSED,),
    ),
    Mutation(
        "cut too high",
        "threshold merge leaves out candidates that equal the cut",
        "src/comm/merge/merge_threshold.cpp",
        "return entry >> 32 >= cut.bits;",
        "return entry >> 32 > cut.bits;",
        ((2, STUDY_FUSED[1] + " --merge threshold"),),
        ("test_strategies_16",),
    ),
    Mutation(
        "coarse bins",
        "bins forget their second moments",
        "kernels/profile/score_bins.hpp",
        "  auto const once = bin_exponentials(bin, c);",
        "  auto const once = bin_exponentials(BinMoments{bin.count, bin.first, 0}, c);",
        (STUDY_FUSED,),
        ("test_score_bins",),
    ),
    Mutation(
        "entropy without its weights",
        "the head's share of the entropy is dropped",
        "src/row/row_metrics.cpp",
        "sums_of_row(metrics, of_keys, sums.dropped2[0], h + beyond.h);",
        "sums_of_row(metrics, of_keys, sums.dropped2[0], beyond.h);",
        (STUDY_FUSED,),
    ),
    Mutation(
        "tail as total minus head",
        "row_l2_error by cancellation",
        "src/row/row_metrics.cpp",
        "sums.dropped1[i], sums.dropped2[i], sums.e[i]};",
        "sums.dropped1[i], std::max(1e-200, static_cast<double>(std::max(0.0f, static_cast<float>(sums.dropped2[0]) - "
        "static_cast<float>(sums.kept2[i])))), sums.e[i]};",
        (STUDY_FUSED, STUDY_PEAKED),
    ),
    Mutation(
        "wrong values",
        "the winners' values are those of the next key",
        "src/shard/shard_tensors.hpp",
        "gather_normal(space_, origin_.values, shard_.begin, which, begin, end, gathered_);",
        "gather_normal(space_, origin_.values, shard_.begin + 1, which, begin, end, gathered_);",
        (BENCH_GATHERED,),
    ),
    Mutation(
        "certificate too tight",
        "the 8-bit screen forgets what rounding left of the keys",
        "kernels/score/quantised.hpp",
        "round_up((rounding + gamma * (norm + rounding)) * more)",
        "round_up(gamma * (norm + rounding) * more)",
        (BENCH_SCREENED,),
        ("test_screen_avx512", "test_screen_avx2", "test_screen_plain"),
    ),
    Mutation(
        "one row late",
        "causal rows see one key too few on the ring",
        "src/attend/ring_sequence.hpp",
        "item_.mask == Mask::causal ? position + 1 : item_.n; }",
        "item_.mask == Mask::causal ? std::max<std::int64_t>(position, 1) : item_.n; }",
        (ATTEND,),
        ("test_ring_2",),
    ),
    Mutation(
        "counted above, not at",
        "the k-th score itself is not counted as held",
        "kernels/attend/fused_second_pass.hpp",
        "above_edge += std::popcount(over);",
        "above_edge += std::popcount(over) + (j == 0 && (over & 1u) != 0 ? 1 : 0);",
        (STUDY_FUSED,),
    ),
    Mutation(
        "short spacings",
        "order statistics drawn as if one key more were left",
        "src/study/simulate/order_statistics.cpp",
        "double const spacing = stream.exponential() / left;",
        "double const spacing = 1.05 * stream.exponential() / left;",
        (),
        ("test_order_statistics",),
    ),
    Mutation(
        "rounded down",
        "numbers are cut off at a format's last place",
        "kernels/core/rounding.hpp",
        "    double const y = (capped + power) - power;\n",
        "    double y = (capped + power) - power;\n"
        "    if (y > capped) y -= std::numeric_limits<double>::epsilon() * power;\n",
        (PRECISION,),
    ),
    Mutation(
        "last place kept",
        "a sum in a narrow format goes on in the last place of its first binades",
        "kernels/core/rounded_sum.hpp",
        "    if (next < binade.end) {\n",
        "    if (next < 2.0 * binade.end) {\n",
        (PRECISION,),
    ),
    Mutation(
        "ties of p",
        "of equal p some are left out of the k largest",
        "src/precision/largest_entries.cpp",
        "      ties -= row[i] == entries.value ? 1 : 0;\n",
        "      ties -= 1;\n",
        (PRECISION,),
    ),
    Mutation(
        "longer memory",
        "an AR(1) sequence whose rows between two others lean on them too much",
        "kernels/input/ar1_levels.hpp",
        "power / (1.0 + square)",
        "power / (1.0 + 0.9 * square)",
        (),
        ("test_inputs",),
    ),
    Mutation(
        "lost part",
        "the profile of what a draw's pass saw before a break is not added",
        "src/study/batch_run.cpp",
        "to[i] += first.moments[row * bins + i];\n",
        "to[i] += 0 * first.moments[static_cast<std::size_t>(row) * bins + i];\n",
        (STUDY_LEFT,),
    ),
    Mutation(
        "lost heads of a part",
        "candidates of before a break are not merged",
        "src/study/batch_progress.cpp",
        "std::merge(head.begin(), head.end(), earlier.begin(), earlier.end(),",
        "std::merge(head.begin(), head.end(), earlier.begin(), earlier.begin(),",
        (STUDY_LEFT,),
    ),
    Mutation(
        "part seen twice",
        "one rank's keys of before a break count as not seen",
        "src/row/partial_draw.cpp",
        "  seen = joined_runs(std::move(seen));\n",
        "  seen = joined_runs(std::move(seen));\n  seen.front().begin += 1024;\n",
        (STUDY_LEFT,),
    ),
    Mutation(
        "kept twice",
        "keys that a selector is forced to keep are kept once more by their priority",
        "kernels/select/selector.hpp",
        "    if (!forced.holds(entry)) order.push_back(entry);\n",
        "    if (entry < forced.recent_begin) order.push_back(entry);\n",
        (STUDY_FORCED,),
    ),
    Mutation(
        "permutation with holes",
        "random keys: a round of the network that cannot be undone",
        "kernels/select/random_order.hpp",
        "        low ^= of_round(high, keys_[round + 1]) & low_mask();\n",
        "        low |= of_round(high, keys_[round + 1]) & low_mask();\n",
        (),
        ("test_selectors",),
    ),
)
