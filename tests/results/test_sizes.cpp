// Lists of sizes, and options: what is taken, what is refused with one line that names the option and the value.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "attend/plan.hpp"
#include "config/errors.hpp"
#include "config/option_values.hpp"
#include "config/run_config.hpp"
#include "plan/plan.hpp"

namespace asymptop {
namespace {

using Sizes = std::vector<std::int64_t>;
constexpr std::int64_t largest = std::int64_t{1} << 48;

RunConfig parse(std::vector<std::string> const& arguments) {
  std::vector<char const*> argv{"study"};
  for (auto const& argument : arguments) argv.push_back(argument.c_str());
  return parse_study_options(static_cast<int>(argv.size()), argv.data(), false).value();
}

/// The one line that a refusal prints; empty when nothing is refused.
std::string refusal(std::vector<std::string> const& arguments) {
  try {
    parse(arguments);
  } catch (UsageError const& error) {
    return error.what();
  }
  return "";
}

TEST(Sizes, Lists) {
  EXPECT_EQ(parse_sizes("--n", "4096", largest), (Sizes{4096}));
  EXPECT_EQ(parse_sizes("--n", "4096,50000", largest), (Sizes{4096, 50000}));
  EXPECT_EQ(parse_sizes("--n", "50000, 4096 ,4096", largest), (Sizes{4096, 50000}));
  EXPECT_EQ(parse_sizes("--n", "2^10:2^14", largest), (Sizes{1024, 2048, 4096, 8192, 16384}));
  EXPECT_EQ(parse_sizes("--n", "2^10:2^20:4", largest), (Sizes{1024, 4096, 16384, 65536, 262144, 1048576}));
  EXPECT_EQ(parse_sizes("--n", "3:20", largest), (Sizes{3, 6, 12}));
  EXPECT_EQ(parse_sizes("--n", "1:1", largest), (Sizes{1}));
  EXPECT_EQ(parse_sizes("--n", "10^3:10^5:10", largest), (Sizes{1000, 10000, 100000}));
  EXPECT_EQ(parse_sizes("--n", "2^47:2^48", largest), (Sizes{largest / 2, largest}));
  EXPECT_EQ(parse_sizes("--n", "1:2,2:4", largest), (Sizes{1, 2, 4}));
  // As people type them.
  EXPECT_EQ(parse_sizes("--n", "1e6,1.5e3,1024.0,1_000,2**10,064", largest), (Sizes{64, 1000, 1024, 1500, 1000000}));
  EXPECT_EQ(parse_sizes("--n", "1k,1M,1.001k,2K", largest), (Sizes{1000, 1001, 2000, 1000000}));
  EXPECT_EQ(parse_sizes("--n", "64Ki,0.5Mi,1Gi,1_0Ki", largest), (Sizes{10240, 65536, 524288, 1073741824}));
  EXPECT_EQ(parse_sizes("--n", "2^10 : 2^12,0001,0100", largest), (Sizes{1, 100, 1024, 2048, 4096}));
  EXPECT_EQ(parse_sizes("--n", "2^62,4611686018427387903", std::int64_t{1} << 62), (Sizes{4611686018427387903, std::int64_t{1} << 62}));
}

TEST(Sizes, Refused) {
  for (std::string const text : {"",
                                 "0",
                                 "-1",
                                 "1.5",
                                 "1e6.5",
                                 "1.2345k",
                                 "0.1Ki",
                                 "1e-3",
                                 "1e3k",
                                 "1m",
                                 "1ki",
                                 "k",
                                 "_1",
                                 "1_",
                                 "1__0",
                                 "0^0",
                                 "1,024",
                                 "1024:4096:1024",
                                 "1024 2048",
                                 "1024;2048",
                                 "2^10-2^12",
                                 "2^10..2^12",
                                 "[1024]",
                                 "4611686018427387905",
                                 "300T",
                                 "abc",
                                 "2^",
                                 "^2",
                                 "2^49",
                                 "3^31",
                                 "281474976710657",
                                 "99999999999999999999",
                                 "4:2",
                                 "1:",
                                 ":4",
                                 "1:2:",
                                 "1:2:1",
                                 "1:2:0",
                                 "1:2:-2",
                                 "1:2:3:4",
                                 "1,,2",
                                 "1,",
                                 "2^-1",
                                 "2^2^2",
                                 "0:4",
                                 "1:2:x",
                                 "+5",
                                 "0x10",
                                 "2 ^ 3",
                                 "1:9:2^2"}) {
    try {
      parse_sizes("--n", text, largest);
      ADD_FAILURE() << "'" << text << "' is taken";
    } catch (UsageError const& error) {
      EXPECT_NE(std::string(error.what()).find("--n"), std::string::npos) << error.what();
    }
  }
}

TEST(Options, Defaults) {
  auto const config = parse({"--n", "2^10"});
  EXPECT_EQ(config.n, (Sizes{1024}));
  EXPECT_EQ(config.d, (Sizes{64}));
  EXPECT_EQ(config.output, "results.h5");
  EXPECT_EQ(config.rows, 64);
  EXPECT_EQ(config.draws, 32);
  EXPECT_EQ(config.seed, 1u);
  EXPECT_EQ(config.block, 4096);
  EXPECT_EQ(config.epsilon, (std::vector<double>{0.1, 0.01}));
  EXPECT_TRUE(config.output_error);
  EXPECT_FALSE(config.scale.has_value());
  ASSERT_EQ(config.sigma.size(), 1u);
  EXPECT_EQ(config.sigma[0].text(), "1");
  ASSERT_EQ(config.k.size(), 3u);
  EXPECT_EQ(config.k[2].text(), "n^0.75");
  ASSERT_EQ(config.count_above.size(), 3u);
  EXPECT_EQ(config.count_above[0].text(), "1/n");
  EXPECT_TRUE(config.row_sigma == RowSigma::natural && config.weights == Weights::identity && config.self == SelfKey::exclude &&
              config.mask == Mask::none);
}

TEST(Options, AllSet) {
  auto const config =
      parse({"--n",    "64",       "--d",       "8,16", "--R",           "2,log(n)", "--scale",        "0.25",    "--k",       "n/2",
             "--rows", "3",        "--draws",   "5",    "--seed",        "9",        "--row-sigma",    "fixed",   "--weights", "product",
             "--self", "include",  "--epsilon", "0.5",  "--count-above", "2/n",      "--output-error", "off",     "--block",   "64",
             "--keys", "streamed", "-o",        "x.h5", "--json",        "-",        "--dry-run",      "--force", "--threads", "2"});
  EXPECT_EQ(config.d, (Sizes{8, 16}));
  EXPECT_TRUE(config.sigma_from_R);
  EXPECT_EQ(config.sigma[1].text(), "log(n)");
  EXPECT_EQ(config.scale.value(), 0.25);
  EXPECT_EQ(config.rows, 3);
  EXPECT_EQ(config.draws, 5);
  EXPECT_EQ(config.seed, 9u);
  EXPECT_TRUE(config.row_sigma == RowSigma::fixed && config.weights == Weights::product && config.self == SelfKey::include &&
              config.keys == KeyStorage::streamed);
  EXPECT_EQ(config.epsilon, (std::vector<double>{0.5}));
  EXPECT_FALSE(config.output_error);
  EXPECT_EQ(config.block, 64);
  EXPECT_EQ(config.output, "x.h5");
  EXPECT_EQ(config.json, "-");
  EXPECT_TRUE(config.dry_run && config.force);
  EXPECT_EQ(config.threads, 2);
  // The record of the options in force reads back to the same options.
  EXPECT_NE(config.config_text.find("R = 2,log(n)"), std::string::npos) << config.config_text;
  EXPECT_NE(config.config_text.find("scale = 0.25"), std::string::npos) << config.config_text;
}

TEST(Options, Refused) {
  struct Case {
    std::vector<std::string> arguments;
    std::vector<std::string> named;  ///< what the line must hold
  };
  for (auto const& c : std::vector<Case>{
           {{}, {"--n"}},
           {{"--n", "0"}, {"--n", "0"}},
           {{"--n", "2^49"}, {"--n", "49"}},
           {{"--n", "64", "--no-such-option", "1"}, {"no-such-option"}},
           {{"--n", "64", "--row", "1"}, {"row"}},
           {{"--n", "64", "stray"}, {"stray"}},
           {{"--n", "64", "--d", "0"}, {"--d", "0"}},
           {{"--n", "64", "--d", "4097"}, {"--d", "4097"}},
           {{"--n", "64", "--sigma", "log(x)"}, {"--sigma", "log(x)"}},
           {{"--n", "64", "--k", "n;n"}, {"--k", "n;n"}},
           {{"--n", "64", "--R", "1", "--sigma", "2"}, {"--R", "--sigma"}},
           {{"--n", "64", "--scale", "-1"}, {"--scale"}},
           {{"--n", "64", "--scale", "abc"}, {"scale", "abc"}},
           {{"--n", "64", "--rows", "0"}, {"--rows", "0"}},
           {{"--n", "64", "--rows", "1.5"}, {"--rows", "1.5"}},
           {{"--n", "64", "--draws", "-3"}, {"--draws", "-3"}},
           {{"--n", "64", "--seed", "x"}, {"--seed", "x"}},
           {{"--n", "64", "--row-sigma", "other"}, {"--row-sigma", "other", "fixed", "natural"}},
           {{"--n", "64", "--weights", "other"}, {"--weights", "other", "identity"}},
           {{"--n", "64", "--self", "maybe"}, {"--self", "maybe", "include"}},
           {{"--n", "64", "--mask", "causal"}, {"--mask", "--input"}},
           {{"--n", "64", "--heads", "0"}, {"--heads", "--input"}},
           {{"--n", "64", "--epsilon", "0"}, {"--epsilon", "0"}},
           {{"--n", "64", "--epsilon", "1"}, {"--epsilon", "1"}},
           {{"--n", "64", "--epsilon", "nan"}, {"--epsilon", "nan"}},
           {{"--n", "64", "--epsilon", "0.1,0.1"}, {"--epsilon", "0.1"}},
           {{"--n", "64", "--count-above", "y"}, {"--count-above", "y"}},
           {{"--n", "64", "--output-error", "maybe"}, {"--output-error", "maybe"}},
           {{"--n", "64", "--block", "100"}, {"--block", "100"}},
           {{"--n", "64", "--block", "32"}, {"--block", "32"}},
           {{"--n", "64", "--keys", "other"}, {"--keys", "other", "streamed"}},
           {{"--n", "64", "--merge", "other"}, {"--merge", "other", "auto", "root", "owner", "tree", "threshold"}},
           {{"--n", "64", "--threads", "-1"}, {"--threads", "-1"}},
           {{"--n", "64", "--force", "--resume"}, {"--force", "--resume"}},
           {{"--n", "64", "-o", ""}, {"output"}},
           {{"--n", "64", "--config", "/dev/null/file.cfg"}, {"/dev/null/file.cfg"}},
           {{"--n", "64", "--input", "x.h5", "--sigma", "2"}, {"--sigma", "--input"}},
           {{"--n", "64", "--n", "128"}, {"n"}},
       }) {
    auto const line = refusal(c.arguments);
    std::string all;
    for (auto const& argument : c.arguments) all += argument + " ";
    EXPECT_NE(line, "") << all << "is taken";
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
    for (auto const& name : c.named) EXPECT_NE(line.find(name), std::string::npos) << all << ": '" << name << "' is not in: " << line;
  }
}

/// The line holds the value as it was given.
TEST(Options, RefusalNamesTheWholeValue) {
  EXPECT_NE(refusal({"--n", "2^49"}).find("2^49"), std::string::npos) << refusal({"--n", "2^49"});
  EXPECT_NE(refusal({"--n", "64", "stray"}).find("stray"), std::string::npos) << refusal({"--n", "64", "stray"});
}

TEST(Options, CommandLineWinsOverConfigFile) {
  std::string const path = ::testing::TempDir() + "asymptop_test_options.cfg";
  std::ofstream(path) << "n = 128\nrows = 7\nk = 3,n^0.5\nsigma = 2\n";
  auto const config = parse({"--config", path, "--rows", "9"});
  EXPECT_EQ(config.n, (Sizes{128}));
  EXPECT_EQ(config.rows, 9);
  EXPECT_EQ(config.k.size(), 2u);
  std::ofstream(path) << "n = 128\nno-such-option = 7\n";
  EXPECT_NE(refusal({"--config", path}).find("no-such-option"), std::string::npos);
  // What a run records as its options gives the same options.
  std::ofstream(path) << config.config_text;
  EXPECT_EQ(parse({"--config", path}).config_text, config.config_text);
  std::remove(path.c_str());
}

TEST(Plan, KOverNIsClippedAndSaid) {
  auto const config = parse({"--n", "64,4096", "--k", "400,n^0.5"});
  auto const plan = plan_study(config, {}, {});
  ASSERT_EQ(plan.groups.size(), 2u);
  EXPECT_EQ(plan.groups[0].k_of_law, (Sizes{64, 8}));
  EXPECT_TRUE(plan.groups[0].k_clipped);
  EXPECT_EQ(plan.groups[1].k_of_law, (Sizes{400, 64}));
  EXPECT_FALSE(plan.groups[1].k_clipped);
  EXPECT_NE(describe(plan, config, {}).find("clipped"), std::string::npos);
  EXPECT_THROW(plan_study(parse({"--n", "64", "--k", "10/n"}), {}, {}), UsageError);
  EXPECT_THROW(plan_study(parse({"--n", "1", "--sigma", "log(n)"}), {}, {}), UsageError);
}

TEST(Plan, MoreMemoryThanTheMachineHasIsRefused) {
  Machine machine;
  machine.memory_bytes = 1e9;
  EXPECT_THROW(plan_study(parse({"--n", "2^30", "--keys", "resident"}), {}, machine), UsageError);
  EXPECT_NO_THROW(plan_study(parse({"--n", "2^30", "--k", "64", "--keys", "streamed"}), {}, machine));
}

TEST(Plan, AGpuThatIsMissingOrTooSmallIsNamed) {
  auto const refused = [](std::vector<std::string> options, Machine const& machine) {
    options.insert(options.end(), {"--path", "device"});
    try {
      plan_study(parse(options), {}, machine);
    } catch (UsageError const& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  Machine machine;
  EXPECT_NE(refused({"--n", "2^20"}, machine).find(device_path.unavailable), std::string::npos);
  machine.paths = {&fused_path, &device_path};
  machine.device_bytes = 1.4e11;
  EXPECT_EQ(refused({"--n", "2^20", "--keys", "resident"}, machine), "");
  EXPECT_NE(refused({"--n", "2^20", "--d", "1025"}, machine).find("1024"), std::string::npos);
  // Four ranks share it: keys and values of 2^28 tokens take over 200 GB, and some streamed to it 2 GB.
  machine.ranks_on_node = 4;
  EXPECT_NE(refused({"--n", "2^28", "--keys", "resident"}, machine).find("of the GPU's memory"), std::string::npos);
  EXPECT_FALSE(plan_study(parse({"--n", "2^28", "--path", "device"}), {}, machine).groups.front().resident);
  EXPECT_STREQ(plan_study(parse({"--n", "64", "--k", "8"}), {}, machine).groups.front().path->name, "fused");
  EXPECT_STREQ(device_path.recorded(), "fused");
}

TEST(Plan, FullAttentionThatAGpuCannotTakeIsSkipped) {
  Machine machine;
  machine.paths = {&fused_path, &device_path};
  machine.device_bytes = 1e10;
  auto const plan = [&](std::vector<char const*> arguments) {
    arguments.insert(arguments.begin(), {"attend", "--kernel", "exact-attention"});
    auto const config = parse_attend_options(static_cast<int>(arguments.size()), arguments.data(), false).value();
    auto made = plan_attend(config, {}, machine);
    return std::pair(made, describe(made, config, machine));
  };
  auto const [some, text] = plan({"--n", "2^16,2^24", "--d", "64,576,577", "--path", "device"});
  ASSERT_EQ(some.sets.size(), 2u);
  EXPECT_EQ(some.sets[1].cases[0].d, 576);
  // Keys and values in fp32 and as pairs of fp16 numbers.
  EXPECT_GT(some.sets[1].cases[0].device_bytes, 16.0 * 576 * 65536);
  EXPECT_NE(text.find("  GPU " + bytes_text(some.sets[1].cases[0].device_bytes)), std::string::npos) << text;
  ASSERT_EQ(some.skips.size(), 4u);
  EXPECT_NE(some.skips[0].reason.find("of the GPU's memory on each rank and 10.00 GB are free"), std::string::npos) << some.skips[0].reason;
  EXPECT_NE(some.skips[2].reason.find("576 columns"), std::string::npos) << some.skips[2].reason;
  auto const [hosts, hosts_text] = plan({"--n", "2^16"});
  EXPECT_EQ(hosts.sets[0].cases[0].device_bytes, 0.0);
  EXPECT_EQ(hosts_text.find("  GPU "), std::string::npos) << hosts_text;
}

/// A plan for tensors of so many heads.
StudyPlan plan_heads(int ranks, std::int64_t heads, std::vector<std::string> options, double memory = 0.0) {
  Machine machine;
  machine.ranks = ranks;
  machine.ranks_on_node = 1;
  machine.memory_bytes = memory;
  machine.network = {2e-5, 1e-6, 1e9, 1e8};
  InputShape input;
  static_cast<LayerShape&>(input) = {.n = 1 << 24, .d = 64, .heads = heads, .key_heads = heads, .m = 1 << 24};
  input.name = "tensors.h5";
  input.layers = {input};
  options.insert(options.end(), {"--input", "tensors.h5"});
  return plan_study(parse(options), input, machine);
}

std::vector<int> ranks_of_teams(StudyPlan const& plan) {
  std::vector<int> ranks;
  for (auto const& team : plan.teams) ranks.push_back(team.ranks);
  return ranks;
}

TEST(Plan, TeamsPartitionRanksAndHeads) {
  for (int const ranks : {1, 2, 3, 4, 6, 7}) {
    for (int teams = 1; teams <= std::min(ranks, 5); ++teams) {
      auto const plan = plan_heads(ranks, 5, {"--n", "2^16,2^20", "--groups", std::to_string(teams)});
      ASSERT_EQ(plan.teams.size(), static_cast<std::size_t>(teams));
      ASSERT_EQ(plan.groups.size(), 10u);
      int next = 0;
      for (std::size_t t = 0; t < plan.teams.size(); ++t) {
        EXPECT_EQ(plan.teams[t].first_rank, next);
        EXPECT_GE(plan.teams[t].ranks, ranks / teams);
        EXPECT_LE(plan.teams[t].ranks, ranks / teams + 1);
        for (int r = 0; r < plan.teams[t].ranks; ++r) EXPECT_EQ(plan.team_of(next++), t);
      }
      EXPECT_EQ(next, ranks);
      double slowest = 0.0;
      for (std::size_t t = 0; t < plan.teams.size(); ++t) {
        double seconds = 0.0;
        for (auto const& group : plan.groups) seconds += group.team == t ? group.seconds : 0.0;
        EXPECT_NEAR(seconds, plan.teams[t].seconds, 1e-9 * seconds);
        slowest = std::max(slowest, seconds);
      }
      EXPECT_NEAR(plan.seconds(), slowest, 1e-9 * slowest);
      for (std::size_t i = 0; i < 10; i += 2) EXPECT_EQ(plan.groups[i].team, plan.groups[i + 1].team);  // a head stays in one team
    }
  }
}

TEST(Plan, TeamsAreChosenByTime) {
  // Heads that divide evenly need no messages at all.
  EXPECT_EQ(ranks_of_teams(plan_heads(4, 8, {"--n", "2^20"})), (std::vector<int>{1, 1, 1, 1}));
  EXPECT_EQ(ranks_of_teams(plan_heads(6, 3, {"--n", "2^20"})), (std::vector<int>{2, 2, 2}));
  // Four teams of six ranks would wait for the two that have one rank, three for the one that has two heads.
  EXPECT_EQ(ranks_of_teams(plan_heads(6, 4, {"--n", "2^24"})), (std::vector<int>{3, 3}));
  // One head, or none: all ranks share its keys.
  EXPECT_EQ(ranks_of_teams(plan_heads(6, 1, {"--n", "2^20"})), std::vector<int>{6});
  EXPECT_EQ(ranks_of_teams(plan_study(parse({"--n", "2^20"}), {}, {})), std::vector<int>{1});
}

TEST(Plan, TeamsMustFitIntoMemory) {
  std::vector<std::string> const options{"--n", "2^24", "--keys", "resident", "--k", "64"};
  // All keys and values of a head are 8.6 GB.
  EXPECT_EQ(plan_heads(4, 4, options, 16e9).teams.size(), 4u);
  EXPECT_EQ(plan_heads(4, 4, options, 7e9).teams.size(), 2u);
  EXPECT_EQ(plan_heads(4, 4, options, 3e9).teams.size(), 1u);
  EXPECT_THROW(plan_heads(4, 4, options, 1e9), UsageError);
}

TEST(Plan, TeamsLeaveWhatIsHeldAsItIs) {
  // Heads of 2^24 candidates for 64 rows fill this memory; what is held decides about bytes, so it may not depend on the split.
  std::vector<std::string> options{"--n", "2^24", "--keys", "streamed", "--k", "n", "--output-error", "off"};
  for (double memory = 2e9; memory < 40e9; memory *= 1.3) {
    auto const chosen = plan_heads(4, 4, options, memory);
    auto one = options;
    one.insert(one.end(), {"--groups", "1"});
    EXPECT_EQ(chosen.groups[0].held, plan_heads(4, 4, one, memory).groups[0].held) << memory;
  }
}

}  // namespace
}  // namespace asymptop
