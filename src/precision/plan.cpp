#include "precision/plan.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "config/options.hpp"
#include "plan/heads.hpp"
#include "plan/k_axis.hpp"
#include "plan/memory.hpp"

namespace asymptop {
namespace {

/// Bytes of an entry of a row that a thread works on (24 to 32 measured): its logit, its p in fp64 and as stored, and room to select in,
/// which threads do not all need at once.
constexpr double bytes_per_entry = 27.0;

/// Seconds of an entry on one core, to draw it and for each set: measured once on a 2023 server core, good to a factor of two.
constexpr double seconds_to_draw = 3e-8, seconds_per_set = 3e-8;
/// Of one product of a query's and a key's component.
constexpr double seconds_of_product = 5e-10;

/// Laws at n; what the rows are of is left open.
PrecisionCase case_at(PrecisionConfig const& config, std::int64_t n) {
  PrecisionCase c;
  c.n = n;
  c.rows = config.rows;
  c.draws = config.draws;
  set_k(c, config.k, n);
  for (auto const& threshold : config.count_above) c.threshold.push_back(threshold(n));
  return c;
}

PrecisionCase drawn_case(PrecisionConfig const& config, std::int64_t n, std::size_t law) {
  auto c = case_at(config, n);
  c.id = "n" + std::to_string(n) + "-sigma" + config.sigma[law].word();
  c.sigma_law = config.sigma[law].text();
  c.sigma = config.sigma[law](n);
  option_table().check_at(for_precision, "sigma", "--sigma", c.sigma_law, c.sigma, n);
  return c;
}

/// Why there are no rows of n keys; empty where there are.
std::string reason_to_skip(CapturedHead const& captured, std::int64_t window, std::int64_t n) {
  if (n > captured.layer.n) return "the tensors hold " + std::to_string(captured.layer.n) + " keys";
  if (window > 0 && window < n) return "a row sees " + std::to_string(window) + " keys, the layer's window";
  return captured.contexts.tail > 0 ? "" : "no query sees so many keys";
}

void add_captured_cases(PrecisionConfig const& config, InputShape const& input, std::int64_t n, PrecisionPlan& plan) {
  RunConfig wanted;
  wanted.layers = config.layers;
  wanted.heads = config.heads;
  auto const layers = layers_of(wanted, input);
  for (auto const& [layer, head] : heads_of(wanted, input, layers)) {
    auto const& form = layer->form;
    if (!form.sinks.empty()) refuse_form("learned sinks", *layer, input, "precision");
    auto c = case_at(config, n);
    CapturedHead captured{
        *layer, head, form.scale > 0.0 ? form.scale : 1.0 / std::sqrt(layer->d), config.mask.value_or(form.mask.value_or(Mask::none)), {}};
    captured.contexts = plan_captured_rows(*layer, std::ssize(input.texts), captured.mask, n);
    c.sigma_law = "measured";
    c.captured = captured;
    c.id = "n" + std::to_string(n) + (layer->layer < 0 ? "" : "-layer" + std::to_string(layer->layer)) + "-head" + std::to_string(head) +
           (captured.mask == Mask::causal ? "-causal" : "");
    auto const where = "n = " + std::to_string(n) + ", " + source_of(c);
    if (auto const why = reason_to_skip(captured, form.window, n); !why.empty()) {
      plan.skips.push_back({where, why});
      continue;
    }
    c.rows = std::min(config.rows, captured.contexts.tail);
    c.draws = std::min(config.draws, captured.contexts.texts * captured.contexts.ends);
    if (c.rows < config.rows || c.draws < config.draws)
      plan.lowered.push_back(where + ": " + std::to_string(c.draws) + " draws x " + std::to_string(c.rows) + " rows instead of " +
                             std::to_string(config.draws) + " draws x " + std::to_string(config.rows) + " rows");
    plan.cases.push_back(std::move(c));
  }
}

}  // namespace

std::string source_of(PrecisionCase const& item) {
  if (!item.captured) return item.sigma_law;
  return text_of({&item.captured->layer, item.captured->head}).substr(2);  // behind its comma
}

PrecisionPlan plan_precision(PrecisionConfig const& config, InputShape const& input, Machine const& machine) {
  PrecisionPlan plan;
  double const share = memory_of_rank(machine), sets = int_size(config.precision), cores = 1.0 * machine.ranks * machine.threads;
  for (auto const n : config.n) {
    if (input.n > 0) add_captured_cases(config, input, n, plan);
    for (std::size_t law = 0; law < config.sigma.size() && input.n == 0; ++law) plan.cases.push_back(drawn_case(config, n, law));
  }
  if (plan.cases.empty()) plan.refusal = nothing_to_measure(plan.skips);
  for (auto& c : plan.cases) {
    double const size = exact_double(c.n), rows = exact_double(c.rows * c.draws);
    c.bytes_per_rank = program_bytes + machine.threads * size * bytes_per_entry;
    double to_make = seconds_to_draw;
    if (c.captured) {
      double const d = exact_double(c.captured->layer.width()),
                   most = exact_double(rows_between_gathers(c, machine.ranks * machine.threads));
      c.bytes_per_rank += 4.0 * d * (size + exact_double(c.captured->contexts.tail)) + 8.0 * size * most;
      to_make = seconds_of_product * d;
    }
    c.seconds = rows * size * (to_make + sets * seconds_per_set) / cores;
    if (!fits_into(c.bytes_per_rank, share))
      c.misfit = "n = " + std::to_string(c.n) + " needs " + bytes_text(c.bytes_per_rank) + " on each rank and " +
                 available_text(machine, share) + "; lower --n or --threads, or use fewer ranks on a node";
    if (plan.refusal.empty()) plan.refusal = c.misfit;
  }
  refuse_run(plan.refusal, config);
  return plan;
}

std::int64_t rows_between_gathers(PrecisionCase const& item, std::int64_t workers) {
  constexpr std::int64_t most_rows = 64, most_entries = std::int64_t{1} << 22;
  return std::clamp(most_entries / item.n, std::min(workers, most_rows), most_rows);
}

nlohmann::ordered_json plan_records(PrecisionPlan const& plan) {
  auto all = nlohmann::ordered_json::array();
  for (auto const& c : plan.cases) {
    nlohmann::ordered_json json{{"id", c.id}, {"n", c.n}};
    if (c.captured) {
      if (c.captured->layer.layer >= 0) json["layer"] = c.captured->layer.layer;
      json["head"] = c.captured->head;
    }
    json["sigma_law"] = c.sigma_law;
    if (!c.captured) json["sigma"] = c.sigma;
    json.update(
        {{"k_of_law", c.k_of_law}, {"rows", c.rows}, {"draws", c.draws}, {"bytes_per_rank", c.bytes_per_rank}, {"seconds", c.seconds}});
    json["fits"] = c.misfit.empty();
    if (!c.misfit.empty()) json["reason"] = c.misfit;
    all.push_back(std::move(json));
  }
  return all;
}

std::string describe(PrecisionPlan const& plan, PrecisionConfig const& config, Machine const& machine) {
  std::ostringstream out;
  out << "Plan: " << machine.ranks << " rank(s) x " << machine.threads << " thread(s), " << config.draws << " draws x " << config.rows
      << " rows\n"
      << memory_line(machine);
  for (auto const& set : config.precision) {
    out << formatted("%-28s logits %s, difference %s, exp %s, sum %s %s, p %s\n", set.text.c_str(), name_of(set.logits),
                     name_of(set.difference), name_of(set.exp), name_of(set.sum), name_of(set.order), name_of(set.p));
  }
  out << formatted("%12s %-18s %12s %9s  %s\n", "n", "sigma law", "bytes/rank", "~seconds", "k");
  double seconds = 0.0;
  for (auto const& c : plan.cases) {
    out << formatted("%12s %-18.18s %12s %9.2g  ", std::to_string(c.n).c_str(), source_of(c).c_str(), bytes_text(c.bytes_per_rank).c_str(),
                     c.seconds);
    for (std::size_t i = 0; i < c.k_of_law.size(); ++i) out << (i == 0 ? "" : ", ") << c.k_of_law[i];
    out << (c.k_clipped ? " (clipped to n)" : "") << "\n";
    seconds += c.seconds;
  }
  out << formatted("%zu case(s), about %.3g s\n", plan.cases.size(), seconds);
  out << lowered_lines(plan.lowered) << skipped_lines(plan.skips);
  return out.str();
}

}  // namespace asymptop
