// Exact attention on the host, fused: scores, weights and their product with V never leave the cache.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "../core/math.hpp"
#include "../core/types.hpp"
#include "../core/work_split.hpp"
#include "../score/panel.hpp"
#include "../score/walk_panels.hpp"
#include "softmax_tree.hpp"
#include "weigh_panel.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// Keys of a leaf at most; a leaf is a block of the sequence where those are smaller.
inline constexpr int largest_leaf = score_strip;

/// softmax(sigma q K^T) V of a batch of rows over keys that arrive in pieces.
template <class Space>
class FusedAttention {
 public:
  /// Keys are counted from the first one of leaf `first_leaf`. ranges: keys from there on that rows see.
  FusedAttention(PackedQueries const& queries, int threads, int leaf_keys, std::int64_t first_leaf, KeyRanges ranges, float sigma = 1.0f)
      : queries_(queries),
        split_(split_work(threads, queries.panel_count())),
        leaf_(leaf_keys),
        columns_(simd::padded_columns(queries.d)),
        first_leaf_(first_leaf),
        sigma_(sigma),
        ranges_(std::move(ranges)),
        runs_(split_.key_parts, std::vector<SoftmaxRun>(queries.rows)),
        seen_(split_.key_parts, std::vector<std::int64_t>(queries.rows)),
        done_(queries.rows) {}

  /// Keys [first, first + count), packed, and their values (count, d). Pieces start at leaves and come in any order.
  template <class Between = NothingBetween>
  void add(Space const& space, float const* packed, float const* values, GlobalIndex first, int count, Between const& between = {}) {
    auto* self = this;
    auto const* poll = &between;
    Kokkos::parallel_for("Asymptop::attend::fused_attention",
                         Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, split_.workers()),
                         [=](int const worker) { self->work(worker, packed, values, first, count, *poll); });
    space.fence();
    // Each piece's parts join the runs of the pieces before, so that a run stays one run.
    if (split_.key_parts > 1) join_parts();
  }

  int columns() const { return columns_; }
  /// Subtrees of a row over the keys added so far.
  SoftmaxRun const& run(int row) const { return split_.key_parts > 1 ? done_[row] : runs_[0][row]; }
  /// Keys that went into a row's sums.
  std::int64_t seen(int row) const {
    std::int64_t keys = 0;
    for (auto const& part : seen_) keys += part[row];
    return keys;
  }
  void clear() {
    for (auto& part : seen_) std::fill(part.begin(), part.end(), 0);
    for (auto& part : runs_) {
      for (auto& run : part) run.clear();
    }
    for (auto& run : done_) run.clear();
  }

 private:
  template <class Between>
  void work(int worker, float const* packed, float const* values, GlobalIndex first, int count, Between const& between) {
    auto const part = worker / split_.row_parts;
    auto const keys = part_of(count, part, split_.key_parts, leaf_);
    std::vector<float> out(std::int64_t{panel_rows} * columns_);
    walk_panels(queries_, ranges_, packed, first, keys, leaf_, worker % split_.row_parts, split_.row_parts,
                [&](PanelStrip const& place, float* scores) {
                  leaf(part, place, scores, values + std::ptrdiff_t{place.begin} * queries_.d, out.data());
                  if (worker == 0) between();
                });
  }

  /// Rows that see nothing of a leaf get no node for it, and keys past those that any row of the panel sees are left out: their weights
  /// are 0, so a row's bits do not depend on its panel.
  void leaf(std::size_t part, PanelStrip const& place, float* scores, float const* values, float* out) {
    auto const& panel = place.panel;
    SoftmaxNode node[panel_rows];
    for (int r = 0; r < panel.rows; ++r) {
      node[r] = weigh(scores + r * score_strip, {place.from[r], place.seen[r]}, place.most);
      node[r].first = first_leaf_ + place.first / leaf_;
    }
    std::fill(out, out + panel.rows * columns_, 0.0f);
    simd::weigh_panel(panel.rows, scores, score_strip, values, queries_.d, place.most, out, columns_);
    for (int r = 0; r < panel.rows; ++r) {
      if (place.seen[r] == 0) continue;
      std::size_t const row = panel.first_row + r;
      runs_[part][row].push(node[r], out + r * columns_, columns_);
      seen_[part][row] += place.seen[r] - place.from[r];
    }
  }

  /// Scores become weights e^{sigma (s - max)} in place, 0 for keys that the row does not see. Lanes are summed in a fixed pattern of 64.
  SoftmaxNode weigh(float* scores, Part seen, int count) const {
    SoftmaxNode node;
    std::fill(scores, scores + seen.begin, -std::numeric_limits<float>::infinity());
    std::fill(scores + seen.end, scores + (count + 63) / 64 * 64, -std::numeric_limits<float>::infinity());
    if (seen.end == 0) {
      std::fill(scores, scores + count, 0.0f);
      return node;
    }
    constexpr int lanes = 64;
    float max[lanes], sum[lanes] = {};
    std::fill(max, max + lanes, -std::numeric_limits<float>::infinity());
    for (int j = 0; j < count; j += lanes) {
#pragma omp simd
      for (int l = 0; l < lanes; ++l) max[l] = scores[j + l] > max[l] ? scores[j + l] : max[l];
    }
    float const top = *std::max_element(max, max + lanes), sigma = sigma_;
    node.max = sigma * top;
    for (int j = 0; j < count; j += lanes) {
#pragma omp simd
      for (int l = 0; l < lanes; ++l) {
        float const w = exp_fp32(sigma * (scores[j + l] - top));
        scores[j + l] = w;
        sum[l] += w;
      }
    }
    for (int step = lanes / 2; step > 0; step /= 2) {
      for (int l = 0; l < step; ++l) sum[l] += sum[l + step];
    }
    node.weight = sum[0];
    return node;
  }

  void join_parts() {
    for (auto& part : runs_) {
      for (std::size_t row = 0; row < part.size(); ++row) {
        done_[row].push(part[row], columns_);
        part[row].clear();
      }
    }
  }

  PackedQueries const& queries_;
  WorkSplit split_;
  int leaf_, columns_;
  std::int64_t first_leaf_;
  float sigma_;
  KeyRanges ranges_;
  std::vector<std::vector<SoftmaxRun>> runs_;    ///< (key parts, rows)
  std::vector<std::vector<std::int64_t>> seen_;  ///< (key parts, rows)
  std::vector<SoftmaxRun> done_;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
