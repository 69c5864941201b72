// k_epsilon of orders that go through shards side by side: between two numbers of entries that close in on each other, walk by walk.
#include <algorithm>
#include <bit>
#include <cmath>

#include "comm/collectives.hpp"
#include "draw/orders/shard_heads.hpp"
#include "draw/orders/shard_walk.hpp"
#include "kernels/attend/segments.hpp"
#include "kernels/core/fixed_point.hpp"
#include "study/shard_orders.hpp"

namespace asymptop {
namespace {

/// Walks before a question is given up.
constexpr int most_shard_walks = 40;

/// Rounds in which bins are steps of score: most orders need no other. Those of bits and indices end after a few rounds for any scores.
constexpr int rounds_by_score = 2;

/// Keys that are looked at one by one, at most.
std::int64_t few_keys(std::size_t shards) { return std::max<std::int64_t>(4096, 16 * shards); }

/// An open k_epsilon, on the owner of its row. `least` entries are too few, `most` are enough.
struct ShardSearch {
  std::size_t row, item;  ///< row: of the owner's rows
  ShardQuestion question;
  std::vector<std::int64_t> before;  ///< per shard: keys before its bracket
  std::int64_t behind = 0;           ///< mass behind all brackets
  double sink = 0.0;                 ///< the part of the row's denominator that is no key's, in the units of masses
  std::int64_t all = 0;              ///< mass of the row's keys
  std::int64_t least = 0, most = 0;
  int rounds = 0;

  /// The mass that may be left.
  std::int64_t target(double epsilon) const { return share_of_sums(epsilon, all, sink); }
};

/// What one walk says of a search.
class BracketSums {
 public:
  BracketSums(ShardSearch const& search, std::int64_t const* sums, int bins) : search_(search), bins_(bins) {
    for (std::size_t p = 0; p < search.before.size(); ++p) {
      auto const* const of = sums + 2 * bins * p;
      auto& ranks = ranks_.emplace_back(1, search.before[p]);
      auto& masses = masses_.emplace_back(bins + 1, 0);
      for (int b = 0; b < bins; ++b) ranks.push_back(ranks.back() + of[2 * b]);
      for (int b = bins; b-- > 0;) masses[b] = masses[b + 1] + of[2 * b + 1];
    }
  }

  /// Keys of a shard up to the end of its bracket.
  std::int64_t end_rank(std::size_t p) const { return ranks_[p].back(); }
  std::int64_t rank_before(std::size_t p, int bin) const { return ranks_[p][bin]; }
  /// Mass of a shard's bins from this one on.
  std::int64_t mass_from(std::size_t p, int bin) const { return masses_[p][bin]; }
  /// The bin that holds the rank-th key of a shard; ranks count from 1, and this one is in the bracket.
  int bin_of(std::size_t p, std::int64_t rank) const {
    auto const& ranks = ranks_[p];
    return checked_int(std::lower_bound(ranks.begin() + 1, ranks.end(), rank) - ranks.begin()) - 1;
  }

  /// Bounds on the mass that t entries leave, t > least: without and with the keys of the bins that t lies in.
  struct Left {
    std::int64_t low, high;
  };
  Left left_by(std::int64_t t) const {
    Left left{search_.behind, search_.behind};
    for (std::size_t p = 0; p < ranks_.size(); ++p) {
      if (t >= end_rank(p)) continue;
      int const bin = bin_of(p, t);
      left.low += mass_from(p, bin + 1);
      left.high += mass_from(p, ranks_[p][bin + 1] == t ? bin + 1 : bin);
    }
    return left;
  }

