// asymptop bench: options -> plan -> yardsticks -> measure each case -> results file, table and records.
#include "app/bench.hpp"

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "app/commands.hpp"
#include "app/machine.hpp"
#include "app/together.hpp"
#include "config/errors.hpp"
#include "results/bench_records.hpp"
#include "results/records.hpp"

namespace asymptop {
namespace {

class Bench {
 public:
  Bench(Communicator const& comm, BenchConfig const& config, BenchPlan const& plan, Machine const& machine,
        std::vector<BenchPath> const& paths)
      : comm_(comm), config_(config), plan_(plan), machine_(machine), paths_(paths), yardsticks_(comm, machine.threads) {}

  /// Returns the exit code.
  int run() {
    print_machine();
    measure_yardsticks();
    print("\n" + bench_table_heading());
    for (auto const& item : plan_.cases) measure(item);
    finish();
    bool valid = true;
    for (auto const& c : cases_) valid = valid && c.result.reason().empty();
    return valid ? 0 : 1;
  }

 private:
  void print(std::string const& text) const {
    if (comm_.is_root()) (config_.json == "-" ? std::cerr : std::cout) << text << std::flush;
  }

  void print_machine() const {
    auto const available = bytes_text(machine_.memory_bytes);
    print(version_text() + "\ncommand   " + config_.command_line + "\n" + "machine   " + cpu_name() + ", " +
          std::to_string(allowed_cores()) + " core(s) allowed, " + available + " available, execution space " + StudySpace::name() + "\n" +
          "run       " + std::to_string(machine_.ranks) + " rank(s) x " + std::to_string(machine_.threads) + " thread(s), " +
          std::to_string(config_.samples) + " samples, block " + std::to_string(config_.block) + ", seed " + std::to_string(config_.seed) +
          "\n");
    for (auto const& skip : plan_.skips) print("skipped   " + skip.what + ": " + skip.reason + "\n");
    for (auto const& item : plan_.cases) {
      if (item.k_clipped) print("clipped   k = " + item.k_law + " to n = " + std::to_string(item.n) + " in " + item.id + "\n");
    }
  }

  void measure_yardsticks() {
    double const fma = yardsticks_.fma_gflops();
    bandwidth_ = yardsticks_.read_bandwidth();
    char line[160];
    std::snprintf(line, sizeof line, "fma       fp32 multiply-adds from registers: %.4g GFLOP/s\nread      memory: %.4g GB/s\n", fma,
                  bandwidth_);
    print(line);
    for (auto const& item : plan_.cases) {
      auto const m = static_cast<int>(item.m), d = static_cast<int>(item.d);
      if (!yardsticks_.knows_sgemm(m, d)) print(sgemm_line(m, d, yardsticks_.sgemm(m, d)));
    }
    provenance_ =
        collect_provenance(comm_, {"bench", config_.command_line, config_.config_text, config_.seed, config_.block, machine_.threads},
                           {{"fma_gflops", fma}, {"read_bandwidth", bandwidth_}});
    if (comm_.is_root()) provenance_.texts.emplace_back("cpu", cpu_name());
  }

  void measure(BenchCase const& item) {
    MeasuredCase c;
    c.item = item;
    c.read_bandwidth = bandwidth_;
    // Where memory is read, its rate just before and just after the case.
    if (item.resident) c.read_bandwidth = yardsticks_.read_bandwidth();
    c.result = run_bench_case(comm_, item, config_, path_of(paths_, item));
    c.sgemm = yardsticks_.sgemm(static_cast<int>(item.m), static_cast<int>(item.d));
    c.fma_gflops = yardsticks_.fma_gflops();
    if (item.resident) c.read_bandwidth = std::max(c.read_bandwidth, yardsticks_.read_bandwidth());
    c.ranks = machine_.ranks;
    c.threads = machine_.threads;
    print(bench_table_row(c));
    cases_.push_back(std::move(c));
    // After every case: a run that is ended loses the case in flight only.
    if (comm_.is_root()) write_bench_file(config_.output, provenance_, cases_);
  }

  void finish() const {
    if (!comm_.is_root()) return;
    RecordList records;
    for (auto const& c : cases_) records.add(bench_record(c));
    if (!config_.json.empty()) records.write(config_.json);
    print("results: " + config_.output + "\n");
  }

  Communicator const& comm_;
  BenchConfig const& config_;
  BenchPlan const& plan_;
  Machine const& machine_;
  std::vector<BenchPath> const& paths_;
  Yardsticks yardsticks_;
  double bandwidth_ = 0.0;  ///< of reading memory at the start, GB/s
  Provenance provenance_;
  std::vector<MeasuredCase> cases_;
};

}  // namespace

int run_bench_with(std::vector<BenchPath> const& paths, Communicator const& comm, int argc, char const* const* argv) {
  auto config = together(comm, [&] { return parse_bench_options(argc, argv, comm.is_root()); });
  if (!config) return 0;
  config->command_line = "asymptop";
  for (int i = 0; i < argc; ++i) config->command_line += std::string(" ") + argv[i];

  auto const machine = describe_machine(comm);
  auto const plan = plan_bench(*config, paths_of(paths), machine);
  if (config->dry_run) {
    if (comm.is_root()) std::cout << describe(plan, *config, machine);
    return 0;
  }
  check_on_root(comm, [&] {
    check_bench_output(config->output, config->force);
    check_records_path(config->json);
  });
  return Bench(comm, *config, plan, machine, paths).run();
}

int run_bench(Communicator const& comm, int argc, char const* const* argv) { return run_bench_with(bench_paths(), comm, argc, argv); }

}  // namespace asymptop
