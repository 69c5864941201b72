// An independent fp64 recomputation of a few rows, tile by tile: scores, weights and sums per segment.
#pragma once

#include <Kokkos_Core.hpp>

#include "../core/key_ranges.hpp"
#include "../score/key_tile.hpp"
#include "../score/softcap.hpp"
#include "segments.hpp"

namespace asymptop {

/// Adds a tile for each audited row. Segments are told apart by the fp32 scores (so that both computations sum the same
/// subsets); all numbers come from fp64 scores.
///   rows (audited): batch row numbers; score_rows (audited): their rows of `scores`, tile rows counted from tile.first_row; queries
///   (audited, d) fp64; sums (audited, segments, 3 + 1): e^y, e^{2y}, y e^y, count; worst (audited): largest |fp64 score - fp32 score| /
///   (‖q‖ ‖k‖), or over 2^-126 where that is less and fp32 has fewer digits; under slopes over the 2-norm of that and what they add. places
///   (audited): of their queries, by the number of keys.
template <class Space>
void add_tile_fp64(Space const& space, Vector<Space, int> const& rows, Matrix<Space, double> const& queries,
                   Segments<Space> const& segments, Vector<Space, int> const& score_rows, Matrix<Space, float> const& scores,
                   KeyTile const& keys, KeyRangesOf<Space> const& ranges, TileRange const& tile, GlobalIndex shard_begin,
                   Vector<Space, double> const& sigmas, double factor,
                   Kokkos::View<std::int64_t****, Kokkos::LayoutRight, typename Space::memory_space> const& sums,
                   Vector<Space, double> const& worst, double softcap = 0.0, double slope = 0.0,
                   Vector<Space, std::int64_t> const& places = {}) {
  // Few rows are audited: their keys are shared out in parts. Every chunk is summed by itself, so parts do not change a bit.
  // Within one, sums are of lanes of a fixed number, whatever the width of vectors.
  constexpr int chunk = is_host_space<Space> ? 64 : 8, lanes = 8, most_laws = 16;
  int const parts = is_host_space<Space> ? space.concurrency() : 2048;
  int const d = queries.extent_int(1), laws = sigmas.extent_int(0);
  auto const seg = segments;
  Kokkos::parallel_for(
      "Asymptop::attend::audit", Kokkos::RangePolicy<Space>(space, 0, rows.extent_int(0) * parts), KOKKOS_LAMBDA(int const e) {
        int const a = e / parts, part = e % parts;
        int const row = rows(a), panel_row = score_rows(a) - tile.first_row;
        if (panel_row < 0 || panel_row >= tile.rows) return;
        int const hidden = ranges.begin(tile, row), visible = ranges.end(tile, row), boundaries = seg.used(row);
        float const last = seg.boundary_score(row, boundaries - 1);
        double const tail_reference = seg.reference(row, boundaries);
        double const* q = &queries(a, 0);
        float const* row_scores = &scores(panel_row, 0);
        double q2 = 0.0;
        for (int c = 0; c < d; ++c) q2 += q[c] * q[c];
        for (int first_law = 0; first_law < laws; first_law += most_laws) {
          int const group = laws - first_law < most_laws ? laws - first_law : most_laws;
          std::int64_t tails[most_laws][4] = {};
          double difference2 = 0.0;  // largest (fp64 score - fp32 score)^2 / (‖q‖ ‖k‖)^2
          for (int j0 = part * chunk; j0 < visible; j0 += parts * chunk) {
            int const count = visible - j0 < chunk ? visible - j0 : chunk, unseen = hidden - j0;
            if (unseen >= count) continue;
            double s[chunk] = {};
            int segment[chunk] = {};
            double squares[chunk];
            keys.dots(q, j0, count, s, squares);
            for (int l = 0; l < count && softcap > 0.0; ++l) s[l] = softcapped(s[l], softcap);
            // A score is as precise as its terms are large, and what a slope adds is one of them.
            for (int l = 0; l < count && slope != 0.0; ++l) {
              double const bias = slope * static_cast<double>(tile.first_key + j0 + l - places(a));
              s[l] += bias;
              squares[l] += q2 > 0.0 ? bias * bias / q2 : 0.0;
            }
#pragma omp simd reduction(max : difference2)
            for (int l = 0; l < count; ++l) {
              double const difference = s[l] - row_scores[j0 + l], norms = q2 * squares[l];
              double const ratio = difference * difference / (norms > 0x1p-252 ? norms : 0x1p-252);
              difference2 = ratio > difference2 ? ratio : difference2;
            }
            for (int l = 0; l < count; ++l) {
              float const s32 = row_scores[j0 + l];
              segment[l] = l < unseen   ? -1
                           : s32 < last ? boundaries
                                        : segment_of(s32, shard_begin + tile.first_key + j0 + l, &seg.boundary_score(row, 0),
                                                     &seg.boundary_index(row, 0), boundaries);
            }
            for (int g = 0; g < group; ++g) {
              int const law = first_law + g;
              double const sigma = sigmas(law);
              double z1[lanes] = {}, z2[lanes] = {}, h[lanes] = {};
              int tail = 0;
              for (int j = 0; j < count; j += lanes) {
#pragma omp simd reduction(+ : tail)
                for (int l = 0; l < lanes; ++l) {
                  bool const in = (j + l < count) & (segment[j + l] == boundaries);
                  double const y = in ? sigma * (s[j + l] - tail_reference) : 0.0, weight = in ? exp_fp64(y) : 0.0;
                  z1[l] += weight;
                  z2[l] += weight * weight;
                  h[l] += y * weight;
                  tail += in ? 1 : 0;
                }
              }
              for (int l = 1; l < lanes; ++l) {
                z1[0] += z1[l];
                z2[0] += z2[l];
                h[0] += h[l];
              }
              tails[g][0] += to_fixed(z1[0], factor);
              tails[g][1] += to_fixed(z2[0], factor);
              tails[g][2] += to_fixed(h[0], factor);
              tails[g][3] += tail;
              if (tail == count) continue;
              for (int l = 0; l < count; ++l) {
                if (segment[l] == boundaries || segment[l] < 0) continue;
                double const y = sigma * (s[l] - seg.reference(row, segment[l]));
                double const weight = exp_fp64(y);
                std::int64_t* const head = &sums(a, law, segment[l], 0);
                Kokkos::atomic_add(head, to_fixed(weight, factor));
                Kokkos::atomic_add(head + 1, to_fixed(weight * weight, factor));
                Kokkos::atomic_add(head + 2, to_fixed(y * weight, factor));
                Kokkos::atomic_add(head + 3, std::int64_t{1});
              }
            }
          }
          for (int g = 0; g < group; ++g) {
            for (int i = 0; i < 4; ++i) Kokkos::atomic_add(&sums(a, first_law + g, boundaries, i), tails[g][i]);
          }
          Kokkos::atomic_fetch_max(&worst(a), sqrt(difference2));
        }
      });
}

}  // namespace asymptop
