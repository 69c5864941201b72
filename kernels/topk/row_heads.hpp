// Per-row heads of a streaming top-k on the host: packed candidates, found by vector compares.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "../core/candidate.hpp"
#include "../core/huge_pages.hpp"
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
        entries_(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::topk::heads"), rows * stride_),
        rows_(rows),
        burst_(burst) {
    // Scores of one key go to rows that lie pages apart. Of few rows each page is met again soon.
    if (rows > few_rows) prefer_huge_pages(entries_.data(), entries_.span() * sizeof(PackedCandidate));
  }

  /// As if newly made.
  void clear() { std::fill(rows_.begin(), rows_.end(), Row{}); }

  /// A guess at the row's keep-th largest score: scores up to it are not taken. The caller must see to it that enough are taken in the end.
  void guess_threshold(int row, float score) { rows_[row].threshold = score; }

  /// Scores up to it are not taken.
  float threshold(int row) const { return rows_[row].threshold; }

  /// What a row holds, `size` of them: in the order they came.
  int size(int row) const { return static_cast<int>(rows_[row].fill); }
  PackedCandidate const* entries(int row) const { return entries_.data() + row * stride_; }

  /// Offers scores of keys first, first + 1, ... to a row; `scores` may be read up to the next multiple of the vector width.
  void add(int row, float const* scores, int count, LocalIndex first) {
    settle(row);
    using namespace simd;
    auto& of = rows_[row];
    Floats const threshold = broadcast(of.threshold);
    Ints lane{};
    for (int l = 0; l < width; ++l) lane[l] = l;
    auto* to = entries_.data() + row * stride_ + of.fill;
    auto const* const begin = to;
    for (int j = 0; j < count; j += width) {
      Floats const s = load(scores + j);
      LaneMask mask = above(s, threshold);
      if (j + width > count) mask &= first_lanes(count - j);
      if (mask == 0) continue;
      alignas(64) std::int32_t taken[width] = {}, keys[width] = {};
      compress(taken, bits_of(s), mask);
      std::int32_t const key = first + j;
      compress(keys, lane + broadcast(key), mask);
      for (int l = 0; l < width; ++l) to[l] = pack(bit_cast<float>(taken[l]), keys[l]);
      to += std::popcount(mask);
    }
    of.fill += to - begin;
  }

  /// A score will be offered to the row soon: where it would go is fetched meanwhile.
  void expect(int row) const { __builtin_prefetch(entries_.data() + row * stride_ + rows_[row].fill, 1); }

  /// Offers one score; the row's keys come in ascending order here too.
  void add(int row, float score, LocalIndex key) { add(&row, &score, &key, 1); }

  /// Offers scores[i] of key keys[i] to rows[i] for `count` of them, as if one by one.
  void add(int const* rows, float const* scores, LocalIndex const* keys, std::size_t count) {
    // Held apart, because stores of candidates might be to any number of this class.
    auto* const entries = entries_.data();
    auto* const of = rows_.data();
    auto const stride = stride_, most = capacity_ - burst_;
    for (std::size_t i = 0; i < count; ++i) {
      auto& row = of[rows[i]];
      if (row.fill > most) [[unlikely]]
        prune(rows[i]);
      // Written in any case: whether a score is taken is hard to predict.
      entries[rows[i] * stride + row.fill] = pack(scores[i], keys[i]);
      row.fill += scores[i] > row.threshold ? 1u : 0u;
    }
  }

  /// Prunes a row that holds more than its slack allows between two bursts, so that its threshold is a recent one.
  void settle(int row) {
    if (rows_[row].fill + burst_ > capacity_) [[unlikely]]
      prune(row);
  }

  /// Keeps the best `keep` of a row that has more, in the order they came, and raises its threshold to the worst of them, or to just
  /// below it where an equal score may still come with a smaller index.
  void prune(int row) {
    std::size_t const count = rows_[row].fill, keep = keep_;
    if (count <= keep) return;
    auto* const entries = entries_.data() + row * stride_;
    PackedCandidate const bound = kth_largest(entries, count, keep);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count; ++i) {
      auto const entry = entries[i];
      entries[kept] = entry;
      kept += entry >= bound ? 1u : 0u;
    }
    float const score = score_of(bound);
    rows_[row] = {kept, order_ == KeyOrder::any ? std::nextafter(score, -std::numeric_limits<float>::infinity()) : score};
  }

  /// A bound that exactly `keep` of `count` > keep > 0 distinct candidates reach, with the score of the worst of them.
  /// Radix selection: scores are counted in equal pieces of the range of their ordered bits, and only the piece that holds the answer is
  /// looked at again.
  static PackedCandidate kth_largest(PackedCandidate const* candidates, std::size_t count, std::size_t keep) {
    static thread_local std::vector<std::uint32_t> room;
    room.resize(count + simd::width);
    auto* const keys = room.data();
    std::uint32_t low = ~0u, high = 0;
    for (std::size_t i = 0; i < count; ++i) {
      std::uint32_t const key = score_bits_of(candidates[i]);
      keys[i] = key;
      low = key < low ? key : low;
      high = key > high ? key : high;
    }
    std::size_t wanted = keep, left = count;
    constexpr int most_pieces_log2 = 12;
    std::uint32_t histogram[1u << most_pieces_log2];
    while (low != high) {
      // Pieces of a few numbers each: to clear and add up many more would cost more than the numbers themselves.
      int const pieces_log2 = std::clamp(std::numeric_limits<std::size_t>::digits - 1 - std::countl_zero(left), 4, most_pieces_log2);
      int const width = std::bit_width(high - low), shift = std::max(0, width - pieces_log2);
      std::fill_n(histogram, std::size_t{1} << pieces_log2, 0u);
      for (std::size_t i = 0; i < left; ++i) ++histogram[(high - keys[i]) >> shift];
      std::uint32_t piece = 0;
      while (histogram[piece] < wanted) wanted -= histogram[piece++];
      left = keep_piece(keys, left, high - (piece << shift), (1u << shift) - 1u);
      low = *std::min_element(keys, keys + left);
      high = *std::max_element(keys, keys + left);
    }
    auto const of_score = std::uint64_t{low} << 32;
    return left == wanted ? of_score : of_score | best_index(candidates, count, low, wanted);
  }

 private:
  static constexpr int few_rows = 64;
  struct Row {
    std::size_t fill = 0;
    float threshold = -std::numeric_limits<float>::infinity();
  };

  /// Moves those of `count` numbers to the front that lie in [high - size, high], size < 2^31, and returns how many. Up to a vector's more
  /// places are read and written.
  static std::size_t keep_piece(std::uint32_t* keys, std::size_t count, std::uint32_t high, std::uint32_t size) {
    using namespace simd;
    using Unsigned = std::uint32_t __attribute__((vector_size(sizeof(Ints))));  // differences wrap
    auto* const words = reinterpret_cast<std::int32_t*>(keys);
    auto const highest = reinterpret_cast<Unsigned>(broadcast(static_cast<std::int32_t>(high)));
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count; i += width) {
      Ints const key = load(words + i);
      auto const distance = reinterpret_cast<Ints>(highest - reinterpret_cast<Unsigned>(key));
      // Distances of 2^31 and more, and those of numbers above, look negative.
      LaneMask const in = not_below(broadcast(static_cast<std::int32_t>(size)), distance) & ~negative(distance) & first_lanes(count - i);
      if (in == 0) continue;
      compress(words + kept, key, in);
      kept += std::popcount(in);
    }
    return kept;
  }

  /// The lower half of the candidate that is the wanted-th of those of one score.
  static std::uint32_t best_index(PackedCandidate const* candidates, std::size_t count, std::uint32_t score, std::size_t wanted) {
    static thread_local std::vector<std::uint32_t> equal;
    equal.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if (score_bits_of(candidates[i]) == score) equal.push_back(low_word(candidates[i]));
    }
    auto const at = equal.begin() + (wanted - 1);
    std::nth_element(equal.begin(), at, equal.end(), std::greater<>());
    return *at;
  }

  int keep_ = 0;
  KeyOrder order_ = KeyOrder::ascending;
  std::size_t capacity_ = 0, stride_ = 0;
  Vector<Space, PackedCandidate> entries_;
  std::vector<Row> rows_;
  std::size_t burst_ = 0;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
