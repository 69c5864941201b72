// The works of a decoding step over ranks once each has its best keys: an exact global selection, or each rank's own.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "bench/bench_check.hpp"
#include "bench/kernel_work.hpp"
#include "comm/merge/merge_softmax.hpp"
#include "comm/merge/merge_top_k.hpp"
#include "kernels/device/memory.hpp"
#include "kernels/input/normal_rows.hpp"
#include "kernels/reference/attention_row.hpp"
#include "row/row_lists.hpp"
#include "row/row_partial.hpp"
#include "row/tolerances.hpp"

namespace asymptop {
namespace {

class MergeWork final : public KernelWork {
 public:
  MergeWork(BenchProblem const& problem, Path const& path, LocalSelection selection) : KernelWork(problem, path), selection_(selection) {
    std::vector<int> all(rows());
    std::iota(all.begin(), all.end(), 0);
    int const keep = checked_int(std::clamp<GlobalIndex>(problem.shard.size(), 1, problem.item.k));
    KeyWalk keys(tensors_.size());
    lists_ = sorted_lists(first_pass(space_, batch_.path(), tensors_, keep, false, keys, phases_).head, all);
    values_ = to_host(tensors_.all_values());
  }

  bool scores_apart() const override { return true; }
  MergeCost merge_cost() const override { return cost_; }

  void run() override {
    auto const& comm = problem_.comm;
    timed_step(
        comm, phases_, cost_,
        [&] {
          if (selection_ == LocalSelection::none) return agree();
          kept_.clear();
          for (auto const& list : lists_)
            kept_.push_back(std::min<std::size_t>(list.size(), kept_alone(selection_, problem_.item.k, comm.size())));
        },
        [&] { attend(); }, [&] { outputs_ = finish(merge_softmax(comm, parts_, all_owners(), d()), cost_.exposed_seconds); });
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) {
      auto const* const output = &outputs_[own_index(row.row) * d()];
      row.output.assign(output, output + d());
    }
    for (int const row : asked) {
      auto& of_row = answer.kept.emplace_back();
      for (std::size_t i = 0; i < lists_[row].size(); ++i)
        (i < kept_[row] ? of_row.kept : of_row.left).push_back({score_of(lists_[row][i]), problem_.shard.begin + index_of(lists_[row][i])});
    }
    return answer;
  }

 private:
  /// The k best of all ranks at the rows' owners, who tell everyone the last of them: a rank's own come before it.
  void agree() {
    auto const& comm = problem_.comm;
    std::size_t const keep = problem_.item.k;
    std::vector<float> scores;
    std::vector<std::int64_t> indices;
    for (auto const& together : merge_groups(rows(), comm.size(), merge_memory(problem_.item.merge, comm.size(), keep))) {
      std::vector<std::vector<PackedCandidate>> lists;
      for (int const row : together) lists.push_back(lists_[row]);
      auto const owners = row_owners(together, rows(), comm.size());
      auto const merged =
          finish(merge_top_k(comm, problem_.item.merge, std::move(lists), owners, problem_.shard_begin, keep), cost_.exposed_seconds);
      for (auto const& row : merged) {
        scores.push_back(row.back().score);
        indices.push_back(row.back().index);
      }
    }
    scores = comm.all_gather(scores);
    indices = comm.all_gather(indices);
    kept_.clear();
    for (std::size_t row = 0; row < lists_.size(); ++row) {
      Candidate const last{scores[row], indices[row]};
      auto const& list = lists_[row];
      auto const end = std::partition_point(list.begin(), list.end(), [&](PackedCandidate entry) {
        return !before(last, {score_of(entry), problem_.shard.begin + index_of(entry)});
      });
      kept_.push_back(end - list.begin());
    }
  }

  /// This rank's softmax over its kept keys.
  void attend() {
    std::size_t const width = d() + 2;
    parts_.assign(lists_.size() * width, 0.0f);
    Kokkos::parallel_for("Asymptop::measure::attend", Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, lists_.size()),
                         [&](int const row) {
                           static thread_local std::vector<double> sums;
                           sums.assign(d() + 1, 0.0);
                           float* const part = &parts_[row * width];
                           auto const& list = lists_[row];
                           part[0] = kept_[row] == 0 ? -INFINITY : score_of(list.front());
                           for (std::size_t i = 0; i < kept_[row]; ++i) {
                             double const e = std::exp(score_of(list[i]) - double{part[0]});
                             float const* const v = &values_(index_of(list[i]), 0);
                             double* const to = sums.data() + 1;
                             sums[0] += e;
                             for (std::size_t c = 0; c < width - 2; ++c) to[c] += e * v[c];
                           }
                           std::copy(sums.begin(), sums.end(), part + 1);
                         });
    Kokkos::DefaultHostExecutionSpace().fence();
  }

