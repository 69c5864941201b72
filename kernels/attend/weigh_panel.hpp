// The second product of attention as a register tile: weights of a panel x rows of V.
#pragma once

#include <cstddef>

#include "../core/simd.hpp"
#include "../score/panel.hpp"

namespace asymptop {
namespace simd {
inline namespace ASYMPTOP_SIMD_NAME {

/// Floats of an output row: d rounded up to whole vectors of the widest kind, so that the layout does not depend on the width.
constexpr int padded_columns(int d) { return (d + 15) / 16 * 16; }

/// out(r, 0 .. vectors * width) += sum_j weights(r, j) v(j, ...) for `count` keys, in ascending order. The last vector holds `last`
/// columns.
template <int rows, int vectors>
ASYMPTOP_SIMD_INLINE void weigh_tile(float const* weights, std::ptrdiff_t weight_step, float const* v, std::ptrdiff_t v_step, int count,
                                     int last, float* out, std::ptrdiff_t out_step) {
  Floats sum[rows][vectors] = {};
  for (int j = 0; j < count; ++j) {
    Floats value[vectors];
#pragma GCC unroll 4
    for (int i = 0; i + 1 < vectors; ++i) value[i] = load(v + j * v_step + i * width);
    float const* tail = v + j * v_step + (vectors - 1) * width;
    value[vectors - 1] = last == width ? load(tail) : load_first(tail, last);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      Floats const w = broadcast(weights[r * weight_step + j]);
#pragma GCC unroll 4
      for (int i = 0; i < vectors; ++i) sum[r][i] = fma(w, value[i], sum[r][i]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < vectors; ++i) store(out + r * out_step + i * width, load(out + r * out_step + i * width) + sum[r][i]);
  }
}

/// Registers for sums: 6 x 4 of 32 with AVX-512, 6 x 2 of 16 otherwise; values and a weight need some too.
inline constexpr int weigh_vectors = width == 16 ? 4 : 2;
inline constexpr int weigh_rows = 6;

/// Keys whose products are added up in registers before they join the sums in memory.
inline constexpr int weigh_keys = 128;

template <int rows>
void weigh_columns(float const* weights, std::ptrdiff_t weight_step, float const* v, int d, int count, float* out,
                   std::ptrdiff_t out_step) {
  for (int c = 0; c < d; c += weigh_vectors * width) {
    int const columns = d - c < weigh_vectors * width ? d - c : weigh_vectors * width, vectors = (columns + width - 1) / width;
    int const last = columns - (vectors - 1) * width;
    switch (vectors) {
      case 1:
        weigh_tile<rows, 1>(weights, weight_step, v + c, d, count, last, out + c, out_step);
        break;
      case 2:
        weigh_tile<rows, 2>(weights, weight_step, v + c, d, count, last, out + c, out_step);
        break;
      case 3:
        weigh_tile<rows, 3>(weights, weight_step, v + c, d, count, last, out + c, out_step);
        break;
      default:
        weigh_tile<rows, 4>(weights, weight_step, v + c, d, count, last, out + c, out_step);
        break;
    }
  }
}

/// out (rows, padded_columns(d)) += weights (rows, count) * v (count, d). Each sum is a chain over pieces of weigh_keys keys, each of them
/// a chain of fused multiply-adds: the same bits at any vector width and panel height.
inline void weigh_panel(int rows, float const* weights, std::ptrdiff_t weight_step, float const* v, int d, int count, float* out,
                        std::ptrdiff_t out_step) {
  for (int first = 0; first < count; first += weigh_keys) {
    int const here = count - first < weigh_keys ? count - first : weigh_keys;
    float const* values = v + std::ptrdiff_t{first} * d;
    for (int r = 0; r < rows; r += weigh_rows) {
      float const* w = weights + r * weight_step + first;
      float* to = out + r * out_step;
      switch (rows - r < weigh_rows ? rows - r : weigh_rows) {
        case 1:
          weigh_columns<1>(w, weight_step, values, d, here, to, out_step);
          break;
        case 2:
          weigh_columns<2>(w, weight_step, values, d, here, to, out_step);
          break;
        case 3:
          weigh_columns<3>(w, weight_step, values, d, here, to, out_step);
          break;
        case 4:
          weigh_columns<4>(w, weight_step, values, d, here, to, out_step);
          break;
        case 5:
          weigh_columns<5>(w, weight_step, values, d, here, to, out_step);
          break;
        default:
          weigh_columns<weigh_rows>(w, weight_step, values, d, here, to, out_step);
          break;
      }
    }
  }
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace simd
}  // namespace asymptop
