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

/// One k_epsilon, on the owner of its row.
struct Search {
  std::size_t row, item;  ///< row: of the owner's rows
  OrderQuestion question;
  bool idle = false;                   ///< there is nothing to ask now
  OrderGrid whole{};                   ///< of the whole order
  std::vector<std::int64_t> window{};  ///< what was found in a window, if one was asked for
  int store = -1;                      ///< that window
  int finer = 0;
  std::int64_t all = 0, keys_ahead = 0, mass_beyond = 0;  ///< the mass of the order; and what lies outside the window
  std::int64_t keys_before = 0, mass_behind = 0;          ///< of the wanted bin
};

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

/// Asks for the window that holds the answer by what some of the keys say; for none where it would hold many entries, or where the answer
/// lies among the first `held` entries. target: the mass to be left, in the units of sums.
void choose_window(Search& search, double target, double unit, std::int64_t visible, std::int64_t const* sums, int page, bool places,
                   std::int64_t held) {
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
  double ahead = 0.0;
  for (int bin = 0; bin < high; ++bin) ahead += scale * of(bin, bin_keys) / page;
  bool const bounded = (low > 0 || high < bins) && ahead > 0.9 * static_cast<double>(held);
  if (!bounded || inside > most_in_window) {
    search.idle = true;
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

/// What comes after a window, if there was one: its entries are asked next, or all bins where the answer is not among them.
void look_into_window(Search& search, double epsilon, bool places) {
  search.idle = false;
  if (search.window.empty()) {
    bin_all(search);
    return;
  }
  auto const& sums = search.window;
  double const target = epsilon * static_cast<double>(sums[mass_of_all]), behind = static_cast<double>(sums[mass_behind]);
  auto& question = search.question;
  if (sums[too_many] != 0 || behind > target || behind + static_cast<double>(sums[mass_inside]) <= target) {
    bin_all(search);
    return;
  }
  question.store = search.store;
  question.expected = 0;
  search.all = sums[mass_of_all];
  search.keys_before = search.keys_ahead = sums[keys_before];
  search.mass_behind = search.mass_beyond = sums[mass_behind];
  auto& grid = question.grid;
  grid.per_entry = search.whole.per_entry * (bins_of_window - 2) / (search.whole.bins - 2);
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

bool by_place(Selector& selector) { return selector.projection() == nullptr && !selector.by_largest_score(); }

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

/// The questions of all searches, each once, and which of them each search asks.
struct Questions {
  std::vector<std::int64_t> packed;
  std::vector<std::size_t> of_search;
  explicit Questions(std::vector<Search> const& searches) {
    OrderQuestion const* last = nullptr;
    for (auto const& search : searches) {
      if (!search.idle && (last == nullptr || !(*last == search.question))) pack_question(search.question, packed);
      if (!search.idle) last = &search.question;
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

OrderSearch::OrderSearch(SelectionBatch const& batch, EntryRows const& entries, std::vector<Selector*> selectors,
                         std::function<std::uint64_t(int row)> name_of, std::vector<OwnedRow>& rows)
    : batch_(batch),
      entries_(entries),
      selectors_(std::move(selectors)),
      name_of_(std::move(name_of)),
      rows_(rows),
      laws_{batch.axes.sigma, FixedPoint::make(batch.group.n, 1.0).weight} {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t s = 0; s < selectors_.size(); ++s) {
      if (selectors_[s] == nullptr || !selectors_[s]->keeps_first()) continue;
      for (std::size_t law = 0; law < laws_.sigma.size(); ++law) {
        for (std::size_t item = 0; item < batch.axes.epsilon.size(); ++item)
          searches_.push_back({i, item, {rows[i].row, static_cast<int>(s), static_cast<int>(law), rows[i].score_max}, true});
      }
    }
  }
}

OrderSearch::~OrderSearch() = default;

void OrderSearch::answered(Search& search, std::int64_t const* sums, std::vector<OrderEntry> const& entries, int place) {
  auto& question = search.question;
  auto const& row = rows_[search.row];
  auto& selector = *selectors_[question.selector];
  double const epsilon = batch_.axes.epsilon[search.item];
  int const page = selector.page();
  switch (question.ask) {
    case Ask::range: {
      search.idle = entries.empty();
      if (search.idle) return;
      auto const by_key = [](auto const& a, auto const& b) { return a.key < b.key; };
      auto const [first, last] = std::minmax_element(entries.begin(), entries.end(), by_key);
      // Most entries lie a little further out than those of a few.
      double const low = standing_of(first->key, false), high = standing_of(last->key, false), span = std::max(high - low, 1e-30);
      auto& grid = question.grid;
      grid.bins = bins_of_sample;
      grid.low = by_place(selector) ? 0.0 : low - span;
      grid.per_unit = bins_of_sample / (by_place(selector) ? static_cast<double>(row.visible) : 3.0 * span);
      question.ask = Ask::sample;
      return;
    }
    case Ask::sample:
      choose_window(search, epsilon * row.evaluation.laws[question.law].z * laws_.factor, laws_.factor, row.visible, sums, page,
                    by_place(selector), selector.entries_of_budget(batch_.axes.held));
      return;
    case Ask::window:
      search.window.assign(sums, sums + window_sums);
      search.store = place;
      search.idle = true;
      return;
    case Ask::bins:
      look_closer(search, epsilon, sums, page);
      return;
    case Ask::entries:
      rows_[search.row].selected[question.selector][question.law].count("k_epsilon")[search.item] = keys_kept(search, epsilon, entries);
      search.idle = true;
  }
}

Task<bool> OrderSearch::ask(std::vector<Search>& searches, std::vector<std::int64_t> keep) {
  auto const& comm = batch_.comm;
  Questions own(searches);
  auto counting = all_gather(comm, std::vector<std::int64_t>{static_cast<std::int64_t>(own.packed.size() / packed_question)});
  auto const counts = co_await counting;
  std::size_t const first = std::accumulate(counts.begin(), counts.begin() + comm.rank(), std::int64_t{0});
  auto gathering = all_gather(comm, std::move(own.packed));
  auto const all = co_await gathering;
  if (all.empty() && keep.empty()) co_return false;
  OrderWork work{{}, std::move(keep)};
  for (std::size_t at = 0; at < all.size(); at += packed_question) work.questions.push_back(unpack_question(&all[at]));
  OrderFindings findings(work);
  answer_from_windows(windows_, work.questions, findings.answers);
  batch_.phases.stop(Phase::merge);
  co_await batch_.turn;
  walk_orders(entries_, selectors_, work, laws_, name_of_, *batch_.setup.tensors, batch_.phases, findings);
  if (std::any_of(work.questions.begin(), work.questions.end(), [](auto const& q) { return q.ask == Ask::window; }))
    windows_ = std::move(findings.windows);
  if (!work.keep.empty()) heads_ = std::move(findings.heads);
  auto sending = send_home(comm, std::move(findings.answers), counts, first);
  auto const heard = co_await sending;
  for (std::size_t i = 0; i < searches.size(); ++i) {
    if (searches[i].idle) continue;
    auto const at = own.of_search[i];
    answered(searches[i], heard.sums.data() + heard.begin[at], heard.entries[at], static_cast<int>(first + at));
  }
  batch_.phases.stop(Phase::evaluate);
  co_return true;
}

Task<void> OrderSearch::walk(std::vector<std::int64_t> keep) {
  bool priorities = false;
  for (auto* selector : selectors_) priorities = priorities || (selector != nullptr && selector->projection() != nullptr);
  if (batch_.group.n >= fewest_sampled) {
    for (auto& search : searches_) {
      search.idle = false;
      search.question.ask = Ask::range;
    }
    for (int round = 0; round < 2; ++round) {
      auto asking = ask(searches_, {});
      co_await asking;
    }
  }
  if (!priorities) keep.clear();
  auto asking = ask(searches_, std::move(keep));
  co_await asking;
}

Task<std::vector<std::int64_t>> OrderSearch::settle(std::vector<std::vector<OrderRange>> ranges) {
  std::vector<Search> open;
  for (auto& search : searches_) {
    auto& question = search.question;
    if (rows_[search.row].selected[question.selector][question.law].count("k_epsilon")[search.item] >= 0) continue;
    auto const& selector = *selectors_[question.selector];
    auto const& range = ranges[question.selector][search.row];
    auto& grid = search.whole = {range.first, OrderGrid::most_bins / range.width};
    grid.per_entry = (grid.bins - 2) / static_cast<double>(entries_of(batch_.group.n, selector.page()));
    look_into_window(search, batch_.axes.epsilon[search.item], by_place(*selectors_[question.selector]));
    open.push_back(std::move(search));
  }
  for (int walk = 0; walk < most_walks; ++walk) {
    auto asking = ask(open, {});
    if (!co_await asking) break;
    std::erase_if(open, [](auto const& search) { return search.idle; });
  }
  std::vector<std::int64_t> left(selectors_.size(), 0);
  for (auto const& search : open) ++left[search.question.selector];
  co_return std::move(left);
}

}  // namespace asymptop
