#include "study/selection.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "comm/collectives.hpp"
#include "comm/merge/merge_profile.hpp"
#include "comm/merge/merge_top_k.hpp"
#include "config/errors.hpp"
#include "row/row_lists.hpp"
#include "study/order_search.hpp"
#include "study/shard_orders.hpp"

namespace asymptop {
namespace {

/// Keys that methods are calibrated on.
constexpr GlobalIndex calibration_keys = 4096;

/// Evenly spaced keys of the sequence, for all ranks. Collective.
Calibration calibration_of(Communicator const& comm, GroupPlan const& group, Range const& shard, ShardTensors<RunSpace> const& tensors) {
  Calibration calibration{static_cast<int>(group.d), {}};
  if constexpr (is_host_space<RunSpace>) {
    auto const count = std::min(calibration_keys, group.n);
    std::vector<float> key(group.d);
    for (GlobalIndex i = 0; i < count; ++i) {
      auto const at = group.n / count * i + group.n % count * i / count;
      if (at < shard.begin || at >= shard.end) continue;
      tensors.key_of_row(at, key.data());
      calibration.keys.insert(calibration.keys.end(), key.begin(), key.end());
    }
    // Shards ascend with ranks, so these are in order for any number of them.
    calibration.keys = finish(all_gather(comm, std::move(calibration.keys)));
  }
  return calibration;
}

}  // namespace

DrawSelectors::DrawSelectors(StudySetup const& setup, GroupPlan const& group, std::int64_t draw)
    : stream_(tensor_stream(setup.config->seed, draw, group.n, group.d, Tensor::selection)), head_(group.head) {
  Calibration calibration;
  for (auto const& choice : case_axes(group).selectors) {
    selectors_.push_back(make_selector(choice, static_cast<int>(group.d)));
    auto* const projection = selectors_.back()->projection();
    if (projection == nullptr || !projection->wants_calibration()) continue;
    if (calibration.keys.empty()) {
      auto const shard = key_shard(group.n, setup.config->block, setup.comm->rank(), setup.comm->size());
      calibration = calibration_of(*setup.comm, group, shard, *setup.tensors);
    }
    projection->calibrate(calibration);
  }
}

std::uint64_t DrawSelectors::name_of(std::int64_t row) const {
  return (std::uint64_t{stream_.key0} << 32 | stream_.key1) + row * 0xd1342543de82ef95ull + (head_ + 1) * 0x2545f4914f6cdd1dull;
}

namespace {

EntryRows entry_rows_of(SelectionBatch const& batch) {
  return {batch.queries, *batch.group.path, batch.shard, batch.setup.config->block, static_cast<int>(batch.group.d)};
}

/// One selector on one batch.
class Selection {
 public:
  Selection(SelectionBatch const& batch, Selector& selector, DrawSelectors const& all, std::vector<OwnedRow>& rows)
      : batch_(batch), selector_(selector), all_(all), rows_(rows), page_(selector.page()), entry_rows_(entry_rows_of(batch)) {
    for (int r = 0; r < batch.comm.size(); ++r)
      shard_ends_.push_back(key_shard(batch.group.n, batch.setup.config->block, r, batch.comm.size()).end);
    for (auto const k : batch.axes.k) entries_of_k_.push_back(selector.entries_of_budget(std::min(k, batch.axes.held)));
  }

  /// Adds this selector's metrics to its rows.
  Task<void> run(std::vector<CheckResiduals>& checks) {
    if (selector_.shards() > 0) {
      auto ordering = order_by_shards(batch_, entry_rows_, selector_.shards(), entries_of_k_, rows_);
      shard_orders_ = co_await ordering;
      for (auto& of_row : shard_orders_) selected_.push_back(std::move(of_row.beginning));
    } else if (selector_.projection() != nullptr) {
      auto ordering = order_by_priority();
      co_await ordering;
    } else {
      for (auto const& row : rows_) order_by_place(row);
    }
    if (selector_.shards() == 0) {
      auto fetching = fetch_scores();
      co_await fetching;
    }
    for (std::size_t i = 0; i < rows_.size(); ++i)
      rows_[i].selected.push_back(selected_metrics(rows_[i], selected_[i], batch_.axes, checks));
    batch_.phases.stop(Phase::evaluate);
    if (selector_.shards() > 0) {
      auto settling = settle_shards(batch_, entry_rows_, selector_.shards(), shard_orders_, rows_);
      auto const open = co_await settling;
      for (auto& check : checks) check.note(Check::quantiles_settled, static_cast<double>(open));
    }
    if (!batch_.setup.config->output_error) co_return;
    auto measuring = measure_outputs();
    co_await measuring;
  }

  std::vector<OrderRange> take_ranges() { return std::move(ranges_); }

 private:
  /// Entries that some budget pays for.
  std::int64_t wanted() const { return entries_of_k_.back(); }

