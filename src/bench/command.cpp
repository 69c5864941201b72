// asymptop bench: options -> plan -> yardsticks -> measure each case -> results file, table and records.
#include "bench/command.hpp"

#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/records.hpp"
#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "launch/launch.hpp"
#include "launch/measurement.hpp"
#include "launch/stop.hpp"

namespace asymptop {
namespace {

/// The first ranks of the run, and what their cores can do. Ranks after them hold the rest, and no one uses that.
struct FirstRanks {
  FirstRanks(Communicator const& all, int ranks, int threads)
      : comm(all.split(all.rank() < ranks ? 0 : 1)), yardsticks(comm, threads, stop_wanted), take_part(all.rank() < ranks) {}
  Communicator comm;
  Yardsticks yardsticks;
  bool take_part;
};

/// Keys and values of a case that must come from memory, in bytes.
constexpr double beyond_caches = 128.0 * 1024.0 * 1024.0;

/// Where a device does the work, the first touch of memory that was given back and taken again would be much of what is measured.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 25);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

class Bench final : public Measurement {
 public:
  Bench(Communicator const& comm, BenchConfig const& config, std::vector<BenchPath> const& paths)
      : Measurement(comm, config),
        config_(config),
        machine_(describe_machine(comm)),
        paths_(paths),
        plan_(plan_bench(config, paths_of(paths), machine_)) {}

  std::string describe() const override { return asymptop::describe(plan_, config_, machine_); }
  std::string refusal() const override { return plan_.refusal; }
  nlohmann::ordered_json plan_record() const override {
    auto json = plan_head("bench", machine_, plan_.skips);
    json["samples"] = config_.samples;
    json["cases"] = plan_records(plan_);
    return json;
  }
  std::string heading() const override { return ""; }  // of the machine, once it is at rest

  int run() override {
    check_same_blas(comm_);  // its rate is a yardstick for all
    for (auto const& item : plan_.cases) {
      if (item.device_bytes > 0.0) keep_freed_memory();
      auto& place = ranks_[item.ranks];
      if (place == nullptr) place = std::make_unique<FirstRanks>(comm_, item.ranks, machine_.threads);
    }
    print_machine();
    // A sample of many keys may take longer than whoever asks for a stop will wait.
    std::optional<LeaveInTime> leave;
    leave.emplace(std::chrono::seconds(3), [this] { leave_within_a_step(); });
    bool const measured = measure_all();
    leave.reset();
    if (!measured) {
      if (comm_.is_root()) stop_here();
      return exit_stopped;
    }
    if (comm_.is_root()) {
      if (in_file_ < cases_.size()) write();
      write_bench_file(config_.output, provenance_, cases_);  // now with the time that writing took
    }
    Ending ending;
    bool valid = true;  // rank 0 took part in all and knows
    for (auto const& c : cases_) {
      ending.records.push_back(bench_record(c));
      auto const name = c.item.id + "/";
      if (c.item.flops() > 0.0) {
        ending.figures.push_back({name + "rate", c.gflops(), "GFLOP/s"});
      } else {
        ending.figures.push_back({name + "median-time", c.result.statistics().median, "s", false});
      }
      ending.figures.push_back({name + "rate-of-sgemm", 100.0 * c.share_of_sgemm(), "%"});
      ending.figures.push_back({name + "bandwidth-of-read", 100.0 * c.share_of_bandwidth(), "%"});
      valid = valid && c.result.reason().empty();
    }
    return finish(ending, valid);
  }

 private:
  /// False when it was asked to stop.
  bool measure_all() {
    if (!measure_yardsticks()) return false;
    print("\n" + bench_table_heading(config_.scaling));
    return std::all_of(plan_.groups.begin(), plan_.groups.end(),
                       [this](BenchGroup const& group) { return !stop_wanted(comm_) && measure(group); });
  }

  void stop_here() {
    if (in_file_ < cases_.size()) write();
    print(stopped_line(cases_.size(), plan_.cases.size(), cases_.empty() ? "" : ", in " + config_.output));
  }

  /// Called by another thread than the one that measures.
  void leave_within_a_step() {
    std::unique_lock const lock(results_, std::try_to_lock);
    if (!lock) return;  // the next call finds it done
    leave_now(comm_, [this] { stop_here(); });
  }

