#include "study/selection.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "comm/collectives.hpp"
#include "comm/merge/merge_top_k.hpp"
#include "config/errors.hpp"
#include "draw/orders/observer_pass.hpp"
#include "row/row_lists.hpp"
#include "study/estimation.hpp"
#include "study/key_holders.hpp"
#include "study/order_search.hpp"
#include "study/pruning.hpp"
#include "study/shard_orders.hpp"
#include "study/thresholding.hpp"

namespace asymptop {
namespace {

/// Keys that methods are calibrated on, and queries.
constexpr GlobalIndex calibration_rows = 4096;

/// Evenly spaced keys of the sequence, for all ranks. Collective.
Calibration calibration_of(Communicator const& comm, GroupPlan const& group, Range const& shard, ShardTensors<RunSpace> const& tensors) {
  Calibration calibration{group.key_d(), {}};
  if constexpr (is_host_space<RunSpace>) {
    std::vector<float> key(group.d);
    for (auto const at : evenly_spaced(group.n, calibration_rows)) {
      if (at < shard.begin || at >= shard.end) continue;
      tensors.file_key_of_row(at, key.data());
      calibration.keys.insert(calibration.keys.end(), key.begin(), key.begin() + group.key_d());
    }
    // Shards ascend with ranks, so these are in order for any number of them.
    calibration.keys = finish(all_gather(comm, std::move(calibration.keys)));
  }
  return calibration;
}

/// Queries without the columns that wider values ask for.
std::vector<float> without_zeros(std::vector<float> const& queries, GroupPlan const& group) {
  std::vector<float> columns;
  columns.reserve(queries.size());
  for (auto row = queries.begin(); row != queries.end(); row += group.d) columns.insert(columns.end(), row, row + group.key_d());
  return columns;
}

/// What observing queries attend to, for all ranks; rank 0 makes the queries. Collective.
Observation observation_of(StudySetup const& setup, GroupPlan const& group, std::int64_t draw, Observers const& wanted) {
  auto const& comm = *setup.comm;
  QueryRows queries;
  std::vector<std::int64_t> ends;
  if (comm.is_root()) {
    DrawIdentity const identity{setup.config, &group, draw};
    queries = observing_queries(identity, setup.layer(group, draw), wanted, setup.tensors->origin().offset);
    if (wanted.so_far) ends = ends_of_rows(identity, setup.layer(group, draw));
  }
  queries.q = finish(all_gather(comm, std::move(queries.q)));
  queries.raised = finish(all_gather(comm, std::move(queries.raised)));
  for (auto* numbers : {&queries.position, &queries.from, &queries.visible, &ends})
    *numbers = finish(all_gather(comm, std::move(*numbers)));
  auto const shard = key_shard(group.n, setup.config->block, comm.rank(), comm.size());
  if (group.has_slopes()) queries.place = queries.position;
  auto const rows = entry_rows_of(queries, group, shard, setup.config->block);
  return observe(comm, wanted, rows, {group.n, group.sink(), ends}, *setup.tensors);
}

}  // namespace

DrawSelectors::DrawSelectors(StudySetup const& setup, GroupPlan const& group, std::int64_t draw)
    : stream_(tensor_stream(setup.config->seed, draw, group.n, group.key_d(), Tensor::selection)),
      head_(group.layer < 0 ? group.head : group.head + ((group.layer + 1) << 20)) {
  Calibration calibration;
  for (auto const& choice : case_axes(group).selectors) {
    selectors_.push_back(make_selector(choice, group.key_d()));
    sets_.push_back(choice.sets());
    auto& selector = *selectors_.back();
    if (auto* lookup = selector.lookup()) {
      lookup->draw(stream_, group.key_d());
      if (auto const* observers = lookup->observers()) lookup->observe(observation_of(setup, group, draw, *observers));
    }
    if (!selector.wants_calibration()) continue;
    if (calibration.keys.empty()) {
      auto const shard = key_shard(group.n, setup.config->block, setup.comm->rank(), setup.comm->size());
      calibration = calibration_of(*setup.comm, group, shard, *setup.tensors);
    }
    if (selector.wants_queries() && calibration.queries.empty()) {
      // Rank 0 makes them, as it makes the queries that are measured.
      std::vector<float> queries;
      if (setup.comm->is_root()) queries = calibration_queries({setup.config, &group, draw}, setup.layer(group, draw), calibration_rows);
      calibration.queries = without_zeros(finish(all_gather(*setup.comm, std::move(queries))), group);
    }
    selector.calibrate(calibration, stream_);
  }
}

std::uint64_t DrawSelectors::name_of(std::int64_t row) const {
  return (std::uint64_t{stream_.key0} << 32 | stream_.key1) + row * 0xd1342543de82ef95ull + (head_ + 1) * 0x2545f4914f6cdd1dull;
}

namespace {

/// Entries of an order that some budget keeps; forced ones may be among the best.
std::int64_t entries_held(Selector const& selector, SelectionBatch const& batch) {
  auto const forced = selector.forced();
  auto const most = selector.entries_of_budget(std::min(batch.axes.k.back(), batch.axes.held));
  return std::min<std::int64_t>(most + (forced.first + forced.recent) / selector.page() + 4,
                                KeyRun(0, batch.group.n).pages(selector.page()));
}

/// f(i) for every row that a rank owns, side by side.
template <class Function>
void for_each_row(std::vector<OwnedRow> const& rows, Function const& f) {
  using Host = Kokkos::DefaultHostExecutionSpace;
  Kokkos::parallel_for("Asymptop::select::rows", Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Dynamic>>(0, rows.size()), f);
  Host().fence();
}

/// One selector on one batch.
class Selection {
 public:
  Selection(SelectionBatch const& batch, DrawSelectors const& all, std::size_t place, OrderSearch& search, std::vector<OwnedRow>& rows)
      : batch_(batch),
        selector_(all[place]),
        pruning_(dynamic_cast<TwilightSelector const*>(&all[place])),
        sets_(all.sets(place)),
        all_(all),
        place_(place),
        search_(search),
        rows_(rows),
        page_(selector_.page()),
        entry_rows_(entry_rows_of(batch)) {
    for (auto const k : batch.axes.k) entries_of_k_.push_back(selector_.entries_of_budget(std::min(k, batch.axes.held)));
  }