  /// The keys of a row's first entries.
  void expand(OwnedRow const& row, std::vector<std::int64_t> const& entries) {
    auto& selected = selected_.emplace_back();
    selected.entries = entries_of_k_;
    for (auto const entry : entries) {
      auto const end = std::min((entry + 1) * page_, row.visible);
      for (auto key = entry * page_; key < end; ++key) selected.keys.push_back(key);
      selected.ends.push_back(std::ssize(selected.keys));
    }
    selected.scores.assign(selected.keys.size(), 0.0f);
  }

  /// From priorities at the beginning of an order: the others may lie as far on the other side of 0, or far behind.
  void note_range(double first, double last) {
    ranges_.push_back({-first, std::max({2.0 * std::fabs(first), 8.0 * (first - last), 1e-30})});
  }

  void order_by_place(OwnedRow const& row) {
    auto order = selector_.order({row.visible, all_.name_of(batch_.first_row + row.row), row.head}, wanted());
    for (auto& first : order) first /= page_;
    expand(row, order);
    double const top = row.score_max, last = row.head.back().score;
    if (selector_.by_largest_score()) {
      note_range(top, last);
    } else {
      ranges_.push_back({0.0, static_cast<double>(entries_of(row.visible, page_))});
    }
  }

  Task<void> order_by_priority() {
    co_await batch_.turn;
    batch_.phases.start();
    auto const& comm = batch_.comm;
    auto const forced = selector_.forced();
    // Forced entries may be among the best.
    auto const keep = std::min<GlobalIndex>(wanted() + (forced.first + forced.recent) / page_ + 4, entries_of(batch_.group.n, page_));
    RunSpace const space;
    auto const heads =
        entry_heads(space, entry_rows_, *selector_.projection(), static_cast<int>(keep), *batch_.setup.tensors, batch_.phases);
    std::vector<GlobalIndex> begins;
    for (int r = 0; r < comm.size(); ++r)
      begins.push_back(key_shard(batch_.group.n, batch_.setup.config->block, r, comm.size()).begin / page_);
    int const all = static_cast<int>(batch_.queries.rows());
    auto own = rows_.begin();
    for (auto const& group : merge_groups(all, comm.size(), merge_memory(batch_.group.merge, comm.size(), keep))) {
      auto const owners = row_owners(group, all, comm.size());
      auto merging = merge_top_k(comm, batch_.group.merge, sorted_lists(heads, group), owners, begins, keep);
      for (auto const& list : co_await merging) {
        if (std::ssize(list) < std::min<std::int64_t>(keep, entries_of(own->visible, page_)))
          throw RunError("priorities of --selectors leave the range of fp32; check the tensors and --scale");
        std::vector<std::int64_t> by_priority;
        for (auto const& candidate : list) by_priority.push_back(candidate.index);
        note_range(list.front().score, list.back().score);
        expand(*own, with_forced(forced, own->visible, page_, by_priority, wanted()));
        ++own;
      }
    }
    batch_.phases.stop(Phase::merge);
  }

  /// Sums of e^s v over the kept keys, where they are held; the errors at the rows' owners.
  Task<void> measure_outputs() {
    auto const& comm = batch_.comm;
    std::size_t const ranks = comm.size(), all_rows = batch_.queries.rows(), d = batch_.group.d;
    std::vector<std::vector<std::int64_t>> kept(ranks);  // triples of row, key, budget
    std::vector<float> references;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      auto const& counts = rows_[i].selected.back().front().count("kept");
      auto const own = references_of_budgets(rows_[i], selected_[i], counts);
      references.insert(references.end(), own.begin(), own.end());
      auto const& keys = selected_[i].keys;
      std::size_t budget = 0;
      for (std::int64_t place = 0; place < std::ssize(keys) && budget < counts.size(); ++place) {
        while (budget < counts.size() && counts[budget] <= place) ++budget;
        if (budget == counts.size()) break;
        auto const key = keys[place];
        auto& to = kept[holder_of(key)];
        to.insert(to.end(), {rows_[i].row, key, static_cast<std::int64_t>(budget)});
      }
    }
    auto gathering = all_gather(comm, std::vector<float>(references));
    auto const all_references = co_await gathering;
    auto sending = all_to_all(comm, std::move(kept));
    std::vector<WantedOutput> wanted;
    for (auto const& of_rank : co_await sending) {
      for (std::size_t i = 0; i < of_rank.size(); i += 3)
        wanted.push_back({of_rank[i + 1], static_cast<int>(of_rank[i]), static_cast<int>(of_rank[i + 2])});
    }
    auto const& axes = batch_.axes;
    KeptOutputs outputs{axes.sigma.size(), axes.k.size(), d + 1, {}};
    auto const of_row = outputs.laws * outputs.budgets * outputs.width;
    outputs.sums.assign(all_rows * of_row, 0);
    auto const factor = FixedPoint::make(batch_.group.n, batch_.setup.scan != nullptr ? batch_.setup.scan->largest_value : largest_normal);
    batch_.phases.stop(Phase::merge);
    co_await batch_.turn;
    batch_.phases.start();
    add_outputs(entry_rows_, std::move(wanted), axes.sigma, all_references, factor, *batch_.setup.tensors, outputs);
    batch_.phases.stop(Phase::attend);
    std::vector<int> rows(all_rows);
    std::iota(rows.begin(), rows.end(), 0);
    auto summing = merge_profile(comm, std::move(outputs.sums), row_owners(rows, static_cast<int>(all_rows), comm.size()), of_row);
    auto const sums = co_await summing;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      for (std::size_t law = 0; law < outputs.laws; ++law) {
        std::vector<double> values;
        auto const from = i * of_row + law * outputs.budgets * outputs.width;
        for (std::size_t j = 0; j < outputs.budgets * outputs.width; ++j)
          values.push_back(static_cast<double>(sums[from + j]) / (j % outputs.width == d ? factor.weight : factor.value));
        auto const own = references.begin() + i * outputs.budgets;
        selected_output_errors(rows_[i], law, axes.sigma[law], values, {own, own + outputs.budgets}, rows_[i].selected.back()[law]);
      }
    }
    batch_.phases.stop(Phase::evaluate);
  }

