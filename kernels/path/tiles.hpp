// The verbs of the path of BLAS tiles: any space, keys as rows, a matrix of scores of a step.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "../attend/audit.hpp"
#include "../profile/profile_top_k.hpp"
#include "../score/alibi.hpp"
#include "../score/softcap.hpp"
#include "../topk/radix_sort.hpp"
#include "batch.hpp"

namespace asymptop {

/// Numbers of the host in the space's memory.
template <class Space, class T>
Vector<Space, T> path_vector(Space const& space, char const* label, std::vector<T> const& values) {
  Vector<Space, T> const view(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), values.size());
  Kokkos::View<T const*, Kokkos::HostSpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>> const host(values.data(), values.size());
  Kokkos::deep_copy(space, view, host);
  space.fence();
  return view;
}

/// What all passes of a batch read, and the scores of the step in work.
template <class Space>
struct TiledRows {
  TiledRows(Space const& space, PathRows const& rows, TileSizes const& tile_sizes)
      : count(rows.rows),
        queries(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::path::queries"), rows.rows, rows.d),
        scores("Asymptop::path::scores", rows.rows, tile_sizes.pass),
        ranges{path_vector(space, "Asymptop::path::limit", rows.ranges.limit),
               path_vector(space, "Asymptop::path::from", rows.ranges.from)},
        grid(rows.grid),
        first_bin(path_vector(space, "Asymptop::path::first_bin", rows.first_bin)),
        tiles(tile_sizes),
        softcap(rows.softcap),
        slope(rows.alibi.slope),
        places(path_vector(space, "Asymptop::path::places", rows.alibi.places)) {
    Kokkos::View<float const**, Kokkos::LayoutRight, Kokkos::HostSpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>> const host(
        rows.queries, queries.extent(0), queries.extent(1));
    Kokkos::deep_copy(space, queries, host);
    space.fence();
  }

  int count;
  Matrix<Space, float> queries, scores;
  KeyRangesView<Space> ranges;
  BinGrid grid;
  Vector<Space, int> first_bin;
  TileSizes tiles;
  double softcap, slope;
  Vector<Space, std::int64_t> places;
};

/// A pass that begins each step with a tile of scores.
template <class Space, class Base>
class TiledPass : public Base {
 public:
  explicit TiledPass(TiledRows<Space> const& rows) : rows_(rows) {}
  GlobalIndex step(bool) const override { return rows_.tiles.pass; }
  int padded(int count) const override { return (count + rows_.tiles.blas - 1) / rows_.tiles.blas * rows_.tiles.blas; }
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) final {
    Matrix<Space, float> const tile(const_cast<float*>(keys.keys.data), keys.padded, rows_.queries.extent(1));
    score_tiles(space, rows_.queries, tile, rows_.scores, keys.padded, rows_.tiles.blas);
    cap_tiles(space, rows_.scores, rows_.count, keys.padded, rows_.softcap);
    bias_tiles(space, rows_.scores, rows_.count, keys.padded, rows_.slope, rows_.places, keys.first);
    space.fence();
    watch.done(PathPart::score);
    add_scored(space, keys, {0, rows_.count, keys.first, keys.count}, watch);
  }

 protected:
  virtual void add_scored(Space const&, KeyStep<Space> const&, TileRange const&, StepWatch const&) {}
  TiledRows<Space> const& rows_;
};

template <class Space>
class TiledScores final : public TiledPass<Space, ScorePass<Space>> {
 public:
  using TiledPass<Space, ScorePass<Space>>::TiledPass;
  Matrix<Space, float> const& scores() const override { return this->rows_.scores; }
};

/// Steps between two looks at the candidate buffers, which have room for what arrives meanwhile.
inline constexpr int prune_every = 8;

/// A row's candidates from pruned buffers, for any number of rows at once.
template <class Space>
RowHead heads_of(Space const& space, CandidateBuffer<Space> const& candidates) {
  // Pruned rows hold at most `keep` entries; the buffers are much longer.
  auto const& buffer = candidates.entries;
  Matrix<Space, PackedCandidate> const kept(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::path::kept"), buffer.extent(0),
                                            std::min<std::size_t>(candidates.keep, buffer.extent(1)));
  Kokkos::deep_copy(space, kept, Kokkos::subview(buffer, Kokkos::ALL, std::make_pair(std::size_t{0}, kept.extent(1))));
  space.fence();
  auto const entries = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), kept);
  auto const fill = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), candidates.fill);
  return [entries, fill](int row) {
    auto const* const first = &entries(row, 0);
    std::vector<PackedCandidate> head(first, first + fill(row)), spare;
    sort_candidates(head, spare);
    return head;
  };
}

