// What the global selection costs by each strategy: messages, bytes, and seconds from a model with measured rates.
#pragma once

#include "config/merge_strategy.hpp"

namespace asymptop {

/// Rates among the ranks of a run, as measured at its start; zeros for a rank alone.
struct Network {
  double latency = 0.0;     ///< seconds of a round in which every rank sends one small message
  double overhead = 0.0;    ///< seconds that every further small message of a round costs
  double bandwidth = 0.0;   ///< bytes per second that each rank sends while all do
  double merge_rate = 0.0;  ///< candidates per second that a rank merges, one thread
};

/// One merge of `rows` rows of `keep` candidates out of `keys` keys.
struct MergeShape {
  int ranks;
  double rows, keep, keys;
};

struct MergeEstimate {
  double seconds = 0.0;
  double bytes = 0.0;           ///< sent by all ranks together
  double bytes_per_rank = 0.0;  ///< sent by the rank that sends most
  double messages = 0.0;        ///< of all ranks together
  double rounds = 0.0;
};

/// Nothing for one rank. `strategy` is not automatic; of `device`, the estimate of `owner`, whose messages it has: an upper bound where
/// GPUs have a network of their own.
MergeEstimate estimate_merge(MergeStrategy strategy, MergeShape const& shape, Network const& network);

/// The strategy asked for; the fastest by estimate for `automatic`.
MergeStrategy choose_merge(MergeStrategy asked, MergeShape const& shape, Network const& network);

}  // namespace asymptop
