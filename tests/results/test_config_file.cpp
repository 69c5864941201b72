// Config files as editors and other programs write them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "config/config_file.hpp"
#include "config/errors.hpp"
#include "config/run_config.hpp"

namespace asymptop {
namespace {
namespace fs = std::filesystem;

class ConfigFile : public ::testing::Test {
 protected:
  void SetUp() override { path_ = fs::temp_directory_path() / ("config-" + std::to_string(getpid()) + ".cfg"); }
  void TearDown() override { fs::remove(path_); }

  RunConfig read(std::string const& text) const {
    std::ofstream(path_, std::ios::binary) << text;
    std::vector<char const*> const words{"study", "--config", path_.c_str()};
    return parse_study_options(static_cast<int>(words.size()), words.data(), false).value();
  }
  std::string refusal(std::string const& text) const {
    try {
      read(text);
    } catch (UsageError const& error) {
      return error.what();
    }
    return "";
  }

  fs::path path_;
};

TEST_F(ConfigFile, Values) {
  struct {
    char const *text, *output;
  } const cases[] = {
      {"n=8\noutput = run#3.h5\n", "run#3.h5"},
      {"n=8\noutput = run.h5 # the third\n", "run.h5"},
      {"n=8\noutput = run.h5\t#3\n", "run.h5"},
      {"# first\n  # second\nn=8\noutput=a#b#c.h5#\n", "a#b#c.h5#"},
      {"n = 8\r\noutput = run.h5\r\n", "run.h5"},
      {"\xef\xbb\xbfn = 8\noutput = run.h5", "run.h5"},
      {"n = 8\noutput = \"my run.h5\"\n", "my run.h5"},
      {"n = 8\noutput = 'my run.h5'\n", "my run.h5"},
      {"n = 8\noutput = it's.h5\n", "it's.h5"},
      {"n = 8\noutput = a=b.h5\n", "a=b.h5"},
      {"n = 8\noutput = m\xc3\xbcller.h5\n", "m\xc3\xbcller.h5"},
      {"# m\xfcller, in Latin-1\nn = 8\noutput = run.h5\n", "run.h5"},
      {"n = 8\n", "results.h5"},
  };
  for (auto const& one : cases) {
    auto const config = read(one.text);
    EXPECT_EQ(config.output, one.output) << one.text;
    EXPECT_EQ(config.n, std::vector<std::int64_t>{8}) << one.text;
  }
}

TEST_F(ConfigFile, Refused) {
  for (auto const& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"n = 8\nconfig = other.cfg\n", "names another config in line 2 ('config = other.cfg')"},
           {"n = 8\nk 4\n", "line 2 ('k 4') that is not NAME = VALUE"},
           {"[study]\nn = 8\n", "line 1 ('[study]') that is not NAME = VALUE"},
           {"= 4\n", "line 1 ('= 4') that is not NAME = VALUE"},
           {"n = 8\noutput = m\xfcller.h5\n", "line 2 that is no text in UTF-8 or ASCII"},
           {std::string("\xff\xfen\0=\0008\0", 10), "line 1 that is no text in UTF-8 or ASCII"},
           {"n = 8\nwindow-size = 3\n", "'window-size'"},
           {"n = 8\nn = 9\n", "'n' cannot be specified more than once"},
       }) {
    EXPECT_NE(refusal(text).find(words), std::string::npos) << refusal(text);
  }
}

TEST_F(ConfigFile, HomeIsOpened) {
  std::string const before = std::getenv("HOME") == nullptr ? "" : std::getenv("HOME");
  setenv("HOME", "/somewhere/else", 1);
  auto const config = read("n = 8\noutput = ~/r.h5\njson = ~/r.json\n");
  EXPECT_EQ(config.output, "/somewhere/else/r.h5");
  EXPECT_EQ(config.json, "/somewhere/else/r.json");
  EXPECT_EQ(expand_home("~"), "/somewhere/else");
  for (auto const* same : {"~other/r.h5", "a~/r.h5", "~.h5", "", "-", "./~/r.h5"}) EXPECT_EQ(expand_home(same), same);
  unsetenv("HOME");
  EXPECT_EQ(expand_home("~/r.h5"), "~/r.h5");
  setenv("HOME", before.c_str(), 1);
}

}  // namespace
}  // namespace asymptop
