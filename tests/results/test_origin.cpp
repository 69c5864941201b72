// Which option keeps a file of another run from being taken over.
#include <gtest/gtest.h>

#include "study/files/origin.hpp"

namespace asymptop {
namespace {

constexpr auto numbers = Agreement::numbers, contents = Agreement::contents;

TEST(OtherOption, NamesTheFirstThatMakesOtherNumbers) {
  EXPECT_EQ(other_option("n = 64\nseed = 1\nk = 8\n", "n = 64\nseed = 1\nk = 8\n", contents), "");
  EXPECT_EQ(other_option("draws = 4\nseed = 1\n", "draws = 4\nseed = 2\n", numbers), "seed = 1 there, seed = 2 here");
  EXPECT_EQ(other_option("draws = 4\nseed = 1\n", "draws = 5\nseed = 2\n", numbers), "draws = 4 there, draws = 5 here");
  EXPECT_EQ(other_option("seed = 1\n", "seed = 1\nscale = 0.25\n", numbers), "not given there, scale = 0.25 here");
  EXPECT_EQ(other_option("scale = 0.25\nseed = 1\n", "seed = 1\n", numbers), "scale = 0.25 there, not given here");
}

TEST(OtherOption, ContentsCountWhereTheyAreAskedFor) {
  EXPECT_EQ(other_option("k = 8\n", "k = 8,16\n", numbers), "");
  EXPECT_EQ(other_option("k = 8\n", "k = 8,16\n", contents), "k = 8 there, k = 8,16 here");
  EXPECT_EQ(other_option("k = 4*n^0.5\nepsilon = 0.001\n", "k = 4 * n^.50\nepsilon = 1e-3\n", contents), "");
  // Which cases there are, and how numbers are made that are the same.
  EXPECT_EQ(other_option("n = 64\nkeys = streamed\n", "n = 128\nkeys = resident\n", contents), "");
}

}  // namespace
}  // namespace asymptop
