// The table of options: one row adds an option to parsing, help, config text and identity.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <set>

#include "config/errors.hpp"
#include "config/measure_options.hpp"
#include "config/option_values.hpp"
#include "config/options.hpp"

namespace asymptop {
namespace {

constexpr Commands each[] = {for_study, for_simulate, for_attend, for_bench, for_precision};

OptionValues read(OptionTable const& table, Commands command, std::vector<char const*> words) {
  words.insert(words.begin(), "command");
  return table.read(command, static_cast<int>(words.size()), words.data());
}

std::string refusal(OptionTable const& table, Commands command, std::vector<char const*> const& words) {
  try {
    read(table, command, words);
  } catch (UsageError const& error) {
    return error.what();
  }
  return "";
}

/// The program's table and one row more.
OptionTable with_one_more() {
  auto rows = option_table().rows();
  rows.push_back(Option{"stride", for_study | for_bench, OptionIdentity::result, OptionKind::text, "4",
                        [](std::string const& option, std::string const& text) { return std::any(parse_integer(option, text, 1, 99)); },
                        "keys between two that are looked at"}
                     .but(for_bench, "8", {}, "keys between two"));
  return OptionTable(std::move(rows));
}

TEST(Options, OneRowIsSeenEverywhere) {
  auto const table = with_one_more();
  auto const values = read(table, for_study, {"--n", "100", "--stride", "7"});
  EXPECT_EQ(values.get<std::int64_t>("stride"), 7);
  EXPECT_TRUE(values.given("stride"));
  EXPECT_NE(values.config_text().find("stride = 7\n"), std::string::npos);
  EXPECT_EQ(read(table, for_study, {"--n", "100"}).get<std::int64_t>("stride"), 4);
  EXPECT_EQ(read(table, for_bench, {}).get<std::int64_t>("stride"), 8);
  EXPECT_NE(table.help(for_study).find("--stride arg (=4)"), std::string::npos);
  EXPECT_NE(table.help(for_study).find("keys between two that are looked at"), std::string::npos);
  EXPECT_NE(table.help(for_bench).find("--stride arg (=8)"), std::string::npos);
  EXPECT_EQ(refusal(table, for_study, {"--n", "100", "--stride", "100"}), "--stride: '100' is not an integer from 1 to 99");
  for (auto const other : {for_simulate, for_attend, for_precision}) {
    EXPECT_EQ(table.help(other).find("stride"), std::string::npos);
    EXPECT_NE(refusal(table, other, {"--n", "100", "--stride", "7"}), "");
  }
  EXPECT_EQ(table.identity("stride"), OptionIdentity::result);
  EXPECT_EQ(table.lines_of(OptionIdentity::result, values.config_text()).find("n = 100"), std::string::npos);
  EXPECT_NE(table.lines_of(OptionIdentity::result, values.config_text()).find("stride = 7\n"), std::string::npos);
}

TEST(Options, ConfigTextIsReadAgain) {
  auto const table = with_one_more();
  std::string const path = ::testing::TempDir() + "asymptop_test_options.cfg";
  for (auto const command : each) {
    auto const first = read(table, command, {"--n", "100,200", "--force", "--seed", "9"});
    EXPECT_EQ(first.config_text().find("force"), std::string::npos);  // not recorded
    std::ofstream(path) << first.config_text();
    auto const again = read(table, command, {"--config", path.c_str()});
    EXPECT_EQ(again.config_text(), first.config_text());
    EXPECT_EQ(again.get<std::int64_t>("seed"), 9);
    EXPECT_FALSE(again.on("force"));
  }
  std::remove(path.c_str());
}

TEST(Options, AnEmptyValueIsNotNone) {
  for (auto const command : each) {
    for (auto const& listed : option_table().rows()) {
      auto const row = as_taken(listed, command);
      bool const optional = row.kind == OptionKind::text && row.fallback != nullptr && row.fallback == std::string();
      if ((row.commands & command) == 0 || !optional) continue;
      auto const name = std::string("--") + row.name;
      auto const said = refusal(option_table(), command, {name.c_str(), ""});
      EXPECT_EQ(said, name + ": '' is no value; leave the option out for none");
    }
  }
}

TEST(Options, NamesAreUnique) {
  std::set<std::string> names;
  for (auto const& row : option_table().rows()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_NE(std::string(row.help), "");
    EXPECT_NE(row.commands & for_all, 0u) << row.name;
  }
  for (auto const command : each) EXPECT_EQ(option_table().help(command).find("--sigma") == std::string::npos, command == for_bench);
}

TEST(Options, DefaultsOfWhatACommandDoesNotTake) {
  auto const values = read(option_table(), for_simulate, {"--n", "2^60"});
  EXPECT_EQ(values.get<std::int64_t>("block"), 4096);
  EXPECT_EQ(values.config_text().find("block"), std::string::npos);
}

TEST(Options, Identity) {
  auto const& table = option_table();
  for (auto const* name : {"n", "d", "inputs", "heads", "sigma", "R"}) EXPECT_EQ(table.identity(name), OptionIdentity::case_id) << name;
  for (auto const* name : {"k", "epsilon", "count-above"}) EXPECT_EQ(table.identity(name), OptionIdentity::contents) << name;
  for (auto const* name : {"keys", "merge", "groups", "batch-rows", "mpi-memory", "max-time"})
    EXPECT_EQ(table.identity(name), OptionIdentity::manner) << name;
  for (auto const* name : {"seed", "block", "rows", "draws", "path", "of a later version"})
    EXPECT_EQ(table.identity(name), OptionIdentity::result) << name;
  for (auto const* name : {"scale", "row-sigma", "weights", "self", "first-keys", "recent-keys"})
    EXPECT_EQ(table.identity(name), OptionIdentity::quantity) << name;
  EXPECT_EQ(table.identity("contexts"), OptionIdentity::of_case);
  for (auto const* name : {"output", "resume", "threads"}) EXPECT_EQ(table.identity(name), OptionIdentity::unrecorded) << name;
}

TEST(Options, WhatTextsMean) {
  auto const& table = option_table();
  for (auto const* text : {"1%", "0.01", "1e-2"}) EXPECT_EQ(table.meaning("target-se", text), "0.01") << text;
  EXPECT_EQ(table.meaning("first-keys", ""), table.meaning("first-keys", "04"));
  EXPECT_EQ(table.meaning("scale", "0.20000000000000001"), "0.2");
  EXPECT_EQ(table.meaning("scale", ""), "");
  for (auto const* text : {"./q.h5", "none/../q.h5", ".//q.h5"})
    EXPECT_EQ(table.meaning("input", text), table.meaning("input", "q.h5")) << text;
  EXPECT_NE(table.meaning("input", "q.h5"), table.meaning("input", "p.h5"));
  EXPECT_EQ(table.meaning("input", ""), "");
  EXPECT_EQ(table.meaning("seed", "nine"), "nine");  // of a version that took it
  EXPECT_EQ(table.meaning("of a later version", "1%"), "1%");
}

TEST(Options, NumbersAreStoredAsTheyAreTyped) {
  auto const values = read(option_table(), for_study, {"--n", "64", "--scale", "0.2"});
  EXPECT_NE(values.config_text().find("\nscale = 0.2\n"), std::string::npos);
}

TEST(Options, AListThatNamesAllIsQuotedAsItIsTyped) {
  EXPECT_EQ(refusal(option_table(), for_bench, {"--merge", "all,tree"}), "--merge: 'all,tree' names tree twice");
  EXPECT_EQ(refusal(option_table(), for_bench, {"--merge", "all,tee"}),
            "--merge: 'tee' is none of: auto, root, owner, tree, threshold, device");
}

TEST(Options, LimitsOfLaws) {
  auto const message = [](Commands command, double value) -> std::string {
    try {
      option_table().check_at(command, "sigma", "--sigma", "2*n", value, 700);
    } catch (UsageError const& error) {
      return error.what();
    }
    return "";
  };
  for (auto const command : each) EXPECT_EQ(message(command, 1000.0), "");
  EXPECT_EQ(message(for_study, 1400.0), "--sigma: '1400' is the largest sigma at n = 700; fp32 logits can be profiled up to sigma = 1000");
  EXPECT_EQ(message(for_attend, 1400.0), "--sigma: '2*n' is over 1000 at n = 700, more than fp32 logits can bear");
  EXPECT_EQ(message(for_precision, 1400.0), "--sigma: '2*n' is over 1000 at n = 700, more than differences of logits can bear in fp16");
  EXPECT_EQ(message(for_simulate, 1400.0), "");
  EXPECT_NE(message(for_simulate, 2e9).find("is the sigma of '2*n' at n = 700; rows are simulated up to sigma = 10^9"), std::string::npos);
}

}  // namespace
}  // namespace asymptop
