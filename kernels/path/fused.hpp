// The verbs of the fused path and of its screened top-k: hosts, packed keys, no score matrix.
#pragma once

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "../attend/audit.hpp"
#include "../attend/fused_attention.hpp"
#include "../attend/fused_second_pass.hpp"
#include "../core/counts.hpp"
#include "../profile/fused_first_pass.hpp"
#include "../score/score_packed.hpp"
#include "../topk/screened_pass.hpp"
#include "batch.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// What all passes of a batch read.
template <class Space>
struct FusedRows {
  FusedRows(PathRows const& rows, TileSizes const& tile_sizes, int thread_count)
      : queries(rows.queries, rows.rows, rows.d, rows.tile > 0 ? rows.tile : std::max(1, rows.rows)),
        ranges(rows.ranges),
        ranges_view{Vector<Space, std::int64_t>("Asymptop::path::limit", ranges.limit.size()),
                    Vector<Space, std::int64_t>("Asymptop::path::from", ranges.from.size())},
        grid(rows.grid),
        first_bin("Asymptop::path::first_bin", rows.first_bin.size()),
        tiles(tile_sizes),
        threads(thread_count) {
    std::copy(ranges.limit.begin(), ranges.limit.end(), ranges_view.limit.data());
    std::copy(ranges.from.begin(), ranges.from.end(), ranges_view.from.data());
    std::copy(rows.first_bin.begin(), rows.first_bin.end(), first_bin.data());
    queries.softcap = rows.softcap;
    queries.alibi = rows.alibi;
  }
  /// Queries of some rows by themselves.
  PackedQueries packed(std::vector<int> const& rows) const {
    std::vector<float> q;
    for (int const row : rows) {
      auto const numbers = queries.row(row);
      for (int c = 0; c < queries.d; ++c) q.push_back(numbers(c));
    }
    PackedQueries some(q.data(), int_size(rows), queries.d);
    some.softcap = queries.softcap;
    some.alibi.slope = queries.alibi.slope;
    for (int const row : rows) {
      if (some.alibi.slope != 0.0) some.alibi.places.push_back(queries.alibi.places[row]);
    }
    return some;
  }

  PackedQueries queries;
  KeyRanges ranges;
  KeyRangesView<Space> ranges_view;
  BinGrid grid;
  Vector<Space, int> first_bin;
  TileSizes tiles;
  int threads;
};

/// Few rows take keys that lie in memory in long steps: their threads spend so little on a short one that waiting for each other would
/// count.
inline GlobalIndex packed_step_of(int rows, bool resident) {
  return resident ? GlobalIndex{packed_step} * std::clamp(64 / std::max(1, rows), 1, 32) : packed_step;
}

/// Lets what goes on meanwhile go on.
inline auto between_strips(StepWatch const& watch) {
  return [&watch] {
    if (watch.between) watch.between();
  };
}

/// Scores in the cache of each thread; kept ones in a matrix, for those who want to see them.
template <class Space>
class FusedScores final : public ScorePass<Space> {
 public:
  FusedScores(FusedRows<Space> const& rows, bool keep) : rows_(rows) {
    if (keep) scores_ = Matrix<Space, float>("Asymptop::path::kept_scores", rows.ranges.size(), rows.tiles.pass);
  }
  GlobalIndex step(bool resident) const override {
    return scores_.extent(1) > 0 ? rows_.tiles.pass : packed_step_of(rows_.queries.rows, resident);
  }
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    if (scores_.extent(1) > 0) {
      score_packed(space, rows_.queries, keys.keys.data, keys.count, scores_, keys.first);
    } else {
      score_strips(space, rows_.queries, keys.keys.data, keys.count);
    }
    space.fence();
    watch.done(PathPart::score);
  }
  Matrix<Space, float> const& scores() const override { return scores_; }

 private:
  FusedRows<Space> const& rows_;
  Matrix<Space, float> scores_;
};

