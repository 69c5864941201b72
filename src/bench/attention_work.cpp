// The works of score and exact attention, and what all works share.
#include <algorithm>

#include "bench/kernel_work.hpp"
#include "comm/merge/merge_attention.hpp"
#include "comm/merge/merge_on_device.hpp"
#include "comm/merge/merge_profile.hpp"
#include "row/row_lists.hpp"
#include "row/row_metrics.hpp"

namespace asymptop {
namespace {

/// What the plan of a study says of a group, as far as a pass over the keys reads it.
GroupPlan group_of(BenchProblem const& problem, Path const& path) {
  GroupPlan group;
  group.n = problem.item.n;
  group.d = problem.item.d;
  group.path = &path;
  group.bins_per_unit = 32.0;
  return group;
}

}  // namespace

KernelWork::KernelWork(BenchProblem const& problem, Path const& path)
    : problem_(problem),
      path_(path),
      space_(problem.space),
      tensors_(space_, problem.shard, problem.item.d, largest_step(path, problem.block), problem.item.resident, path.keys),
      batch_(space_, problem.queries, group_of(problem, path), problem.shard, problem.block) {
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

std::vector<double> KernelWork::profile_of(int row, std::vector<std::int64_t> const& moments, std::vector<Candidate> const& head) const {
  RowBins bins{batch_.grid(), batch_.first_bins()[row], {}};
  for (std::size_t b = 0; b < moments.size(); b += 3) bins.bins.push_back({moments[b], moments[b + 1], moments[b + 2]});
  MetricAxes const axes{{problem_.item.k}, {1.0}, {}};
  auto const metrics = evaluate_row(head, bins, axes, {}, problem_.item.n).laws.front();
  return {metrics.one("log_sum_exp"), metrics.one("entropy_nats"), metrics.one("sum_p_squared"), metrics.one("p_max")};
}

void KernelWork::walk(KeyPass<Space>& pass) {
  KeyWalk keys(tensors_.size());
  walk_keys(space_, pass, tensors_, keys, phases_);
}

std::vector<std::vector<double>> outputs_of(std::vector<std::int64_t> const& sums, std::size_t d, FixedPoint const& factor) {
  std::vector<std::vector<double>> outputs(sums.size() / (d + 1));
  for_each(outputs.size(), [&](std::size_t row) {
    auto const* const own = &sums[row * (d + 1)];
    double const z = from_fixed(own[d], factor.weight);
    outputs[row].reserve(d);
    for (std::size_t c = 0; c < d; ++c) outputs[row].push_back(from_fixed(own[c], factor.value) / z);
  });
  return outputs;
}

namespace {

/// Scores that nothing takes.
class ScoreWork final : public KernelWork {
 public:
  ScoreWork(BenchProblem const& problem, Path const& path) : KernelWork(problem, path), pass_(batch_.path().score(space_, false)) {}
  void run() override { walk(*pass_); }
  bool scores_apart() const override { return true; }

  /// A step's scores do not outlive the next, so the pass is made once more and its last keys are kept.
  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    Last last(batch_.path().score(space_, true), asked, problem_.shard.size(), answer);
    walk(last);
    for (auto const& row : last.kept) answer.scores.insert(answer.scores.end(), row.begin(), row.end());
    return answer;
  }

 private:
  /// Scores of the last 2^20 keys and a step.
  struct Last final : KeyPass<Space> {
    Last(std::unique_ptr<ScorePass<Space>> of, std::vector<int> const& rows, GlobalIndex size, BenchAnswer& to)
        : kept(rows.size()), pass(std::move(of)), asked(rows), shard(size), answer(to) {}
    GlobalIndex step(bool resident) const override { return pass->step(resident); }
    int padded(int count) const override { return pass->padded(count); }
    void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
      constexpr GlobalIndex most_keys = GlobalIndex{1} << 20;
      pass->add(space, keys, watch);
      if (keys.first + most_keys < shard) return;
      if (kept.empty() || kept[0].empty()) answer.first_key = keys.first;
      auto const host = to_host(pass->scores());
      for (std::size_t i = 0; i < asked.size(); ++i) kept[i].insert(kept[i].end(), &host(asked[i], 0), &host(asked[i], 0) + keys.count);
    }

    std::vector<std::vector<float>> kept;
    std::unique_ptr<ScorePass<Space>> pass;
    std::vector<int> const& asked;
    GlobalIndex shard;
    BenchAnswer& answer;
  };

  std::unique_ptr<ScorePass<Space>> pass_;
};

/// All keys with their values, then what ranks have of each row at its owner.
class ExactAttention final : public KernelWork {
 public:
  ExactAttention(BenchProblem const& problem, Path const& path) : KernelWork(problem, path) {
    int const leaf = tile_keys(problem.block);
    pass_ = batch_.path().attention(
        space_, {leaf, problem.shard.begin / leaf, 1.0f, problem.item.n, largest_normal, problem.queries.high, problem.block});
  }

