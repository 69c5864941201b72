// The works of the fused host kernels.
#include <algorithm>

#include "asymptop/kernels/attend/fused_attention.hpp"
#include "bench/kernel_work.hpp"
#include "comm/merge/merge_attention.hpp"
#include "draw/first_pass.hpp"

// nvcc cannot take the host kernels' loops into device code, and a device build has no use for them.
#ifndef KOKKOS_ENABLE_CUDA

namespace asymptop {
namespace {

using Space = RunSpace;

/// Scores that each thread writes into one strip in its cache.
class FusedScore final : public ScoreWork {
 public:
  explicit FusedScore(BenchProblem const& problem) : ScoreWork(problem, true) {}
  void run() override {
    KeyWalk(tensors_.size()).run(step_of(tensors_, rows()), [&](LocalIndex const first, int const count) {
      phases_.start();
      auto const* packed = tensors_.packed_keys(first, count);
      phases_.stop(Phase::generate);
      score_strips(space_, batch_.packed_queries(), packed, count);
      phases_.stop(Phase::score);
    });
  }
  bool scores_apart() const override { return true; }
};

class FusedSelector final : public Selector {
 public:
  FusedSelector(int keep, bool profile) : keep_(keep), profile_(profile) {}
  ShardRows select(RowBatch<Space>& batch, ShardTensors<Space>& tensors, PhaseTimes& phases) override {
    KeyWalk walk(tensors.size());
    return fused_first_pass(Space(), batch, tensors, keep_, profile_, walk, phases);
  }

 private:
  int keep_;
  bool profile_;
};

/// One pass: scores, weights and their product with V in the cache; ranks' subtrees meet at each row's owner.
class FusedExactAttention final : public KernelWork {
 public:
  explicit FusedExactAttention(BenchProblem const& problem)
      : KernelWork(problem, true),
        leaf_(static_cast<int>(std::min<GlobalIndex>(problem.block, largest_leaf))),
        attention_(batch_.packed_queries(), space_.concurrency(), leaf_, problem.shard.begin / leaf_, batch_.limits()) {}

  void run() override {
    attention_.clear();
    KeyWalk(tensors_.size()).run(step_of(tensors_, rows()), [&](LocalIndex const first, int const count) {
      phases_.start();
      auto const* packed = tensors_.packed_keys(first, count);
      auto const values = tensors_.values(first, count, count);
      phases_.stop(Phase::generate);
      attention_.add(space_, packed, values.data(), first, count);
      phases_.stop(Phase::attend);
    });
    phases_.start();
    auto const merged = merge_attention(
        problem_.comm, [&](int row) -> SoftmaxRun const& { return attention_.run(row); }, all_owners(), attention_.columns());
    phases_.stop(Phase::merge);
    outputs_.clear();
    for (auto const& run : merged) {
      auto& output = outputs_.emplace_back();
      float const* sum = run.values(0, attention_.columns());
      for (std::size_t c = 0; c < d(); ++c) output.push_back(static_cast<double>(sum[c]) / static_cast<double>(run.nodes()[0].weight));
    }
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) row.output = outputs_[own_index(row.row)];
    return answer;
  }

 private:
  int leaf_;
  FusedAttention<Space> attention_;
  std::vector<std::vector<double>> outputs_;
};

class ScreenedSelector final : public Selector {
 public:
  explicit ScreenedSelector(int keep) : keep_(keep) {}
  ShardRows select(RowBatch<Space>& batch, ShardTensors<Space>& tensors, PhaseTimes& phases) override {
    return screened_top_k(Space(), batch, tensors, keep_, phases);
  }

 private:
  int keep_;
};

}  // namespace

std::unique_ptr<BenchWork> make_fused_score(BenchProblem const& problem) { return std::make_unique<FusedScore>(problem); }
std::unique_ptr<BenchWork> make_fused_selection(BenchProblem const& problem) {
  return make_selection_work(
      problem,
      [](RowBatch<Space> const&, int keep, bool profile) -> std::unique_ptr<Selector> {
        return std::make_unique<FusedSelector>(keep, profile);
      },
      true);
}
std::unique_ptr<BenchWork> make_screened_selection(BenchProblem const& problem) {
  return make_selection_work(
      problem, [](RowBatch<Space> const&, int keep, bool) -> std::unique_ptr<Selector> { return std::make_unique<ScreenedSelector>(keep); },
      true);
}
std::unique_ptr<BenchWork> make_fused_exact_attention(BenchProblem const& problem) {
  return std::make_unique<FusedExactAttention>(problem);
}

}  // namespace asymptop

#endif
