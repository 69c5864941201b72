#include "study/order_search.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

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

/// Sequences of fewer keys are not sampled: their orders are binned at once.
constexpr std::int64_t fewest_sampled = std::int64_t{1} << 16;

/// Standard deviations of a sampled mass that a window allows on each side: one in 400 misses, and is binned after all.
constexpr double window_deviations = 3.0;

/// Entries that a window may be expected to hold, over all ranks; and how many of them are looked at one by one.
constexpr double most_in_window = 40960.0;
constexpr std::int64_t few_in_window = 256;
constexpr int bins_of_window = 128;

constexpr int bins_of_sample = 1024;

/// An open k_epsilon, on the owner of its row.
struct Search {
  std::size_t row, item;  ///< row: of the owner's rows
  OrderQuestion question;
  OrderGrid whole;  ///< of the whole order
  int finer = 0;
  /// The mass of the order; and what lies outside the window that is asked about.
  std::int64_t all = 0, keys_ahead = 0, mass_beyond = 0;
  std::int64_t keys_before = 0, mass_behind = 0;  ///< of the wanted bin
};

/// The answer of a bin's entries: how many keys are kept.
std::int64_t keys_kept(Search const& search, double epsilon, std::vector<OrderEntry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](auto const& a, auto const& b) { return a.key < b.key || (a.key == b.key && a.entry < b.entry); });
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
  auto& question = search.question;
  auto& grid = question.grid;
  if (question.store < 0) {
    search.all = 0;
    for (int bin = 0; bin < grid.bins; ++bin) search.all += sums[2 * bin + 1];
  }
  double const target = epsilon * static_cast<double>(search.all);
  int bin = grid.bins - 1;
  search.mass_behind = search.mass_beyond;
  for (; bin > 0 && static_cast<double>(search.mass_behind + sums[2 * bin + 1]) <= target; --bin) search.mass_behind += sums[2 * bin + 1];
  search.keys_before = search.keys_ahead;
  for (int before = 0; before < bin; ++before) search.keys_before += sums[2 * before];
  if (sums[2 * bin] / page <= few_entries) {
    question.ask = Ask::entries;
    question.wanted = bin;
  } else if (grid.tie >= 0) {
    // Finer bins of entries; the first of them is bin 1.
    grid.first_entry += (bin - 1) / grid.per_entry;
    grid.per_entry *= grid.bins - 2;
  } else if (bin == grid.bins - 1) {
    grid.per_unit /= 64.0;
  } else if (search.finer < finer_rounds) {
    ++search.finer;
    // From a little ahead of the bin, so that the first of the finer ones holds only what is known to come before.
    grid.low = grid.edge(bin) - 1.0 / (grid.per_unit * grid.bins);
    grid.per_unit *= grid.bins;
  } else {
    grid.tie = bin;
  }
}

/// Asks for bins of the whole order.
void bin_all(Search& search) {
  search.question.ask = Ask::bins;
  search.question.grid = search.whole;
}

/// Asks for the window that holds the answer by what some of the keys say, or for all bins where it would hold many entries.
/// target: the mass to be left, in the units of sums.
void choose_window(Search& search, double target, double unit, std::int64_t visible, std::int64_t const* sums, int page, bool places) {
  auto const& grid = search.question.grid;
  int const bins = grid.bins;
  auto const of = [sums](int bin, BinSum sum) { return static_cast<double>(sums[3 * bin + sum]); };
  double keys = 0.0;
  for (int bin = 0; bin < bins; ++bin) keys += of(bin, bin_keys);
  double const scale = static_cast<double>(visible) / std::max(keys, 1.0);
  // From the far end: the mass from here on, and its variance, which is that of keys being in the sample or not.
  double mass = 0.0, variance = 0.0, inside = 0.0;
  int low = -1, high = bins;
  for (int bin = bins - 1; bin >= 0; --bin) {
    mass += scale * of(bin, bin_mass);
    variance += scale * (scale - 1.0) * of(bin, bin_squares) * unit * page;
    double const doubt = window_deviations * std::sqrt(variance);
    if (mass + doubt < target) {
      high = bin;
    } else {
      inside += scale * of(bin, bin_keys) / page;
    }
    if (mass - doubt > target) {
      low = bin;
      break;
    }
  }
  bool const bounded = low > 0 || high < bins;
  if (!bounded || inside > most_in_window) {
    bin_all(search);
    return;
  }
  auto const key_at = [&](int bin) {
    double const x = grid.edge(bin);
    return places ? key_of_place(static_cast<std::int64_t>(std::clamp(x, 0.0, static_cast<double>(most_places - 1))))
                  : key_of_priority(static_cast<float>(-x));
  };
  using Limits = std::numeric_limits<OrderKey>;
  search.question.ask = Ask::window;
  search.question.low = low > 0 ? key_at(low) : Limits::min();
  search.question.high = high < bins ? key_at(high) : Limits::max();
  search.question.grid = {};
  search.question.expected = static_cast<int>(inside);
}

