// The names of synthetic inputs: `gaussian`, `student:3`, `clusters:16:0.3`.
#pragma once

#include <string>
#include <vector>

#include "kernels/input/input_kind.hpp"

namespace asymptop {

/// As given with --inputs, numbers in their shortest form.
std::string name_of(InputKind const& kind);

/// Comma-separated inputs, each once. Throws UsageError.
std::vector<InputKind> parse_inputs(std::string const& list);

}  // namespace asymptop