 private:
  ShardSearch const& search_;
  int bins_;
  std::vector<std::vector<std::int64_t>> ranks_, masses_;  ///< (shards, bins + 1)
};

/// The largest number in [low, high) that holds, where `low` does and those that hold come first.
template <class Holds>
std::int64_t last_that(std::int64_t low, std::int64_t high, Holds const& holds) {
  while (high - low > 1) {
    auto const middle = low + (high - low) / 2;
    (holds(middle) ? low : high) = middle;
  }
  return low;
}

float score_at(ShardPlace const& place) { return from_ordered_bits(~place.worse); }

/// Closes in on the number of entries, and sets what to ask next.
void look_closer(ShardSearch& search, double epsilon, std::int64_t const* numbers, std::vector<Range> const& shards) {
  int const bins = bins_of_bracket(int_size(shards));
  BracketSums const sums(search, numbers, bins);
  if (search.rounds++ == 0) {
    for (std::size_t p = 0; p < shards.size(); ++p) {
      search.all += sums.mass_from(p, 0);
      search.most = std::max(search.most, sums.end_rank(p));
    }
  }
  auto const target = search.target(epsilon);
  auto const least = last_that(search.least, search.most, [&](std::int64_t t) { return sums.left_by(t).low > target; });
  search.most = last_that(least, search.most, [&](std::int64_t t) { return sums.left_by(t).high > target; }) + 1;
  search.least = least;
  std::int64_t keys = 0;
  for (std::size_t p = 0; p < shards.size(); ++p) {
    auto& bracket = search.question.brackets[p];
    if (bracket.empty()) continue;
    auto const last = std::min(search.most, sums.end_rank(p));
    if (least >= last) {
      search.before[p] = sums.end_rank(p);
      bracket = {};
      continue;
    }
    int const from = sums.bin_of(p, least + 1), to = sums.bin_of(p, last) + 1;
    auto const first = edge_of(bracket, shards[p], bins, from), end = edge_of(bracket, shards[p], bins, to);
    search.before[p] = sums.rank_before(p, from);
    search.behind += sums.mass_from(p, to);
    keys += sums.rank_before(p, to) - sums.rank_before(p, from);
    bool const by_score = search.rounds < rounds_by_score && bracket.by_score() && from > 0 && to < bins;
    bracket = {first, end, by_score ? score_at(first) : 0.0f, by_score ? score_at(end) : 0.0f};
  }
  search.question.listed = keys <= few_keys(shards.size());
}

/// The number of entries, from the keys of all brackets.
std::int64_t entries_kept(ShardSearch const& search, double epsilon, std::vector<ShardEntry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](auto const& a, auto const& b) { return a.shard != b.shard ? a.shard < b.shard : a.place < b.place; });
  auto const target = search.target(epsilon);
  std::vector<std::int64_t> of_rank(search.most - search.least, 0);  // from least + 1 on
  auto tail = search.behind;
  std::int64_t rank = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    rank = i > 0 && entries[i - 1].shard == entries[i].shard ? rank + 1 : search.before[entries[i].shard] + 1;
    if (rank > search.most) tail += entries[i].mass;
    if (rank > search.least && rank <= search.most) of_rank[rank - search.least - 1] += entries[i].mass;
  }
  // From the far end, so that the tail is summed itself.
  auto kept = search.most;
  for (; kept > search.least + 1 && tail + of_rank[kept - search.least - 1] <= target; --kept) tail += of_rank[kept - search.least - 1];
  return kept;
}

std::int64_t keys_of_entries(std::int64_t entries, KeyRun const& seen, std::vector<Range> const& shards) {
  std::int64_t keys = 0;
  for (auto const& shard : shards) keys += std::min(entries, seen.within(shard.begin, shard.end).size());
  return keys;
}

std::int64_t packed_place(ShardPlace const& place) { return std::int64_t{place.worse}; }
std::uint32_t unpacked_worse(std::int64_t packed) { return low_word(packed); }
std::int64_t two_floats(float a, float b) {
  return std::bit_cast<std::int64_t>(std::uint64_t{std::bit_cast<std::uint32_t>(a)} << 32 | std::bit_cast<std::uint32_t>(b));
}
float high_float(std::uint64_t both) { return std::bit_cast<float>(high_word(both)); }
float low_float(std::uint64_t both) { return std::bit_cast<float>(low_word(both)); }

std::size_t packed_shard_question(std::size_t shards) { return 3 + 5 * shards; }

void pack_shard_question(ShardQuestion const& question, std::vector<std::int64_t>& message) {
  message.insert(message.end(), {question.row, question.law, two_floats(question.top, question.listed ? 1.0f : 0.0f)});
  for (auto const& bracket : question.brackets)
    message.insert(message.end(), {packed_place(bracket.begin), bracket.begin.index, packed_place(bracket.end), bracket.end.index,
                                   two_floats(bracket.high, bracket.low)});
}

ShardQuestion unpack_shard_question(std::int64_t const* from, std::size_t shards) {
  ShardQuestion question{checked_int(from[0]), checked_int(from[1]), high_float(from[2]), low_float(from[2]) != 0.0f, {}};
  from += 3;
  for (std::size_t p = 0; p < shards; ++p, from += 5)
    question.brackets.push_back(
        {{unpacked_worse(from[0]), from[1]}, {unpacked_worse(from[2]), from[3]}, high_float(from[4]), low_float(from[4])});
  return question;
}

/// factor: of masses.
std::vector<ShardSearch> open_shard_searches(std::vector<OwnedRow> const& rows, std::vector<ShardOrder> const& orders,
                                             std::vector<Range> const& shards, double factor) {
  std::vector<ShardSearch> open;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<ShardBracket> brackets;
    for (std::size_t p = 0; p < shards.size(); ++p) {
      float const best = orders[i].best[p], last = orders[i].last[p];
      if (std::isnan(best)) {
        brackets.emplace_back();
        continue;
      }
      // What is not held lies as far on the other side of 0, or far behind what is.
      float const low = best - std::max({2.0f * std::fabs(best), 8.0f * (best - last), 1e-30f});
      bool const finite = std::isfinite(last) && std::isfinite(low);
      brackets.push_back({{0, shards[p].begin}, {UINT32_MAX, shards[p].end}, finite ? last : 0.0f, finite ? low : 0.0f});
    }
    auto const& laws = rows[i].selected.back();
    for (int law = 0; law < int_size(laws); ++law) {
      auto const& found = laws[law].count("k_epsilon");
      for (std::size_t item = 0; item < found.size(); ++item) {
        if (found[item] >= 0) continue;
        open.push_back({i, item, {rows[i].row, law, rows[i].score_max, false, brackets}, {}});
        open.back().before.assign(shards.size(), 0);
        open.back().sink = laws[law].sink * factor;
      }
    }
  }
  return open;
}

