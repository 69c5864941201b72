// Scores of a trained indexer, I_j = sum_h w_h ReLU(q_h . k_j) over its heads h, step by step of a walk over the keys.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "draw/orders/key_scores.hpp"
#include "kernels/select/selector.hpp"

namespace asymptop {

/// Products are chains of fused multiply-adds over the columns; heads are added in ascending order, each by one fused multiply-add.
class IndexScores {
 public:
  /// positions: of the rows in the text. Each rank reads their index queries itself, and its keys at every step.
  IndexScores(TrainedIndex const& index, TensorOrigin const& origin, Range const& shard, std::vector<std::int64_t> const& positions,
              int step)
      : tensors_(origin.file->index(index.name)),
        head_(origin.head),
        begin_(origin.first + shard.begin),
        rectified_(index.rectified),
        products_("Asymptop::select::index_products", positions.size(), (step + key_group - 1) / key_group * key_group) {
    std::size_t const d = tensors_.d(), heads = tensors_.heads(), rows = positions.size();
    std::vector<float> queries(heads * rows * d), one(heads * d);
    weights_.resize(heads * rows);
    for (std::size_t i = 0; i < rows; ++i) {
      tensors_.read_queries(head_, positions[i], 1, one.data());
      for (std::size_t h = 0; h < heads; ++h) std::copy_n(&one[h * d], d, &queries[(h * rows + i) * d]);
      tensors_.read_weights(head_, positions[i], 1, one.data());
      for (std::size_t h = 0; h < heads; ++h) weights_[h * rows + i] = one[h];
    }
    for (std::size_t h = 0; h < heads; ++h) queries_.emplace_back(&queries[h * rows * d], int_size(positions), checked_int(tensors_.d()));
    keys_.resize(step * d);
    packed_.resize(packed_size(step, checked_int(tensors_.d())));
  }

  /// Of keys [first, first + count) of the shard; out: (rows, at least count).
  void find(LocalIndex first, int count, HostScores const& out) {
    Kokkos::DefaultHostExecutionSpace const space;
    int const d = checked_int(tensors_.d()), rows = products_.extent_int(0);
    tensors_.read_keys(head_, begin_ + first, count, keys_.data());
    pack_keys(keys_.data(), count, d, packed_.data());
    for (std::size_t h = 0; h < queries_.size(); ++h) {
      score_packed(space, queries_[h], packed_.data(), count, products_);
      space.fence();
      Kokkos::parallel_for("Asymptop::select::index", Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, rows), [&](int const i) {
        float const weight = weights_[h * rows + i], lowest = rectified_ ? 0.0f : -INFINITY;
        float const* const product = &products_(i, 0);
        float* const to = &out(i, 0);
        if (h == 0) std::fill_n(to, count, 0.0f);
#pragma omp simd
        for (int j = 0; j < count; ++j) to[j] = std::fma(weight, std::max(product[j], lowest), to[j]);
      });
      space.fence();
    }
  }

 private:
  IndexTensors const& tensors_;
  std::int64_t head_;
  GlobalIndex begin_;
  bool rectified_;
  std::vector<PackedQueries> queries_;  ///< per index head
  std::vector<float> weights_;          ///< (index heads, rows)
  std::vector<float> keys_, packed_;
  HostScores products_;
};

}  // namespace asymptop
