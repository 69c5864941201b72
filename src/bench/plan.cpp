#include "bench/plan.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "config/option_values.hpp"
#include "kernels/device/attention.hpp"
#include "plan/memory.hpp"

namespace asymptop {
namespace {

/// The path that a case computes on; null for what only makes keys, and for ways of `merge` on hosts.
Path const* computing_path(BenchCase const& c) { return c.decodes_on_gpus() ? &device_path : find_path(c.path); }

/// Bytes of one rank at the case's peak; tests/app/test_memory.py measures them.
double estimate_bytes(BenchCase const& c, BenchConfig const& config, Machine const& machine) {
  double const n = c.keys(), d = c.d, m = c.m, ranks = c.ranks;
  double const block = config.block, tile = std::min(512.0, block) * machine.tiles_per_step;
  double const shard = std::min(n, std::ceil(n / block / ranks) * block);
  double const tensors = (takes_values(c.kernel) ? 2.0 : 1.0) * (c.resident ? shard + tile : tile) * d * 4.0;
  auto const* path = computing_path(c);
  double const scores = path == nullptr ? 0.0 : 4.0 * m * path->memory({m, 0.0, shard, 1.0, tile}).row_scores;
  double bytes = program_bytes + tensors + scores + m * d * 4.0;
  if (c.kernel == BenchKernel::exact_attention) bytes += m * d * 4.0 * (machine.tiles_per_step + 8.0);
  if (!takes_k(c.kernel)) return bytes;
  double const k = c.kept(), keep = std::min(k + 1.0, shard);
  // Candidate buffers; a few rows' lists on their way to their owners; the owner's own rows.
  double const gathered = c.merge == MergeStrategy::root ? ranks : 1.0;
  double const arriving = m * k * 8.0 * gathered, lists = std::min(4.5 * arriving, std::max(1.3e8, 4.0 * gathered * k * 8.0 * ranks));
  bytes += m * (keep + std::max(keep / 4.0, 1024.0) + 8.0 * tile) * 8.0 + lists + m / ranks * k * 32.0;
  if (path != nullptr) bytes += shard * d * path->quantised_bytes;  // the keys once more, in 8 bits
  if (c.kernel == BenchKernel::profile) bytes += m * 20.0 * 32.0 * 40.0;
  return bytes;
}

/// Bytes of a rank's GPU.
double estimate_device_bytes(BenchCase const& c, BenchConfig const& config) {
  auto const* path = computing_path(c);
  if (path == nullptr || path->device_memory == nullptr) return 0.0;
  double const n = c.keys(), block = config.block;
  double const shard = std::min(n, std::ceil(n / block / c.ranks) * block);
  double const keys = c.resident ? shard : std::min<double>(shard, path->step_keys);
  // Keys and values once more, as pairs of fp16 numbers, and sums of the rows' units.
  double const split = c.kernel == BenchKernel::exact_attention ? keys * 8.0 * device::split_columns(c.d) + 1.1e9 : 0.0;
  // Heads that come from other ranks, and their merges; NCCL's own.
  double const each = c.decodes_on_gpus() ? 24.0 * c.ranks : 24.0;
  double const merging = c.merge == MergeStrategy::device && c.ranks > 1 ? each * c.m * c.kept() + 5e8 : 0.0;
  return split + merging + path->device_memory({double(c.m), c.kept(), keys, 1.0, 0.0}, c.d);
}

/// Whether heads of the case can stay in the memory of GPUs: keys are counted in 32 bits over the sequence there, and attention wants all
/// values of a shard.
bool merges_on_device(BenchCase const& c) {
  auto const* path = computing_path(c);
  return c.selects_over_ranks() && path != nullptr && path->device_memory != nullptr && c.n <= std::int64_t{1} << 32 &&
         (c.resident || c.kernel != BenchKernel::top_k_attention);
}

/// Ranks of the case that share a node, at most.
int ranks_on_node(BenchCase const& c, Machine const& machine) { return std::max(1, std::min(c.ranks, machine.ranks_on_node)); }

/// Why a case cannot be measured; empty when it can.
std::string reason_to_skip(BenchCase const& c, Machine const& machine, bool share_gpu) {
  if (c.n > largest_n) return "n = " + std::to_string(c.n) + " is over 2^48";
  if (c.n / c.ranks >= (std::int64_t{1} << 32) - (1 << 21)) return "a rank would own 2^32 keys or more; use more ranks";
  if (c.k >= (std::int64_t{1} << 30)) return "k = " + std::to_string(c.k) + " is over 2^30, the most candidates a row may hold";
  if (c.merge == MergeStrategy::device && !merges_on_device(c))
    return "merge device is for path device, up to 2^32 keys, with resident ones where values are attended to";
  if (c.path == gpu_merges.front() && c.merge != MergeStrategy::device) return "it merges on GPUs alone: --merge auto or device";
  auto const* path = computing_path(c);
  if (path != nullptr && path->largest_d > 0 && c.d > path->largest_d)
    return std::string("path ") + path->name + " takes at most " + std::to_string(path->largest_d) + " columns";
  int const on_gpu = std::min(c.ranks, machine.ranks_on_gpu);
  if (c.device_bytes > 0.0 && on_gpu > 1 && !share_gpu) return std::to_string(on_gpu) + " ranks would have one GPU; " + own_gpu_advice;
  double const on_device = machine.device_bytes / on_gpu;
  if (machine.device_bytes > 0.0 && c.device_bytes > on_device)
    return "it needs " + bytes_text(c.device_bytes) + " of the GPU's memory on each rank and " + bytes_text(on_device) +
           " are free; lower --n, --m or --k, or use --keys streamed";
  double const share = memory_of_rank(machine, ranks_on_node(c, machine));
  if (fits_into(c.bytes_per_rank, share)) return "";
  return "it needs " + bytes_text(c.bytes_per_rank) + " on each rank and " + available_text(machine, share) +
         "; lower --n, --m or --k, use more nodes" + (c.resident ? ", or use --keys streamed" : "");
}

std::string sizes_text(BenchCase const& c) {
  std::string text = std::string(name_of(c.kernel)) + " " + c.path + ", n = " + std::to_string(c.n) + ", d = " + std::to_string(c.d) +
                     ", m = " + std::to_string(c.m);
  if (c.k > 0) text += ", k = " + c.k_law;
  if (c.selects_over_ranks()) text += std::string(", merge ") + name_of(c.merge);
  return text + (c.resident ? ", resident" : ", streamed");
}

/// The merge that all cases with more than one rank have, or `auto` where it differs.
std::string merges_text(std::vector<BenchCase> const& cases) {
  auto const merge = cases.back().merge;
  auto const same = [&](BenchCase const& c) { return c.ranks == 1 || c.merge == merge; };
  return name_of(std::all_of(cases.begin(), cases.end(), same) ? merge : MergeStrategy::automatic);
}

/// Of a group's cases: n and k are those of one rank, and k of all too where it grows.
std::string id_of(std::vector<BenchCase> const& cases, Scaling scaling) {
  auto const& c = cases.front();
  std::ostringstream id;
  id << name_of(c.kernel) << "-" << c.path << "-n" << c.n << "-d" << c.d << "-m" << c.m;
  if (c.k > 0) id << "-k" << c.k;
  if (cases.back().k != c.k) id << "-" << cases.back().k;
  if (c.selects_over_ranks()) id << "-" << merges_text(cases);
  id << (c.resident ? "-resident" : "-streamed");
  if (scaling != Scaling::none) id << "-" << name_of(scaling);
  return id.str();
}

/// Ranks that measure each case.
std::vector<int> counts_of_ranks(BenchConfig const& config, Machine const& machine) {
  if (config.scaling == Scaling::none) return {machine.ranks};
  std::vector<int> counts;
  for (auto const count : config.rank_counts) {
    if (count > machine.ranks)
      throw UsageError("--rank-counts", std::to_string(count), "is more than the run's " + std::to_string(machine.ranks) + " rank(s)");
    counts.push_back(checked_int(count));
  }
  if (!counts.empty()) return counts;
  for (int count = 1; count < machine.ranks; count *= 2) counts.push_back(count);
  counts.push_back(machine.ranks);
  return counts;
}

bool fit_together(std::vector<BenchCase> const& cases, Machine const& machine) {
  double bytes = 0.0;
  for (auto const& c : cases) bytes += c.bytes_per_rank * ranks_on_node(c, machine);
  return cases.size() == 1 || fits_into(bytes, machine.memory_bytes);
}

class Planner {
 public:
  Planner(BenchConfig const& config, PathsOf const& paths_of, Machine const& machine)
      : config_(config), paths_of_(paths_of), machine_(machine), counts_(counts_of_ranks(config, machine)) {
    check_paths();
  }

