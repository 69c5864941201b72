#include "study/order_search.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

#include "comm/collectives.hpp"
#include "kernels/attend/segments.hpp"
#include "study/order_steps.hpp"

namespace asymptop {
namespace {

/// Sequences of fewer keys are not sampled: their orders are binned at once.
constexpr std::int64_t fewest_sampled = std::int64_t{1} << 16;

/// From here on one key in 8 is sampled rather than one in 16: windows hold entries as the root of n, and would take much memory.
constexpr std::int64_t well_sampled = std::int64_t{1} << 22;

/// Walks before a question is given up.
constexpr int most_walks = 24;

bool by_place(Selector& selector) { return !selector.has_priorities() && !selector.by_largest_score(); }

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
  auto const whole = [from](int at) { return checked_int(from[at]); };
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
      for (auto left = *at++; left > 0; --left, at += 4) list.push_back({checked_int(at[0]), at[1], at[2], at[3]});
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
    for (int s = 0; s < int_size(selectors_); ++s) {
      if (selectors_[s] == nullptr || !selectors_[s]->keeps_first()) continue;
      for (int law = 0; law < int_size(laws_.sigma); ++law) {
        for (std::size_t item = 0; item < batch.axes.epsilon.size(); ++item)
          searches_.push_back({i, item, {rows[i].row, s, law, rows[i].score_max}, rows[i].evaluation.laws[law].sink * laws_.factor, true});
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
      grid.per_unit = bins_of_sample / (by_place(selector) ? exact_double(row.visible) : 3.0 * span);
      question.ask = Ask::sample;
      return;
    }
    case Ask::sample:
      choose_window(search,
                    {epsilon * row.evaluation.laws[question.law].z * laws_.factor, laws_.factor, row.visible, page, by_place(selector),
                     selector.entries_of_budget(batch_.axes.held)},
                    sums);
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
  auto counting = all_gather(comm, std::vector<std::int64_t>(1, own.packed.size() / packed_question));
  auto const counts = co_await counting;
  std::size_t const first = std::accumulate(counts.begin(), counts.begin() + comm.rank(), std::int64_t{0});
  auto gathering = all_gather(comm, std::move(own.packed));
  auto const all = co_await gathering;
  if (all.empty() && keep.empty()) co_return false;
  OrderWork work{{}, std::move(keep), batch_.group.n < well_sampled ? 16 : 8};
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
    answered(searches[i], heard.sums.data() + heard.begin[at], heard.entries[at], checked_int(first + at));
  }
  batch_.phases.stop(Phase::evaluate);
  co_return true;
}

Task<void> OrderSearch::walk(std::vector<std::int64_t> keep) {
  bool priorities = false;
  for (auto* selector : selectors_) priorities = priorities || (selector != nullptr && selector->has_priorities());
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
    grid.per_entry = (grid.bins - 2) / exact_double(KeyRun(0, batch_.group.n).pages(selector.page()));
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
