// What every pass that streams keys past the heads of a batch of rows shares: heads per thread, guessed thresholds, results.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "../core/counts.hpp"
#include "../core/key_ranges.hpp"
#include "../core/types.hpp"
#include "../core/work_split.hpp"
#include "../score/panel.hpp"
#include "../score/softcap.hpp"
#include "radix_sort.hpp"
#include "row_heads.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// Heads of a batch of rows, one set for each part that the keys are split into.
class StreamedHeads {
 public:
  /// ranges: keys of the shard that rows see. `slack`, `order`: as RowHeads's.
  StreamedHeads(PackedQueries const& queries, int keep, int slack, int threads, KeyRanges ranges, KeyOrder order = KeyOrder::ascending)
      : queries_(queries),
        keep_(keep),
        split_(split_work(threads, queries.panel_count())),
        ranges_(std::move(ranges)),
        guessed_(ranges_.size(), false) {
    for (int p = 0; p < split_.key_parts; ++p) heads_.emplace_back(queries.rows, keep, score_strip, slack, order);
  }

  int rows() const { return queries_.rows; }
  /// Scores up to it are not taken of this row any more.
  float threshold(int row) const {
    float largest = heads_.front().threshold(row);
    for (auto const& heads : heads_) largest = std::max(largest, heads.threshold(row));
    return largest;
  }

  /// Whether thresholds guessed from a sample of that size would spare more candidates than a stream of thresholds does by itself. Scores
  /// with slopes depend on where keys lie, which a sample does not know.
  bool guess_would_help(int sample, std::int64_t population) const {
    if (queries_.alibi.slope != 0.0) return false;
    double const hits = expected_hits(sample, population), taken = guess_rank(hits) / hits;
    return hits >= 4.0 && guess_rank(hits) < sample && taken < 0.75 * (1.0 + std::log(exact_double(population) / keep_));
  }

  /// Keys of a sample that first thresholds are guessed from; 0: none would help. Only shards of many times that are sampled.
  int sample_of(std::int64_t population, bool /*resident*/) const {
    constexpr int worthwhile = 32;
    return population >= std::int64_t{small_sample} * worthwhile && guess_would_help(small_sample, population) ? small_sample : 0;
  }

  /// Guesses thresholds from a sample of the shard: whole packed groups drawn from all over it. `population`: how many of its keys will be
  /// seen at least. Rows that see only part of the shard are left alone.
  template <class Space>
  void guess_thresholds(Space const& space, float const* packed, int sample, std::int64_t shard, std::int64_t population) {
    int const rank = rank_of_guess(sample, population);
    auto* self = this;
    int const panels = queries_.panel_count(), workers = std::min(split_.workers(), panels);
    int panel_rows = 0;
    for (auto const& panel : queries_.panels) panel_rows = std::max(panel_rows, panel.rows);
    // One for each worker, made out here: Kokkos forbids a View to be made or freed inside a parallel region (since version 4 freeing
    // one waits for the very region that it stands in).
    std::vector<RowHeads> samples;
    for (int w = 0; w < workers; ++w) samples.emplace_back(panel_rows, rank, score_strip, std::max(rank / 2, 64));
    auto* of_worker = samples.data();
    Kokkos::parallel_for("Asymptop::topk::guess", Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, workers),
                         [=](int const w) {
                           for (int p = w; p < panels; p += workers)
                             self->guess_panel(self->queries_.panels[p], of_worker[w], packed, sample, shard);
                         });
    space.fence();
  }

  /// Rows whose guess was too high: fewer candidates were taken than are wanted and can be had of so many keys. They need another pass.
  std::vector<int> short_rows(std::int64_t seen) const {
    std::vector<int> rows;
    for (int row = 0; row < queries_.rows; ++row) {
      std::size_t const r = row;
      std::int64_t held = 0;
      for (auto const& heads : heads_) held += heads.size(row);
      if (guessed_[r] != 0 && held < std::min({std::int64_t{keep_}, ranges_.limit[r], seen})) rows.push_back(row);
    }
    return rows;
  }

  /// The best candidates of a row, best first: min(keep, keys that it sees).
  std::vector<PackedCandidate> head(int row, std::vector<PackedCandidate>& spare) const {
    std::vector<PackedCandidate> candidates;
    for (auto const& heads : heads_) {
      auto const* const entries = heads.entries(row);
      candidates.insert(candidates.end(), entries, entries + heads.size(row));
    }
    sort_candidates(candidates, spare);
    candidates.resize(std::min<std::size_t>(candidates.size(), keep_));
    return candidates;
  }

 protected:
  static constexpr int small_sample = 8192;
  /// Place in a sample, from 1, of the score that is guessed.
  int rank_of_guess(int sample, std::int64_t population) const { return checked_int(guess_rank(expected_hits(sample, population))); }
  bool sees_all(int row, std::int64_t shard) const { return ranges_.limit[row] >= shard && ranges_.first(row) == 0; }
  /// A guess at the score that a row's candidates have to exceed.
  void start_from(int row, float threshold) {
    for (auto& heads : heads_) heads.guess_threshold(row, threshold);
    guessed_[row] = 1;
  }

  /// Keys of [first, first + count) that a row sees.
  Part seen(int row, LocalIndex first, int count) const { return ranges_.within(row, first, count); }

  /// Offers the scores [seen.begin, seen.end) of those of keys first, first + 1, ... to a row. Up to a vector of scores before them is
  /// lost.
  static void offer(RowHeads& heads, int row, float* scores, Part seen, LocalIndex first) {
    int const begin = seen.begin / simd::width * simd::width;  // whole vectors: what is read past the end is still the strip's
    std::fill(scores + begin, scores + seen.begin, -std::numeric_limits<float>::infinity());
    heads.add(row, scores + begin, seen.end - begin, first + begin);
  }

  PackedQueries const& queries_;
  int keep_;
  WorkSplit split_;
  KeyRanges ranges_;
  std::vector<char> guessed_;
  std::vector<RowHeads> heads_;

 private:
  /// Guesses the thresholds of one panel's rows; `sampled` has room for as many rows, whatever it held.
  void guess_panel(PackedQueries::Panel const& panel, RowHeads& sampled, float const* packed, int sample, std::int64_t shard) {
    sampled.clear();
    ScoreStrip strip;
    for (int first = 0; first < sample; first += score_strip) {
      int const count = std::min(score_strip, sample - first);
      simd::score_panel_of(panel.rows)(&queries_.data[panel.offset], packed + std::ptrdiff_t{first} * queries_.d, count / key_group,
                                       queries_.d, strip.at, score_strip);
      cap_scores(queries_.softcap, strip.at, panel.rows, count / key_group, score_strip);
      for (int r = 0; r < panel.rows; ++r) sampled.add(r, strip.at + r * score_strip, count, first);
    }
    for (int r = 0; r < panel.rows; ++r) {
      int const row = panel.first_row + r;
      if (!sees_all(row, shard)) continue;
      sampled.prune(r);
      start_from(row, sampled.threshold(r));
    }
  }

  /// Keys of the sample among the shard's best `keep`, on average.
  double expected_hits(double sample, std::int64_t population) const { return sample * keep_ / exact_double(population); }

  /// The sample's largest score of this rank has fewer than `keep` of the shard above it with a chance of about 1e-8.
  static double guess_rank(double hits) { return std::ceil(hits + 5.5 * std::sqrt(hits) + 6.0); }
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
