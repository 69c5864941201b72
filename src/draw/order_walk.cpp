#include "draw/order_walk.hpp"

#include <cmath>
#include <memory>
#include <optional>

#include "config/errors.hpp"
#include "draw/entries.hpp"
#include "kernels/core/math.hpp"
#include "kernels/core/pack_keys.hpp"
#include "kernels/score/score_packed.hpp"

namespace asymptop {
namespace {

using Host = Kokkos::DefaultHostExecutionSpace;
using Scores = Kokkos::View<float**, Kokkos::LayoutRight, Kokkos::HostSpace>;

/// Rows that are asked about, and their questions [begin, end).
struct AskedRow {
  int row;
  std::size_t begin, end;
  RowOfKeys facts;
};

/// Queries of the rows that are asked about. all: (rows, width).
PackedQueries packed_queries(std::vector<AskedRow> const& asked, std::vector<float> const& all, int width) {
  std::vector<float> q;
  for (auto const& of : asked) {
    auto const* from = &all[of.row * std::int64_t{width}];
    q.insert(q.end(), from, from + width);
  }
  return {q.data(), static_cast<int>(asked.size()), width};
}

/// Where the entries of one selector stand, step by step.
class Standing {
 public:
  Standing(EntryRows const& rows, Selector& selector, std::vector<AskedRow> const& asked, int step, ShardTensors<RunSpace>& tensors)
      : selector_(selector), projection_(selector.projection()), asked_(asked) {
    if (projection_ == nullptr) return;
    auto const projected = project(rows, *projection_);
    queries_ = packed_queries(asked, projected, projection_->width(rows.d));
    ragged_ = ragged_entries(rows, *projection_, projected, tensors);
    int const entries = step / selector.page() + key_group;
    priorities_ = Scores("Asymptop::select::priorities", asked.size(), entries / key_group * key_group);
    if (!projection_->keys_as_they_are()) entries_.emplace(entries, projection_->width(rows.d));
  }

  int page() const { return selector_.page(); }
  /// Whether scores themselves are needed to say where entries stand.
  bool wants_scores() const { return selector_.by_largest_score(); }

  /// The priorities of a step's entries. keys: packed.
  void prepare(KeyTile const& keys, int count) {
    if (projection_ == nullptr) return;
    if (!entries_) {
      score_packed(Host(), queries_, keys.data, count, priorities_);
      return;
    }
    entries_->clear();
    entries_->fill_from(*projection_, keys, 0, count / page());
    score_packed(Host(), queries_, entries_->tile().data, count / page(), priorities_);
  }

  /// x of entries `first`, ... of the i-th row, of which it sees `seen` keys. s: their scores, if wanted.
  void find(std::size_t i, std::int64_t first, std::int64_t seen, float const* s, std::vector<double>& x) const {
    auto const& row = asked_[i];
    std::int64_t const size = page(), count = (seen + size - 1) / size;
    x.resize(count);
    double* const to = x.data();
    if (projection_ != nullptr) {
      float const* const from = &priorities_(i, 0);
      for (std::int64_t e = 0; e < count; ++e) to[e] = -static_cast<double>(from[e]);
      if (seen % size != 0) x.back() = -static_cast<double>(score_of(*ragged_[row.row]));
    } else if (selector_.by_largest_score()) {
      for (std::int64_t e = 0; e < count; ++e)
        to[e] = -static_cast<double>(*std::max_element(s + e * size, s + std::min(seen, (e + 1) * size)));
    } else {
      selector_.places(row.facts, first, static_cast<int>(count), to);
    }
    auto const forced = selector_.forced();
    // Far ahead of all priorities, in the order of with_forced().
    auto const ahead = [](std::int64_t place) { return -1e300 * (2.0 - std::ldexp(static_cast<double>(place), -50)); };
    auto const sinks = (forced.first + size - 1) / size, all = entries_of(row.facts.visible, page());
    for (std::int64_t e = count; forced.recent > 0 && e-- > 0 && (first + e + 1) * size > row.facts.visible - forced.recent;)
      to[e] = ahead(sinks + all - 1 - (first + e));
    for (std::int64_t e = 0; e < count && (first + e) * size < forced.first; ++e) to[e] = ahead(first + e);
  }

