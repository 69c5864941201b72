// The works that select: top-k, profile with top-k, top-k attention; on every path.
#include <algorithm>
#include <iterator>
#include <utility>

#include "bench/kernel_work.hpp"
#include "comm/merge/merge_profile.hpp"
#include "comm/merge/merge_top_k.hpp"
#include "draw/first_pass.hpp"
#include "kernels/attend/winners.hpp"
#include "row/row_lists.hpp"

namespace asymptop {
namespace {

using Space = RunSpace;

/// The rank's candidates of all rows and the global selection out of them.
class Selection : public KernelWork {
 public:
  /// keep: candidates of each row that a merge brings home.
  Selection(BenchProblem const& problem, Path const& path, std::int64_t keep, bool profile)
      : KernelWork(problem, path),
        keep_(std::min(keep, problem.item.n)),
        profile_(profile),
        local_keep_(checked_int(std::clamp<GlobalIndex>(problem_.shard.size(), 1, std::min(keep, problem.item.n)))) {}

  MergeCost merge_cost() const override { return merge_cost_; }

 protected:
  /// Selects and fills lists_ with the rank's candidates, heads_ with the rows that it owns. merge_more(rows, owners) merges what else
  /// the rows have.
  template <class MergeMore>
  void select_and_merge(std::size_t more_bytes_per_row, MergeMore const& merge_more) {
    KeyWalk keys(tensors_.size());
    auto const shard_rows = first_pass(space_, batch_.path(), tensors_, local_keep_, profile_, keys, phases_, &pass_);
    phases_.start();
    auto const& comm = problem_.comm;
    std::vector<int> all(rows());
    for (int row = 0; row < rows(); ++row) all[row] = row;
    lists_ = sorted_lists(shard_rows.head, all);
    phases_.stop(Phase::select);
    heads_.assign(problem_.owned().size(), {});
    auto const merge = problem_.item.merge;
    auto const bytes = merge_memory(merge, comm.size(), keep_) + more_bytes_per_row * comm.size();
    auto const selected = PhaseTimes::Clock::now();
    comm.barrier();  // waiting for a slower rank's candidates is no part of what a merge costs
    merge_cost_ = {};
    merge_cost_.exposed_seconds = std::chrono::duration<double>(PhaseTimes::Clock::now() - selected).count();
    for (auto const& together : merge_groups(rows(), comm.size(), bytes)) {
      auto const owner = row_owners(together, rows(), comm.size());
      std::vector<std::vector<PackedCandidate>> lists(together.size());
      for_each(together.size(), [&](std::size_t i) { lists[i] = lists_[together[i]]; });
      auto const before = comm.traffic();
      auto const begin = PhaseTimes::Clock::now();
      auto merged = finish(merge_top_k(comm, merge, std::move(lists), owner, problem_.shard_begin, keep_), merge_cost_.exposed_seconds);
      merge_cost_.seconds += std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count();
      merge_cost_.sent += comm.traffic() - before;
      merge_more(shard_rows, together, owner);
      std::size_t mine = 0;
      for (std::size_t i = 0; i < together.size(); ++i) {
        if (owner[i] == comm.rank()) heads_[own_index(together[i])] = std::move(merged[mine++]);
      }
    }
    phases_.stop(Phase::merge);
  }
  void select_and_merge() {
    select_and_merge(0, [](ShardRows const&, std::vector<int> const&, std::vector<int> const&) {});
  }

  std::vector<Candidate> top_k_of(int row) const {
    auto const& head = heads_[own_index(row)];
    auto const k = std::min<std::size_t>(head.size(), problem_.item.k);
    return {head.begin(), head.begin() + k};
  }

  std::size_t keep_;
  bool profile_;
  int local_keep_;
  std::shared_ptr<FirstPass<Space>> pass_;           ///< of the last run
  std::vector<std::vector<PackedCandidate>> lists_;  ///< of all rows, this rank's candidates
  std::vector<CandidateList> heads_;                 ///< of the rows that this rank owns
  MergeCost merge_cost_;
};

class Profile final : public Selection {
 public:
  /// One candidate more than k: what is left out matters to the errors at k.
  Profile(BenchProblem const& problem, Path const& path) : Selection(problem, path, problem.item.k + 1, true) {}

  void run() override {
    auto const bins = std::int64_t{batch_.grid().count} * 3;
    bins_.assign(problem_.owned().size(), {});
    select_and_merge(16 * bins, [&](ShardRows const& shard_rows, std::vector<int> const& group, std::vector<int> const& owner) {
      if (problem_.comm.size() == 1) {  // its moments are those of all keys
        for_each(group.size(), [&](std::size_t i) {
          auto const* const moments = &shard_rows.moments(group[i], 0, 0);
          bins_[own_index(group[i])].assign(moments, moments + bins);
        });
        return;
      }
      std::vector<std::int64_t> profile;
      for (int const row : group) profile.insert(profile.end(), &shard_rows.moments(row, 0, 0), &shard_rows.moments(row, 0, 0) + bins);
      auto const merged = finish(merge_profile(problem_.comm, std::move(profile), owner, bins));
      std::size_t at = 0;
      for (std::size_t i = 0; i < group.size(); ++i) {
        if (owner[i] != problem_.comm.rank()) continue;
        auto const first = merged.begin() + at;
        bins_[own_index(group[i])].assign(first, first + bins);
        at += bins;
      }
    });
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) {
      row.profile = profile_of(row.row, bins_[own_index(row.row)], heads_[own_index(row.row)]);
      row.top_k = top_k_of(row.row);
    }
    return answer;
  }

