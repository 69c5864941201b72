#include "plan/bench_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "config/errors.hpp"

namespace asymptop {
namespace {

/// Share of a rank's memory that a case may take.
constexpr double whole_share = 0.9;

/// Bytes of one rank at the case's peak, as the portable path needs them; others need less.
double estimate_bytes(BenchCase const& c, BenchConfig const& config, Machine const& machine) {
  double const n = static_cast<double>(c.n), d = static_cast<double>(c.d), m = static_cast<double>(c.m), ranks = machine.ranks;
  double const block = static_cast<double>(config.block), tile = std::min(512.0, block) * machine.tiles_per_step;
  double const shard = std::min(n, std::ceil(n / block / ranks) * block);
  double const tensors = (takes_values(c.kernel) ? 2.0 : 1.0) * (c.resident ? shard + tile : tile) * d * 4.0;
  double const scores = m * tile * 4.0 * 2.0;
  double bytes = 9e7 + tensors + scores + m * d * 4.0;
  if (c.kernel == BenchKernel::exact_attention) bytes += m * d * 4.0 * (machine.tiles_per_step + 8.0);
  if (!takes_k(c.kernel)) return bytes;
  double const k = static_cast<double>(c.k), keep = std::min(k + 1.0, shard);
  // Candidate buffers; a few rows' lists on their way to their owners; the owner's own rows.
  double const gathered = c.merge == MergeStrategy::root ? ranks : 1.0;
  bytes += m * (keep + std::max(keep / 4.0, 1024.0) + 8.0 * tile) * 8.0 + std::max(6.4e7, 4.0 * gathered * k * 8.0 * ranks) +
           m / ranks * k * 16.0;
  if (c.kernel == BenchKernel::profile) bytes += m * 20.0 * 32.0 * 40.0;
  return bytes;
}

/// Why a case cannot be measured; empty when it can.
std::string reason_to_skip(BenchCase const& c, Machine const& machine) {
  if (c.n / machine.ranks >= (std::int64_t{1} << 32) - (1 << 21)) return "a rank would own 2^32 keys or more; use more ranks";
  if (c.k >= (std::int64_t{1} << 30)) return "k = " + std::to_string(c.k) + " is over 2^30, the most candidates a row may hold";
  double const share = machine.memory_bytes / std::max(1, machine.ranks_on_node);
  if (share <= 0.0 || c.bytes_per_rank <= whole_share * share) return "";
  return "it needs " + bytes_text(c.bytes_per_rank) + " on each rank and " + bytes_text(share) +
         " are available; lower --n, --m or --k, use more nodes" + (c.resident ? ", or use --keys streamed" : "");
}

std::string sizes_text(BenchCase const& c) {
  std::string text = std::string(name_of(c.kernel)) + " " + c.path + ", n = " + std::to_string(c.n) + ", d = " + std::to_string(c.d) +
                     ", m = " + std::to_string(c.m);
  if (c.k > 0) text += ", k = " + c.k_law + ", merge " + name_of(c.merge);
  return text + (c.resident ? ", resident" : ", streamed");
}

std::string id_of(BenchCase const& c) {
  std::ostringstream id;
  id << name_of(c.kernel) << "-" << c.path << "-n" << c.n << "-d" << c.d << "-m" << c.m;
  if (c.k > 0) id << "-k" << c.k << "-" << name_of(c.merge);
  id << (c.resident ? "-resident" : "-streamed");
  return id.str();
}

class Planner {
 public:
  Planner(BenchConfig const& config, PathsOf const& paths_of, Machine const& machine)
      : config_(config), paths_of_(paths_of), machine_(machine) {
    check_paths();
  }

  BenchPlan plan() {
    for (auto const kernel : config_.kernel) {
      for (auto const& path : paths_for(kernel)) {
        for (auto const d : config_.d) {
          for (auto const m : config_.m) {
            for (auto const n : config_.n) add_at(kernel, path, n, d, m);
          }
        }
      }
    }
    if (plan_.cases.empty()) throw UsageError("nothing to measure: " + plan_.skips.front().what + ": " + plan_.skips.front().reason);
    return std::move(plan_);
  }

