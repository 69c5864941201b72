#include "study/order_search.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>

#include "comm/collectives.hpp"
#include "kernels/attend/segments.hpp"

namespace asymptop {
namespace {

/// Entries that are looked at one by one at most, unless the search has no finer bins to offer.
constexpr std::int64_t few_entries = 4096;

/// Walks before a question is given up.
constexpr int most_walks = 24;

/// Rounds of finer bins of x before entries that share one are taken as equal: 4096^2 is what fp32 tells apart.
constexpr int finer_rounds = 2;

/// An open k_epsilon, on the owner of its row.
struct Search {
  std::size_t row, item;  ///< row: of the owner's rows
  OrderQuestion question;
  int finer = 0;
  std::int64_t keys_before = 0, mass_behind = 0, all = 0;  ///< of the wanted bin; of the whole order
};

bool same_question(OrderQuestion const& a, OrderQuestion const& b) {
  return a.row == b.row && a.selector == b.selector && a.law == b.law && a.wanted == b.wanted && a.grid == b.grid;
}

/// The answer of a bin's entries: how many keys are kept.
std::int64_t keys_kept(Search const& search, double epsilon, std::vector<OrderEntry> entries) {
  std::sort(entries.begin(), entries.end(), [](auto const& a, auto const& b) { return a.x < b.x || (a.x == b.x && a.entry < b.entry); });
  double const target = epsilon * static_cast<double>(search.all);
  auto tail = search.mass_behind;
  auto kept = search.keys_before;
  for (auto const& entry : entries) kept += entry.keys;
  // From the far end, so that the tail is summed itself.
  for (auto entry = entries.rbegin(); entry != entries.rend() && static_cast<double>(tail + entry->mass) <= target; ++entry) {
    tail += entry->mass;
    kept -= entry->keys;
  }
  return kept;
}

/// Finds the bin where the mass left passes epsilon, and what to ask next.
void look_closer(Search& search, double epsilon, std::int64_t const* sums, int page) {
  search.all = 0;
  for (int bin = 0; bin < OrderGrid::bins; ++bin) search.all += sums[2 * bin + 1];
  double const target = epsilon * static_cast<double>(search.all);
  int bin = OrderGrid::bins - 1;
  search.mass_behind = 0;
  for (; bin > 0 && static_cast<double>(search.mass_behind + sums[2 * bin + 1]) <= target; --bin) search.mass_behind += sums[2 * bin + 1];
  search.keys_before = 0;
  for (int before = 0; before < bin; ++before) search.keys_before += sums[2 * before];
  auto& grid = search.question.grid;
  if (sums[2 * bin] / page <= few_entries) {
    search.question.wanted = bin;
  } else if (grid.tie >= 0) {
    // Finer bins of entries; the first of them is bin 1.
    grid.first_entry += (bin - 1) / grid.per_entry;
    grid.per_entry *= OrderGrid::bins - 2;
  } else if (bin == OrderGrid::bins - 1) {
    grid.per_unit /= 64.0;
  } else if (search.finer < finer_rounds) {
    ++search.finer;
    grid.low += bin / grid.per_unit;
    grid.per_unit *= OrderGrid::bins;
  } else {
    grid.tie = bin;
  }
}

double as_number(std::int64_t bits) { return std::bit_cast<double>(bits); }
std::int64_t as_bits(double number) { return std::bit_cast<std::int64_t>(number); }

void pack_question(OrderQuestion const& question, std::vector<std::int64_t>& message) {
  auto const& grid = question.grid;
  message.insert(message.end(), {question.row, question.selector, question.law, as_bits(question.top), as_bits(grid.low),
                                 as_bits(grid.per_unit), grid.tie, as_bits(grid.first_entry), as_bits(grid.per_entry), question.wanted});
}
constexpr std::size_t packed_question = 10;

OrderQuestion unpack_question(std::int64_t const* from) {
  auto const whole = [from](int at) { return static_cast<int>(from[at]); };
  OrderGrid const grid{as_number(from[4]), as_number(from[5]), whole(6), as_number(from[7]), as_number(from[8])};
  return {whole(0), whole(1), whole(2), static_cast<float>(as_number(from[3])), grid, whole(9)};
}

std::vector<Search> open_searches(std::vector<OwnedRow> const& rows, std::vector<std::vector<OrderRange>> const& ranges,
                                  std::vector<Selector*> const& selectors, std::int64_t n) {
  std::vector<Search> open;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t s = 0; s < selectors.size(); ++s) {
      if (selectors[s]->shards() > 0) continue;
      for (std::size_t law = 0; law < rows[i].selected[s].size(); ++law) {
        auto const& found = rows[i].selected[s][law].count("k_epsilon");
        for (std::size_t item = 0; item < found.size(); ++item) {
          if (found[item] >= 0) continue;
          auto const& range = ranges[s][i];
          OrderGrid const grid{range.first, OrderGrid::bins / range.width, -1, 0.0,
                               (OrderGrid::bins - 2) / static_cast<double>(entries_of(n, selectors[s]->page()))};
          open.push_back({i, item, {rows[i].row, static_cast<int>(s), static_cast<int>(law), rows[i].score_max, grid, -1}});
        }
      }
    }
  }
  return open;
}

