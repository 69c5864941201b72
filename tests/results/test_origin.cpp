// Which option keeps a file of another run from being taken over.
#include <gtest/gtest.h>

#include "study/files/origin.hpp"

namespace asymptop {
namespace {

constexpr auto quantities = Agreement::quantities, numbers = Agreement::numbers, contents = Agreement::contents;

std::string other(std::string const& there, std::string const& here, Agreement wanted) { return other_option({there}, {here}, wanted); }

TEST(OtherOption, NamesTheFirstThatMakesOtherNumbers) {
  EXPECT_EQ(other("n = 64\nseed = 1\nk = 8\n", "n = 64\nseed = 1\nk = 8\n", contents), "");
  EXPECT_EQ(other("draws = 4\nseed = 1\n", "draws = 4\nseed = 2\n", numbers), "seed = 1 there, seed = 2 here");
  EXPECT_EQ(other("draws = 4\nseed = 1\n", "draws = 5\nseed = 2\n", numbers), "draws = 4 there, draws = 5 here");
  EXPECT_EQ(other("seed = 1\n", "seed = 1\nscale = 0.25\n", numbers), "not given there, scale = 0.25 here");
  EXPECT_EQ(other("scale = 0.25\nseed = 1\n", "seed = 1\n", numbers), "scale = 0.25 there, not given here");
  EXPECT_EQ(other("block = 4096\n", "seed = 1\nblock = 4096\n", numbers), "not given there, seed = 1 here");
}

TEST(OtherOption, ContentsCountWhereTheyAreAskedFor) {
  EXPECT_EQ(other("k = 8\n", "k = 8,16\n", numbers), "");
  EXPECT_EQ(other("k = 8\n", "k = 8,16\n", contents), "k = 8 there, k = 8,16 here");
  EXPECT_EQ(other("k = 4*n^0.5\nepsilon = 0.001\n", "k = 4 * n^.50\nepsilon = 1e-3\n", contents), "");
  // Which cases there are, and how numbers are made that are the same.
  EXPECT_EQ(other("n = 64\nkeys = streamed\n", "n = 128\nkeys = resident\n", contents), "");
}

TEST(OtherOption, GoesByWhatTextsMean) {
  EXPECT_EQ(other("scale = 0.20000000000000001\n", "scale = 0.2\n", contents), "");
  EXPECT_EQ(other("target-se = 1%\n", "target-se = 0.01\n", contents), "");
  EXPECT_EQ(other("seed = 1\n", "first-keys = 4\nrecent-keys = 64\nseed = 1\n", contents), "");
  EXPECT_EQ(other("seed = 1\n", "first-keys = 5\nseed = 1\n", contents), "not given there, first-keys = 5 here");
}

TEST(OtherOption, ContextsAreWhatTheyCameTo) {
  EXPECT_EQ(other_option({"seed = 1\n", "places"}, {"contexts = places\nseed = 1\n", "places"}, contents), "");
  for (auto const wanted : {quantities, numbers, contents}) {
    EXPECT_EQ(other_option({"", "places"}, {"", "starts"}, wanted), "contexts = places there, contexts = starts here");
    EXPECT_EQ(other_option({"", ""}, {"", "starts"}, wanted), "");  // made input has none
  }
}

TEST(OtherOption, CasesOfOneFileMayBeOtherSamples) {
  EXPECT_EQ(other("draws = 4\nseed = 1\n", "draws = 5\nseed = 2\n", quantities), "");
  EXPECT_EQ(other("row-sigma = fixed\n", "row-sigma = natural\n", quantities), "row-sigma = fixed there, row-sigma = natural here");
  EXPECT_EQ(other("seed = 1\n", "scale = 0.25\nseed = 1\n", quantities), "not given there, scale = 0.25 here");
  EXPECT_EQ(other("seed = 1\n", "row-sigma = natural\nseed = 1\n", quantities), "");  // of a command that does not take it
}

}  // namespace
}  // namespace asymptop
