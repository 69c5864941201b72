// The works that select where heads rest in the memory of GPUs: they are merged there, at each row's owner, and nothing is brought to the
// host before it is asked for.
#include "bench/device_selection.hpp"

#ifdef ASYMPTOP_DEVICE

namespace asymptop {
namespace {

/// The k best keys of all rows.
class TopKOnDevice : public HeadsOnGpus {
 public:
  /// keep: candidates of each row of the selection.
  TopKOnDevice(BenchProblem const& problem, Path const& path, std::int64_t keep, bool profile) : HeadsOnGpus(problem, path, keep, profile) {
    if (peers_ != nullptr) room_ = merge_room(own_rows_count());
  }
  TopKOnDevice(BenchProblem const& problem, Path const& path) : TopKOnDevice(problem, path, problem.item.k, false) {}

  MergeCost merge_cost() const override { return merge_cost_; }

  void run() override {
    select_own();
    selection_ = heads_;
    if (peers_ != nullptr) merge();
    phases_.stop(Phase::merge);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) row.top_k = best_of(row.row, problem_.item.k);
    return answer;
  }

 protected:
  /// The first candidates of a row that this rank owns.
  std::vector<Candidate> best_of(int row, std::int64_t count) const {
    std::vector<Candidate> best;
    for (auto const candidate :
         brought(selection_.heads + own_index(row) * selection_.keep, std::min<std::int64_t>(count, selection_.keep)))
      if (candidate != 0) best.push_back({score_of(candidate), index_of(candidate)});
    return best;
  }

  device::HeadsOnDevice selection_;  ///< of the rows that this rank owns, over all keys, which are counted over the sequence

 private:
  /// Every rank's heads of a row go to its owner, where they become one.
  void merge() {
    auto const& comm = problem_.comm;
    auto const begin = PhaseTimes::Clock::now();
    comm.barrier();  // waiting for a slower rank's candidates is no part of what a merge costs
    auto const all_there = PhaseTimes::Clock::now();
    auto const before = comm.traffic();
    selection_ = exchanged(
        room_, own_rows_count(), [&](int r) { return owned_rows(rows(), r, comm.size()).begin; },
        [&](int r) { return std::size_t{1} * rows_of_[r]; });
    device::wait(nullptr);
    using Seconds = std::chrono::duration<double>;
    auto const end = PhaseTimes::Clock::now();
    merge_cost_ = {Seconds(end - all_there).count(), 0.0, Seconds(all_there - begin).count(), comm.traffic() - before};
  }

  MergeRoom room_;
  MergeCost merge_cost_;
};

class ProfileOnDevice final : public TopKOnDevice {
 public:
  /// One candidate more than k: what is left out matters to the errors at k.
  ProfileOnDevice(BenchProblem const& problem, Path const& path) : TopKOnDevice(problem, path, problem.item.k + 1, true) {}

  void run() override {
    TopKOnDevice::run();
    moments_ = sum_over_ranks(pass_->moments_on_device(), moments_of_row(), own_moments_);
    device::wait(nullptr);
    phases_.stop(Phase::merge);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) {
      auto const moments = brought(moments_ + own_index(row.row) * moments_of_row(), moments_of_row());
      row.profile = profile_of(row.row, moments, best_of(row.row, keep_));
      row.top_k = best_of(row.row, problem_.item.k);
    }
    return answer;
  }

 private:
  std::size_t moments_of_row() const { return std::size_t{3} * batch_.grid().count; }
  std::int64_t const* moments_ = nullptr;  ///< (own rows, bins, 3)
  device::Memory own_moments_;
};

/// Selection, then each rank sums e^{s - s_max} v of the winners among its own keys: m x d numbers travel, not rows of V.
class TopKAttentionOnDevice final : public TopKOnDevice {
 public:
  TopKAttentionOnDevice(BenchProblem const& problem, Path const& path)
      : TopKOnDevice(problem, path),
        winners_(rows(), problem.item.k),
        sums_(rows() * (d() + 1) * sizeof(std::int64_t)),
        outputs_(own_rows_count() * d() * sizeof(double)) {}

  void run() override {
    TopKOnDevice::run();
    share_edges();
    device::set_zero(nullptr, sums_.as<void>(), sums_.bytes());
    if (heads_.keep > 0) {
      winners_.find(rows(), heads_, problem_.shard.begin);
      auto const& keys = tensors_.values_on_device(0, checked_int(tensors_.size()), device::Numbers::fp32);
      winners_.sum(rows(), d(), heads_, keys.values, sums_.as<std::int64_t>(), 0);
    }
    device::wait(nullptr);
    phases_.stop(Phase::attend);
    auto const* const own = sum_over_ranks(sums_.as<std::int64_t>(), d() + 1, own_sums_);
    device::winner_outputs(nullptr, own, checked_int(own_rows_count()), problem_.item.d, winners_.factor.weight, winners_.factor.value,
                           outputs_.as<double>());
    device::wait(nullptr);
    phases_.stop(Phase::merge);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    auto answer = TopKOnDevice::answer(asked);
    for (auto& row : answer.rows) row.output = brought(outputs_.as<double>() + own_index(row.row) * d(), d());
    return answer;
  }

 private:
  /// The best and the last winner of every row, which the owners tell all ranks.
  void share_edges() {
    auto const own = problem_.owned();
    auto* const all = winners_.edges.as<std::uint64_t>();
    if (own.size() > 0) device::head_edges(nullptr, selection_, checked_int(own.size()), all + 2 * own.begin);
    if (peers_ == nullptr) return;
    std::vector<DevicePeers::Out> out;
    std::vector<DevicePeers::In> in;
    std::size_t at = 0;
    for (auto const words : words_of_owners(2)) {
      bool const mine = std::ssize(in) == problem_.comm.rank();  // they are there
      out.push_back({all + 2 * own.begin, mine ? 0 : 2 * own_rows_count()});
      in.push_back({all + at, mine ? 0 : words});
      at += words;
    }
    peers_->exchange(out, in);
  }

  OwnSums winners_;
  device::Memory sums_, own_sums_, outputs_;
};

}  // namespace

std::unique_ptr<BenchWork> make_on_device(BenchProblem const& problem, Path const& path) {
  switch (problem.item.kernel) {
    case BenchKernel::profile:
      return std::make_unique<ProfileOnDevice>(problem, path);
    case BenchKernel::top_k_attention:
      return std::make_unique<TopKAttentionOnDevice>(problem, path);
    default:
      return std::make_unique<TopKOnDevice>(problem, path);
  }
}

}  // namespace asymptop

#else

#include "config/errors.hpp"

namespace asymptop {

std::unique_ptr<BenchWork> make_on_device(BenchProblem const&, Path const&) { throw RunError("this build has no device kernels"); }

}  // namespace asymptop

#endif