/// What a window says: its entries are asked next, or all bins where the answer is not among them. store: its place among windows.
void look_into_window(Search& search, double epsilon, std::int64_t const* sums, int store, bool places) {
  double const target = epsilon * static_cast<double>(sums[mass_of_all]), behind = static_cast<double>(sums[mass_behind]);
  auto& question = search.question;
  if (sums[too_many] != 0 || behind > target || behind + static_cast<double>(sums[mass_inside]) <= target) {
    bin_all(search);
    return;
  }
  question.store = store;
  question.expected = 0;
  search.all = sums[mass_of_all];
  search.keys_before = search.keys_ahead = sums[keys_before];
  search.mass_behind = search.mass_beyond = sums[mass_behind];
  auto& grid = question.grid;
  grid.per_entry = search.whole.per_entry;
  if (sums[entries_inside] <= few_in_window) {
    question.ask = Ask::entries;
    question.wanted = 0;
    grid.bins = 1;
    return;
  }
  question.ask = Ask::bins;
  grid.bins = bins_of_window;
  using Limits = std::numeric_limits<OrderKey>;
  double const low = question.low > Limits::min() ? standing_of(question.low, places) : search.whole.low,
               high = question.high < Limits::max() ? standing_of(question.high, places) : search.whole.edge(search.whole.bins);
  grid.per_unit = (bins_of_window - 1) / std::max(high - low, 1e-30);
  grid.low = low - 1.0 / grid.per_unit;
}

double as_number(std::int64_t bits) { return std::bit_cast<double>(bits); }
std::int64_t as_bits(double number) { return std::bit_cast<std::int64_t>(number); }

void pack_question(OrderQuestion const& question, std::vector<std::int64_t>& message) {
  auto const& grid = question.grid;
  message.insert(message.end(),
                 {question.row, question.selector, question.law, as_bits(question.top), static_cast<std::int64_t>(question.ask),
                  as_bits(grid.low), as_bits(grid.per_unit), grid.bins, grid.tie, as_bits(grid.first_entry), as_bits(grid.per_entry),
                  question.wanted, question.low, question.high, question.store, question.expected});
}
constexpr std::size_t packed_question = 16;

OrderQuestion unpack_question(std::int64_t const* from) {
  auto const whole = [from](int at) { return static_cast<int>(from[at]); };
  auto const real = [from](int at) { return as_number(from[at]); };
  OrderGrid const grid{real(5), real(6), whole(7), whole(8), real(9), real(10)};
  return {whole(0),  whole(1),  whole(2), static_cast<float>(real(3)), static_cast<Ask>(from[4]), grid, whole(11), whole(12),
          whole(13), whole(14), whole(15)};
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
          OrderGrid grid{range.first, OrderGrid::most_bins / range.width};
          grid.per_entry = (grid.bins - 2) / static_cast<double>(entries_of(n, selectors[s]->page()));
          auto& search = open.emplace_back(
              Search{i, item, {rows[i].row, static_cast<int>(s), static_cast<int>(law), rows[i].score_max, Ask::bins, grid}, grid});
          if (n < fewest_sampled) continue;
          search.question.ask = Ask::sample;
          search.question.grid.bins = bins_of_sample;
          search.question.grid.per_unit = bins_of_sample / range.width;
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
      if (i == 0 || !(open[i - 1].question == open[i].question)) pack_question(open[i].question, packed);
      of_search.push_back(packed.size() / packed_question - 1);
    }
  }
};

