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
    constexpr int lanes = 8;  // whatever the width of vectors: sums do not depend on it
    for (int key = 0; key < count; ++key) {
      float const* k = data + std::ptrdiff_t{first + key} * d;
      double sum[lanes] = {}, norm[lanes] = {};
      auto const add = [&](int c, int l) {
        double const x = k[c + l];
        sum[l] += q[c + l] * x;
        norm[l] += x * x;
      };
      int const whole = d / lanes * lanes;
      for (int c = 0; c < whole; c += lanes) {
#pragma omp simd
        for (int l = 0; l < lanes; ++l) add(c, l);
      }
      for (int l = 0; whole + l < d; ++l) add(whole, l);
      dot[key] = square[key] = 0.0;
      for (int l = 0; l < lanes; ++l) {
        dot[key] += sum[l];
        square[key] += norm[l];
      }
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