/// Rows by themselves, without a guess.
template <class Space>
class FusedAgain final : public KeyPass<Space> {
 public:
  FusedAgain(FusedRows<Space> const& all, std::vector<int> rows, int keep) : rows_(std::move(rows)), queries_(all.packed(rows_)) {
    pass_ = std::make_unique<FusedFirstPass<Space>>(queries_, typename FusedFirstPass<Space>::Options{keep, false, all.grid, all.threads},
                                                    all.first_bin, all.ranges.of(rows_));
  }
  GlobalIndex step(bool resident) const override { return packed_step_of(queries_.rows, resident); }
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    pass_->add(space, keys.keys.data, keys.first, keys.count);
    watch.done(PathPart::select);
  }
  /// Calls take(pass, row of it) where it has the row.
  template <class Take>
  bool visit(int row, Take const& take) const {
    auto const at = std::find(rows_.begin(), rows_.end(), row);
    if (at == rows_.end()) return false;
    take(*pass_, checked_int(at - rows_.begin()));
    return true;
  }

 private:
  std::vector<int> rows_;
  PackedQueries queries_;
  std::unique_ptr<FusedFirstPass<Space>> pass_;
};

/// Profile and top-k by a pass of heads: fused, or screened.
template <class Space, class Pass>
class HeadsPass : public FirstPass<Space>, public std::enable_shared_from_this<HeadsPass<Space, Pass>> {
 public:
  template <class... More>
  HeadsPass(FusedRows<Space> const& rows, int keep, More const&... more)
      : rows_(rows), keep_(keep), pass_(rows.queries, more..., rows.ranges) {}
  GlobalIndex step(bool resident) const override { return packed_step_of(rows_.queries.rows, resident); }
  int sample_of(std::int64_t population, bool resident) const override { return pass_.sample_of(population, resident); }
  void take_sample(Space const& space, float const* keys, int sample, std::int64_t shard, std::int64_t population) override {
    pass_.guess_thresholds(space, keys, sample, shard, population);
  }
  KeyPass<Space>* again(std::int64_t seen) override {
    auto const rows = pass_.short_rows(seen);
    if (!rows.empty()) again_ = std::make_unique<FusedAgain<Space>>(rows_, rows, keep_);
    return again_.get();
  }
  RowHead heads(Space const&) override {
    return [self = this->shared_from_this()](int row) {
      std::vector<PackedCandidate> spare, head;
      auto const take = [&](auto const& pass, int at) { head = pass.head(at, spare); };
      if (self->again_ == nullptr || !self->again_->visit(row, take)) take(self->pass_, row);
      return head;
    };
  }
  Tensor3<Kokkos::HostSpace, std::int64_t> moments(Space const&) override { return {}; }

 protected:
  FusedRows<Space> const& rows_;
  int keep_;
  Pass pass_;

 private:
  std::unique_ptr<FusedAgain<Space>> again_;
};

template <class Space>
class FusedFirst final : public HeadsPass<Space, FusedFirstPass<Space>> {
  using Pass = FusedFirstPass<Space>;

 public:
  FusedFirst(FusedRows<Space> const& rows, typename FirstPass<Space>::Options const& options)
      : HeadsPass<Space, Pass>(rows, options.keep,
                               typename Pass::Options{options.keep, options.profile, rows.grid, rows.threads, options.order, options.slack},
                               rows.first_bin) {}
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    this->pass_.add(space, keys.keys.data, keys.first, keys.count, between_strips(watch));
    watch.done(PathPart::select);
  }
  Tensor3<Kokkos::HostSpace, std::int64_t> moments(Space const& space) override { return this->pass_.moments(space); }
};

/// The heads of the fused pass, to the bit.
template <class Space>
class ScreenedFirst final : public HeadsPass<Space, ScreenedPass<Space>> {
 public:
  ScreenedFirst(FusedRows<Space> const& rows, int keep) : HeadsPass<Space, ScreenedPass<Space>>(rows, keep, keep, rows.threads) {}
  bool wants_quantised() const override { return true; }
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    this->pass_.add(space, keys.keys.data, keys.quantised, keys.first, keys.count);
    watch.done(PathPart::select);
  }
};

/// The audit of a second pass, which has scores of its own rows.
template <class Space>
class FusedAudit {
 public:
  /// most: keys that come at a time. Pieces are cut at multiples of 64 keys: how long they are changes nothing.
  FusedAudit(FusedRows<Space> const& rows, SecondPass<Space> const& work, GlobalIndex shard_begin, int most = packed_step)
      : rows_(rows),
        work_(work),
        shard_begin_(shard_begin),
        queries_(rows.packed({work.audit_rows.data(), work.audit_rows.data() + work.audit_rows.extent(0)})),
        scores_("Asymptop::path::audit_scores", work.audit_rows.extent(0), most),
        order_("Asymptop::path::audit_order", work.audit_rows.extent(0)) {
    for (int a = 0; a < queries_.rows; ++a) order_(a) = a;
  }
  /// Keys [first, first + count) of the shard.
  void add(Space const& space, float const* packed, LocalIndex first, int count) const {
    score_packed(space, queries_, packed, count, scores_, first);
    space.fence();
    add_tile_fp64(space, work_.audit_rows, work_.audit_queries, work_.segments, order_, scores_, {packed, queries_.d, true},
                  rows_.ranges_view, {0, rows_.queries.rows, first, count}, shard_begin_, work_.audit_sigmas, work_.factor.weight,
                  work_.audit_sums, work_.audit_worst, work_.softcap, work_.slope, work_.audit_places);
    space.fence();
  }

