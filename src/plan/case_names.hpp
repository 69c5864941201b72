// The names by which cases are known in files and tables.
#pragma once

#include <string>

#include "config/run_config.hpp"
#include "plan/plan.hpp"

namespace asymptop {

/// `n1024-d64-sigma2`: what a case is of, in the words of the options, wherever it stands in a list.
std::string case_id(GroupPlan const& group, std::string const& of);

/// The oracle's cases are called as if there were no others.
std::string with_selector(std::string const& id, SelectorChoice const& selector);

/// `n1024-d64-layer5-head0-causal`: of a head of a tensor file.
std::string tensor_case_id(GroupPlan const& group, RunConfig const& config, SelectorChoice const& selector);

}  // namespace asymptop
