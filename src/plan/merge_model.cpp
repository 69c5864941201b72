#include "plan/merge_model.hpp"

#include <algorithm>
#include <cmath>

namespace asymptop {
namespace {

/// Candidates above the cuts of `threshold`, as a multiple of k; 1.44 at most.
constexpr double cut_excess = 1.1;

/// Bytes of a candidate from its own rank, of one that says which rank it is from, and of a row's length.
constexpr double candidate_bytes = 8.0, sourced_bytes = 10.0, length_bytes = 8.0;

/// Samples that `threshold` takes of a list.
double samples_of(double length) { return length <= 10.0 ? length : 10.0 + std::log(length / 10.0) / std::log(1.2); }

/// Candidates that pairwise merging of a row's lists writes.
double merged_candidates(double ranks, double list, double keep) {
  double candidates = 0.0;
  for (; ranks > 1.0; ranks = std::ceil(ranks / 2.0), list = std::min(keep, 2.0 * list))
    candidates += std::floor(ranks / 2.0) * std::min(keep, 2.0 * list);
  return candidates;
}

class Model {
 public:
  Model(MergeShape const& shape, Network const& network)
      : network_(network),
        ranks_(shape.ranks),
        rows_(shape.rows),
        keep_(std::min(shape.keep, shape.keys)),
        list_(std::min(shape.keep, shape.keys / ranks_)) {}

  MergeEstimate owner() {
    exchange(rows_ / ranks_ * (ranks_ - 1.0) * (length_bytes + candidate_bytes * list_));
    merge(rows_ / ranks_ * merged_candidates(ranks_, list_, keep_));
    return estimate_;
  }

  MergeEstimate root() {
    double const lists = rows_ * (length_bytes + candidate_bytes * list_);
    double const finished = rows_ / ranks_ * (ranks_ - 1.0) * (length_bytes + sourced_bytes * keep_);
    estimate_.bytes = (ranks_ - 1.0) * lists + finished;
    estimate_.bytes_per_rank = std::max(lists, finished);
    estimate_.messages = 2.0 * (ranks_ - 1.0);
    estimate_.rounds = 2.0;
    // All passes through rank 0.
    estimate_.seconds += 2.0 * round_seconds(ranks_ - 1.0) + seconds(estimate_.bytes, network_.bandwidth);
    merge(rows_ * merged_candidates(ranks_, list_, keep_));
    return estimate_;
  }

  MergeEstimate tree() {
    for (double half = 1.0; half < ranks_; half *= 2.0) {
      double const given = rows_ / (2.0 * half), length = std::min(keep_, half * list_);
      double const bytes = given * (length_bytes + (half == 1.0 ? candidate_bytes : sourced_bytes) * length);
      estimate_.bytes += ranks_ * bytes;
      estimate_.bytes_per_rank += bytes;
      estimate_.messages += ranks_;
      estimate_.rounds += 1.0;
      estimate_.seconds += round_seconds(1.0) + seconds(bytes, network_.bandwidth);
      merge(given * std::min(keep_, 2.0 * half * list_));
    }
    return estimate_;
  }

  MergeEstimate threshold() {
    double const candidates = std::min(ranks_ * list_, cut_excess * keep_), samples = samples_of(list_);
    double const rows = rows_ / ranks_ * (ranks_ - 1.0);
    exchange(rows * 4.0 * (1.0 + samples));
    exchange(rows * 8.0);
    exchange(rows * (length_bytes + candidate_bytes * candidates / ranks_));
    merge(rows_ / ranks_ * ranks_ * samples * std::log2(ranks_ * samples));  // sorting them
    merge(rows_ / ranks_ * merged_candidates(ranks_, candidates / ranks_, keep_));
    return estimate_;
  }

 private:
  static double seconds(double amount, double rate) { return rate > 0.0 ? amount / rate : 0.0; }
  double round_seconds(double messages) const { return network_.latency + (messages - 1.0) * network_.overhead; }

  /// Every rank sends this many bytes in all, to every other.
  void exchange(double bytes) {
    estimate_.bytes += ranks_ * bytes;
    estimate_.bytes_per_rank += bytes;
    estimate_.messages += ranks_ * (ranks_ - 1.0);
    estimate_.rounds += 1.0;
    estimate_.seconds += round_seconds(ranks_ - 1.0) + seconds(bytes, network_.bandwidth);
  }
  /// The busiest rank merges this many candidates.
  void merge(double candidates) { estimate_.seconds += seconds(candidates, network_.merge_rate); }

  Network const& network_;
  double ranks_, rows_, keep_, list_;
  MergeEstimate estimate_;
};

}  // namespace

MergeEstimate estimate_merge(MergeStrategy strategy, MergeShape const& shape, Network const& network) {
  if (shape.ranks <= 1) return {};
  Model model(shape, network);
  switch (strategy) {
    case MergeStrategy::root:
      return model.root();
    case MergeStrategy::tree:
      return model.tree();
    case MergeStrategy::threshold:
      return model.threshold();
    default:
      return model.owner();
  }
}

MergeStrategy choose_merge(MergeStrategy asked, MergeShape const& shape, Network const& network) {
  if (asked != MergeStrategy::automatic) return asked;
  auto best = MergeStrategy::owner;
  // Rank 0 must not run out of memory for a row of each owner, with lists of all ranks.
  constexpr double most_root_bytes = 3e7;
  double const ranks = shape.ranks, root_bytes = candidate_bytes * ranks * ranks * shape.keep;
  for (auto const strategy : all_merge_strategies) {
    if (strategy == MergeStrategy::root && root_bytes > most_root_bytes) continue;
    if (estimate_merge(strategy, shape, network).seconds < estimate_merge(best, shape, network).seconds) best = strategy;
  }
  return best;
}

}  // namespace asymptop