  std::size_t holder_of(GlobalIndex key) const {
    return std::upper_bound(shard_ends_.begin(), shard_ends_.end(), key) - shard_ends_.begin();
  }

  /// Scores of keys that are not in their rows' heads, from the ranks that hold the keys.
  Task<void> fetch_scores() {
    auto const& comm = batch_.comm;
    std::size_t const ranks = comm.size();
    std::vector<std::vector<std::int64_t>> asked(ranks);                          // pairs of row and key
    std::vector<std::vector<std::pair<std::size_t, std::size_t>>> places(ranks);  // of the answers
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      auto const& keys = selected_[i].keys;
      auto const known = in_head(rows_[i], keys);
      for (std::size_t j = 0; j < keys.size(); ++j) {
        if (known[j] != 0) continue;
        auto const holder = holder_of(keys[j]);
        asked[holder].insert(asked[holder].end(), {rows_[i].row, keys[j]});
        places[holder].emplace_back(i, j);
      }
    }
    auto asking = all_to_all(comm, std::move(asked));
    auto const questions = co_await asking;
    std::vector<WantedScore> wanted;
    for (auto const& of_rank : questions) {
      for (std::size_t i = 0; i < of_rank.size(); i += 2) wanted.push_back({of_rank[i + 1], static_cast<int>(of_rank[i])});
    }
    batch_.phases.stop(Phase::merge);
    co_await batch_.turn;
    batch_.phases.start();
    auto const scores = scores_of(entry_rows_, wanted, *batch_.setup.tensors);
    batch_.phases.stop(Phase::score);
    std::vector<std::vector<float>> answers(ranks);
    auto next = scores.begin();
    for (std::size_t r = 0; r < ranks; ++r) {
      auto const end = next + questions[r].size() / 2;
      answers[r].assign(next, end);
      next = end;
    }
    auto answering = all_to_all(comm, std::move(answers));
    auto const answered = co_await answering;
    for (std::size_t r = 0; r < ranks; ++r) {
      for (std::size_t i = 0; i < places[r].size(); ++i) selected_[places[r][i].first].scores[places[r][i].second] = answered[r][i];
    }
    batch_.phases.stop(Phase::merge);
  }

  SelectionBatch const& batch_;
  Selector& selector_;
  DrawSelectors const& all_;
  std::vector<OwnedRow>& rows_;
  int page_;
  EntryRows entry_rows_;
  std::vector<GlobalIndex> shard_ends_;     ///< per rank
  std::vector<std::int64_t> entries_of_k_;  ///< per k of the axis
  std::vector<SelectedKeys> selected_;      ///< per row
  std::vector<OrderRange> ranges_;          ///< per row
  std::vector<ShardOrder> shard_orders_;    ///< per row, where shards decide
};

}  // namespace

Task<void> select_keys(SelectionBatch batch, DrawSelectors const& selectors, std::vector<OwnedRow>& rows,
                       std::vector<std::vector<CheckResiduals>>& checks) {
  std::vector<Selector*> all;
  std::vector<std::vector<OrderRange>> ranges;
  for (std::size_t i = 0; i < selectors.size(); ++i) {
    Selection selection(batch, selectors[i], selectors, rows);
    auto selecting = selection.run(checks[i]);
    co_await selecting;
    ranges.push_back(selection.take_ranges());
    all.push_back(&selectors[i]);
  }
  auto const entries = entry_rows_of(batch);
  auto const name_of = [&](int row) { return selectors.name_of(batch.first_row + row); };
  auto settling = settle_k_epsilon(batch, entries, all, name_of, std::move(ranges), rows);
  auto const open = co_await settling;
  for (std::size_t i = 0; i < open.size(); ++i) {
    for (auto& check : checks[i]) check.note(Check::quantiles_settled, static_cast<double>(open[i]));
  }
}

}  // namespace asymptop
