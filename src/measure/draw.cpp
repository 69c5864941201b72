#include "measure/draw.hpp"

#include <algorithm>
#include <memory>

#include "measure/batch_run.hpp"

namespace asymptop {
namespace {

using Space = StudySpace;

/// The numbers of a finished row under one law as doubles, so that one gather brings them all to rank 0. Counts stay exact: they
/// are below 2^53.
template <class Metrics, class Scalar, class PerAxis, class Counts>
void visit_fields(Metrics& metrics, Scalar const& scalar, PerAxis const& per_axis, Counts const& counts) {
  scalar(metrics.logit_mean, &CaseData::logit_mean);
  scalar(metrics.logit_std, &CaseData::logit_std);
  scalar(metrics.logit_max, &CaseData::logit_max);
  scalar(metrics.log_sum_exp, &CaseData::log_sum_exp);
  scalar(metrics.entropy_nats, &CaseData::entropy_nats);
  scalar(metrics.sum_p_squared, &CaseData::sum_p_squared);
  scalar(metrics.p_max, &CaseData::p_max);
  scalar(metrics.participation_ratio, &CaseData::participation_ratio);
  per_axis(metrics.tail_mass, &CaseData::tail_mass);
  per_axis(metrics.row_l2_error, &CaseData::row_l2_error);
  per_axis(metrics.row_linf_error, &CaseData::row_linf_error);
  per_axis(metrics.output_error, &CaseData::output_error);
  per_axis(metrics.output_error_relative, &CaseData::output_error_relative);
  counts(metrics.k_epsilon, &CaseData::k_epsilon);
  counts(metrics.count_p_above, &CaseData::count_p_above);
  counts(metrics.k_counted, &CaseData::k_counted);
  per_axis(metrics.k_counted_bound, &CaseData::k_counted_bound);
}

std::vector<double> pack_rows(std::vector<OwnedRow> const& rows, std::size_t law) {
  std::vector<double> packed;
  for (auto const& row : rows) {
    auto const& metrics = row.evaluation.laws[law];
    visit_fields(
        metrics, [&](double value, auto) { packed.push_back(value); },
        [&](std::vector<double> const& values, auto) { packed.insert(packed.end(), values.begin(), values.end()); },
        [&](std::vector<std::int64_t> const& values, auto) {
          for (auto const value : values) packed.push_back(static_cast<double>(value));
        });
  }
  return packed;
}

/// Appends gathered rows to the case. Returns how many of the values are not finite.
std::int64_t unpack_rows(std::vector<double> const& packed, std::size_t rows, GroupPlan const& group, RunConfig const& config,
                         CaseData& data) {
  RowMetrics shape;
  shape.tail_mass.resize(group.k.size());
  shape.row_l2_error = shape.row_linf_error = shape.k_counted_bound = shape.tail_mass;
  shape.k_counted.resize(group.k.size());
  if (config.output_error) shape.output_error = shape.output_error_relative = shape.tail_mass;
  shape.k_epsilon.resize(config.epsilon.size());
  shape.count_p_above.resize(config.count_above.size());
  std::int64_t bad = 0;
  std::size_t at = 0;
  auto const next = [&]() {
    double const value = packed[at++];
    bad += std::isfinite(value) ? 0 : 1;
    return value;
  };
  for (std::size_t i = 0; i < rows; ++i) {
    visit_fields(
        shape, [&](double, auto member) { (data.*member).push_back(next()); },
        [&](std::vector<double> const& values, auto member) {
          for (std::size_t j = 0; j < values.size(); ++j) (data.*member).push_back(next());
        },
        [&](std::vector<std::int64_t> const& values, auto member) {
          for (std::size_t j = 0; j < values.size(); ++j) (data.*member).push_back(static_cast<std::int64_t>(next()));
        });
  }
  return bad;
}

/// Queries are made on rank 0 and broadcast.
QueryRows broadcast_queries(Communicator const& comm, DrawIdentity const& identity, StudySetup const& setup) {
  QueryRows all;
  if (comm.is_root()) all = make_queries(identity, setup.file, setup.scan);
  auto const rows = static_cast<std::size_t>(identity.config->rows);
  all.q.resize(rows * static_cast<std::size_t>(identity.group->d));
  all.position.resize(rows);
  all.visible.resize(rows);
  comm.broadcast(all.q);
  comm.broadcast(all.position);
  comm.broadcast(all.visible);
  for (auto* values : {&all.sigma_unit, &all.low, &all.high}) {
    values->resize(rows);
    comm.broadcast(*values);
  }
  return all;
}

}  // namespace

ShardTensors<StudySpace> make_shard(Communicator const& comm, GroupPlan const& group, RunConfig const& config) {
  auto const shard = key_shard(group.n, config.block, comm.rank(), comm.size());
  int const tile = group.fused ? std::max(fused_step, tile_sizes(config.block).pass) : tile_sizes(config.block).pass;
  return {Space(), shard, static_cast<int>(group.d), tile, group.resident, group.fused};
}

DrawResult run_draw(StudySetup const& setup, GroupPlan const& group, std::int64_t draw) {
  auto const& comm = *setup.comm;
  auto const begin = PhaseTimes::Clock::now();
  DrawIdentity const identity{setup.config, &group, draw};
  PhaseTimes phases;
  auto const queries = broadcast_queries(comm, identity, setup);
  auto const shard = key_shard(group.n, setup.config->block, comm.rank(), comm.size());
  auto& tensors = *setup.tensors;
  phases.start();
  tensors.load(tensor_origin(identity, setup.file));
  phases.stop(Phase::generate);
  phases.add(Phase::first_pass, phases.seconds()[static_cast<std::size_t>(Phase::generate)]);

  DrawResult result;
  result.cases.resize(group.cases.size());
  result.checks.resize(group.cases.size());
  auto const batch_rows = static_cast<std::size_t>(group.rows_per_batch);
  for (std::size_t first = 0; first < queries.rows(); first += batch_rows) {
    auto const end = std::min(queries.rows(), first + batch_rows);
    auto part = slice(queries, static_cast<int>(group.d), first, end);
    auto const units = part.sigma_unit;
    auto const positions = part.position, visible = part.visible;
    BatchRun batch(setup, group, draw, shard, std::move(part), static_cast<std::int64_t>(first), tensors, phases);
    auto const rows = batch.run(result.checks);
    for (std::size_t law = 0; law < group.cases.size(); ++law) {
      auto const packed = comm.gather(pack_rows(rows, law));
      if (!comm.is_root()) continue;
      auto& data = result.cases[law];
      auto const bad = unpack_rows(packed, end - first, group, *setup.config, data);
      result.checks[law].note(Check::finite, static_cast<double>(bad));
      data.row_n.insert(data.row_n.end(), visible.begin(), visible.end());
      data.row_position.insert(data.row_position.end(), positions.begin(), positions.end());
      for (std::size_t i = 0; i < end - first; ++i) {
        bool const known = setup.file == nullptr;
        data.sigma_i.push_back(known ? group.cases[law].sigma * static_cast<double>(units[i]) : data.logit_std[first + i]);
      }
    }
  }
  for (auto& check : result.checks) {
    std::vector<double> worst(check.worst.begin(), check.worst.end());
    comm.max(worst);
    std::copy(worst.begin(), worst.end(), check.worst.begin());
  }
  phases.add(Phase::total, std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count());
  std::vector<double> seconds(phases.seconds().begin(), phases.seconds().end());
  comm.max(seconds);
  std::copy(seconds.begin(), seconds.end(), result.phase_seconds.begin());
  return result;
}

double sgemm_rate(Communicator const& comm, GroupPlan const& group, RunConfig const& config) {
  Space const space;
  auto const tiles = tile_sizes(config.block);
  auto const d = static_cast<std::size_t>(group.d), rows = static_cast<std::size_t>(group.rows_per_batch);
  Matrix<Space, float> queries("Asymptop::measure::queries", rows, d),
      keys("Asymptop::measure::keys", static_cast<std::size_t>(tiles.pass), d),
      scores("Asymptop::measure::scores", rows, static_cast<std::size_t>(tiles.pass));
  Kokkos::deep_copy(queries, 1.0f);
  Kokkos::deep_copy(keys, 1.0f);
  double const flops = 2.0 * static_cast<double>(rows * d) * tiles.pass;
  auto const timed = [&](int calls) {
    comm.barrier();
    auto const begin = PhaseTimes::Clock::now();
    for (int i = 0; i < calls; ++i) score_tiles(space, queries, keys, scores, tiles.pass, tiles.blas);
    space.fence();
    return comm.max(std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count());
  };
  // About 10 ms a sample, agreed over ranks; the first calls warm up.
  constexpr double sample_seconds = 0.01;
  int const calls = std::clamp(static_cast<int>(sample_seconds / std::max(timed(2) / 2.0, 1e-7)), 1, 1000);
  std::vector<double> samples;
  for (int sample = 0; sample < 5; ++sample) samples.push_back(flops * calls * comm.size() / timed(calls) / 1e9);
  std::nth_element(samples.begin(), samples.begin() + 2, samples.end());
  return samples[2];
}

}  // namespace asymptop