  BenchPlan plan() {
    for (auto const kernel : config_.kernel) {
      for (auto const& path : paths_for(kernel)) {
        for (auto const d : config_.d) {
          for (auto const m : kernel == BenchKernel::normals ? std::vector<std::int64_t>{0} : config_.m) {
            for (auto const n : config_.n) add_at(kernel, path, n, d, m);
          }
        }
      }
    }
    if (plan_.cases.empty()) plan_.refusal = nothing_to_measure(plan_.skips);
    refuse_run(plan_.refusal, config_);
    return std::move(plan_);
  }

 private:
  /// Every name must be one that some kernel has.
  void check_paths() const {
    std::vector<std::string> known{"auto", "all"};
    std::vector<BenchKernel> kernels(std::begin(all_bench_kernels), std::end(all_bench_kernels));
    kernels.insert(kernels.end(), {BenchKernel::normals, BenchKernel::merge});
    for (auto const kernel : kernels) {
      for (auto const& path : paths_of_(kernel)) {
        if (std::find(known.begin(), known.end(), path) == known.end()) known.push_back(path);
      }
    }
    std::string allowed;
    for (auto const& name : known) allowed += (allowed.empty() ? "" : ", ") + name;
    for (auto const& name : config_.path) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      auto const* path = is_gpu_merge(name) ? &device_path : find_path(name);
      std::string const why = path != nullptr && path->unavailable != nullptr ? path->unavailable : "";
      throw UsageError("--path", name, (why.empty() ? "is none of: " : why.substr(0, why.find(';')) + "; allowed are ") + allowed);
    }
  }

