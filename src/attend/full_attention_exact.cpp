// Exact attention of all rows in one round of keys and values.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <variant>

#include "attend/full_attention.hpp"
#include "kernels/attend/weigh_panel.hpp"
#include "kernels/core/region.hpp"

// Packed keys are for hosts.
#ifndef ASYMPTOP_PORTABLE_DEVICE

namespace asymptop {
namespace {

using Space = RingSequence::Space;

/// Subtrees of all rows of the rank over the pieces that were here. A piece leaves a few nodes with each row, whatever its length.
class ExactRows {
 public:
  explicit ExactRows(RingSequence const& sequence)
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

  ExactAttention finish() {
    std::size_t const d = sequence_.d(), rows = sequence_.rows();
    ExactAttention result;
    result.output.resize(rows * d);
    result.log_sum_exp.resize(rows);
    auto* self = this;
    auto* to = &result;
    Kokkos::parallel_for("Asymptop::measure::finish_runs", Kokkos::RangePolicy<Space>(space_, 0, rows), [=](std::size_t const at) {
      auto& run = self->runs_[at];
      run.finish(self->columns_);
      auto const& node = run.nodes()[0];
      double const weight = node.weight;
      to->log_sum_exp[at] = node.max + std::log(weight);
      for (std::size_t c = 0; c < d; ++c) to->output[at * d + c] = static_cast<float>(run.values(0, self->columns_)[c] / weight);
    });
    space_.fence();
    for (std::size_t row = 0; row < rows; ++row) result.miscounted += std::abs(seen_[row] - sequence_.visible(sequence_.position(row)));
    return result;
  }

 private:
  RingSequence const& sequence_;
  Space space_;
  std::vector<QueryBatch> batches_;
  int columns_;
  std::vector<SoftmaxRun> runs_;
  std::vector<std::int64_t> seen_;
};

}  // namespace

ExactAttention exact_attention(RingSequence& sequence, AttendTimes& times) {
  ExactRows rows(sequence);
  sequence.both_go_round(times, AttendPhase::exact_attention, [&](int, std::vector<KeyPiece> const& pieces, auto const& poll) {
    for (auto const& piece : pieces) rows.add(piece, poll);
  });
  times.start();
  auto result = rows.finish();
  times.stop(AttendPhase::exact_attention);
  return result;
}

}  // namespace asymptop

#endif
