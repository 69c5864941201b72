// Finished rows as plain numbers, so that one gather brings them to rank 0.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.hpp"
#include "row/case_data.hpp"
#include "row/row_owner.hpp"

namespace asymptop {

/// What the rows of a case have.
FieldAxes field_axes(GroupPlan const& group, RunConfig const& config, CasePlan const& of);

/// Adds the numbers of a row that come from its logits as doubles. Counts below 2^53 stay exact; larger ones, which only simulated rows
/// have, are rounded.
void pack_row(FieldValues const& row, FieldAxes const& axes, std::vector<double>& packed);

/// Of finished rows under one law; selector: as CaseAxes's.
std::vector<double> pack_rows(std::vector<OwnedRow> const& rows, std::size_t law, std::size_t selector, FieldAxes const& axes);
std::vector<double> pack_rows(std::vector<RowMetrics> const& rows, FieldAxes const& axes);

/// How many of them a row has.
std::size_t numbers_per_row(FieldAxes const& axes, std::span<RowField const> fields = row_fields);

/// Appends gathered rows to the case; counts are at most n. Returns how many of the values are not finite.
std::int64_t unpack_rows(std::vector<double> const& packed, std::size_t rows, FieldAxes const& axes, std::int64_t n, FieldValues& data);

/// Names of the fields whose values those are, in the table's order.
std::vector<std::string> fields_not_finite(FieldValues const& data, FieldAxes const& axes);

}  // namespace asymptop