  void run() override {
    pass_->clear(space_);
    walk(*pass_);
    phases_.start();
    if (merged_on_device()) return;
    auto const parts = pass_->parts();
    outputs_ = std::visit([&](auto const& shard) { return merged(shard); }, parts);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked))
      row.output = outputs_.empty() ? whole_.row(own_index(row.row), d()) : outputs_[own_index(row.row)];
    return answer;
  }

 private:
  /// Outputs of the rows that this rank owns, made where its pass's sums rest.
  struct Whole {
    AttentionOutputs room(std::size_t rows, std::size_t d) {
      output.resize(rows * d);
      log_sum_exp.resize(rows);
      seen.resize(rows);
      return {output.data(), log_sum_exp.data(), seen.data()};
    }
    std::vector<double> row(std::size_t i, std::size_t d) const { return {&output[i * d], &output[i * d] + d}; }
    std::vector<float> output;
    std::vector<double> log_sum_exp;
    std::vector<std::int64_t> seen;
  };

  /// False where sums are on hosts.
  bool merged_on_device() {
#ifdef ASYMPTOP_DEVICE
    auto* const nodes = pass_->nodes_on_device();
    if (nodes == nullptr) return false;
    auto const& comm = problem_.comm;
    if (comm.size() == 1) return pass_->outputs(whole_.room(rows(), d()));
    std::vector<int> rows_of;
    for (int r = 0; r < comm.size(); ++r) rows_of.push_back(checked_int(owned_rows(rows(), r, comm.size()).size()));
    auto merged = merge_nodes(comm, DevicePeers::of(comm), *nodes, rows_of);
    auto const to = whole_.room(merged.rows(), d());
    if (merged.rows() > 0) merged.finish(space_, to.output, to.log_sum_exp, to.seen);
    phases_.stop(Phase::merge);
    return true;
#else
    return false;
#endif
  }

  std::vector<std::vector<double>> merged(AttentionSums const& shard) {
    auto const merged = finish(merge_profile(problem_.comm, shard.sums, all_owners(), d() + 1));
    phases_.stop(Phase::merge);
    return outputs_of(merged, d(), shard.factor);
  }
  std::vector<std::vector<double>> merged(AttentionRuns const& shard) {
    auto const merged = merge_attention(problem_.comm, shard.run, all_owners(), shard.columns);
    phases_.stop(Phase::merge);
    std::vector<std::vector<double>> outputs(merged.size());
    for_each(merged.size(), [&](std::size_t i) {
      float const* sum = merged[i].values(0, shard.columns);
      double const weight = merged[i].nodes()[0].weight;
      outputs[i].reserve(d());
      for (std::size_t c = 0; c < d(); ++c) outputs[i].push_back(sum[c] / weight);
    });
    return outputs;
  }
  std::unique_ptr<AttentionPass<Space>> pass_;
  std::vector<std::vector<double>> outputs_;
  Whole whole_;
};

}  // namespace

std::unique_ptr<BenchWork> make_score(BenchProblem const& problem, Path const& path) { return std::make_unique<ScoreWork>(problem, path); }
std::unique_ptr<BenchWork> make_exact_attention(BenchProblem const& problem, Path const& path) {
  return std::make_unique<ExactAttention>(problem, path);
}

}  // namespace asymptop
