// Priorities that are looked up for keys, step by step of a walk over them.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "draw/orders/entries.hpp"
#include "draw/orders/key_scores.hpp"
#include "kernels/select/selector.hpp"

namespace asymptop {

class LookupScores {
 public:
  /// asked: places of rows in the batch; facts: of each.
  LookupScores(Lookup const& lookup, EntryRows const& rows, std::vector<int> asked, std::vector<RowOfKeys> facts)
      : lookup_(lookup), shard_(rows.shard), d_(rows.key_d), asked_(std::move(asked)), facts_(std::move(facts)) {
    for (int const row : asked_) tables_.push_back(lookup.table(&rows.queries.q[row * std::int64_t{rows.d}], d_));
  }

  /// Of keys [first, first + count) of the shard, by entries; out: (rows, at least as many).
  void find(KeyTile const& keys, LocalIndex first, int count, HostScores const& out) {
    using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>;
    Kokkos::DefaultHostExecutionSpace const space;
    std::int64_t const words = lookup_.code_words();
    int const page = lookup_.page(), entries = (count + page - 1) / page;
    if (words > 0) {
      codes_.resize(count * words);
      constexpr int run = 64;
      Kokkos::parallel_for("Asymptop::select::codes", Policy(0, (count + run - 1) / run), [&](int const r) {
        std::vector<float> key(d_);
        for (int i = r * run; i < std::min(count, (r + 1) * run); ++i) {
          copy_key(keys, i, d_, key.data());
          lookup_.code(key.data(), d_, &codes_[i * words]);
        }
      });
      space.fence();
    }
    auto const entry = (shard_.begin + first) / page;
    Kokkos::parallel_for("Asymptop::select::lookup", Policy(0, asked_.size()),
                         [&](int const i) { lookup_.priorities(facts_[i], tables_[i].data(), codes_.data(), entry, entries, &out(i, 0)); });
    space.fence();
  }

  /// Per row of the batch, the pages of the shard that it sees a part of; those of rows that are not asked about are left out.
  std::vector<std::vector<PackedCandidate>> ragged(std::size_t rows) const {
    auto const page = GlobalIndex{lookup_.page()};
    std::vector<std::vector<PackedCandidate>> found(rows);
    for (std::size_t i = 0; i < asked_.size(); ++i) {
      for (auto const p : ragged_pages(facts_[i].seen, page)) {
        if (p * page < shard_.begin || p * page >= shard_.end) continue;
        float priority = 0.0f;
        lookup_.priorities(facts_[i], tables_[i].data(), nullptr, p, 1, &priority);
        found[asked_[i]].push_back(pack(priority, local_index(p - shard_.begin / page)));
      }
    }
    return found;
  }

 private:
  Lookup const& lookup_;
  Range shard_;
  int d_;
  std::vector<int> asked_;
  std::vector<RowOfKeys> facts_;
  std::vector<std::vector<float>> tables_;  ///< per row
  std::vector<std::uint16_t> codes_;        ///< of a step
};

}  // namespace asymptop
