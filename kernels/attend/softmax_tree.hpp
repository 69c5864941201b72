// Partial attention sums of runs of keys, combined along one fixed binary tree over the sequence.
//
// The sequence is cut into leaves of a fixed number of keys. A node is a subtree of 2^level leaves: M = max s, Z = sum e^{s - M} and
// O = sum e^{s - M} v. Two siblings become their parent by log-sum-exp; whoever holds both siblings combines them, so threads and ranks
// reduce what lies within their runs and only maximal subtrees travel. Which pairs are added is a matter of the sequence alone: the result
// has the same bits for any split of the keys.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "../core/math.hpp"

namespace asymptop {

struct SoftmaxNode {
  std::int64_t first = 0;  ///< leaf number of its first leaf
  std::int32_t level = 0;  ///< covers 2^level leaves
  float max = -std::numeric_limits<float>::infinity();
  float weight = 0.0f;  ///< Z
};

/// Subtrees of one row, in ascending order: at most two per level for each run of leaves without a gap.
class SoftmaxRun {
 public:
  /// Adds a subtree that overlaps none of those before, wherever it lies, with its `columns` values. Siblings become their parent.
  void push(SoftmaxNode const& node, float const* values, int columns) {
    auto at = nodes_.size();
    while (at > 0 && nodes_[at - 1].first > node.first) --at;  // most come in ascending order
    auto const slot = take_slot(columns);
    std::copy_n(values, columns, values_.begin() + std::ptrdiff_t{slot} * columns);
    nodes_.insert(nodes_.begin() + at, node);
    slots_.insert(slots_.begin() + at, slot);
    for (;;) {
      if (at + 1 < nodes_.size() && are_siblings(nodes_[at], nodes_[at + 1])) {
        combine_with_next(at, columns);
      } else if (at > 0 && are_siblings(nodes_[at - 1], nodes_[at])) {
        combine_with_next(--at, columns);
      } else {
        break;
      }
    }
  }

  /// Adds all subtrees of another run of the same row.
  void push(SoftmaxRun const& run, int columns) {
    for (std::size_t i = 0; i < run.nodes_.size(); ++i) push(run.nodes_[i], run.values(i, columns), columns);
  }

  /// What is left when all leaves of the sequence are in: folds the smaller subtrees at the end into the larger ones before them.
  void finish(int columns) {
    while (nodes_.size() > 1) combine_with_next(nodes_.size() - 2, columns);
  }

  std::vector<SoftmaxNode> const& nodes() const { return nodes_; }
  float const* values(std::size_t node, int columns) const { return values_.data() + std::size_t{slots_[node]} * columns; }
  void clear() {
    nodes_.clear();
    slots_.clear();
    free_.clear();
    values_.clear();
  }

 private:
  using Slot = std::uint32_t;  ///< where a node's values are: they stay in place while nodes move

  static bool are_siblings(SoftmaxNode const& left, SoftmaxNode const& right) {
    return left.level == right.level && (left.first >> left.level) % 2 == 0 && left.first + (std::int64_t{1} << left.level) == right.first;
  }

  Slot take_slot(int columns) {
    if (!free_.empty()) {
      auto const slot = free_.back();
      free_.pop_back();
      return slot;
    }
    auto const slot = static_cast<Slot>(nodes_.size());  // all slots are taken
    values_.resize(values_.size() + columns);
    return slot;
  }

  /// Node `at` and the one after it become one. Always left op right, whichever came first.
  void combine_with_next(std::size_t at, int columns) {
    std::size_t const width = columns;
    auto& left = nodes_[at];
    auto const& right = nodes_[at + 1];
    float const max = left.max > right.max ? left.max : right.max;
    // A subtree without visible keys has weight 0 and max -inf; it must not make -inf - -inf.
    float const l = left.weight > 0.0f ? exp_fp32(left.max - max) : 0.0f, r = right.weight > 0.0f ? exp_fp32(right.max - max) : 0.0f;
    float* a = values_.data() + slots_[at] * width;
    float const* b = values_.data() + slots_[at + 1] * width;
    for (std::size_t c = 0; c < width; ++c) a[c] = a[c] * l + b[c] * r;
    left.weight = left.weight * l + right.weight * r;
    left.max = max;
    ++left.level;
    free_.push_back(slots_[at + 1]);
    nodes_.erase(nodes_.begin() + at + 1);
    slots_.erase(slots_.begin() + at + 1);
  }

  std::vector<SoftmaxNode> nodes_;
  std::vector<Slot> slots_, free_;
  std::vector<float> values_;
};

}  // namespace asymptop
