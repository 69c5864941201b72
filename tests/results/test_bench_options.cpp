// Options of a benchmark, the cases they become, and the statistics of samples.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "bench/config.hpp"
#include "bench/plan.hpp"
#include "comm/sample_statistics.hpp"
#include "config/errors.hpp"

namespace asymptop {
namespace {

using Sizes = std::vector<std::int64_t>;

BenchConfig parse(std::vector<std::string> const& arguments) {
  std::vector<char const*> argv{"bench"};
  for (auto const& argument : arguments) argv.push_back(argument.c_str());
  return parse_bench_options(static_cast<int>(argv.size()), argv.data(), false).value();
}

/// What two imaginary kernels can do: `fast` is not there for all.
std::vector<std::string> some_paths(BenchKernel kernel) {
  if (kernel == BenchKernel::score) return {"blas-tile"};
  return {"fast", "blas-tile"};
}

BenchPlan plan(std::vector<std::string> const& arguments, Machine const& machine = {}) {
  return plan_bench(parse(arguments), some_paths, machine);
}

/// The one line that a refusal prints; empty when nothing is refused.
std::string refusal(std::vector<std::string> const& arguments, Machine const& machine = {}) {
  try {
    plan(arguments, machine);
  } catch (UsageError const& error) {
    return error.what();
  }
  return "";
}

TEST(BenchOptions, Defaults) {
  auto const config = parse({});
  EXPECT_EQ(config.kernel.size(), 5u);
  EXPECT_EQ(config.n, (Sizes{1 << 20}));
  EXPECT_EQ(config.d, (Sizes{64}));
  EXPECT_EQ(config.m, (Sizes{256}));
  ASSERT_EQ(config.k.size(), 1u);
  EXPECT_EQ(config.k[0].text(), "1024");
  ASSERT_EQ(config.keys.size(), 1u);
  EXPECT_TRUE(config.keys[0] == KeyStorage::resident);
  EXPECT_EQ(config.path, (std::vector<std::string>{"auto"}));
  EXPECT_TRUE(config.merge == std::vector<MergeStrategy>{MergeStrategy::automatic});
  EXPECT_EQ(config.samples, 10);
  EXPECT_EQ(config.output, "bench.h5");
}

TEST(BenchOptions, CommandLineWinsOverConfigFile) {
  std::string const path = ::testing::TempDir() + "asymptop_test_bench_options.cfg";
  std::ofstream(path) << "n = 128\nm = 7\nkernel = top-k,score\nkeys = streamed,resident\nk = 3,n^0.5\n";
  auto const config = parse({"--config", path, "--m", "9"});
  EXPECT_EQ(config.n, (Sizes{128}));
  EXPECT_EQ(config.m, (Sizes{9}));
  EXPECT_EQ(config.kernel, (std::vector<BenchKernel>{BenchKernel::top_k, BenchKernel::score}));
  EXPECT_EQ(config.keys.size(), 2u);
  // What a run records as its options gives the same options.
  std::ofstream(path) << config.config_text;
  EXPECT_EQ(parse({"--config", path}).config_text, config.config_text);
  std::remove(path.c_str());
}

TEST(BenchOptions, Refused) {
  struct Case {
    std::vector<std::string> arguments;
    std::vector<std::string> named;
  };
  for (auto const& c : std::vector<Case>{
           {{"--kernel", "fly"}, {"--kernel", "fly", "top-k-attention"}},
           {{"--kernel", "score,score"}, {"--kernel", "score", "twice"}},
           {{"--kernel", ""}, {"--kernel"}},
           {{"--n", "0"}, {"--n", "0"}},
           {{"--n", "2^49"}, {"--n", "2^49"}},
           {{"--d", "4097"}, {"--d", "4097"}},
           {{"--m", "0"}, {"--m", "0"}},
           {{"--m", "16385"}, {"--m", "16385"}},
           {{"--k", "n;n"}, {"--k", "n;n"}},
           {{"--k", "1/n"}, {"--k", "1/n"}},
           {{"--keys", "auto"}, {"--keys", "auto", "resident", "streamed"}},
           {{"--path", "magic"}, {"--path", "magic", "blas-tile", "fast"}},
           {{"--merge", "magic"}, {"--merge", "magic", "auto", "root", "owner", "tree", "threshold"}},
           {{"--merge", "tree,tree"}, {"--merge", "tree", "twice"}},
           {{"--samples", "2"}, {"--samples", "2"}},
           {{"--samples", "x"}, {"--samples", "x"}},
           {{"--block", "100"}, {"--block", "100"}},
           {{"--threads", "-1"}, {"--threads", "-1"}},
           {{"--scaling", "up"}, {"--scaling", "up", "strong", "weak"}},
           {{"--rank-counts", "1,2"}, {"--rank-counts", "1,2", "--scaling"}},
           {{"--scaling", "weak", "--rank-counts", "2"}, {"--rank-counts", "2", "1"}},
           {{"--scaling", "weak", "--rank-counts", "0"}, {"--rank-counts", "0"}},
           {{"--scaling", "strong", "--rank-counts", "1,x"}, {"--rank-counts", "x"}},
           {{"--scaling", "strong", "--rank-counts", "1,2"}, {"--rank-counts", "2", "1 rank"}},
           {{"--rows", "4"}, {"--rows", "bench --help"}},
           {{"stray"}, {"stray"}},
           {{"-o", ""}, {"--output"}},
           {{"--config", "/dev/null/file.cfg"}, {"--config", "/dev/null/file.cfg"}},
       }) {
    auto const line = refusal(c.arguments);
    EXPECT_NE(line, "") << c.arguments[0] << " is taken";
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
    for (auto const& name : c.named) EXPECT_NE(line.find(name), std::string::npos) << "'" << name << "' is not in: " << line;
  }
}

TEST(BenchPlan, EveryCombinationIsACase) {
  auto const all = plan({"--n", "64,128", "--d", "8,16", "--m", "1,4", "--k", "2,n^0.5", "--keys", "resident,streamed", "--path", "all"});
  // score: 1 path; exact attention: 2 paths; three kernels with k: 2 paths x 2 laws. Times n, d, m, keys.
  EXPECT_EQ(all.cases.size(), (1u + 2u + 3u * 4u) * 16u);
  EXPECT_TRUE(all.skips.empty());
  for (std::size_t i = 0; i < all.cases.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(all.cases[i].id, all.cases[j].id);
  }
}

TEST(BenchPlan, MergesAreCasesOfKernelsThatSelect) {
  auto const all = plan({"--n", "64", "--m", "4", "--k", "2", "--merge", "all"});
  EXPECT_EQ(all.cases.size(), 2u + 3u * 4u);
  std::vector<MergeStrategy> merges;
  for (auto const& item : all.cases) {
    if (item.kernel == BenchKernel::top_k) merges.push_back(item.merge);
    EXPECT_EQ(item.id.find("-" + std::string(name_of(item.merge)) + "-") != std::string::npos, takes_k(item.kernel)) << item.id;
  }
  EXPECT_TRUE(merges == std::vector<MergeStrategy>(std::begin(all_merge_strategies), std::end(all_merge_strategies)));
  // What auto takes may have a name of its own in the list.
  auto const twice = plan({"--n", "64", "--m", "4", "--k", "2", "--kernel", "top-k", "--merge", "owner,auto"});
  ASSERT_EQ(twice.cases.size(), 1u);
  ASSERT_EQ(twice.skips.size(), 1u);
  EXPECT_NE(twice.skips[0].reason.find("auto"), std::string::npos);
  Machine machine;
  machine.ranks = 8;
  auto const text = describe(plan({"--kernel", "top-k", "--merge", "all"}, machine), parse({}), machine);
  for (auto const* column : {"merge", "sent MB", "threshold"}) EXPECT_NE(text.find(column), std::string::npos) << text;
}

TEST(BenchPlan, AutoTakesTheFirstPath) {
  for (auto const& item : plan({"--n", "64", "--k", "4"}).cases)
    EXPECT_EQ(item.path, item.kernel == BenchKernel::score ? "blas-tile" : "fast");
}

TEST(BenchPlan, ImpossibleCasesAreSkippedWithTheirReason) {
  auto const some = plan({"--n", "64", "--k", "4", "--path", "fast"});
  EXPECT_EQ(some.cases.size(), 4u);
  ASSERT_EQ(some.skips.size(), 1u);
  EXPECT_NE(some.skips[0].what.find("score fast"), std::string::npos);
  // k is clipped to n, and two laws that meet there are one case.
  auto const clipped = plan({"--kernel", "top-k", "--n", "64", "--k", "100,n"});
  ASSERT_EQ(clipped.cases.size(), 1u);
  EXPECT_EQ(clipped.cases[0].k, 64);
  EXPECT_TRUE(clipped.cases[0].k_clipped);
  ASSERT_EQ(clipped.skips.size(), 1u);
  EXPECT_NE(clipped.skips[0].reason.find("100"), std::string::npos);
  EXPECT_NE(describe(clipped, parse({}), {}).find("clipped"), std::string::npos);
}

TEST(BenchPlan, WhatAGpuCannotTakeIsSkipped) {
  auto const on_gpu = [](std::vector<std::string> const& arguments, double bytes) {
    auto all = arguments;
    all.insert(all.end(), {"--kernel", "top-k", "--path", "device"});
    Machine machine;
    machine.device_bytes = bytes;
    return plan_bench(
        parse(all),
        [](BenchKernel) {
          return std::vector<std::string>{"device", "blas-tile"};
        },
        machine);
  };
  auto const fits = on_gpu({"--n", "2^20,2^30"}, 1e10);
  ASSERT_EQ(fits.cases.size(), 1u);
  EXPECT_GT(fits.cases[0].device_bytes, 4.0 * 64 * (1 << 20));
  ASSERT_EQ(fits.skips.size(), 1u);
  EXPECT_NE(fits.skips[0].reason.find("GPU"), std::string::npos) << fits.skips[0].reason;
  EXPECT_EQ(on_gpu({"--n", "2^20,2^22"}, 0.0).cases.size(), 2u);  // unknown
  auto const wide = on_gpu({"--d", "64,1025"}, 0.0);
  ASSERT_EQ(wide.skips.size(), 1u);
  EXPECT_NE(wide.skips[0].reason.find("1024 columns"), std::string::npos) << wide.skips[0].reason;
}

TEST(BenchPlan, MoreMemoryThanTheMachineHasIsSkipped) {
  Machine machine;
  machine.memory_bytes = 1e9;
  auto const some = plan({"--kernel", "score", "--n", "2^10,2^30", "--keys", "resident,streamed"}, machine);
  EXPECT_EQ(some.cases.size(), 3u);
  ASSERT_EQ(some.skips.size(), 1u);
  EXPECT_NE(some.skips[0].reason.find("GB"), std::string::npos) << some.skips[0].reason;
  auto const line = refusal({"--kernel", "score", "--n", "2^30"}, machine);
  EXPECT_NE(line.find("streamed"), std::string::npos) << line;
}

std::vector<int> ranks_of(BenchPlan const& plan, BenchGroup const& group) {
  std::vector<int> ranks;
  for (auto i = group.first; i < group.end; ++i) ranks.push_back(plan.cases[i].ranks);
  return ranks;
}

TEST(BenchPlan, WithoutScalingAllRanksMeasureEachCase) {
  Machine machine;
  machine.ranks = 6;
  auto const all = plan({"--n", "64,128", "--k", "4"}, machine);
  ASSERT_EQ(all.groups.size(), all.cases.size());
  for (auto const& group : all.groups) {
    EXPECT_EQ(ranks_of(all, group), (std::vector<int>{6}));
    EXPECT_EQ(all.cases[group.first].id, group.id);
  }
}

TEST(BenchPlan, ScalingMeasuresEachCaseOnSeveralCountsOfRanks) {
  Machine machine;
  machine.ranks = machine.ranks_on_node = 6;
  std::vector<std::string> const options{"--kernel", "top-k", "--n", "64,128", "--k", "4,n^0.5"};
  auto const with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), options.begin(), options.end());
    return plan(more, machine);
  };
  auto const strong = with({"--scaling", "strong"});
  ASSERT_EQ(strong.groups.size(), 4u);
  for (auto const& group : strong.groups) {
    EXPECT_EQ(ranks_of(strong, group), (std::vector<int>{1, 2, 4, 6})) << "powers of two, and all";
    EXPECT_TRUE(group.together);
    for (auto i = group.first; i < group.end; ++i) {
      EXPECT_EQ(strong.cases[i].n, strong.cases[group.first].n);
      EXPECT_EQ(strong.cases[i].id, group.id + "-ranks" + std::to_string(strong.cases[i].ranks));
    }
  }
  auto const weak = with({"--scaling", "weak", "--rank-counts", "1,4"});
  ASSERT_EQ(weak.groups.size(), 4u);
  EXPECT_EQ(ranks_of(weak, weak.groups[3]), (std::vector<int>{1, 4}));
  auto const& last = weak.cases[weak.groups[3].end - 1];
  EXPECT_EQ(last.n, 512) << "128 for each of four ranks";
  EXPECT_EQ(last.k, 23) << "the law at the n of the case";
  for (std::size_t i = 0; i < weak.cases.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(weak.cases[i].id, weak.cases[j].id);
  }
  // Laws that meet on one rank alone are studies apart; those that meet everywhere are one.
  EXPECT_EQ(plan({"--kernel", "top-k", "--n", "64", "--k", "8,n^0.5", "--scaling", "weak"}, machine).groups.size(), 2u);
  EXPECT_EQ(plan({"--kernel", "top-k", "--n", "64", "--k", "8,n^0.5", "--scaling", "strong"}, machine).groups.size(), 1u);
}

