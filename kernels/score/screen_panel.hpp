// The screening tile: products of 8-bit queries and keys in registers, compared with what each row still wants (quantised.hpp).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "../core/simd.hpp"
#include "../core/types.hpp"
#include "byte_tile.hpp"
#include "panel.hpp"
#include "quantised.hpp"
#include "score_pairs.hpp"

namespace asymptop {
namespace simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// Where the sums of a panel's rows against a group start, so that a sum that ends at 0 or above is of a key that may be wanted.
/// `bounded`: whether the group's keys are small enough for a bound.
ASYMPTOP_SIMD_INLINE void start_sums(QuantisedQueries::Panel const& panel, KeyGroupBound const& keys, float reach, bool bounded,
                                     std::int32_t* start) {
  for (int l = 0; l < QuantisedQueries::panel_lanes; l += width) {
    Floats const loss =
        fma(load(panel.size + l), broadcast(keys.residual), fma(load(panel.residual + l), broadcast(keys.norm), load(panel.slack + l)));
    Floats const x = bounded ? fma(load(panel.bound + l), broadcast(keys.scale), -loss) : broadcast(-reach);
    // D > rint(x) - 1 is D - rint(x) >= 0. A NaN becomes -reach: everything passes.
    store(start + l, -to_nearest(smaller(larger(x, broadcast(-reach)), broadcast(reach))) - load(panel.shift + l));
  }
}

/// Most pairs that screening a panel against one group can bring, and places past them that may be written.
inline constexpr std::size_t panel_pairs = panel_rows * key_group + 2;

/// `rows` x (`vectors` * width) sums from `start` on. Writes the pairs whose sums are not negative, with rows counted from `first_row` and
/// keys from the group's first, and returns where the next one goes. Of one row, keys ascend.
template <Dot dot, int rows, int vectors>
ASYMPTOP_SIMD_INLINE RowKeyPair* screen_tile(std::int32_t const* q, int row_step, std::uint8_t const* keys, int steps,
                                             std::int32_t const* start, int first_lane, int first_row, RowKeyPair* passed) {
  Ints sum[rows][vectors];
  add_byte_products<dot, rows, vectors>(q, row_step, keys, steps, start, first_lane, sum);
  Ints all = sum[0][0];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) all &= sum[r][v];
  }
  if (negative(all) == all_lanes) return passed;
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    std::uint32_t mask = 0;
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) mask |= (negative(sum[r][v]) ^ all_lanes) << (v * width);
    int const count = std::popcount(mask);
    RowKeyPair const base = (first_row + r) * key_group + first_lane;
    // The first two are written in any case: whether a row has any is hard to predict, more than two are rare.
    std::uint32_t const rest = mask & (mask - 1);
    passed[0] = base + std::countr_zero(mask);
    passed[1] = base + std::countr_zero(rest);
    if (count > 2) [[unlikely]] {
      int to = 2;
      for (std::uint32_t more = rest & (rest - 1); more != 0; more &= more - 1) passed[to++] = base + std::countr_zero(more);
    }
    passed += count;
  }
  return passed;
}

/// Screens a panel of `rows` rows, of which the first is `first_row`, against one group.
template <Dot dot, int rows>
RowKeyPair* screen_panel(std::int32_t const* q, std::uint8_t const* keys, int steps, std::int32_t const* start, int first_row,
                         RowKeyPair* passed) {
  for (int l = 0; l < key_group; l += tile_vectors * width) {
    if constexpr (rows <= tile_rows) {
      passed = screen_tile<dot, rows, tile_vectors>(q, rows, keys, steps, start, l, first_row, passed);
    } else {
      passed = screen_tile<dot, tile_rows, tile_vectors>(q, rows, keys, steps, start, l, first_row, passed);
      passed = screen_tile<dot, rows - tile_rows, tile_vectors>(q + tile_rows, rows, keys, steps, start + tile_rows, l,
                                                                first_row + tile_rows, passed);
    }
  }
  return passed;
}

/// What queries are quantised to, +-, for it: coarser where that makes a dot product of three instructions.
inline int screen_levels() { return has_dot4() || width == 4 ? 127 : pair_levels; }

using ScreenPanel = RowKeyPair* (*)(std::int32_t const*, std::uint8_t const*, int, std::int32_t const*, int, RowKeyPair*);

/// The function for a panel of 1 to panel_rows rows.
inline ScreenPanel screen_panel_of(int rows) {
  return of_best_dot<Dot::pairs>([rows]<Dot dot>() {
    static constexpr auto table = []<int... r>(std::integer_sequence<int, r...>) {
      struct Table {
        ScreenPanel of[sizeof...(r)];
      };
      return Table{{screen_panel<dot, r + 1>...}};
    }
    (std::make_integer_sequence<int, panel_rows>());
    return table.of[rows - 1];
  });
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace simd
}  // namespace asymptop
