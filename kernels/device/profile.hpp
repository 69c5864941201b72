// Binned score moments of all rows on a GPU: the integers of profile/score_bins.hpp, from the fp32 scores of the fused host path.
#pragma once

#include <cstddef>
#include <cstdint>

#include "top_k.hpp"

namespace asymptop::device {

/// Operands of a profile, in device memory.
struct ProfileArguments {
  int rows;
  std::int64_t const* limits;  ///< (rows), as ScoreArguments's
  std::int64_t const* from;    ///< (rows), or null
  float const* scores;         ///< (rows, stride) of a chunk
  std::int64_t stride;
  std::int64_t first;     ///< number of its first key
  int count;              ///< keys
  float bins_per_unit;    ///< a power of two
  int bins;               ///< of a row
  int const* first_bin;   ///< (rows)
  std::int64_t* moments;  ///< (rows, bins, 3): count, sum of r * 2^14, sum of r^2 * 2^9; added to
};

/// Adds the scores of all rows. Without waiting.
void add_profile(Stream stream, ProfileArguments const& arguments);

}  // namespace asymptop::device