 private:
  /// Every name must be one that some kernel has.
  void check_paths() const {
    std::vector<std::string> known{"auto", "all"};
    for (auto const kernel : all_bench_kernels) {
      for (auto const& path : paths_of_(kernel)) {
        if (std::find(known.begin(), known.end(), path) == known.end()) known.push_back(path);
      }
    }
    std::string allowed;
    for (auto const& name : known) allowed += (allowed.empty() ? "" : ", ") + name;
    for (auto const& name : config_.path) {
      if (std::find(known.begin(), known.end(), name) == known.end()) throw UsageError("--path", name, "is none of: " + allowed);
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
    for (auto const storage : config_.keys) {
      BenchCase c;
      c.kernel = kernel;
      c.path = path;
      c.n = n;
      c.d = d;
      c.m = m;
      c.resident = storage == KeyStorage::resident;
      if (!takes_k(kernel)) {
        add(c);
        continue;
      }
      for (auto const& law : config_.k) {
        auto const rank = rank_at(law, n);
        c.k = rank.k;
        c.k_law = law.text();
        c.k_clipped = rank.clipped;
        add_merges(c);
      }
    }
  }

  void add_merges(BenchCase c) {
    // A profile keeps one candidate more, for the errors at k.
    double const keep = static_cast<double>(c.k + (c.kernel == BenchKernel::profile ? 1 : 0));
    MergeShape const shape{machine_.ranks, static_cast<double>(c.m), keep, static_cast<double>(c.n)};
    for (auto const merge : config_.merge) {
      c.merge = choose_merge(merge, shape, machine_.network);
      c.merge_estimate = estimate_merge(c.merge, shape, machine_.network);
      add(c);
    }
  }

  void add(BenchCase c) {
    c.id = id_of(c);
    c.bytes_per_rank = estimate_bytes(c, config_, machine_);
    auto reason = reason_to_skip(c, machine_);
    for (auto const& other : plan_.cases) {
      if (other.id != c.id) continue;
      reason = other.k_law == c.k_law ? "auto takes what is named too" : "it is the same case as k = " + other.k_law;
    }
    if (reason.empty()) {
      plan_.cases.push_back(std::move(c));
    } else {
      plan_.skips.push_back({sizes_text(c), reason});
    }
  }

  BenchConfig const& config_;
  PathsOf const& paths_of_;
  Machine const& machine_;
  BenchPlan plan_;
};

}  // namespace

double BenchCase::flops() const {
  double const rows = static_cast<double>(m) * static_cast<double>(d) * 2.0, scores = rows * static_cast<double>(n);
  if (kernel == BenchKernel::exact_attention) return 2.0 * scores;
  return kernel == BenchKernel::top_k_attention ? scores + rows * static_cast<double>(k) : scores;
}

double BenchCase::bytes_read() const {
  if (!resident) return 0.0;
  double const row = static_cast<double>(d) * 4.0, keys = static_cast<double>(n) * row;
  if (kernel == BenchKernel::exact_attention) return 2.0 * keys;
  return kernel == BenchKernel::top_k_attention ? keys + static_cast<double>(m) * static_cast<double>(k) * row : keys;
}

BenchPlan plan_bench(BenchConfig const& config, PathsOf const& paths_of, Machine const& machine) {
  return Planner(config, paths_of, machine).plan();
}

std::string describe(BenchPlan const& plan, BenchConfig const& config, Machine const& machine) {
  std::ostringstream out;
  out << "Cases: " << machine.ranks << " rank(s) x " << machine.threads << " thread(s), " << config.samples << " samples each\n";
  char line[256];
  std::snprintf(line, sizeof line, "%-15s %-10s %14s %5s %6s %10s  %-8s %12s %12s  %-9s %9s %9s\n", "kernel", "path", "n", "d", "m", "k",
                "keys", "bytes/rank", "Gflop", "merge", "~merge s", "~sent MB");
  out << line;
  for (auto const& c : plan.cases) {
    auto const k = c.k > 0 ? std::to_string(c.k) : std::string("-");
    std::snprintf(line, sizeof line, "%-15s %-10s %14lld %5lld %6lld %10s  %-8s %12s %12.4g", name_of(c.kernel), c.path.c_str(),
                  static_cast<long long>(c.n), static_cast<long long>(c.d), static_cast<long long>(c.m), k.c_str(),
                  c.resident ? "resident" : "streamed", bytes_text(c.bytes_per_rank).c_str(), c.flops() / 1e9);
    out << line;
    if (c.k > 0) {
      std::snprintf(line, sizeof line, "  %-9s %9.2g %9.3g%s", name_of(c.merge), c.merge_estimate.seconds, c.merge_estimate.bytes / 1e6,
                    c.k_clipped ? "  (k clipped to n)" : "");
      out << line;
    }
    out << "\n";
  }
  for (auto const& skip : plan.skips) out << "skipped: " << skip.what << ": " << skip.reason << "\n";
  return out.str();
}

}  // namespace asymptop
