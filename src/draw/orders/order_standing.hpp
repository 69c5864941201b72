// Where the entries of selectors stand in the orders of some rows, step by step of a walk over the keys.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "draw/orders/entries.hpp"
#include "draw/orders/index_scores.hpp"
#include "draw/orders/key_scores.hpp"
#include "draw/orders/lookup_scores.hpp"
#include "draw/orders/order_questions.hpp"
#include "kernels/score/byte_products.hpp"

namespace asymptop {

/// A row that is asked about, and its questions [begin, end).
struct AskedRow {
  int row;
  std::size_t begin, end;
  RowOfKeys facts;
};

inline std::vector<int> rows_of(std::vector<AskedRow> const& asked) {
  std::vector<int> rows;
  for (auto const& of : asked) rows.push_back(of.row);
  return rows;
}

/// Where the entries of one selector stand, step by step.
class Standing {
 public:
  Standing(EntryRows const& rows, Selector& selector, std::vector<AskedRow> const& asked, int step, ShardTensors<RunSpace>& tensors)
      : selector_(selector), projection_(selector.projection()), asked_(asked), first_entry_(rows.shard.begin / selector.page()) {
    if (auto const* index = selector.index()) {
      std::vector<std::int64_t> positions;
      for (auto const& of : asked) positions.push_back(rows.queries.position[of.row]);
      index_.emplace(*index, tensors.origin(), rows.shard, positions, step);
    }
    if (auto const* lookup = selector.lookup()) {
      std::vector<RowOfKeys> facts;
      for (auto const& of : asked) facts.push_back(of.facts);
      lookup_.emplace(*lookup, rows, rows_of(asked), std::move(facts));
      ragged_ = lookup_->ragged(rows.queries.rows());
    }
    if (has_priorities()) priorities_ = HostScores("Asymptop::select::priorities", asked.size(), room_for(step / selector.page()));
    if (projection_ == nullptr) return;
    slopes_.emplace(rows, *projection_, selector.shared());
    rows_ = rows_of(asked);
    // Priorities in 8 bits are products over the query's scale: not what is added to other queries' or to slopes.
    in_bytes_ = projection_->levels() > 0 && !selector.shared() && !slopes_->any();
    if (in_bytes_) {
      byte_queries_ = {packed_queries(rows_of(asked), rows.queries.q, rows.d), projection_->levels()};
      return;
    }
    auto const projected = project(rows, *projection_, selector.shared());
    queries_ = packed_queries(rows_of(asked), projected, projected_width(rows, *projection_));
    ragged_ = ragged_entries(rows, *projection_, projected, *slopes_, tensors);
    if (!projection_->keys_as_they_are()) entries_.emplace(room_for(step / selector.page()), projection_->width(rows.key_d), rows.key_d);
  }

  int page() const { return selector_.page(); }
  /// Whether scores themselves are needed to say where entries stand.
  bool wants_scores() const { return selector_.by_largest_score(); }
  /// Whether it goes by keys as a file has them, whatever offset its true scores leave out.
  bool looks_at_keys() const {
    if (auto const* lookup = selector_.lookup()) return lookup->code_words() > 0;
    return projection_ != nullptr && !projection_->true_products();
  }
  /// Whether x are places.
  bool places() const { return !has_priorities() && !selector_.by_largest_score(); }

  /// The priorities of a step's entries. keys: packed, `first` being the shard's key that they begin with; as looks_at_keys() wants them.
  void prepare(KeyTile const& keys, LocalIndex first, int count) {
    if (index_) index_->find(first, count, priorities_);
    if (lookup_) lookup_->find(keys, first, count, priorities_);
    if (projection_ == nullptr) return;
    multiply(keys, count);
    slopes_->add(rows_, first_entry_ + first / page(), count / page(), priorities_);
  }

  bool has_priorities() const { return projection_ != nullptr || index_ || lookup_; }
  /// Of the step's whole entries, for the i-th row; and of the pages that the row sees a part of, those of this rank.
  float const* priorities(std::size_t i) const { return &priorities_(i, 0); }
  std::span<PackedCandidate const> ragged(std::size_t i) const {
    return ragged_.empty() ? std::span<PackedCandidate const>() : ragged_[asked_[i].row];
  }

  /// Keys of the i-th row's entries that `here` goes through, keys that the row sees of a step whose first key is `begin`. s: scores from
  /// there on, if wanted.
  void find(std::size_t i, GlobalIndex begin, KeyRun const& here, float const* s, std::vector<OrderKey>& keys) const {
    auto const& row = asked_[i];
    std::int64_t const size = page(), first = here.first_page(size), count = here.pages(size);
    keys.resize(count);
    OrderKey* const to = keys.data();
    if (has_priorities()) {
      simd::keys_of_priorities(&priorities_(i, first - begin / size), count, to);
      for (auto const& part : ragged(i)) {
        auto const e = first_entry_ + index_of(part) - first;
        if (e >= 0 && e < count) to[e] = key_of_priority(score_of(part));
      }
    } else if (selector_.by_largest_score()) {
      // A page that is seen from its middle on, then whole ones.
      auto const rest = here.begin % size == 0 ? first : first + 1, ahead = here.of_page(first, size).size();
      if (rest > first) simd::keys_of_largest(s + (here.begin - begin), ahead, size, to);
      if (here.end > rest * size) simd::keys_of_largest(s + (rest * size - begin), here.end - rest * size, size, to + (rest - first));
    } else {
      static thread_local std::vector<std::uint32_t> places;
      places.resize(count);
      selector_.places(row.facts, first, checked_int(count), places.data());
      simd::keys_of_places(places.data(), count, to);
    }
    ForcedEntries const forced(selector_.forced(), row.facts.seen, size);
    for (std::int64_t e = count; e-- > 0 && first + e >= forced.recent_begin;) to[e] = key_ahead(forced.place(first + e));
    for (std::int64_t e = 0; e < count && first + e < forced.first_end; ++e) to[e] = key_ahead(forced.place(first + e));
  }

 private:
  void multiply(KeyTile const& keys, int count) {
    Kokkos::DefaultHostExecutionSpace const space;
    if (in_bytes_) {
      byte_products(space, byte_queries_, keys.data, count, projection_->levels(), byte_keys_, priorities_);
    } else if (!entries_) {
      score_packed(space, queries_, keys.data, count, priorities_);
    } else {
      entries_->clear();
      entries_->fill_from(*projection_, keys, 0, count / page());
      score_packed(space, queries_, entries_->tile().data, count / page(), priorities_);
    }
    if (slopes_->any()) space.fence();
  }

  /// Whole groups, and a page that is seen in part.
  static int room_for(int entries) { return (entries + key_group) / key_group * key_group; }

  Selector& selector_;
  Projection* projection_;
  std::vector<AskedRow> const& asked_;
  std::int64_t first_entry_;  ///< of the shard
  std::optional<IndexScores> index_;
  std::optional<LookupScores> lookup_;
  std::optional<EntrySlopes> slopes_;  ///< of a projection
  std::vector<int> rows_;              ///< that are asked about
  PackedQueries queries_;
  bool in_bytes_ = false;
  ByteQueries byte_queries_;
  ByteKeys byte_keys_;
  HostScores priorities_;
  std::vector<std::vector<PackedCandidate>> ragged_;  ///< per row
  std::optional<EntryTile> entries_;
};

}  // namespace asymptop
