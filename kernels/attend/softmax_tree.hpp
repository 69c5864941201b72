// Partial attention sums of runs of keys, combined along one fixed binary tree over the sequence.
//
// The sequence is cut into leaves of a fixed number of keys. A node is a subtree of 2^level leaves: M = max s, Z = sum e^{s - M} and
// O = sum e^{s - M} v. Two siblings become their parent by log-sum-exp; whoever holds both siblings combines them, so threads and ranks
// reduce what lies within their runs and only maximal subtrees travel. Which pairs are added is a matter of the sequence alone: the result
// has the same bits for any split of the keys.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/math.hpp"

namespace asymptop {

struct SoftmaxNode {
  std::int64_t first = 0;  ///< leaf number of its first leaf
  std::int32_t level = 0;  ///< covers 2^level leaves
  float max = -std::numeric_limits<float>::infinity();
  float weight = 0.0f;  ///< Z
};

/// Nodes of one row's run of leaves, in ascending order: at most two per level.
class SoftmaxRun {
 public:
  /// Appends the node that follows the last one, with its `columns` values, and combines siblings.
  void push(SoftmaxNode const& node, float const* values, int columns) {
    nodes_.push_back(node);
    values_.insert(values_.end(), values, values + columns);
    while (nodes_.size() > 1 && are_siblings(nodes_[nodes_.size() - 2], nodes_.back())) combine_last_two(columns);
  }

  /// What is left when all leaves of the sequence are in: folds the smaller subtrees at the end into the larger ones before them.
  void finish(int columns) {
    while (nodes_.size() > 1) combine_last_two(columns);
  }

  std::vector<SoftmaxNode> const& nodes() const { return nodes_; }
  float const* values(std::size_t node, int columns) const { return values_.data() + node * static_cast<std::size_t>(columns); }
  void clear() {
    nodes_.clear();
    values_.clear();
  }

 private:
  static bool are_siblings(SoftmaxNode const& left, SoftmaxNode const& right) {
    return left.level == right.level && (left.first >> left.level) % 2 == 0 && left.first + (std::int64_t{1} << left.level) == right.first;
  }

  void combine_last_two(int columns) {
    auto const width = static_cast<std::size_t>(columns);
    auto const& right = nodes_.back();
    auto& left = nodes_[nodes_.size() - 2];
    float const max = left.max > right.max ? left.max : right.max;
    // A subtree without visible keys has weight 0 and max -inf; it must not make -inf - -inf.
    float const l = left.weight > 0.0f ? exp_fp32(left.max - max) : 0.0f, r = right.weight > 0.0f ? exp_fp32(right.max - max) : 0.0f;
    float* a = values_.data() + values_.size() - 2 * width;
    float const* b = a + width;
    for (std::size_t c = 0; c < width; ++c) a[c] = a[c] * l + b[c] * r;
    left.weight = left.weight * l + right.weight * r;
    left.max = max;
    ++left.level;
    nodes_.pop_back();
    values_.resize(values_.size() - width);
  }

  std::vector<SoftmaxNode> nodes_;
  std::vector<float> values_;
};

}  // namespace asymptop
