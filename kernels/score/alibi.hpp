// Scores under ALiBi: slope (key - query) of their places is added behind the scaled and softcapped product (Press, Smith and Lewis,
// arXiv:2108.12409). Near keys rise above far ones, so the order of a row's keys changes with it.
#pragma once

#include <Kokkos_Core.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../core/simd.hpp"
#include "../core/types.hpp"
#include "panel.hpp"
#include "softcap.hpp"

namespace asymptop {

/// distance: the key's place less the query's. Rounded once in fp64 and once to fp32, so every pass gets the same bits of the same score.
KOKKOS_FORCEINLINE_FUNCTION float biased(float score, double slope, double distance) {
  return static_cast<float>(fma(slope, distance, double{score}));
}

inline namespace ASYMPTOP_SIMD_NAME {

/// `count` scores of keys that lie `step` apart, the first of them at `distance`.
[[gnu::noinline]] inline void bias_strip(double slope, double distance, float* scores, int count, int step = 1) {
#pragma omp simd
  for (int j = 0; j < count; ++j) scores[j] = biased(scores[j], slope, distance + j * step);
}

/// From products of a panel to its scores: softcap, then slopes, where the queries have them. Rows lie at scores[r * stride], keys are
/// numbered from `first` on, as the queries' places are.
inline void finish_scores(PackedQueries const& queries, PackedQueries::Panel const& panel, GlobalIndex first, float* scores, int groups,
                          std::ptrdiff_t stride) {
  cap_scores(queries.softcap, scores, panel.rows, groups, stride);
  if (queries.alibi.slope == 0.0) return;
  for (int r = 0; r < panel.rows; ++r) {
    auto const place = queries.alibi.places[static_cast<std::size_t>(panel.first_row + r)];
    bias_strip(queries.alibi.slope, static_cast<double>(first - place), scores + r * stride, groups * key_group);
  }
}

}  // namespace ASYMPTOP_SIMD_NAME

/// The same of a matrix (at least rows, at least keys) in any space. places (rows): of the queries, by the number of keys; used only where
/// the slope is not 0.
template <class Space>
void bias_tiles(Space const& space, Matrix<Space, float> const& scores, int rows, int keys, double slope,
                Vector<Space, std::int64_t> const& places, GlobalIndex first) {
  if (slope == 0.0) return;
  Kokkos::parallel_for(
      "Asymptop::score::alibi", Kokkos::MDRangePolicy<Space, Kokkos::Rank<2>>(space, {0, 0}, {rows, keys}),
      KOKKOS_LAMBDA(int const i, int const j) { scores(i, j) = biased(scores(i, j), slope, static_cast<double>(first + j - places(i))); });
}

}  // namespace asymptop
