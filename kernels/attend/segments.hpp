// The second pass over the keys: exact attention of each row, split at every rank k of interest.
//
// The sorted head of a row is cut at the ranks of a grid k_1 < k_2 < ... < k_G; segment g holds the keys ranked in
// (k_{g-1}, k_g] and segment G the tail. With sums of e^{sigma (s - reference_g)} v per segment,
//   top-k attention at k_g  = segments 0..g,   exact attention = all segments,   their difference = the rest,
// so nothing is ever found as total minus head. Sums are fixed point: exact, in any order, on any number of ranks.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>

#include "../core/candidate.hpp"
#include "../core/counts.hpp"
#include "../core/fixed_point.hpp"
#include "../core/key_ranges.hpp"
#include "../core/math.hpp"
#include "../core/types.hpp"
#include "../profile/profile_top_k.hpp"
#include "../profile/score_bins.hpp"
#include "../score/gemm.hpp"

namespace asymptop {

/// A key's segment: how many boundaries come strictly before it. Boundaries are the last key of each segment in the total order.
KOKKOS_FORCEINLINE_FUNCTION int segment_of(float score, GlobalIndex index, float const* boundary_scores,
                                           GlobalIndex const* boundary_indices, int boundaries) {
  int low = 0, high = boundaries;
  while (low < high) {
    int const middle = (low + high) / 2;
    if (before({boundary_scores[middle], boundary_indices[middle]}, {score, index})) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// Everything that the owner of a row tells all ranks before the second pass.
template <class Space>
struct Segments {
  Matrix<Space, float> boundary_score;        ///< (rows, boundaries), descending
  Matrix<Space, GlobalIndex> boundary_index;  ///< (rows, boundaries)
  Matrix<Space, float> reference;             ///< (rows, boundaries + 1): largest score of each segment; of the tail, the last boundary
  Vector<Space, int> used;                    ///< (rows): boundaries in use (a row that sees few keys has fewer)
};

/// Factors of the fixed-point sums: value = sum / factor.
struct FixedPoint {
  double weight;  ///< for weights in [0, 1]: 2^(61 - ceil(log2 n))
  double value;   ///< for weight * v: 2^(61 - ceil(log2 n) - ceil(log2 max|v|))
  /// A power of two, exact in fp32.
  KOKKOS_FORCEINLINE_FUNCTION float fp32_value() const { return to_fp32(value); }

  static FixedPoint make(GlobalIndex n, double largest_value) {
    auto const bits_of = [](auto x) { return static_cast<int>(std::ceil(std::log2(x))); };
    int const bits = bits_of(n), value_bits = bits_of(std::max(largest_value, 0x1p-60));  // fp32_value() is a number
    return {std::ldexp(1.0, 61 - bits), std::ldexp(1.0, 61 - bits - value_bits)};
  }
};

/// Weights e^{sigma (s - reference)} of the tail's keys, 0 for keys of the head and keys not seen, into `weights` (rows, keys);
/// head keys, which are few, are added to `sums` (rows, boundaries + 1, d + 1) one by one: d entries of weight * v, then weight.
template <class Space>
void add_head_and_weigh_tail(Space const& space, Segments<Space> const& segments, Matrix<Space, float> const& scores,
                             Matrix<Space, float> const& values, KeyRangesOf<Space> const& ranges, TileRange const& tile,
                             GlobalIndex shard_begin, float sigma, FixedPoint const& factor, Matrix<Space, float> const& weights,
                             Tensor3<Space, std::int64_t> const& sums) {
  constexpr int batch = batch_size<Space>;
  int const d = values.extent_int(1);
  auto const boundary_scores = segments.boundary_score;
  auto const boundary_indices = segments.boundary_index;
  auto const references = segments.reference;
  auto const boundaries_used = segments.used;
  Kokkos::parallel_for(
      "Asymptop::attend::weigh", team_per_row(space, tile.rows), KOKKOS_LAMBDA(TeamOf<Space> const& team) {
        int const row = tile.first_row + team.league_rank();
        int const hidden = ranges.begin(tile, row), keys = ranges.end(tile, row);
        int const boundaries = boundaries_used(row);
        float const last = boundary_scores(row, boundaries - 1);
        float const tail_reference = references(row, boundaries);
        float const* row_scores = &scores(team.league_rank(), 0);
        float* row_weights = &weights(team.league_rank(), 0);
        Kokkos::parallel_for(Kokkos::TeamThreadRange(team, (tile.keys + batch - 1) / batch), [&](int const b) {
          float const* s = row_scores + b * batch;
          float* w = row_weights + b * batch;
          int const seen = keys - b * batch, unseen = hidden - b * batch;
          int head = 0;
#pragma omp simd reduction(+ : head)
          for (int l = 0; l < batch; ++l) {
            bool const visible = (l >= unseen) & (l < seen), below = s[l] < last && visible;
            float const y = sigma * (s[l] - tail_reference);
            w[l] = below ? exp_fp32(y) : 0.0f;
            head += (s[l] >= last && visible) ? 1 : 0;
          }
          if (head == 0) return;
          for (int l = unseen > 0 ? unseen : 0; l < batch && l < seen; ++l) {
            if (!(s[l] >= last)) continue;
            int const key = b * batch + l;
            GlobalIndex const index = shard_begin + tile.first_key + key;
            int const g = segment_of(s[l], index, &boundary_scores(row, 0), &boundary_indices(row, 0), boundaries);
            float const weight = exp_fp32(sigma * (s[l] - references(row, g)));
            if (g == boundaries) {
              w[l] = weight;  // equal to the last boundary's score, but a later key
              continue;
            }
            std::int64_t* sum = &sums(row, g, 0);
            float const scaled = weight * factor.fp32_value();
            float const* v = &values(key, 0);
            for (int c = 0; c < d; ++c) add_shared<Space>(sum[c], to_integer(scaled * v[c]));
            add_shared<Space>(sum[d], to_fixed(weight, factor.weight));
          }
        });
      });
}

/// products(t, rows, d) = weights(rows, keys of BLAS tile t) * values(keys of BLAS tile t, d), one product per tile of the fixed shape
/// that score_tiles uses.
template <class Space>
void weigh_values(Space const& space, Matrix<Space, float> const& weights, Matrix<Space, float> const& values,
                  Tensor3<Space, float> const& products, int key_count, int tile) {
  int const rows = products.extent_int(1), d = values.extent_int(1);
  gemm(space, GemmBatch{rows, d, tile, false, weights.data(), checked_int(weights.stride(0)), tile, values.data(), d,
                        std::ptrdiff_t{tile} * d, products.data(), d, std::ptrdiff_t{rows} * d, key_count / tile});
}

/// Adds the tail of `key_count` keys: the products of weigh_values and the sums of the weights.
template <class Space>
void add_tail(Space const& space, Matrix<Space, float> const& weights, Tensor3<Space, float> const& products, int rows, int key_count,
              int tile, Vector<Space, int> const& used, FixedPoint const& factor, Tensor3<Space, std::int64_t> const& sums) {
  constexpr int parts = parts_per_row<Space>;
  int const d = products.extent_int(2);
  Kokkos::parallel_for(
      "Asymptop::attend::add_tail", Kokkos::RangePolicy<Space>(space, 0, rows * parts), KOKKOS_LAMBDA(int const e) {
        int const row = e / parts;
        std::int64_t* sum = &sums(row, used(row), 0);
        for (int t = e % parts; t < key_count / tile; t += parts) {
          for (int c = 0; c < d; ++c) add_shared<Space>(sum[c], to_fixed(products(t, row, c), factor.value));
          float lanes[64] = {};
          for (int j = t * tile; j < (t + 1) * tile; j += 64) {
            for (int l = 0; l < 64; ++l) lanes[l] += weights(row, j + l);
          }
          double total = 0.0;
          for (int l = 0; l < 64; ++l) total += lanes[l];
          add_shared<Space>(sum[d], to_fixed(total, factor.weight));
        }
      });
}

}  // namespace asymptop
