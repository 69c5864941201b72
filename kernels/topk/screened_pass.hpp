// Top-k of a batch of rows over packed keys, screened in 8 bits: most keys are proven to lie below a row's threshold (quantised.hpp) and
// only the others are scored in fp32. Heads are those of the fused fp32 pass, to the bit.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "../core/counts.hpp"
#include "../core/simd.hpp"
#include "../core/work_split.hpp"
#include "../score/panel.hpp"
#include "../score/quantised.hpp"
#include "../score/score_pairs.hpp"
#include "../score/screen_panel.hpp"
#include "../score/screen_tiles.hpp"
#include "streamed_heads.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// What passed the screen of one strip, group by group.
struct ScreenedPairs {
  std::vector<RowKeyPair> pairs;
  std::array<std::size_t, score_strip / key_group + 1> begin{};
  std::size_t count = 0;

  /// Where the next pair goes, with room for `more` and for a batch past them that holds valid numbers.
  RowKeyPair* reserve(std::size_t more) {
    if (pairs.size() < count + more + simd::pair_batch) pairs.resize(2 * (count + more) + simd::pair_batch);
    return pairs.data() + count;
  }
};

/// Top-k of a batch of rows over a shard that arrives in pieces of packed keys and their quantised copies.
template <class Space>
class ScreenedPass : public StreamedHeads {
 public:
  /// ranges: keys of the shard that rows see. Bounds are those of products: queries have neither softcap nor slopes.
  ScreenedPass(PackedQueries const& queries, int keep, int threads, KeyRanges ranges)
      : StreamedHeads(queries, keep, std::max(keep / 2, 16), threads, std::move(ranges)), lines_(queries), workers_(split_.workers()) {
    // Panels of the screen: those of the queries, or blocks of 16 of each worker's rows.
    std::vector<QuantisedQueries::Rows> cut;
    std::vector<Part> of_part;
    for (int part = 0; part < split_.row_parts; ++part) {
      auto const panels = part_of(queries.panel_count(), part, split_.row_parts);
      int const begin = int_size(cut);
      if (tiles_ && panels.begin < panels.end) {
        auto const& last = queries.panels[panels.end - 1];
        int const end = last.first_row + last.rows;
        for (int row = queries.panels[panels.begin].first_row; row < end; row += tiles::rows)
          cut.push_back({row, std::min(tiles::rows, end - row)});
      } else {
        for (int p = panels.begin; p < panels.end; ++p) cut.push_back({queries.panels[p].first_row, queries.panels[p].rows});
      }
      of_part.push_back({begin, int_size(cut)});
    }
    quantised_ = QuantisedQueries(queries, cut, tiles_, tiles_ ? 127 : simd::screen_levels());
    for (int w = 0; w < split_.workers(); ++w) {
      auto& worker = workers_[w];
      worker.part = w / split_.row_parts;
      worker.panels = part_of(queries.panel_count(), w % split_.row_parts, split_.row_parts);
      worker.screened = of_part[w % split_.row_parts];
      worker.bounds.assign(quantised_.panels.begin() + worker.screened.begin, quantised_.panels.begin() + worker.screened.end);
      for (int p = 0; tiles_ && p < int_size(worker.bounds); ++p)
        worker.blocks.push_back({bytes_of(worker, p), worker.bounds[p].first_row});
      worker.applied.assign(queries.rows, std::numeric_limits<float>::quiet_NaN());
      worker.all_see = {0, std::numeric_limits<std::int64_t>::max()};
      for (auto const& rows : worker.bounds) {
        for (int row = rows.first_row; row < rows.first_row + rows.rows; ++row)
          worker.all_see = worker.all_see.within(ranges_.first(row), ranges_.limit[row]);
      }
    }
  }

  /// A larger sample where many candidates are wanted of keys that are held: screened, it costs less than the candidates that it spares.
  int sample_of(std::int64_t population, bool resident) const {
    auto const most = std::min<std::int64_t>(std::min(16384, keep_) * (tiles_ ? 16 : 4), population / 16);
    int const large = checked_int(most / score_strip * score_strip);
    return resident && large > small_sample && guess_would_help(large, population) ? large : StreamedHeads::sample_of(population, resident);
  }