/// The questions of all searches, each once, and which of them each search asks.
struct Questions {
  std::vector<std::int64_t> packed;
  std::vector<std::size_t> of_search;
  explicit Questions(std::vector<Search> const& open) {
    for (std::size_t i = 0; i < open.size(); ++i) {
      if (i == 0 || !same_question(open[i - 1].question, open[i].question)) pack_question(open[i].question, packed);
      of_search.push_back(packed.size() / packed_question - 1);
    }
  }
};

/// What the owner of some questions hears: the sums of all ranks; and their entries.
struct Heard {
  std::vector<std::vector<std::int64_t>> sums;
  std::vector<std::vector<OrderEntry>> entries;
};

/// Answers to their owners. counts: questions of each rank, whose own are `mine`.
Task<Heard> send_home(Communicator const& comm, OrderAnswers answers, std::vector<std::int64_t> counts, std::vector<int> wanted) {
  std::size_t const ranks = comm.size();
  std::vector<std::int64_t> sums;
  std::vector<std::size_t> of_rank(ranks, 0);
  std::vector<std::vector<std::int64_t>> lists(ranks);
  std::size_t next = 0, first = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    if (static_cast<int>(r) == comm.rank()) first = next;
    for (std::int64_t i = 0; i < counts[r]; ++i, ++next) {
      sums.insert(sums.end(), answers.sums[next].begin(), answers.sums[next].end());
      of_rank[r] += answers.sums[next].size();
      lists[r].push_back(std::ssize(answers.entries[next]));
      for (auto const& entry : answers.entries[next])
        lists[r].insert(lists[r].end(), {as_bits(entry.x), entry.entry, entry.keys, entry.mass});
    }
  }
  answers = {};
  auto summing = reduce_scatter(comm, std::move(sums), of_rank);
  auto const summed = co_await summing;
  auto sending = all_to_all(comm, std::move(lists));
  auto const received = co_await sending;
  std::size_t const mine = counts[comm.rank()];
  Heard heard{std::vector<std::vector<std::int64_t>>(mine), std::vector<std::vector<OrderEntry>>(mine)};
  auto sum = summed.begin();
  for (std::size_t i = 0; i < mine; ++i) {
    if (wanted[first + i] >= 0) continue;
    heard.sums[i].assign(sum, sum + 2 * OrderGrid::bins);
    sum += 2 * OrderGrid::bins;
  }
  for (auto const& from : received) {
    auto at = from.begin();
    for (auto& list : heard.entries) {
      for (auto left = *at++; left > 0; --left, at += 4) list.push_back({as_number(at[0]), at[1], at[2], at[3]});
    }
  }
  co_return std::move(heard);
}

}  // namespace

Task<std::vector<std::int64_t>> settle_k_epsilon(SelectionBatch const& batch, EntryRows const& entries, std::vector<Selector*> selectors,
                                                 std::function<std::uint64_t(int row)> name_of, std::vector<std::vector<OrderRange>> ranges,
                                                 std::vector<OwnedRow>& rows) {
  auto const& comm = batch.comm;
  auto open = open_searches(rows, ranges, selectors, batch.group.n);
  OrderLaws const laws{batch.axes.sigma, FixedPoint::make(batch.group.n, 1.0).weight};
  for (int walk = 0; walk < most_walks; ++walk) {
    Questions own(open);
    auto counting = all_gather(comm, std::vector<std::int64_t>{static_cast<std::int64_t>(own.packed.size() / packed_question)});
    auto const counts = co_await counting;
    auto gathering = all_gather(comm, std::move(own.packed));
    auto const all = co_await gathering;
    if (all.empty()) break;
    std::vector<OrderQuestion> questions;
    std::vector<int> wanted;
    for (std::size_t at = 0; at < all.size(); at += packed_question) {
      questions.push_back(unpack_question(&all[at]));
      wanted.push_back(questions.back().wanted);
    }
    batch.phases.stop(Phase::merge);
    co_await batch.turn;
    auto sending =
        send_home(comm, walk_orders(entries, selectors, questions, laws, name_of, *batch.setup.tensors, batch.phases), counts, wanted);
    auto const heard = co_await sending;
    std::vector<Search> still_open;
    for (std::size_t i = 0; i < open.size(); ++i) {
      auto& search = open[i];
      auto const& question = search.question;
      auto const at = own.of_search[i];
      double const epsilon = batch.axes.epsilon[search.item];
      if (question.wanted >= 0) {
        auto& metrics = rows[search.row].selected[question.selector][question.law];
        metrics.count("k_epsilon")[search.item] = keys_kept(search, epsilon, heard.entries[at]);
        continue;
      }
      look_closer(search, epsilon, heard.sums[at].data(), selectors[question.selector]->page());
      still_open.push_back(search);
    }
    open = std::move(still_open);
    batch.phases.stop(Phase::evaluate);
  }
  std::vector<std::int64_t> left(selectors.size(), 0);
  for (auto const& search : open) ++left[search.question.selector];
  co_return std::move(left);
}

}  // namespace asymptop
