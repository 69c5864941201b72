// Tiles of synthetic tensors.
#pragma once

#include <Kokkos_Core.hpp>

#include "core/types.hpp"
#include "input/philox_normal.hpp"

namespace asymptop {

/// Rows [first, first + rows) of a standard normal (., d) tensor into tile rows [0, rows); tile rows [rows, padded) become 0.
template <class Space>
void fill_normal(Space const& space, Stream stream, GlobalIndex first, int rows, int padded, Matrix<Space, float> const& tile) {
  int const d = static_cast<int>(tile.extent(1)), stride = normal_stride(d);
  if constexpr (is_host_space<Space>) {
    Kokkos::parallel_for("Asymptop::input::normal", Kokkos::RangePolicy<Space>(space, 0, padded), [=](int const i) {
      float* out = &tile(i, 0);
      if (i >= rows) {
        for (int c = 0; c < d; ++c) out[c] = 0.0f;
        return;
      }
      auto const row = static_cast<std::uint64_t>(first + i);
      // Whole quads first; only the last of the four strides may run past d.
      int const last = d - 3 * stride;
      float* const out1 = out + stride;
      float* const out2 = out1 + stride;
      float* const out3 = out2 + stride;
      int const quads = last < 0 ? 0 : last;
#pragma omp simd
      for (int l = 0; l < quads; ++l) normal_quad(stream, row, static_cast<std::uint32_t>(l), out[l], out1[l], out2[l], out3[l]);
      for (int l = quads; l < stride; ++l) {
        float x[4];
        normal_quad(stream, row, static_cast<std::uint32_t>(l), x[0], x[1], x[2], x[3]);
        for (int c = 0; c < 4; ++c) {
          if (l + c * stride < d) out[l + c * stride] = x[c];
        }
      }
    });
  } else {
    Kokkos::parallel_for(
        "Asymptop::input::normal", Kokkos::RangePolicy<Space>(space, 0, padded * stride), KOKKOS_LAMBDA(int const e) {
          int const i = e / stride, l = e % stride;
          float x[4] = {0.0f, 0.0f, 0.0f, 0.0f};
          if (i < rows) normal_quad(stream, static_cast<std::uint64_t>(first + i), static_cast<std::uint32_t>(l), x[0], x[1], x[2], x[3]);
          for (int c = 0; c < 4; ++c) {
            if (l + c * stride < d) tile(i, l + c * stride) = x[c];
          }
        });
  }
}

}  // namespace asymptop