/// What the owner of some questions hears: the sums of all ranks; and their keys.
struct ShardsHeard {
  std::vector<std::vector<std::int64_t>> sums;
  std::vector<std::vector<ShardEntry>> entries;
};

/// Answers to their owners. counts: questions of each rank.
Task<ShardsHeard> send_to_owners(Communicator const& comm, ShardAnswers answers, std::vector<std::int64_t> counts) {
  std::size_t const ranks = comm.size();
  std::vector<std::int64_t> sums;
  std::vector<std::size_t> of_rank(ranks, 0), lengths;
  std::vector<std::vector<std::int64_t>> lists(ranks);
  std::size_t next = 0;
  for (int r = 0; r < comm.size(); ++r) {
    for (std::int64_t i = 0; i < counts[r]; ++i, ++next) {
      auto const& own = answers.sums[next];
      sums.insert(sums.end(), own.begin(), own.end());
      of_rank[r] += own.size();
      if (r == comm.rank()) lengths.push_back(own.size());
      lists[r].push_back(std::ssize(answers.entries[next]));
      for (auto const& entry : answers.entries[next])
        lists[r].insert(lists[r].end(), {entry.shard, packed_place(entry.place), entry.place.index, entry.mass});
    }
  }
  answers = {};
  auto summing = reduce_scatter(comm, std::move(sums), of_rank);
  auto const summed = co_await summing;
  auto sending = all_to_all(comm, std::move(lists));
  auto const received = co_await sending;
  ShardsHeard heard{{}, std::vector<std::vector<ShardEntry>>(lengths.size())};
  auto sum = summed.begin();
  for (auto const length : lengths) {
    auto const end = sum + length;
    heard.sums.emplace_back(sum, end);
    sum = end;
  }
  for (auto const& from : received) {
    auto at = from.begin();
    for (auto& list : heard.entries) {
      for (auto left = *at++; left > 0; --left, at += 4) list.push_back({checked_int(at[0]), {unpacked_worse(at[1]), at[2]}, at[3]});
    }
  }
  co_return std::move(heard);
}

}  // namespace

Task<std::int64_t> settle_shards(SelectionBatch const& batch, EntryRows const& entries, int count, std::vector<ShardOrder> const& orders,
                                 std::vector<OwnedRow>& rows) {
  auto const& comm = batch.comm;
  std::vector<Range> shards;
  for (int p = 0; p < count; ++p) shards.push_back(context_shard(batch.group.n, count, p));
  auto const packed = packed_shard_question(shards.size());
  double const factor = FixedPoint::make(batch.group.n, 1.0).weight;
  auto open = open_shard_searches(rows, orders, shards, factor);
  for (int walk = 0; walk < most_shard_walks; ++walk) {
    // The questions of all searches, each once.
    std::vector<std::int64_t> own;
    std::vector<std::size_t> of_search;
    for (std::size_t i = 0; i < open.size(); ++i) {
      if (i == 0 || !(open[i - 1].question == open[i].question)) pack_shard_question(open[i].question, own);
      of_search.push_back(own.size() / packed - 1);
    }
    auto counting = all_gather(comm, std::vector<std::int64_t>(1, own.size() / packed));
    auto const counts = co_await counting;
    auto gathering = all_gather(comm, std::move(own));
    auto const all = co_await gathering;
    if (all.empty()) break;
    std::vector<ShardQuestion> questions;
    for (std::size_t at = 0; at < all.size(); at += packed) questions.push_back(unpack_shard_question(&all[at], shards.size()));
    batch.phases.stop(Phase::merge);
    co_await batch.turn;
    auto sending =
        send_to_owners(comm, walk_shards(entries, shards, questions, batch.axes.sigma, factor, *batch.setup.tensors, batch.phases), counts);
    auto const heard = co_await sending;
    std::vector<ShardSearch> still_open;
    for (std::size_t i = 0; i < open.size(); ++i) {
      auto& search = open[i];
      auto const& answer = heard.entries[of_search[i]];
      double const epsilon = batch.axes.epsilon[search.item];
      bool const listed = search.question.listed;
      if (!listed) look_closer(search, epsilon, heard.sums[of_search[i]].data(), shards);
      if (!listed && search.most - search.least > 1) {
        still_open.push_back(std::move(search));
        continue;
      }
      auto const kept = listed ? entries_kept(search, epsilon, answer) : search.most;
      rows[search.row].selected.back()[search.question.law].count("k_epsilon")[search.item] =
          keys_of_entries(kept, rows[search.row].seen(), shards);
    }
    open = std::move(still_open);
    batch.phases.stop(Phase::evaluate);
  }
  co_return std::ssize(open);
}

}  // namespace asymptop
