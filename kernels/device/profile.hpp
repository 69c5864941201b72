// Binned score moments of all rows on a GPU: the integers of profile/score_bins.hpp, from the fp32 scores of the fused host path.
#pragma once

#include <cstddef>
#include <cstdint>

#include "top_k.hpp"

namespace asymptop::device {

/// Operands of a profile, in device memory.
struct ProfileArguments {
  int rows, d;
  float const* queries;        ///< (rows, d)
  std::int64_t const* limits;  ///< (rows): keys that a row sees, at most `count`
  float const* keys;           ///< (count, d)
  std::int64_t count;
  float bins_per_unit;    ///< a power of two
  int bins;               ///< of a row
  int const* first_bin;   ///< (rows)
  std::uint64_t* words;   ///< (rows, bins): zeros before and after
  std::int64_t* moments;  ///< (rows, bins, 3): count, sum of r * 2^14, sum of r^2 * 2^9; added to
};

/// Adds the scores of all rows. Without waiting.
void add_profile(Stream stream, ProfileArguments const& arguments);

}  // namespace asymptop::device
