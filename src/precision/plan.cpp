#include "precision/plan.hpp"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "config/errors.hpp"
#include "config/options.hpp"
#include "plan/k_axis.hpp"
#include "plan/memory.hpp"

namespace asymptop {
namespace {

/// Bytes of an entry of a row that a thread works on (24 to 32 measured): its logit, its p in fp64 and as stored, and room to select in,
/// which threads do not all need at once.
constexpr double bytes_per_entry = 27.0;

/// Seconds of an entry on one core, to draw it and for each set: measured once on a 2023 server core, good to a factor of two.
constexpr double seconds_to_draw = 3e-8, seconds_per_set = 3e-8;

PrecisionCase make_case(PrecisionConfig const& config, std::int64_t n, std::size_t law) {
  PrecisionCase c;
  c.n = n;
  c.id = "n" + std::to_string(n) + "-sigma" + config.sigma[law].word();
  c.sigma_law = config.sigma[law].text();
  c.sigma = config.sigma[law](n);
  option_table().check_at(for_precision, "sigma", "--sigma", c.sigma_law, c.sigma, n);
  set_k(c, config.k, n);
  for (auto const& threshold : config.count_above) c.threshold.push_back(threshold(n));
  return c;
}

}  // namespace

PrecisionPlan plan_precision(PrecisionConfig const& config, Machine const& machine) {
  PrecisionPlan plan;
  double const share = memory_of_rank(machine);
  double const sets = static_cast<double>(config.precision.size()), rows = static_cast<double>(config.rows * config.draws);
  for (auto const n : config.n) {
    for (std::size_t law = 0; law < config.sigma.size(); ++law) {
      auto c = make_case(config, n, law);
      double const size = static_cast<double>(n);
      c.bytes_per_rank = program_bytes + machine.threads * size * bytes_per_entry;
      c.seconds = rows * size * (seconds_to_draw + sets * seconds_per_set);
      if (!fits_into(c.bytes_per_rank, share))
        throw UsageError("--n", std::to_string(n),
                         "needs " + bytes_text(c.bytes_per_rank) + " on each rank and " + available_text(machine, share) +
                             "; lower --n or --threads, or use fewer ranks on a node");
      plan.cases.push_back(std::move(c));
    }
  }
  return plan;
}

std::string describe(PrecisionPlan const& plan, PrecisionConfig const& config, Machine const& machine) {
  std::ostringstream out;
  out << "Plan: " << machine.ranks << " rank(s) x " << machine.threads << " thread(s), " << config.draws << " draws x " << config.rows
      << " rows\n"
      << memory_line(machine);
  for (auto const& set : config.precision) {
    char line[256];
    std::snprintf(line, sizeof line, "%-28s logits %s, difference %s, exp %s, sum %s %s, p %s\n", set.text.c_str(), name_of(set.logits),
                  name_of(set.difference), name_of(set.exp), name_of(set.sum), name_of(set.order), name_of(set.p));
    out << line;
  }
  char line[256];
  std::snprintf(line, sizeof line, "%12s %-18s %12s %9s  %s\n", "n", "sigma law", "bytes/rank", "~seconds", "k");
  out << line;
  double seconds = 0.0;
  for (auto const& c : plan.cases) {
    double const ranks = machine.ranks, here = c.seconds / (ranks * machine.threads);
    std::snprintf(line, sizeof line, "%12s %-18.18s %12s %9.2g  ", std::to_string(c.n).c_str(), c.sigma_law.c_str(),
                  bytes_text(c.bytes_per_rank).c_str(), here);
    out << line;
    for (std::size_t i = 0; i < c.k_of_law.size(); ++i) out << (i == 0 ? "" : ", ") << c.k_of_law[i];
    out << (c.k_clipped ? " (clipped to n)" : "") << "\n";
    seconds += here;
  }
  std::snprintf(line, sizeof line, "%zu case(s), about %.3g s\n", plan.cases.size(), seconds);
  out << line;
  return out.str();
}

}  // namespace asymptop
