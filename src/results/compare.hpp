// Whether two results files hold the same cases and the same data.
#pragma once

#include <string>

namespace asymptop {

/// The first difference in words; empty when equal. Dates, hosts, timings and how a case was computed are not looked at.
/// Values are equal when their bytes are.
std::string first_difference(std::string const& path_a, std::string const& path_b);

}  // namespace asymptop