/// What the owner of some questions hears: the sums of all ranks; and their entries.
struct Heard {
  std::vector<std::int64_t> sums;
  std::vector<std::size_t> begin;  ///< of each question's sums
  std::vector<std::vector<OrderEntry>> entries;
};

/// Answers to their owners. counts: questions of each rank; first: where this rank's own begin.
Task<Heard> send_home(Communicator const& comm, OrderAnswers answers, std::vector<std::int64_t> counts, std::size_t first) {
  std::size_t const ranks = comm.size(), mine = counts[comm.rank()];
  std::vector<std::size_t> of_rank;
  std::vector<std::vector<std::int64_t>> lists(ranks);
  std::size_t next = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    auto const end = next + counts[r];
    of_rank.push_back(answers.begin[end] - answers.begin[next]);
    for (; next < end; ++next) {
      lists[r].push_back(std::ssize(answers.entries[next]));
      for (auto const& entry : answers.entries[next]) lists[r].insert(lists[r].end(), {entry.key, entry.entry, entry.keys, entry.mass});
    }
  }
  answers.entries = {};
  auto summing = reduce_scatter(comm, std::move(answers.sums), of_rank);
  auto sums = co_await summing;
  auto sending = all_to_all(comm, std::move(lists));
  auto const received = co_await sending;
  Heard heard{std::move(sums), {}, std::vector<std::vector<OrderEntry>>(mine)};
  for (std::size_t i = 0; i < mine; ++i) heard.begin.push_back(answers.begin[first + i] - answers.begin[first]);
  for (auto const& from : received) {
    auto at = from.begin();
    for (auto& list : heard.entries) {
      for (auto left = *at++; left > 0; --left, at += 4) list.push_back({static_cast<OrderKey>(at[0]), at[1], at[2], at[3]});
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
  std::vector<StoredWindow> windows;
  for (int walk = 0; walk < most_walks; ++walk) {
    Questions own(open);
    auto counting = all_gather(comm, std::vector<std::int64_t>{static_cast<std::int64_t>(own.packed.size() / packed_question)});
    auto const counts = co_await counting;
    std::size_t const first = std::accumulate(counts.begin(), counts.begin() + comm.rank(), std::int64_t{0});
    auto gathering = all_gather(comm, std::move(own.packed));
    auto const all = co_await gathering;
    if (all.empty()) break;
    std::vector<OrderQuestion> questions;
    for (std::size_t at = 0; at < all.size(); at += packed_question) questions.push_back(unpack_question(&all[at]));
    OrderAnswers answers(questions);
    answer_from_windows(windows, questions, answers);
    batch.phases.stop(Phase::merge);
    co_await batch.turn;
    std::vector<StoredWindow> found;
    walk_orders(entries, selectors, questions, laws, name_of, *batch.setup.tensors, batch.phases, found, answers);
    if (std::any_of(questions.begin(), questions.end(), [](auto const& q) { return q.ask == Ask::window; })) windows = std::move(found);
    auto sending = send_home(comm, std::move(answers), counts, first);
    auto const heard = co_await sending;
    std::vector<Search> still_open;
    for (std::size_t i = 0; i < open.size(); ++i) {
      auto& search = open[i];
      auto const& question = search.question;
      auto const& row = rows[search.row];
      auto const at = own.of_search[i];
      auto const* const sums = heard.sums.data() + heard.begin[at];
      auto& selector = *selectors[question.selector];
      int const page = selector.page();
      bool const by_place = selector.projection() == nullptr && !selector.by_largest_score();
      double const epsilon = batch.axes.epsilon[search.item];
      switch (question.ask) {
        case Ask::entries:
          rows[search.row].selected[question.selector][question.law].count("k_epsilon")[search.item] =
              keys_kept(search, epsilon, heard.entries[at]);
          continue;
        case Ask::sample:
          choose_window(search, epsilon * row.evaluation.laws[question.law].z * laws.factor, laws.factor, row.visible, sums, page,
                        by_place);
          break;
        case Ask::window:
          look_into_window(search, epsilon, sums, static_cast<int>(first + at), by_place);
          break;
        case Ask::bins:
          look_closer(search, epsilon, sums, page);
      }
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
