// A walk over all keys along the orders of shards: how many keys, and how much mass, stretches of every shard's order hold.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <vector>

#include "draw/entry_pass.hpp"
#include "kernels/core/candidate.hpp"

namespace asymptop {

/// Where a key stands among the keys of its shard: smaller is better. By score, then by index: no two keys share a place.
struct ShardPlace {
  std::uint32_t worse = 0;  ///< the complement of the score's ordered bits
  GlobalIndex index = 0;    ///< in the sequence
  auto operator<=>(ShardPlace const&) const = default;
};
inline ShardPlace place_of(float score, GlobalIndex index) { return {~ordered_bits(score), index}; }

/// A stretch of a shard's order that is in question.
struct ShardBracket {
  ShardPlace begin, end;          ///< end: the first place behind
  float high = 0.0f, low = 0.0f;  ///< high > low: bins are equal steps of score between these; otherwise of bits, and of indices at last
  bool empty() const { return end <= begin; }
  bool operator==(ShardBracket const&) const = default;
};

/// Bins of each bracket: as many numbers to a question as others have, whatever the shards are.
inline int bins_of_bracket(int shards) { return std::max(8, 4096 / shards); }

/// The places where bins begin, ascending, and the end. shard: its keys.
void find_edges(ShardBracket const& bracket, Range const& shard, int bins, std::vector<ShardPlace>& edges);

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