 private:
  std::vector<std::vector<std::int64_t>> bins_;  ///< of the rows that this rank owns
};

class TopK : public Selection {
 public:
  TopK(BenchProblem const& problem, Path const& path) : Selection(problem, path, problem.item.k, false) {}

  void run() override { select_and_merge(); }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) row.top_k = top_k_of(row.row);
    return answer;
  }
};

/// Selection, then each rank sums e^{s - s_max} v of the winners among its own keys: m x d numbers travel, not rows of V.
class TopKAttention final : public TopK {
 public:
  TopKAttention(BenchProblem const& problem, Path const& path)
      : TopK(problem, path),
        factor_(FixedPoint::make(problem.item.k, largest_normal)),
        sums_("Asymptop::measure::sums", problem.item.m, problem.item.d + 1) {}

  void run() override {
    TopK::run();
    phases_.start();
    edges_.share(problem_.comm, heads_);
    auto const merged = finish(merge_profile(problem_.comm, sums_of_winners(), all_owners(), d() + 1));
    phases_.stop(Phase::merge);
    outputs_ = outputs_of(merged, d(), factor_);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    auto answer = TopK::answer(asked);
    for (auto& row : answer.rows) row.output = outputs_[own_index(row.row)];
    return answer;
  }

 private:
  /// The best and the last winner of every row, as owners tell all ranks.
  struct Edges {
    std::vector<float> best;
    std::vector<Candidate> last;
    void share(Communicator const& comm, std::vector<CandidateList> const& heads) {
      std::vector<float> scores;
      std::vector<std::int64_t> index;
      for (auto const& head : heads) {
        scores.push_back(head.front().score);
        scores.push_back(head.back().score);
        index.push_back(head.back().index);
      }
      scores = comm.all_gather(scores);
      index = comm.all_gather(index);
      best.clear();
      last.clear();
      for (std::size_t row = 0; row < index.size(); ++row) {
        best.push_back(scores[2 * row]);
        last.push_back({scores[2 * row + 1], index[row]});
      }
    }
  };

  /// How many of a row's candidates here are winners: lists are sorted, and each rank's winners come before or are the last one.
  int winners_of(std::size_t row) const {
    auto const& list = lists_[row];
    auto const end = std::partition_point(list.begin(), list.end(), [&](PackedCandidate entry) {
      return !before(edges_.last[row], {score_of(entry), problem_.shard.begin + index_of(entry)});
    });
    return static_cast<int>(end - list.begin());
  }

  std::vector<std::int64_t> sums_of_winners() {
    auto const winners = find_winners();
    phases_.stop(Phase::merge);
    Kokkos::deep_copy(space_, sums_, 0);
    std::int64_t const count = winners.candidates.extent(0);
    // Streamed values are made in pieces of bounded size.
    constexpr std::int64_t most_values = std::int64_t{1} << 23;
    auto const piece = problem_.item.resident ? std::max<std::int64_t>(count, 1) : std::max<std::int64_t>(1, most_values / problem_.item.d);
    for (std::int64_t begin = 0; begin < count; begin += piece) {
      auto const end = std::min(count, begin + piece);
      auto const values = problem_.item.resident ? tensors_.all_values() : tensors_.gather_values(winners.candidates, begin, end);
      add_winners(space_, winners, begin, end, values, !problem_.item.resident, 1.0f, factor_, sums_);
    }
    space_.fence();
    phases_.stop(Phase::attend);
    auto const host = to_host(sums_);
    return {host.data(), host.data() + host.size()};
  }

  Winners<Space> find_winners() const {
    std::vector<PackedCandidate> all;
    std::vector<std::int64_t> offset{0};
    for (std::size_t row = 0; row < lists_.size(); ++row) {
      all.insert(all.end(), lists_[row].begin(), lists_[row].begin() + winners_of(row));
      offset.push_back(std::ssize(all));
    }
    return {to_device(space_, "Asymptop::measure::winners", all), to_device(space_, "Asymptop::measure::winner_offset", offset),
            to_device(space_, "Asymptop::measure::winner_reference", edges_.best)};
  }

  FixedPoint factor_;
  Matrix<Space, std::int64_t> sums_;
  Edges edges_;
  std::vector<std::vector<double>> outputs_;
};

template <class OnHost>
std::unique_ptr<BenchWork> make_selection(BenchProblem const& problem, Path const& path) {
  if (problem.item.merge == MergeStrategy::device) return make_on_device(problem, path);
  return std::make_unique<OnHost>(problem, path);
}

}  // namespace

std::unique_ptr<BenchWork> make_profile(BenchProblem const& problem, Path const& path) { return make_selection<Profile>(problem, path); }
std::unique_ptr<BenchWork> make_top_k(BenchProblem const& problem, Path const& path) { return make_selection<TopK>(problem, path); }
std::unique_ptr<BenchWork> make_top_k_attention(BenchProblem const& problem, Path const& path) {
  return make_selection<TopKAttention>(problem, path);
}

}  // namespace asymptop
