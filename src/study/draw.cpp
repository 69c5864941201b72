#include "study/draw.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "draw/near_weights.hpp"
#include "row/packed_rows.hpp"
#include "row/segment_sums.hpp"
#include "study/batch_pipeline.hpp"
#include "study/selection.hpp"

namespace asymptop {
namespace {

using Space = RunSpace;

/// What rows keep by chance under a softcap, and what of their output errors may be rounding: the largest share at any k, over the draw's
/// rows together, since one of them may have an error of nearly nothing; of relative errors too, as one row with outputs far larger than
/// the others' has nearly all of a sum of errors. rows: of the draw, the last ones of the case.
void note_shares(CaseData const& data, std::size_t rows, std::size_t ks, CheckResiduals& checks) {
  auto const from = [&](std::vector<double> const& values) { return values.empty() ? nullptr : values.data() + values.size() - rows * ks; };
  double const *roundings = from(data.real("output_error_rounding")), *errors = from(data.real("output_error")),
               *relatives = from(data.real("output_error_relative")), *ties = from(data.real("softcap_ties"));
  auto const note = [&](double rounding, double error) {
    checks.note(Check::output_rounding, rounding < error ? rounding / error : rounding > 0.0 ? 1.0 : 0.0);
  };
  for (std::size_t k = 0; k < ks; ++k) {
    double rounding = 0.0, error = 0.0, relative_rounding = 0.0, relative = 0.0, tied = 0.0;
    for (auto at = k; at < rows * ks; at += ks) {
      if (ties != nullptr) tied += ties[at];
      if (roundings == nullptr) continue;
      rounding += roundings[at];
      error += errors[at];
      relative += relatives[at];
      // A row of no error at all sees equal values alone, most often: its relative error is none.
      if (errors[at] > 0.0) relative_rounding += roundings[at] * (relatives[at] / errors[at]);
    }
    note(rounding, error);
    note(relative_rounding, relative);
    checks.note(Check::softcap_ties, tied / exact_double(rows));
  }
}

/// Adds a batch's rows to the case of one law, on rank 0.
void append(FinishedBatch const& batch, std::size_t law, StudySetup const& setup, DrawIdentity const& identity, DrawResult& result) {
  auto const& group = *identity.group;
  auto& data = result.cases[law];
  auto const& queries = batch.queries;
  auto const axes = field_axes(group, *setup.config, group.cases[law]);
  auto const bad = unpack_rows(batch.packed[law], queries.rows(), axes, group.n, data);
  result.checks[law].count(Check::finite, bad);
  for (std::size_t i = 0; i < queries.rows(); ++i) {
    bool const known = setup.scan == nullptr;
    auto const row = data.real("sigma_i").size();
    data.real("sigma_i").push_back(known ? group.cases[law].sigma * queries.sigma_unit[i] : data.real("logit_std")[row]);
  }
  auto& largest = result.checks[law].largest_logit;
  for (std::size_t i = 0; i < queries.rows(); ++i) {
    auto const row = data.real("logit_max").size() - queries.rows() + i;
    largest = std::max({largest, std::fabs(data.real("logit_max")[row]), std::fabs(data.real("logit_mean")[row])});
    if (queries.raised.empty()) continue;
    for (auto* values : {&data.real("logit_mean"), &data.real("logit_max"), &data.real("log_sum_exp")}) (*values)[row] += queries.raised[i];
  }
  if (setup.scan != nullptr && group.cases[law].selector.is_oracle()) {
    auto const& all = data.real("log_sum_exp");
    auto const near = near_weights(identity, *setup.layer(group, identity.draw), queries, setup.tensors->origin().offset,
                                   {all.end() - std::ssize(queries.position), all.end()});
    auto &first = data.real("first_keys_mass"), &recent = data.real("recent_keys_mass");
    // Logits in fp64 over a sum of fp32 ones: what is all of the weight is not more than that.
    for (std::size_t i = 0; i < queries.rows(); ++i) {
      auto const row = first.size();
      // (1 - sink_mass)^2, of which this product keeps the digits where little is left of it, while squares are numbers of fp64.
      double const square = data.real("participation_ratio")[row] * data.real("sum_p_squared")[row];
      double const whole = axes.sinks && square > small_square ? std::sqrt(square) : 1.0;
      first.push_back(std::min(near.first[i], whole));
      recent.push_back(std::min(near.recent[i], whole));
    }
  }
  auto &seen = data.count("row_n"), &positions = data.count("row_position");
  seen.insert(seen.end(), queries.visible.begin(), queries.visible.end());
  positions.insert(positions.end(), queries.position.begin(), queries.position.end());
}

}  // namespace

ShardTensors<RunSpace> make_shard(Communicator const& comm, GroupPlan const& group, RunConfig const& config) {
  auto const shard = key_shard(group.n, config.block, comm.rank(), comm.size());
  return {Space(), shard, group.d, largest_step(*group.path, config.block), group.resident, group.path->keys};
}

DrawResult run_draw(StudySetup const& setup, GroupPlan const& group, std::int64_t draw, PartialDraw earlier) {
  auto const& comm = *setup.comm;
  DrawProgress progress(comm, group.batches_per_break > 0 ? setup.breaks : nullptr, draw, group.cases.size(), std::move(earlier));
  DrawIdentity const identity{setup.config, &group, draw};
  auto& phases = progress.phases();
  QueryRows queries;
  auto const* layer = setup.layer(group, draw);
  auto const* scan = layer == nullptr ? nullptr : &setup.scans->at(identity.context().text);
  if (comm.is_root()) queries = make_queries(identity, layer, scan);
  auto& tensors = *setup.tensors;
  phases.start();
  auto origin = tensor_origin(identity, layer, scan);
  plant_needles(comm, identity, queries, origin);
  tensors.load(origin);
  bool const unbounded = origin.input.is(Distribution::student);
  bound_scores(comm, origin, unbounded ? tensors.largest_key_norm() : 0.0, queries);
  auto bound = group;
  DrawSelectors const selectors(setup, group, draw);
  auto with_selectors = setup;
  with_selectors.selectors = &selectors;
  with_selectors.scan = scan;
  bound.bins_per_unit = comm.max(comm.is_root() ? bins_of_draw(queries, group.bins_per_unit) : 0.0);
  phases.stop(Phase::generate);
  phases.add(Phase::first_pass, phases.seconds(Phase::generate));

  DrawResult result;
  result.cases.resize(group.cases.size());
  auto const batches = BatchPipeline(with_selectors, bound, draw, std::move(queries), progress).run();
  if (progress.stopped()) {
    result.stopped = true;
    return result;
  }
  result.checks = progress.checks();
  if (comm.is_root()) {
    for (std::size_t law = 0; law < group.cases.size(); ++law) {
      for (auto const& batch : batches) append(batch, law, with_selectors, identity, result);
      note_shares(result.cases[law], group.counts.rows, group.k.size(), result.checks[law]);
    }
  }
  for (std::size_t law = 0; law < group.cases.size(); ++law) {
    auto const largest = result.checks[law].largest_logit;  // rank 0 has the rows
    result.checks[law] = worst_over_ranks(comm, result.checks[law]);
    result.checks[law].bin_width = group.cases[law].sigma / bound.bins_per_unit;
    result.checks[law].largest_logit = largest;
  }
  result.phase_seconds = {progress.seconds()};
  return result;
}

double sgemm_rate(Communicator const& comm, GroupPlan const& group, RunConfig const& config) {
  Space const space;
  auto const tiles = tile_sizes(space, config.block);
  std::size_t const d = group.d, rows = group.rows_per_batch;
  Matrix<Space, float> queries("Asymptop::measure::queries", rows, d), keys("Asymptop::measure::keys", tiles.pass, d),
      scores("Asymptop::measure::scores", rows, tiles.pass);
  Kokkos::deep_copy(queries, 1.0f);
  Kokkos::deep_copy(keys, 1.0f);
  double const flops = 2.0 * exact_double(rows * d) * tiles.pass;
  auto const timed = [&](int calls) {
    comm.barrier();
    auto const begin = PhaseTimes::Clock::now();
    for (int i = 0; i < calls; ++i) score_tiles(space, queries, keys, scores, tiles.pass, tiles.blas);
    space.fence();
    return comm.max(std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count());
  };
  // About 10 ms a sample, agreed over ranks; the first calls warm up.
  constexpr double sample_seconds = 0.01;
  int const calls = std::clamp(checked_int(sample_seconds / std::max(timed(2) / 2.0, 1e-7)), 1, 1000);
  std::vector<double> samples;
  for (int sample = 0; sample < 5; ++sample) samples.push_back(flops * calls * comm.size() / timed(calls) / 1e9);
  std::nth_element(samples.begin(), samples.begin() + 2, samples.end());
  return samples[2];
}

}  // namespace asymptop