  std::vector<std::string> paths_for(BenchKernel kernel) {
    auto const there = paths_of_(kernel);
    std::vector<std::string> chosen;
    auto const choose = [&](std::string const& path) {
      if (std::find(chosen.begin(), chosen.end(), path) == chosen.end()) chosen.push_back(path);
    };
    for (auto const& name : config_.path) {
      if (name == "auto") {
        choose(there.front());
      } else if (name == "all") {
        for (auto const& path : there) choose(path);
      } else if (std::find(there.begin(), there.end(), name) != there.end()) {
        choose(name);
      } else {
        plan_.skips.push_back({std::string(name_of(kernel)) + " " + name, "the kernel has no such path on this build"});
      }
    }
    return chosen;
  }

  void add_at(BenchKernel kernel, std::string const& path, std::int64_t n, std::int64_t d, std::int64_t m) {
    auto storages = config_.keys;
    if (kernel == BenchKernel::normals) storages = {KeyStorage::streamed};
    if (kernel == BenchKernel::merge) storages = {KeyStorage::resident};
    for (auto const storage : storages) {
      BenchCase c;
      c.kernel = kernel;
      c.path = path;
      c.n = n;
      c.d = checked_int(d);
      c.m = checked_int(m);
      c.resident = storage == KeyStorage::resident;
      if (!takes_k(kernel)) {
        add(c, nullptr);
        continue;
      }
      for (auto const& law : config_.k) {
        c.k = 1;  // some
        for (auto const merge : c.selects_over_ranks() ? config_.merge : std::vector{MergeStrategy::owner}) {
          c.merge = merge;
          add(c, &law);
        }
      }
    }
  }

  /// k at the case's n, and the merge that `auto` stands for on its ranks.
  void set_selection(BenchCase& c, Law const& law) const {
    auto const rank = rank_at(law, c.n);
    c.k = rank.k;
    c.k_law = law.text();
    c.k_clipped = rank.clipped;
    // A profile keeps one candidate more, for the errors at k.
    double const rows = c.m, keep = c.kept() + (c.kernel == BenchKernel::profile ? 1.0 : 0.0);
    if (!c.selects_over_ranks()) return;
    MergeShape const shape{c.ranks, rows, keep, c.keys()};
    if (c.merge == MergeStrategy::automatic && merges_on_device(c)) c.merge = MergeStrategy::device;
    c.merge = choose_merge(c.merge, shape, machine_.network);
    c.merge_estimate = estimate_merge(c.merge, shape, machine_.network);
  }

