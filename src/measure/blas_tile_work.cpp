#include "measure/blas_tile_work.hpp"

#include <algorithm>
#include <limits>

#include "attend/winners.hpp"
#include "comm/merge_profile.hpp"
#include "comm/merge_top_k.hpp"
#include "measure/batch_run.hpp"
#include "measure/first_pass.hpp"
#include "measure/row_batch.hpp"
#include "measure/row_lists.hpp"
#include "measure/row_metrics.hpp"

namespace asymptop {
namespace {

using Space = StudySpace;

/// What the plan of a study says of a group, as far as a pass over the keys reads it.
GroupPlan group_of(BenchProblem const& problem) {
  GroupPlan group;
  group.n = problem.item.n;
  group.d = problem.item.d;
  group.bins_per_unit = 32.0;
  return group;
}

/// The shard's tensors and the tiles over them.
class BlasTileWork : public BenchWork {
 public:
  explicit BlasTileWork(BenchProblem const& problem)
      : problem_(problem),
        space_(problem.space),
        tiles_(tile_sizes(problem.block)),
        tensors_(space_, problem.shard, static_cast<int>(problem.item.d), tiles_.pass, problem.item.resident, false),
        batch_(space_, problem.queries, group_of(problem), problem.shard, tiles_) {
    tensors_.load(problem.origin);
  }

 protected:
  int rows() const { return batch_.rows(); }
  std::size_t d() const { return static_cast<std::size_t>(problem_.item.d); }

  /// The rows asked for that this rank owns.
  std::vector<BenchAnswer::Row> own_rows(std::vector<int> const& asked) const {
    std::vector<BenchAnswer::Row> mine;
    for (int const row : asked) {
      if (row >= problem_.owned().begin && row < problem_.owned().end) mine.push_back({row, {}, {}, {}});
    }
    return mine;
  }
  std::size_t own_index(int row) const { return static_cast<std::size_t>(row - problem_.owned().begin); }

  BenchProblem const& problem_;
  Space space_;
  TileSizes tiles_;
  ShardTensors<Space> tensors_;
  RowBatch<Space> batch_;
  PhaseTimes phases_;
};

class Score final : public BlasTileWork {
 public:
  using BlasTileWork::BlasTileWork;

  void run() override {
    batch_.for_each_tile(tensors_, phases_, [](TileRange const&, int, Matrix<Space, float> const&, KeyTile const&) {});
  }

  /// A tile of scores does not outlive the next, so the pass is made once more and its last keys are kept.
  BenchAnswer answer(std::vector<int> const& asked) override {
    constexpr GlobalIndex most_keys = GlobalIndex{1} << 20;
    BenchAnswer answer;
    std::vector<std::vector<float>> kept(asked.size());
    auto const keep = [&](TileRange const& tile, int, Matrix<Space, float> const& scores, KeyTile const&) {
      auto const first = static_cast<GlobalIndex>(tile.first_key);
      if (first + most_keys < problem_.shard.size()) return;
      if (kept.empty() || kept[0].empty()) answer.first_key = tile.first_key;
      auto const host = to_host(scores);
      for (std::size_t i = 0; i < asked.size(); ++i) kept[i].insert(kept[i].end(), &host(asked[i], 0), &host(asked[i], 0) + tile.keys);
    };
    batch_.for_each_tile(tensors_, phases_, keep);
    for (auto const& row : kept) answer.scores.insert(answer.scores.end(), row.begin(), row.end());
    return answer;
  }
};

/// The rank's candidates of all rows and the global selection out of them.
class Selection : public BlasTileWork {
 public:
  /// keep: candidates of each row that a merge brings home.
  Selection(BenchProblem const& problem, std::int64_t keep)
      : BlasTileWork(problem), keep_(static_cast<std::size_t>(std::min(keep, problem.item.n))) {}

 protected:
  int local_keep() const { return static_cast<int>(std::clamp<GlobalIndex>(problem_.shard.size(), 1, static_cast<GlobalIndex>(keep_))); }
  int headroom() const { return candidate_headroom(tiles_); }

