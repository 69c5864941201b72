#include "results/bench_file.hpp"

#include <cmath>

#include "h5/h5.hpp"
#include "results/whole_file.hpp"

namespace asymptop {
namespace {

void write_attributes(hid_t group, MeasuredCase const& c) {
  auto const text = [&](char const* name, std::string const& value) { h5::write_attribute(group, name, value); };
  auto const integer = [&](char const* name, std::int64_t value) { h5::write_attribute(group, name, value); };
  auto const number = [&](char const* name, double value) { h5::write_attribute(group, name, value); };
  text("id", c.item.id);
  text("kernel", name_of(c.item.kernel));
  text("path", c.item.path);
  integer("n", c.item.n);
  integer("d", c.item.d);
  integer("m", c.item.m);
  integer("k", c.item.k);
  text("k_law", c.item.k_law);
  integer("k_clipped", c.item.k_clipped ? 1 : 0);
  text("keys", c.item.resident ? "resident" : "streamed");
  text("merge", c.item.k > 0 ? name_of(c.item.merge) : "");
  number("merge_seconds", c.result.merge.seconds);
  number("merge_exposed_seconds", c.result.merge.exposed_seconds);
  integer("merge_bytes", c.result.merge.bytes);
  integer("merge_bytes_per_rank", c.result.merge.bytes_per_rank);
  integer("merge_messages", c.result.merge.messages);
  integer("merge_rounds", c.result.merge.rounds);
  integer("ranks", c.ranks);
  integer("threads", c.threads);
  auto const statistics = c.result.statistics();
  number("median_seconds", statistics.median);
  number("iqr_seconds", statistics.iqr);
  number("gflop", c.item.flops() / 1e9);
  number("gflops", c.gflops());
  number("gigabytes_per_second", c.gigabytes_per_second());
  number("sgemm_gflops", c.sgemm.best);
  text("sgemm_kernel", c.sgemm.best_kernel);
  number("sgemm_default_gflops", c.sgemm.standard);
  text("sgemm_default_kernel", c.sgemm.standard_kernel);
  number("share_of_sgemm", c.share_of_sgemm());
  number("peak_bytes", c.result.peak_bytes);
  number("peak_bytes_per_rank", c.result.peak_bytes_per_rank);
  text("verdict", c.result.verdict());
  text("verdict_reason", c.result.reason());
}

void write_data(hid_t group, MeasuredCase const& c) {
  std::vector<std::int64_t> samples, rows(c.result.checked_rows.begin(), c.result.checked_rows.end());
  for (std::size_t i = 0; i < c.result.seconds.size(); ++i) samples.push_back(static_cast<std::int64_t>(i));
  h5::write_scale(group, "sample", samples, "1", "timed repetition");
  h5::write_dataset(group, "seconds", {{"sample", samples.size()}}, c.result.seconds, "s", "wall time of the slowest rank");
  std::vector<std::string> checks, types;
  std::vector<double> worst, tolerance, rates;
  for (auto const& residual : c.result.residuals) {
    checks.push_back(residual.name);
    worst.push_back(residual.worst);
    tolerance.push_back(residual.tolerance);
  }
  h5::write_scale(group, "checked_row", rows, "1", "query rows computed again in fp64");
  h5::write_scale(group, "check", checks, "self-check");
  h5::write_dataset(group, "check_residual", {{"check", checks.size()}}, worst, "1", "worst residual over the checked rows");
  h5::write_dataset(group, "check_tolerance", {{"check", checks.size()}}, tolerance, "1", "largest residual of a valid case");
  for (auto const& [type, rate] : c.sgemm.tried) {
    types.push_back(type);
    rates.push_back(rate);
  }
  if (types.empty()) return;
  h5::write_scale(group, "core_type", types, "value of OPENBLAS_CORETYPE");
  h5::write_dataset(group, "core_type_gflops", {{"core_type", types.size()}}, rates, "GFLOP/s",
                    "rate of sgemm at the case's m and d with this OPENBLAS_CORETYPE, on all cores used");
}

}  // namespace

double MeasuredCase::gigabytes_per_second() const {
  return item.bytes_read() > 0.0 ? item.bytes_read() / result.statistics().median / 1e9 : std::nan("");
}

void write_bench_file(std::string const& output, Provenance const& provenance, std::vector<MeasuredCase> const& cases) {
  write_whole(output, [&](hid_t file) {
    write_provenance(file, provenance);
    auto const groups = h5::create_group(file, "cases");
    for (auto const& item : cases) {
      auto const group = h5::create_group(groups, item.item.id);
      write_attributes(group, item);
      write_data(group, item);
    }
  });
}

void check_bench_output(std::string const& output, bool force) { check_new_file("--output", output, force); }

}  // namespace asymptop
