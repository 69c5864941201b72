// The plan of a study for programs: what schedulers' scripts ask for before anything is measured.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "plan/plan.hpp"

namespace asymptop {

/// State of each case's file by the case's id (case_state); empty where nobody looked.
using CaseStates = std::map<std::string, std::string>;

/// Adds a study's own to the record of its plan. Keys of a group's cases are shared, so a group is measured by one run.
void add_plan(nlohmann::ordered_json& json, StudyPlan const& plan, RunConfig const& config, CaseStates const& states);

}  // namespace asymptop
