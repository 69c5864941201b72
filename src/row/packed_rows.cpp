#include "row/packed_rows.hpp"

#include <algorithm>
#include <cmath>

namespace asymptop {
namespace {

/// Calls one of three functions for every number of a row, with the member of the case that it belongs to.
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

void pack_row(RowMetrics const& metrics, std::vector<double>& packed) {
  visit_fields(
      metrics, [&](double value, auto) { packed.push_back(value); },
      [&](std::vector<double> const& values, auto) { packed.insert(packed.end(), values.begin(), values.end()); },
      [&](std::vector<std::int64_t> const& values, auto) {
        for (auto const value : values) packed.push_back(static_cast<double>(value));
      });
}

/// A row of the group, all zeros.
RowMetrics empty_row(GroupPlan const& group, RunConfig const& config) {
  RowMetrics shape;
  shape.tail_mass.resize(group.k.size());
  shape.row_l2_error = shape.row_linf_error = shape.k_counted_bound = shape.tail_mass;
  shape.k_counted.resize(group.k.size());
  if (config.output_error) shape.output_error = shape.output_error_relative = shape.tail_mass;
  shape.k_epsilon.resize(config.epsilon.size());
  shape.count_p_above.resize(config.count_above.size());
  return shape;
}

}  // namespace

std::size_t numbers_per_row(GroupPlan const& group, RunConfig const& config) { return pack_rows({empty_row(group, config)}).size(); }

std::vector<double> pack_rows(std::vector<OwnedRow> const& rows, std::size_t law) {
  std::vector<double> packed;
  for (auto const& row : rows) pack_row(row.evaluation.laws[law], packed);
  return packed;
}

std::vector<double> pack_rows(std::vector<RowMetrics> const& rows) {
  std::vector<double> packed;
  for (auto const& metrics : rows) pack_row(metrics, packed);
  return packed;
}

std::int64_t unpack_rows(std::vector<double> const& packed, std::size_t rows, GroupPlan const& group, RunConfig const& config,
                         CaseData& data) {
  auto const shape = empty_row(group, config);
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
          for (std::size_t j = 0; j < values.size(); ++j) (data.*member).push_back(std::min(static_cast<std::int64_t>(next()), group.n));
        });
  }
  return bad;
}

}  // namespace asymptop
