// The works that select where heads rest in the memory of GPUs: they are merged there, at each row's owner, and nothing is brought to the
// host before it is asked for.
#include "bench/kernel_work.hpp"

#ifdef ASYMPTOP_DEVICE

#include <algorithm>
#include <numeric>

#include "comm/device_peers.hpp"
#include "kernels/device/heads.hpp"
#include "kernels/device/memory.hpp"
#include "kernels/device/winners.hpp"

namespace asymptop {
namespace {

/// Values of device memory on the host.
template <class T>
std::vector<T> brought(T const* from, std::size_t count) {
  std::vector<T> values(count);
  device::download(nullptr, values.data(), from, count * sizeof(T));
  return values;
}

/// The k best keys of all rows.
class TopKOnDevice : public KernelWork {
 public:
  /// keep: candidates of each row of the selection.
  TopKOnDevice(BenchProblem const& problem, Path const& path, std::int64_t keep, bool profile)
      : KernelWork(problem, path), keep_(checked_int(std::min(keep, problem.item.n))), profile_(profile) {
    auto const& comm = problem.comm;
    for (int r = 0; r < comm.size(); ++r) rows_of_.push_back(checked_int(owned_rows(problem.item.m, r, comm.size()).size()));
    if (comm.size() == 1) return;
    peers_ = &DevicePeers::of(comm);
    std::size_t arriving = 0;
    for (int r = 0; r < comm.size(); ++r) arriving += static_cast<std::size_t>(own_rows_count()) * keep_of(r);
    arriving_ = device::Memory(arriving * sizeof(PackedCandidate));
    for (auto& memory : merged_) memory = device::Memory(static_cast<std::size_t>(own_rows_count()) * keep_ * sizeof(PackedCandidate));
  }
  TopKOnDevice(BenchProblem const& problem, Path const& path) : TopKOnDevice(problem, path, problem.item.k, false) {}

  MergeCost merge_cost() const override { return merge_cost_; }

