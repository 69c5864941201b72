// Synthetic input of every kind, as host vectors.
#pragma once

#include <vector>

#include "draw/draw_input.hpp"
#include "kernels/input/input_tile.hpp"
#include "support/views.hpp"

namespace asymptop::test {

/// One of each kind, and extremes of their parameters.
inline std::vector<InputKind> every_kind() {
  using enum Distribution;
  return {{gaussian},  {uniform},   {rademacher},  {sphere},           {student, 3.0},      {student, 1.0},     {student, 1e6}, {ar1, 0.0},
          {ar1, -0.7}, {ar1, 0.99}, {ar1, 0.9999}, {clusters, 2, 0.0}, {clusters, 37, 0.5}, {clusters, 5, 1.0}, {needle, 2.0}};
}

template <class Space>
InputSource<Space> source_of(InputKind const& kind, std::uint64_t seed, int d) {
  return {kind, tensor_stream(seed, 0, 4096, d, Tensor::keys), draw_tables(kind, tensor_stream(seed, 0, 4096, d, Tensor::centres), d), d};
}

/// Rows [first, first + rows) and the padding after them, row by row.
template <class Space>
std::vector<float> input_tile(InputSource<Space> const& source, GlobalIndex first, int rows, int padded, int d) {
  Space const space;
  Matrix<Space, float> tile("Asymptop::test::tile", static_cast<std::size_t>(padded), static_cast<std::size_t>(d));
  Kokkos::deep_copy(tile, 777.0f);  // no element may keep it
  fill_input(space, source, first, rows, padded, tile);
  space.fence();
  return values_of(tile);
}

}  // namespace asymptop::test
