// The table of selectors: names, parameters, and what makes them.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "approximate_scores.hpp"
#include "blind.hpp"
#include "calibrated.hpp"
#include "index.hpp"
#include "magicpig.hpp"
#include "observed.hpp"
#include "pages.hpp"
#include "random_order.hpp"
#include "selector.hpp"
#include "selector_makers.hpp"
#include "selector_values.hpp"
#include "shards.hpp"
#include "socket.hpp"
#include "threshold.hpp"
#include "twilight.hpp"
#include "vattention.hpp"
#include "window.hpp"

namespace asymptop {

struct SelectorParameter {
  char const* key;
  char const* fallback;
  char const* what;
  bool alone = false;  ///< in names of files and cases it is its value by itself, the fallback too
};

/// One line of the table.
struct SelectorKind {
  char const* name;
  char const* summary;
  char const* help;                           ///< a paragraph
  std::vector<SelectorParameter> parameters;  ///< a value by itself is of the first
  /// d: 0 where it is not known yet. Throws std::invalid_argument with the key of a value that it cannot take, a blank, and what is wrong
  /// with it.
  std::unique_ptr<Selector> (*make)(SelectorValues const& values, int d);
  KeptSets sets = KeptSets::ordered;
};

/// What estimates the products q . k of single keys, by its name. Throws std::invalid_argument.
inline std::unique_ptr<Projection> estimate_by(std::string const& name, int d);

/// All selectors, in the order in which options name them. `score`, the oracle, is the one that others are measured beside.
inline std::vector<SelectorKind> const& selector_kinds() {
  using Values = SelectorValues const&;
  using Made = std::unique_ptr<Selector>;
  static SelectorParameter const sinks{"sinks", "0", "first keys of the sequence that are always kept"},
      recent{"recent", "0", "most recent keys that are always kept"},
      share{"share", "head",
            "head: every query chooses | group: queries of a group that share a key head choose together, by summed priorities"},
      shards{"P", "8", "contiguous shards of the context, 1 to 1024; empty ones where they are more than keys"};
  static std::vector<SelectorKind> const kinds{
      {"score", "the keys of largest score: exact top-k", "The oracle: no set of k keys has a smaller tail mass.", {}, nullptr},
      {"window",
       "the first keys of the sequence and the most recent ones",
       "Attention sinks and a sliding window, as StreamingLLM has them (arXiv 2309.17453): first the sinks, then keys backwards from the "
       "query's own place (from the end of the keys for a query without one).",
       {{"sinks", "4", "first keys of the sequence"}},
       [](Values values, int) -> Made {
         return std::make_unique<WindowSelector>(
             detail::value_of(values, "sinks", [](auto const& text) { return count_of(text, 0, detail::most_forced); }));
       }},
      {"random",
       "keys at random, another choice for every row",
       "Without replacement. The tail mass is 1 - k/n on average whatever the input, so it is a check of everything else. As an "
       "estimator: forced keys (sinks, recent) come first, with weight 1; the others weigh (n - forced)/(k - forced), one over the "
       "chance of a key to be kept. denominator_error and the output errors are of the weighted sums; without forced keys the weights "
       "cancel in the output.",
       {sinks, recent},
       [](Values values, int) -> Made { return std::make_unique<RandomSelector>(detail::forced_of(values)); },
       KeptSets::weighted_order},
      {"quest",
       "pages by an upper bound of their scores",
       "Quest (arXiv 2406.10774): pages of consecutive keys by sum_c max(q_c min_c, q_c max_c), with the least and the largest value of "
       "each channel over the keys of the page that the row sees. A budget k pays for k/page whole pages, rounded down, one at least; "
       "neither the first nor the current page is kept unless sinks or recent ask for it.",
       {{"page", "16", "keys of a page, a power of two from 1 to 512 that divides --block"}, sinks, recent, share},
       [](Values values, int) -> Made { return detail::projected<QuestProjection>(values, detail::page_value(values, "page")); }},
      {"block-mean",
       "blocks by the query's product with their mean key",
       "MoBA (arXiv 2502.13189) and MInference (arXiv 2407.02490): blocks by q . mean(k) over the keys that the row sees; whole blocks, "
       "k/block of them rounded down, one at least.",
       {{"block", "64", "keys of a block, a power of two from 1 to 512 that divides --block"}, sinks, recent, share},
       [](Values values, int) -> Made { return detail::projected<BlockMeanProjection>(values, detail::page_value(values, "block")); }},
      {"block-max",
       "blocks by their largest score",
       "The best that any choice of whole blocks by one number can know of the scores: MiniMax-M3's indexer (16 blocks of 128) is trained "
       "to find these. block=1 is the oracle.",
       {{"block", "128", "keys of a block, a power of two from 1 to 512 that divides --block"}},
       [](Values values, int) -> Made { return std::make_unique<BlockMaxSelector>(detail::page_value(values, "block")); }},
      {"shard-union",
       "the k best keys of every shard",
       "What serving stacks with a context over P ranks do without a global merge (vLLM 46076): the k best keys of each of P contiguous "
       "shards, up to k P keys in all, with P a parameter that has nothing to do with the ranks of this program. P=1 is the oracle.",
       {shards},
       detail::sharded<ShardSelector::Budget::of_each_shard>},
      {"shard-share",
       "an equal share of the k best from every shard",
       "As shard-union, but k/P keys (rounded down, one at least) of each of P contiguous shards: what an exact global merge is spared "
       "at an equal number of keys. P=1 is the oracle.",
       {shards},
       detail::sharded<ShardSelector::Budget::shared>},
      {"quantised",
       "scores of narrow copies of queries and keys",
       "Scores of q and k rounded to bf16, fp8 (OCP E4M3), int8 or int4, one scale per vector (its largest entry becomes the format's "
       "largest number; bf16 needs none), as the indexers of DeepSeek-V3.2 and DeepGEMM compute them. Products are added in fp32; equal "
       "scores are ordered by index. fp32 is the oracle.",
       {{"format", "int8", "bf16 | fp8 | int8 | int4 | fp32; also by itself, as in quantised:fp8"}, sinks, recent, share},
       [](Values values, int) -> Made {
         return detail::projected<QuantisedProjection>(
             values, detail::value_of(values, "format", [](auto const& text) { return key_format_of(text); }));
       }},
      {"sparq",
       "scores over the query's largest channels",
       "SparQ (arXiv 2312.04985): the products over the r channels of largest |q_c| alone. r=d is the oracle.",
       {{"r", "d/8", "channels: a number, d/8, d"}, sinks, recent, share},
       [](Values values, int d) -> Made { return detail::projected<SparqProjection>(values, detail::channels_value(values, d)); }},
      {"loki",
       "scores over the keys' first principal components",
       "Loki (arXiv 2406.02542): products in the space of the r leading eigenvectors of sum k k^T, over 4096 evenly spaced keys of the "
       "same sequence. r=d is the oracle, up to rounding.",
       {{"r", "d/4", "components: a number, d/4, d"}, sinks, recent, share},
       [](Values values, int d) -> Made { return detail::projected<LokiProjection>(values, detail::channels_value(values, d)); }},
      {"double-sparsity",
       "scores over a few channels that a sample says weigh most, keys in 4 bits",
       "Double Sparsity (arXiv 2408.07092): the products over the r channels of largest mean |q_c| mean |k_c|, the same for all rows; "
       "the key's channels are rounded to int4 with one scale. The means are over 4096 evenly spaced keys and over up to 4096 queries "
       "that are not measured (those of `expected`).",
       {{"r", "d/16", "channels: a number, d/16, d"}, sinks, recent, share},
       [](Values values, int d) -> Made { return detail::projected<DoubleSparsityProjection>(values, detail::channels_value(values, d)); }},
      {"pq",
       "scores of keys that are replaced by centroids, part by part",
       "Product quantisation (PQCache, arXiv 2407.12820): the channels in `parts` equal stretches, each key's stretch replaced by the "
       "nearest "
       "of 2^bits centroids. Centroids come from `iterations` of Lloyd's over 4096 evenly spaced keys, starting at evenly spaced ones of "
       "them; they are never more than these keys.",
       {{"parts", "2", "stretches of channels, 1 to 64, a divisor of d"},
        {"bits", "6", "of a code, 1 to 10"},
        {"iterations", "10", "0 to 100"},
        sinks,
        recent,
        share},
       [](Values values, int d) -> Made {
         return detail::projected<CentroidProjection>(values, detail::parts_value(values, d), 1 << detail::int_value(values, "bits", 1, 10),
                                                      detail::int_value(values, "iterations", 0, 100));
       }},
      {"clusters",
       "clusters of keys by the query's product with their centroid",
       "Keys in the order of their clusters (ClusterKV, arXiv 2412.03213): every key goes to the nearest of c centroids, which are found "
       "as those of `pq` in one part; clusters by q . centroid, and within one by index.",
       {{"c", "256", "clusters, 1 to 1024"}, {"iterations", "10", "0 to 100"}, sinks, recent, share},
       [](Values values, int) -> Made {
         return detail::projected<CentroidProjection>(values, 1, detail::int_value(values, "c", 1, 1024),
                                                      detail::int_value(values, "iterations", 0, 100));
       }},
      {"infllm",
       "blocks by the query's products with a few representatives",
       "InfLLM (arXiv 2402.04617): blocks by the sum of q . k over `keys` representatives, those keys of the block with the largest "
       "products with the mean of up to 4096 queries that are not measured (those of `expected`; InfLLM takes the mean over the queries "
       "of a local window). Whole blocks, k/block of them rounded down, one at least.",
       {{"block", "128", "keys of a block, a power of two from 1 to 512 that divides --block"},
        {"keys", "4", "representatives, 1 to 512; all of a block that has fewer"},
        sinks,
        recent,
        share},
       [](Values values, int) -> Made {
         return detail::projected<InfllmProjection>(values, detail::page_value(values, "block"), detail::int_value(values, "keys", 1, 512));
       }},
      {"key-norm",
       "keys of small norm, whatever the query",
       "Query-blind compression by small ‖k‖ (arXiv 2406.11430).",
       {sinks, recent},
       [](Values values, int) -> Made { return detail::projected<KeyNormProjection>(values); }},
      {"key-diff",
       "keys that point away from the mean key, whatever the query",
       "KeyDiff (arXiv 2504.15364): by smallest cosine with the mean of the directions of 4096 evenly spaced keys.",
       {sinks, recent},
       [](Values values, int) -> Made { return detail::projected<KeyDiffProjection>(values); }},
      {"expected",
       "keys of largest expected e^logit, whatever the query",
       "Expected Attention of kvpress: by mu . k + 1/2 k^T Sigma k, the log of the mean of e^(q . k) over Gaussian queries q. mu and "
       "Sigma are mean and covariance of up to 4096 queries, scaled as logits want them and none of them measured: of a tensor file "
       "those at positions floor(n i / min(n, 4096)) of the same head, but for the draw's rows; of synthetic input queries of the same "
       "law from a stream of their own. Synthetic queries are taken at sigma = 1, so the order is the same under every law of sigma. The "
       "norm of v, by which kvpress multiplies, is left out.",
       {sinks, recent},
       [](Values values, int) -> Made { return detail::projected<ExpectedProjection>(values); }},
      {"snapkv",
       "keys by the mean attention of the context's last queries, pooled over neighbours",
       "SnapKV (arXiv 2404.14469): keys by the attention of observing queries, summed over them and mean-pooled over `pool` keys (those "
       "outside of the context count as 0), whatever the query. Observing are the last `queries` queries of the context, but for those of "
       "the draw's rows; each has its softmax over the keys that it sees, under the rows' mask, window and softcap. A row before the "
       "context's end is judged by queries behind it, as if it came again after the context. Of synthetic input they are queries of the "
       "same law from a stream of their own, which see all keys, at sigma = 1. recent keeps SnapKV's window of the last keys.",
       {{"queries", "64", "observing queries, 1 to 1024"},
        {"pool", "5", "keys that are pooled, an odd number from 1 to 63"},
        sinks,
        recent},
       [](Values values, int) -> Made {
         return detail::looked_up<AttendedKeys>(values, detail::observers_of(values, Observers::Where::last), detail::pool_value(values));
       }},
      {"h2o",
       "keys by the attention that they have received",
       "H2O's heavy hitters (arXiv 2306.14048): keys by the sum of what observing queries up to the row attend to them, as a decoder at "
       "the "
       "row's place has seen them, whatever the row's own query. Observing are `queries` evenly spaced queries of the context, but for "
       "those of the draw's rows; under a causal mask those behind a row do not count for it. Where none stands before it, keys come in "
       "their own order. Else as `snapkv`'s. Early keys are seen by more of them, as in H2O. recent keeps the last keys, as H2O does with "
       "half of its budget.",
       {{"queries", "256", "observing queries, 1 to 1024"}, sinks, recent},
       [](Values values, int) -> Made {
         auto observers = detail::observers_of(values, Observers::Where::spaced);
         observers.so_far = true;
         return detail::looked_up<AttendedSoFar>(values, observers);
       }},
      {"vertical-slash",
       "columns and diagonals that the context's last queries attend to",
       "MInference (arXiv 2407.02490): columns (a key) and diagonals (all keys at one distance from their query) by the sums of what "
       "observing queries attend to along them; a key's priority is the larger one of its two lines', a row's own place that of the last "
       "key that it sees. Observing are the same queries as `snapkv`'s, and those of synthetic input stand at the last places. MInference "
       "chooses a number of either for each head beforehand.",
       {{"queries", "64", "observing queries, 1 to 1024"}, sinks, recent},
       [](Values values, int) -> Made {
         auto observers = detail::observers_of(values, Observers::Where::last);
         observers.by_distance = true;
         return detail::looked_up<AttendedLines>(values, observers);
       }},
      {"xattention",
       "blocks by antidiagonal sums of the context's last queries' scores",
       "XAttention (arXiv 2503.16428): the context's last `block` queries, measured ones among them, and all keys in runs of `stride`; the "
       "score of two runs is the sum of q . k along their antidiagonal over stride; its softmax over the runs of keys that some query of "
       "the run sees, summed over the runs of queries and over those of a block, is the block's priority, whatever the query. XAttention "
       "does so for each block of queries; rows are taken to belong to the last one. Softcaps are left out. Queries of synthetic input "
       "are as `snapkv`'s. Whole blocks, k/block of them rounded down, one at least.",
       {{"block", "128", "keys of a block, a power of two from 1 to 512 that divides --block"},
        {"stride", "16", "keys and queries of a run, a power of two up to block and 64"},
        sinks,
        recent},
       [](Values values, int) -> Made {
         auto const block = detail::page_value(values, "block");
         return detail::looked_up<AttendedBlocks>(values, Observers{Observers::Where::last, block, detail::stride_value(values, block)},
                                                  block);
       }},
      {"socket",
       "keys by the query's probability of their buckets in hash tables",
       "SOCKET (arXiv 2602.06283): L tables of K sign bits, of other hyperplanes w for every draw. A key is in one bucket c of each table, "
       "a query in all of them with the probabilities softmax(x . c / tau), x = tanh(w . q)/sqrt(d), q scaled to the norm sqrt(d); a key's "
       "priority is the sum over the tables of its bucket's. The norm of v, by which SOCKET multiplies, is left out.",
       {{"K", "11", "sign bits of a table, 1 to 16"},
        {"L", "55", "tables, 1 to 1024"},
        {"tau", "0.5", "temperature, over 0, at most 100"},
        sinks,
        recent},
       [](Values values, int) -> Made {
         return detail::looked_up<SocketLookup>(values,
                                                SignTables(detail::int_value(values, "K", 1, 16), detail::int_value(values, "L", 1, 1024)),
                                                detail::value_of(values, "tau", [](auto const& text) { return share_of(text, 100.0); }));
       }},
      {"vattention",
       "the best keys, and a sample of the others that an error bound asks for",
       "vAttention (arXiv 2510.05688), an estimator: the sinks, the recent keys and the k keys of largest true score are kept with "
       "weight 1; of the N others b are drawn at random without replacement and weigh N/b. A base sample (base of the others, 32 at "
       "least) gives the mean and the standard deviation sd of e^s, from which b = (z_(1-delta) sd N / (epsilon D))^2 with D the "
       "estimated denominator; from the base sample up to all N. The promise: |D^/D - 1| over epsilon in at most delta of the rows; "
       "z_(1-delta) is that of one side. `kept` says how many keys that is, over k; it has no order, so no k_epsilon, regret, recall or "
       "row errors.",
       {{"sinks", "128", "first keys of the sequence that are always kept"},
        {"recent", "128", "most recent keys that are always kept"},
        {"base", "0.02", "share of the other keys in the base sample"},
        {"epsilon", "0.1", "relative error of the denominator that is allowed"},
        {"delta", "0.1", "share of rows that may have a larger one"}},
       [](Values values, int) -> Made { return std::make_unique<VattentionSelector>(detail::forced_of(values), detail::bound_of(values)); },
       KeptSets::weighted},
      {"magicpig",
       "keys that collide with the query in hash tables",
       "MagicPIG (arXiv 2410.16179), an estimator: L tables of K sign bits of products with random hyperplanes, another set for every "
       "draw; keys less their mean (of 4096 evenly spaced keys) that fall with the query in at least two tables are kept and weigh 1/u, "
       "u = 1 - (1 - p^K)^L - L p^K (1 - p^K)^(L-1) with p = 1 - angle/pi; the sinks and the recent keys are kept with weight 1. The "
       "laws of k change nothing: `kept` says how many keys there are. It has no order, so no k_epsilon, regret, recall or row errors.",
       {{"K", "10", "sign bits of a table, up to 16"},
        {"L", "150", "tables, 2 to 1024"},
        {"sinks", "4", "first keys of the sequence that are always kept"},
        {"recent", "64", "most recent keys that are always kept"}},
       [](Values values, int) -> Made {
         return std::make_unique<MagicpigSelector>(
             SignTables(detail::int_value(values, "K", 1, 16), detail::int_value(values, "L", 2, 1024)), detail::forced_of(values));
       },
       KeptSets::weighted},
      {"twilight",
       "pages by Quest, then the fewest of their keys that hold a share p of the estimated mass",
       "Twilight (arXiv 2502.02770), top-p after a selection: the first `budget` keys by Quest's pages, rounded down to whole ones, are "
       "candidates; of these the fewest are kept whose softmax reaches p, over scores of int4 copies of q and k (one scale per vector). "
       "The mass is that of the candidates' estimated total, not of the row's; p=1 keeps all of them, and forced keys among them are "
       "kept in any case. The set depends on sigma. Kept keys have no weights, and `kept` says how many they are. budget=0 takes k for "
       "the budget; with a budget the laws of k change nothing. It has no order, so no k_epsilon, regret, recall or row errors.",
       {{"budget", "0", "keys that pages choose; 0: k of them"},
        {"p", "0.85", "share of the estimated mass, over 0, at most 1"},
        {"page", "16", "keys of a page, a power of two from 1 to 512 that divides --block"},
        sinks,
        recent},
       [](Values values, int) -> Made {
         return std::make_unique<TwilightSelector>(
             detail::value_of(values, "budget", [](auto const& text) { return count_of(text, 0, detail::most_forced); }),
             detail::value_of(values, "p", [](auto const& text) { return share_of(text, 1.0); }), detail::page_value(values, "page"),
             detail::forced_of(values));
       },
       KeptSets::unordered},
      {"threshold",
       "all keys whose share of the softmax reaches theta, as true scores or estimates tell it",
       "A rule in place of a budget, which rows with few large weights and rows with many meet with other numbers of keys: keys with p >= "
       "theta, p = e^s / sum e^s over all keys of the row (and a learned sink) at its sigma; or, of=largest, with e^s >= theta e^(largest "
       "s), "
       "which is s >= max s - log(1/theta). s are the true scores (by=score), or what the narrow copies of `quantised` or another selector "
       "that estimates products (with its usual parameters) takes for them, softcapped as scores are. Orders that estimate no scores, such "
       "as "
       "pages, windows or random keys, have no such rule. Keys of the largest s and forced keys are kept in any case. The laws of k change "
       "nothing: `kept` says how many keys there are. Kept keys have no weights, and there is no order, so no k_epsilon, regret, recall or "
       "row errors.",
       {{"theta", "1/n", "a number over 0, at most 1, or C/n with the row's own n"},
        {"of", "all", "all: theta is a share of the sum over all keys | largest: of the largest weight"},
        {"by", "score", "score | bf16 | fp8 | int8 | int4 | sparq | loki | double-sparsity | pq | clusters"},
        sinks,
        recent},
       [](Values values, int d) -> Made {
         auto const theta = detail::value_of(values, "theta", share_threshold_of);
         bool const of_largest = detail::value_of(values, "of", detail::is_largest);
         return std::make_unique<ThresholdSelector>(theta, of_largest,
                                                    detail::value_of(values, "by", [d](auto const& text) { return estimate_by(text, d); }),
                                                    detail::forced_of(values));
       },
       KeptSets::unordered},
      {"file",
       "by the index scores of a trained indexer in the tensor file",
       "DSA's lightning indexer, NSA, SeerAttention, HashAttention, anyone's: keys by I_j = sum_h w_h ReLU(q_h . k_j), with the index "
       "queries NAME_q (index heads, n, d), the index keys NAME_k (n, d) and the weights NAME_w (index heads, n; ones if there is none) "
       "that lie beside Q, K and V of --input, in float32 or float64. One index serves all heads, unless NAME_k is (heads, n, d), with "
       "as many heads as Q or K has; NAME_q then is (heads, index heads, n, d). An axis of one index head may be left out. Products are "
       "added in fp32, heads in ascending order; equal priorities are ordered by index.",
       {{"name", "index", "of the datasets; also by itself, as in file:index", true},
        {"relu", "on", "on: products below 0 count as 0 | off: as they are"},
        sinks,
        recent},
       [](Values values, int) -> Made {
         return std::make_unique<IndexSelector>(
             TrainedIndex{detail::value_of(values, "name", dataset_name), detail::value_of(values, "relu", detail::is_on)},
             detail::forced_of(values));
       }},
  };
  return kinds;
}

inline std::unique_ptr<Projection> estimate_by(std::string const& name, int d) {
  if (name == "score") return std::make_unique<QuantisedProjection>(KeyFormat::fp32);
  for (auto const* estimating : {"sparq", "loki", "double-sparsity", "pq", "clusters"}) {
    if (name != estimating) continue;
    auto const& kinds = selector_kinds();
    auto const kind = std::find_if(kinds.begin(), kinds.end(), [&](auto const& of) { return name == of.name; });
    SelectorValues usual;
    for (auto const& parameter : kind->parameters) usual[parameter.key] = parameter.fallback;
    return kind->make(usual, d)->take_projection();
  }
  try {
    if (name != "fp32") return std::make_unique<QuantisedProjection>(key_format_of(name));
  } catch (std::invalid_argument const&) {
  }
  throw std::invalid_argument("estimates no scores: score, bf16, fp8, int8, int4, sparq, loki, double-sparsity, pq, clusters do");
}

}  // namespace asymptop
