#include "draw/orders/order_walk.hpp"

#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "config/errors.hpp"
#include "draw/orders/order_standing.hpp"
#include "kernels/core/fixed_point.hpp"
#include "kernels/core/math.hpp"
#include "kernels/core/region.hpp"
#include "kernels/topk/radix_sort.hpp"
#include "kernels/topk/row_heads.hpp"

namespace asymptop {
namespace {

using Host = Kokkos::DefaultHostExecutionSpace;

/// Keys that a row does not see of its first and of its last page in a step.
struct Lacks {
  std::int64_t first, last;
};

/// A thread's room.
struct Room {
  std::vector<std::int64_t> mass, entry_mass, squares;
  std::int64_t mass_of_all = 0;
  std::vector<OrderKey> keys;
  std::vector<int> bin;
};

class OrderWalk {
 public:
  OrderWalk(EntryRows const& rows, std::vector<Selector*> const& selectors, OrderWork const& work, OrderLaws const& laws,
            std::function<std::uint64_t(int)> const& name_of, ShardTensors<RunSpace>& tensors, PhaseTimes& phases, OrderFindings& findings)
      : rows_(rows),
        questions_(work.questions),
        keep_(work.keep),
        sampled_one_in_(work.sampled_one_in),
        laws_(laws),
        tensors_(tensors),
        phases_(phases),
        standings_(selectors.size()),
        heads_(selectors.size()),
        findings_(findings) {
    for (auto const* selector : selectors) {
      if (selector != nullptr) unit_ = std::max(unit_, selector->page());
    }
    step_ = largest_step(rows.path, rows.block) / unit_ * unit_;
    auto const ask = [&](int row, std::size_t begin, std::size_t end) {
      asked_.push_back({row, begin, end, {rows.queries.seen(row), name_of(row), {}}});
    };
    std::size_t next = 0;
    for (int row = 0; row < int_size(rows.queries.position); ++row) {
      auto const begin = next;
      bool keys = !keep_.empty();
      for (; next < questions_.size() && questions_[next].row == row; ++next) keys = keys || questions_[next].store < 0;
      if (keys) ask(row, begin, next);
    }
    findings.windows.resize(questions_.size());
    auto const standing_for = [&](std::size_t selector) -> Standing& {
      auto& standing = standings_[selector];
      if (standing == nullptr) standing = std::make_unique<Standing>(rows, *selectors[selector], asked_, step_, tensors);
      keys_wanted_ = keys_wanted_ || standing->looks_at_keys();
      return *standing;
    };
    for (std::size_t i = 0; i < questions_.size(); ++i) {
      auto const& question = questions_[i];
      if (question.store >= 0) continue;
      if (question.ask == Ask::sample) reach_ = Reach::sample;
      if (question.ask == Ask::range) reach_ = Reach::glance;
      auto const& standing = standing_for(question.selector);
      scores_wanted_ = scores_wanted_ || (question.ask != Ask::entries && question.ask != Ask::range) || standing.wants_scores();
      if (question.ask != Ask::window) continue;
      auto& window = findings.windows[i];
      window = {standing.places(), rows.shard.begin / standing.page(), standing.page(), rows.queries.seen(question.row)};
      // A little more than this shard's share, so that few of them have to move.
      double const share = std::min(1.0, exact_double(rows.shard.size()) / exact_double(window.seen.size()));
      window.entries.reserve(to_integer(1.1 * share * question.expected));
    }
    for (std::size_t s = 0; s < keep_.size(); ++s) {
      if (selectors[s] == nullptr || !selectors[s]->has_priorities()) continue;
      int const page = standing_for(s).page();
      auto const keep = std::clamp<std::int64_t>(rows.shard.size() / page, 1, keep_[s]);
      heads_[s] = RowHeads(int_size(asked_), checked_int(keep), (step_ / page + simd::width) / simd::width * simd::width);
    }
  }

  void run() {
    if (asked_.empty()) return;
    Region const region("Asymptop: orders");
    scores_.emplace(rows_, rows_of(asked_), step_, tensors_, phases_);
    auto const size = rows_.shard.size();
    if (reach_ == Reach::all) {
      KeyWalk(size).run(step_, [this](LocalIndex first, int count) { visit(first, count); });
      collect_heads();
      return;
    }
    // Pieces from all over the shard, in the middle of what each stands for: small ones, because some orders are that of the sequence.
    constexpr GlobalIndex pieces = 256, few = 512;
    bool const glance = reach_ == Reach::glance;
    auto const piece = std::clamp<GlobalIndex>((glance ? few : size / (pieces * sampled_one_in_)) / unit_ * unit_, unit_, step_);
    auto const period = glance ? std::max(piece, size / (2 * unit_) * unit_) : piece * sampled_one_in_;
    for (auto first = glance ? 0 : period / 2; first < size; first += period)
      visit(local_index(first), checked_int(std::min(piece, size - first)));
  }