  void run() override {
    KeyWalk keys(tensors_.size());
    pass_ = taken_first_pass(space_, batch_.path(), tensors_, std::max(1, keep_of(problem_.comm.rank())), profile_, keys, phases_,
                             std::move(pass_));
    phases_.start();
    device::wait(nullptr);
    heads_ = pass_->heads_on_device();
    phases_.stop(Phase::select);
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
  int own_rows_count() const { return rows_of_[problem_.comm.rank()]; }
  /// Candidates that a rank has of each row.
  int keep_of(int rank) const {
    return checked_int(std::min<GlobalIndex>(keep_, key_shard(problem_.item.n, problem_.block, rank, problem_.comm.size()).size()));
  }
  /// Words of each rank's rows, so many of each row.
  std::vector<std::size_t> words_of_owners(std::size_t each) const {
    std::vector<std::size_t> words;
    for (int const count : rows_of_) words.push_back(count * each);
    return words;
  }
  /// Sums over ranks of `each` integers of every row, at its owner; those of a rank alone stay where they are.
  std::int64_t const* sum_over_ranks(std::int64_t const* values, std::size_t each, device::Memory& own) {
    if (peers_ == nullptr) return values;
    device::make_room(own, own_rows_count() * each * sizeof(std::int64_t));
    peers_->sum_to_owners(values, words_of_owners(each), own.as<std::int64_t>());
    return own.as<std::int64_t>();
  }
  /// The first candidates of a row that this rank owns.
  std::vector<Candidate> best_of(int row, std::int64_t count) const {
    std::vector<Candidate> best;
    for (auto const candidate :
         brought(selection_.heads + own_index(row) * selection_.keep, std::min<std::int64_t>(count, selection_.keep)))
      if (candidate != 0) best.push_back({score_of(candidate), index_of(candidate)});
    return best;
  }

  int keep_;
  bool profile_;
  std::vector<int> rows_of_;      ///< that each rank owns
  DevicePeers* peers_ = nullptr;  ///< null on a rank alone
  std::shared_ptr<FirstPass<Space>> pass_;
  device::HeadsOnDevice heads_;      ///< of all rows, this rank's candidates
  device::HeadsOnDevice selection_;  ///< of the rows that this rank owns, over all keys, which are counted over the sequence
  MergeCost merge_cost_;

 private:
  /// Every rank's heads of a row go to its owner, where they become one.
  void merge() {
    auto const& comm = problem_.comm;
    auto const begin = PhaseTimes::Clock::now();
    comm.barrier();  // waiting for a slower rank's candidates is no part of what a merge costs
    auto const all_there = PhaseTimes::Clock::now();
    auto const before = comm.traffic();
    std::vector<DevicePeers::Out> out;
    std::vector<DevicePeers::In> in;
    auto const* from = heads_.heads;
    auto* to = arriving_.as<std::uint64_t>();
    for (int r = 0; r < comm.size(); ++r) {
      std::size_t const sent = static_cast<std::size_t>(rows_of_[r]) * heads_.keep,
                        received = static_cast<std::size_t>(own_rows_count()) * keep_of(r);
      out.push_back({from, sent});
      in.push_back({to, received});
      from += sent;
      to += received;
    }
    peers_->exchange(out, in);
    if (own_rows_count() > 0) merge_arrived(in);
    device::wait(nullptr);
    using Seconds = std::chrono::duration<double>;
    auto const end = PhaseTimes::Clock::now();
    merge_cost_ = {Seconds(end - all_there).count(), 0.0, Seconds(all_there - begin).count(), comm.traffic() - before};
  }
  void merge_arrived(std::vector<DevicePeers::In> const& arrived) {
    selection_ = {arrived[0].memory, keep_of(0)};
    for (std::size_t r = 1; r < arrived.size(); ++r) {
      if (arrived[r].words == 0) continue;
      auto const& into = merged_[r % 2];
      int const later = keep_of(checked_int(r)), keep = std::min(keep_, selection_.keep + later);
      device::merge_heads(nullptr, {own_rows_count(), selection_.heads, selection_.keep, arrived[r].memory, later,
                                    static_cast<std::uint32_t>(problem_.shard_begin[r]), into.as<std::uint64_t>(), keep, nullptr});
      selection_ = {into.as<std::uint64_t>(), keep};
    }
  }

  device::Memory arriving_;  ///< (ranks, own rows, candidates that the rank has)
  device::Memory merged_[2];
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
        factor_(FixedPoint::make(problem.item.k, largest_normal)),
        edges_(2 * rows() * sizeof(PackedCandidate)),
        counts_(rows() * sizeof(int)),
        best_(rows() * sizeof(float)),
        sums_(rows() * (d() + 1) * sizeof(std::int64_t)),
        outputs_(std::max(1, own_rows_count()) * d() * sizeof(double)) {}

  void run() override {
    TopKOnDevice::run();
    share_edges();
    device::set_zero(nullptr, sums_.as<void>(), sums_.bytes());
    if (heads_.keep > 0) {
      device::find_winners(nullptr, {rows(), heads_, static_cast<std::uint32_t>(problem_.shard.begin), edges_.as<std::uint64_t>(),
                                     counts_.as<int>(), best_.as<float>()});
      auto const& keys = tensors_.values_on_device(0, checked_int(tensors_.size()), false);
      device::sum_winners(nullptr, {rows(), problem_.item.d, heads_.heads, heads_.keep, counts_.as<int>(), best_.as<float>(), 1.0f,
                                    keys.values, factor_.weight, factor_.value, sums_.as<std::int64_t>()});
    }
    device::wait(nullptr);
    phases_.stop(Phase::attend);
    auto const* const own = sum_over_ranks(sums_.as<std::int64_t>(), d() + 1, own_sums_);
    device::winner_outputs(nullptr, own, own_rows_count(), problem_.item.d, factor_.weight, factor_.value, outputs_.as<double>());
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
    auto* const all = edges_.as<std::uint64_t>();
    if (own.size() > 0) device::head_edges(nullptr, selection_, own_rows_count(), all + 2 * own.begin);
    if (peers_ == nullptr) return;
    std::vector<DevicePeers::Out> out;
    std::vector<DevicePeers::In> in;
    std::size_t at = 0;
    for (auto const words : words_of_owners(2)) {
      bool const mine = std::ssize(in) == problem_.comm.rank();  // they are there
      out.push_back({all + 2 * own.begin, mine ? 0 : std::size_t{2} * own_rows_count()});
      in.push_back({all + at, mine ? 0 : words});
      at += words;
    }
    peers_->exchange(out, in);
  }

  FixedPoint factor_;
  device::Memory edges_, counts_, best_, sums_, own_sums_, outputs_;
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