  /// As StreamedHeads's; the sample is screened, too, with thresholds that are guessed from a part of it where it is large.
  void guess_thresholds(Space const& space, float const* packed, int sample, std::int64_t shard, std::int64_t population) {
    Vector<Space, std::uint8_t> const bytes(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::topk::sample"),
                                            quantised_size(sample, queries_.d));
    Vector<Space, KeyGroupBound> const bounds(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::topk::sample_bounds"),
                                              quantised_groups(sample));
    quantise_keys(space, packed, sample, queries_.d, simd::screen_layout(), bytes.data(), bounds.data());
    int const rank = rank_of_guess(sample, population);
    ScreenedPass best(queries_, rank, split_.workers(), std::vector<std::int64_t>(queries_.rows, sample));
    int const part = sample / sample_of_sample / score_strip * score_strip;
    if (part > 0 && best.guess_would_help(part, sample)) {
      // Groups lie as in the shard, so that those of the part have to come from all over it, too.
      auto const size = std::int64_t{key_group} * queries_.d;
      Vector<Space, float> const groups(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::topk::sample_of_sample"),
                                        packed_size(part, queries_.d));
      for (std::int64_t g = 0; g < part / key_group; ++g) std::copy_n(packed + g * sample / part * size, size, groups.data() + g * size);
      best.StreamedHeads::guess_thresholds(space, groups.data(), part, sample, sample);
    }
    best.add(space, packed, {bytes.data(), bounds.data()}, 0, sample);
    auto* self = this;
    auto const* of_sample = &best;
    Kokkos::parallel_for("Asymptop::topk::guess", Kokkos::RangePolicy<Space>(space, 0, queries_.rows), [=](int const row) {
      if (!self->sees_all(row, shard)) return;
      std::vector<PackedCandidate> spare;
      auto const head = of_sample->head(row, spare);
      if (int_size(head) == rank) self->start_from(row, score_of(head.back()));
    });
    space.fence();
  }

  /// Keys [first, first + count) of the shard, packed and quantised; pieces come in ascending order and start at multiples of key_group.
  void add(Space const& space, float const* packed, QuantisedKeys const& quantised, LocalIndex first, int count) {
    auto* self = this;
    Kokkos::parallel_for("Asymptop::topk::screened_pass",
                         Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Static>>(space, 0, split_.workers()),
                         [=](int const w) { self->work(w, packed, quantised, first, count); });
    space.fence();
  }

 private:
  /// A worker's own state, on cache lines of its own.
  struct alignas(128) Worker {
    std::size_t part = 0;                         ///< of the keys
    Part panels{};                                ///< of the queries
    Part screened{};                              ///< panels of the screen, of the same rows
    std::vector<QuantisedQueries::Panel> bounds;  ///< of those
    std::vector<simd::TileRows> blocks;           ///< the same, for tiles
    std::vector<float> applied;                   ///< the threshold that a row's bound is for
    KeyRun all_see{0, 0};                         ///< keys that all of its rows see
    ScreenedPairs passed;
    int pause = 0;       ///< strips to score in fp32 before the next try to screen one
    int next_pause = 1;  ///< should that try fail
  };

  /// Keys of one strip.
  struct Strip {
    float const* packed;
    QuantisedKeys quantised;
    LocalIndex first;
    int count;
    int groups() const { return (count + key_group - 1) / key_group; }
    float const* group(int g, int d) const { return packed + std::ptrdiff_t{g} * key_group * d; }
  };

  void work(int w, float const* packed, QuantisedKeys const& quantised, LocalIndex first, int count) {
    auto& worker = workers_[w];
    std::optional<simd::TileScreen> tiles;
    if (tiles_) tiles.emplace(quantised_.steps, worker.blocks.size());
    auto const keys = part_of(count, w / split_.row_parts, split_.key_parts, key_group);
    for (int begin = keys.begin; begin < keys.end; begin += score_strip) {
      Strip const strip{packed + std::ptrdiff_t{begin} * queries_.d, quantised.from(begin / key_group, queries_.d), first + begin,
                        std::min(score_strip, keys.end - begin)};
      auto const [seeing, open, whole] = apply_thresholds(worker, strip);
      if (seeing == 0) continue;
      // Not worth a try if too many rows take any score still, or too much passed of late.
      bool const sparse = worker.pause == 0 && open * dense <= seeing;
      worker.pause = std::max(0, worker.pause - 1);
      int const screened = sparse ? screen(worker, strip, tiles ? &*tiles : nullptr) : 0;
      if (screened > 0) rescore(worker, strip, screened, whole);
      if (screened < strip.groups()) score_all(worker, strip, screened);
    }
  }

