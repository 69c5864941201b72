// A selector's priorities over a rank's shard: its best entries, keys or pages of keys, for each row of a batch.
#pragma once

#include <cmath>

#include "comm/timing.hpp"
#include "draw/first_pass.hpp"
#include "draw/queries.hpp"
#include "kernels/attend/segments.hpp"
#include "kernels/score/alibi.hpp"
#include "kernels/score/softcap.hpp"
#include "kernels/select/selector.hpp"
#include "shard/partition.hpp"

namespace asymptop {

/// One chain of fused multiply-adds over the columns, in ascending order.
inline float product(float const* a, float const* b, int width) {
  float sum = 0.0f;
  for (int c = 0; c < width; ++c) sum = std::fma(a[c], b[c], sum);
  return sum;
}

/// What an entry pass works on.
struct EntryRows {
  QueryRows const& queries;
  Path const& path;
  Range shard;
  GlobalIndex block;
  int d;
  int key_d;       ///< the columns that selectors go by: the first of the d, without the zeros that wider values ask for
  double softcap;  ///< of the true scores; 0: none
  double slope;    ///< of ALiBi, where queries have places; 0: none
  /// The sum of the slopes of the heads that choose together.
  double slope_together;

  /// From a product with the key at `place` of the context to a score, as the fused path has it.
  float score_of(float product, std::size_t row, GlobalIndex place) const {
    float const score = capped(product, softcap);
    return slope == 0.0 ? score : biased(score, slope, static_cast<double>(place - queries.place[row]));
  }
  /// The true score of a row and a key.
  float score(std::size_t row, float const* key, GlobalIndex place) const {
    return score_of(product(&queries.q[row * d], key, d), row, place);
  }
  /// What slopes add to scores of some rows and this rank's keys.
  Alibi alibi_of(std::vector<int> const& rows) const {
    Alibi alibi{slope, {}};
    for (auto const row : rows) {
      if (slope != 0.0) alibi.places.push_back(queries.place[row] - shard.begin);
    }
    return alibi;
  }
};

/// A key of a row, which is asked for its score.
struct WantedScore {
  std::uint32_t key;  ///< of the sequence, in the shard; studies with selectors have at most most_places keys, below 2^32
  int row;
  WantedScore(GlobalIndex of_sequence, int of_batch) : key(static_cast<std::uint32_t>(of_sequence)), row(of_batch) {}
};

/// The scores q . k, each one chain of fused multiply-adds over the columns as on the fused path, softcapped and with slopes where true
/// ones are, in the order of `wanted`. estimate: not null for those of its copies of queries and keys in place of the true ones; its
/// entries are keys.
std::vector<float> scores_of(EntryRows const& rows, std::vector<WantedScore> const& wanted, ShardTensors<RunSpace>& tensors,
                             PhaseTimes& phases, Projection const* estimate = nullptr);

/// A kept key of a row, and the first budget that keeps it.
struct WantedOutput {
  GlobalIndex key;
  int row, budget;
};

/// Exact sums over kept keys, by what they are for.
struct KeptOutputs {
  std::size_t laws, budgets, width;  ///< width: d entries of e^{sigma (s - reference)} v, then the weight
  std::vector<std::int64_t> sums;    ///< (rows, laws, budgets, width), fixed point
};

/// references: (rows, budgets), the largest score of the keys that each budget adds.
void add_outputs(EntryRows const& rows, std::vector<WantedOutput> wanted, std::vector<double> const& sigmas,
                 std::vector<float> const& references, FixedPoint const& factor, ShardTensors<RunSpace>& tensors, KeptOutputs& outputs);

}  // namespace asymptop
