// Synthetic tensors in the form that fused host kernels read.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>

#include "../core/types.hpp"
#include "philox_lanes.hpp"

namespace asymptop {

/// Rows [first, first + rows) of a standard normal (., d) tensor in groups of 32: column c of row first + j goes to
/// packed[(j / 32) * 32 * d + c * 32 + j % 32]; rows after the last, up to a multiple of 32, become 0. The same bits as fill_normal's.
template <class Space>
void fill_normal_packed(Space const& space, Stream stream, GlobalIndex first, GlobalIndex rows, int d, float* packed) {
  static_assert(is_host_space<Space>, "packed keys are for host kernels");
  RoundKeys const keys(stream);
  GlobalIndex const groups = (rows + packed_keys - 1) / packed_keys;
  Kokkos::parallel_for("Asymptop::input::normal_packed", Kokkos::RangePolicy<Space, Kokkos::IndexType<GlobalIndex>>(space, 0, groups),
                       [=](GlobalIndex const g) {
                         int const stride = normal_stride(d);
                         float* const out = packed + g * packed_keys * d;
                         packed_normals(keys, stream, first + g * packed_keys, {0, stride, stride, d, stride, out});
                         int const real = count_within(rows - g * packed_keys, packed_keys);
                         if (real == packed_keys) return;
                         for (int c = 0; c < d; ++c) std::fill(out + c * packed_keys + real, out + (c + 1) * packed_keys, 0.0f);
                       });
}

}  // namespace asymptop
