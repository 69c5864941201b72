// Top-k attention of all rows, batch by batch: keys go round for the selection, then values for the sums over its winners.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "attend/full_attention.hpp"
#include "draw/row_batch.hpp"
#include "kernels/attend/winners.hpp"
#include "kernels/core/math.hpp"
#include "kernels/device/memory.hpp"
#include "kernels/topk/radix_sort.hpp"

#ifndef ASYMPTOP_PORTABLE_DEVICE

namespace asymptop {
namespace {

using Space = RingSequence::Space;

/// The same candidate with index and score in each other's place: sorted as candidates are, they come in ascending order of indices.
PackedCandidate turned(PackedCandidate candidate) { return candidate << 32 | candidate >> 32; }

/// Winners of a batch: of each row those ranked between two neighbouring k, by index.
class BatchWinners {
 public:
  BatchWinners(RingSequence const& sequence, QueryBatch const& batch, std::size_t segments)
      : d_(sequence.d()),
        rows_(batch.size()),
        segments_(segments),
        factor_(FixedPoint::make(sequence.item().k.back(), sequence.largest_value())),
        sigma_(sequence.item().fp32_sigma()),
        lists_(rows_ * segments),
        max_(rows_, 0.0f) {
    for (std::size_t s = 0; s < segments; ++s) sums_.emplace_back("Asymptop::measure::sums", rows_, d_ + 1);
  }

  /// A row's head, best first; `ends`: where its segments end. From any thread.
  void set(std::size_t row, std::vector<PackedCandidate> const& head, std::vector<std::size_t> const& ends) {
    std::vector<PackedCandidate> spare;
    std::size_t begin = 0;
    max_[row] = score_of(head.front());
    for (std::size_t s = 0; s < segments_; ++s) {
      auto& list = lists_[row * segments_ + s];
      for (auto i = begin; i < ends[s]; ++i) list.push_back(turned(head[i]));
      sort_candidates(list, spare);
      for (auto& candidate : list) candidate = turned(candidate);
      begin = ends[s];
    }
  }

  /// Adds the winners among a piece's keys.
  template <class Poll>
  void add(Space const& space, KeyPiece const& piece, Poll const& poll) {
    using Values = Kokkos::View<float**, Kokkos::LayoutRight, Space::memory_space, Kokkos::MemoryTraits<Kokkos::Unmanaged>>;
    Matrix<Space, float> const values(Values(const_cast<float*>(piece.values), piece.count, d_));
    for (std::size_t s = 0; s < segments_; ++s) {
      std::vector<PackedCandidate> inside;
      std::vector<std::int64_t> offset{0};
      for (std::size_t row = 0; row < rows_; ++row) {
        auto const& list = lists_[row * segments_ + s];
        auto const at = [&](GlobalIndex index) {
          return std::partition_point(list.begin(), list.end(), [&](PackedCandidate c) { return GlobalIndex{index_of(c)} < index; });
        };
        for (auto it = at(piece.first), end = at(piece.first + piece.count); it != end; ++it)
          inside.push_back(pack(score_of(*it), index_of(*it) - local_index(piece.first)));
        offset.push_back(std::ssize(inside));
      }
      Winners<Space> const winners{to_device(space, "Asymptop::measure::winners", inside),
                                   to_device(space, "Asymptop::measure::winner_offset", offset),
                                   to_device(space, "Asymptop::measure::winner_reference", max_)};
      add_winners(space, winners, 0, offset.back(), values, false, sigma_, factor_, sums_[s]);
      space.fence();
      poll.now();
    }
  }

  /// Output of a row over segments 0 to s.
  void output(std::size_t row, std::size_t s, float* out) const {
    double const weight = from_fixed(sum(row, s, d_), factor_.weight);
    for (std::size_t c = 0; c < d_; ++c) out[c] = to_fp32(from_fixed(sum(row, s, c), factor_.value) / weight);
  }

 private:
  std::int64_t sum(std::size_t row, std::size_t last, std::size_t column) const {
    std::int64_t total = 0;
    for (std::size_t s = 0; s <= last; ++s) total += sums_[s](row, column);
    return total;
  }

  std::size_t d_, rows_, segments_;
  FixedPoint factor_;
  float sigma_;
  std::vector<std::vector<PackedCandidate>> lists_;  ///< (rows, segments)
  std::vector<float> max_;
  std::vector<Matrix<Space, std::int64_t>> sums_;  ///< (segments) of (rows, d + 1)
};

#ifdef ASYMPTOP_DEVICE
/// Keys of pieces in the memory of a GPU, which those of a single rank come to once.
class KeysOnGpu {
 public:
  explicit KeysOnGpu(RingSequence const& sequence) : sequence_(sequence) {}
  /// Those of all pieces of a rank, one or more.
  void load(int source, std::vector<KeyPiece> const& pieces) {
    if (sequence_.comm().size() == 1 && memory_.bytes() > 0) return;
    begin_ = pieces.front().keys;
    auto const bytes = sequence_.key_items(source) * sizeof(float);
    make_room(memory_, bytes);
    device::upload(nullptr, memory_.as<void>(), begin_, bytes);
  }
  /// The first `count` of a piece, as a selection wants them.
  device::KeysOnDevice first(KeyPiece const& piece, int count) {
    copy_.refer(memory_.as<float>() + (piece.keys - begin_), nullptr, count, sequence_.d());
    copy_.make_screen();
    return copy_.keys();
  }

