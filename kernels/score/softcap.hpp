// Scores under a softcap, as some models have it: cap tanh(score / cap) (Bello et al., arXiv:1611.09940, eq. 16; Gemma 2). It keeps their
// order, so that what is selected stays, and everything behind the scores sees capped ones.
#pragma once

#include <Kokkos_Core.hpp>
#include <cmath>

#include "../core/math.hpp"
#include "../core/simd.hpp"
#include "../core/types.hpp"

namespace asymptop {

/// cap > 0; relative error below 1e-9 where |score| > 1e-6 cap, absolute below 1e-15 cap. |result| <= cap.
KOKKOS_FORCEINLINE_FUNCTION double softcapped(double score, double cap) {
  double const size = score < 0.0 ? -score : score, t = exp_fp64(-2.0 * (size / cap)), capped = cap * ((1.0 - t) / (1.0 + t));
  return score < 0.0 ? -capped : capped;
}

inline namespace ASYMPTOP_SIMD_NAME {

/// `count` scores, whole groups of them. One function, never inlined: all passes get the same bits of the same score.
[[gnu::noinline]] inline void cap_strip(double cap, float* scores, int count) {
#pragma omp simd
  for (int j = 0; j < count; ++j) scores[j] = static_cast<float>(softcapped(double{scores[j]}, cap));
}

/// Rows of scores at scores[r * stride]; cap 0: as they are.
inline void cap_scores(double cap, float* scores, int rows, int groups, std::ptrdiff_t stride) {
  for (int r = 0; r < rows && cap > 0.0; ++r) cap_strip(cap, scores + r * stride, groups * key_group);
}

/// One score, to the same bits; cap 0: as it is.
inline float capped(float score, double cap) {
  if (!(cap > 0.0)) return score;
  float group[key_group];
  for (auto& lane : group) lane = score;
  cap_strip(cap, group, key_group);
  return group[0];
}

}  // namespace ASYMPTOP_SIMD_NAME

/// The same of a matrix (at least rows, at least keys) in any space.
template <class Space>
void cap_tiles(Space const& space, Matrix<Space, float> const& scores, int rows, int keys, double cap) {
  if (!(cap > 0.0)) return;
  Kokkos::parallel_for(
      "Asymptop::score::softcap", Kokkos::MDRangePolicy<Space, Kokkos::Rank<2>>(space, {0, 0}, {rows, keys}),
      KOKKOS_LAMBDA(int const i, int const j) { scores(i, j) = static_cast<float>(softcapped(double{scores(i, j)}, cap)); });
}

}  // namespace asymptop