 private:
  FusedRows<Space> const& rows_;
  SecondPass<Space> const& work_;
  GlobalIndex shard_begin_;
  PackedQueries queries_;
  Matrix<Space, float> scores_;
  Vector<Space, int> order_;
};

template <class Space>
class FusedSecond final : public KeyPass<Space> {
 public:
  FusedSecond(Space const& space, FusedRows<Space> const& rows, SecondPass<Space> const& work, GlobalIndex shard_begin, bool probes_only)
      : rows_(rows),
        probes_only_(probes_only),
        pass_(rows.queries, work, {rows.tiles.blas, rows.threads, shard_begin, probes_only}),
        audit_(rows, work, shard_begin) {
    space.fence();
  }
  GlobalIndex step(bool) const override { return packed_step; }
  bool wants_values() const override { return pass_.attends(); }
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    pass_.add(space, rows_.ranges, keys.keys.data, pass_.attends() ? keys.values.data() : nullptr, keys.first, keys.count);
    watch.done(pass_.attends() ? PathPart::attend : PathPart::refine);
    if (probes_only_) return;
    audit_.add(space, keys.keys.data, keys.first, keys.count);
    watch.done(PathPart::audit);
  }

 private:
  FusedRows<Space> const& rows_;
  bool probes_only_;
  FusedSecondPass<Space> pass_;
  FusedAudit<Space> audit_;
};

template <class Space>
class FusedExact final : public AttentionPass<Space> {
 public:
  FusedExact(FusedRows<Space> const& rows, typename AttentionPass<Space>::Options const& options)
      : rows_(rows), pass_(rows.queries, rows.threads, options.leaf, options.first_leaf, rows.ranges, options.sigma) {}
  GlobalIndex step(bool resident) const override { return packed_step_of(rows_.queries.rows, resident); }
  /// In any order.
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    pass_.add(space, keys.keys.data, keys.values.data(), keys.first, keys.count, between_strips(watch));
    watch.done(PathPart::attend);
  }
  std::variant<AttentionRuns, AttentionSums> parts() const override {
    return AttentionRuns{pass_.columns(), [this](int row) -> SoftmaxRun const& { return pass_.run(row); },
                         [this](int row) { return pass_.seen(row); }};
  }
  void clear(Space const&) override { pass_.clear(); }

 private:
  FusedRows<Space> const& rows_;
  FusedAttention<Space> pass_;
};

template <class Space>
class FusedBatch : public PathBatch<Space> {
 public:
  FusedBatch(Space const& space, PathRows const& rows, TileSizes const& tiles) : rows_(rows, tiles, space.concurrency()) {}
  std::unique_ptr<ScorePass<Space>> score(Space const&, bool keep) override { return std::make_unique<FusedScores<Space>>(rows_, keep); }
  std::shared_ptr<FirstPass<Space>> first_pass(Space const&, typename FirstPass<Space>::Options const& options) override {
    return std::make_shared<FusedFirst<Space>>(rows_, options);
  }
  std::unique_ptr<KeyPass<Space>> second_pass(Space const& space, SecondPass<Space> const& work, GlobalIndex shard_begin,
                                              bool probes_only) override {
    return std::make_unique<FusedSecond<Space>>(space, rows_, work, shard_begin, probes_only);
  }
  std::unique_ptr<AttentionPass<Space>> attention(Space const&, typename AttentionPass<Space>::Options const& options) override {
    return std::make_unique<FusedExact<Space>>(rows_, options);
  }

 protected:
  FusedRows<Space> rows_;
};

template <class Space>
class ScreenedBatch final : public FusedBatch<Space> {
 public:
  using FusedBatch<Space>::FusedBatch;
  std::shared_ptr<FirstPass<Space>> first_pass(Space const&, typename FirstPass<Space>::Options const& options) override {
    return std::make_shared<ScreenedFirst<Space>>(this->rows_, options.keep);
  }
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
