// Which rows and keys a tile of scores is for.
#pragma once

#include <Kokkos_Core.hpp>

#include "types.hpp"

namespace asymptop {

/// A tile of scores: rows [first_row, first_row + rows) of the batch against keys [first_key, first_key + keys) of the shard.
struct TileRange {
  int first_row;
  int rows;
  LocalIndex first_key;
  int keys;
};

/// Visible keys of a tile for one row: `limit` counts the shard's keys that the row may see (causal mask).
KOKKOS_FORCEINLINE_FUNCTION int visible_keys(TileRange const& tile, std::int64_t limit) {
  return count_within(limit - tile.first_key, tile.keys);
}

}  // namespace asymptop
