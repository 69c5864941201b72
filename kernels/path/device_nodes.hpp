// Nodes of the softmax tree of all rows at once, in the memory of a GPU: what attend/softmax_tree.hpp's SoftmaxRun is for a row on a host.
#pragma once

#ifdef ASYMPTOP_DEVICE

#include <Kokkos_Core.hpp>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "../core/counts.hpp"
#include "../device/attention.hpp"
#include "../device/memory.hpp"

namespace asymptop {

/// Subtrees over units of keys that lie apart, in the order of the sequence. Siblings become their parent as soon as both are there.
class DeviceNodes {
 public:
  /// A subtree: 2^level units from `unit` on. Units of the end of a sequence count as whole ones.
  struct Node {
    std::int64_t unit;
    int level;
    device::Memory memory;
  };

  DeviceNodes(std::size_t rows, int d) : rows_(rows), d_(d) {}
  std::size_t rows() const { return rows_; }
  int d() const { return d_; }
  std::vector<Node> const& all() const { return nodes_; }
  void clear() { nodes_.clear(); }

  /// Bytes of so many units of rows, and the places in them.
  std::size_t bytes_of(std::size_t rows, int units) const { return rows * units * (d_ + 3) * sizeof(float); }
  device::AttentionNodes at(float* memory, std::size_t rows, int units) const {
    auto const each = rows * units;
    return {memory, memory + each, reinterpret_cast<int*>(memory + 2 * each), memory + 3 * each, checked_int(rows), units, d_};
  }
  /// Room for a node of all rows.
  device::Memory room() const { return device::Memory(bytes_of(rows_, 1)); }
  /// Rows [first, first + count) of a node.
  device::AttentionNodes part(Node const& node, std::size_t first, std::size_t count) const {
    auto part = at(node.memory.template as<float>(), rows_, 1);
    part.max += first;
    part.weight += first;
    part.seen += first;
    part.values += first * d_;
    part.rows = checked_int(count);
    return part;
  }

  void insert(Node node) {
    auto at = nodes_.size();
    while (at > 0 && nodes_[at - 1].unit > node.unit) --at;
    nodes_.insert(nodes_.begin() + at, std::move(node));
    for (;;) {
      if (at + 1 < nodes_.size() && are_siblings(nodes_[at], nodes_[at + 1])) {
        join(at);
      } else if (at > 0 && are_siblings(nodes_[at - 1], nodes_[at])) {
        join(--at);
      } else {
        break;
      }
    }
  }
  /// Joins what is left, from the end, and brings what the rows end with to the host: (rows, d) outputs, logarithms of sums and counts of
  /// keys. False where there is no node.
  template <class Space>
  bool finish(Space const& space, float* output, double* log_sum_exp, std::int64_t* keys_seen) {
    if (nodes_.empty()) return false;
    while (nodes_.size() > 1) join(nodes_.size() - 2);
    auto const all = part(nodes_[0], 0, rows_);
    device::Memory const outputs(rows_ * d_ * sizeof(float));
    device::attention_outputs(nullptr, all, outputs.as<float>());
    device::download(nullptr, output, outputs.as<float>(), outputs.bytes());
    std::vector<float> numbers(2 * rows_);  // max, then weight
    std::vector<int> seen(rows_);
    device::download(nullptr, numbers.data(), all.max, numbers.size() * sizeof(float));
    device::download(nullptr, seen.data(), all.seen, rows_ * sizeof(int));
    auto const *const found = numbers.data(), *const weights = found + rows_;
    auto const* const counts = seen.data();
    auto const finish_row = [=](std::size_t const row) {
      log_sum_exp[row] = found[row] + std::log(double{weights[row]});
      keys_seen[row] = counts[row];
    };
    constexpr std::size_t few = 4096;  // done before other threads would have begun
    if (rows_ <= few) {
      for (std::size_t row = 0; row < rows_; ++row) finish_row(row);
    } else {
      Kokkos::parallel_for("Asymptop::path::log_sum_exp", Kokkos::RangePolicy<Space>(space, 0, rows_), finish_row);
      space.fence();
    }
    return true;
  }

 private:
  static bool are_siblings(Node const& left, Node const& right) {
    return left.level == right.level && (left.unit >> left.level) % 2 == 0 && left.unit + (std::int64_t{1} << left.level) == right.unit;
  }
  void join(std::size_t at) {
    device::join_nodes(nullptr, part(nodes_[at], 0, rows_), part(nodes_[at + 1], 0, rows_));
    ++nodes_[at].level;
    nodes_.erase(nodes_.begin() + at + 1);
  }

  std::size_t rows_;
  int d_;
  std::vector<Node> nodes_;
};

}  // namespace asymptop

#endif