 private:
  void visit(LocalIndex first, int count) {
    auto const keys = scores_->step(first, count);
    if (scores_wanted_) scores_->score(keys, count);
    auto const as_they_are = keys_wanted_ ? scores_->as_they_are(keys, count) : keys;
    for (auto const& standing : standings_) {
      if (standing != nullptr) standing->prepare(standing->looks_at_keys() ? as_they_are : keys, first, count);
    }
    Host().fence();
    phases_.stop(Phase::score);
    Kokkos::parallel_for("Asymptop::select::order", Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Dynamic>>(0, asked_.size()),
                         [&](int const i) { take(i, keys, first, count); });
    Host().fence();
    phases_.stop(Phase::refine);
  }

  std::int64_t mass_of(double y) const { return to_integer(exp_fp64(y) * laws_.factor + 0.5); }

  /// One row's part of a step.
  void take(std::size_t i, KeyTile const& keys, LocalIndex first, int count) {
    static thread_local Room room;
    auto const& asked = asked_[i];
    auto const begin = rows_.shard.begin + first;
    auto const here = asked.facts.seen.within(begin, begin + count);
    if (here.size() == 0) return;
    for (std::size_t s = 0; s < keep_.size(); ++s) {
      auto const* const standing = standings_[s].get();
      if (standing == nullptr || !standing->has_priorities()) continue;
      offer_whole(heads_[s], i, standing->priorities(i), here, begin / standing->page(), standing->page(), first);
    }
    int selector = -1, mass_law = -1, sums_law = -1, squares_law = -1;
    std::int64_t page_of_squares = 0;
    OrderGrid const* grid = nullptr;
    for (auto q = asked.begin; q < asked.end; ++q) {
      auto const& question = questions_[q];
      if (question.store >= 0) continue;
      auto const& standing = *standings_[question.selector];
      std::int64_t const page = standing.page();
      auto const first_entry = here.first_page(page), hidden = here.begin - first_entry * page;
      if (question.selector != selector) {
        standing.find(i, begin, here, scores_->of_row(i), room.keys);
        selector = question.selector;
        sums_law = -1;
        grid = nullptr;
      }
      if (question.ask == Ask::range) {
        look_at_range(q, standing.places(), room.keys);
        continue;
      }
      // A row's questions of one selector often share their bins.
      if (question.ask != Ask::window && (grid == nullptr || !(question.grid == *grid))) {
        find_bins(question.grid, standing.places(), first_entry, room);
        grid = &question.grid;
      }
      if (question.ask == Ask::entries) {
        collect(i, q, keys, begin, here, room);
        continue;
      }
      if (question.law != mass_law) {
        double const sigma = laws_.sigma[question.law], top = question.top;
        // From the first key of the largest page on: keys that the row does not see weigh nothing.
        auto const ahead = here.begin % unit_;
        room.mass.assign(ahead, 0);
        room.mass.resize(ahead + here.size());
        std::int64_t* const to = room.mass.data() + ahead;
        float const* const s = scores_->of_row(i) + (here.begin - begin);
        std::int64_t all = 0;
#pragma omp simd reduction(+ : all)
        for (std::int64_t j = 0; j < here.size(); ++j) all += to[j] = mass_of(sigma * (s[j] - top));
        room.mass_of_all = all;
        mass_law = question.law;
        sums_law = -1;
      }
      if (page > 1 && sums_law != question.law) {
        room.entry_mass.resize(room.keys.size());
        auto const from = here.begin % unit_ - hidden;
        simd::masses_of_pages(room.mass.data() + from, hidden + here.size(), page, room.entry_mass.data());
        sums_law = question.law;
      }
      std::int64_t const* const mass = page > 1 ? room.entry_mass.data() : room.mass.data() + here.begin % unit_;
      Lacks const lacks{hidden, std::ssize(room.keys) * page - hidden - here.size()};
      if (question.ask == Ask::sample && (squares_law != question.law || page_of_squares != page)) {
        square_masses(mass, std::ssize(room.keys), page, room.squares);
        squares_law = question.law;
        page_of_squares = page;
      }
      if (question.ask != Ask::window) {
        add_to_bins(q, page, lacks, mass, room);
        continue;
      }
      // Most rows ask for two windows of an order: 0.1 and 0.01 of the mass.
      bool const two = q + 1 < asked.end && questions_[q + 1].ask == Ask::window && questions_[q + 1].selector == selector &&
                       questions_[q + 1].law == question.law;
      add_to_windows(q, two ? 2 : 1, first_entry, page, lacks, mass, room);
      if (two) ++q;
    }
  }

