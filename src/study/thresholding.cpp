#include "study/thresholding.hpp"

#include <cmath>
#include <numeric>

#include "comm/collectives.hpp"
#include "comm/merge/merge_profile.hpp"
#include "draw/orders/threshold_pass.hpp"
#include "row/row_lists.hpp"
#include "row/selected_row.hpp"
#include "study/key_holders.hpp"

namespace asymptop {
namespace {

/// The metrics of a law. from: KeptSums of the row and the law; scale: ValueForm's.
RowMetrics kept_metrics(OwnedRow const& row, std::size_t law, std::size_t ks, std::int64_t const* from, KeptSums const& sums,
                        double scale) {
  auto metrics = without_errors(row.evaluation.laws[law]);
  auto const kept = from[0];
  bool const all = kept == row.visible;
  double const tail = all ? 0.0 : static_cast<double>(from[1]) / sums.factor.weight / metrics.z;
  std::vector<double> estimate;
  for (int c = 0; sums.output && c < sums.d; ++c) estimate.push_back(static_cast<double>(from[2 + c]) / (sums.factor.value * scale));
  if (sums.output) estimate.push_back(static_cast<double>(from[2 + sums.d]) / sums.factor.weight);
  for (std::size_t item = 0; item < ks; ++item) {
    add_kept(metrics, kept, tail);
    if (sums.output) add_output_error(row, law, estimate.data(), metrics.sink, all, metrics);
  }
  return metrics;
}

}  // namespace

Task<void> keep_above(SelectionBatch const& batch, ThresholdSelector const& selector, std::vector<OwnedRow>& rows) {
  auto const& comm = batch.comm;
  auto const& sigmas = batch.axes.sigma;
  std::vector<float> score_max;
  for (auto const& row : rows) score_max.push_back(row.score_max);
  auto gathering = all_gather(comm, std::move(score_max));
  score_max = co_await gathering;
  batch.phases.stop(Phase::merge);
  co_await batch.turn;
  auto const entries = entry_rows_of(batch);
  ThresholdPass pass(entries, selector, *batch.setup.tensors, batch.phases);
  auto comparing = all_reduce(comm, pass.largest(), MPI_MAX);
  auto const largest = co_await comparing;
  auto const factor = factor_of_values(batch);
  std::vector<std::int64_t> of_all(largest.size() * sigmas.size(), 0);
  if (!selector.of_largest()) {
    batch.phases.stop(Phase::merge);
    co_await batch.turn;
    auto adding = all_reduce(comm, pass.sums(sigmas, largest, factor.weight), MPI_SUM);
    of_all = co_await adding;
  }
  // A learned sink beside true scores, which leave out a common offset of the keys, or beside estimates, which do not.
  std::vector<double> sinks(largest.size(), batch.group.sink());
  for (std::size_t row = 0; row < sinks.size() && selector.estimate().true_products(); ++row) sinks[row] -= batch.queries.raised_by(row);
  std::vector<double> least;
  for (std::size_t row = 0; row < largest.size(); ++row) {
    for (std::size_t law = 0; law < sigmas.size(); ++law) {
      double const sum = static_cast<double>(of_all[least.size()]) / factor.weight + std::exp(sinks[row] - sigmas[law] * largest[row]);
      least.push_back(selector.least(sigmas[law], largest[row], sum, batch.queries.visible[row]));
    }
  }
  KeptSums const sums{sigmas, std::move(score_max), factor, batch.setup.config->output_error, static_cast<int>(batch.group.d)};
  batch.phases.stop(Phase::merge);
  co_await batch.turn;
  auto added = pass.kept(least, sums);
  int const all = checked_int(batch.queries.rows());
  std::vector<int> names(all);
  std::iota(names.begin(), names.end(), 0);
  auto summing = merge_profile(comm, std::move(added), row_owners(names, all, comm.size()), sums.width());
  auto const found = co_await summing;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto& laws = rows[i].selected.emplace_back();
    for (std::size_t law = 0; law < sigmas.size(); ++law)
      laws.push_back(kept_metrics(rows[i], law, batch.axes.k.size(), &found[i * sums.width() + law * sums.numbers_of_law()], sums,
                                  batch.setup.tensors->origin().form.scale));
  }
  batch.phases.stop(Phase::evaluate);
}

}  // namespace asymptop
