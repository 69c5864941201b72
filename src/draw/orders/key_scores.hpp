// Keys of a rank's shard step by step, packed, and their scores for some rows.
#pragma once

#include <Kokkos_Core.hpp>
#include <utility>
#include <vector>

#include "draw/orders/entry_pass.hpp"
#include "kernels/core/pack_keys.hpp"
#include "kernels/score/score_packed.hpp"

namespace asymptop {

using HostScores = Kokkos::View<float**, Kokkos::LayoutRight, Kokkos::HostSpace>;

/// Queries of some rows. all: (rows, width).
inline PackedQueries packed_queries(std::vector<int> const& rows, std::vector<float> const& all, int width) {
  std::vector<float> q;
  for (int const row : rows) {
    auto const* from = &all[row * std::int64_t{width}];
    q.insert(q.end(), from, from + width);
  }
  return {q.data(), int_size(rows), width};
}

class KeyScores {
 public:
  /// Of the rows `asked`, for steps of at most `step` keys. `rows` and `tensors` outlive it.
  KeyScores(EntryRows const& rows, std::vector<int> const& asked, int step, ShardTensors<RunSpace>& tensors, PhaseTimes& phases)
      : queries_(packed_queries(asked, rows.queries.q, rows.d)),
        tensors_(tensors),
        phases_(phases),
        d_(rows.d),
        packed_(rows.path.keys == KeyLayout::packed ? 0 : packed_size(step, rows.d)),
        scores_("Asymptop::select::scores", queries_.rows, step) {
    queries_.softcap = rows.softcap;
    queries_.alibi = rows.alibi_of(asked);
  }

  /// The next step: keys [first, first + count) of the shard, packed. The time since then is that of what follows.
  KeyTile step(LocalIndex first, int count) {
    phases_.between_steps();
    phases_.start();
    first_ = first;
    auto keys = tensors_.key_tile(first, count, count);
    if (!packed_.empty()) {
      pack_keys(keys.data, count, d_, packed_.data());
      keys = {packed_.data(), d_, true};
    }
    phases_.stop(Phase::generate);
    return keys;
  }

  /// The last step's keys as selectors look at them: `keys` from step(), with the common offset that was taken from those of a file.
  KeyTile as_they_are(KeyTile const& keys, int count) {
    if (tensors_.origin().offset.empty()) return keys;
    phases_.start();
    KeyTile const of_file{tensors_.packed_file_keys(first_, count), d_, true};
    phases_.stop(Phase::generate);
    return of_file;
  }

  /// Scores of the last step's keys. Does not wait.
  void score(KeyTile const& keys, int count) {
    score_packed(Kokkos::DefaultHostExecutionSpace(), queries_, keys.data, count, scores_, first_);
  }

  float const* of_row(std::size_t i) const { return &scores_(i, 0); }

 private:
  PackedQueries queries_;
  ShardTensors<RunSpace>& tensors_;
  PhaseTimes& phases_;
  int d_;
  LocalIndex first_ = 0;  ///< of the last step
  std::vector<float> packed_;
  HostScores scores_;
};

}  // namespace asymptop
