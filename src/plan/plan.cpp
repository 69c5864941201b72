#include "plan/plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "config/errors.hpp"

namespace asymptop {
namespace {

/// Most rows whose scores are held at once; more rows than this take several passes over the keys.
constexpr std::int64_t largest_batch = 256;

/// Share of a rank's memory that resident keys may take, and that all of a case may take.
constexpr double resident_share = 0.4, whole_share = 0.9;

/// The most candidates that a row may hold.
constexpr std::int64_t most_held = (std::int64_t{1} << 30) - 1;

/// Beyond this a row's profile would need over 10^6 bins, and rounding a logit to fp32 would change its exponential by a percent.
constexpr double largest_usable_sigma = 1000.0;

/// Rates for the estimate of time, per core: measured once on a 2023 server core, good to a factor of two.
constexpr double normals_per_second = 1.5e9, flops_per_second = 1e11, scores_per_second = 1.2e9;

/// Every law's k, and a grid of two points per octave up to the largest.
std::vector<std::int64_t> k_axis(std::vector<std::int64_t> const& of_laws) {
  auto axis = of_laws;
  auto const largest = *std::max_element(axis.begin(), axis.end());
  for (double k = 1.0; k < static_cast<double>(largest); k *= std::sqrt(2.0)) axis.push_back(std::llround(k));
  std::sort(axis.begin(), axis.end());
  axis.erase(std::unique(axis.begin(), axis.end()), axis.end());
  return axis;
}

/// With several batches and ranks, the messages of one batch hide behind another's passes.
std::size_t batches_in_flight(double rows_per_batch, RunConfig const& config, Machine const& machine) {
  return machine.ranks > 1 && static_cast<double>(config.rows) > rows_per_batch ? 2 : 1;
}

/// Bytes of one rank at the group's peak.
double estimate_bytes(GroupPlan const& group, RunConfig const& config, Machine const& machine, bool resident, double rows) {
  double const n = static_cast<double>(group.n), d = static_cast<double>(group.d), ranks = machine.ranks;
  double const block = static_cast<double>(config.block), tile = std::min(512.0, block) * machine.tiles_per_step;
  double const shard = std::min(n, std::ceil(n / block / ranks) * block), keep = static_cast<double>(group.held) + 1.0;
  double const tensors = (config.output_error ? 2.0 : 1.0) * (resident ? shard + tile : tile) * d * 4.0;
  // Rows of all batches that are in flight at once.
  rows *= static_cast<double>(batches_in_flight(rows, config, machine));
  // Fused: heads with room to grow, and a step of keys; tiled: candidate buffers and two matrices of scores.
  double const candidates =
      rows * 8.0 * (group.fused ? keep + std::max(keep / 2.0, 2048.0) + 512.0 : keep + std::max(keep / 4.0, 1024.0) + 8.0 * tile);
  double const bins = rows * 20.0 * group.bins_per_unit * 32.0;
  double const scores = group.fused ? 8192.0 * d * 4.0 : rows * tile * 4.0 * 2.0;
  double const laws = static_cast<double>(group.cases.size()), segments = static_cast<double>(group.k.size()) + 1.0;
  double const sums = config.output_error ? 2.0 * rows * laws * segments * (d + 1.0) * 8.0 : 0.0;
  // One row of each owner at least is merged at a time: lists, messages and running sums. Rank 0 may have to take those of all owners.
  double const gathered = config.merge == MergeStrategy::root ? ranks : 1.0;
  double const merge = std::max(6.4e7, gathered * ranks * keep * 8.0 * 2.0) + keep * 80.0;
  constexpr double program = 9e7;
  return program + tensors + candidates + bins + scores + sums + merge;
}

void choose_path(GroupPlan& group, RunConfig const& config, Machine const& machine) {
  if (config.path == KernelPath::fused && !machine.fused)
    throw UsageError("--path", "fused", "is not part of this build or needs AVX2 and FMA; use auto or blas-tile");
  group.fused = machine.fused && config.path != KernelPath::blas_tile;
}

void choose_storage(GroupPlan& group, RunConfig const& config, Machine const& machine) {
  double const share = machine.memory_bytes / std::max(1, machine.ranks_on_node);
  auto rows = std::min(config.rows, largest_batch);
  auto const bytes = [&](bool resident) { return estimate_bytes(group, config, machine, resident, static_cast<double>(rows)); };
  bool const unknown = share <= 0.0;
  group.resident =
      config.keys == KeyStorage::resident || (config.keys == KeyStorage::automatic && (unknown || bytes(true) <= resident_share * share));
  auto const fits = [&] { return unknown || bytes(group.resident) <= whole_share * share; };
  // Without output errors large k need not be held, and a pass over the keys for every few rows would cost far more than that is worth.
  for (auto k = group.k.rbegin(); k != group.k.rend() && !fits() && !config.output_error && *k > 1; ++k) group.held = *k / 2;
  while (rows > 1 && !fits()) rows = (rows + 1) / 2;
  group.rows_per_batch = static_cast<int>(rows);
  group.batches_in_flight = batches_in_flight(static_cast<double>(rows), config, machine);
  group.bytes_per_rank = bytes(group.resident);
  if (!unknown && group.bytes_per_rank > whole_share * share) {
    std::ostringstream message;
    message.precision(3);
    message << "n = " << group.n << " needs " << group.bytes_per_rank / 1e9 << " GB on each rank and " << share / 1e9
            << " GB are available; lower --n or k, use more nodes" << (group.resident ? ", or use --keys streamed" : "")
            << (config.output_error ? ", or --output-error off, which need not hold large k" : "");
    throw UsageError(message.str());
  }
}

void settle_merge(GroupPlan& group, RunConfig const& config, Machine const& machine) {
  double const rows = group.rows_per_batch, keep = static_cast<double>(group.held) + 1.0;
  group.merge = choose_merge(config.merge, {machine.ranks, rows, keep, static_cast<double>(group.n)}, machine.network);
}

void estimate_cost(GroupPlan& group, RunConfig const& config, Machine const& machine) {
  double const n = static_cast<double>(group.n), d = static_cast<double>(group.d), m = static_cast<double>(config.rows);
  double const draws = static_cast<double>(config.draws), laws = static_cast<double>(group.cases.size());
  double const batches = std::ceil(m / group.rows_per_batch), passes = 2.0;
  group.flops = draws * m * n * d * 2.0 * (passes + (config.output_error ? laws : 0.0));
  double const tensors = config.output_error ? 2.0 : 1.0;
  double const normals = config.input.empty() ? draws * n * d * tensors * (group.resident ? 1.0 : passes * batches) : 0.0;
  double const scores = draws * m * n * (passes + (config.output_error ? laws : 0.0));
  double const cores = static_cast<double>(machine.ranks) * machine.threads;
  constexpr double seconds_per_draw = 0.01;  // messages, allocations, evaluation: what small n cost
  group.seconds = draws * batches * seconds_per_draw +
                  (normals / normals_per_second + group.flops / flops_per_second + scores / scores_per_second) / cores;
}

std::string case_id(GroupPlan const& group, std::size_t law, bool tensors) {
  std::ostringstream id;
  id << "n" << group.n << "-d" << group.d;
  if (tensors) {
    id << "-head" << group.head;
  } else {
    id << "-law" << law + 1;
  }
  return id.str();
}

GroupPlan make_group(RunConfig const& config, InputShape const& input, std::int64_t n, std::int64_t d, std::int64_t head) {
  GroupPlan group;
  group.n = n;
  group.d = d;
  group.head = head;
  group.scale = config.scale.value_or(input.scale > 0.0 ? input.scale : 1.0 / std::sqrt(static_cast<double>(d)));
  bool const tensors = input.n > 0;
  double largest_sigma = 1.0;
  if (tensors) {
    group.cases.push_back({case_id(group, 0, true), "measured", 1.0, 0.0});
  } else {
    largest_sigma = 0.0;
    for (std::size_t law = 0; law < config.sigma.size(); ++law) {
      double const value = config.sigma[law](n), sigma = config.sigma_from_R ? value * group.scale : value;
      group.cases.push_back({case_id(group, law, false), config.sigma[law].text(), sigma, sigma / group.scale});
      largest_sigma = std::max(largest_sigma, sigma);
    }
  }
  group.bins_per_unit = std::exp2(std::ceil(std::log2(std::max(32.0 * largest_sigma, 16.0))));
  if (largest_sigma > largest_usable_sigma) {
    std::ostringstream value;
    value << largest_sigma;
    throw UsageError(config.sigma_from_R ? "--R" : "--sigma", value.str(),
                     "is the largest sigma at n = " + std::to_string(n) + "; fp32 logits can be profiled up to sigma = 1000");
  }
  for (auto const& law : config.k) {
    auto const rank = rank_at(law, n);
    group.k_of_law.push_back(rank.k);
    group.k_clipped = group.k_clipped || rank.clipped;
  }
  group.k = k_axis(group.k_of_law);
  group.held = std::min(config.hold > 0 ? config.hold : most_held, group.k.back());
  for (auto const& law : config.count_above) {
    double const threshold = law(n);
    group.threshold.push_back(threshold);
  }
  return group;
}

/// Why a group cannot be measured; empty when it can.
std::string reason_to_skip(GroupPlan const& group, RunConfig const& config, InputShape const& input, Machine const& machine) {
  if (input.n > 0) {
    if (group.n > input.n) return "the tensors hold " + std::to_string(input.n) + " keys";
    auto const second_half = group.n - group.n / 2;
    if (config.rows * config.draws > second_half) {
      return std::to_string(config.draws) + " disjoint draws of " + std::to_string(config.rows) + " rows need " +
             std::to_string(config.rows * config.draws) + " positions in the second half of the prefix, which has " +
             std::to_string(second_half) + "; lower --rows or --draws";
    }
  }
  if (config.self == SelfKey::include && config.rows > group.n)
    return "a draw's " + std::to_string(config.rows) + " rows must be among its " + std::to_string(group.n) + " keys";
  if (group.n / machine.ranks >= (std::int64_t{1} << 32) - (1 << 21)) return "a rank would own 2^32 keys or more; use more ranks";
  if (group.k.back() > most_held && config.output_error)
    return "k = " + std::to_string(group.k.back()) + " is over 2^30 - 1, the most candidates a row may hold; --output-error off needs none";
  return "";
}

}  // namespace

std::string bytes_text(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, bytes >= 1e9 ? "%.2f GB" : "%.0f MB", bytes >= 1e9 ? bytes / 1e9 : bytes / 1e6);
  return text;
}

