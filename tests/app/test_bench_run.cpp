// Cases of a benchmark on all ranks: right results are VALID, each way of being wrong is found, and the yardsticks are sane.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "bench/bench_run.hpp"
#include "bench/command.hpp"
#include "bench/file.hpp"
#include "bench/yardsticks.hpp"
#include "h5/h5.hpp"

namespace asymptop {
namespace {

Communicator const& world() {
  static auto const* comm = new Communicator(MPI_COMM_WORLD);  // freed by MPI_Finalize
  return *comm;
}

BenchCase make_case(BenchKernel kernel, std::int64_t n, int d, int m, std::int64_t k, bool resident = true) {
  BenchCase item;
  item.id = "case";
  item.kernel = kernel;
  item.path = "blas-tile";
  item.n = n;
  item.d = d;
  item.m = m;
  item.k = takes_k(kernel) ? k : 0;
  item.resident = resident;
  return item;
}

using Damage = std::function<void(BenchAnswer&)>;
Damage damage = [](BenchAnswer&) {};

/// The right work, whose answer is then spoiled.
class BrokenWork final : public BenchWork {
 public:
  explicit BrokenWork(BenchProblem const& problem) : right_(path_of(bench_paths(), problem.item).make(problem)) {}
  void run() override { right_->run(); }
  PhaseTimes const& phases() const override { return right_->phases(); }
  bool scores_apart() const override { return right_->scores_apart(); }
  BenchAnswer answer(std::vector<int> const& rows) override {
    auto answer = right_->answer(rows);
    damage(answer);
    return answer;
  }

