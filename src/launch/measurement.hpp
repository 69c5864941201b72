// The driver that commands which measure run under: options -> plan -> launch checks -> run -> records and verdict.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "config/measure_options.hpp"
#include "launch/machine.hpp"
#include "launch/together.hpp"
#include "results/figures_of_merit.hpp"
#include "results/provenance.hpp"
#include "results/whole_file.hpp"

namespace asymptop {

/// What a command does. It is planned when it is constructed, which throws UsageError for what cannot be measured; nothing is written
/// before run(). All functions are called by all ranks, those that print included.
class Measurement {
 public:
  /// `options` outlives the object.
  Measurement(Communicator const& comm, MeasureOptions const& options) : comm_(comm), options_(options) {}
  virtual ~Measurement() = default;
  Measurement(Measurement const&) = delete;
  Measurement& operator=(Measurement const&) = delete;

  /// The plan as a person reads it.
  virtual std::string describe() const = 0;
  /// The plan for programs, on rank 0: plan_head() and what the command adds.
  virtual nlohmann::ordered_json plan_record() const = 0;
  /// Why a run is refused whose plan was asked for; empty: it is not.
  virtual std::string refusal() const = 0;
  /// What stands above the results: the plan.
  virtual std::string heading() const { return describe(); }
  /// The files that the options name, by option.
  virtual std::vector<NamedFile> written() const { return {{"--output", options_.output}, {"--json", options_.json}}; }
  std::vector<NamedFile> read() const { return {{"--config", options_.config_file}, {"--input", options_.input}}; }
  /// On rank 0: throws UsageError unless the outputs can be written; removes what killed runs have left of them.
  virtual void check_output() const;
  /// Measures and writes. Returns the exit code.
  virtual int run() = 0;

  Communicator const& comm() const { return comm_; }
  MeasureOptions const& options() const { return options_; }
  /// On rank 0, to stderr where the records go to stdout.
  void print(std::string const& text) const;

 protected:
  /// What every plan's record begins with. skips: cases that are left out.
  nlohmann::ordered_json plan_head(char const* command, Machine const& machine, std::vector<Skip> const& skips = {}) const;
  /// Collective. kind: of the results file.
  Provenance provenance(std::string const& kind, int threads, std::vector<std::pair<std::string, double>> numbers = {}) const;
  /// What finish() writes and says; on rank 0.
  struct Ending {
    std::vector<std::string> records;      ///< of all cases
    std::vector<FigureOfMerit> figures{};  ///< beside those of every run: time and memory
    std::string remarks{}, output_suffix{};
  };
  /// The end of a run that was not stopped: exit code 0 where `valid` on every rank. Collective.
  int finish(Ending const& ending, bool valid) const;

  Communicator const& comm_;

 private:
  MeasureOptions const& options_;
  std::chrono::steady_clock::time_point const made_ = std::chrono::steady_clock::now();
};

/// Plan, checks and run of a measurement, or with --dry-run its plan alone, to --json as JSON. Returns the exit code.
int carry_out(Measurement& measurement);

/// The options as every rank reads them; nothing where help was asked for, which rank 0 prints.
template <auto parse>
auto read_options(Communicator const& comm, int argc, char const* const* argv) {
  auto config = together(comm, [&] { return parse(argc, argv, comm.is_root()); });
  if (!config) return config;
  config->command_line = "asymptop";
  for (int i = 0; i < argc; ++i) config->command_line += std::string(" ") + argv[i];
  return config;
}

/// A command from its command line: `Made` is the Measurement for the options that `parse` reads.
template <class Made, auto parse>
int drive(Communicator const& comm, int argc, char const* const* argv) {
  auto const config = read_options<parse>(comm, argc, argv);
  if (!config) return 0;
  Made measurement(comm, *config);
  return carry_out(measurement);
}

}  // namespace asymptop