 private:
  Selector& selector_;
  Projection* projection_;
  std::vector<AskedRow> const& asked_;
  PackedQueries queries_;
  Scores priorities_;
  std::vector<std::optional<PackedCandidate>> ragged_;
  std::optional<EntryTile> entries_;
};

/// A thread's room.
struct Room {
  std::vector<std::int64_t> mass, entry_mass;
  std::vector<double> x;
  std::vector<int> bin;
};

class OrderWalk {
 public:
  OrderWalk(EntryRows const& rows, std::vector<Selector*> const& selectors, std::vector<OrderQuestion> const& questions,
            OrderLaws const& laws, std::function<std::uint64_t(int)> const& name_of, ShardTensors<RunSpace>& tensors, PhaseTimes& phases)
      : rows_(rows), questions_(questions), laws_(laws), tensors_(tensors), phases_(phases), standings_(selectors.size()) {
    int unit = key_group;
    for (auto const* selector : selectors) unit = std::max(unit, selector->page());
    step_ = largest_step(rows.path, rows.block) / unit * unit;
    answers_.sums.resize(questions.size());
    answers_.entries.resize(questions.size());
    for (std::size_t i = 0; i < questions.size(); ++i) {
      auto const& question = questions[i];
      if (asked_.empty() || asked_.back().row != question.row)
        asked_.push_back({question.row, i, i, {rows.queries.visible[question.row], name_of(question.row), {}}});
      asked_.back().end = i + 1;
      if (question.wanted < 0) answers_.sums[i].assign(2 * OrderGrid::bins, 0);
    }
    for (auto const& question : questions) {
      auto& standing = standings_[question.selector];
      if (standing == nullptr) standing = std::make_unique<Standing>(rows, *selectors[question.selector], asked_, step_, tensors);
      scores_wanted_ = scores_wanted_ || question.wanted < 0 || standing->wants_scores();
    }
    queries_ = packed_queries(asked_, rows.queries.q, rows.d);
  }

  OrderAnswers run() {
    Scores const scores("Asymptop::select::scores", asked_.size(), step_);
    bool const packed = rows_.path.keys == KeyLayout::packed;
    std::vector<float> packed_keys(packed ? 0 : packed_size(step_, rows_.d));
    KeyWalk walk(rows_.shard.size());
    walk.run(step_, [&](LocalIndex const first, int const count) {
      phases_.between_steps();
      phases_.start();
      auto keys = tensors_.key_tile(first, count, count);
      if (!packed) {
        pack_keys(keys.data, count, rows_.d, packed_keys.data());
        keys = {packed_keys.data(), rows_.d, true};
      }
      phases_.stop(Phase::generate);
      if (scores_wanted_) score_packed(Host(), queries_, keys.data, count, scores);
      for (auto const& standing : standings_) {
        if (standing != nullptr) standing->prepare(keys, count);
      }
      Host().fence();
      phases_.stop(Phase::score);
      Kokkos::parallel_for("Asymptop::select::order", Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Dynamic>>(0, asked_.size()),
                           [&](int const i) { take(i, keys, first, count, &scores(i, 0)); });
      Host().fence();
      phases_.stop(Phase::refine);
    });
    return std::move(answers_);
  }

 private:
  std::int64_t mass_of(double y) const { return static_cast<std::int64_t>(exp_fp64(y) * laws_.factor + 0.5); }

