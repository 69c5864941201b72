// Products of vectors of whole numbers in 8 bits, each vector with a scale of its own: what indexers in int8 and int4 compute.
//
// A vector x becomes x'_c = round(x_c / z), z = max |x_c| / levels, ties to even; a row's priority of a key is z_k sum_c q'_c k'_c, the sum
// exact. The query's own scale orders nothing and is left out.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../core/simd.hpp"
#include "../core/types.hpp"
#include "byte_tile.hpp"
#include "panel.hpp"
#include "quantised.hpp"

namespace asymptop {

/// Query rows in 8 bits, cut into the panels of the PackedQueries that they are made from.
struct ByteQueries {
  int d = 0, steps = 0;
  std::vector<PackedQueries::Panel> panels;
  std::vector<std::int32_t> bytes;  ///< four columns of a row in 32 bits, at [panel][step][row]
  std::vector<std::int32_t> start;  ///< per row: -128 sum of q', what makes up for the offset of the keys' bytes

  ByteQueries() = default;
  /// levels: 1 to 127. Throws std::invalid_argument above quantised_max_d columns.
  ByteQueries(PackedQueries const& queries, int levels)
      : d(queries.d),
        steps((queries.d + 3) / 4),
        panels(queries.panels),
        bytes(std::int64_t{queries.rows} * steps, 0),
        start(queries.rows + 64, 0) {
    if (d > quantised_max_d) throw std::invalid_argument("products in 8 bits take at most " + std::to_string(quantised_max_d) + " columns");
    for (auto const& panel : panels) {
      for (int r = 0; r < panel.rows; ++r) {
        auto const at = queries.row(panel.first_row + r);
        float largest = 0.0f;
        for (int c = 0; c < d; ++c) largest = std::max(largest, std::fabs(at(c)));
        float const scale = largest / static_cast<float>(levels);
        for (int c = 0; c < d && scale > 0.0f; ++c) {
          auto const whole = static_cast<std::int32_t>(std::nearbyint(at(c) / scale));
          start[panel.first_row + r] -= 128 * whole;
          auto& word = bytes[std::int64_t{panel.first_row} * steps + c / 4 * panel.rows + r];
          word |= static_cast<std::int32_t>((static_cast<std::uint32_t>(whole) & 0xffu) << (8 * (c % 4)));
        }
      }
    }
  }
};

/// Keys as bytes x' + 128 at [group][step][key % 32][4 columns], 128 past the last column, and their scales.
struct ByteKeys {
  std::vector<std::uint8_t> values;
  std::vector<float> scales;
};

namespace simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// One packed group of keys.
inline void round_group(float const* packed, int d, int levels, std::uint8_t* out, float* scales) {
  for (int l = 0; l < key_group; l += width) {
    Floats largest{};
    for (int c = 0; c < d; ++c) {
      Floats const x = load(packed + c * key_group + l);
      largest = larger(largest, larger(x, -x));
    }
    Floats const scale = largest / broadcast(static_cast<float>(levels)), unit = scale > 0.0f ? scale : broadcast(1.0f);
    store(scales + l, scale);
    for (int step = 0; step < (d + 3) / 4; ++step) {
      Ints word = broadcast(static_cast<std::int32_t>(0x80808080u));
      for (int c = 4 * step; c < std::min(d, 4 * step + 4); ++c) {
        Ints const whole = to_nearest(load(packed + c * key_group + l) / unit);
        word ^= (whole & broadcast(0xff)) << (8 * (c % 4));  // a byte plus 128 is the byte with its sign flipped
      }
      store(reinterpret_cast<std::int32_t*>(out + (step * key_group + l) * 4), word);
    }
  }
}

template <Dot dot, int rows, int vectors>
ASYMPTOP_SIMD_INLINE void byte_tile(std::int32_t const* q, int row_step, std::uint8_t const* keys, int steps, std::int32_t const* start,
                                    float const* scales, int first_lane, float* out, std::ptrdiff_t out_step) {
  Ints sum[rows][vectors];
  add_byte_products<dot, rows, vectors>(q, row_step, keys, steps, start, first_lane, sum);
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v)
      store(out + r * out_step + v * width, __builtin_convertvector(sum[r][v], Floats) * load(scales + first_lane + v * width));
  }
}

/// A panel of `rows` rows against one group of keys.
template <Dot dot, int rows>
void byte_panel(std::int32_t const* q, std::uint8_t const* keys, int steps, std::int32_t const* start, float const* scales, float* out,
                std::ptrdiff_t out_step) {
  for (int l = 0; l < key_group; l += tile_vectors * width) {
    if constexpr (rows <= tile_rows) {
      byte_tile<dot, rows, tile_vectors>(q, rows, keys, steps, start, scales, l, out + l, out_step);
    } else {
      byte_tile<dot, tile_rows, tile_vectors>(q, rows, keys, steps, start, scales, l, out + l, out_step);
      byte_tile<dot, rows - tile_rows, tile_vectors>(q + tile_rows, rows, keys, steps, start + tile_rows, scales, l,
                                                     out + tile_rows * out_step + l, out_step);
    }
  }
}

using BytePanel = void (*)(std::int32_t const*, std::uint8_t const*, int, std::int32_t const*, float const*, float*, std::ptrdiff_t);

/// The function for a panel of 1 to panel_rows rows.
inline BytePanel byte_panel_of(int rows) {
  return of_best_dot([rows]<Dot dot>() {
    static constexpr auto table = []<int... r>(std::integer_sequence<int, r...>) {
      struct Table {
        BytePanel of[sizeof...(r)];
      };
      return Table{{byte_panel<dot, r + 1>...}};
    }
    (std::make_integer_sequence<int, panel_rows>());
    return table.of[rows - 1];
  });
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace simd

inline namespace ASYMPTOP_SIMD_NAME {

/// priorities(i, j) of `count` packed keys, whole groups of which are read and written. Does not wait.
template <class Space>
void byte_products(Space const& space, ByteQueries const& queries, float const* packed, int count, int levels, ByteKeys& keys,
                   Matrix<Space, float> const& priorities) {
  static_assert(is_host_space<Space>, "packed keys are for host kernels");
  int const groups = (count + key_group - 1) / key_group, bytes = queries.steps * 4 * key_group;
  keys.values.resize(std::int64_t{groups} * bytes);
  keys.scales.resize(std::int64_t{groups} * key_group);
  auto* const values = keys.values.data();
  auto* const scales = keys.scales.data();
  auto const* q = &queries;
  constexpr int strip = 8;
  Kokkos::parallel_for("Asymptop::score::bytes", Kokkos::RangePolicy<Space>(space, 0, (groups + strip - 1) / strip), [=](int const s) {
    int const end = std::min(groups, (s + 1) * strip);
    for (int g = s * strip; g < end; ++g)
      simd::round_group(packed + std::ptrdiff_t{g} * key_group * q->d, q->d, levels, values + std::ptrdiff_t{g} * bytes,
                        scales + std::ptrdiff_t{g} * key_group);
    for (auto const& panel : q->panels) {
      auto const* const rows = &q->bytes[std::int64_t{panel.first_row} * q->steps];
      for (int g = s * strip; g < end; ++g)
        simd::byte_panel_of(panel.rows)(rows, values + std::ptrdiff_t{g} * bytes, q->steps, &q->start[panel.first_row],
                                        scales + std::ptrdiff_t{g} * key_group, &priorities(panel.first_row, g * key_group),
                                        priorities.stride(0));
    }
  });
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
