// The screening tile: products of 8-bit queries and keys in registers, compared with what each row still wants (quantised.hpp).
#pragma once

#include <cstdint>
#include <utility>

#include "core/simd.hpp"
#include "core/types.hpp"
#include "score/panel.hpp"
#include "score/quantised.hpp"

namespace asymptop {
namespace simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// Where the sums of a panel's rows against a group start, so that a sum that ends at 0 or above is of a key that may be wanted.
/// `bounded`: whether the group's keys are small enough for a bound.
ASYMPTOP_SIMD_INLINE void start_sums(QuantisedQueries::Panel const& panel, KeyGroupBound const& keys, float reach, bool bounded,
                                     std::int32_t* start) {
  for (int l = 0; l < panel_rows; l += width) {
    Floats const loss =
        fma(load(panel.size + l), broadcast(keys.residual), fma(load(panel.residual + l), broadcast(keys.norm), load(panel.slack + l)));
    Floats const x = bounded ? fma(load(panel.bound + l), broadcast(keys.scale), -loss) : broadcast(-reach);
    // D > rint(x) - 1 is D - rint(x) >= 0. A NaN becomes -reach: everything passes.
    store(start + l, -to_nearest(smaller(larger(x, broadcast(-reach)), broadcast(reach))) - load(panel.shift + l));
  }
}

/// `rows` x (`vectors` * width) sums from `start` on. If any is not negative, sets the bits of those keys, moved up by `first_lane`, in
/// the rows' masks and returns true.
template <int rows, int vectors>
ASYMPTOP_SIMD_INLINE bool screen_tile(std::int32_t const* q, int row_step, std::uint8_t const* keys, int steps, std::int32_t const* start,
                                      int first_lane, std::uint32_t* masks) {
  Ints sum[rows][vectors];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) sum[r][v] = broadcast(start[r]);
  }
  auto const* words = reinterpret_cast<std::int32_t const*>(keys) + first_lane;
  for (int c = 0; c < steps; ++c) {
    Ints k[vectors];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) k[v] = load(words + c * key_group + v * width);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      Ints const x = broadcast(q[c * row_step + r]);
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) sum[r][v] = dot4(sum[r][v], k[v], x);
    }
  }
  Ints all = sum[0][0];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) all &= sum[r][v];
  }
  if (negative(all) == all_lanes) return false;
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) masks[r] |= (negative(sum[r][v]) ^ all_lanes) << (first_lane + v * width);
  }
  return true;
}

/// Screens a panel of `rows` rows against one group: bit l of masks[r] is set if key l may be wanted by row r. False: none is, and the
/// masks, which must be 0 before, still are.
template <int rows>
bool screen_panel(std::int32_t const* q, std::uint8_t const* keys, int steps, std::int32_t const* start, std::uint32_t* masks) {
  bool any = false;
  for (int l = 0; l < key_group; l += tile_vectors * width) {
    if constexpr (rows <= tile_rows) {
      any |= screen_tile<rows, tile_vectors>(q, rows, keys, steps, start, l, masks);
    } else {
      any |= screen_tile<tile_rows, tile_vectors>(q, rows, keys, steps, start, l, masks);
      any |= screen_tile<rows - tile_rows, tile_vectors>(q + tile_rows, rows, keys, steps, start + tile_rows, l, masks + tile_rows);
    }
  }
  return any;
}

using ScreenPanel = bool (*)(std::int32_t const*, std::uint8_t const*, int, std::int32_t const*, std::uint32_t*);

/// The function for a panel of 1 to panel_rows rows.
inline ScreenPanel screen_panel_of(int rows) {
  static constexpr auto table = []<int... r>(std::integer_sequence<int, r...>) {
    struct Table {
      ScreenPanel of[sizeof...(r)];
    };
    return Table{{screen_panel<r + 1>...}};
  }
  (std::make_integer_sequence<int, panel_rows>());
  return table.of[rows - 1];
}

/// Scores of pairs of rows and keys: lane l is row rows[l] of two panels of QuantisedQueries::lanes, 16 to 31 being the second's, and key
/// lanes[l] of a packed group. The chain of panel.hpp.
ASYMPTOP_SIMD_INLINE Floats score_pairs(float const* first_panel, float const* second_panel, Ints rows, float const* keys, Ints lanes,
                                        int d) {
  Floats sum{};
  for (int c = 0; c < d; ++c) {
    Floats const q = pick(first_panel + c * QuantisedQueries::panel_lanes, second_panel + c * QuantisedQueries::panel_lanes, rows);
    sum = fma(q, pick(keys + c * key_group, keys + c * key_group + 16, lanes), sum);
  }
  return sum;
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace simd
}  // namespace asymptop
