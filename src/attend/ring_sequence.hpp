// A sequence whose queries, keys and values are spread over ranks, and the ring on which keys and values go round.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "attend/plan.hpp"
#include "comm/communicator.hpp"
#include "comm/ring.hpp"
#include "comm/timing.hpp"
#include "draw/run_paths.hpp"
#include "kernels/core/types.hpp"
#include "kernels/device/memory.hpp"
#include "kernels/score/panel.hpp"
#include "shard/partition.hpp"
#include "shard/run_space.hpp"
#include "shard/tensor_file.hpp"

namespace asymptop {

/// Phases of a draw of full attention. `exchange`: waiting for messages that work did not hide.
enum class AttendPhase { generate, exact_attention, select, weigh, tails, norms, exchange, check, save, total };
inline constexpr std::array<char const*, 10> attend_phase_names = {"generate", "exact_attention", "select", "weigh", "tails",
                                                                   "norms",    "exchange",        "check",  "save",  "total"};
using AttendTimes = PhaseTimesOf<AttendPhase, attend_phase_names.size()>;

/// Some rows of a rank.
struct QueryBatch {
  std::size_t first;  ///< row of the rank
  PackedQueries queries;
  std::vector<std::int64_t> limit;  ///< keys from the start of the sequence on that each row sees
  std::int64_t most = 0;            ///< the largest limit
  std::size_t size() const { return limit.size(); }
};

/// A run of keys at hand, with their values where those travel too.
struct KeyPiece {
  GlobalIndex first;
  int count;
  std::size_t offset;   ///< of the first key among all that its rank owns
  float const* keys;    ///< packed
  float const* values;  ///< (count, d)
};

/// The first `count` keys of a piece as a step of a pass.
inline KeyStep<RunSpace> step_of(KeyPiece const& piece, int count, int d) {
  KeyStep<RunSpace> step{local_index(piece.first), count, count, {piece.keys, d, true}, {}};
  // Passes only read them.
  if (piece.values != nullptr) step.values = Matrix<RunSpace, float>(const_cast<float*>(piece.values), count, d);
  return step;
}

/// Lets messages progress, but not at every call.
template <class Poll>
class SparsePoll {
 public:
  explicit SparsePoll(Poll poll) : poll_(std::move(poll)) {}
  void operator()() const {
    if (++calls_ % 8 == 0) poll_();
  }
  void now() const { poll_(); }

 private:
  Poll poll_;
  mutable unsigned calls_ = 0;  ///< only the thread that works first calls this
};

/// Exact attention of a rank's rows.
struct ExactAttention {
  std::vector<float> output;        ///< (rows, d)
  std::vector<double> log_sum_exp;  ///< (rows)
  std::int64_t miscounted = 0;      ///< |keys that went into the sums - visible keys|, summed over rows
};

class RingSequence {
 public:
  using Space = RunSpace;

  /// file: where tensors come from; null for synthetic ones. largest_value: bound of |v|.
  RingSequence(Communicator const& comm, AttendCase const& item, GlobalIndex block, TensorLayer const* file, double largest_value);

  /// Makes or reads the rank's own tensors of a draw: standard normal ones, or the case's head. Queries are multiplied by its scale.
  void load(std::uint64_t seed, std::int64_t draw);
  double largest_value() const { return largest_value_; }

  Communicator const& comm() const { return comm_; }
  AttendCase const& item() const { return item_; }
  int d() const { return d_; }
  /// Keys whose sums are made in floating point at once: a function of the block length.
  int leaf() const { return leaf_; }
  int threads() const { return threads_; }
  std::size_t rows() const { return rows_; }
  std::size_t rows_of(int rank) const;
  std::size_t most_rows() const { return most_rows_; }  ///< of any rank
  std::vector<Range> runs(int rank) const { return owned_runs(item_.n, block_, rank, comm_.size(), item_.mask == Mask::causal); }
  /// Place of a row of this rank in the sequence.
  GlobalIndex position(std::size_t row) const;
  std::int64_t visible(GlobalIndex position) const { return item_.mask == Mask::causal ? position + 1 : item_.n; }
  float const* query(std::size_t row) const { return queries_.data() + row * d_; }

