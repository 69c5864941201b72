// The first pass over the keys on the host, fused: scores live in the L1 cache between the register tile that makes them and the bins
// and heads that take them. No score matrix exists.
#pragma once

#include <Kokkos_Core.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "../core/simd.hpp"
#include "../core/work_split.hpp"
#include "../score/panel.hpp"
#include "../score/walk_panels.hpp"
#include "../topk/streamed_heads.hpp"
#include "profile_top_k.hpp"

namespace asymptop {

namespace simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// Adds `count` scores to a row's bins: bin_score and pack_moments, a vector at a time.
inline void bin_strip(float const* scores, int count, BinGrid const grid, int const first_bin, PackedMoments* bins) {
  constexpr float magic = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to an integer, found in the low bits
  auto const magic_bits = bit_cast<std::int32_t>(magic);
  Floats const bins_per_unit = broadcast(grid.bins_per_unit), rounder = broadcast(magic);
  Floats const lowest = broadcast(static_cast<float>(first_bin)), highest = broadcast(static_cast<float>(first_bin + grid.count - 1));
  Ints const bin_offset = broadcast(magic_bits + first_bin);
  Ints const r_offset = broadcast(magic_bits - packed_bias), r2_offset = broadcast(magic_bits);
  Ints const one = broadcast(1 << (packed_count_shift - 32));
  // A batch is written out before it is read back: a scalar load waits for a vector store that has not left the store queue.
  constexpr int batch = 128;
  alignas(64) std::int32_t where[batch];
  alignas(64) std::int32_t what[2 * batch];
  int const whole = count / width * width;
  for (int begin = 0; begin < whole; begin += batch) {
    int const size = whole - begin < batch ? whole - begin : batch;
    for (int j = 0; j < size; j += width) {
      Floats const scaled = smaller(larger(load(scores + begin + j) * bins_per_unit, lowest), highest);
      Floats const shifted = scaled + rounder, residual = scaled - (shifted - rounder);
      Ints const r = bits_of(fma(residual, broadcast(first_scale), rounder)) - r_offset,
                 r2 = bits_of(fma(residual * residual, broadcast(second_scale), rounder)) - r2_offset;
      Ints const low = r2 + (r << packed_first_shift), high = one + (r >> (32 - packed_first_shift));
      store(where + j, bits_of(shifted) - bin_offset);
      store(what + 2 * j, interleave_low(low, high));
      store(what + 2 * j + width, interleave_high(low, high));
    }
    for (int j = 0; j < size; j += width) {
#pragma GCC unroll 16
      for (int i = 0; i < width; ++i) {
        PackedMoments word;
        std::memcpy(&word, what + 2 * (j + i), sizeof word);
        // Words lie as interleave_low and _high put them: lanes 0 1 4 5 ... and 2 3 6 7 ...
        int const half = i % (width / 2), lane = half / 2 * 4 + half % 2 + (i < width / 2 ? 0 : 2);
        bins[where[j + lane]] += word;
      }
    }
  }
  for (int j = whole; j < count; ++j) {
    auto const binned = bin_score(scores[j], grid, first_bin);
    bins[binned.bin] += pack_moments(binned.r, binned.r2);
  }
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace simd

inline namespace ASYMPTOP_SIMD_NAME {

/// Profile (if asked for) and top-k of a batch of rows over a shard that arrives in pieces of packed keys.
template <class Space>
class FusedFirstPass : public StreamedHeads {
 public:
  struct Options {
    int keep;      ///< candidates wanted of each row
    bool profile;  ///< fill the bins too
    BinGrid grid;  ///< with `profile`
    int threads;
    KeyOrder order = KeyOrder::ascending;
    int slack = 2048;  ///< as RowHeads's, for small `keep`
  };

  /// ranges: keys of the shard that rows see. first_bin: as RowProfile's.
  FusedFirstPass(PackedQueries const& queries, Options const& options, Vector<Space, int> const& first_bin, KeyRanges ranges)
      : StreamedHeads(queries, options.keep, std::max(options.keep / 2, options.slack), options.threads, std::move(ranges), options.order),
        options_(options) {
    for (int p = 0; p < split_.key_parts; ++p) {
      if (options.profile) profiles_.emplace_back(options.grid, first_bin);
    }
    fullest_.assign(profiles_.size(), std::vector<int>(queries.rows, 0));
  }

  /// Keys [first, first + count) of the shard, packed; pieces come in the order of the options and start at multiples of key_group.
  template <class Between = NothingBetween>
  void add(Space const& space, float const* packed, LocalIndex first, int count, Between const& between = {}) {
    auto* self = this;
    auto const* poll = &between;
    Kokkos::parallel_for("Asymptop::profile::fused_pass",
                         Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, split_.workers()),
                         [=](int const worker) { self->work(worker, packed, first, count, *poll); });
    space.fence();
  }

  /// Moments of all rows, (rows, bins, 3), once all keys were added.
  Tensor3<Space, std::int64_t> const& moments(Space const& space) {
    for (auto& profile : profiles_) flush(space, profile);
    for (std::size_t p = 1; p < profiles_.size(); ++p) {
      auto* to = profiles_[0].moments.data();
      auto* from = profiles_[p].moments.data();
      for (std::size_t i = 0; i < profiles_[0].moments.size(); ++i) to[i] += std::exchange(from[i], 0);
    }
    return profiles_[0].moments;
  }

 private:
  template <class Between>
  void work(int worker, float const* packed, LocalIndex first, int count, Between const& between) {
    auto const part = worker / split_.row_parts;
    auto const keys = part_of(count, part, split_.key_parts, key_group);
    walk_panels(queries_, ranges_, packed, first, keys, score_strip, worker % split_.row_parts, split_.row_parts,
                [&](PanelStrip const& place, float* scores) {
                  for (int r = 0; r < place.panel.rows; ++r)
                    take(part, place.panel.first_row + r, scores + r * score_strip, first + place.begin, {place.from[r], place.seen[r]});
                  if (worker == 0) between();
                });
  }

  void take(std::size_t part, int row, float* scores, LocalIndex first, Part seen) {
    if (options_.profile) {
      int const count = seen.end - seen.begin;
      make_room(part, row, count);
      simd::bin_strip(scores + seen.begin, count, options_.grid, profiles_[part].first_bin(row), &profiles_[part].packed(row, 0));
    }
    offer(heads_[part], row, scores, seen, first);
  }

  /// No bin of the row will count more than packed_limit scores after `count` more. Bins fill slowly: a look at them often spares a flush.
  void make_room(std::size_t part, int row, int count) {
    auto const& profile = profiles_[part];
    int& fullest = fullest_[part][row];
    if (fullest + count > packed_limit) {
      std::size_t const bins = options_.grid.count;
      PackedMoments* const words = &profile.packed(row, 0);
      PackedMoments largest = 0;
      for (std::size_t b = 0; b < bins; ++b) largest = words[b] > largest ? words[b] : largest;
      fullest = static_cast<int>(largest >> packed_count_shift);  // a word's highest field
      if (2 * fullest > packed_limit) {
        for (std::size_t b = 0; b < bins; ++b) flush_bin<Space>(words[b], &profile.moments(row, b, 0));
        fullest = 0;
      }
    }
    fullest += count;
  }

  Options options_;
  std::vector<RowProfile<Space>> profiles_;
  std::vector<std::vector<int>> fullest_;  ///< (key parts, rows): no bin has counted more since its last flush
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
