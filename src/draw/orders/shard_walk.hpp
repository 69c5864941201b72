// A walk over all keys along the orders of shards: how many keys, and how much mass, stretches of every shard's order hold.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <vector>

#include "draw/orders/entry_pass.hpp"
#include "kernels/core/candidate.hpp"

namespace asymptop {

/// Where a key stands among the keys of its shard: smaller is better. By score, then by index: no two keys share a place.
struct ShardPlace {
  std::uint32_t worse = 0;  ///< the complement of the score's ordered bits
  GlobalIndex index = 0;    ///< in the sequence
  auto operator<=>(ShardPlace const&) const = default;
};
inline ShardPlace place_of(float score, GlobalIndex index) { return {~ordered_bits(score), index}; }

/// Bins of each bracket: as many numbers to a question as others have, whatever the shards are.
inline int bins_of_bracket(int shards) { return std::max(8, 4096 / shards); }

/// Bins that are equal steps of score, best first: the first one lies above `high`, the last one at `low` and below.
struct ScoreSteps {
  double high, per_unit, last;
  ScoreSteps(float from, float to, int bins) : high(from), per_unit((bins - 2) / (high - to)), last(bins - 1) {}
  /// Never larger for a better score; no two operations that a compiler could make one of.
  int bin_of(float score) const {
    double const steps = (high - score) * per_unit;
    return static_cast<int>(std::min(std::max(-1.0, steps), last - 1.0) + 1.0);
  }
};

/// A stretch of a shard's order that is in question.
struct ShardBracket {
  ShardPlace begin, end;          ///< end: the first place behind
  float high = 0.0f, low = 0.0f;  ///< high > low: bins are ScoreSteps between these; otherwise steps of bits, and of indices at last
  bool by_score() const { return high > low; }
  bool empty() const { return end <= begin; }
  bool operator==(ShardBracket const&) const = default;
};

/// Where bin i begins, or with i = bins the bracket ends. shard: its keys.
ShardPlace edge_of(ShardBracket const& bracket, Range const& shard, int bins, int i);

/// What is asked of one row under one law.
struct ShardQuestion {
  int row, law;
  float top;    ///< the row's largest score: masses are e^{sigma (s - top)}
  bool listed;  ///< whether the keys of the brackets are asked for one by one, rather than the sums of bins
  std::vector<ShardBracket> brackets;
  bool operator==(ShardQuestion const&) const = default;
};

struct ShardEntry {
  int shard;
  ShardPlace place;
  std::int64_t mass;
};

/// Per question, of this rank's keys: (shards, bins, 2) keys and fixed-point mass; or the keys.
struct ShardAnswers {
  std::vector<std::vector<std::int64_t>> sums;
  std::vector<std::vector<ShardEntry>> entries;
};

/// Questions are in the order of rows. factor: of fixed-point masses.
ShardAnswers walk_shards(EntryRows const& rows, std::vector<Range> const& shards, std::vector<ShardQuestion> const& questions,
                         std::vector<double> const& sigmas, double factor, ShardTensors<RunSpace>& tensors, PhaseTimes& phases);

}  // namespace asymptop