  struct Rows {
    int seeing;  ///< any key of a strip
    int open;    ///< and take any score
    bool whole;  ///< whether all see all of its groups' keys
  };

  /// Brings bounds up to date.
  Rows apply_thresholds(Worker& worker, Strip const& strip) const {
    bool const all = strip.first >= worker.all_see.begin && std::int64_t{strip.first} + strip.count <= worker.all_see.end;
    if (all) return apply_thresholds(worker, strip, [&](int) { return Part{0, strip.count}; });
    return apply_thresholds(worker, strip, [&](int row) { return seen(row, strip.first, strip.count); });
  }

  template <class Seen>
  Rows apply_thresholds(Worker& worker, Strip const& strip, Seen const& seen_of) const {
    int seeing = 0, open = 0;
    bool whole = strip.count % key_group == 0;
    for (auto& bounds : worker.bounds) {
      for (int r = 0; r < bounds.rows; ++r) {
        int const row = bounds.first_row + r;
        auto const keys = seen_of(row);
        bool const sees = keys.end > 0;
        whole = whole && keys.begin == 0 && keys.end == strip.count;
        float const threshold = sees ? heads_[worker.part].threshold(row) : std::numeric_limits<float>::infinity();
        seeing += sees ? 1 : 0;
        open += threshold == -std::numeric_limits<float>::infinity() ? 1 : 0;
        auto& applied = worker.applied[row];
        if (applied == threshold) [[likely]]
          continue;
        bounds.set_threshold(r, threshold);
        applied = threshold;
      }
    }
    return {seeing, open, whole};
  }

  /// Collects what passes of a strip, group by group. Stops after the group in which too much has, and returns the groups done.
  int screen(Worker& worker, Strip const& strip, simd::TileScreen* tiles) const {
    auto& passed = worker.passed;
    auto const& last = queries_.panels[worker.panels.end - 1];
    int const row_count = last.first_row + last.rows - queries_.panels[worker.panels.begin].first_row;
    std::size_t const limit = std::int64_t{row_count} * score_strip / dense;
    passed.count = 0;
    for (int g = 0; g < strip.groups(); ++g) {
      passed.begin[g] = passed.count;
      bool const fetch = g > 0 && passed.count > passed.begin[g - 1];
      screen_group(worker, strip.quantised.from(g, queries_.d), fetch ? strip.group(g - 1, queries_.d) : nullptr, tiles);
      if (passed.count > limit) {
        worker.pause = worker.next_pause;
        worker.next_pause = std::min(2 * worker.next_pause, longest_pause);
        passed.begin[g + 1] = passed.count;
        return g + 1;
      }
    }
    passed.begin[strip.groups()] = passed.count;
    worker.next_pause = 1;
    return strip.groups();
  }

  /// `fetch`: fp32 keys of a group that will be needed soon, or null.
  void screen_group(Worker& worker, QuantisedKeys const& keys, float const* fetch, simd::TileScreen* tiles) const {
    auto& passed = worker.passed;
    bool const bounded = keys.bounds->largest_norm <= quantised_.largest_norm;
    int const panels = int_size(worker.bounds), fetches = fetch == nullptr ? 0 : queries_.d * 2;
    // A few lines with each panel: many at once would fill the queue of misses and hold up the products.
    int fetched = 0, due = 0;
    auto const prefetch = [&](int more) {
      for (due += more * fetches; fetched * panels < due; ++fetched) __builtin_prefetch(fetch + fetched * 16, 0, 2);
    };
    if (tiles != nullptr) {
      auto const start = [&](int p, std::int32_t* sums) {
        prefetch(1);
        simd::start_sums(worker.bounds[p], *keys.bounds, quantised_.reach, bounded, sums);
      };
      auto* const to = passed.reserve(simd::tile_pairs * panels);
      passed.count = tiles->screen(keys.values, worker.blocks, start, to) - passed.pairs.data();
      return;
    }
    alignas(64) std::int32_t start[QuantisedQueries::panel_lanes];
    for (int p = 0; p < panels; ++p) {
      prefetch(1);
      auto const& rows = worker.bounds[p];
      RowKeyPair* const to = passed.reserve(simd::panel_pairs);
      simd::start_sums(rows, *keys.bounds, quantised_.reach, bounded, start);
      auto const* const end =
          simd::screen_panel_of(rows.rows)(bytes_of(worker, p), keys.values, quantised_.steps, start, rows.first_row, to);
      passed.count += end - to;
    }
  }