  /// The beginnings of its orders.
  Task<void> order() {
    selected_.resize(rows_.size());
    ranges_.resize(rows_.size());
    if (selector_.shards() > 0) {
      auto ordering = order_by_shards(batch_, entry_rows_, selector_.shards(), entries_of_k_, rows_);
      shard_orders_ = co_await ordering;
      for (std::size_t i = 0; i < rows_.size(); ++i) selected_[i] = std::move(shard_orders_[i].beginning);
    } else if (selector_.has_priorities()) {
      auto ordering = order_by_priority();
      co_await ordering;
    } else {
      for_each_row(rows_, [&](int const i) { order_by_place(i); });
    }
    batch_.phases.stop(Phase::evaluate);
  }

  /// Of the i-th row.
  SelectedKeys& selected(std::size_t i) { return selected_[i]; }

  /// Adds this selector's metrics to its rows. All scores are known.
  Task<void> measure(std::vector<CheckResiduals>& checks) {
    if (pruning_ != nullptr) {
      auto pruning = prune_keys(batch_, *pruning_, std::move(selected_), rows_);
      co_await pruning;
      co_return;
    }
    std::vector<std::vector<CheckResiduals>> of_row(rows_.size(), std::vector<CheckResiduals>(checks.size()));
    for_each_row(rows_,
                 [&](int const i) { rows_[i].selected.push_back(selected_metrics(rows_[i], selected_[i], batch_.axes, of_row[i])); });
    for (auto const& own : of_row) {
      for (std::size_t law = 0; law < checks.size(); ++law) checks[law].note(own[law]);
    }
    batch_.phases.stop(Phase::evaluate);
    if (selector_.shards() > 0) {
      auto settling = settle_shards(batch_, entry_rows_, selector_.shards(), shard_orders_, rows_);
      auto const open = co_await settling;
      for (auto& check : checks) check.count(Check::quantiles_settled, open);
    }
    if (batch_.setup.config->output_error) {
      auto measuring = measure_outputs();
      co_await measuring;
    }
    selected_ = {};
  }

  std::vector<OrderRange> take_ranges() { return std::move(ranges_); }

 private:
  /// Entries that some budget pays for.
  std::int64_t wanted() const { return entries_of_k_.back(); }
  /// And of one row: the last page of a row may be short, and is there where all keys are paid for.
  std::int64_t wanted_of(OwnedRow const& row) const {
    bool const all = pruning_ != nullptr && pruning_->candidates(batch_.axes.k.back()) >= row.visible;
    return all ? row.seen().pages(page_) : wanted();
  }

  /// The keys of the i-th row's first entries.
  void expand(std::size_t i, std::vector<std::int64_t> const& entries) {
    auto const& row = rows_[i];
    auto& selected = selected_[i];
    selected.entries = entries_of_k_;
    if (sets_ == KeptSets::weighted_order) selected.forced = selector_.forced().count(row.seen());
    selected.keys.reserve(entries.size() * page_);
    selected.ends.reserve(entries.size());
    for (auto const entry : entries) {
      auto const part = row.seen().of_page(entry, page_);
      for (auto key = part.begin; key < part.end; ++key) selected.keys.push_back(key);
      selected.ends.push_back(std::ssize(selected.keys));
    }
  }

