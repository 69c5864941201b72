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

/// Each rank's best keys of all rows, in the memory of its GPU.
class HeadsOnGpus : public KernelWork {
 protected:
  /// keep: candidates of each row of the selection.
  HeadsOnGpus(BenchProblem const& problem, Path const& path, std::int64_t keep, bool profile)
      : KernelWork(problem, path), keep_(checked_int(std::min(keep, problem.item.n))), profile_(profile) {
    auto const& comm = problem.comm;
    for (int r = 0; r < comm.size(); ++r) rows_of_.push_back(checked_int(owned_rows(problem.item.m, r, comm.size()).size()));
    if (comm.size() > 1) peers_ = &DevicePeers::of(comm);
  }

  std::size_t own_rows_count() const { return rows_of_[problem_.comm.rank()]; }
  /// Candidates that a rank has of each row.
  int keep_of(int rank) const {
    return checked_int(std::min<GlobalIndex>(keep_, key_shard(problem_.item.n, problem_.block, rank, problem_.comm.size()).size()));
  }
  void select_own() {
    KeyWalk keys(tensors_.size());
    pass_ = taken_first_pass(space_, batch_.path(), tensors_, std::max(1, keep_of(problem_.comm.rank())), profile_, keys, phases_,
                             std::move(pass_));
    phases_.start();
    device::wait(nullptr);
    heads_ = pass_->heads_on_device();
    phases_.stop(Phase::select);
  }
  /// Room for the heads of so many rows of every rank, and for their merges.
  struct MergeRoom {
    device::Memory arriving, merged[2];
  };
  MergeRoom merge_room(std::size_t rows) const {
    std::size_t all = 0;
    for (int r = 0; r < problem_.comm.size(); ++r) all += rows * keep_of(r);
    auto const one = rows * keep_ * sizeof(PackedCandidate);
    return {device::Memory(all * sizeof(PackedCandidate)), {device::Memory(one), device::Memory(one)}};
  }
  /// Heads that ranks have sent of so many rows, as those of the sequence: `rows` of every rank come here, those from `first_of(r)` on go
  /// to rank r, `count_of(r)` of them.
  template <class FirstOf, class CountOf>
  device::HeadsOnDevice exchanged(MergeRoom const& room, std::size_t rows, FirstOf const& first_of, CountOf const& count_of) {
    std::vector<DevicePeers::Out> out;
    std::vector<DevicePeers::In> in;
    auto* to = room.arriving.as<std::uint64_t>();
    for (int r = 0; r < problem_.comm.size(); ++r) {
      auto const received = rows * keep_of(r);
      out.push_back({heads_.heads + first_of(r) * heads_.keep, count_of(r) * heads_.keep});
      in.push_back({to, received});
      to += received;
    }
    peers_->exchange(out, in);
    device::HeadsOnDevice all{in[0].memory, keep_of(0)};
    for (std::size_t r = 1; r < in.size(); ++r) {
      if (in[r].words == 0) continue;
      auto const& into = room.merged[r % 2];
      int const later = keep_of(checked_int(r)), keep = std::min(keep_, all.keep + later);
      device::merge_heads(nullptr, {checked_int(rows), all.heads, all.keep, in[r].memory, later,
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

  int keep_;
  bool profile_;
  std::vector<int> rows_of_;      ///< that each rank owns
  DevicePeers* peers_ = nullptr;  ///< null on a rank alone
  std::shared_ptr<FirstPass<Space>> pass_;
  device::HeadsOnDevice heads_;  ///< of all rows, this rank's candidates
};

/// Winners among a rank's heads, and the sums of e^{s - best} v over them.
struct OwnSums {
  OwnSums(std::size_t rows, std::int64_t k)
      : factor(FixedPoint::make(k, largest_normal)),
        edges(2 * rows * sizeof(PackedCandidate)),
        counts(rows * sizeof(int)),
        best(rows * sizeof(float)) {}
  /// Those that the selection kept of which `edges` are the edges; first: the rank's first key.
  void find(std::size_t rows, device::HeadsOnDevice const& heads, GlobalIndex first) const {
    device::find_winners(nullptr, {checked_int(rows), heads, static_cast<std::uint32_t>(first), edges.as<std::uint64_t>(), counts.as<int>(),
                                   best.as<float>()});
  }
  void sum(std::size_t rows, std::size_t d, device::HeadsOnDevice const& heads, float const* values, std::int64_t* to, int stride) const {
    device::sum_winners(nullptr, {checked_int(rows), checked_int(d), heads.heads, heads.keep, counts.as<int>(), best.as<float>(), 1.0f,
                                  values, factor.weight, factor.value, to, stride});
  }
  FixedPoint factor;
  device::Memory edges;   ///< (rows, 2): the best and the last winner over all ranks
  device::Memory counts;  ///< (rows)
  device::Memory best;    ///< (rows)
};

}  // namespace asymptop

#endif