  /// The pages of a step that a row sees all of, one by one up to where vectors read whole ones.
  static void offer_whole(RowHeads& head, std::size_t i, float const* priorities, KeyRun const& here, GlobalIndex step, int page,
                          LocalIndex first) {
    int const row = checked_int(i);
    int at = checked_int((here.begin + page - 1) / page - step);
    int const end = checked_int(here.end / page - step);
    for (; at < end && at % simd::width != 0; ++at) head.add(row, priorities[at], first / page + at);
    if (at < end) head.add(row, priorities + at, end - at, first / page + at);
  }

  void collect_heads() {
    findings_.heads.resize(keep_.size());
    for (std::size_t s = 0; s < keep_.size(); ++s) {
      if (standings_[s] == nullptr || !standings_[s]->has_priorities()) continue;
      auto& lists = findings_.heads[s];
      lists.resize(rows_.queries.rows());
      Kokkos::parallel_for("Asymptop::select::heads", Kokkos::RangePolicy<Host>(0, asked_.size()), [&](int const i) {
        static thread_local std::vector<PackedCandidate> spare;
        auto& list = lists[asked_[i].row];
        auto const* const entries = heads_[s].entries(i);
        list.insert(list.end(), entries, entries + heads_[s].size(i));
        for (auto const& part : standings_[s]->ragged(i)) list.push_back(part);
        sort_candidates(list, spare);
        if (std::ssize(list) > keep_[s]) list.resize(keep_[s]);
      });
      Host().fence();
    }
    phases_.stop(Phase::select);
  }

  static void find_bins(OrderGrid const& grid, bool places, std::int64_t first_entry, Room& room) {
    auto const entries = std::ssize(room.keys);
    room.bin.resize(room.keys.size());
    int* const to = room.bin.data();
    OrderKey const* const key = room.keys.data();
    if (grid.tie >= 0) {
      for (std::int64_t e = 0; e < entries; ++e) to[e] = grid.bin_of(standing_of(key[e], places), first_entry + e);
    } else {
      simd::bins_of_keys(key, entries, places, grid.low, grid.per_unit, grid.bins - 1, to);
    }
  }

  /// Squares of pages' masses by the page, so that their sum stays in range.
  void square_masses(std::int64_t const* mass, std::int64_t entries, std::int64_t page, std::vector<std::int64_t>& squares) const {
    double const scale = 1.0 / (laws_.factor * exact_double(page));
    squares.resize(entries);
    std::int64_t* const to = squares.data();
#pragma omp simd
    for (std::int64_t e = 0; e < entries; ++e) to[e] = to_integer(static_cast<double>(mass[e]) * static_cast<double>(mass[e]) * scale);
  }

  void add_to_bins(std::size_t q, std::int64_t page, Lacks const& lacks, std::int64_t const* mass, Room const& room) {
    std::int64_t* const sums = findings_.answers.of(q);
    int const* const bin = room.bin.data();
    auto const entries = std::ssize(room.bin);
    if (questions_[q].ask == Ask::sample) {
      std::int64_t const* const squares = room.squares.data();
      for (std::int64_t e = 0; e < entries; ++e) {
        auto* const to = sums + std::ptrdiff_t{3} * bin[e];
        to[bin_keys] += page;
        to[bin_mass] += mass[e];
        to[bin_squares] += squares[e];
      }
      sums[3 * bin[0]] -= lacks.first;
      sums[3 * bin[entries - 1]] -= lacks.last;
      return;
    }
    for (std::int64_t e = 0; e < entries; ++e) {
      sums[2 * bin[e]] += page;
      sums[2 * bin[e] + 1] += mass[e];
    }
    sums[2 * bin[0]] -= lacks.first;
    sums[2 * bin[entries - 1]] -= lacks.last;
  }

