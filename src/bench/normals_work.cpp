// The works that only make synthetic normals, as streamed keys are made: step by step into memory that is used again.
#include <algorithm>
#include <bit>
#include <cstdint>

#include "bench/bench_check.hpp"
#include "bench/kernel_work.hpp"
#include "kernels/input/normal_packed.hpp"
#include "kernels/input/normal_rows.hpp"
#include "kernels/input/normal_tile.hpp"
#include "shard/key_walk.hpp"

namespace asymptop {
namespace {

using Space = RunSpace;

/// layout: how the numbers lie in the step's memory.
template <KeyLayout layout>
class Normals final : public BenchWork {
 public:
  explicit Normals(BenchProblem const& problem)
      : problem_(problem), d_(problem.item.d), step_("Asymptop::measure::normals", packed_step, problem.item.d) {}

  void run() override {
    phases_.start();
    KeyWalk(problem_.shard.size()).run(packed_step, [this](LocalIndex first, int count) { make(first, count); });
    phases_.stop(Phase::generate);
  }
  PhaseTimes const& phases() const override { return phases_; }
  bool scores_apart() const override { return false; }

  /// The last step is still there.
  BenchAnswer answer(std::vector<int> const&) override {
    BenchAnswer answer;
    auto const size = problem_.shard.size();
    if (size == 0) return answer;
    GlobalIndex const first = (size - 1) / packed_step * packed_step;
    answer.first_key = local_index(first);
    auto const host = to_host(step_);
    for (GlobalIndex row = 0; row < size - first; ++row) {
      for (int c = 0; c < d_; ++c) answer.normals.push_back(host.data()[place(row, c)]);
    }
    return answer;
  }

 private:
  std::size_t place(GlobalIndex row, int c) const {
    return layout == KeyLayout::rows ? row * d_ + c : row / packed_keys * packed_keys * d_ + c * packed_keys + row % packed_keys;
  }

  void make(LocalIndex first, int count) {
    auto const begin = problem_.shard.begin + first;
    if constexpr (layout == KeyLayout::packed) {
      fill_normal_packed(space_, problem_.origin.keys, begin, count, d_, step_.data());
    } else {
      fill_normal(space_, problem_.origin.keys, begin, count, count, step_);
    }
    space_.fence();
  }

  BenchProblem const& problem_;
  Space space_;
  int d_;
  Matrix<Space, float> step_;
  PhaseTimes phases_;
};

}  // namespace

std::vector<NormalLayout> normal_layouts() {
  std::vector<NormalLayout> all;
  // Host kernels: not in a build whose studies run on a device.
#ifndef ASYMPTOP_PORTABLE_DEVICE
  all.push_back({"packed", [](BenchProblem const& problem) -> std::unique_ptr<BenchWork> {
                   return std::make_unique<Normals<KeyLayout::packed>>(problem);
                 }});
#endif
  all.push_back({"rows", [](BenchProblem const& problem) -> std::unique_ptr<BenchWork> {
                   return std::make_unique<Normals<KeyLayout::rows>>(problem);
                 }});
  return all;
}

std::vector<Residual> check_normals(BenchProblem const& problem, BenchAnswer const& answer) {
  int const d = problem.item.d;
  std::vector<float> row(d);
  double wrong = 0.0;
  GlobalIndex const held = answer.normals.size() / d, first = answer.first_key;
  for (GlobalIndex i = 0; i < held; ++i) {
    normal_row(problem.origin.keys, problem.shard.begin + first + i, d, row.data());
    for (int c = 0; c < d; ++c) {
      float const made = answer.normals[i * d + c];
      wrong += std::bit_cast<std::uint32_t>(made) == std::bit_cast<std::uint32_t>(row[c]) ? 0.0 : 1.0;
    }
  }
  bool const to_the_end = first + held == problem.shard.size() && (held > 0 || problem.shard.size() == 0);
  return {{"normals", problem.comm.max(wrong), 0.0}, {"keys_covered", problem.comm.max(to_the_end ? 0.0 : 1.0), 0.0}};
}

}  // namespace asymptop
