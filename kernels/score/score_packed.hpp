// Query panels x packed keys: scores(i, j) = query_i . key_j in fp32, each one chain of fused multiply-adds.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>

#include "../core/types.hpp"
#include "alibi.hpp"
#include "panel.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// scores (rows x at least key_count, rounded up to whole groups) of packed keys; for passes that want a matrix. first_key: the first one's
/// number, which slopes ask for.
template <class Space>
void score_packed(Space const& space, PackedQueries const& queries, float const* packed, int key_count, Matrix<Space, float> const& scores,
                  GlobalIndex first_key = 0) {
  static_assert(is_host_space<Space>, "packed keys are for host kernels");
  constexpr int strip = 256;
  auto const* q = &queries;
  Kokkos::parallel_for("Asymptop::score::packed", Kokkos::RangePolicy<Space>(space, 0, (key_count + strip - 1) / strip), [=](int const s) {
    int const first = s * strip, keys = std::min(strip, key_count - first);
    for (auto const& panel : q->panels) {
      int const groups = (keys + key_group - 1) / key_group;
      simd::score_panel_of(panel.rows)(&q->data[panel.offset], packed + std::ptrdiff_t{first} * q->d, groups, q->d,
                                       &scores(panel.first_row, first), scores.stride(0));
      finish_scores(*q, panel, first_key + first, &scores(panel.first_row, first), groups, scores.stride(0));
    }
  });
}

/// Scores of packed keys that nothing takes: each thread writes them into one strip in its cache. What a pass spends on scores alone.
template <class Space>
void score_strips(Space const& space, PackedQueries const& queries, float const* packed, int key_count) {
  constexpr int strip = 512;
  auto const* q = &queries;
  Kokkos::parallel_for("Asymptop::score::strips", Kokkos::RangePolicy<Space>(space, 0, (key_count + strip - 1) / strip), [=](int const s) {
    alignas(64) float scores[panel_rows * strip];
    int const first = s * strip, keys = std::min(strip, key_count - first);
    for (auto const& panel : q->panels) {
      simd::score_panel_of(panel.rows)(&q->data[panel.offset], packed + std::ptrdiff_t{first} * q->d, (keys + key_group - 1) / key_group,
                                       q->d, scores, strip);
    }
  });
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