  /// Fills heads_ with the rows that this rank owns. merge_more(rows, owners) merges what else the rows have.
  template <class MergeMore>
  void merge(CandidateBuffer<Space> const& candidates, std::size_t more_bytes_per_row, MergeMore const& merge_more) {
    auto const head = heads_of(space_, candidates);
    auto const& comm = problem_.comm;
    heads_.assign(static_cast<std::size_t>(problem_.owned().size()), {});
    auto const bytes = (8 * keep_ + more_bytes_per_row) * static_cast<std::size_t>(comm.size());
    for (auto const& rows_together : merge_groups(rows(), comm.size(), bytes)) {
      auto const owner = row_owners(rows_together, rows(), comm.size());
      auto merged = merge_top_k(comm, sorted_lists(head, rows_together), owner, problem_.shard_begin, keep_);
      merge_more(rows_together, owner);
      std::size_t mine = 0;
      for (std::size_t i = 0; i < rows_together.size(); ++i) {
        if (owner[i] == comm.rank()) heads_[own_index(rows_together[i])] = std::move(merged[mine++]);
      }
    }
  }
  void merge(CandidateBuffer<Space> const& candidates) {
    merge(candidates, 0, [](std::vector<int> const&, std::vector<int> const&) {});
  }

  std::vector<Candidate> top_k_of(int row) const {
    auto const& head = heads_[own_index(row)];
    auto const k = std::min<std::size_t>(head.size(), static_cast<std::size_t>(problem_.item.k));
    return {head.begin(), head.begin() + static_cast<std::ptrdiff_t>(k)};
  }

  std::size_t keep_;
  std::vector<CandidateList> heads_;  ///< of the rows that this rank owns
};

class Profile final : public Selection {
 public:
  /// One candidate more than k: what is left out matters to the errors at k.
  explicit Profile(BenchProblem const& problem)
      : Selection(problem, problem.item.k + 1), state_(space_, batch_.grid(), batch_.first_bin(), local_keep(), headroom()) {}

  void run() override {
    state_.clear(space_);
    tiled_first_pass(space_, batch_, tensors_, state_, phases_);
    auto const bins = static_cast<std::size_t>(batch_.grid().count) * 3;
    auto const moments = to_host(state_.moments);
    bins_.assign(static_cast<std::size_t>(problem_.owned().size()), {});
    merge(state_.candidates, 16 * bins, [&](std::vector<int> const& group, std::vector<int> const& owner) {
      std::vector<std::int64_t> profile;
      for (int const row : group) profile.insert(profile.end(), &moments(row, 0, 0), &moments(row, 0, 0) + bins);
      auto const merged = merge_profile(problem_.comm, profile, owner, bins);
      std::size_t at = 0;
      for (std::size_t i = 0; i < group.size(); ++i) {
        if (owner[i] != problem_.comm.rank()) continue;
        auto const first = merged.begin() + static_cast<std::ptrdiff_t>(at);
        bins_[own_index(group[i])].assign(first, first + static_cast<std::ptrdiff_t>(bins));
        at += bins;
      }
    });
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) {
      RowBins bins{batch_.grid(), batch_.first_bins()[static_cast<std::size_t>(row.row)], {}};
      auto const& moments = bins_[own_index(row.row)];
      for (std::size_t b = 0; b < moments.size(); b += 3) bins.bins.push_back({moments[b], moments[b + 1], moments[b + 2]});
      MetricAxes const axes{{problem_.item.k}, {1.0}, {}};
      auto const metrics = evaluate_row(heads_[own_index(row.row)], bins, axes, {}, problem_.item.n).laws.front();
      row.profile = {metrics.log_sum_exp, metrics.entropy_nats, metrics.sum_p_squared, metrics.p_max};
      row.top_k = top_k_of(row.row);
    }
    return answer;
  }

 private:
  ProfileTopK<Space> state_;
  std::vector<std::vector<std::int64_t>> bins_;  ///< of the rows that this rank owns
};

class TopK : public Selection {
 public:
  explicit TopK(BenchProblem const& problem)
      : Selection(problem, problem.item.k), candidates_(space_, static_cast<int>(problem.item.m), local_keep(), headroom()) {}

  void run() override {
    candidates_.clear(space_);
    tiled_top_k(space_, batch_, tensors_, candidates_, phases_);
    merge(candidates_);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) row.top_k = top_k_of(row.row);
    return answer;
  }

