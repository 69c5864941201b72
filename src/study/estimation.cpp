#include "study/estimation.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "comm/collectives.hpp"
#include "comm/merge/merge_profile.hpp"
#include "draw/orders/collision_pass.hpp"
#include "row/row_lists.hpp"
#include "row/sampled_row.hpp"
#include "row/selected_row.hpp"
#include "study/key_holders.hpp"

namespace asymptop {
namespace {

/// Scores of what some rows have drawn.
Task<void> fetch_scores(SelectionBatch const& batch, std::span<SampledRow> samples) {
  std::vector<WantedScore> wanted;
  std::vector<std::size_t> ends;
  for (auto const& sample : samples) {
    for (auto const key : sample.keys_to_score()) wanted.push_back({key, sample.row()});
    ends.push_back(wanted.size());
  }
  auto asking = ask_scores(batch, std::move(wanted), most_asked);
  auto const scores = co_await asking;
  for (std::size_t i = 0, begin = 0; i < samples.size(); begin = ends[i++])
    samples[i].take_scores({scores.data() + begin, ends[i] - begin});
}

/// Draws the samples of some rows, which have their base samples, and measures them. first: their place among all rows of this rank.
Task<void> measure_samples(SelectionBatch const& batch, std::span<SampledRow> samples, std::size_t first, std::vector<OwnedRow>& rows) {
  auto const& axes = batch.axes;
  std::size_t const sums_of_row = 3 * axes.k.size() * (batch.group.d + 1);
  for (auto& sample : samples) sample.draw();
  batch.phases.stop(Phase::evaluate);
  auto fetching = fetch_scores(batch, samples);
  co_await fetching;
  for (std::size_t i = 0; i < samples.size(); ++i) rows[first + i].selected.push_back(samples[i].metrics());
  batch.phases.stop(Phase::evaluate);
  for (std::size_t law = 0; law < axes.sigma.size() && batch.setup.config->output_error; ++law) {
    std::vector<WantedOutput> wanted;
    for (auto const& sample : samples) {
      for (auto const& part : sample.parts(law)) wanted.push_back({part.key, sample.row(), part.sum});
    }
    std::vector<float> references;
    for (auto const& row : rows) references.insert(references.end(), 3 * axes.k.size(), row.score_max);
    auto asking = ask_outputs(batch, std::move(wanted), {axes.sigma[law]}, std::move(references), 3 * axes.k.size(), most_asked);
    auto const sums = co_await asking;
    for (std::size_t i = 0; i < samples.size(); ++i)
      samples[i].output_errors(law, {&sums[(first + i) * sums_of_row], sums_of_row}, rows[first + i].selected.back()[law]);
    batch.phases.stop(Phase::evaluate);
  }
}

}  // namespace

Task<void> sample_keys(SelectionBatch const& batch, VattentionSelector const& selector, DrawSelectors const& all,
                       std::vector<OwnedRow>& rows) {
  for (std::size_t first = 0;;) {
    std::vector<SampledRow> samples;
    auto const base = [&](OwnedRow const& row) { return selector.bound().base(row.visible) + std::ssize(row.head); };
    for (std::int64_t keys = 0; first + samples.size() < rows.size();) {
      auto const& row = rows[first + samples.size()];
      keys += base(row);
      if (!samples.empty() && keys > most_sampled) break;
      samples.emplace_back(row, selector, all.name_of(batch.first_row + row.row), batch.axes);
    }
    auto asking = any_left(batch, samples.size());
    if (!co_await asking) co_return;
    auto fetching = fetch_scores(batch, samples);
    co_await fetching;
    std::vector<std::int64_t> sizes;
    for (auto& sample : samples) sizes.push_back(sample.choose());
    batch.phases.stop(Phase::evaluate);
    for (std::size_t done = 0;;) {
      auto end = done;
      for (std::int64_t keys = 0; end < samples.size(); ++end) {
        keys += sizes[end];
        if (end > done && keys > most_sampled) break;
      }
      auto asking_more = any_left(batch, end - done);
      if (!co_await asking_more) break;
      std::span<SampledRow> const some(samples.data() + done, end - done);
      auto measuring = measure_samples(batch, some, first + done, rows);
      co_await measuring;
      for (auto& sample : some) sample.release();
      done = end;
    }
    first += samples.size();
  }
}

namespace {

/// The metrics of a law, the same at every k. from: CollisionSums of the row and the law; scale: ValueForm's. exact: all keys are kept,
/// none by chance.
RowMetrics collision_metrics(OwnedRow const& row, std::size_t law, std::size_t ks, std::int64_t kept, std::int64_t const* from,
                             CollisionSums const& sums, WideFixed const& fixed, double scale, bool exact) {
  auto metrics = without_errors(row.evaluation.laws[law]);
  double const tail = kept == row.visible ? 0.0 : std::max(0.0, metrics.of_keys - fixed.value(from) / metrics.z);
  double const error = exact ? 0.0 : std::fabs(fixed.value(from + 2) / metrics.z - metrics.of_keys);
  std::vector<double> estimate;
  for (int c = 0; sums.output && c < sums.d; ++c) estimate.push_back(fixed.value(from + 4 + 2 * c) / scale);
  if (sums.output) estimate.push_back(fixed.value(from + 2));
  for (std::size_t item = 0; item < ks; ++item) {
    add_kept(metrics, kept, tail, error);
    if (sums.output) add_output_error(row, law, estimate.data(), metrics.sink, exact, metrics);
  }
  return metrics;
}

}  // namespace

Task<void> keep_collisions(SelectionBatch const& batch, MagicpigSelector const& selector, std::vector<OwnedRow>& rows) {
  auto const& comm = batch.comm;
  std::vector<float> score_max;
  for (auto const& row : rows) score_max.push_back(row.score_max);
  auto gathering = all_gather(comm, std::move(score_max));
  score_max = co_await gathering;
  CollisionSums const sums{batch.axes.sigma, std::move(score_max), batch.setup.config->output_error, batch.group.d};
  batch.phases.stop(Phase::merge);
  co_await batch.turn;
  auto added = add_collisions(entry_rows_of(batch), selector, sums, batch.group.n, *batch.setup.tensors, batch.phases);
  int const all = int_size(batch.queries.position);
  std::vector<int> names(all);
  std::iota(names.begin(), names.end(), 0);
  auto summing = merge_profile(comm, std::move(added), row_owners(names, all, comm.size()), sums.width());
  auto const found = co_await summing;
  WideFixed const fixed(batch.group.n);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto const* from = &found[i * sums.width()];
    auto const kept = *from++;
    bool const exact = selector.forced().count(rows[i].seen()) == rows[i].visible;
    auto& laws = rows[i].selected.emplace_back();
    for (std::size_t law = 0; law < sums.sigmas.size(); ++law, from += 2 * sums.numbers_of_law())
      laws.push_back(
          collision_metrics(rows[i], law, batch.axes.k.size(), kept, from, sums, fixed, batch.setup.tensors->origin().form.scale, exact));
  }
  batch.phases.stop(Phase::evaluate);
}

}  // namespace asymptop
