// Per-row heads of a streaming top-k on the host: scores and indices in two arrays, filled by vector compares.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../core/candidate.hpp"
#include "../core/simd.hpp"
#include "../core/types.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// In which order a row's keys arrive. Ascending: of equal scores the earlier is the better, and a later key that equals a row's threshold
/// may be dropped once enough are held. Any: equal scores are told apart by their indices.
enum class KeyOrder { ascending, any };

/// The `keep` largest scores seen so far of each row, and some more.
class RowHeads {
  using Space = Kokkos::HostSpace;

 public:
  RowHeads() = default;
  /// `burst`: most scores that one add() may bring; `slack`: scores past `keep` that a row may hold before it is pruned. Memory is touched
  /// only as rows fill.
  RowHeads(int rows, int keep, int burst) : RowHeads(rows, keep, burst, std::max(keep / 2, 2048)) {}
  RowHeads(int rows, int keep, int burst, int slack, KeyOrder order = KeyOrder::ascending)
      : keep_(keep),
        order_(order),
        capacity_(std::int64_t{keep} + slack + burst),
        stride_(capacity_ + simd::width),
        scores_(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::topk::head_scores"), rows * stride_),
        indices_(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::topk::head_indices"), rows * stride_),
        fill_(rows, 0),
        threshold_(rows, -std::numeric_limits<float>::infinity()),
        burst_(burst) {}

  /// As if newly made.
  void clear() {
    std::fill(fill_.begin(), fill_.end(), std::size_t{0});
    std::fill(threshold_.begin(), threshold_.end(), -std::numeric_limits<float>::infinity());
  }

  /// A guess at the row's keep-th largest score: scores up to it are not taken. The caller must see to it that enough are taken in the end.
  void guess_threshold(int row, float score) { threshold_[row] = score; }

  /// Scores up to it are not taken.
  float threshold(int row) const { return threshold_[row]; }

  int size(int row) const { return static_cast<int>(fill_[row]); }
  float const* scores(int row) const { return scores_.data() + row * stride_; }
  std::int32_t const* indices(int row) const { return indices_.data() + row * stride_; }

  /// Offers scores of keys first, first + 1, ... to a row; `scores` may be read up to the next multiple of the vector width.
  void add(int row, float const* scores, int count, LocalIndex first) {
    std::size_t const r = row;
    if (fill_[r] + burst_ > capacity_) prune(row);
    using namespace simd;
    Floats const threshold = broadcast(threshold_[r]);
    Ints lane{};
    for (int l = 0; l < width; ++l) lane[l] = l;
    float* const to_scores = scores_.data() + r * stride_;
    std::int32_t* const to_indices = indices_.data() + r * stride_;
    std::size_t fill = fill_[r];
    for (int j = 0; j < count; j += width) {
      Floats const s = load(scores + j);
      LaneMask mask = above(s, threshold);
      if (j + width > count) mask &= first_lanes(count - j);
      if (mask == 0) continue;
      compress(to_scores + fill, s, mask);
      std::int32_t const key = first + j;
      compress(to_indices + fill, lane + broadcast(key), mask);
      fill += std::popcount(mask);
    }
    fill_[r] = fill;
  }

  /// A score will be offered to the row soon: where it would go is fetched meanwhile.
  void expect(int row) const {
    std::size_t const r = row, at = r * stride_ + fill_[r];
    __builtin_prefetch(scores_.data() + at, 1);
    __builtin_prefetch(indices_.data() + at, 1);
  }

  /// Offers one score; the row's keys come in ascending order here too.
  void add(int row, float score, LocalIndex key) {
    std::size_t const r = row;
    if (fill_[r] + burst_ > capacity_) prune(row);
    auto const at = r * stride_ + fill_[r];
    // Written in any case: whether a score is taken is hard to predict.
    scores_.data()[at] = score;
    indices_.data()[at] = key;
    fill_[r] += score > threshold_[r] ? 1u : 0u;
  }

  /// Prunes a row that holds more than its slack allows between two bursts, so that its threshold is a recent one.
  void settle(int row) {
    if (fill_[row] + burst_ > capacity_) prune(row);
  }

  /// Keeps the best `keep` of a row that has more, in the order they came, and raises its threshold to the worst of them, or to just
  /// below it where an equal score may still come with a smaller index.
  void prune(int row) {
    std::size_t const r = row, count = fill_[r], keep = keep_;
    if (count <= keep) return;
    float* const scores = scores_.data() + r * stride_;
    std::int32_t* const indices = indices_.data() + r * stride_;
    std::size_t ties = 0;
    float const bound = kth_largest(scores, count, keep, ties);
    using namespace simd;
    Floats const threshold = broadcast(bound);
    if (order_ == KeyOrder::any) move_best_ties_ahead(scores, indices, count, bound, ties);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count; i += width) {
      Floats const s = load(scores + i);
      LaneMask const seen = first_lanes(count - i);
      LaneMask mask = above(s, threshold) & seen;
      // Of those that equal the bound only the first ones stay.
      for (LaneMask equal = ~(above(s, threshold) | above(threshold, s)) & seen; equal != 0 && ties > 0; equal &= equal - 1) {
        mask |= equal & (0u - equal);
        --ties;
      }
      Ints const index = load(indices + i);  // before the writes below may reach it
      compress(scores + kept, s, mask);
      compress(indices + kept, index, mask);
      kept += std::popcount(mask);
    }
    fill_[r] = kept;
    threshold_[r] = order_ == KeyOrder::any ? std::nextafter(bound, -std::numeric_limits<float>::infinity()) : bound;
  }

  /// The keep-th largest of `count` > keep > 0 numbers, and in `ties` how many of those equal to it are among the keep largest.
  /// Radix selection: numbers are counted in equal pieces of the range of their ordered bits, and only the piece that holds the answer is
  /// looked at again.
  static float kth_largest(float const* numbers, std::size_t count, std::size_t keep, std::size_t& ties) {
    static thread_local std::vector<std::uint32_t> keys;
    keys.resize(count);
    std::uint32_t low = ~0u, high = 0;
    for (std::size_t i = 0; i < count; ++i) {
      std::uint32_t const key = ordered_bits(numbers[i]);
      keys[i] = key;
      low = key < low ? key : low;
      high = key > high ? key : high;
    }
    std::size_t wanted = keep;
    constexpr int most_pieces_log2 = 12;
    std::uint32_t histogram[1u << most_pieces_log2];
    while (low != high) {
      // Pieces of a few numbers each: to clear and add up many more would cost more than the numbers themselves.
      int const pieces_log2 = std::clamp(std::numeric_limits<std::size_t>::digits - 1 - std::countl_zero(keys.size()), 4, most_pieces_log2);
      int const width = std::bit_width(high - low), shift = std::max(0, width - pieces_log2);
      std::fill_n(histogram, std::size_t{1} << pieces_log2, 0u);
      for (auto const key : keys) ++histogram[(high - key) >> shift];
      std::uint32_t piece = 0;
      while (histogram[piece] < wanted) wanted -= histogram[piece++];
      std::uint32_t const piece_high = high - (piece << shift), size = shift == 0 ? 0u : (1u << shift) - 1u;
      std::size_t inside = 0;
      std::uint32_t next_low = ~0u, next_high = 0;
      for (auto const key : keys) {
        bool const in = piece_high - key <= size;
        keys[inside] = key;
        inside += in ? 1u : 0u;
        if (in) {
          next_low = std::min(next_low, key);
          next_high = std::max(next_high, key);
        }
      }
      keys.resize(inside);
      low = next_low;
      high = next_high;
    }
    ties = wanted;
    return from_ordered_bits(low);
  }

 private:
  /// Among entries of score `bound`, puts the `ties` of smallest index before the others; places of other scores stay.
  static void move_best_ties_ahead(float const* scores, std::int32_t* indices, std::size_t count, float bound, std::size_t ties) {
    static thread_local std::vector<LocalIndex> equal;
    equal.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if (scores[i] == bound) equal.push_back(indices[i]);
    }
    if (equal.size() <= ties) return;
    std::nth_element(equal.begin(), equal.begin() + ties, equal.end());
    std::size_t next = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (scores[i] == bound) indices[i] = equal[next++];
    }
  }

  int keep_ = 0;
  KeyOrder order_ = KeyOrder::ascending;
  std::size_t capacity_ = 0, stride_ = 0;
  Vector<Space, float> scores_;
  Vector<Space, std::int32_t> indices_;
  std::vector<std::size_t> fill_;
  std::vector<float> threshold_;
  std::size_t burst_ = 0;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