 protected:
  CandidateBuffer<Space> candidates_;
};

/// Attention outputs of the owned rows from merged sums (owned rows, d + 1), fixed point.
std::vector<std::vector<double>> outputs_of(std::vector<std::int64_t> const& sums, std::size_t d, FixedPoint const& factor) {
  std::vector<std::vector<double>> outputs;
  for (std::size_t at = 0; at < sums.size(); at += d + 1) {
    double const z = static_cast<double>(sums[at + d]) / factor.weight;
    auto& output = outputs.emplace_back();
    for (std::size_t c = 0; c < d; ++c) output.push_back(static_cast<double>(sums[at + c]) / factor.value / z);
  }
  return outputs;
}

std::vector<int> all_owners(int rows, int ranks) {
  std::vector<int> all;
  for (int row = 0; row < rows; ++row) all.push_back(row);
  return row_owners(all, rows, ranks);
}

/// Bound of |v| for synthetic values.
constexpr double largest_normal = 6.8;

/// The second pass of a study with nothing in the head: every key is tail, weighed by e^{s - reference} with the row's bound on
/// scores as reference, so one pass is enough and fixed-point sums stay exact. Right while scores come within 80 of the bound, as
/// those of normal keys do.
class ExactAttention final : public BlasTileWork {
 public:
  explicit ExactAttention(BenchProblem const& problem) : BlasTileWork(problem), factor_(FixedPoint::make(problem.item.n, largest_normal)) {
    auto const m = static_cast<std::size_t>(rows());
    std::vector<float> const never(m, std::numeric_limits<float>::infinity());
    auto references = problem.queries.high;
    references.insert(references.end(), problem.queries.high.begin(), problem.queries.high.end());
    for (std::size_t i = 0; i < m; ++i) references[2 * i] = references[2 * i + 1] = problem.queries.high[i];
    segments_ = {to_device(space_, "Asymptop::measure::boundary_score", never, m),
                 to_device(space_, "Asymptop::measure::boundary_index", std::vector<GlobalIndex>(m, 0), m),
                 to_device(space_, "Asymptop::measure::reference", references, m),
                 to_device(space_, "Asymptop::measure::used", std::vector<int>(m, 1))};
    weights_ = Matrix<Space, float>("Asymptop::measure::weights", m, static_cast<std::size_t>(tiles_.pass));
    products_ = Tensor3<Space, float>("Asymptop::measure::products", static_cast<std::size_t>(tiles_.pass / tiles_.blas), m, d());
    sums_ = Tensor3<Space, std::int64_t>("Asymptop::measure::sums", m, 2, d() + 1);
  }

  void run() override {
    Kokkos::deep_copy(space_, sums_, 0);
    auto const attend = [&](TileRange const& tile, int padded, Matrix<Space, float> const& scores, KeyTile const&) {
      auto const values = tensors_.values(tile.first_key, tile.keys, padded);
      TileRange const all{0, tile.rows, tile.first_key, padded};
      add_head_and_weigh_tail(space_, segments_, scores, values, batch_.limit(), all, batch_.shard_begin(), 1.0f, factor_, weights_, sums_);
      weigh_values(space_, weights_, values, products_, padded, tiles_.blas);
      add_tail(space_, weights_, products_, tile.rows, padded, tiles_.blas, segments_.used, factor_, sums_);
      space_.fence();
    };
    batch_.for_each_tile(tensors_, phases_, attend);
    auto const host = to_host(sums_);
    std::vector<std::int64_t> tail;
    for (int row = 0; row < rows(); ++row) tail.insert(tail.end(), &host(row, 1, 0), &host(row, 1, 0) + d() + 1);
    outputs_ = outputs_of(merge_profile(problem_.comm, tail, all_owners(rows(), problem_.comm.size()), d() + 1), d(), factor_);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) row.output = outputs_[own_index(row.row)];
    return answer;
  }

 private:
  FixedPoint factor_;
  Segments<Space> segments_;
  Matrix<Space, float> weights_;
  Tensor3<Space, float> products_;
  Tensor3<Space, std::int64_t> sums_;
  std::vector<std::vector<double>> outputs_;
};

