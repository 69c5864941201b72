#include "bench/file.hpp"

#include <cmath>
#include <numeric>

#include "bench/quantities.hpp"
#include "h5/h5.hpp"

namespace asymptop {
namespace {

/// A number of each phase that the ranks differ in: `before` is what comes before phase in the dataset's dimensions.
void write_phases(hid_t group, h5::Dimension const& before, std::vector<std::vector<OverRanks>> const& seconds,
                  std::vector<std::string> const& phases, std::string const& long_name) {
  std::vector<double> values;
  for (auto const& one : seconds) {
    for (auto const& phase : one) values.insert(values.end(), {phase.min, phase.mean, phase.max});
  }
  h5::write_scale(group, "phase", phases, "phase of the timed work");
  h5::write_scale(group, "over_ranks", std::vector<std::string>{"min", "mean", "max"}, "statistic over ranks");
  h5::write_dataset(group, "phase_seconds", {before, {"phase", phases.size()}, {"over_ranks", 3}}, values, "s", long_name);
}

void write_data(hid_t group, MeasuredCase const& c) {
  std::vector<std::int64_t> samples, rows(c.result.checked_rows.begin(), c.result.checked_rows.end());
  for (std::size_t i = 0; i < c.result.seconds.size(); ++i) samples.push_back(i);
  h5::write_scale(group, "sample", samples, "1", "timed repetition");
  h5::write_dataset(group, "seconds", {{"sample", samples.size()}}, c.result.seconds, "s", "wall time of the slowest rank");
  write_phases(group, {"sample", samples.size()}, c.result.phase_seconds, c.result.phases, "wall time of each phase");
  h5::write_dataset(group, "imbalance", {{"sample", samples.size()}}, c.result.imbalance, "1",
                    "max / mean - 1 over ranks of the time outside the merge");
  h5::write_scale(group, "checked_row", rows, "1", "query rows computed again in fp64");
  write_checks(group, c.result.residuals, "check_", "the checked rows");
  std::vector<std::string> types;
  std::vector<double> rates;
  for (auto const& [type, rate] : c.sgemm.tried) {
    types.push_back(type);
    rates.push_back(rate);
  }
  if (types.empty()) return;
  h5::write_scale(group, "core_type", types, "value of OPENBLAS_CORETYPE");
  h5::write_dataset(group, "core_type_gflops", {{"core_type", types.size()}}, rates, "GFLOP/s",
                    "rate of sgemm at the case's m and d with this OPENBLAS_CORETYPE, on all cores used");
}

/// The cases of one scaling study with their ranks as an axis.
void write_scaling(hid_t group, std::vector<MeasuredCase> const& cases, ScalingRun const& run) {
  auto const& one = cases[run.first];
  auto const count = run.end - run.first;
  h5::write_attribute(group, "id", one.scaling_id);
  h5::write_attribute(group, "scaling", std::string(name_of(one.scaling)));
  h5::write_attribute(group, "kernel", std::string(name_of(one.item.kernel)));
  h5::write_attribute(group, "path", one.item.path);
  h5::write_attribute(group, "keys", std::string(one.item.resident ? "resident" : "streamed"));
  h5::write_attribute(group, "k_law", one.item.k_law);
  auto const& most = cases[run.end - 1].item;
  h5::write_attribute(group, "merge", std::string(most.k > 0 ? name_of(most.merge) : ""));
  h5::write_attribute(group, "d", std::int64_t{one.item.d});
  h5::write_attribute(group, "m", std::int64_t{one.item.m});
  h5::write_attribute(group, "threads", std::int64_t{one.threads});
  h5::write_attribute(group, "interleaved", std::int64_t{one.in_rounds});
  h5::write_attribute(group, "reference", std::string("median seconds of one rank in this run"));
  h5::Dimension const ranks{"ranks", count};
  auto const integers = [&](auto const& value) {
    std::vector<std::int64_t> values;
    for (auto i = run.first; i < run.end; ++i) values.push_back(value(cases[i]));
    return values;
  };
  auto const numbers = [&](char const* name, char const* units, char const* long_name, auto const& value) {
    std::vector<double> values;
    for (auto i = run.first; i < run.end; ++i) values.push_back(value(cases[i]));
    h5::write_dataset(group, name, {ranks}, values, units, long_name);
  };
  h5::write_scale(group, "ranks", integers([](auto const& c) { return std::int64_t{c.item.ranks}; }), "1",
                  "ranks that took part: the first ones of the run");
  h5::write_dataset(group, "n", {ranks}, integers([](auto const& c) { return c.item.n; }), "1", "keys");
  h5::write_dataset(group, "k", {ranks}, integers([](auto const& c) { return c.item.k; }), "1", "keys kept of each row");
  numbers("median_seconds", "s", "median wall time of the slowest rank", [](auto const& c) { return c.result.statistics().median; });
  numbers("iqr_seconds", "s", "interquartile range of the wall time", [](auto const& c) { return c.result.statistics().iqr; });
  numbers("speed_up", "1", "work per time as a multiple of one rank's", [](auto const& c) { return c.speed_up(); });
  numbers("efficiency", "1", one.scaling == Scaling::strong ? "T1 / (p Tp)" : "T1 / Tp", [](auto const& c) { return c.efficiency(); });
  numbers("efficiency_iqr", "1", "interquartile range of the efficiency over rounds", [](auto const& c) { return c.efficiency_iqr(); });
  numbers("load_imbalance", "1", "max / mean - 1 over ranks of the time outside the merge, median",
          [](auto const& c) { return c.load_imbalance(); });
  numbers("fma_gflops", "GFLOP/s", "fp32 multiply-add peak of the cores used", [](auto const& c) { return c.fma_gflops; });
  numbers("read_bandwidth", "GB/s", "bandwidth of reading memory with the cores used", [](auto const& c) { return c.read_bandwidth; });
  std::vector<std::int64_t> samples(one.result.seconds.size());
  std::iota(samples.begin(), samples.end(), std::int64_t{0});
  std::vector<double> seconds;
  std::vector<std::vector<OverRanks>> phase_seconds;
  for (auto i = run.first; i < run.end; ++i) {
    seconds.insert(seconds.end(), cases[i].result.seconds.begin(), cases[i].result.seconds.end());
    phase_seconds.push_back(cases[i].phase_medians());
  }
  h5::write_scale(group, "sample", samples, "1", "timed repetition");
  h5::write_dataset(group, "seconds", {ranks, {"sample", samples.size()}}, seconds, "s", "wall time of the slowest rank");
  write_phases(group, ranks, phase_seconds, one.result.phases, "wall time of each phase, median over samples");
}

}  // namespace

double MeasuredCase::efficiency() const {
  if (scaling == Scaling::none) return std::nan("");
  if (in_rounds) return quantile(efficiency_of_rounds(), 0.5);
  double const ratio = quantile(one_rank_seconds, 0.5) / result.statistics().median;
  return scaling == Scaling::strong ? ratio / item.ranks : ratio;
}

std::vector<double> MeasuredCase::efficiency_of_rounds() const {
  std::vector<double> rounds;
  for (std::size_t i = 0; i < result.seconds.size(); ++i) {
    rounds.push_back(one_rank_seconds[i] / result.seconds[i] / (scaling == Scaling::strong ? item.ranks : 1));
  }
  return rounds;
}

double MeasuredCase::efficiency_iqr() const {
  if (scaling == Scaling::none || !in_rounds) return std::nan("");
  return sample_statistics(efficiency_of_rounds()).iqr;
}

std::vector<OverRanks> MeasuredCase::phase_medians() const {
  std::vector<OverRanks> medians;
  for (std::size_t phase = 0; phase < result.phases.size(); ++phase) {
    auto const median_of = [&](double OverRanks::*statistic) {
      std::vector<double> values;
      for (auto const& sample : result.phase_seconds) values.push_back(sample[phase].*statistic);
      return quantile(values, 0.5);
    };
    medians.push_back({median_of(&OverRanks::min), median_of(&OverRanks::mean), median_of(&OverRanks::max)});
  }
  return medians;
}

std::vector<ScalingRun> scaling_runs(std::vector<MeasuredCase> const& cases) {
  std::vector<ScalingRun> runs;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (cases[i].scaling == Scaling::none) continue;
    if (runs.empty() || runs.back().end != i || cases[runs.back().first].scaling_id != cases[i].scaling_id) runs.push_back({i, i});
    runs.back().end = i + 1;
  }
  return runs;
}

double MeasuredCase::nanoseconds_per_normal() const {
  if (item.kernel != BenchKernel::normals) return std::nan("");
  double const numbers = item.keys() * item.d;
  return 1e9 * result.statistics().median * item.ranks * threads / numbers;
}

double MeasuredCase::gigabytes_per_second() const {
  return item.bytes_read() > 0.0 ? item.bytes_read() / result.statistics().median / 1e9 : std::nan("");
}

void write_bench_file(std::string const& output, Provenance const& provenance, std::vector<MeasuredCase> const& cases) {
  auto const fill = [](hid_t group, MeasuredCase const& c) {
    write_attributes(group, bench_quantities(c), c);
    write_data(group, c);
  };
  auto const more = [&](hid_t file) {
    auto const runs = scaling_runs(cases);
    if (runs.empty()) return;
    auto const studies = h5::create_group(file, "scaling");
    for (auto const& run : runs) {
      auto const group = h5::create_group(studies, cases[run.first].scaling_id);
      write_scaling(group, cases, run);
    }
  };
  write_cases(output, provenance, cases, fill, more);
}

}  // namespace asymptop