 private:
  std::unique_ptr<BenchWork> right_;
};

/// A single case on all ranks.
BenchResult run_bench_case(BenchCase item, BenchConfig const& config, BenchPath const& path) {
  item.ranks = world().size();
  return std::move(run_bench_turns(world(), {{&item, &world()}}, true, config, path).front());
}

std::unique_ptr<BenchWork> make_broken(BenchProblem const& problem) { return std::make_unique<BrokenWork>(problem); }

BenchResult result_of(
    BenchCase const& item, Damage const& how = [](BenchAnswer&) {}) {
  damage = how;
  BenchConfig config;
  config.block = 64;
  config.samples = 3;
  return run_bench_case(item, config, {item.kernel, item.path, make_broken});
}

/// Spoils the rows of the answer that this rank has.
Damage each_row(std::function<void(BenchAnswer::Row&)> const& how) {
  return [how](BenchAnswer& answer) {
    for (auto& row : answer.rows) how(row);
  };
}

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

TEST(BenchRun, RightResultsAreValid) {
  struct Size {
    std::int64_t n;
    int d, m;
    std::int64_t k;
  };
  for (auto const& size : {Size{3000, 8, 5, 7}, Size{1, 1, 1, 1}, Size{65, 3, 1, 65}, Size{700, 16, 40, 1}, Size{130, 5, 3, 64}}) {
    for (auto const kernel : all_bench_kernels) {
      for (bool const resident : {true, false}) {
        auto const item = make_case(kernel, size.n, size.d, size.m, size.k, resident);
        auto const result = result_of(item);
        EXPECT_EQ(result.reason(), "") << name_of(kernel) << ", n = " << size.n << (resident ? ", resident" : ", streamed");
        EXPECT_EQ(result.seconds.size(), 3u);
        EXPECT_GT(result.seconds[0], 0.0);
        EXPECT_GT(result.peak_bytes, 1e6);
        EXPECT_FALSE(result.residuals.empty());
      }
    }
  }
}

TEST(BenchRun, WrongResultsAreInvalid) {
  using enum BenchKernel;
  struct Wrong {
    BenchKernel kernel;
    char const* named;
    Damage how;
  };
  std::vector<Wrong> const wrongs = {
      {score, "scores",
       [](BenchAnswer& a) {
         for (auto& s : a.scores) s += 1e-3f;
       }},
      {score, "scores",
       [](BenchAnswer& a) {
         if (!a.scores.empty()) a.scores.back() = nan_value;
       }},
      {score, "keys_covered", [](BenchAnswer& a) { a.scores.clear(); }},
      {profile, "profile", each_row([](auto& row) { row.profile[0] += 1e-3; })},
      {profile, "profile", each_row([](auto& row) { row.profile[1] *= 1.001; })},
      {profile, "profile", each_row([](auto& row) { row.profile[2] *= 1.001; })},
      {profile, "profile", each_row([](auto& row) { row.profile[3] *= 1.001; })},
      {profile, "profile", each_row([](auto& row) { row.profile.pop_back(); })},
      {profile, "top_k_missed", each_row([](auto& row) {
         row.top_k[0] = {row.top_k[0].score, row.top_k[0].index == 0 ? 1 : 0};
       })},
      {top_k, "top_k_order", each_row([](auto& row) { std::swap(row.top_k[0], row.top_k[1]); })},
      {top_k, "top_k_order", each_row([](auto& row) { row.top_k.pop_back(); })},
      {top_k, "top_k_order", each_row([](auto& row) { row.top_k[1] = row.top_k[0]; })},
      {top_k, "top_k_order", each_row([](auto& row) { row.top_k.back().index = 3000; })},
      {top_k, "top_k_order", each_row([](auto& row) { row.top_k.back().score = nan_value; })},
      // Equal scores in descending order of index.
      {top_k, "top_k_order", each_row([](auto& row) {
         row.top_k[1].score = row.top_k[0].score;
         if (row.top_k[0].index < row.top_k[1].index) std::swap(row.top_k[0].index, row.top_k[1].index);
       })},
      {top_k, "scores", each_row([](auto& row) { row.top_k[0].score += 1e-3f; })},
      // The best key is forgotten and everything moves up.
      {top_k, "top_k_missed", each_row([](auto& row) {
         row.top_k.erase(row.top_k.begin());
         row.top_k.push_back({row.top_k.back().score - 1e-6f, row.top_k.back().index == 0 ? 1 : 0});
       })},
      {top_k, "top_k_order", [](BenchAnswer& a) { a.rows.clear(); }},
      {exact_attention, "output", each_row([](auto& row) { row.output[0] += 1e-3; })},
      {exact_attention, "output", each_row([](auto& row) {
         for (auto& x : row.output) x *= 1.0001;
       })},
      {exact_attention, "output", each_row([](auto& row) { row.output.back() = std::nan(""); })},
      {top_k_attention, "output", each_row([](auto& row) { row.output[3] -= 1e-3; })},
      {top_k_attention, "top_k_order", each_row([](auto& row) { row.top_k.clear(); })},
  };
  for (std::size_t i = 0; i < wrongs.size(); ++i) {
    auto const result = result_of(make_case(wrongs[i].kernel, 3000, 8, 5, 7), wrongs[i].how);
    EXPECT_STREQ(result.verdict(), "INVALID") << "damage " << i << " is not seen";
    EXPECT_NE(result.reason().find(wrongs[i].named), std::string::npos) << "damage " << i << ": " << result.reason();
  }
}

/// Every strategy brings the rows that a rank owns home with the bytes that a rank alone finds.
TEST(BenchRun, StrategiesGiveTheSameAnswers) {
  auto const alone = world().split(world().rank());
  BenchConfig config;
  config.block = 64;
  for (auto const kernel : {BenchKernel::profile, BenchKernel::top_k, BenchKernel::top_k_attention}) {
    for (std::int64_t const k : {1, 40, 1000}) {
      auto item = make_case(kernel, 1000, 8, 7, k);
      std::vector<int> const rows{0, 1, 2, 3, 4, 5, 6};
      BenchProblem const whole(alone, item, config);
      auto const single = path_of(bench_paths(), item).make(whole);
      single->run();
      auto const wanted = single->answer(rows);
      for (auto const strategy : all_merge_strategies) {
        item.merge = strategy;
        BenchProblem const problem(world(), item, config);
        auto const work = path_of(bench_paths(), item).make(problem);
        work->run();
        auto const answer = work->answer(rows);
        EXPECT_EQ(static_cast<GlobalIndex>(answer.rows.size()), problem.owned().size());
        EXPECT_EQ(work->merge_cost().sent.messages > 0, world().size() > 1);
        for (auto const& row : answer.rows) {
          auto const& same = wanted.rows[static_cast<std::size_t>(row.row)];
          auto const what = std::string(name_of(kernel)) + " by " + name_of(strategy) + ", row " + std::to_string(row.row);
          ASSERT_EQ(row.top_k.size(), same.top_k.size()) << what;
          for (std::size_t i = 0; i < row.top_k.size(); ++i) {
            ASSERT_EQ(row.top_k[i].score, same.top_k[i].score) << what;
            ASSERT_EQ(row.top_k[i].index, same.top_k[i].index) << what;
          }
          EXPECT_EQ(row.output, same.output) << what;
          EXPECT_EQ(row.profile, same.profile) << what;
        }
      }
    }
  }
}

/// Counts of ranks 1 .. all as turns of one case.
std::vector<BenchResult> turns_of(BenchCase const& item, bool together, std::vector<BenchCase>& cases) {
  cases.assign(static_cast<std::size_t>(world().size()), item);
  std::vector<std::unique_ptr<Communicator>> ranks;
  std::vector<BenchTurn> turns;
  for (int p = 1; p <= world().size(); ++p) {
    auto& c = cases[static_cast<std::size_t>(p - 1)];
    c.ranks = p;
    ranks.emplace_back(new Communicator(world().split(world().rank() < p ? 0 : 1)));
    turns.push_back({&c, ranks.back().get()});
  }
  BenchConfig config;
  config.block = 64;
  config.samples = 3;
  return run_bench_turns(world(), turns, together, config, path_of(bench_paths(), item));
}

TEST(BenchRun, EachCountOfRanksTakesItsTurn) {
  for (auto const kernel : all_bench_kernels) {
    for (bool const together : {true, false}) {
      std::vector<BenchCase> cases;
      auto const results = turns_of(make_case(kernel, 3000, 8, 5, 7), together, cases);
      ASSERT_EQ(results.size(), cases.size());
      for (std::size_t i = 0; i < results.size(); ++i) {
        auto const& result = results[i];
        if (world().rank() >= cases[i].ranks) {
          EXPECT_TRUE(result.seconds.empty()) << "rank " << world().rank() << " sleeps";
          continue;
        }
        EXPECT_EQ(result.reason(), "") << name_of(kernel) << " on " << cases[i].ranks;
        EXPECT_EQ(result.seconds.size(), 3u);
        EXPECT_EQ(result.imbalance.size(), 3u);
        EXPECT_GT(result.peak_bytes_per_rank, 1e6);
        EXPECT_GE(result.peak_bytes, result.peak_bytes_per_rank);
        ASSERT_EQ(result.phase_seconds.size(), 3u);
        for (std::size_t s = 0; s < 3; ++s) {
          ASSERT_EQ(result.phase_seconds[s].size(), result.phases.size());
          EXPECT_GE(result.imbalance[s], -1e-9);
          double means = 0.0;
          for (auto const& phase : result.phase_seconds[s]) {
            EXPECT_LE(phase.min, phase.mean + 1e-12);
            EXPECT_LE(phase.mean, phase.max + 1e-12);
            EXPECT_GE(phase.min, -1e-6);
            means += phase.mean;
          }
          // Phases and what lies between them make up a rank's time, which is at most the slowest one's.
          EXPECT_LE(means, result.seconds[s] + 1e-9);
          EXPECT_GT(means, 0.0);
        }
      }
    }
  }
}

TEST(BenchRun, PhasesSayWhereScoresAreMade) {
  auto const names_of = [](BenchKernel kernel, std::string const& path) {
    auto item = make_case(kernel, 500, 8, 3, 4);
    item.path = path;
    BenchConfig config;
    config.block = 64;
    config.samples = 3;
    return run_bench_case(item, config, path_of(bench_paths(), item)).phases;
  };
  using Names = std::vector<std::string>;
  using enum BenchKernel;
  EXPECT_EQ(names_of(score, "blas-tile"), (Names{"generate", "score", "other"}));
  EXPECT_EQ(names_of(profile, "blas-tile"), (Names{"generate", "score", "select", "merge", "other"}));
  EXPECT_EQ(names_of(exact_attention, "blas-tile"), (Names{"generate", "score", "attend", "merge", "other"}));
  EXPECT_EQ(names_of(top_k_attention, "blas-tile"), (Names{"generate", "score", "select", "attend", "merge", "other"}));
  if (paths_of(bench_paths())(exact_attention).front() != "fused") GTEST_SKIP() << "no fused paths on this processor";
  EXPECT_EQ(names_of(score, "fused"), (Names{"generate", "score", "other"}));
  EXPECT_EQ(names_of(top_k, "screened"), (Names{"generate", "score+select", "merge", "other"}));
  EXPECT_EQ(names_of(exact_attention, "fused"), (Names{"generate", "score+attend", "merge", "other"}));
  EXPECT_EQ(names_of(top_k_attention, "fused"), (Names{"generate", "score+select", "attend", "merge", "other"}));
}

MeasuredCase scaled(Scaling scaling, int ranks, std::vector<double> const& one, std::vector<double> const& seconds) {
  MeasuredCase c;
  c.scaling = scaling;
  c.item.ranks = ranks;
  c.in_rounds = true;
  c.one_rank_seconds = one;
  c.result.seconds = seconds;
  return c;
}

TEST(BenchFile, EfficiencyIsHeldAgainstOneRank) {
  std::vector<double> const one{4.0, 8.0, 6.0}, two{2.0, 4.0, 5.0};
  auto const strong = scaled(Scaling::strong, 2, one, two);
  // Rounds: 1, 1 and 0.6.
  EXPECT_EQ(strong.efficiency(), 1.0);
  EXPECT_EQ(strong.speed_up(), 2.0);
  EXPECT_NEAR(strong.efficiency_iqr(), 0.2, 1e-12);
  auto const weak = scaled(Scaling::weak, 2, one, two);
  EXPECT_EQ(weak.efficiency(), 2.0);
  EXPECT_EQ(weak.speed_up(), 4.0);
  EXPECT_TRUE(std::isnan(scaled(Scaling::none, 2, one, two).efficiency()));
  auto in_order = strong;
  in_order.in_rounds = false;
  EXPECT_TRUE(std::isnan(in_order.efficiency_iqr()));
  EXPECT_EQ(in_order.efficiency(), 6.0 / (2 * 4.0)) << "medians";
}

TEST(BenchFile, ScalingRunsAreNeighboursOfOneId) {
  std::vector<MeasuredCase> cases(6);
  for (std::size_t i : {0, 1, 2, 4, 5}) {
    cases[i].scaling = Scaling::weak;
    cases[i].scaling_id = i < 2 ? "a" : "b";
  }
  auto const runs = scaling_runs(cases);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].end, 2u);
  EXPECT_EQ(runs[1].first, 2u);
  EXPECT_EQ(runs[1].end, 3u);
  EXPECT_EQ(runs[2].first, 4u);
}

