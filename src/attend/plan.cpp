#include "attend/plan.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "config/options.hpp"
#include "kernels/device/attention.hpp"
#include "plan/heads.hpp"
#include "plan/k_axis.hpp"
#include "plan/memory.hpp"
#include "plan/teams.hpp"

namespace asymptop {
namespace {

/// Rows of the rank that has most: it owns a run of blocks, with a causal mask an early and a late one.
double most_rows(AttendCase const& c, AttendConfig const& config, int ranks) {
  double const n = c.rows(), runs = c.mask == Mask::causal ? 2.0 : 1.0, block = config.block;
  return std::min(n, std::ceil(std::ceil(n / block) / (runs * ranks)) * runs * block);
}

/// Rows of a rank with so many whose candidates are there at once.
double rows_together(AttendCase const& c, double rows) {
  return std::min(rows, std::max(1.0, selection_budget(rows * c.d * 4.0) / selection_bytes_per_row(c.k.back())));
}

/// Bytes of one rank of a team at the case's peak.
double estimate_bytes(AttendCase const& c, AttendConfig const& config, int ranks) {
  double const d = c.d, rows = most_rows(c, config, ranks);
  double const matrix = rows * d * 4.0, buffers = 1.0 + std::min(2.0, ranks - 1.0);
  double const heads = int_size(c.k);
  // Queries; keys and values, and room for those that arrive; outputs; a row's sums, a few nodes of each as a rule.
  double bytes = program_bytes + matrix * (1.0 + 2.0 * buffers + heads);
  if (config.wants(BenchKernel::exact_attention)) bytes += matrix + rows * (4.0 * d * 4.0 + 200.0);
  if (!c.k.empty()) {
    bytes += rows_together(c, rows) * (selection_bytes_per_row(c.k.back()) + heads * (d + 1.0) * 8.0) + rows * heads * 64.0;
  }
  if (config.spectral) bytes += rows * heads * (4.0 * buffers + 60.0);
  return bytes;
}

std::string reason_to_skip(double bytes_per_rank, AttendSet const& set, Machine const& machine) {
  double const share = memory_of_rank(machine);
  if (fits_into(bytes_per_rank, share)) return "";
  return "it needs " + bytes_text(bytes_per_rank) + " on each rank and " + available_text(machine, share) + "; lower --n or --k, " +
         (set.teams > 1 ? "take fewer --groups, " : "") + "or use more nodes";
}

/// The number of teams for cases of one shape.
int choose_teams(AttendSet const& set, AttendConfig const& config, Machine const& machine) {
  if (config.groups > 0) return config.groups;
  auto const& c = set.cases.front();
  auto const draws = std::ssize(set.cases) * config.draws;
  int best = 1;
  double fewest = INFINITY;
  for (int teams = 1; teams <= std::min<std::int64_t>(machine.ranks, draws); ++teams) {
    int const ranks = machine.ranks / teams;  // of the smallest
    if (teams > 1 && !fits_into(estimate_bytes(c, config, ranks), memory_of_rank(machine))) break;
    double const rows = std::ceil(exact_double(draws) / teams) * most_rows(c, config, ranks);
    if (rows > fewest) continue;
    fewest = rows;
    best = teams;
  }
  return best;
}

/// A sigma law of synthetic input, or a head of a tensor file.
struct AttendSource {
  std::int64_t law = -1, head = -1;
};

AttendCase make_case(AttendConfig const& config, InputShape const& input, std::int64_t n, std::int64_t d, AttendSource source, Mask mask,
                     Path const& exact) {
  AttendCase c;
  c.exact_path = &exact;
  c.n = n;
  c.d = checked_int(d);
  c.head = source.head;
  c.scale = input.form.scale > 0.0 ? input.form.scale : 1.0 / std::sqrt(d);
  c.sigma_law = "measured";
  c.mask = mask;
  if (source.law >= 0) {
    auto const& law = config.sigma[source.law];
    c.sigma_law = law.text();
    c.sigma = law(n);
    option_table().check_at(for_attend, "sigma", "--sigma", c.sigma_law, c.sigma, n);
  }
  if (config.wants(BenchKernel::top_k_attention)) set_k(c, config.k, n);
  auto const of = source.law >= 0 ? "sigma" + config.sigma[source.law].word() : "head" + std::to_string(source.head);
  c.id = "n" + std::to_string(n) + "-d" + std::to_string(d) + "-" + of + (mask == Mask::causal ? "-causal" : "-full");
  return c;
}

std::vector<AttendSource> sources_of(AttendConfig const& config, InputShape const& input) {
  std::vector<AttendSource> sources;
  if (input.n == 0) {
    for (std::int64_t law = 0; law < std::ssize(config.sigma); ++law) sources.push_back({law, -1});
    return sources;
  }
  if (input.has_layers())
    throw UsageError("--input", input.name,
                     "has layers and texts of a model (tensor_format 2), which study reads; attend reads Q, K and V");
  if (input.d_v != input.d)
    throw UsageError("--input", input.name,
                     "has V of d = " + std::to_string(input.d_v) + " and K of d = " + std::to_string(input.d) +
                         ", which study reads; attend wants them equal");
  for (auto const n : config.n) {
    if (n > input.n) throw UsageError("--n", std::to_string(n), "is more than the " + std::to_string(input.n) + " rows of " + input.name);
  }
  for (auto const head : config.heads) {
    if (head >= input.heads)
      throw UsageError("--heads", std::to_string(head), "is not a head of " + input.name + ", which has " + numbers_of_heads(input.heads));
    sources.push_back({-1, head});
  }
  for (std::int64_t head = 0; config.heads.empty() && head < input.heads; ++head) sources.push_back({-1, head});
  return sources;
}

/// The path of exact attention. Throws UsageError.
Path const* choose_path(AttendConfig const& config, Machine const& machine) {
  auto const* path = config.path;
  if (path == nullptr) return &fused_path;
  if (std::find(machine.paths.begin(), machine.paths.end(), path) == machine.paths.end())
    throw UsageError("--path", path->name, path->unavailable);
  if (path->device_memory == nullptr) return path;
  if (config.block < device::least_unit)
    throw UsageError("--block", std::to_string(config.block),
                     "is less than " + std::to_string(device::least_unit) + ", the fewest keys that path device sums up at once");
  if (!config.share_gpu && machine.ranks_on_gpu > 1)
    throw UsageError("--gpu", "auto", "finds one GPU for " + std::to_string(machine.ranks_on_gpu) + " ranks; " + own_gpu_advice);
  return path;
}

/// Bytes of a rank's GPU, 0 where the path has none. Exact attention: its rows; keys and values of a piece, in fp32 and as pairs of fp16
/// numbers, and where they go from GPU to GPU those that come next; chunks of rows' sums; NCCL's own. And a batch of rows' selection.
double estimate_device_bytes(AttendCase const& c, AttendConfig const& config, int ranks) {
  if (c.exact_path->device_memory == nullptr) return 0.0;
  double const rows = most_rows(c, config, ranks), columns = device::split_columns(c.d), together = most_selecting_on_gpu;
  double bytes = 0.0;
  if (config.wants(BenchKernel::exact_attention))
    bytes += rows * (c.d * 4.0 + 16.0) + rows * (8.0 * c.d + 8.0 * columns) + 4.0 * 2.7e8 + rows * columns * 4.0 +
             (ranks > 1 ? rows * 16.0 * c.d + 5e8 : 0.0);
  if (!c.k.empty())
    bytes += c.exact_path->device_memory({std::min(together, rows_together(c, rows)), exact_double(c.k.back()), rows, 1.0, 0.0}, c.d);
  return bytes;
}

/// Why a case is not for the GPU; empty where it is, or where it needs none.
std::string reason_against_device(AttendCase const& c, AttendConfig const& config, Machine const& machine) {
  if (!(c.device_bytes > 0.0)) return "";
  int const most = config.wants(BenchKernel::exact_attention) ? device::most_attention_columns : c.exact_path->largest_d;
  if (c.d > most) return "path device takes at most " + std::to_string(most) + " columns";
  double const share = machine.device_bytes / machine.ranks_on_gpu;
  if (fits_into(c.device_bytes, share)) return "";
  return "it needs " + bytes_text(c.device_bytes) + " of the GPU's memory on each rank and " + bytes_text(share) +
         " are free; use more GPUs";
}

}  // namespace

std::size_t AttendPlan::cases() const {
  std::size_t count = 0;
  for (auto const& set : sets) count += set.cases.size();
  return count;
}

double AttendCase::visible_pairs() const { return mask == Mask::causal ? rows() * (rows() + 1.0) / 2.0 : rows() * rows(); }

double AttendCase::top_k_flops() const {
  if (k.empty()) return 0.0;
  double const most = exact_double(k.back());
  double const kept = mask == Mask::causal ? most * (most + 1.0) / 2.0 + (rows() - most) * most : rows() * most;
  return 2.0 * d * (visible_pairs() + kept);
}

double AttendCase::flops(AttendConfig const& config) const {
  return (config.wants(BenchKernel::exact_attention) ? exact_flops() : 0.0) + top_k_flops();
}

double selection_budget(double shard_bytes) { return std::max(6.4e7, 4.0 * shard_bytes); }

double selection_bytes_per_row(std::int64_t keep) {
  double const k = exact_double(keep);
  return (k + std::max(k / 2.0, 512.0) + 528.0) * 8.0 + 16.0 * k + 256.0;
}

AttendPlan plan_attend(AttendConfig const& config, InputShape const& input, Machine const& machine) {
  AttendPlan plan;
  plan.exact_path = choose_path(config, machine);
  auto const sources = sources_of(config, input);
  auto const draws = std::ssize(sources) * config.draws;
  if (config.groups > std::min<std::int64_t>(machine.ranks, draws)) {
    throw UsageError("--groups", std::to_string(config.groups),
                     machine.ranks <= draws ? "is more than there are ranks (" + std::to_string(machine.ranks) + ")"
                                            : "is more than there are draws to share out (" + std::to_string(draws) + ")");
  }
  for (auto const d : input.n > 0 ? std::vector{input.d} : config.d) {
    for (auto const n : config.n) {
      for (auto const mask : config.mask) {
        AttendSet set;
        for (auto const& source : sources) set.cases.push_back(make_case(config, input, n, d, source, mask, *plan.exact_path));
        set.teams = choose_teams(set, config, machine);
        int const ranks = machine.ranks / set.teams;
        double const bytes = estimate_bytes(set.cases.front(), config, ranks);
        double const on_device = estimate_device_bytes(set.cases.front(), config, ranks);
        for (auto& c : set.cases) {
          c.bytes_per_rank = bytes;
          c.device_bytes = on_device;
        }
        auto reason = reason_to_skip(bytes, set, machine);
        if (reason.empty()) reason = reason_against_device(set.cases.front(), config, machine);
        for (auto const& c : set.cases) {
          if (!reason.empty()) plan.skips.push_back({c.id, reason});
        }
        if (reason.empty()) plan.sets.push_back(std::move(set));
      }
    }
  }
  if (plan.sets.empty()) plan.refusal = nothing_to_measure(plan.skips);
  refuse_run(plan.refusal, config);
  return plan;
}

nlohmann::ordered_json plan_records(AttendPlan const& plan, AttendConfig const& config) {
  auto all = nlohmann::ordered_json::array();
  for (auto const& set : plan.sets) {
    for (auto const& c : set.cases) {
      nlohmann::ordered_json json{{"id", c.id}, {"n", c.n}, {"d", c.d}};
      if (c.head >= 0) json["head"] = c.head;
      if (c.device_bytes > 0.0) json["gpu_bytes_per_rank"] = c.device_bytes;
      json["sigma_law"] = c.sigma_law;
      if (c.head < 0) json["sigma"] = c.sigma;
      json.update({{"mask", name_of(c.mask)},
                   {"k_of_law", c.k_of_law},
                   {"draws", config.draws},
                   {"groups", set.teams},
                   {"bytes_per_rank", c.bytes_per_rank},
                   {"gflop", c.flops(config) / 1e9}});
      all.push_back(std::move(json));
    }
  }
  return all;
}

std::string describe(AttendPlan const& plan, AttendConfig const& config, Machine const& machine) {
  std::ostringstream out;
  out << "Cases: " << machine.ranks << " rank(s) x " << machine.threads << " thread(s), " << config.draws << " draw(s) each\n"
      << memory_line(machine);
  out << formatted("%-28s %10s %5s %-16s %-7s %6s %12s %12s\n", "case", "n", "d", "sigma law", "mask", "groups", "bytes/rank", "Gflop");
  for (auto const& set : plan.sets) {
    for (auto const& c : set.cases) {
      out << formatted("%-28s %10s %5d %-16.16s %-7s %6d %12s %12.4g", c.id.c_str(), std::to_string(c.n).c_str(), c.d, c.sigma_law.c_str(),
                       name_of(c.mask), set.teams, bytes_text(c.bytes_per_rank).c_str(), c.flops(config) / 1e9)
          << (c.device_bytes > 0.0 ? "  GPU " + bytes_text(c.device_bytes) : "") << (c.k_clipped ? "  (k clipped to n)" : "") << "\n";
    }
  }
  out << skipped_lines(plan.skips);
  return out.str();
}

}  // namespace asymptop
