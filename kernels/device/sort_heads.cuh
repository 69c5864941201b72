// What sorts of candidates share: what a row's head must be, and what its last place must reach.
#pragma once

#include "arithmetic.cuh"
#include "common.cuh"

namespace asymptop::device {

struct SortOperands {
  RowCandidates in;
  int const* list;  ///< rows of the heads; null: the same
  std::int64_t const *limits, *from;
  float const* thresholds;  ///< null: nothing to reach
  double softcap;
  bool partial;  ///< there may be fewer
  int keep;
  std::uint64_t* heads;
};

__device__ inline std::uint64_t packed(std::uint32_t bits, std::uint32_t index) { return std::uint64_t{bits} << 32 | ~index; }

/// What row r's head must be: its place, and its length, negative where there are not so many candidates.
struct HeadShape {
  std::int64_t row;
  int wanted;
};
__device__ inline HeadShape shape_of(SortOperands const& o, std::int64_t r) {
  std::int64_t const row = o.list == nullptr ? r : o.list[r];
  std::int64_t const limit = o.limits[row] - (o.from == nullptr ? 0 : o.from[row]);
  int const wanted = static_cast<int>(max(min(limit, std::int64_t{o.keep}), std::int64_t{0})), count = o.in.count[r];
  if (o.partial) return {row, min(count, wanted)};
  return {row, count < wanted ? -1 : wanted};
}

/// What the last head of a row must reach, in ordered bits, so that none was left out; see top_k.hpp.
__device__ inline std::uint32_t least_last(float threshold, double softcap) {
  if (!(softcap > 0.0)) return ordered(threshold);
  float const capped = softcapped(threshold, softcap);
  return fabs(static_cast<double>(capped)) > 1e-5 * softcap ? ordered(capped) + 2u : ~0u;
}

/// Sorts rows whose scores are spread out, up to `capacity` candidates each, and leaves them with a count of 0 (negative: not certified).
/// Rows with more than bin_most candidates that matter in one bin keep their counts. Without waiting.
void sort_in_bins(Stream stream, SortOperands const& operands, int rows);

}  // namespace asymptop::device
