// Top-k attention on the rank that owns the values: the winners of each row, weighed and summed.
#pragma once

#include <Kokkos_Core.hpp>

#include "segments.hpp"

namespace asymptop {

/// The winners of all rows on this rank, row after row: row i's are [offset(i), offset(i + 1)).
template <class Space>
struct Winners {
  Vector<Space, PackedCandidate> candidates;
  Vector<Space, std::int64_t> offset;  ///< (rows + 1)
  Vector<Space, float> reference;      ///< (rows): the row's largest score
};

/// Winners lie anywhere in V: on a host their rows are asked for some winners ahead.
template <class Space>
KOKKOS_FORCEINLINE_FUNCTION void fetch_ahead(float const* row, int d) {
  if constexpr (is_host_space<Space>) {
    for (int c = 0; c < d; c += 16) __builtin_prefetch(row + c);
  }
}

/// Adds winners [begin, end) to `sums` (rows, d + 1), fixed point: d entries of e^{sigma (s - reference)} v, then the weight. `values`
/// holds either all values of the shard or, when `gathered`, just those of these winners, in their order.
template <class Space>
void add_winners(Space const& space, Winners<Space> const& winners, std::int64_t begin, std::int64_t end,
                 Matrix<Space, float> const& values, bool gathered, float sigma, FixedPoint const& factor,
                 Matrix<Space, std::int64_t> const& sums) {
  int const d = values.extent_int(1);
  auto const all = winners;
  Kokkos::parallel_for(
      "Asymptop::attend::winners", Kokkos::RangePolicy<Space>(space, 0, sums.extent_int(0)), KOKKOS_LAMBDA(int const row) {
        std::int64_t const first = all.offset(row) < begin ? begin : all.offset(row);
        std::int64_t const last = all.offset(row + 1) < end ? all.offset(row + 1) : end;
        std::int64_t* sum = &sums(row, 0);
        for (std::int64_t w = first; w < last; ++w) {
          constexpr int ahead = 12;
          if (!gathered && w + ahead < last) fetch_ahead<Space>(&values(index_of(all.candidates(w + ahead)), 0), d);
          PackedCandidate const candidate = all.candidates(w);
          float const weight = exp_fp32(sigma * (score_of(candidate) - all.reference(row)));
          float const scaled = weight * factor.fp32_value();
          float const* v = &values(gathered ? w - begin : index_of(candidate), 0);
          for (int c = 0; c < d; ++c) sum[c] += to_integer(scaled * v[c]);
          sum[d] += to_fixed(weight, factor.weight);
        }
      });
}

}  // namespace asymptop
