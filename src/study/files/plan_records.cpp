#include "study/files/plan_records.hpp"

#include <nlohmann/json.hpp>

#include "study/files/case_file.hpp"

namespace asymptop {
namespace {

/// How the group's keys are passed over.
void add_passes(nlohmann::ordered_json& json, GroupPlan const& group, RunConfig const& config) {
  json["gflop"] = group.flops / 1e9;
  json["keys"] = group.resident ? "resident" : "streamed";
  json["merge"] = name_of(group.merge);
  json["rows_per_batch"] = group.rows_per_batch;
  json["batches_in_flight"] = group.batches_in_flight;
  json["batches_per_break"] = group.batches_per_break;
  json["parts_per_pass"] = group.parts_per_pass;
  json["k_held"] = group.held;
  json["k_held_follows_memory"] = group.by_thresholds() && (config.hold == 0 || group.held < config.hold);
}

nlohmann::ordered_json group_record(GroupPlan const& group, RunConfig const& config, CaseStates const& states) {
  nlohmann::ordered_json json;
  json["n"] = group.n;
  json["d"] = group.key_d();
  if (group.layer >= 0) json["layer"] = group.layer;
  if (group.head >= 0) json["head"] = group.head;
  if (config.input.empty()) json["input"] = group.simulated ? "simulated" : name_of(group.input);
  json["seconds"] = group.seconds;
  json["bytes_per_rank"] = group.bytes_per_rank;
  if (group.device_bytes > 0.0) json["gpu_bytes_per_rank"] = group.device_bytes;
  json["fits"] = group.misfit.empty();
  if (!group.misfit.empty()) json["reason"] = group.misfit;
  if (!group.simulated) add_passes(json, group, config);
  json["k_of_law"] = group.k_of_law;
  json["rows"] = group.counts.rows;
  json["draws"] = group.counts.draws;
  json["cases"] = nlohmann::ordered_json::array();
  for (auto const& item : group.cases) {
    nlohmann::ordered_json record;
    record["id"] = item.id;
    record["sigma_law"] = item.sigma_law;
    if (group.head < 0) record["sigma"] = item.sigma;  // of tensors it is measured with the rest
    record["selector"] = item.selector.text;
    record["file"] = case_path(config.output, item.id);
    auto const state = states.find(item.id);
    if (state != states.end()) record["state"] = state->second;
    json["cases"].push_back(std::move(record));
  }
  return json;
}

}  // namespace

void add_plan(nlohmann::ordered_json& json, StudyPlan const& plan, RunConfig const& config, CaseStates const& states) {
  json["draws"] = config.draws;
  json["rows"] = config.rows;
  json["lowered"] = plan.lowered;
  json["seconds"] = plan.seconds();
  json["groups"] = nlohmann::ordered_json::array();
  for (auto const& group : plan.groups) json["groups"].push_back(group_record(group, config, states));
}

}  // namespace asymptop
