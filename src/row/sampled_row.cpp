#include "row/sampled_row.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "row/selected_row.hpp"

namespace asymptop {
namespace {

constexpr std::int64_t beyond = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t not_drawn = std::numeric_limits<std::size_t>::max();

}  // namespace

SampledRow::SampledRow(OwnedRow const& row, VattentionSelector const& selector, std::uint64_t name, MetricAxes const& axes)
    : row_(row),
      selector_(selector),
      axes_(axes),
      key_at_(name, row.visible),
      rank_of_(row.head),
      place_of_head_(row.head.size(), not_drawn) {
  auto const forced = selector.forced();
  for (auto key = row.from; key < forced.first_end(row.seen()); ++key) window_.push_back(key_of(key));
  for (auto key = forced.recent_begin(row.seen()); key < row.seen().end; ++key) window_.push_back(key_of(key));
  for (auto const k : axes.k) {
    if (k >= row.visible) break;
    auto const best = std::min(k, axes.held);
    auto const kept = best + std::count_if(window_.begin(), window_.end(), [&](Key const& key) { return key.rank >= best; });
    budgets_.push_back({best, kept, row.visible - kept});
  }
  std::vector<std::int64_t> wanted;
  for (auto const& budget : budgets_) {
    auto const base = selector.bound().base(budget.others);
    wanted.push_back(base < budget.others ? base : 0);  // all of them: nothing is estimated
  }
  draw_until(wanted);
}

SampledRow::Key SampledRow::key_of(GlobalIndex index) const {
  auto const rank = rank_of_(index);
  if (rank == HeadRanks::none) return {index, beyond, 0.0f};
  return {index, rank, row_.head[rank].score};
}

void SampledRow::draw_until(std::vector<std::int64_t> const& wanted) {
  auto const forced = selector_.forced();
  auto const lacking = [&] {
    std::int64_t most = 0;
    for (std::size_t i = 0; i < budgets_.size(); ++i) most = std::max(most, wanted[i] - budgets_[i].drawn_of_head);
    return most;
  };
  for (auto target = lacking(); drawn_beyond_ < target;) {
    auto const index = row_.from + key_at_(next_++);
    if (forced.holds(index, row_.seen())) continue;
    auto const key = key_of(index);
    if (key.rank != beyond) place_of_head_[key.rank] = sample_.size();
    sample_.push_back(key);
    if (key.rank >= budgets_.back().best) {
      ++drawn_beyond_;
      continue;
    }
    for (auto& budget : budgets_) budget.drawn_of_head += key.rank >= budget.best ? 1 : 0;
    target = lacking();
  }
}

std::vector<GlobalIndex> SampledRow::keys_to_score() const {
  std::vector<GlobalIndex> keys;
  auto const ask = [&](std::vector<Key> const& of, std::size_t first) {
    for (auto i = first; i < of.size(); ++i) {
      if (of[i].rank == beyond) keys.push_back(of[i].index);
    }
  };
  ask(window_, scored_window_);
  ask(sample_, scored_sample_);
  return keys;
}

void SampledRow::take_scores(std::span<float const> scores) {
  auto next = scores.begin();
  auto const take = [&](std::vector<Key>& of, std::size_t& first) {
    for (; first < of.size(); ++first) {
      if (of[first].rank == beyond) of[first].score = *next++;
    }
  };
  take(window_, scored_window_);
  take(sample_, scored_sample_);
}

double SampledRow::exponential(std::size_t law, Key const& key) const {
  return std::exp(axes_.sigma[law] * (double{key.score} - row_.score_max));
}

std::vector<double> SampledRow::exponentials(std::size_t law) const {
  std::vector<double> e;
  for (auto const& key : sample_) e.push_back(exponential(law, key));
  return e;
}

std::size_t SampledRow::end_of(Budget const& budget, std::int64_t count) const {
  std::size_t end = 0;
  for (; count > 0; ++end) count -= sample_[end].rank >= budget.best ? 1 : 0;
  return end;
}

std::int64_t SampledRow::count_of(std::size_t law, Budget const& budget, std::vector<double> const& e) const {
  auto const base = selector_.bound().base(budget.others);
  if (base == budget.others) return base;
  auto const end = end_of(budget, base);
  double const keys = exact_double(base);
  double sum = 0.0, squares = 0.0, forced = row_.evaluation.laws[law].sink;
  for (std::size_t i = 0; i < end; ++i) sum += sample_[i].rank >= budget.best ? e[i] : 0.0;
  for (std::size_t i = 0; i < end; ++i) squares += sample_[i].rank >= budget.best ? (e[i] - sum / keys) * (e[i] - sum / keys) : 0.0;
  for (auto const& key : window_) forced += key.rank >= budget.best ? exponential(law, key) : 0.0;
  for (auto rank = budget.best; rank-- > 0;) forced += exponential(law, {0, rank, row_.head[rank].score});
  double const deviation = base > 1 ? std::sqrt(squares / (keys - 1.0)) : 0.0;
  return selector_.bound().count(budget.others, forced, sum / keys, deviation);
}

std::int64_t SampledRow::choose() {
  wanted_.assign(budgets_.size(), 0);
  for (std::size_t law = 0; law < axes_.sigma.size(); ++law) {
    auto const e = exponentials(law);
    auto& counts = counts_.emplace_back();
    for (std::size_t i = 0; i < budgets_.size(); ++i) {
      auto const others = budgets_[i].others, count = count_of(law, budgets_[i], e);
      counts.push_back(count);
      if (count < others) wanted_[i] = std::max(wanted_[i], 2 * count > others ? others : count);
    }
  }
  std::int64_t most = std::ssize(sample_);
  for (auto const count : wanted_) most = std::max(most, count);
  return most;
}

void SampledRow::draw() {
  draw_until(wanted_);
  for (auto const& counts : counts_) {
    auto& ends = ends_.emplace_back();
    for (std::size_t i = 0; i < budgets_.size(); ++i) ends.push_back(counts[i] < budgets_[i].others ? end_of(budgets_[i], counts[i]) : 0);
  }
}

double SampledRow::dropped(std::size_t law, Budget const& budget, std::size_t end, std::vector<double> const& e) const {
  double sum = 0.0;
  if (drawn(budget) == budget.others) {
    for (auto i = sample_.size(); i-- > end;) sum += sample_[i].rank >= budget.best ? e[i] : 0.0;
    return sum;
  }
  double rest = row_.beyond.sums[law].z1;
  for (auto const& key : window_) rest -= key.rank == beyond ? exponential(law, key) : 0.0;
  for (std::size_t i = 0; i < end; ++i) rest -= sample_[i].rank == beyond ? e[i] : 0.0;
  std::vector<char> in_window(row_.head.size(), 0);
  for (auto const& key : window_) {
    if (key.rank != beyond) in_window[key.rank] = 1;
  }
  for (auto rank = std::ssize(row_.head); rank-- > budget.best;) {
    if (in_window[rank] == 0 && (place_of_head_[rank] == not_drawn || place_of_head_[rank] >= end))
      sum += exponential(law, {0, rank, row_.head[rank].score});
  }
  return sum + std::max(rest, 0.0);
}

std::vector<RowMetrics> SampledRow::metrics() const {
  std::vector<RowMetrics> laws;
  for (std::size_t law = 0; law < axes_.sigma.size(); ++law) {
    auto metrics = without_errors(row_.evaluation.laws[law]);
    auto const e = exponentials(law);
    for (std::size_t item = 0; item < axes_.k.size(); ++item) {
      auto kept = row_.visible;
      double tail = 0.0, error = 0.0;
      if (item < budgets_.size() && counts_[law][item] < budgets_[item].others) {
        auto const& budget = budgets_[item];
        auto const count = counts_[law][item];
        auto const end = ends_[law][item];
        kept = budget.forced + count;
        double sampled = 0.0;
        for (std::size_t i = 0; i < end; ++i) sampled += sample_[i].rank >= budget.best ? e[i] : 0.0;
        double const left = dropped(law, budget, end, e);
        tail = left / metrics.z;
        error = std::fabs((sampled_weight(row_.visible, budget.forced, kept) - 1.0) * sampled - left) / metrics.z;
      }
      add_kept(metrics, kept, tail, error);
    }
    laws.push_back(std::move(metrics));
  }
  return laws;
}

/// Sums of a law: at [0, k) what each budget's best keys add to those of the one before; then what the drawn keys add that lie between
/// the ends of samples, in ascending order; then, by budget, drawn keys that larger budgets keep in any case.
std::vector<SampledRow::Part> SampledRow::parts(std::size_t law) const {
  std::vector<Part> parts;
  if (budgets_.empty()) return parts;
  int const ks = int_size(axes_.k);
  for (auto const& key : window_) parts.push_back({key.index, 0});
  auto const forced = selector_.forced();
  int item = 0;
  for (std::int64_t rank = 0; rank < budgets_.back().best; ++rank) {
    while (budgets_[item].best <= rank) ++item;
    auto const index = row_.head[rank].index;
    if (!forced.holds(index, row_.seen())) parts.push_back({index, item});
  }
  auto ends = ends_[law];
  std::sort(ends.begin(), ends.end());
  for (std::size_t i = 0; i < ends.back(); ++i) {
    auto const& key = sample_[i];
    if (key.rank >= budgets_.back().best) {
      int const segment = checked_int(std::upper_bound(ends.begin(), ends.end(), i) - ends.begin());
      parts.push_back({key.index, ks + segment});
      continue;
    }
    for (int b = 0; b < int_size(budgets_) && budgets_[b].best <= key.rank; ++b) {
      if (i < ends_[law][b]) parts.push_back({key.index, 2 * ks + b});
    }
  }
  return parts;
}

void SampledRow::output_errors(std::size_t law, std::span<double const> sums, RowMetrics& metrics) const {
  auto const ks = axes_.k.size(), width = row_.outputs[law].size() + 1;
  std::vector<std::size_t> by_end(budgets_.size());
  std::iota(by_end.begin(), by_end.end(), 0);
  std::stable_sort(by_end.begin(), by_end.end(), [&](auto a, auto b) { return ends_[law][a] < ends_[law][b]; });
  std::vector<std::vector<double>> drawn(budgets_.size());
  std::vector<double> running(width, 0.0), best(width, 0.0), estimate(width, 1.0);
  for (std::size_t place = 0; place < by_end.size(); ++place) {
    auto& of_budget = drawn[by_end[place]];
    for (std::size_t c = 0; c < width; ++c) {
      running[c] += sums[(ks + place) * width + c];
      of_budget.push_back(running[c] + sums[(2 * ks + by_end[place]) * width + c]);
    }
  }
  auto const& kept = metrics.count("kept");
  for (std::size_t item = 0; item < ks; ++item) {
    for (std::size_t c = 0; item < budgets_.size() && c < width; ++c) {
      best[c] += sums[item * width + c];
      estimate[c] = best[c] + sampled_weight(row_.visible, budgets_[item].forced, kept[item]) * drawn[item][c];
    }
    add_output_error(row_, law, estimate.data(), metrics.sink, kept[item] == row_.visible, metrics);
  }
}

}  // namespace asymptop
