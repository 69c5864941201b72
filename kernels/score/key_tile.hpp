// A tile of keys in either of their layouts.
#pragma once

#include <Kokkos_Core.hpp>

#include "../core/types.hpp"

namespace asymptop {

/// Keys as rows (key, column), or packed in groups; see key_group.
struct KeyTile {
  float const* data;
  int d;
  bool packed;

  /// Products q . k and k . k in fp64 for `count` keys from `first` on, a multiple of key_group; up to 64 of them.
  KOKKOS_FORCEINLINE_FUNCTION void dots(double const* q, int first, int count, double* __restrict__ dot,
                                        double* __restrict__ square) const {
    if (packed) {
      for (int g = 0; g < count; g += key_group) group_dots(q, data + std::ptrdiff_t{first + g} * d, dot + g, square + g);
      return;
    }
    for (int l = 0; l < count; ++l) {
      float const* k = data + std::ptrdiff_t{first + l} * d;
      double sum = 0.0, norm = 0.0;
#pragma omp simd reduction(+ : sum, norm)
      for (int c = 0; c < d; ++c) {
        double const x = k[c];
        sum += q[c] * x;
        norm += x * x;
      }
      dot[l] = sum;
      square[l] = norm;
    }
  }

 private:
  KOKKOS_FORCEINLINE_FUNCTION void group_dots(double const* q, float const* group, double* __restrict__ dot,
                                              double* __restrict__ square) const {
    for (int l = 0; l < key_group; ++l) dot[l] = square[l] = 0.0;
    for (int c = 0; c < d; ++c) {
      double const x = q[c];
#pragma omp simd
      for (int l = 0; l < key_group; ++l) {
        double const k = group[c * key_group + l];
        dot[l] += x * k;
        square[l] += k * k;
      }
    }
  }
};

}  // namespace asymptop
