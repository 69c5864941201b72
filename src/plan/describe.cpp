// A plan in words.
#include <algorithm>
#include <cinttypes>
#include <sstream>

#include "config/law.hpp"
#include "config/number_text.hpp"
#include "plan/memory.hpp"
#include "plan/plan.hpp"

namespace asymptop {

std::string bytes_text(double bytes) { return bytes >= 1e9 ? formatted("%.2f GB", bytes / 1e9) : formatted("%.0f MB", bytes / 1e6); }

std::string input_line(InputShape const& input) {
  if (input.n == 0) return "";
  std::ostringstream line;
  line << "Input: " << input.name << ", ";
  if (input.has_layers())
    line << (input.model.empty() ? "" : input.model + ", ") << input.texts.size() << " text(s), " << input.layers.size() << " layer(s), ";
  line << input.heads << " head(s) of Q on " << input.key_heads << " of K and V, n = " << input.n << ", d = " << input.d
       << (input.d_v != input.d ? ", V of " + std::to_string(input.d_v) : "")
       << (input.reversed ? ", turned from MATLAB's order of axes" : "");
  if (input.form.scale > 0.0) {
    line << ", logit scale " << input.form.scale << " (the file's)\n";
  } else {
    line << ", logit scale 1/sqrt(d) unless given\n";
  }
  return line.str();
}

std::string laws_text(GroupPlan const& group) {
  std::string laws;
  for (std::size_t i = 0; i < group.k_of_law.size(); ++i) laws += (i == 0 ? "k = " : ", ") + std::to_string(group.k_of_law[i]);
  if (group.k_clipped) laws += " (clipped to n)";
  if (!group.misfit.empty()) laws += " (does not fit into memory)";
  if (group.batches_in_flight > 1) laws += " (" + std::to_string(group.rows_per_batch) + " rows at a time)";
  if (group.by_thresholds()) laws += " (over " + std::to_string(group.held) + " by thresholds)";
  std::vector<std::string> sigmas, selectors;
  for (auto const& item : group.cases) {
    if (std::find(sigmas.begin(), sigmas.end(), item.sigma_law) == sigmas.end()) sigmas.push_back(item.sigma_law);
    if (std::find(selectors.begin(), selectors.end(), item.selector.text) == selectors.end()) selectors.push_back(item.selector.text);
  }
  laws += "; sigma = " + joined(sigmas);
  if (selectors.size() > 1 || selectors.front() != "score") laws += "; selectors = " + joined(selectors);
  if (!group.input.is(Distribution::gaussian)) laws += "; " + name_of(group.input);
  if (group.form.softcap > 0.0) {
    std::ostringstream softcap;
    softcap << "; softcap " << group.form.softcap;
    laws += softcap.str();
  }
  if (!group.form.alibi.empty()) laws += "; ALiBi slopes";
  if (!group.form.sinks.empty()) laws += "; learned sinks";
  if (group.window > 0) laws += "; window of " + std::to_string(group.window) + " keys";
  if (group.drop_first > 0) laws += "; without the first " + std::to_string(group.drop_first) + " keys";
  return laws;
}

std::string skipped_lines(std::vector<Skip> const& skips) {
  std::string lines;
  for (auto const& skip : skips) lines += "skipped: " + skip.what + ": " + skip.reason + "\n";
  return lines;
}

std::string lowered_lines(std::vector<std::string> const& lowered) {
  std::string lines;
  for (auto const& line : lowered) lines += "lowered: " + line + "\n";
  return lines;
}

std::string describe(StudyPlan const& plan, RunConfig const& config, Machine const& machine) {
  std::ostringstream out;
  std::size_t cases = 0;
  out << "Plan: " << machine.ranks << " rank(s) x " << machine.threads << " thread(s), " << (config.has_target() ? "at least " : "")
      << config.draws << " draws x " << config.rows << " rows\n"
      << memory_line(machine);
  if (plan.teams.size() > 1) out << "Heads are shared out among " << plan.teams.size() << " groups of ranks\n";
  bool const on_gpus = std::any_of(plan.groups.begin(), plan.groups.end(), [](GroupPlan const& group) { return group.device_bytes > 0.0; });
  auto const gpu_column = [&](std::string const& text) {
    return on_gpus ? "  " + std::string(10 - std::min<std::size_t>(10, text.size()), ' ') + text : "";
  };
  out << formatted("%14s %5s %5s %9s  %-9s %-9s %12s%s %12s %9s  %s\n", "n", "d", "head", "ranks", "keys", "merge", "bytes/rank",
                   gpu_column("GPU bytes").c_str(), "Gflop", "~seconds", "k, sigma");
  for (auto const& group : plan.groups) {
    auto head = group.head < 0 ? std::string("-") : std::to_string(group.head);
    if (group.layer >= 0) head = std::to_string(group.layer) + "/" + head;
    auto const& team = plan.teams[group.team];
    auto ranks = std::to_string(team.first_rank);
    if (team.ranks > 1) ranks += "-" + std::to_string(team.first_rank + team.ranks - 1);
    out << formatted("%14" PRId64 " %5d %5s %9s  %-9s %-9s %12s%s %12.4g %9.2g  ", group.n, group.key_d(), head.c_str(), ranks.c_str(),
                     group.resident ? "resident" : "streamed", name_of(group.merge), bytes_text(group.bytes_per_rank).c_str(),
                     gpu_column(bytes_text(group.device_bytes)).c_str(), group.flops / 1e9, group.seconds)
        << laws_text(group) << "\n";
    cases += group.cases.size();
  }
  out << lowered_lines(plan.lowered) << skipped_lines(plan.skips);
  out << formatted("%zu case(s), about %.3g s\n", cases, plan.seconds());
  return out.str();
}

}  // namespace asymptop