  /// From priorities at the beginning of an order: the others may lie as far on the other side of 0, or far behind.
  static OrderRange range_of(double first, double last) {
    return {-first, std::max({2.0 * std::fabs(first), 8.0 * (first - last), 1e-30})};
  }

  void order_by_place(std::size_t i) {
    auto const& row = rows_[i];
    auto order = selector_.order({row.seen(), all_.name_of(batch_.first_row + row.row), row.head}, wanted());
    for (auto& first : order) first /= page_;
    expand(i, order);
    ranges_[i] = selector_.by_largest_score() ? range_of(row.score_max, row.head.back().score)
                                              : OrderRange{0.0, exact_double(row.seen().pages(page_))};
  }

  Task<void> order_by_priority() {
    auto const& comm = batch_.comm;
    auto const forced = selector_.forced();
    auto const keep = entries_held(selector_, batch_);
    std::vector<GlobalIndex> begins;
    for (int r = 0; r < comm.size(); ++r)
      begins.push_back(key_shard(batch_.group.n, batch_.setup.config->block, r, comm.size()).begin / page_);
    int const all = int_size(batch_.queries.position);
    std::vector<CandidateList> lists(rows_.size());
    std::size_t next = 0;
    for (auto const& group : merge_groups(all, comm.size(), merge_memory(batch_.group.merge, comm.size(), keep))) {
      auto const owners = row_owners(group, all, comm.size());
      std::vector<std::vector<PackedCandidate>> own;
      for (int const row : group) own.push_back(search_.take_head(place_, row));
      auto merging = merge_top_k(comm, batch_.group.merge, std::move(own), owners, begins, keep);
      for (auto& list : co_await merging) lists[next++] = std::move(list);
    }
    batch_.phases.stop(Phase::merge);
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (std::ssize(lists[i]) < std::min<std::int64_t>(keep, rows_[i].seen().pages(page_)))
        throw RunError("priorities of --selectors leave the range of fp32; check the tensors and --scale");
    }
    for_each_row(rows_, [&](int const i) {
      std::vector<std::int64_t> by_priority;
      by_priority.reserve(lists[i].size());
      for (auto const& candidate : lists[i]) by_priority.push_back(candidate.index);
      ranges_[i] = range_of(lists[i].front().score, lists[i].back().score);
      lists[i] = {};
      expand(i, with_forced({forced, rows_[i].seen(), page_}, by_priority, wanted_of(rows_[i])));
    });
  }

  /// Sums of e^s v over the kept keys, where they are held; the errors at the rows' owners.
  Task<void> measure_outputs() {
    auto const& axes = batch_.axes;
    bool const weighs = have_weights(sets_) && selector_.forced().count({0, 1}) > 0;
    std::size_t const budgets = axes.k.size() + (weighs ? 1 : 0), of_law = budgets * (batch_.group.d + 1);
    std::vector<WantedOutput> wanted;
    std::vector<float> references;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      auto const cuts = cuts_of(selected_[i], rows_[i].selected.back().front());
      // A row whose forced keys lie outside of its window has a cut less.
      auto own = references_of_cuts(selected_[i], cuts);
      own.resize(budgets, -std::numeric_limits<float>::infinity());
      references.insert(references.end(), own.begin(), own.end());
      auto const& keys = selected_[i].keys;
      int cut = 0;
      int const last = int_size(cuts);
      for (std::int64_t place = 0; place < std::ssize(keys) && cut < last; ++place) {
        while (cut < last && cuts[cut] <= place) ++cut;
        if (cut < last) wanted.push_back({keys[place], rows_[i].row, cut});
      }
    }
    auto asking = ask_outputs(batch_, std::move(wanted), axes.sigma, references, budgets);
    auto const sums = co_await asking;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      auto const own = references.begin() + i * budgets;
      for (std::size_t law = 0; law < axes.sigma.size(); ++law) {
        auto const from = sums.begin() + (i * axes.sigma.size() + law) * of_law;
        selected_output_errors(rows_[i], selected_[i], law, axes.sigma[law], {from, from + of_law}, {own, own + budgets},
                               rows_[i].selected.back()[law]);
      }
    }
    batch_.phases.stop(Phase::evaluate);
  }

  SelectionBatch const& batch_;
  Selector& selector_;
  TwilightSelector const* pruning_;  ///< null for other selectors
  KeptSets sets_;
  DrawSelectors const& all_;
  std::size_t place_;
  OrderSearch& search_;
  std::vector<OwnedRow>& rows_;
  int page_;
  EntryRows entry_rows_;
  std::vector<std::int64_t> entries_of_k_;  ///< per k of the axis
  std::vector<SelectedKeys> selected_;      ///< per row
  std::vector<OrderRange> ranges_;          ///< per row
  std::vector<ShardOrder> shard_orders_;    ///< per row, where shards decide
};

