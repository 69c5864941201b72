// A benchmark case as a tidy record for machines, and as a row of the table for people.
#pragma once

#include <string>

#include "bench/file.hpp"

namespace asymptop {

/// One JSON object.
std::string bench_record(MeasuredCase const& item);

/// Line of the yardstick that cases of one m and d are held against.
std::string sgemm_line(int m, int d, SgemmRates const& rates);

std::string bench_table_heading(Scaling scaling);
/// A row; with scaling, a second one with its phases; another with the reason when the case is INVALID.
std::string bench_table_row(MeasuredCase const& item);

}  // namespace asymptop
