// Exact attention of all rows in one round of keys and values.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <variant>

#include "attend/full_attention.hpp"
#include "comm/device_peers.hpp"
#include "kernels/attend/weigh_panel.hpp"
#include "kernels/core/math.hpp"
#include "kernels/core/region.hpp"
#include "kernels/device/memory.hpp"
#include "kernels/core/huge_pages.hpp"

// Packed keys are for hosts.
#ifndef ASYMPTOP_PORTABLE_DEVICE

namespace asymptop {
namespace {

using Space = RingSequence::Space;

/// |keys that went into the sums - visible keys|, summed over rows.
std::int64_t miscounted(RingSequence const& sequence, std::vector<std::int64_t> const& seen) {
  std::int64_t keys = 0;
  for (std::size_t row = 0; row < seen.size(); ++row) keys += std::abs(seen[row] - sequence.visible(sequence.position(row)));
  return keys;
}

/// Room for the outputs of all rows.
ExactAttention& room_of(RingSequence& sequence) {
  auto& room = sequence.exact();
  std::size_t const numbers = sequence.rows() * sequence.d();
  if (room.output.size() != numbers) {
    room.output.reserve(numbers);
    prefer_huge_pages(room.output.data(), numbers * sizeof(float));
    room.output.resize(numbers);
    room.log_sum_exp.resize(sequence.rows());
  }
  return room;
}

/// Outputs from the runs of all rows, which they end.
template <class RunOf>
void write_outputs(RingSequence& sequence, int columns, RunOf const& run_of, std::vector<std::int64_t> const& seen) {
  std::size_t const d = sequence.d(), rows = sequence.rows();
  auto& result = room_of(sequence);
  Space const space;
  auto* to = &result;
  Kokkos::parallel_for("Asymptop::measure::finish_runs", Kokkos::RangePolicy<Space>(space, 0, rows), [=](std::size_t const at) {
    auto& run = run_of(at);
    run.finish(columns);
    auto const& node = run.nodes()[0];
    double const weight = node.weight;
    to->log_sum_exp[at] = node.max + std::log(weight);
    for (std::size_t c = 0; c < d; ++c) to->output[at * d + c] = to_fp32(run.values(0, columns)[c] / weight);
  });
  space.fence();
  result.miscounted = miscounted(sequence, seen);
}

/// Subtrees of all rows of the rank over the pieces that were here. A piece leaves a few nodes with each row, whatever its length.
class ExactRows {
 public:
  explicit ExactRows(RingSequence& sequence)
      : sequence_(sequence),
        batches_(sequence.batches()),
        columns_(simd::padded_columns(sequence.d())),
        runs_(sequence.rows()),
        seen_(sequence.rows(), 0) {}

  template <class Poll>
  void add(KeyPiece const& piece, Poll const& poll) {
    for (auto const& batch : batches_) {
      int const count = RingSequence::seen_of(piece, batch);
      if (count == 0) continue;
      auto const rows = sequence_.on_path(batch);
      auto const pass = rows->attention(space_, {sequence_.leaf(), 0, sequence_.item().fp32_sigma()});
      Region const region("Asymptop: attention");
      pass->add(space_, step_of(piece, count, sequence_.d()), {[](PathPart) {}, [&poll] { poll(); }});
      auto const runs = std::get<AttentionRuns>(pass->parts());
      auto* self = this;
      auto const* from = &runs;
      auto const first = batch.first;
      Kokkos::parallel_for("Asymptop::measure::join_runs", Kokkos::RangePolicy<Space>(space_, 0, batch.size()), [=](int const row) {
        auto const at = first + row;
        self->runs_[at].push(from->run(row), self->columns_);
        self->seen_[at] += from->seen(row);
      });
      space_.fence();
    }
  }

  void finish() {
    write_outputs(
        sequence_, columns_, [this](std::size_t row) -> SoftmaxRun& { return runs_[row]; }, seen_);
  }

 private:
  RingSequence& sequence_;
  Space space_;
  std::vector<QueryBatch> batches_;
  int columns_;
  std::vector<SoftmaxRun> runs_;
  std::vector<std::int64_t> seen_;
};

/// The same by a path that keeps rows in a memory of its own, which pieces of keys come to.
class RowsOnDevice {
 public:
  explicit RowsOnDevice(RingSequence& sequence)
      : sequence_(sequence), room_(room_of(sequence)), copy_(sequence.on_device()), exact_(sequence.exact_on_path()) {}

  template <class Poll>
  void add(KeyPiece const& piece, Poll const& poll) {
    auto step = step_of(piece, piece.count, sequence_.d());
    if (exact_.pass->wants_on_device()) {
      copy_.load(piece.keys, piece.count, sequence_.d());
      copy_.load_values(piece.values);
      copy_.make_split(exact_.pass->wants_split());
      step.on_device = copy_.keys();
    }
    Region const region("Asymptop: attention");
    exact_.pass->add(space_, step, {[](PathPart) {}, [&poll] { poll.now(); }});
  }
#ifdef ASYMPTOP_DEVICE
  /// Whether pieces may come in the memory of the GPU.
  bool takes_on_device() const { return exact_.pass->wants_on_device(); }
  /// A piece there, without waiting.
  void add_on_device(KeyPiece const& piece) {
    KeyStep<Space> step{local_index(piece.first), piece.count, piece.count, {}, {}};
    copy_.refer(piece.keys, piece.values, piece.count, sequence_.d());
    copy_.make_split(exact_.pass->wants_split());
    step.on_device = copy_.keys();
    Region const region("Asymptop: attention");
    exact_.pass->add(space_, step, {});
  }
#endif