template <class Space>
class TiledFirst final : public TiledPass<Space, FirstPass<Space>> {
 public:
  TiledFirst(Space const& space, TiledRows<Space> const& rows, typename FirstPass<Space>::Options const& options)
      : TiledPass<Space, FirstPass<Space>>(rows),
        headroom_(prune_every * rows.tiles.pass),
        candidates_(space, rows.count, options.keep, headroom_) {
    if (options.profile) profile_ = std::make_unique<ProfileTopK<Space>>(rows.grid, rows.first_bin, candidates_);
  }
  void finish(Space const& space, StepWatch const& watch) override {
    if (profile_) flush(space, *profile_);
    prune(space, candidates_, candidates_.entries.extent_int(1));
    space.fence();
    watch.done(PathPart::select);
  }
  RowHead heads(Space const& space) override { return heads_of(space, candidates_); }
  Tensor3<Kokkos::HostSpace, std::int64_t> moments(Space const&) override {
    return Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), profile_->moments);
  }
  bool clear(Space const& space) override {
    step_ = 0;
    if (profile_) {
      profile_->clear(space);
    } else {
      candidates_.clear(space);
    }
    return true;
  }

 private:
  void add_scored(Space const& space, KeyStep<Space> const&, TileRange const& tile, StepWatch const& watch) override {
    auto const& rows = this->rows_;
    if (profile_ && profile_->since_flush + tile.keys > packed_limit) flush(space, *profile_);
    if (step_++ % prune_every == 0) prune(space, candidates_, headroom_);
    if (profile_) {
      add_tile(space, *profile_, rows.scores, rows.ranges, tile);
      profile_->since_flush += tile.keys;
    } else {
      add_candidates(space, candidates_, rows.scores, rows.ranges, tile);
    }
    space.fence();
    watch.done(PathPart::select);
  }

  int headroom_, step_ = 0;
  CandidateBuffer<Space> candidates_;
  std::unique_ptr<ProfileTopK<Space>> profile_;  ///< on the same candidates
};

/// Weights and products of a step with its values.
template <class Space>
struct TiledWeights {
  TiledWeights() = default;
  explicit TiledWeights(TiledRows<Space> const& rows)
      : weights("Asymptop::path::weights", rows.scores.extent(0), rows.scores.extent(1)),
        products("Asymptop::path::products", rows.tiles.pass / rows.tiles.blas, rows.queries.extent(0), rows.queries.extent(1)) {}

  void add(Space const& space, TiledRows<Space> const& rows, KeyStep<Space> const& keys, Segments<Space> const& segments,
           GlobalIndex shard_begin, float sigma, FixedPoint const& factor, Tensor3<Space, std::int64_t> const& sums) const {
    TileRange const all{0, rows.count, keys.first, keys.padded};
    add_head_and_weigh_tail(space, segments, rows.scores, keys.values, rows.ranges, all, shard_begin, sigma, factor, weights, sums);
    weigh_values(space, weights, keys.values, products, keys.padded, rows.tiles.blas);
    add_tail(space, weights, products, rows.count, keys.padded, rows.tiles.blas, segments.used, factor, sums);
  }

  Matrix<Space, float> weights;
  Tensor3<Space, float> products;
};

template <class Space>
class TiledSecond final : public TiledPass<Space, KeyPass<Space>> {
 public:
  TiledSecond(TiledRows<Space> const& rows, SecondPass<Space> const& work, GlobalIndex shard_begin, bool probes_only)
      : TiledPass<Space, KeyPass<Space>>(rows), work_(work), shard_begin_(shard_begin), probes_only_(probes_only) {
    if (wants_values()) weights_ = TiledWeights<Space>(rows);
  }
  bool wants_values() const override { return !probes_only_ && !work_.sums.empty(); }

