// The second pass over the keys on the host, fused: probes, and attention split at every k for every law, from scores in the cache.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "../core/key_ranges.hpp"
#include "../core/work_split.hpp"
#include "../score/alibi.hpp"
#include "../score/panel.hpp"
#include "second_pass.hpp"
#include "weigh_panel.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// Fills a SecondPass for the rows of a batch over a shard that arrives in pieces. All sums are integers: threads may add them in any
/// order.
template <class Space>
class FusedSecondPass {
 public:
  struct Options {
    int strip;  ///< keys whose fp32 products are added up before they become integers; a function of the block length
    int threads;
    GlobalIndex shard_begin;
    bool probes_only;
  };
  static constexpr int largest_strip = 512;

  FusedSecondPass(PackedQueries const& queries, SecondPass<Space> const& work, Options const& options)
      : queries_(queries),
        work_(work),
        options_(options),
        split_(split_work(options.threads, queries.panel_count())),
        columns_(simd::padded_columns(queries.d)) {}

  bool attends() const { return !options_.probes_only && !work_.sums.empty(); }

  /// Keys [first, first + count) of the shard, packed, and their values (count, d) where the pass attends. Pieces start at strips.
  void add(Space const& space, KeyRanges const& ranges, float const* packed, float const* values, LocalIndex first, int count) const {
    auto const* self = this;
    auto const* limits = &ranges;
    Kokkos::parallel_for("Asymptop::attend::fused_second_pass",
                         Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, split_.workers()),
                         [=](int const worker) { self->run(worker, *limits, packed, values, first, count); });
    space.fence();
  }

 private:
  struct alignas(64) Scratch {
    float scores[panel_rows * largest_strip];
    float weights[panel_rows * largest_strip];
  };
  /// One panel against one strip of keys.
  struct Place {
    PackedQueries::Panel const& panel;
    float const* values;  ///< of the strip
    LocalIndex first;     ///< key of the shard
    int keys;
    Part seen[panel_rows];  ///< keys of the strip that each row sees
  };

  void run(int worker, KeyRanges const& ranges, float const* packed, float const* values, LocalIndex first, int count) const {
    auto const panels = part_of(queries_.panel_count(), worker % split_.row_parts, split_.row_parts);
    auto const keys = part_of(count, worker / split_.row_parts, split_.key_parts, options_.strip);
    Scratch scratch;
    std::vector<float> out(panel_rows * columns_);
    for (int begin = keys.begin; begin < keys.end; begin += options_.strip) {
      int const here = std::min(options_.strip, keys.end - begin);
      for (int p = panels.begin; p < panels.end; ++p) {
        auto const& panel = queries_.panels[p];
        Place place{panel, values == nullptr ? nullptr : values + std::ptrdiff_t{begin} * queries_.d, first + begin, here, {}};
        int most = 0;
        for (int r = 0; r < panel.rows; ++r) {
          place.seen[r] = ranges.within(panel.first_row + r, place.first, here);
          most = std::max(most, place.seen[r].end);
        }
        if (most == 0) continue;
        int const groups = (here + key_group - 1) / key_group;
        simd::score_panel_of(panel.rows)(&queries_.data[panel.offset], packed + std::ptrdiff_t{begin} * queries_.d, groups, queries_.d,
                                         scratch.scores, largest_strip);
        finish_scores(queries_, panel, place.first, scratch.scores, groups, largest_strip);
        for (int r = 0; r < panel.rows; ++r) probe(panel.first_row + r, scratch.scores + r * largest_strip, place.seen[r]);
        for (std::size_t law = 0; law < work_.sums.size() && attends(); ++law) attend(place, scratch, out.data(), law);
      }
    }
  }

  /// Threads share rows only where keys are split.
  void add_integer(std::int64_t& target, std::int64_t value) const {
    if (split_.key_parts == 1) {
      target += value;
    } else {
      Kokkos::atomic_add(&target, value);
    }
  }

  /// Counts a row's scores of the strip for its probes and its edge: what add_tile(Probes) does, a vector at a time.
  void probe(int row, float const* scores, Part seen) const {
    using namespace simd;
    auto const& p = work_.probes;
    constexpr float magic = 12582912.0f;  // as in bin_strip
    int const first_bin = p.first_bin(row), probes = used_probes(row);
    Floats const bins_per_unit = broadcast(p.grid.bins_per_unit), rounder = broadcast(magic), edge = broadcast(p.edge_score(row));
    Floats const lowest = broadcast(static_cast<float>(first_bin)), highest = broadcast(static_cast<float>(first_bin + p.grid.count - 1));
    std::int32_t const bin_bits = bit_cast<std::int32_t>(magic) + first_bin;
    std::int64_t above_edge = 0, equal_edge = 0;
    for (int j = seen.begin / width * width; j < seen.end; j += width) {
      LaneMask const hidden = j < seen.begin ? first_lanes(seen.begin - j) : LaneMask{0};
      LaneMask const lanes = first_lanes(seen.end - j) & ~hidden;
      Floats const s = load(scores + j);
      LaneMask const over = above(s, edge) & lanes;
      above_edge += std::popcount(over);
      equal_edge += std::popcount(~over & ~above(edge, s) & lanes);
      Ints const bin = bits_of(smaller(larger(s * bins_per_unit, lowest), highest) + rounder);
      for (int q = 0; q < probes; ++q) {
        LaneMask const inside = equal(bin, broadcast(bin_bits + p.bin(row, q))) & lanes;
        if (inside != 0) answer(row, q, scores + j, inside, above(s, broadcast(p.high(row, q))));
      }
    }
    if (above_edge > 0) add_integer(p.edge(row, 0, 0), above_edge);
    if (equal_edge > 0) add_integer(p.edge(row, 0, 1), equal_edge);
  }

  int used_probes(int row) const {
    int used = 0;
    int const most = work_.probes.bin.extent_int(1);
    while (used < most && work_.probes.bin(row, used) >= 0) ++used;
    return used;
  }

  /// Scores of a probe's bin: those above its window are counted with their moments, those inside collected.
  void answer(int row, int q, float const* scores, simd::LaneMask inside, simd::LaneMask above_high) const {
    auto const& p = work_.probes;
    std::int64_t count = 0, sum = 0, square = 0;
    for (auto left = inside; left != 0; left &= left - 1) {
      int const l = std::countr_zero(left);
      if ((above_high >> l & 1u) != 0) {
        auto const binned = bin_score(scores[l], p.grid, p.first_bin(row));
        ++count;
        sum += binned.r;
        square += binned.r2;
      } else if (scores[l] > p.low(row, q)) {
        int const at = split_.key_parts == 1 ? p.fill(row, q)++ : Kokkos::atomic_fetch_add(&p.fill(row, q), 1);
        if (at < p.capacity(row, q)) p.collected(p.begin(row, q) + at) = scores[l];
      }
    }
    if (count == 0) return;
    add_integer(p.above(row, q, 0), count);
    add_integer(p.above(row, q, 1), sum);
    add_integer(p.above(row, q, 2), square);
  }

  /// Adds the strip to the attention sums of one law: tail keys through the register tile, head keys one by one.
  void attend(Place const& place, Scratch& scratch, float* out, std::size_t law) const {
    auto const& sums = work_.sums[law];
    for (int r = 0; r < place.panel.rows; ++r) {
      int const row = place.panel.first_row + r;
      float* weights = scratch.weights + r * largest_strip;
      float const* scores = scratch.scores + r * largest_strip;
      int const head = weigh_tail(row, scores, place.seen[r], place.keys, work_.fp32_sigma(law), weights);
      if (head > 0) add_head(place, row, scores, place.seen[r], weights, law);
      add_integer(sums(row, work_.segments.used(row), queries_.d), to_fixed(sum_of(weights, place.keys), work_.factor.weight));
    }
    std::fill(out, out + place.panel.rows * columns_, 0.0f);
    simd::weigh_panel(place.panel.rows, scratch.weights, largest_strip, place.values, queries_.d, place.keys, out, columns_);
    for (int r = 0; r < place.panel.rows; ++r) {
      int const row = place.panel.first_row + r;
      std::int64_t* sum = &sums(row, work_.segments.used(row), 0);
      for (int c = 0; c < queries_.d; ++c) add_integer(sum[c], to_fixed(out[r * columns_ + c], work_.factor.value));
    }
  }

  /// Weights e^{sigma (s - reference)} of the tail's keys, 0 for others. Returns how many keys may be of the head.
  int weigh_tail(int row, float const* scores, Part seen, int count, float sigma, float* weights) const {
    int const boundaries = work_.segments.used(row);
    float const last = work_.segments.boundary_score(row, boundaries - 1), reference = work_.segments.reference(row, boundaries);
    int head = 0;
    int const whole = (count + 63) / 64 * 64;
#pragma omp simd reduction(+ : head)
    for (int l = 0; l < whole; ++l) {
      bool const visible = (l >= seen.begin) & (l < seen.end);
      float const y = sigma * (scores[l] - reference);
      weights[l] = visible && scores[l] < last ? exp_fp32(y) : 0.0f;
      head += visible && scores[l] >= last ? 1 : 0;
    }
    return head;
  }

  void add_head(Place const& place, int row, float const* scores, Part seen, float* weights, std::size_t law) const {
    auto const& segments = work_.segments;
    auto const& sums = work_.sums[law];
    float const sigma = work_.fp32_sigma(law), value_factor = work_.factor.fp32_value();
    int const boundaries = segments.used(row), d = queries_.d;
    float const last = segments.boundary_score(row, boundaries - 1);
    for (int l = seen.begin; l < seen.end; ++l) {
      if (!(scores[l] >= last)) continue;
      GlobalIndex const index = options_.shard_begin + place.first + l;
      int const g = segment_of(scores[l], index, &segments.boundary_score(row, 0), &segments.boundary_index(row, 0), boundaries);
      float const weight = exp_fp32(sigma * (scores[l] - segments.reference(row, g)));
      if (g == boundaries) {
        weights[l] = weight;  // equal to the last boundary's score, but a later key
        continue;
      }
      std::int64_t* sum = &sums(row, g, 0);
      float const scaled = weight * value_factor;
      float const* v = place.values + std::ptrdiff_t{l} * d;
      for (int c = 0; c < d; ++c) add_integer(sum[c], to_integer(scaled * v[c]));
      add_integer(sum[d], to_fixed(weight, work_.factor.weight));
    }
  }

  static double sum_of(float const* weights, int count) {
    float lanes[64] = {};
    for (int j = 0; j < count; j += 64) {
      for (int l = 0; l < 64; ++l) lanes[l] += weights[j + l];
    }
    double total = 0.0;
    for (float const lane : lanes) total += lane;
    return total;
  }

  PackedQueries const& queries_;
  SecondPass<Space> const& work_;
  Options options_;
  WorkSplit split_;
  int columns_;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
