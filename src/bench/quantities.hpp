// What results say of a timed case.
#pragma once

#include <vector>

#include "bench/file.hpp"
#include "results/quantities.hpp"

namespace asymptop {

/// Those of the case's kind, in the order of records.
std::vector<Quantity<MeasuredCase>> bench_quantities(MeasuredCase const& c);

}  // namespace asymptop
