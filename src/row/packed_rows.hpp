// Finished rows as plain numbers, so that one gather brings them to rank 0.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.hpp"
#include "row/case_data.hpp"
#include "row/row_owner.hpp"

namespace asymptop {

/// The numbers of finished rows under one law as doubles. Counts below 2^53 stay exact; larger ones, which only simulated rows have, are
/// rounded.
std::vector<double> pack_rows(std::vector<OwnedRow> const& rows, std::size_t law);
std::vector<double> pack_rows(std::vector<RowMetrics> const& rows);

/// How many of them a row of the group has.
std::size_t numbers_per_row(GroupPlan const& group, RunConfig const& config);

/// Appends gathered rows to the case. Returns how many of the values are not finite.
std::int64_t unpack_rows(std::vector<double> const& packed, std::size_t rows, GroupPlan const& group, RunConfig const& config,
                         CaseData& data);

}  // namespace asymptop