StudyPlan plan_study(RunConfig const& config, InputShape const& input, Machine const& machine) {
  StudyPlan plan;
  bool const tensors = input.n > 0;
  std::vector<std::int64_t> heads{-1};
  if (tensors) {
    heads = config.heads;
    if (heads.empty()) {
      for (std::int64_t head = 0; head < input.heads; ++head) heads.push_back(head);
    }
    for (auto const head : heads) {
      if (head >= input.heads)
        throw UsageError("--heads", std::to_string(head), "is not a head of " + input.name + ", which has " + std::to_string(input.heads));
    }
  }
  auto const dimensions = tensors ? std::vector<std::int64_t>{input.d} : config.d;
  for (auto const head : heads) {
    for (auto const d : dimensions) {
      for (auto const n : config.n) {
        auto group = make_group(config, input, n, d, head);
        auto const reason = reason_to_skip(group, config, input, machine);
        if (!reason.empty()) {
          plan.skips.push_back(
              {"n = " + std::to_string(n) + ", d = " + std::to_string(d) + (tensors ? ", head " + std::to_string(head) : ""), reason});
          continue;
        }
        choose_path(group, config, machine);
        choose_storage(group, config, machine);
        settle_merge(group, config, machine);
        estimate_cost(group, config, machine);
        plan.groups.push_back(std::move(group));
      }
    }
  }
  if (plan.groups.empty())
    throw UsageError("nothing to measure: " + plan.skips.front().what + " is skipped because " + plan.skips.front().reason);
  return plan;
}

