#include "study/pruning.hpp"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "row/pruned_row.hpp"
#include "study/estimation.hpp"
#include "study/key_holders.hpp"

namespace asymptop {
namespace {

/// Of a row, how many of the chosen keys each k pays for.
std::vector<std::int64_t> candidates_of(OwnedRow const& row, SelectedKeys const& chosen, TwilightSelector const& selector,
                                        std::vector<std::int64_t> const& ks) {
  std::vector<std::int64_t> counts;
  for (std::size_t item = 0; item < ks.size(); ++item) {
    bool const all = selector.candidates(ks[item]) >= row.visible;
    auto const entries = all ? std::ssize(chosen.ends) : std::min(chosen.entries[item], std::ssize(chosen.ends));
    counts.push_back(chosen.ends[entries - 1]);
  }
  return counts;
}

/// What one law keeps of a row at each k. sink: a learned logit, beside estimates of the keys as a file has them. Equal numbers of
/// candidates leave equal sets: those are there once, at the first k.
struct KeptAtK {
  std::vector<std::vector<KeptKey>> sets;
  std::vector<std::size_t> set_of_k;
};

KeptAtK kept_at_k(SelectedKeys const& chosen, std::vector<std::int64_t> const& candidates, std::span<float const> estimates,
                  OwnedRow const& row, TwilightSelector const& selector, double sigma, double sink) {
  KeptAtK kept;
  std::span<GlobalIndex const> const keys(chosen.keys);
  for (std::size_t item = 0; item < candidates.size(); ++item) {
    if (item == 0 || candidates[item] != candidates[item - 1]) {
      auto& set = kept.sets.emplace_back();
      for (auto const place : selector.top_p(keys.first(candidates[item]), estimates.first(candidates[item]), row.seen(), sigma, sink))
        set.push_back({chosen.keys[place], chosen.scores[place]});
    }
    kept.set_of_k.push_back(kept.sets.size() - 1);
  }
  return kept;
}

void add_sets(KeptAtK const& kept, double sigma, std::size_t law, OwnedRow& row) {
  PrunedRow const pruned(row);
  std::vector<double> tails;
  for (auto const& set : kept.sets) tails.push_back(pruned.tail_mass(set, sigma, law));
  for (auto const set : kept.set_of_k) add_kept(row.selected.back()[law], std::ssize(kept.sets[set]), tails[set]);
}

/// Output errors of one law.
Task<void> measure_outputs(SelectionBatch const& batch, std::vector<KeptAtK> const& kept, std::size_t law, std::vector<OwnedRow>& rows) {
  int const ks = int_size(batch.axes.k);
  std::vector<WantedOutput> wanted;
  std::vector<float> references;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto const& sets = kept[i].sets;
    for (int set = 0; set < ks; ++set) {
      float top = -std::numeric_limits<float>::infinity();
      for (std::size_t j = 0; set < std::ssize(sets) && j < sets[set].size(); ++j) {
        wanted.push_back({sets[set][j].key, rows[i].row, set});
        top = std::max(top, sets[set][j].score);
      }
      references.push_back(top);
    }
  }
  auto const tops = references;
  auto asking = ask_outputs(batch, std::move(wanted), {batch.axes.sigma[law]}, std::move(references), ks, most_asked);
  auto const sums = co_await asking;
  auto const width = batch.group.d + 1;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto& metrics = rows[i].selected.back()[law];
    for (int item = 0; item < ks; ++item) {
      auto const set = i * ks + kept[i].set_of_k[item];
      double const sink = metrics.sink_beside(batch.axes.sigma[law] * (rows[i].score_max - tops[set]));
      add_output_error(rows[i], law, &sums[set * width], sink, metrics.count("kept")[item] == rows[i].visible, metrics);
    }
  }
}

}  // namespace

Task<void> prune_keys(SelectionBatch const& batch, TwilightSelector const& selector, std::vector<SelectedKeys> chosen,
                      std::vector<OwnedRow>& rows) {
  auto const& axes = batch.axes;
  std::vector<WantedScore> wanted;
  std::vector<std::size_t> begins;
  std::vector<std::vector<std::int64_t>> candidates;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    begins.push_back(wanted.size());
    candidates.push_back(candidates_of(rows[i], chosen[i], selector, axes.k));
    for (std::int64_t place = 0; place < candidates.back().back(); ++place) wanted.push_back({chosen[i].keys[place], rows[i].row});
    auto& laws = rows[i].selected.emplace_back();
    for (auto const& evaluated : rows[i].evaluation.laws) laws.push_back(without_errors(evaluated));
  }
  auto asking = ask_scores(batch, std::move(wanted), most_asked, &selector.estimate());
  auto const estimates = co_await asking;
  for (std::size_t law = 0; law < axes.sigma.size(); ++law) {
    std::vector<KeptAtK> kept;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::span<float const> const of_row(estimates.data() + begins[i], candidates[i].back());
      kept.push_back(kept_at_k(chosen[i], candidates[i], of_row, rows[i], selector, axes.sigma[law], batch.group.sink()));
      add_sets(kept.back(), axes.sigma[law], law, rows[i]);
    }
    batch.phases.stop(Phase::evaluate);
    if (!batch.setup.config->output_error) continue;
    auto measuring = measure_outputs(batch, kept, law, rows);
    co_await measuring;
    batch.phases.stop(Phase::evaluate);
  }
}

}  // namespace asymptop
