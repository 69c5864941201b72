// What the works of all kernels and paths share: the shard's tensors, the rows, and the makers that bench_paths() lists.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "asymptop/kernels/attend/segments.hpp"
#include "bench/bench_work.hpp"
#include "draw/first_pass.hpp"
#include "draw/row_batch.hpp"

namespace asymptop {

/// The shard's tensors and the rows that are measured.
class KernelWork : public BenchWork {
 public:
  /// packed: keys as the fused kernels read them.
  KernelWork(BenchProblem const& problem, bool packed);
  PhaseTimes const& phases() const override { return phases_; }
  bool scores_apart() const override { return !tensors_.packed(); }

 protected:
  using Space = RunSpace;
  int rows() const { return batch_.rows(); }
  std::size_t d() const { return static_cast<std::size_t>(problem_.item.d); }
  /// The rows asked for that this rank owns.
  std::vector<BenchAnswer::Row> own_rows(std::vector<int> const& asked) const;
  std::size_t own_index(int row) const { return static_cast<std::size_t>(row - problem_.owned().begin); }
  std::vector<int> all_owners() const;

  BenchProblem const& problem_;
  Space space_;
  TileSizes tiles_;
  ShardTensors<Space> tensors_;
  RowBatch<Space> batch_;
  PhaseTimes phases_;
};

/// Scores that nothing takes.
class ScoreWork : public KernelWork {
 public:
  using KernelWork::KernelWork;
  void run() override;
  /// A tile of scores does not outlive the next, so the pass is made once more and its last keys are kept.
  BenchAnswer answer(std::vector<int> const& asked) override;
};

/// Attention outputs of the owned rows from merged sums (owned rows, d + 1), fixed point.
std::vector<std::vector<double>> outputs_of(std::vector<std::int64_t> const& sums, std::size_t d, FixedPoint const& factor);

/// How a path finds the shard's best `keep` candidates of every row, and its profile.
class Selector {
 public:
  virtual ~Selector() = default;
  virtual ShardRows select(RowBatch<RunSpace>& batch, ShardTensors<RunSpace>& tensors, PhaseTimes& phases) = 0;
};
using SelectorMaker = std::function<std::unique_ptr<Selector>(RowBatch<RunSpace> const&, int keep, bool profile)>;

/// The work of top-k, profile or top-k attention, as the problem says, with a path's selector. packed: how it wants the keys.
std::unique_ptr<BenchWork> make_selection_work(BenchProblem const& problem, SelectorMaker const& maker, bool packed);

std::unique_ptr<BenchWork> make_normal_rows(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_tiled_score(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_tiled_selection(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_tiled_exact_attention(BenchProblem const& problem);

// Host kernels: not in a build whose studies run on a device.
std::unique_ptr<BenchWork> make_packed_normals(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_fused_score(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_fused_selection(BenchProblem const& problem);
/// Top-k and top-k attention; screening has no profile.
std::unique_ptr<BenchWork> make_screened_selection(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_fused_exact_attention(BenchProblem const& problem);

}  // namespace asymptop
