// Query panel x key tiles: scores(i, j) = query_i . key_j in fp32, by BLAS.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <stdexcept>

#include "../core/counts.hpp"
#include "../core/types.hpp"
#include "gemm.hpp"

namespace asymptop {

/// Keys that one BLAS call scores. A score depends on the call's shape and on where in the tile a key lies, so the shape is fixed by
/// the block length alone and tiles start at multiples of it.
inline int tile_keys(GlobalIndex block) { return count_within(block, 512); }

/// BLAS tiles in one step of a pass: one per thread on the host; on a device as many as fill it and a packed bin can count.
template <class Space>
int tiles_per_step(Space const& space) {
  return is_host_space<Space> ? space.concurrency() : 31;
}

/// scores (rows x keys) = queries (rows x d) * keys (keys x d)^T. `key_count` counts whole tiles of `tile` keys; pad with zeros.
/// Throws std::invalid_argument on a ragged tile or different d.
template <class Space>
void score_tiles(Space const& space, Matrix<Space, float> const& queries, Matrix<Space, float> const& keys,
                 Matrix<Space, float> const& scores, int key_count, int tile) {
  if (key_count % tile != 0 || queries.extent(1) != keys.extent(1)) throw std::invalid_argument("score_tiles: ragged tile");
  int const rows = queries.extent_int(0), d = queries.extent_int(1);
  gemm(space, GemmBatch{rows, tile, d, true, queries.data(), d, 0, keys.data(), d, std::ptrdiff_t{tile} * d, scores.data(),
                        checked_int(scores.stride(0)), tile, key_count / tile});
}

}  // namespace asymptop