/// Selection, then each rank sums e^{s - s_max} v of the winners among its own keys: m x d numbers travel, not rows of V.
class TopKAttention final : public TopK {
 public:
  explicit TopKAttention(BenchProblem const& problem)
      : TopK(problem),
        factor_(FixedPoint::make(problem.item.k, largest_normal)),
        sums_("Asymptop::measure::sums", static_cast<std::size_t>(problem.item.m), static_cast<std::size_t>(problem.item.d) + 1) {}

  void run() override {
    TopK::run();
    auto const winners = find_winners();
    Kokkos::deep_copy(space_, sums_, 0);
    auto const count = static_cast<std::int64_t>(winners.candidates.extent(0));
    // Streamed values are made in pieces of bounded size.
    constexpr std::int64_t most_values = std::int64_t{1} << 23;
    auto const piece = problem_.item.resident ? std::max<std::int64_t>(count, 1) : std::max<std::int64_t>(1, most_values / problem_.item.d);
    for (std::int64_t begin = 0; begin < count; begin += piece) {
      auto const end = std::min(count, begin + piece);
      auto const values = problem_.item.resident ? tensors_.all_values() : tensors_.gather_values(winners.candidates, begin, end);
      add_winners(space_, winners, begin, end, values, !problem_.item.resident, 1.0f, factor_, sums_);
    }
    space_.fence();
    auto const host = to_host(sums_);
    std::vector<std::int64_t> const mine(host.data(), host.data() + host.size());
    outputs_ = outputs_of(merge_profile(problem_.comm, mine, all_owners(rows(), problem_.comm.size()), d() + 1), d(), factor_);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    auto answer = TopK::answer(asked);
    for (auto& row : answer.rows) row.output = outputs_[own_index(row.row)];
    return answer;
  }

 private:
  /// Owners tell all ranks the best and the last winner of their rows; each rank's winners come before or are that last one.
  Winners<Space> find_winners() const {
    std::vector<float> edges;
    std::vector<std::int64_t> last_index;
    for (auto const& head : heads_) {
      edges.push_back(head.front().score);
      edges.push_back(head.back().score);
      last_index.push_back(head.back().index);
    }
    edges = problem_.comm.all_gather(edges);
    last_index = problem_.comm.all_gather(last_index);
    auto const entries = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), candidates_.entries);
    auto const fill = to_host(candidates_.fill);
    std::vector<PackedCandidate> all;
    std::vector<std::int64_t> offset{0};
    std::vector<float> reference;
    for (int row = 0; row < rows(); ++row) {
      auto const i = static_cast<std::size_t>(row);
      Candidate const last{edges[2 * i + 1], last_index[i]};
      for (int e = 0; e < fill(row); ++e) {
        PackedCandidate const entry = entries(row, e);
        Candidate const candidate{score_of(entry), problem_.shard.begin + static_cast<GlobalIndex>(index_of(entry))};
        if (!before(last, candidate)) all.push_back(entry);
      }
      offset.push_back(static_cast<std::int64_t>(all.size()));
      reference.push_back(edges[2 * i]);
    }
    return {to_device(space_, "Asymptop::measure::winners", all), to_device(space_, "Asymptop::measure::winner_offset", offset),
            to_device(space_, "Asymptop::measure::winner_reference", reference)};
  }

  FixedPoint factor_;
  Matrix<Space, std::int64_t> sums_;
  std::vector<std::vector<double>> outputs_;
};

template <class Work>
std::unique_ptr<BenchWork> make(BenchProblem const& problem) {
  return std::make_unique<Work>(problem);
}

}  // namespace

std::unique_ptr<BenchWork> make_blas_tile_score(BenchProblem const& problem) { return make<Score>(problem); }
std::unique_ptr<BenchWork> make_blas_tile_profile(BenchProblem const& problem) { return make<Profile>(problem); }
std::unique_ptr<BenchWork> make_blas_tile_top_k(BenchProblem const& problem) { return make<TopK>(problem); }
std::unique_ptr<BenchWork> make_blas_tile_exact_attention(BenchProblem const& problem) { return make<ExactAttention>(problem); }
std::unique_ptr<BenchWork> make_blas_tile_top_k_attention(BenchProblem const& problem) { return make<TopKAttention>(problem); }

}  // namespace asymptop