  /// The case on every count of ranks. law: of k.
  void add(BenchCase const& on_one_rank, Law const* law) {
    bool const scales = config_.scaling != Scaling::none;
    std::vector<BenchCase> cases;
    std::string reason;
    for (int const ranks : counts_) {
      auto& c = cases.emplace_back(on_one_rank);
      c.ranks = ranks;
      if (config_.scaling == Scaling::weak) c.n = c.n > largest_n / ranks ? largest_n + 1 : c.n * ranks;
      if (law != nullptr) set_selection(c, *law);
      c.bytes_per_rank = estimate_bytes(c, config_, machine_);
      c.device_bytes = estimate_device_bytes(c, config_);
      auto const why = reason_to_skip(c, machine_, config_.share_gpu);
      if (reason.empty() && !why.empty()) reason = (scales ? "on " + std::to_string(ranks) + " rank(s): " : std::string()) + why;
    }
    BenchGroup group{id_of(cases, config_.scaling), plan_.cases.size(), plan_.cases.size() + cases.size(), fit_together(cases, machine_)};
    for (auto const& other : plan_.groups) {
      if (other.id != group.id) continue;
      auto const& same = plan_.cases[other.first];
      reason = same.k_law == cases.front().k_law ? "auto takes what is named too" : "it is the same case as k = " + same.k_law;
    }
    if (!reason.empty()) {
      plan_.skips.push_back({sizes_text(cases.front()), reason});
      return;
    }
    for (auto& c : cases) {
      c.id = group.id + (scales ? "-ranks" + std::to_string(c.ranks) : "");
      plan_.cases.push_back(std::move(c));
    }
    plan_.groups.push_back(std::move(group));
  }

  BenchConfig const& config_;
  PathsOf const& paths_of_;
  Machine const& machine_;
  std::vector<int> counts_;
  BenchPlan plan_;
};

}  // namespace

double BenchCase::flops() const {
  if (kernel == BenchKernel::merge) return 0.0;
  double const rows = 2.0 * m * d, scores = rows * keys();
  if (kernel == BenchKernel::exact_attention) return 2.0 * scores;
  return kernel == BenchKernel::top_k_attention ? scores + rows * kept() : scores;
}

double BenchCase::bytes_read() const {
  if (!resident || kernel == BenchKernel::merge) return 0.0;
  double const row = 4.0 * d, all = keys() * row;
  if (kernel == BenchKernel::exact_attention) return 2.0 * all;
  return kernel == BenchKernel::top_k_attention ? all + m * kept() * row : all;
}

BenchPlan plan_bench(BenchConfig const& config, PathsOf const& paths_of, Machine const& machine) {
  return Planner(config, paths_of, machine).plan();
}

nlohmann::ordered_json plan_records(BenchPlan const& plan) {
  auto all = nlohmann::ordered_json::array();
  for (auto const& c : plan.cases) {
    nlohmann::ordered_json json{{"id", c.id}, {"kernel", name_of(c.kernel)}, {"path", c.path}, {"n", c.n}, {"d", c.d}, {"m", c.m}};
    if (c.k > 0) json.update({{"k_law", c.k_law}, {"k", c.k}});
    if (c.selects_over_ranks()) json["merge"] = name_of(c.merge);
    json.update({{"keys", c.resident ? "resident" : "streamed"},
                 {"ranks", c.ranks},
                 {"bytes_per_rank", c.bytes_per_rank},
                 {"gflop", c.flops() / 1e9}});
    if (c.device_bytes > 0.0) json["gpu_bytes_per_rank"] = c.device_bytes;
    all.push_back(std::move(json));
  }
  return all;
}

std::string describe(BenchPlan const& plan, BenchConfig const& config, Machine const& machine) {
  std::ostringstream out;
  out << "Cases: " << machine.ranks << " rank(s) x " << machine.threads << " thread(s), " << config.samples << " samples each\n"
      << memory_line(machine);
  out << formatted("%-15s %-11s %14s %5s %6s %10s  %-8s %6s %12s %12s  %-9s %9s %9s\n", "kernel", "path", "n", "d", "m", "k", "keys",
                   "ranks", "bytes/rank", "Gflop", "merge", "~merge s", "~sent MB");
  for (auto const& group : plan.groups) {
    for (auto i = group.first; i < group.end; ++i) {
      auto const& c = plan.cases[i];
      auto const k = c.k > 0 ? std::to_string(c.k) : std::string("-");
      out << formatted("%-15s %-11s %14s %5d %6d %10s  %-8s %6d %12s %12.4g", name_of(c.kernel), c.path.c_str(),
                       std::to_string(c.n).c_str(), c.d, c.m, k.c_str(), c.resident ? "resident" : "streamed", c.ranks,
                       bytes_text(c.bytes_per_rank).c_str(), c.flops() / 1e9);
      if (c.device_bytes > 0.0) out << "  GPU " << bytes_text(c.device_bytes);
      if (c.selects_over_ranks()) {
        out << formatted("  %-9s %9.2g %9.3g%s", name_of(c.merge), c.merge_estimate.seconds, c.merge_estimate.bytes / 1e6,
                         c.k_clipped ? "  (k clipped to n)" : "");
      }
      out << "\n";
    }
    if (!group.together) out << "  counts of ranks one after the other: memory does not hold all at once\n";
  }
  out << skipped_lines(plan.skips);
  return out.str();
}

}  // namespace asymptop