TEST(BenchPlan, CountsOfRanksThatMemoryDoesNotHoldAtOnceFollowOneAnother) {
  Machine machine;
  machine.ranks = machine.ranks_on_node = 2;
  machine.memory_bytes = 1.2e9;
  // 0.5 GB of keys for either count.
  std::vector<std::string> const options{"--kernel", "score", "--d", "64", "--n", "2^21", "--scaling", "strong"};
  auto const close = plan(options, machine);
  ASSERT_EQ(close.groups.size(), 1u);
  EXPECT_FALSE(close.groups[0].together);
  EXPECT_NE(describe(close, parse(options), machine).find("one after the other"), std::string::npos);
  machine.memory_bytes = 4e9;
  EXPECT_TRUE(plan(options, machine).groups[0].together);
  machine.memory_bytes = 3e8;
  auto const line = refusal(options, machine);
  EXPECT_NE(line.find("on 1 rank"), std::string::npos) << line;
}

TEST(BenchPlan, WeakScalingBeyondTheLargestContextIsSkipped) {
  Machine machine;
  machine.ranks = 1 << 18;
  machine.ranks_on_node = 1;
  auto const line = refusal({"--kernel", "score", "--n", "2^31", "--scaling", "weak", "--keys", "streamed"}, machine);
  EXPECT_NE(line.find("2^48"), std::string::npos) << line;
}