  /// One row's part of a step.
  void take(std::size_t i, KeyTile const& keys, LocalIndex first, int count, float const* s) {
    static thread_local Room room;
    auto const& asked = asked_[i];
    auto const begin = rows_.shard.begin + first, seen = std::clamp<std::int64_t>(asked.facts.visible - begin, 0, count);
    if (seen == 0) return;
    int selector = -1, mass_law = -1, sums_law = -1;
    for (auto q = asked.begin; q < asked.end; ++q) {
      auto const& question = questions_[q];
      auto const& standing = *standings_[question.selector];
      std::int64_t const page = standing.page();
      auto const first_entry = begin / page;
      if (question.selector != selector) {
        standing.find(i, first_entry, seen, s, room.x);
        sums_law = -1;
      }
      // A row's questions of one selector often share their bins.
      if (question.selector != selector || !(question.grid == questions_[q - 1].grid)) find_bins(question.grid, first_entry, room);
      selector = question.selector;
      if (question.wanted >= 0) {
        collect(i, q, keys, begin, seen, room);
        continue;
      }
      if (question.law != mass_law) {
        double const sigma = laws_.sigma[question.law], top = question.top;
        room.mass.resize(seen);
        std::int64_t* const to = room.mass.data();
#pragma omp simd
        for (std::int64_t j = 0; j < seen; ++j) to[j] = mass_of(sigma * (s[j] - top));
        mass_law = question.law;
        sums_law = -1;
      }
      if (page > 1 && sums_law != question.law) {
        room.entry_mass.assign(room.x.size(), 0);
        for (std::int64_t j = 0; j < seen; ++j) room.entry_mass[j / page] += room.mass[j];
        sums_law = question.law;
      }
      std::int64_t const* const mass = page > 1 ? room.entry_mass.data() : room.mass.data();
      std::int64_t* const sums = answers_.sums[q].data();
      int const* const bin = room.bin.data();
      auto const entries = std::ssize(room.x);
      for (std::int64_t e = 0; e < entries; ++e) {
        sums[2 * bin[e]] += page;
        sums[2 * bin[e] + 1] += mass[e];
      }
      if (seen % page != 0) sums[2 * bin[entries - 1]] += seen % page - page;
    }
  }

  static void find_bins(OrderGrid const& grid, std::int64_t first_entry, Room& room) {
    auto const entries = std::ssize(room.x);
    room.bin.resize(room.x.size());
    int* const to = room.bin.data();
    double const* const x = room.x.data();
    if (grid.tie < 0) {
#pragma omp simd
      for (std::int64_t e = 0; e < entries; ++e) to[e] = grid.bin_of(x[e]);
    } else {
      for (std::int64_t e = 0; e < entries; ++e) to[e] = grid.bin_of(x[e], first_entry + e);
    }
  }

  /// Few entries: their masses from the keys themselves.
  void collect(std::size_t i, std::size_t q, KeyTile const& keys, GlobalIndex begin, std::int64_t seen, Room& room) {
    auto const& question = questions_[q];
    std::int64_t const page = standings_[question.selector]->page();
    double const sigma = laws_.sigma[question.law], top = question.top;
    static thread_local std::vector<float> key;
    key.resize(rows_.d);
    auto const entries = std::ssize(room.x);
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
      OrderEntry entry{room.x[e], begin / page + e, 0, 0};
      for (auto j = e * page; j < std::min(seen, (e + 1) * page); ++j) {
        copy_key(keys, j, key.data());
        float const score = product(&rows_.queries.q[asked_[i].row * std::int64_t{rows_.d}], key.data(), rows_.d);
        ++entry.keys;
        entry.mass += mass_of(sigma * (score - top));
      }
      answers_.entries[q].push_back(entry);
    }
  }

  EntryRows const& rows_;
  std::vector<OrderQuestion> const& questions_;
  OrderLaws const& laws_;
  ShardTensors<RunSpace>& tensors_;
  PhaseTimes& phases_;
  std::vector<std::unique_ptr<Standing>> standings_;  ///< per selector; null where nothing is asked
  int step_ = 0;
  std::vector<AskedRow> asked_;
  PackedQueries queries_;
  bool scores_wanted_ = false;
  OrderAnswers answers_;
};

}  // namespace

OrderAnswers walk_orders(EntryRows const& rows, std::vector<Selector*> const& selectors, std::vector<OrderQuestion> const& questions,
                         OrderLaws const& laws, std::function<std::uint64_t(int row)> const& name_of, ShardTensors<RunSpace>& tensors,
                         PhaseTimes& phases) {
  if constexpr (!is_host_space<RunSpace>) {
    throw RunError("selectors are measured on hosts");
  } else {
    return OrderWalk(rows, selectors, questions, laws, name_of, tensors, phases).run();
  }
}

}  // namespace asymptop