  void finish() {
    std::vector<std::int64_t> all_seen(sequence_.rows());
    if (exact_.pass->outputs({room_.output.data(), room_.log_sum_exp.data(), all_seen.data()})) {
      room_.miscounted = miscounted(sequence_, all_seen);
      return;
    }
    auto const runs = std::get<AttentionRuns>(exact_.pass->parts());
    std::vector<SoftmaxRun> all(sequence_.rows());
    std::vector<std::int64_t> seen;
    for (std::size_t row = 0; row < all.size(); ++row) seen.push_back(runs.seen(static_cast<int>(row)));
    auto* const of = &all;
    auto const* const from = &runs;
    auto const run_of = [=](std::size_t row) -> SoftmaxRun& { return (*of)[row] = from->run(static_cast<int>(row)); };
    write_outputs(sequence_, runs.columns, run_of, seen);
  }

 private:
  RingSequence& sequence_;
  ExactAttention& room_;
  Space space_;
  device::KeyCopy& copy_;
  OwnedAttention<Space> exact_;
};

template <class Rows>
void once_round(RingSequence& sequence, AttendTimes& times) {
  Rows rows(sequence);
  sequence.both_go_round(times, AttendPhase::exact_attention, [&](int, std::vector<KeyPiece> const& pieces, auto const& poll) {
    for (auto const& piece : pieces) rows.add(piece, poll);
  });
  times.start();
  rows.finish();
  times.stop(AttendPhase::exact_attention);
}

#ifdef ASYMPTOP_DEVICE
/// Keys and values of a rank, one after another, in the memory of a GPU; two such memories take turns on the way round.
class RingOnDevice {
 public:
  RingOnDevice(RingSequence& sequence, DevicePeers& peers) : sequence_(sequence), peers_(peers) {
    std::size_t most = 0;
    for (int r = 0; r < sequence.comm().size(); ++r) most = std::max(most, words_of(r));
    for (auto& memory : memory_) memory = device::Memory(most * sizeof(std::uint64_t));
  }

  /// As RingSequence::both_go_round(): visit(pieces) for every rank.
  template <class Visit>
  void go_round(AttendTimes& times, Visit const& visit) {
    auto const& comm = sequence_.comm();
    int const ranks = comm.size(), self = comm.rank();
    times.start();
    auto const &keys = sequence_.own_keys(), &values = sequence_.own_values();
    device::upload(nullptr, memory_[0].as<float>(), keys.data(), keys.size() * sizeof(float));
    device::upload(nullptr, memory_[0].as<float>() + keys.size(), values.data(), values.size() * sizeof(float));
    for (int step = 0; step < ranks; ++step) {
      int const source = (self + step) % ranks, next = (source + 1) % ranks;
      bool const last = step + 1 == ranks;
      auto const &here = memory_[step % 2], &there = memory_[(step + 1) % 2];
      if (!last) {
        peers_.begin_shift({here.as<std::uint64_t>(), words_of(source)}, (self + ranks - 1) % ranks,
                           {there.as<std::uint64_t>(), words_of(next)}, (self + 1) % ranks);
        sequence_.count_sent_by_device(static_cast<std::int64_t>(words_of(source) * sizeof(std::uint64_t)));
      }
      visit(sequence_.pieces(source, here.as<float>(), here.as<float>() + sequence_.key_items(source)));
      device::wait(nullptr);
      times.stop(AttendPhase::exact_attention);
      if (last) break;
      peers_.end_shift();
      times.stop(AttendPhase::exchange);
    }
  }

 private:
  std::size_t words_of(int rank) const { return (sequence_.key_items(rank) + sequence_.rows_of(rank) * sequence_.d() + 1) / 2; }

  RingSequence& sequence_;
  DevicePeers& peers_;
  device::Memory memory_[2];
};

/// Whether keys and values go from GPU to GPU; then all is done.
bool once_round_on_devices(RingSequence& sequence, AttendTimes& times) {
  if (sequence.comm().size() == 1) return false;
  auto& peers = DevicePeers::of(sequence.comm());
  if (!peers.by_nccl()) return false;
  times.start();
  RowsOnDevice rows(sequence);
  if (!rows.takes_on_device()) return false;
  times.stop(AttendPhase::exact_attention);
  RingOnDevice(sequence, peers).go_round(times, [&](std::vector<KeyPiece> const& pieces) {
    for (auto const& piece : pieces) rows.add_on_device(piece);
  });
  rows.finish();
  times.stop(AttendPhase::exact_attention);
  return true;
}
#else
bool once_round_on_devices(RingSequence&, AttendTimes&) { return false; }
#endif

}  // namespace

ExactAttention const& exact_attention(RingSequence& sequence, AttendTimes& times) {
  if (sequence.on_gpu()) {
    if (!once_round_on_devices(sequence, times)) once_round<RowsOnDevice>(sequence, times);
  } else {
    once_round<ExactRows>(sequence, times);
  }
  return sequence.exact();
}

}  // namespace asymptop

#endif
