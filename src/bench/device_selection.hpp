// Works that select where heads rest in the memory of GPUs: what they share.
#pragma once

#include "bench/kernel_work.hpp"

#ifdef ASYMPTOP_DEVICE

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "comm/device_peers.hpp"
#include "kernels/device/heads.hpp"
#include "kernels/device/memory.hpp"
#include "kernels/device/winners.hpp"

namespace asymptop {

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
    select_own(keys);
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
  /// This rank's best keys of all rows.
  void select_own(KeyWalk& keys) {
    pass_ = taken_first_pass(space_, batch_.path(), tensors_, std::max(1, keep_of(problem_.comm.rank())), profile_, keys, phases_,
                             std::move(pass_));
    phases_.start();
    device::wait(nullptr);
    heads_ = pass_->heads_on_device();
    phases_.stop(Phase::select);
  }
  /// Heads of so many rows of each rank, in rank order, as those of the sequence.
  device::HeadsOnDevice merged(std::vector<DevicePeers::In> const& arrived, int rows, device::Memory const (&room)[2]) const {
    device::HeadsOnDevice all{arrived[0].memory, keep_of(0)};
    for (std::size_t r = 1; r < arrived.size(); ++r) {
      if (arrived[r].words == 0) continue;
      auto const& into = room[r % 2];
      int const later = keep_of(checked_int(r)), keep = std::min(keep_, all.keep + later);
      device::merge_heads(nullptr, {rows, all.heads, all.keep, arrived[r].memory, later,
                                    static_cast<std::uint32_t>(problem_.shard_begin[r]), into.as<std::uint64_t>(), keep, nullptr});
      all = {into.as<std::uint64_t>(), keep};
    }
    return all;
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
    if (own_rows_count() > 0) selection_ = merged(in, own_rows_count(), merged_);
    device::wait(nullptr);
    using Seconds = std::chrono::duration<double>;
    auto const end = PhaseTimes::Clock::now();
    merge_cost_ = {Seconds(end - all_there).count(), 0.0, Seconds(all_there - begin).count(), comm.traffic() - before};
  }
  device::Memory arriving_;  ///< (ranks, own rows, candidates that the rank has)
  device::Memory merged_[2];
};

}  // namespace asymptop

#endif
