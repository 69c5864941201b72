#include "study/simulate/plan.hpp"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <sstream>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "config/options.hpp"
#include "plan/memory.hpp"

namespace asymptop {
namespace {

/// Seconds of a row on one core, for its scores and for each sigma: measured once on a 2023 server core, good to a factor of two.
constexpr double seconds_per_row = 1e-3, seconds_per_law = 3e-4;

}  // namespace

StudyPlan plan_simulation(RunConfig const& config, Machine const& machine) {
  StudyPlan plan;
  double const cores = 1.0 * machine.ranks * machine.threads;
  double seconds = 0.0;
  for (auto const d : config.d) {
    for (auto const n : config.n) {
      auto group = plan_axes(config, {}, {}, n, d, -1);
      group.simulated = true;
      group.held = group.k.back();
      for (auto const& item : group.cases)
        option_table().check_at(for_simulate, "sigma", config.sigma_from_R ? "--R" : "--sigma", item.sigma_law, item.sigma, n);
      double const rows = group.counts.all_rows(), laws = int_size(group.cases);
      group.seconds = rows * std::min(1.0, group.keys() / 4096.0) * (seconds_per_row + laws * seconds_per_law) / cores;
      group.bytes_per_rank = simulation_bytes(group, config, machine);
      double const share = memory_of_rank(machine);
      if (!fits_into(group.bytes_per_rank, share))
        group.misfit = "n = " + std::to_string(n) + " needs " + bytes_text(group.bytes_per_rank) + " on each rank and " +
                       available_text(machine, share) + "; lower --draws or --rows";
      if (plan.refusal.empty()) plan.refusal = group.misfit;
      seconds += group.seconds;
      plan.groups.push_back(std::move(group));
    }
  }
  plan.teams = {{0, machine.ranks, seconds}};
  refuse_run(plan.refusal, config);
  return plan;
}

std::string describe_simulation(StudyPlan const& plan, RunConfig const& config, Machine const& machine) {
  std::ostringstream out;
  std::size_t cases = 0;
  out << "Plan: " << machine.ranks << " rank(s) x " << machine.threads << " thread(s), " << (config.has_target() ? "at least " : "")
      << config.draws << " draws x " << config.rows << " rows, simulated\n"
      << memory_line(machine);
  out << formatted("%20s %5s %12s %9s  %s\n", "n", "d", "bytes/rank", "~seconds", "k, sigma");
  for (auto const& group : plan.groups) {
    out << formatted("%20" PRId64 " %5d %12s %9.2g  ", group.n, group.d, bytes_text(group.bytes_per_rank).c_str(), group.seconds)
        << laws_text(group) << "\n";
    cases += group.cases.size();
  }
  out << formatted("%zu case(s), about %.3g s\n", cases, plan.seconds());
  return out.str();
}

}  // namespace asymptop
