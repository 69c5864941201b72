// The works of score and exact attention in BLAS tiles, and what all works share.
#include <algorithm>
#include <limits>

#include "bench/kernel_work.hpp"
#include "comm/merge/merge_profile.hpp"
#include "draw/first_pass.hpp"
#include "row/row_lists.hpp"

namespace asymptop {
namespace {

/// What the plan of a study says of a group, as far as a pass over the keys reads it.
GroupPlan group_of(BenchProblem const& problem) {
  GroupPlan group;
  group.n = problem.item.n;
  group.d = problem.item.d;
  group.bins_per_unit = 32.0;
  return group;
}

}  // namespace

KernelWork::KernelWork(BenchProblem const& problem, bool packed)
    : problem_(problem),
      space_(problem.space),
      tiles_(tile_sizes(problem.block)),
      tensors_(space_, problem.shard, static_cast<int>(problem.item.d), packed ? std::max(fused_step, tiles_.pass) : tiles_.pass,
               problem.item.resident, packed),
      batch_(space_, problem.queries, group_of(problem), problem.shard, tiles_) {
  tensors_.load(problem.origin);
}

std::vector<BenchAnswer::Row> KernelWork::own_rows(std::vector<int> const& asked) const {
  std::vector<BenchAnswer::Row> mine;
  for (int const row : asked) {
    if (row >= problem_.owned().begin && row < problem_.owned().end) mine.push_back({row, {}, {}, {}});
  }
  return mine;
}

std::vector<int> KernelWork::all_owners() const {
  std::vector<int> all;
  for (int row = 0; row < rows(); ++row) all.push_back(row);
  return row_owners(all, rows(), problem_.comm.size());
}

void ScoreWork::run() {
  KeyWalk walk(tensors_.size());
  batch_.for_each_tile(tensors_, walk, phases_, [](TileRange const&, int, Matrix<Space, float> const&, KeyTile const&) {});
}

BenchAnswer ScoreWork::answer(std::vector<int> const& asked) {
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
  KeyWalk walk(tensors_.size());
  batch_.for_each_tile(tensors_, walk, phases_, keep);
  for (auto const& row : kept) answer.scores.insert(answer.scores.end(), row.begin(), row.end());
  return answer;
}

std::vector<std::vector<double>> outputs_of(std::vector<std::int64_t> const& sums, std::size_t d, FixedPoint const& factor) {
  std::vector<std::vector<double>> outputs;
  for (std::size_t at = 0; at < sums.size(); at += d + 1) {
    double const z = static_cast<double>(sums[at + d]) / factor.weight;
    auto& output = outputs.emplace_back();
    for (std::size_t c = 0; c < d; ++c) output.push_back(static_cast<double>(sums[at + c]) / factor.value / z);
  }
  return outputs;
}

namespace {

/// The second pass of a study with nothing in the head: every key is tail, weighed by e^{s - reference} with the row's bound on
/// scores as reference, so one pass is enough and fixed-point sums stay exact. Right while scores come within 80 of the bound, as
/// those of normal keys do.
class TiledExactAttention final : public KernelWork {
 public:
  explicit TiledExactAttention(BenchProblem const& problem)
      : KernelWork(problem, false), factor_(FixedPoint::make(problem.item.n, largest_normal)) {
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
      phases_.stop(Phase::generate);
      TileRange const all{0, tile.rows, tile.first_key, padded};
      add_head_and_weigh_tail(space_, segments_, scores, values, batch_.limit(), all, batch_.shard_begin(), 1.0f, factor_, weights_, sums_);
      weigh_values(space_, weights_, values, products_, padded, tiles_.blas);
      add_tail(space_, weights_, products_, tile.rows, padded, tiles_.blas, segments_.used, factor_, sums_);
      space_.fence();
      phases_.stop(Phase::attend);
    };
    KeyWalk walk(tensors_.size());
    batch_.for_each_tile(tensors_, walk, phases_, attend);
    phases_.start();
    auto const host = to_host(sums_);
    std::vector<std::int64_t> tail;
    for (int row = 0; row < rows(); ++row) tail.insert(tail.end(), &host(row, 1, 0), &host(row, 1, 0) + d() + 1);
    auto const merged = finish(merge_profile(problem_.comm, tail, all_owners(), d() + 1));
    phases_.stop(Phase::merge);
    outputs_ = outputs_of(merged, d(), factor_);
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

}  // namespace

std::unique_ptr<BenchWork> make_tiled_score(BenchProblem const& problem) { return std::make_unique<ScoreWork>(problem, false); }
std::unique_ptr<BenchWork> make_tiled_exact_attention(BenchProblem const& problem) {
  return std::make_unique<TiledExactAttention>(problem);
}
}  // namespace asymptop
