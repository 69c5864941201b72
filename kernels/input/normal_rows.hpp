// Single rows of synthetic tensors, wherever they are.
#pragma once

#include <Kokkos_Core.hpp>

#include "../core/candidate.hpp"
#include "philox_normal.hpp"

namespace asymptop {

/// One row of a standard normal (., d) tensor.
KOKKOS_INLINE_FUNCTION void normal_row(Stream stream, std::uint64_t row, int d, float* out) {
  int const stride = normal_stride(d);
  for (int l = 0; l < stride; ++l) {
    float x[4];
    normal_quad(stream, row, l, x[0], x[1], x[2], x[3]);
    for (int c = 0; c < 4; ++c) {
      if (l + c * stride < d) out[l + c * stride] = x[c];
    }
  }
}

/// Tensor rows of the keys `which` [begin, end), whose local indices count from row `first`, into `out`.
template <class Space>
void gather_normal(Space const& space, Stream stream, GlobalIndex first, Vector<Space, PackedCandidate> const& which, std::int64_t begin,
                   std::int64_t end, Matrix<Space, float> const& out) {
  int const d = out.extent_int(1);
  Kokkos::parallel_for(
      "Asymptop::input::gather", Kokkos::RangePolicy<Space, Kokkos::IndexType<std::int64_t>>(space, 0, end - begin),
      KOKKOS_LAMBDA(std::int64_t const i) {
        GlobalIndex const row = first + index_of(which(begin + i));
        normal_row(stream, row, d, &out(i, 0));
      });
}

}  // namespace asymptop
