// What the works of all kernels and paths share: the shard's tensors, the rows, and the makers that bench_paths() lists.
#pragma once

#include <memory>
#include <vector>

#include "attend/segments.hpp"
#include "measure/bench_work.hpp"
#include "measure/row_batch.hpp"

namespace asymptop {

/// The shard's tensors and the rows that are measured.
class KernelWork : public BenchWork {
 public:
  /// packed: keys as the fused kernels read them.
  KernelWork(BenchProblem const& problem, bool packed);

 protected:
  using Space = StudySpace;
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

/// Bound of |v| for synthetic values.
inline constexpr double largest_normal = 6.8;

/// Attention outputs of the owned rows from merged sums (owned rows, d + 1), fixed point.
std::vector<std::vector<double>> outputs_of(std::vector<std::int64_t> const& sums, std::size_t d, FixedPoint const& factor);

std::unique_ptr<BenchWork> make_tiled_score(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_tiled_profile(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_tiled_top_k(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_tiled_exact_attention(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_tiled_top_k_attention(BenchProblem const& problem);

std::unique_ptr<BenchWork> make_fused_score(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_fused_profile(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_fused_top_k(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_fused_exact_attention(BenchProblem const& problem);
std::unique_ptr<BenchWork> make_fused_top_k_attention(BenchProblem const& problem);

}  // namespace asymptop