std::string describe(StudyPlan const& plan, RunConfig const& config, Machine const& machine) {
  std::ostringstream out;
  double seconds = 0.0;
  std::size_t cases = 0;
  out << "Plan: " << machine.ranks << " rank(s) x " << machine.threads << " thread(s), " << config.draws << " draws x " << config.rows
      << " rows\n";
  char line[256];
  std::snprintf(line, sizeof line, "%14s %5s %5s  %-9s %-9s %12s %12s %9s  %s\n", "n", "d", "head", "keys", "merge", "bytes/rank", "Gflop",
                "~seconds", "k, sigma");
  out << line;
  for (auto const& group : plan.groups) {
    std::string laws;
    for (std::size_t i = 0; i < group.k_of_law.size(); ++i) laws += (i == 0 ? "k = " : ", ") + std::to_string(group.k_of_law[i]);
    if (group.k_clipped) laws += " (clipped to n)";
    if (group.by_thresholds()) laws += " (over " + std::to_string(group.held) + " by thresholds)";
    for (std::size_t i = 0; i < group.cases.size(); ++i) laws += (i == 0 ? "; sigma = " : ", ") + group.cases[i].sigma_law;
    auto const head = group.head < 0 ? std::string("-") : std::to_string(group.head);
    std::snprintf(line, sizeof line, "%14lld %5lld %5s  %-9s %-9s %12s %12.4g %9.2g  ", static_cast<long long>(group.n),
                  static_cast<long long>(group.d), head.c_str(), group.resident ? "resident" : "streamed", name_of(group.merge),
                  bytes_text(group.bytes_per_rank).c_str(), group.flops / 1e9, group.seconds);
    out << line << laws << "\n";
    seconds += group.seconds;
    cases += group.cases.size();
  }
  for (auto const& skip : plan.skips) out << "skipped: " << skip.what << ": " << skip.reason << "\n";
  std::snprintf(line, sizeof line, "%zu case(s), about %.3g s\n", cases, seconds);
  out << line;
  return out.str();
}

}  // namespace asymptop