 private:
  void add_scored(Space const& space, KeyStep<Space> const& keys, TileRange const& tile, StepWatch const& watch) override {
    auto const& rows = this->rows_;
    add_tile(space, work_.probes, rows.scores, rows.ranges, tile);
    space.fence();
    watch.done(PathPart::refine);
    if (probes_only_) return;
    add_tile_fp64(space, work_.audit_rows, work_.audit_queries, work_.segments, work_.audit_rows, rows.scores, keys.keys, rows.ranges, tile,
                  shard_begin_, work_.audit_sigmas, work_.factor.weight, work_.audit_sums, work_.audit_worst, work_.softcap, work_.slope,
                  work_.audit_places);
    space.fence();
    watch.done(PathPart::audit);
    if (!wants_values()) return;
    for (std::size_t law = 0; law < work_.sums.size(); ++law)
      weights_.add(space, rows, keys, work_.segments, shard_begin_, work_.fp32_sigma(law), work_.factor, work_.sums[law]);
    space.fence();
    watch.done(PathPart::attend);
  }

  SecondPass<Space> const& work_;
  GlobalIndex shard_begin_;
  bool probes_only_;
  TiledWeights<Space> weights_;
};

/// The second pass with nothing in the head: every key is tail, weighed by e^{sigma (s - reference)} with the row's bound on scores as
/// reference, so one pass is enough and fixed-point sums stay exact. Right while scores come within 80 of the bound, as those of normal
/// keys do.
template <class Space>
class TiledExact final : public TiledPass<Space, AttentionPass<Space>> {
 public:
  TiledExact(Space const& space, TiledRows<Space> const& rows, typename AttentionPass<Space>::Options const& options)
      : TiledPass<Space, AttentionPass<Space>>(rows),
        factor_(FixedPoint::make(options.n, options.largest_value)),
        sigma_(options.sigma),
        first_key_(options.first_leaf * options.leaf),
        weights_(rows),
        sums_("Asymptop::path::sums", rows.queries.extent(0), 2, rows.queries.extent(1) + 1) {
    auto const m = rows.queries.extent(0);
    segments_ = {
        Matrix<Space, float>("Asymptop::path::boundary_score", m, 1), Matrix<Space, GlobalIndex>("Asymptop::path::boundary_index", m, 1),
        Matrix<Space, float>("Asymptop::path::reference", m, 2), path_vector(space, "Asymptop::path::used", std::vector<int>(m, 1))};
    auto const bounds = path_vector(space, "Asymptop::path::bounds", options.bounds);
    for (int s = 0; s < 2; ++s) Kokkos::deep_copy(space, Kokkos::subview(segments_.reference, Kokkos::ALL, s), bounds);
    Kokkos::deep_copy(space, segments_.boundary_score, std::numeric_limits<float>::infinity());
    space.fence();
  }
  std::variant<AttentionRuns, AttentionSums> parts() const override {
    auto const host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), sums_);
    AttentionSums tail{factor_, {}};
    for (std::size_t row = 0; row < host.extent(0); ++row)
      tail.sums.insert(tail.sums.end(), &host(row, 1, 0), &host(row, 1, 0) + host.extent(2));
    return tail;
  }
  void clear(Space const& space) override { Kokkos::deep_copy(space, sums_, 0); }

 private:
  void add_scored(Space const& space, KeyStep<Space> const& keys, TileRange const&, StepWatch const& watch) override {
    weights_.add(space, this->rows_, keys, segments_, first_key_, sigma_, factor_, sums_);
    space.fence();
    watch.done(PathPart::attend);
  }

  FixedPoint factor_;
  float sigma_;
  GlobalIndex first_key_;
  TiledWeights<Space> weights_;
  Tensor3<Space, std::int64_t> sums_;
  Segments<Space> segments_;
};

template <class Space>
class TiledBatch final : public PathBatch<Space> {
 public:
  TiledBatch(Space const& space, PathRows const& rows, TileSizes const& tiles) : rows_(space, rows, tiles) {}
  std::unique_ptr<ScorePass<Space>> score(Space const&, bool) override { return std::make_unique<TiledScores<Space>>(rows_); }
  std::shared_ptr<FirstPass<Space>> first_pass(Space const& space, typename FirstPass<Space>::Options const& options) override {
    return std::make_shared<TiledFirst<Space>>(space, rows_, options);
  }
  std::unique_ptr<KeyPass<Space>> second_pass(Space const&, SecondPass<Space> const& work, GlobalIndex shard_begin,
                                              bool probes_only) override {
    return std::make_unique<TiledSecond<Space>>(rows_, work, shard_begin, probes_only);
  }
  std::unique_ptr<AttentionPass<Space>> attention(Space const& space, typename AttentionPass<Space>::Options const& options) override {
    return std::make_unique<TiledExact<Space>>(space, rows_, options);
  }

 private:
  TiledRows<Space> rows_;
};

}  // namespace asymptop