  /// Of one question, or of that and the next one.
  void add_to_windows(std::size_t q, std::size_t questions, std::int64_t first_entry, std::int64_t page, Lacks const& lacks,
                      std::int64_t const* mass, Room const& room) {
    auto const& keys = room.keys;
    auto const &first = questions_[q], &last = questions_[q + questions - 1];
    std::array<std::int64_t, 2> inside{}, mass_in{};
    std::array<std::vector<StoredEntry>*, 2> entries{};
    for (std::size_t i = 0; i < questions; ++i) {
      if (findings_.answers.of(q + i)[too_many] == 0) entries[i] = &findings_.windows[q + i].entries;
    }
    auto const offset = first_entry - findings_.windows[q].first_entry;
    auto const around = simd::sums_around(keys.data(), mass, std::ssize(keys), {first.low, last.low}, {first.high, last.high},
                                          [&](int const i, std::int64_t const e) {
                                            if (entries[i] == nullptr) return;
                                            ++inside[i];
                                            mass_in[i] += mass[e];
                                            entries[i]->push_back({keys[e], local_index(offset + e), mass[e]});
                                          });
    for (std::size_t i = 0; i < questions; ++i) {
      auto* const sums = findings_.answers.of(q + i);
      auto const low = questions_[q + i].low;
      sums[keys_before] += around[i].before * page - (keys.front() < low ? lacks.first : 0) - (keys.back() < low ? lacks.last : 0);
      sums[mass_behind] += around[i].behind;
      sums[mass_of_all] += room.mass_of_all;
      sums[entries_inside] += inside[i];
      sums[mass_inside] += mass_in[i];
      if (entries[i] == nullptr || entries[i]->size() <= most_stored) continue;
      sums[too_many] = 1;
      *entries[i] = {};
    }
  }

  /// Two entries: the first and the last one so far that is not forced.
  void look_at_range(std::size_t q, bool places, std::vector<OrderKey> const& keys) {
    auto& ends = findings_.answers.entries[q];
    for (auto const key : keys) {
      if (key < (places ? first_key_of_places : first_key_of_priorities)) continue;
      if (ends.empty()) ends.assign(2, {key, 0, 0, 0});
      ends[0].key = std::min(ends[0].key, key);
      ends[1].key = std::max(ends[1].key, key);
    }
  }

  /// Few entries: their masses from the keys themselves.
  void collect(std::size_t i, std::size_t q, KeyTile const& keys, GlobalIndex begin, KeyRun const& here, Room& room) {
    auto const& question = questions_[q];
    std::int64_t const page = standings_[question.selector]->page();
    double const sigma = laws_.sigma[question.law], top = question.top;
    static thread_local std::vector<float> key;
    key.resize(rows_.d);
    auto const entries = std::ssize(room.keys);
    constexpr std::int64_t batch = 64;
    for (std::int64_t e = 0; e < entries; ++e) {
      if (e % batch == 0) {
        int const* const bin = room.bin.data() + e;
        int found = 0;
        auto const here = std::min(batch, entries - e);
#pragma omp simd reduction(+ : found)
        for (std::int64_t l = 0; l < here; ++l) found += bin[l] == question.wanted ? 1 : 0;
        if (found == 0) {
          e += batch - 1;
          continue;
        }
      }
      if (room.bin[e] != question.wanted) continue;
      OrderEntry entry{room.keys[e], here.first_page(page) + e, 0, 0};
      auto const part = here.of_page(entry.entry, page);
      for (auto j = part.begin; j < part.end; ++j) {
        copy_key(keys, j - begin, key.data());
        ++entry.keys;
        entry.mass += mass_of(sigma * (rows_.score(asked_[i].row, key.data(), j) - top));
      }
      findings_.answers.entries[q].push_back(entry);
    }
  }

  EntryRows const& rows_;
  std::vector<OrderQuestion> const& questions_;
  std::vector<std::int64_t> const& keep_;
  int sampled_one_in_;
  OrderLaws const& laws_;
  ShardTensors<RunSpace>& tensors_;
  PhaseTimes& phases_;
  std::vector<std::unique_ptr<Standing>> standings_;  ///< per selector; null where nothing is asked
  std::vector<RowHeads> heads_;                       ///< per selector
  OrderFindings& findings_;
  int unit_ = key_group, step_ = 0;
  std::vector<AskedRow> asked_;
  bool scores_wanted_ = false, keys_wanted_ = false;
  enum class Reach { all, sample, glance } reach_ = Reach::all;
  std::optional<KeyScores> scores_;
};

}  // namespace

void walk_orders(EntryRows const& rows, std::vector<Selector*> const& selectors, OrderWork const& work, OrderLaws const& laws,
                 std::function<std::uint64_t(int row)> const& name_of, ShardTensors<RunSpace>& tensors, PhaseTimes& phases,
                 OrderFindings& findings) {
  if constexpr (!is_host_space<RunSpace>) {
    throw RunError("selectors are measured on hosts");
  } else {
    OrderWalk(rows, selectors, work, laws, name_of, tensors, phases, findings).run();
  }
}

}  // namespace asymptop