  std::int32_t const* bytes_of(Worker const& worker, int panel) const {
    return quantised_.bytes.data() + quantised_.offset[worker.screened.begin + panel];
  }

  /// Scores what passed of the first `groups` groups in fp32 and offers it to the heads, keys ascending. `whole`: as Rows's.
  void rescore(Worker& worker, Strip const& strip, int groups, bool whole) {
    auto const& passed = worker.passed;
    auto& heads = heads_[worker.part];
    auto const end = std::int64_t{strip.first} + strip.count;
    for (int g = 0; g < groups; ++g) {
      auto const group_end = passed.begin[g + 1];
      LocalIndex const first = strip.first + g * key_group;
      float const* const next = strip.group(g + 1, queries_.d);
      // Of few pairs most of a group's keys would come for nothing.
      bool const ahead = g + 1 < groups && group_end - passed.begin[g] > 2 * simd::pair_batch;
      std::size_t const lines = ahead ? queries_.d * 2 : 0;
      std::size_t fetched = 0;
      for (auto i = passed.begin[g]; i < group_end; i += simd::pair_batch) {
        alignas(64) float scores[simd::pair_batch];
        int rows[simd::pair_batch];
        LocalIndex keys[simd::pair_batch];
        auto count = std::min(group_end - i, simd::pair_batch);
        for (std::size_t l = 0; l < simd::pair_batch; ++l) {
          rows[l] = row_of(passed.pairs[i + l]);
          keys[l] = first + key_of(passed.pairs[i + l]);
        }
        for (std::size_t l = 0; l < count; ++l) heads.expect(rows[l]);
        // The next group's keys move nearer meanwhile, some with each batch.
        fetched = prefetch_keys(next, fetched, (i + count - passed.begin[g]) * lines / (group_end - passed.begin[g]));
        simd::score_pairs(lines_, &passed.pairs[i], strip.group(g, queries_.d), count, queries_.d, scores);
        if (!whole) count = keep_seen(rows, scores, keys, count, end);
        heads.add(rows, scores, keys, count);
      }
    }
  }

  /// Asks for cache lines [from, to) of a group's keys, and returns `to`.
  static std::size_t prefetch_keys(float const* group, std::size_t from, std::size_t to) {
    for (auto line = from; line < to; ++line) __builtin_prefetch(group + line * 16, 0, 3);
    return to;
  }

  /// Moves those of `count` pairs to the front whose rows see their keys before `end`, and returns how many.
  std::size_t keep_seen(int* rows, float* scores, LocalIndex* keys, std::size_t count, std::int64_t end) const {
    std::size_t kept = 0;
    for (std::size_t l = 0; l < count; ++l) {
      auto const row = rows[l];
      std::int64_t const key = keys[l];
      rows[kept] = row;
      scores[kept] = scores[l];
      keys[kept] = keys[l];
      kept += key >= ranges_.first(row) && key < std::min(ranges_.limit[row], end) ? 1u : 0u;
    }
    return kept;
  }

  /// Scores the groups of a strip from `group` on in fp32, all of them.
  void score_all(Worker& worker, Strip const& strip, int group) {
    ScoreStrip scores;
    int const begin = group * key_group, count = strip.count - begin;
    LocalIndex const first = strip.first + begin;
    for (int p = worker.panels.begin; p < worker.panels.end; ++p) {
      auto const& panel = queries_.panels[p];
      simd::score_panel_of(panel.rows)(&queries_.data[panel.offset], strip.packed + std::ptrdiff_t{begin} * queries_.d,
                                       (count + key_group - 1) / key_group, queries_.d, scores.at, score_strip);
      for (int r = 0; r < panel.rows; ++r) {
        int const row = panel.first_row + r;
        offer(heads_[worker.part], row, scores.at + r * score_strip, seen(row, first, count), first);
        heads_[worker.part].settle(row);
      }
    }
  }

  /// Screening pays as long as fewer than one score in this many passes.
  static constexpr int dense = 8;
  static constexpr int longest_pause = 64;
  /// Of so many keys of a sample one guesses thresholds for all of them.
  static constexpr int sample_of_sample = 8;

  bool const tiles_ = simd::screens_by_tiles();
  QuantisedQueries quantised_;
  QueryLines lines_;
  std::vector<Worker> workers_;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