  void print_machine() const {
    auto const available = bytes_text(machine_.memory_bytes);
    print(version_text() + "\ncommand   " + config_.command_line + "\n" + "machine   " + cpu_name() + ", " +
          std::to_string(allowed_core_count()) + " core(s) allowed, " + available + " available, execution space " + RunSpace::name() +
          "\n" + "run       " + std::to_string(machine_.ranks) + " rank(s) x " + std::to_string(machine_.threads) + " thread(s), " +
          std::to_string(config_.samples) + " samples, block " + std::to_string(config_.block) + ", seed " + std::to_string(config_.seed) +
          "\n");
    if (config_.scaling != Scaling::none) {
      std::string counts;
      for (auto const& [ranks, first] : ranks_) counts += (counts.empty() ? "" : ", ") + std::to_string(ranks);
      print("scaling   " + std::string(name_of(config_.scaling)) + ", on the first " + counts +
            " rank(s) of the run while the others sleep\n");
    }
    for (auto const& group : plan_.groups) {
      if (!group.together)
        print("in order  " + group.id + ": memory does not hold all counts of ranks at once, so samples do not take turns\n");
    }
    for (auto const& skip : plan_.skips) print("skipped   " + skip.what + ": " + skip.reason + "\n");
    for (auto const& item : plan_.cases) {
      if (item.k_clipped) print("clipped   k = " + item.k_law + " to n = " + std::to_string(item.n) + " in " + item.id + "\n");
    }
  }

  /// False when it was asked to stop.
  bool measure_yardsticks() {
    for (auto const& [count, first] : ranks_) {
      auto const lines = first->take_part ? yardstick_lines(*first, count) : "";
      comm_.sleeping_barrier();
      if (stop_wanted(comm_)) return false;
      print(lines);
    }
    auto& most = ranks_.rbegin()->second->yardsticks;
    bool const here = ranks_.rbegin()->second->take_part;
    provenance_ = provenance("bench", machine_.threads,
                             {{"fma_gflops", here ? most.fma_gflops() : 0.0},
                              {"byte_gops", here ? std::max(most.byte_gops().vectors, most.byte_gops().tiles) : 0.0},
                              {"read_bandwidth", here ? bandwidth_.rbegin()->second : 0.0}});
    if (comm_.is_root()) provenance_.texts.emplace_back("cpu", cpu_name());
    return true;
  }

  /// Collective over the ranks that take part.
  std::string yardstick_lines(FirstRanks& first, int count) {
    auto& yardsticks = first.yardsticks;
    double const fma = yardsticks.fma_gflops(), bandwidth = bandwidth_[count] = yardsticks.read_bandwidth();
    std::string text = config_.scaling == Scaling::none ? "" : "on " + std::to_string(count) + " rank(s):\n";
    text += formatted("fma       fp32 multiply-adds from registers: %.4g GFLOP/s", fma);
    if (count > 1) {
      auto const single = yardsticks.fma_of_ranks();
      text += formatted("; a rank's least / mean / most: %.4g / %.4g / %.4g", single.min, single.mean, single.max);
    }
    auto const& bytes = yardsticks.byte_gops();
    text += formatted("\nbytes     8-bit multiply-adds from registers: %.4g GOP/s", bytes.vectors);
    if (bytes.tiles > 0.0) {
      text += formatted(", by tiles %.4g", bytes.tiles);
    }
    text += formatted("\nread      memory: %.4g GB/s\n", bandwidth);
    for (auto const& item : plan_.cases) {
      int const m = item.m, d = item.d;
      if (item.ranks == count && m > 0 && !yardsticks.knows_sgemm(m, d)) text += sgemm_line(m, d, yardsticks.sgemm(m, d));
    }
    return comm_.is_root() ? text + gpu_lines(yardsticks, count) : text;
  }

  /// On rank 0, where cases of so many ranks run on GPUs.
  std::string gpu_lines(Yardsticks& yardsticks, int count) const {
    std::string text;
    for (auto const& item : plan_.cases) {
      if (item.ranks != count || !(item.device_bytes > 0.0)) continue;
      if (text.empty())
        text = formatted("gpu       %s, copy within its memory: %.4g GB/s\n", device::gpu().name.c_str(), yardsticks.gpu_copy());
      auto const& rates = yardsticks.gpu(item.m, item.n, item.d);
      auto const line = formatted("cublas    m = %d, d = %d: fp32 %.4g, tf32 %.4g, bf16 %.4g GFLOP/s\n", item.m, item.d, rates.fp32_gflops,
                                  rates.tf32_gflops, rates.bf16_gflops);
      if (text.find(line) == std::string::npos) text += line;
    }
    return text;
  }

  /// Of the group's counts of ranks, where more is read than caches hold; what was measured at the start otherwise.
  std::map<int, double> read_bandwidths(BenchGroup const& group) const {
    std::map<int, double> rates = bandwidth_;
    for (auto i = group.first; i < group.end; ++i) {
      auto const& item = plan_.cases[i];
      if (item.bytes_read() < beyond_caches) continue;
      auto const& first = *ranks_.at(item.ranks);
      if (first.take_part) rates[item.ranks] = first.yardsticks.read_bandwidth();
      comm_.sleeping_barrier();
    }
    return rates;
  }