TEST(BenchRun, NormalsAreThoseOfTheScalarGenerator) {
  for (auto const& path : paths_of(bench_paths())(BenchKernel::normals)) {
    // Fewer keys than a group, than a step, and more than one step on each rank.
    for (std::int64_t const n : {1, 65, 3000, 150000}) {
      auto item = make_case(BenchKernel::normals, n, 5, 0, 0, false);
      item.path = path;
      auto const result = result_of(item);
      EXPECT_EQ(result.reason(), "") << path << ", n = " << n;
      EXPECT_EQ(result.phases, (std::vector<std::string>{"generate", "other"}));
      auto const wrong = result_of(item, [](BenchAnswer& a) {
        if (!a.normals.empty()) a.normals.back() += 1e-6f;
      });
      EXPECT_NE(wrong.reason().find("normals"), std::string::npos) << path << ", n = " << n;
      auto const short_of_some = result_of(item, [](BenchAnswer& a) { a.normals.clear(); });
      EXPECT_NE(short_of_some.reason().find("keys_covered"), std::string::npos);
    }
  }
}

TEST(BenchRun, RowsToCheck) {
  EXPECT_EQ(rows_to_check(1, 100), (std::vector<int>{0}));
  EXPECT_EQ(rows_to_check(3, 100), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(rows_to_check(256, std::int64_t{1} << 30), (std::vector<int>{0, 255}));
  EXPECT_EQ(rows_to_check(1000, 100).size(), 16u);
  EXPECT_EQ(rows_to_check(1000, 100).back(), 999);
}

TEST(BenchRun, InvalidCaseMakesExitCodeOne) {
  auto const output = ::testing::TempDir() + "asymptop_test_bench_" + std::to_string(world().size()) + ".h5";
  std::vector<std::string> const words{"bench",       "--n",     "500",       "--d", "8",       "--m", "4",       "--k",   "5",  "--kernel",
                                       "top-k,score", "--force", "--samples", "3",   "--block", "64",  "--merge", "owner", "-o", output};
  std::vector<char const*> argv;
  for (auto const& word : words) argv.push_back(word.c_str());
  std::vector<BenchPath> const paths = {{BenchKernel::score, "blas-tile", make_broken}, {BenchKernel::top_k, "blas-tile", make_broken}};
  damage = each_row([](auto& row) { row.top_k[0].score += 1.0f; });
  auto const run = [&] { return run_bench_with(paths, world(), static_cast<int>(argv.size()), argv.data()); };
  EXPECT_EQ(run(), 1);
  if (world().is_root()) {
    auto const file = h5::open_file(output);
    auto const cases = h5::open_group(file, "cases");
    auto const wrong = h5::open_group(cases, "top-k-blas-tile-n500-d8-m4-k5-owner-resident");
    EXPECT_EQ(h5::read_text_attribute(wrong, "verdict"), "INVALID");
    EXPECT_NE(h5::read_text_attribute(wrong, "verdict_reason").find("scores"), std::string::npos);
    auto const right = h5::open_group(cases, "score-blas-tile-n500-d8-m4-resident");
    EXPECT_EQ(h5::read_text_attribute(right, "verdict"), "VALID");
  }
  world().barrier();
  damage = [](BenchAnswer&) {};
  EXPECT_EQ(run(), 0);
  world().barrier();
  if (world().is_root()) std::filesystem::remove(output);
}

TEST(Yardsticks, AreSane) {
  Yardsticks yardsticks(world(), 1);
  double const fma = yardsticks.fma_gflops(), bandwidth = yardsticks.read_bandwidth();
  EXPECT_GT(fma, 1.0);
  EXPECT_LT(fma, 1e6);
  EXPECT_EQ(yardsticks.fma_gflops(), fma) << "measured once";
  auto const& bytes = yardsticks.byte_gops();
  EXPECT_GT(bytes.vectors, 1.0);
  EXPECT_LT(bytes.vectors, 1e6);
  EXPECT_GE(bytes.tiles, 0.0);
  EXPECT_GT(bandwidth, 0.1);
  EXPECT_LT(bandwidth, 1e5);
  auto const& rates = yardsticks.sgemm(16, 64);
  EXPECT_TRUE(yardsticks.knows_sgemm(16, 64));
  EXPECT_FALSE(yardsticks.knows_sgemm(16, 32));
  EXPECT_GT(rates.standard, 0.1);
  EXPECT_GE(rates.best, rates.standard);
  EXPECT_FALSE(rates.best_kernel.empty());
  EXPECT_FALSE(rates.standard_kernel.empty());
  EXPECT_EQ(rates.tried.size(), usable_core_types().size());
  for (auto const& [type, rate] : rates.tried) EXPECT_LE(rate, rates.best) << type;
}

}  // namespace
}  // namespace asymptop
