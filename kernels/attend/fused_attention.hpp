// Exact attention on the host, fused: scores, weights and their product with V never leave the cache.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "attend/softmax_tree.hpp"
#include "attend/weigh_panel.hpp"
#include "core/math.hpp"
#include "core/types.hpp"
#include "core/work_split.hpp"
#include "score/panel.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// Keys of a leaf at most; a leaf is a block of the sequence where those are smaller.
inline constexpr int largest_leaf = 512;

/// softmax(q K^T) V of a batch of rows over a shard that arrives in pieces.
template <class Space>
class FusedAttention {
 public:
  /// first_leaf: leaf number of the shard's first key, which starts a leaf. limit[i]: keys of the shard that row i sees.
  FusedAttention(PackedQueries const& queries, int threads, int leaf_keys, std::int64_t first_leaf, std::vector<std::int64_t> limit)
      : queries_(queries),
        split_(split_work(threads, static_cast<int>(queries.panels.size()))),
        leaf_(leaf_keys),
        columns_(simd::padded_columns(queries.d)),
        first_leaf_(first_leaf),
        limit_(std::move(limit)),
        runs_(static_cast<std::size_t>(split_.key_parts), std::vector<SoftmaxRun>(static_cast<std::size_t>(queries.rows))),
        done_(static_cast<std::size_t>(queries.rows)) {}

  /// Keys [first, first + count) of the shard, packed, and their values (count, d). Pieces come in ascending order and start at leaves.
  void add(Space const& space, float const* packed, float const* values, LocalIndex first, int count) {
    auto* self = this;
    Kokkos::parallel_for("Asymptop::attend::fused_attention",
                         Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, split_.workers()),
                         [=](int const worker) { self->work(worker, packed, values, first, count); });
    space.fence();
    // Each piece's parts join the runs of the pieces before, so that a run stays one run.
    if (split_.key_parts > 1) join_parts();
  }

  int columns() const { return columns_; }
  /// Subtrees of a row over the keys added so far.
  SoftmaxRun const& run(int row) const {
    return split_.key_parts > 1 ? done_[static_cast<std::size_t>(row)] : runs_[0][static_cast<std::size_t>(row)];
  }
  void clear() {
    for (auto& part : runs_) {
      for (auto& run : part) run.clear();
    }
    for (auto& run : done_) run.clear();
  }

 private:
  struct alignas(64) Strip {
    float scores[panel_rows * largest_leaf];
  };

  void work(int worker, float const* packed, float const* values, LocalIndex first, int count) {
    auto const panels = part_of(static_cast<int>(queries_.panels.size()), worker % split_.row_parts, split_.row_parts);
    auto const part = worker / split_.row_parts;
    auto const keys = part_of(count, part, split_.key_parts, leaf_);
    Strip strip;
    std::vector<float> out(static_cast<std::size_t>(panel_rows) * static_cast<std::size_t>(columns_));
    for (int begin = keys.begin; begin < keys.end; begin += leaf_) {
      int const here = std::min(leaf_, keys.end - begin);
      float const* leaf_values = values + static_cast<std::ptrdiff_t>(begin) * queries_.d;
      for (int p = panels.begin; p < panels.end; ++p) {
        auto const& panel = queries_.panels[static_cast<std::size_t>(p)];
        simd::score_panel_of(panel.rows)(&queries_.data[panel.offset], packed + static_cast<std::ptrdiff_t>(begin) * queries_.d,
                                         (here + key_group - 1) / key_group, queries_.d, strip.scores, largest_leaf);
        leaf(static_cast<std::size_t>(part), panel, strip.scores, leaf_values, first + static_cast<LocalIndex>(begin), here, out.data());
      }
    }
  }

  void leaf(std::size_t part, PackedQueries::Panel const& panel, float* scores, float const* values, LocalIndex first, int count,
            float* out) {
    SoftmaxNode node[panel_rows];
    for (int r = 0; r < panel.rows; ++r) {
      auto const left = limit_[static_cast<std::size_t>(panel.first_row + r)] - static_cast<std::int64_t>(first);
      node[r] = weigh(scores + r * largest_leaf, static_cast<int>(std::clamp<std::int64_t>(left, 0, count)), count);
      node[r].first = first_leaf_ + static_cast<std::int64_t>(first) / leaf_;
    }
    std::fill(out, out + panel.rows * columns_, 0.0f);
    simd::weigh_panel(panel.rows, scores, largest_leaf, values, queries_.d, count, out, columns_);
    for (int r = 0; r < panel.rows; ++r)
      runs_[part][static_cast<std::size_t>(panel.first_row + r)].push(node[r], out + r * columns_, columns_);
  }

  /// Scores become weights e^{s - max} in place, 0 for keys that the row does not see. Lanes are summed in a fixed pattern of 64.
  static SoftmaxNode weigh(float* scores, int seen, int count) {
    SoftmaxNode node;
    std::fill(scores + seen, scores + (count + 63) / 64 * 64, -std::numeric_limits<float>::infinity());
    if (seen == 0) {
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
    node.max = *std::max_element(max, max + lanes);
    float const top = node.max;
    for (int j = 0; j < count; j += lanes) {
#pragma omp simd
      for (int l = 0; l < lanes; ++l) {
        float const w = exp_fp32(scores[j + l] - top);
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
        for (std::size_t i = 0; i < part[row].nodes().size(); ++i)
          done_[row].push(part[row].nodes()[i], part[row].values(i, columns_), columns_);
        part[row].clear();
      }
    }
  }

  PackedQueries const& queries_;
  WorkSplit split_;
  int leaf_, columns_;
  std::int64_t first_leaf_;
  std::vector<std::int64_t> limit_;
  std::vector<std::vector<SoftmaxRun>> runs_;  ///< (key parts, rows)
  std::vector<SoftmaxRun> done_;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