/// Keys that rows ask other ranks about together, unless it is a single row: a message takes some 60 bytes for each.
constexpr std::size_t most_scored = std::size_t{1} << 23;

/// The true scores of all that the selectors have chosen: from the rows' heads, and from the ranks that hold the keys.
Task<void> fetch_scores(SelectionBatch const& batch, std::vector<Selection*> const& selections, std::vector<OwnedRow> const& rows) {
  for_each_row(rows, [&](int const i) {
    HeadRanks const rank_of(rows[i].head);
    for (auto* selection : selections) score_from_head(rows[i], rank_of, selection->selected(i));
  });
  for (std::size_t next = 0;;) {
    std::vector<WantedScore> wanted;
    std::vector<float*> to;
    auto const first = next;
    for (std::size_t of_row = 0; next < rows.size() && (next == first || wanted.size() + of_row <= most_scored); ++next) {
      auto const before = wanted.size();
      for (auto* selection : selections) {
        auto& selected = selection->selected(next);
        for (std::size_t j = 0; j < selected.keys.size(); ++j) {
          if (!std::isnan(selected.scores[j])) continue;
          wanted.push_back({selected.keys[j], rows[next].row});
          to.push_back(&selected.scores[j]);
        }
      }
      of_row = wanted.size() - before;
    }
    auto asking = any_left(batch, next - first);
    if (!co_await asking) co_return;
    batch.phases.stop(Phase::evaluate);
    auto fetching = ask_scores(batch, std::move(wanted));
    auto const scores = co_await fetching;
    for (std::size_t i = 0; i < to.size(); ++i) *to[i] = scores[i];
    batch.phases.stop(Phase::evaluate);
  }
}

}  // namespace

Task<void> select_keys(SelectionBatch batch, DrawSelectors const& selectors, std::vector<OwnedRow>& rows,
                       std::vector<std::vector<CheckResiduals>>& checks) {
  auto const entries = entry_rows_of(batch);
  std::vector<Selector*> ordered;
  std::vector<std::int64_t> keep;
  for (std::size_t i = 0; i < selectors.size(); ++i) {
    bool const searched = selectors[i].has_order() && selectors[i].shards() == 0;
    ordered.push_back(searched ? &selectors[i] : nullptr);
    keep.push_back(searched ? entries_held(selectors[i], batch) : 0);
  }
  OrderSearch search(
      batch, entries, ordered, [&](int row) { return selectors.name_of(batch.first_row + row); }, rows);
  auto walking = search.walk(std::move(keep));
  co_await walking;
  std::vector<std::unique_ptr<Selection>> selections;
  std::vector<Selection*> ordered_ones;
  for (std::size_t i = 0; i < selectors.size(); ++i) {
    selections.push_back(selectors[i].has_order() ? std::make_unique<Selection>(batch, selectors, i, search, rows) : nullptr);
    if (selections.back() == nullptr) continue;
    ordered_ones.push_back(selections.back().get());
    auto ordering = selections.back()->order();
    co_await ordering;
  }
  auto fetching = fetch_scores(batch, ordered_ones, rows);
  co_await fetching;
  std::vector<std::vector<OrderRange>> ranges(selectors.size());
  for (std::size_t i = 0; i < selectors.size(); ++i) {
    if (auto const* sampling = dynamic_cast<VattentionSelector const*>(&selectors[i])) {
      auto estimating = sample_keys(batch, *sampling, selectors, rows);
      co_await estimating;
    } else if (auto const* hashing = dynamic_cast<MagicpigSelector const*>(&selectors[i])) {
      auto estimating = keep_collisions(batch, *hashing, rows);
      co_await estimating;
    } else if (auto const* rule = dynamic_cast<ThresholdSelector const*>(&selectors[i])) {
      auto keeping = keep_above(batch, *rule, rows);
      co_await keeping;
    } else {
      auto measuring = selections[i]->measure(checks[i]);
      co_await measuring;
      ranges[i] = selections[i]->take_ranges();
      selections[i] = nullptr;
    }
  }
  auto settling = search.settle(std::move(ranges));
  auto const open = co_await settling;
  for (std::size_t i = 0; i < open.size(); ++i) {
    for (auto& check : checks[i]) check.count(Check::quantiles_settled, open[i]);
  }
}

}  // namespace asymptop
