#include "row/packed_rows.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "kernels/core/fixed_point.hpp"
#include "kernels/select/selector.hpp"

namespace asymptop {

FieldAxes field_axes(GroupPlan const& group, RunConfig const& config, CasePlan const& of) {
  return {.k = group.k.size(),
          .epsilon = config.epsilon.size(),
          .thresholds = config.count_above.size(),
          .by_thresholds = group.by_thresholds(),
          .output_error = config.output_error,
          .by_selector = !of.selector.is_oracle(),
          .estimator = have_weights(of.selector.sets()),
          .ordered = have_order(of.selector.sets()),
          .tensors = group.head >= 0 && of.selector.is_oracle(),
          .sinks = std::isfinite(group.sink()),
          .softcap = group.form.softcap > 0.0,
          .of_file = group.head >= 0};
}

std::size_t numbers_per_row(FieldAxes const& axes, std::span<RowField const> fields) {
  std::size_t numbers = 0;
  for (auto const& field : fields) numbers += field.source == Source::logits && axes.has(field) ? axes.length(field.axis) : 0;
  return numbers;
}

void pack_row(FieldValues const& row, FieldAxes const& axes, std::vector<double>& packed) {
  row.each(axes, [&](RowField const& field, auto const& values) {
    if (field.source != Source::logits) return;
    // Else the numbers after it would be taken for others.
    if (values.size() != axes.length(field.axis))
      throw std::logic_error(std::string(field.name) + " has " + std::to_string(values.size()) + " values of a row instead of " +
                             std::to_string(axes.length(field.axis)) + ": no formula fills it here");
    for (auto const value : values) packed.push_back(static_cast<double>(value));
  });
}

std::vector<double> pack_rows(std::vector<OwnedRow> const& rows, std::size_t law, std::size_t selector, FieldAxes const& axes) {
  std::vector<double> packed;
  for (auto const& row : rows) pack_row(selector == 0 ? row.evaluation.laws[law] : row.selected[selector - 1][law], axes, packed);
  return packed;
}

std::vector<double> pack_rows(std::vector<RowMetrics> const& rows, FieldAxes const& axes) {
  std::vector<double> packed;
  for (auto const& metrics : rows) pack_row(metrics, axes, packed);
  return packed;
}

std::int64_t unpack_rows(std::vector<double> const& packed, std::size_t rows, FieldAxes const& axes, std::int64_t n, FieldValues& data) {
  std::int64_t bad = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    data.each(axes, [&](RowField const& field, auto& values) {
      if (field.source != Source::logits) return;
      for (std::size_t j = 0; j < axes.length(field.axis); ++j) {
        double const value = packed[at++];
        bad += std::isfinite(value) ? 0 : 1;
        if constexpr (std::is_same_v<decltype(values), std::vector<double>&>) {
          values.push_back(value);
        } else {
          values.push_back(std::min(to_integer(value), n));
        }
      }
    });
  }
  return bad;
}

std::vector<std::string> fields_not_finite(FieldValues const& data, FieldAxes const& axes) {
  std::vector<std::string> names;
  data.each(axes, [&](RowField const& field, auto const& values) {
    auto const finite = [](auto value) { return std::isfinite(static_cast<double>(value)); };
    if (field.source == Source::logits && !std::ranges::all_of(values, finite)) names.emplace_back(field.name);
  });
  return names;
}

}  // namespace asymptop
