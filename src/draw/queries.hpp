// The query rows of a draw, ready to be multiplied with keys: score(i, j) = query_i . key_j, and logit = sigma * score.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"
#include "kernels/core/key_ranges.hpp"
#include "kernels/core/math.hpp"
#include "kernels/score/panel.hpp"
#include "kernels/select/selector.hpp"
#include "plan/plan.hpp"
#include "shard/shard_tensors.hpp"

namespace asymptop {

/// Query rows with what is known of them before any key is seen.
struct QueryRows {
  std::vector<float> q;                ///< (rows, d)
  std::vector<std::int64_t> position;  ///< in the sequence (of a text: from its first token), -1 when not in it
  std::vector<std::int64_t> visible;   ///< how many keys the row sees
  std::vector<std::int64_t> from;      ///< the first of them in the context
  std::vector<float> sigma_unit;       ///< standard deviation of the row's scores over random keys; 0 when unknown (tensors)
  std::vector<float> low, high;        ///< bounds of the row's scores
  /// Where queries that share a key head choose keys together, (rows, heads, d): all of them at the row's place; else empty.
  std::vector<float> of_group{};
  std::vector<std::int64_t> place{};  ///< in the context, of a head with an ALiBi slope; else empty
  /// What a row's logits over the keys of a file are above those over the keys as they are multiplied, less their common offset: scale Q .
  /// offset in fp64, of Q before it is scaled and rounded to fp32. Empty where nothing is taken off.
  std::vector<double> raised{};
  std::size_t rows() const { return position.size(); }
  double raised_by(std::size_t row) const { return raised.empty() ? 0.0 : raised[row]; }
  /// The keys of the context that a row sees.
  KeyRun seen(std::size_t row) const { return {from[row], from[row] + visible[row]}; }
  /// The keys of a shard of the context that each row sees.
  KeyRanges ranges_in(Range const& shard) const;
  /// What a slope adds to scores of a shard's keys.
  Alibi alibi_in(Range const& shard, double slope) const {
    Alibi alibi{slope, {}};
    for (auto const at : place) alibi.places.push_back(at - shard.begin);
    return alibi;
  }
  /// Rounded to fp32.
  void add_bounds(double lowest, double highest) {
    low.push_back(to_fp32(lowest));
    high.push_back(to_fp32(highest));
  }
};

/// Which draw of which group.
struct DrawIdentity {
  RunConfig const* config;
  GroupPlan const* group;
  std::int64_t draw;
  /// Of a draw from a tensor file.
  Context context() const { return context_of(group->contexts, draw); }
  int d() const { return group->d; }
};

/// The tensors that this draw's keys and values come from. A common offset of a file's keys is taken from them (TensorScan::offset) unless
/// the group has a softcap, which is one of the logits as they are. Selectors still look at the keys as the file has them. One of its
/// values is taken from these (TensorScan::values).
TensorOrigin tensor_origin(DrawIdentity const& identity, TensorLayer const* file, TensorScan const* scan);

/// All query rows of the draw; made on one rank and broadcast.
///   synthetic: q = W^T x / ‖W‖_F, so that the root mean square of ‖q‖ is 1 (or ‖q‖ = 1 with --row-sigma fixed)
///   tensors:   q = scale * Q[position], positions drawn from the last keys of the draw's context (plan/contexts.hpp), disjoint over draws.
///              In files with layers they are the same for all layers and heads
QueryRows make_queries(DrawIdentity const& identity, TensorLayer const* file, TensorScan const* scan);

/// Queries that selectors are calibrated on, (count, d), none that the draw measures; made on one rank. They come from
///   synthetic: rows of a stream of their own, `most` of them, independent of each other: what each query is by itself
///   tensors:   Q at evenly spaced places of the context that have one, but for the positions of the draw's rows
std::vector<float> calibration_queries(DrawIdentity const& identity, TensorLayer const* file, GlobalIndex most);

/// Queries whose attention is looked at before any is measured, with what they see and their places in the context; made on one rank.
///   synthetic: rows of the same stream as calibration_queries(), at the context's last places; they see all keys
///   tensors:   Q at those places of the context that have one, but for the positions of the draw's rows unless runs of queries are
///              wanted, under the group's mask and window. offset: TensorOrigin's
QueryRows observing_queries(DrawIdentity const& identity, TensorLayer const* file, Observers const& wanted,
                            std::vector<float> const& offset);

/// Where what the rows of the draw see ends, each place once, ascending; made on one rank.
std::vector<std::int64_t> ends_of_rows(DrawIdentity const& identity, TensorLayer const* file);

/// floor(n i / count) for i from 0 to count - 1, count = min(n, most).
std::vector<GlobalIndex> evenly_spaced(GlobalIndex n, GlobalIndex most);

/// Needle input: plants a key for each query, which rank 0 has, at a place that the draw alone decides. Collective.
void plant_needles(Communicator const& comm, DrawIdentity const& identity, QueryRows const& queries, TensorOrigin& origin);

/// Input without a useful bound of its own: scores of the queries, which rank 0 has, stay within ‖q‖ times the largest norm of any rank's
/// keys. Collective.
void bound_scores(Communicator const& comm, TensorOrigin const& origin, double key_norm, QueryRows& queries);

/// Bins per unit of score for all rows of a draw, whatever batches they go in: the plan's, or finer ones where scores are so close together
/// that a thousand of those cover them. Coarser ones, up to coarsest_bins times as wide, where scores are so far apart (over 10^6 bins)
/// that rounding them to fp32 costs more digits than that.
double bins_of_draw(QueryRows const& queries, double planned);

/// Rows [begin, end) of all.
QueryRows slice(QueryRows const& all, int d, std::size_t begin, std::size_t end);

}  // namespace asymptop