  /// Rows [first, first + count) of this rank, cut into panels as the sequence has them when `first` is a multiple of leaf().
  QueryBatch batch(std::size_t first, std::size_t count) const;
  /// Rows of a batch that keeps all threads busy: whole leaves.
  std::size_t batch_rows() const { return std::int64_t{score_strip} * threads_; }
  std::vector<QueryBatch> batches() const;
  /// Its verbs: those of the best path that takes keys in pieces.
  std::unique_ptr<PathBatch<Space>> on_path(QueryBatch const& batch) const { return on_path(path_in_pieces(), batch); }
  /// Those of the selection: of a GPU where exact attention is computed on one, whose heads are the same.
  std::unique_ptr<PathBatch<Space>> selecting(QueryBatch const& batch) const {
    return on_path(on_gpu() ? *item_.exact_path : path_in_pieces(), batch);
  }
  /// Whether the case's path has a GPU.
  bool on_gpu() const { return item_.exact_path->device_memory != nullptr; }
  /// All rows of this rank in one pass of exact attention over pieces.
  OwnedAttention<Space> exact_on_path() const;
  /// Room for a piece of keys and values in the memory of a GPU, which reaches those of this rank fast. Kept from draw to draw.
  device::KeyCopy& on_device() {
    on_device_.hold(queries_.data(), queries_.size() * sizeof(float));
    on_device_.hold(keys_.data(), keys_.size() * sizeof(float));
    on_device_.hold(values_.data(), values_.size() * sizeof(float));
    on_device_.hold(exact_.output.data(), exact_.output.size() * sizeof(float));
    return on_device_;
  }

  /// Room for the present draw's exact attention. Kept from draw to draw: its pages take longer to come than a GPU to fill them.
  ExactAttention& exact() { return exact_; }

  /// Keys that a batch sees of a piece; 0 for none.
  static int seen_of(KeyPiece const& piece, QueryBatch const& batch) { return count_within(batch.most - piece.first, piece.count); }

  /// Numbers of a rank's packed keys.
  std::size_t key_items(int rank) const;
  /// A rank's runs, whose keys and values, or null, lie one after another in memory of any kind.
  std::vector<KeyPiece> pieces(int source, float const* keys, float const* values) const;
  std::vector<float> const& own_keys() const { return keys_; }
  std::vector<float> const& own_values() const { return values_; }
  /// This rank's own keys and values.
  std::vector<KeyPiece> own_pieces() const { return pieces(comm_.rank(), keys_.data(), values_.data()); }

  /// Takes keys and values, or one of them, once round the ring: visit(source, pieces, poll) for every rank's. What else goes round with
  /// them must have been started. Adds time to `phase`, and to exchange what messages made it wait.
  template <class Visit, class... More>
  void keys_go_round(AttendTimes& times, AttendPhase phase, Visit const& visit, More&... more) {
    key_ring_.start(keys_);
    go_round(
        times, phase,
        [&](auto const& poll) { visit(key_ring_.source(), pieces(key_ring_.source(), key_ring_.current().data(), nullptr), poll); },
        key_ring_, more...);
  }
  template <class Visit>
  void values_go_round(AttendTimes& times, AttendPhase phase, Visit const& visit) {
    value_ring_.start(values_);
    go_round(
        times, phase,
        [&](auto const& poll) { visit(value_ring_.source(), pieces(value_ring_.source(), nullptr, value_ring_.current().data()), poll); },
        value_ring_);
  }
  template <class Visit>
  void both_go_round(AttendTimes& times, AttendPhase phase, Visit const& visit) {
    key_ring_.start(keys_);
    value_ring_.start(values_);
    go_round(
        times, phase,
        [&](auto const& poll) {
          visit(key_ring_.source(), pieces(key_ring_.source(), key_ring_.current().data(), value_ring_.current().data()), poll);
        },
        key_ring_, value_ring_);
  }

  /// Bytes of keys and values that this rank has sent on.
  std::int64_t bytes_sent() const { return key_ring_.bytes_sent() + value_ring_.bytes_sent() + bytes_sent_by_device_; }
  void count_sent_by_device(std::int64_t bytes) { bytes_sent_by_device_ += bytes; }

 private:
  std::unique_ptr<PathBatch<Space>> on_path(Path const& path, QueryBatch const& batch) const;
  void load_run(Range const& run, std::uint64_t seed, std::int64_t draw, float* queries, float* keys, float* values) const;

  template <class Work, class... Rings>
  void go_round(AttendTimes& times, AttendPhase phase, Work const& work, Rings&... rings) {
    times.start();
    for (int step = 0; step < comm_.size(); ++step) {
      bool const last = step + 1 == comm_.size();
      if (!last) (rings.post(), ...);
      work(SparsePoll([&] { (rings.poll(), ...); }));
      times.stop(phase);
      if (last) break;
      (rings.advance(), ...);
      times.stop(AttendPhase::exchange);
    }
  }

  Communicator const& comm_;
  AttendCase const& item_;
  GlobalIndex block_;
  TensorLayer const* file_;
  double largest_value_;
  int d_, leaf_, threads_;
  std::size_t rows_ = 0, most_rows_ = 0;
  std::vector<float> queries_, keys_, values_;  ///< (rows, d), packed run by run, (rows, d)
  ExactAttention exact_;
  std::int64_t bytes_sent_by_device_ = 0;
  Circulation<float> key_ring_, value_ring_;
  device::KeyCopy on_device_;  ///< after what it holds in place
};

}  // namespace asymptop
