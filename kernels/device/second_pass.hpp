// The second pass over the keys on a GPU: what probes count and collect, and attention split at every k for every sigma law
// (attend/segments.hpp), from the scores of a chunk. All sums are integers, those of the fused host path.
#pragma once

#include <cstddef>
#include <cstdint>

#include "top_k.hpp"

namespace asymptop::device {

/// The scores that both read, in device memory.
struct ChunkScores {
  int rows;
  std::int64_t const* limits;  ///< (rows), as ScoreArguments's
  std::int64_t const* from;    ///< (rows), or null
  float const* scores;         ///< (rows, stride)
  std::int64_t stride;
  std::int64_t first;  ///< number of the chunk's first key
  int count;           ///< keys
};

/// As profile/probes.hpp has them; in device memory.
struct ProbeArguments {
  float bins_per_unit;
  int bins, probes;             ///< of a row
  int const* first_bin;         ///< (rows)
  std::uint16_t const* of_bin;  ///< (rows, bins)
  int const* bin;               ///< (rows, probes)
  int const* capacity;          ///< (rows, probes)
  float const *low, *high;      ///< (rows, probes)
  std::int64_t const* begin;    ///< (rows, probes)
  float const* edge_score;      ///< (rows)
  std::int64_t* edge;           ///< (rows, 2): added to
  std::int64_t* above;          ///< (rows, probes, 3): added to
  int* fill;                    ///< (rows, probes): added to
  float* collected;
};

/// Without waiting.
void add_probes(Stream stream, ChunkScores const& scores, ProbeArguments const& arguments);

/// Operands of the attention of one law, in device memory.
struct SegmentArguments {
  int d, boundaries;                   ///< of a row
  float const* boundary_score;         ///< (rows, boundaries)
  std::int64_t const* boundary_index;  ///< (rows, boundaries)
  float const* reference;              ///< (rows, boundaries + 1)
  int const* used;                     ///< (rows)
  std::int64_t index_of_first;         ///< index, in the sequence, of the chunk's first key
  int strip, unit;                     ///< keys whose products are added up in fp32: strips of a unit, of which the last may be short
  float sigma;
  double weight_factor, value_factor;  ///< powers of two
  float const* values;                 ///< (count, d) of the chunk
  float* weights;                      ///< (count, padded_to_tiles(rows)): room
  std::int64_t* sums;                  ///< (rows, boundaries + 1, d + 1): added to
};

/// The chunk begins at a unit. Without waiting.
void add_attention(Stream stream, ChunkScores const& scores, SegmentArguments const& arguments);

}  // namespace asymptop::device