TEST(BenchPlan, Flops) {
  for (auto const& item : plan({"--n", "1000", "--d", "10", "--m", "3", "--k", "20"}).cases) {
    double const scores = 2.0 * 3 * 1000 * 10;
    double const expected = item.kernel == BenchKernel::exact_attention   ? 2.0 * scores
                            : item.kernel == BenchKernel::top_k_attention ? scores + 2.0 * 3 * 20 * 10
                                                                          : scores;
    EXPECT_EQ(item.flops(), expected) << item.id;
    EXPECT_EQ(item.bytes_read(), 40.0 * (item.kernel == BenchKernel::exact_attention   ? 2000.0
                                         : item.kernel == BenchKernel::top_k_attention ? 1060.0
                                                                                       : 1000.0));
  }
}

TEST(SampleStatistics, MedianAndQuartiles) {
  EXPECT_EQ(sample_statistics({4.0}).median, 4.0);
  EXPECT_EQ(sample_statistics({4.0}).iqr, 0.0);
  EXPECT_EQ(sample_statistics({3.0, 1.0, 2.0}).median, 2.0);
  EXPECT_EQ(sample_statistics({3.0, 1.0, 2.0}).iqr, 1.0);
  EXPECT_EQ(sample_statistics({4.0, 1.0, 3.0, 2.0}).median, 2.5);
  EXPECT_EQ(sample_statistics({4.0, 1.0, 3.0, 2.0}).iqr, 1.5);
  EXPECT_EQ(quantile({5.0, 1.0, 2.0, 3.0, 4.0}, 0.25), 2.0);
  EXPECT_EQ(quantile({1.0, 2.0}, 1.0), 2.0);
}

}  // namespace
}  // namespace asymptop
