// Tiles of synthetic tensors.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>

#include "../core/types.hpp"
#include "philox_lanes.hpp"

namespace asymptop {

/// Rows [first, first + rows) of a standard normal (., d) tensor into tile rows [0, rows); tile rows [rows, padded) become 0.
template <class Space>
void fill_normal(Space const& space, Stream stream, GlobalIndex first, int rows, int padded, Matrix<Space, float> const& tile) {
  int const d = tile.extent_int(1);
  if constexpr (is_host_space<Space>) {
    RoundKeys const keys(stream);
    int const groups = (padded + packed_keys - 1) / packed_keys;
    Kokkos::parallel_for("Asymptop::input::normal", Kokkos::RangePolicy<Space>(space, 0, groups), [=](int const g) {
      int const begin = g * packed_keys, end = std::min(begin + packed_keys, padded), real = std::clamp(rows, begin, end);
      if (real > begin) row_normals(keys, stream, first + begin, real - begin, d, &tile(begin, 0));
      if (end > real) std::fill(&tile(real, 0), &tile(real, 0) + std::int64_t{end - real} * d, 0.0f);
    });
  } else {
    int const stride = normal_stride(d);
    Kokkos::parallel_for(
        "Asymptop::input::normal", Kokkos::RangePolicy<Space>(space, 0, padded * stride), KOKKOS_LAMBDA(int const e) {
          int const i = e / stride, l = e % stride;
          float x[4] = {0.0f, 0.0f, 0.0f, 0.0f};
          if (i < rows) normal_quad(stream, first + i, l, x[0], x[1], x[2], x[3]);
          for (int c = 0; c < 4; ++c) {
            if (l + c * stride < d) tile(i, l + c * stride) = x[c];
          }
        });
  }
}

}  // namespace asymptop