  LocalSelection selection_;
  std::vector<std::vector<PackedCandidate>> lists_;  ///< of all rows, this rank's candidates
  decltype(to_host(Matrix<Space, float>())) values_;
  std::vector<std::size_t> kept_;  ///< of each list
  std::vector<float> parts_;       ///< (rows, 2 + d)
  std::vector<double> outputs_;    ///< (own rows, d)
  MergeCost cost_;
};

template <LocalSelection selection>
std::unique_ptr<BenchWork> make_merge(BenchProblem const& problem, Path const& path) {
  return std::make_unique<MergeWork>(problem, path, selection);
}
template <LocalSelection selection>
std::unique_ptr<BenchWork> make_on_gpus(BenchProblem const& problem, Path const&) {
  return make_merge_on_device(problem, selection);
}

LocalSelection selection_of(BenchCase const& item) {
  for (auto const& way : merge_ways()) {
    if (item.path == way.name) return way.selection;
  }
  return LocalSelection::none;
}

}  // namespace

std::vector<MergeWay> merge_ways() {
  using enum LocalSelection;
  std::vector<MergeWay> ways{{"exact", none, make_merge<none>}, {"union", each, make_merge<each>}, {"share", share, make_merge<share>}};
  if (device::gpu().usable)
    ways.insert(ways.end(), {{gpu_merges[0], none, make_on_gpus<none>},
                             {gpu_merges[1], each, make_on_gpus<each>},
                             {gpu_merges[2], share, make_on_gpus<share>}});
  return ways;
}

std::vector<Residual> check_merge(BenchProblem const& problem, std::vector<int> const& rows, BenchAnswer const& answer) {
  auto const& comm = problem.comm;
  int const d = problem.item.d;
  auto const selection = selection_of(problem.item);
  double scores = 0.0, output = 0.0, largest = 0.0;
  std::int64_t wrong = 0;
  std::vector<double> mine;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto const& [kept, left] = answer.kept[i];
    auto const all = comm.sum(exact_double(kept.size()));
    auto const alone = std::min(problem.shard.size(), kept_alone(selection, problem.item.k, comm.size()));
    bool const enough = selection == LocalSelection::none ? all == exact_double(problem.item.k) : std::ssize(kept) == alone;
    // Keys that are left come after all that are kept.
    double const last = -comm.max(kept.empty() ? -infinity : -double{kept.back().score}),
                 next = comm.max(left.empty() ? -infinity : double{left.front().score});
    wrong += enough && (selection != LocalSelection::none || next <= last) ? 0 : 1;
    std::vector<float> const q(&problem.queries.q[rows[i] * std::int64_t{d}], &problem.queries.q[rows[i] * std::int64_t{d}] + d);
    std::vector<float> keys(kept.size() * d), values(kept.size() * d);
    for (std::size_t j = 0; j < kept.size(); ++j) {
      normal_row(problem.origin.keys, kept[j].index, d, &keys[j * d]);
      normal_row(problem.origin.values, kept[j].index, d, &values[j * d]);
    }
    auto const logits = reference::logits(q, keys, std::ssize(kept), d, 1.0);
    for (std::size_t j = 0; j < kept.size(); ++j)
      note(scores, std::fabs(kept[j].score - logits[j]) / std::max(norm(q.data(), d) * norm(&keys[j * d], d), 1e-290));
    auto part = partial_of(logits, values, d);
    part.output.resize(d, 0.0);
    mine.push_back(part.profile.log_sum_exp);
    mine.insert(mine.end(), part.output.begin(), part.output.end());
  }
  auto const parts = comm.gather(mine);
  std::vector<double> reported;
  for (auto const& row : answer.rows) reported.insert(reported.end(), row.output.begin(), row.output.end());
  reported = comm.gather(reported);
  if (comm.is_root()) {
    std::size_t const width = d + 1;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      Partial whole;
      for (std::size_t at = i * width; at < parts.size(); at += rows.size() * width) {
        Partial part;
        part.profile.log_sum_exp = parts[at];
        part.output.assign(&parts[at] + 1, &parts[at] + width);
        whole.join(part);
      }
      double difference = 0.0, square = 0.0;
      for (int c = 0; c < d; ++c) {
        double const apart = reported[i * d + c] - whole.output[c];
        difference += apart * apart;
        square += whole.output[c] * whole.output[c];
      }
      note(output, std::sqrt(difference / std::max(square, 1e-290)));
      largest = std::max(largest, std::fabs(whole.profile.log_sum_exp));
    }
  }
  std::vector<double> worst{scores, exact_double(wrong), output, largest};
  comm.max(worst);
  return {{"scores", worst[0], score_tolerance(d)}, {"kept", worst[1], 0.0}, {"output", worst[2], sums_tolerance(d, worst[3])}};
}

}  // namespace asymptop