 private:
  RingSequence const& sequence_;
  device::Memory memory_;
  device::KeyCopy copy_;
  float const* begin_ = nullptr;
};
#else
class KeysOnGpu {
 public:
  explicit KeysOnGpu(RingSequence const&) {}
  void load(int, std::vector<KeyPiece> const&) {}
  device::KeysOnDevice first(KeyPiece const&, int) { return {}; }
};
#endif

class TopKRows {
 public:
  TopKRows(RingSequence& sequence, ExactAttention const* exact, AttendTimes& times)
      : sequence_(sequence), exact_(exact), times_(times), ks_(sequence.item().k), keys_(sequence) {
    auto const rows = sequence.rows();
    result_.output.resize(ks_.size() * rows * sequence.d());
    result_.max.resize(rows);
    result_.edge.resize(rows * ks_.size());
    result_.weight.resize(rows * ks_.size());
    result_.square.resize(rows * ks_.size());
    if (exact != nullptr) result_.error.resize(rows * ks_.size());
  }

  TopKAttention run() {
    auto const rows = sequence_.rows(), most = batch_rows();
    // All ranks take as many rounds as the one with the most rows.
    for (std::size_t first = 0; first < sequence_.most_rows(); first += most)
      attend(sequence_.batch(std::min(first, rows), std::min(rows, first + most) - std::min(first, rows)));
    return std::move(result_);
  }

 private:
  std::size_t batch_rows() const {
    double const shard = exact_double(sequence_.most_rows()) * sequence_.d() * 4.0;
    auto const rows = to_integer(std::max(1.0, selection_budget(shard) / selection_bytes_per_row(ks_.back())));
    return sequence_.on_gpu() ? std::min(rows, most_selecting_on_gpu) : rows;
  }

  void attend(QueryBatch const& batch) {
    BatchWinners winners(sequence_, batch, ks_.size());
    select(batch, winners);
    sequence_.values_go_round(times_, AttendPhase::weigh, [&](int, std::vector<KeyPiece> const& pieces, auto const& poll) {
      for (auto const& piece : pieces) winners.add(space_, piece, poll);
    });
    times_.start();
    std::size_t const d = sequence_.d(), heads = ks_.size(), rows = sequence_.rows();
    for (std::size_t row = 0; row < batch.size(); ++row) {
      auto const at = batch.first + row;
      for (std::size_t h = 0; h < heads; ++h) {
        float* out = result_.output.data() + (h * rows + at) * d;
        winners.output(row, h, out);
        if (exact_ != nullptr) result_.error[at * heads + h] = relative_error(out, exact_->output.data() + at * d);
      }
    }
    times_.stop(AttendPhase::weigh);
  }

  void select(QueryBatch const& batch, BatchWinners& winners) {
    // A rank without rows of its own passes keys on.
    auto const rows = batch.size() > 0 ? sequence_.selecting(batch) : nullptr;
    auto pass = rows ? rows->first_pass(space_, {checked_int(ks_.back()), false, KeyOrder::any, 512}) : nullptr;
    sequence_.keys_go_round(times_, AttendPhase::select, [&](int source, std::vector<KeyPiece> const& pieces, auto const& poll) {
      bool const on_device = pass && pass->wants_on_device() && !pieces.empty();
      if (on_device) keys_.load(source, pieces);
      for (auto const& piece : pieces) {
        int const count = RingSequence::seen_of(piece, batch);
        if (count == 0) continue;
        auto step = step_of(piece, count, sequence_.d());
        if (on_device) step.on_device = keys_.first(piece, count);
        pass->add(space_, step, {[](PathPart) {}, [&poll] { poll(); }});
        if (on_device) poll.now();
      }
    });
    times_.start();
    auto* self = this;
    auto* to = &winners;
    RowHead const heads = pass ? pass->heads(space_) : RowHead{};
    pass.reset();
    auto const* from = &heads;
    auto const first = batch.first;
    Kokkos::parallel_for("Asymptop::measure::heads", Kokkos::RangePolicy<Space, Kokkos::Schedule<Kokkos::Dynamic>>(space_, 0, batch.size()),
                         [=](int const row) { self->take_head(first, row, *from, *to); });
    space_.fence();
    times_.stop(AttendPhase::select);
  }

  void take_head(std::size_t first, int row, RowHead const& of_row, BatchWinners& winners) {
    auto const head = of_row(row);
    auto const at = first + row;
    double const sigma = sequence_.item().sigma, max = score_of(head.front());
    result_.max[at] = score_of(head.front());
    std::vector<std::size_t> ends;
    double weight = 0.0, square = 0.0;
    std::size_t begin = 0;
    for (std::size_t h = 0; h < ks_.size(); ++h) {
      ends.push_back(std::min<std::size_t>(head.size(), ks_[h]));
      for (; begin < ends[h]; ++begin) {
        double const e = exp_fp64(sigma * (score_of(head[begin]) - max));
        weight += e;
        square += e * e;
      }
      auto const last = head[ends[h] - 1];
      result_.edge[at * ks_.size() + h] = {score_of(last), index_of(last)};
      result_.weight[at * ks_.size() + h] = weight;
      result_.square[at * ks_.size() + h] = square;
    }
    winners.set(row, head, ends);
  }

  double relative_error(float const* out, float const* exact) const {
    double difference = 0.0, norm = 0.0;
    for (int c = 0; c < sequence_.d(); ++c) {
      double const x = exact[c], error = x - out[c];
      difference += error * error;
      norm += x * x;
    }
    return std::sqrt(difference / norm);
  }

  RingSequence& sequence_;
  ExactAttention const* exact_;
  AttendTimes& times_;
  std::vector<std::int64_t> const& ks_;
  KeysOnGpu keys_;
  Space space_;
  TopKAttention result_;
};

}  // namespace

TopKAttention top_k_attention(RingSequence& sequence, ExactAttention const* exact, AttendTimes& times) {
  return TopKRows(sequence, exact, times).run();
}

}  // namespace asymptop

#endif
