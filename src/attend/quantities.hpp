// What results say of a case of full attention, beside its draws.
#pragma once

#include <vector>

#include "attend/file.hpp"
#include "results/quantities.hpp"

namespace asymptop {

std::vector<Quantity<MeasuredAttention>> attend_quantities(MeasuredAttention const& measured);

}  // namespace asymptop
