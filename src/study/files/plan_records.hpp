// The plan of a study for programs: what schedulers' scripts ask for before anything is measured.
#pragma once

#include <map>
#include <string>

#include "plan/plan.hpp"

namespace asymptop {

/// State of each case's file by the case's id (case_state); empty where nobody looked.
using CaseStates = std::map<std::string, std::string>;

/// One JSON object. Keys of a group's cases are shared, so a group is measured by one run.
std::string plan_record(StudyPlan const& plan, RunConfig const& config, Machine const& machine, CaseStates const& states);

}  // namespace asymptop
