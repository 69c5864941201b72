// Tiles of synthetic normals as host vectors.
#pragma once

#include <vector>

#include "kernels/input/normal_tile.hpp"
#include "support/views.hpp"

namespace asymptop::test {

/// Rows [first, first + rows) and the padding after them, row by row.
template <class Space>
std::vector<float> normal_tile(Stream stream, GlobalIndex first, int rows, int padded, int d) {
  Space const space;
  Matrix<Space, float> tile("Asymptop::test::tile", static_cast<std::size_t>(padded), static_cast<std::size_t>(d));
  Kokkos::deep_copy(tile, 777.0f);  // no element may keep it
  fill_normal(space, stream, first, rows, padded, tile);
  space.fence();
  return values_of(tile);
}

}  // namespace asymptop::test
