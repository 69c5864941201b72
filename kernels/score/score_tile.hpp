// Query panel x key tile: scores(i, j) = query_i . key_j in fp32, by BLAS.
#pragma once

#include <cblas.h>

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <stdexcept>

#include "core/types.hpp"

namespace asymptop {

/// Keys that one BLAS call scores. A BLAS score depends on the tile's shape and on where in the tile a key lies, so the
/// shape is fixed by the block length alone and tiles start at multiples of it.
inline int tile_keys(GlobalIndex block) { return static_cast<int>(std::min<GlobalIndex>(block, 1024)); }

/// scores (rows x keys) = queries (rows x d) * keys (keys x d)^T. `keys` counts whole tiles of `tile` keys; pad with zeros.
/// Each tile is one single-threaded sgemm; tiles are spread over the space's threads.
template <class Space>
void score_tiles(Space const& space, Matrix<Space, float> const& queries, Matrix<Space, float> const& keys,
                 Matrix<Space, float> const& scores, int key_count, int tile) {
  static_assert(is_host_space<Space>, "the device path calls cuBLAS, see score/cublas.hpp");
  if (key_count % tile != 0 || queries.extent(1) != keys.extent(1)) throw std::invalid_argument("score_tiles: ragged tile");
  int const rows = static_cast<int>(queries.extent(0)), d = static_cast<int>(queries.extent(1));
  int const stride = static_cast<int>(scores.stride(0));
  Kokkos::parallel_for(
      "Asymptop::score::tiles", Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, key_count / tile),
      [=](int const t) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, tile, d, 1.0f, queries.data(), d,
                    keys.data() + static_cast<std::size_t>(t) * static_cast<std::size_t>(tile) * static_cast<std::size_t>(d), d,
                    0.0f, scores.data() + static_cast<std::size_t>(t) * static_cast<std::size_t>(tile), stride);
      });
}

}  // namespace asymptop