  /// False when it was asked to stop.
  bool measure(BenchGroup const& group) {
    std::vector<BenchTurn> turns;
    for (auto i = group.first; i < group.end; ++i) turns.push_back({&plan_.cases[i], &ranks_.at(plan_.cases[i].ranks)->comm});
    // The rate of memory just before and just after the samples: on shared machines it moves.
    auto const before = read_bandwidths(group);
    auto results = run_bench_turns(comm_, turns, group.together, config_, path_of(paths_, plan_.cases[group.first]),
                                   [this] { return stop_wanted(comm_); });
    if (results.empty()) return false;
    auto const after = read_bandwidths(group);
    if (!comm_.is_root()) return true;
    std::lock_guard const lock(results_);
    auto const one_rank_seconds = results.front().seconds;
    for (std::size_t i = 0; i < turns.size(); ++i) {
      auto const& item = *turns[i].item;
      auto& yardsticks = ranks_.at(item.ranks)->yardsticks;
      MeasuredCase c;
      c.item = item;
      c.result = std::move(results[i]);
      if (item.m > 0) c.sgemm = yardsticks.sgemm(item.m, item.d);
      c.fma_gflops = yardsticks.fma_gflops();
      c.read_bandwidth = std::max(before.at(item.ranks), after.at(item.ranks));
      if (item.device_bytes > 0.0) {
        c.gpu = yardsticks.gpu(item.m, item.n, item.d);
        c.gpu_copy = yardsticks.gpu_copy();
      }
      c.threads = machine_.threads;
      if (config_.scaling != Scaling::none) {
        c.scaling = config_.scaling;
        c.scaling_id = group.id;
        c.in_rounds = group.together;
        c.one_rank_seconds = one_rank_seconds;
      }
      print(bench_table_row(c));
      cases_.push_back(std::move(c));
    }
    // The file is written anew each time: not more often than for a tenth of the time. A run that is killed loses what came since.
    if (PhaseTimes::Clock::now() - written_ >= 9 * writing_) write();
    return true;
  }

  void write() {
    auto const begin = PhaseTimes::Clock::now();
    write_bench_file(config_.output, provenance_, cases_);
    written_ = PhaseTimes::Clock::now();
    writing_ = written_ - begin;
    for (; in_file_ < cases_.size(); ++in_file_) cases_[in_file_].write_seconds = std::chrono::duration<double>(writing_).count();
  }

  BenchConfig const& config_;
  Machine machine_;
  std::vector<BenchPath> const& paths_;
  BenchPlan plan_;
  std::map<int, std::unique_ptr<FirstRanks>> ranks_;  ///< by their count
  std::map<int, double> bandwidth_;                   ///< by the same: of reading memory at the start, GB/s
  Provenance provenance_;
  std::mutex results_;               ///< of what follows, while there is another thread that may leave
  std::vector<MeasuredCase> cases_;  ///< on rank 0
  std::size_t in_file_ = 0;          ///< so many of them have been written
  PhaseTimes::Clock::time_point written_;
  PhaseTimes::Clock::duration writing_{};
};

/// As rank 0 prefers them: a rank on another kind of CPU may prefer others.
std::vector<BenchPath> in_order_of_root(Communicator const& comm, std::vector<BenchPath> paths) {
  auto const line = [](BenchPath const& path) { return "\n" + std::string(name_of(path.kernel)) + " " + path.name + "\n"; };
  std::string order;
  for (auto const& path : paths) order += line(path);
  comm.broadcast(order);
  std::stable_sort(paths.begin(), paths.end(), [&](auto const& a, auto const& b) { return order.find(line(a)) < order.find(line(b)); });
  return paths;
}

}  // namespace

int run_bench_with(std::vector<BenchPath> const& paths, Communicator const& comm, int argc, char const* const* argv) {
  auto const config = read_options<parse_bench_options>(comm, argc, argv);
  if (!config) return 0;
  auto const agreed = in_order_of_root(comm, paths);
  Bench bench(comm, *config, agreed);
  return carry_out(bench);
}

Command bench_command() {
  auto const run = [](Communicator const& comm, int argc, char const* const* argv) {
    return run_bench_with(bench_paths(), comm, argc, argv);
  };
  return {"bench", "time the kernels on this machine and check their results; writes HDF5", run, threads_of<parse_bench_options>, true};
}

}  // namespace asymptop
