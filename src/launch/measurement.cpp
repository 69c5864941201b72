#include "launch/measurement.hpp"

#include <iostream>

#include "kernels/core/counts.hpp"
#include "kernels/device/memory.hpp"
#include "launch/launch.hpp"
#include "launch/left_behind.hpp"
#include "launch/peak_memory.hpp"
#include "launch/performance_tools.hpp"
#include "results/json_text.hpp"
#include "results/records.hpp"

namespace asymptop {

nlohmann::ordered_json Measurement::plan_head(char const* command, Machine const& machine, std::vector<Skip> const& skips) const {
  nlohmann::ordered_json json;
  json["kind"] = "plan";
  json["command"] = command;
  json["ranks"] = machine.ranks;
  json["ranks_per_node"] = machine.ranks_on_node;
  json["threads"] = machine.threads;
  json["memory_bytes_per_node"] = machine.memory_bytes;
  json["memory_limit"] = machine.memory_limit;
  json["input"] = options_.input;
  json["output"] = options_.output;
  json["skips"] = nlohmann::ordered_json::array();
  for (auto const& skip : skips) json["skips"].push_back({{"what", skip.what}, {"reason", skip.reason}});
  if (auto const why = refusal(); !why.empty()) json["refused"] = why;
  return json;
}

void Measurement::check_output() const {
  check_new_file("--output", options_.output, options_.force);
  discard_left_behind(options_.output);
}

void Measurement::print(std::string const& text) const {
  if (comm_.is_root()) (options_.json == "-" ? std::cerr : std::cout) << text << std::flush;
}

Provenance Measurement::provenance(std::string const& kind, int threads, std::vector<std::pair<std::string, double>> numbers) const {
  auto collected = collect_provenance(comm_, {kind, options_.command_line, options_.config_text, options_.seed, options_.block, threads},
                                      std::move(numbers));
  collected.texts.emplace_back("cpus", cpus_of_ranks(comm_));
  report_to_adiak(collected);
  return collected;
}

int Measurement::finish(Ending const& ending, bool valid) const {
  if (comm_.is_root() && !options_.json.empty()) write_record_list(options_.json, ending.records);
  int const code = comm_.max(valid ? 0 : 1);
  std::chrono::duration<double> const elapsed = std::chrono::steady_clock::now() - made_;
  auto figures = ending.figures;
  figures.push_back({"elapsed", elapsed.count(), "s", false});
  figures.push_back({"peak-memory-per-rank", comm_.max(peak_memory()) / 1e6, "MB", false});
  if (double const most = comm_.max(exact_double(device::most_memory_ever())); most > 0.0)
    figures.push_back({"peak-gpu-memory-per-rank", most / 1e6, "MB", false});
  if (comm_.is_root()) report_to_adiak(figures);
  print(ending.remarks + "results: " + options_.output + ending.output_suffix + "\n\n" + figures_text(figures, code == 0));
  return code;
}

int carry_out(Measurement& measurement) {
  auto const& options = measurement.options();
  auto const check_names = [&] {
    check_apart(measurement.written(), measurement.read());
    check_records_path(options.json);
  };
  if (options.dry_run) {
    check_on_root(measurement.comm(), [&] {
      check_names();
      measurement.print(measurement.describe());
      if (!options.json.empty()) write_records(options.json, json_text(measurement.plan_record(), 1) + "\n");
      if (auto const why = measurement.refusal(); !why.empty()) throw UsageError(why);
    });
    return 0;
  }
  check_launch(measurement.comm());
  check_on_root(measurement.comm(), [&] {
    check_names();
    measurement.check_output();
  });
  measurement.print(measurement.heading());
  return measurement.run();
}

}  // namespace asymptop
