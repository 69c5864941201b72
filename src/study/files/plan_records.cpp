#include "study/files/plan_records.hpp"

#include <nlohmann/json.hpp>

#include "results/json_text.hpp"
#include "study/files/case_file.hpp"

namespace asymptop {
namespace {

nlohmann::ordered_json group_record(GroupPlan const& group, RunConfig const& config, CaseStates const& states) {
  nlohmann::ordered_json json;
  json["n"] = group.n;
  json["d"] = group.key_d();
  if (group.layer >= 0) json["layer"] = group.layer;
  if (group.head >= 0) json["head"] = group.head;
  if (config.input.empty()) json["input"] = name_of(group.input);
  json["seconds"] = group.seconds;
  json["bytes_per_rank"] = group.bytes_per_rank;
  if (group.device_bytes > 0.0) json["gpu_bytes_per_rank"] = group.device_bytes;
  json["fits"] = group.fits;
  json["gflop"] = group.flops / 1e9;
  json["keys"] = group.resident ? "resident" : "streamed";
  json["merge"] = name_of(group.merge);
  json["rows_per_batch"] = group.rows_per_batch;
  json["batches_in_flight"] = group.batches_in_flight;
  json["batches_per_break"] = group.batches_per_break;
  json["parts_per_pass"] = group.parts_per_pass;
  json["k_of_law"] = group.k_of_law;
  json["k_held"] = group.held;
  json["k_held_follows_memory"] = group.by_thresholds() && (config.hold == 0 || group.held < config.hold);
  json["rows"] = group.counts.rows;
  json["draws"] = group.counts.draws;
  json["cases"] = nlohmann::ordered_json::array();
  for (auto const& item : group.cases) {
    nlohmann::ordered_json record;
    record["id"] = item.id;
    record["sigma_law"] = item.sigma_law;
    record["sigma"] = item.sigma;
    record["selector"] = item.selector.text;
    record["file"] = case_path(config.output, item.id);
    auto const state = states.find(item.id);
    if (state != states.end()) record["state"] = state->second;
    json["cases"].push_back(std::move(record));
  }
  return json;
}

}  // namespace

std::string plan_record(StudyPlan const& plan, RunConfig const& config, Machine const& machine, CaseStates const& states) {
  nlohmann::ordered_json json;
  json["kind"] = "plan";
  json["ranks"] = machine.ranks;
  json["ranks_per_node"] = machine.ranks_on_node;
  json["threads"] = machine.threads;
  json["memory_bytes_per_node"] = machine.memory_bytes;
  json["memory_limit"] = machine.memory_limit;
  json["input"] = config.input;
  json["output"] = config.output;
  json["draws"] = config.draws;
  json["rows"] = config.rows;
  json["seconds"] = plan.seconds();
  json["groups"] = nlohmann::ordered_json::array();
  for (auto const& group : plan.groups) json["groups"].push_back(group_record(group, config, states));
  json["skips"] = nlohmann::ordered_json::array();
  for (auto const& skip : plan.skips) json["skips"].push_back({{"what", skip.what}, {"reason", skip.reason}});
  return json_text(json, 1) + "\n";
}

}  // namespace asymptop
