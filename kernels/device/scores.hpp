// fp32 scores of all rows against keys of a chunk, in device memory: each one chain of fused multiply-adds over ascending columns, the
// bits of the fused host path. What profiles and second passes read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "top_k.hpp"

namespace asymptop::device {

/// Rows and keys come in tiles of so many.
inline constexpr int score_tile = 128;

/// Operands, in device memory.
struct ScoreArguments {
  int rows, d;
  float const* columns;        ///< queries by column, (d, padded_to_tiles(rows)), zeros past the last row
  std::int64_t const* limits;  ///< (rows): end of the keys that a row sees, counted as `first` is
  std::int64_t const* from;    ///< (rows): the first of them; null: 0
  double softcap;              ///< of the scores; 0: none
  float const* packed;         ///< keys of the chunk, whole groups of 32: [group][column][key]
  std::int64_t first;          ///< number of the chunk's first key
  int count;                   ///< keys
  float* scores;               ///< (rows, stride); those of keys that no row of a tile sees are left as they are
  std::int64_t stride;         ///< a multiple of score_tile
};

inline int padded_to_tiles(int rows) { return (rows + score_tile - 1) / score_tile * score_tile; }
/// Scores of a chunk: a quarter of a gigabyte, and a whole one where nothing else of that size is kept: there are fewer last blocks that
/// few multiprocessors are left with.
inline constexpr std::int64_t chunk_scores = std::int64_t{1} << 26, large_chunk_scores = std::int64_t{1} << 28;
/// Keys of a chunk of at most so many scores; whole pieces of `unit` keys.
inline int chunk_keys(int rows, std::int64_t keys, int unit, std::int64_t scores = chunk_scores) {
  std::int64_t const most = std::max<std::int64_t>(1, scores / rows / unit) * unit;
  return static_cast<int>(std::min(most, keys));
}
inline std::int64_t score_stride(int keys) { return (std::int64_t{keys} + score_tile - 1) / score_tile * score_tile; }

/// Queries (rows, d) by column, as ScoreArguments wants them. Without waiting.
void queries_by_column(Stream stream, float const* queries, int rows, int d, float* columns);

/// Without waiting. Keys x columns of a chunk are fewer than 2^32.
void score_chunk(Stream stream, ScoreArguments const& arguments);

/// Packed keys, whole groups, as rows (count, d). Without waiting.
void unpack_keys(Stream stream, float const* packed, std::int64_t count, int d, float* rows);

}  // namespace asymptop::device
