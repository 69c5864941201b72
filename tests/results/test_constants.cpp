// The compiler copies constant arrays as they are: gcc 12.2 does not with every option (findings/gcc12-constant-arrays.sh).
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/core/types.hpp"
#include "precision/file.hpp"

namespace asymptop {
namespace {

constexpr std::array<double, 8> pairs = {1e-12, 1e-12, 0.0, 0.0, 1e-3, 1.0, 1e-13, 0.0};

/// Not known when the rest is compiled.
__attribute__((noinline)) double from_text(char const* text) { return std::stod(text); }

TEST(Constants, AreCopiedAsTheyAre) {
  std::vector<double> const copy(pairs.begin(), pairs.end());
  double moved[8];
  std::memcpy(moved, pairs.data(), sizeof moved);
  char const* const texts[] = {"1e-12", "1e-12", "0", "0", "1e-3", "1", "1e-13", "0"};
  for (std::size_t i = 0; i < copy.size(); ++i) {
    EXPECT_EQ(copy[i], from_text(texts[i])) << i;
    EXPECT_EQ(moved[i], from_text(texts[i])) << i;
  }
}

TEST(Constants, TolerancesThatAreStoredAreThoseThatJudge) {
  for (auto const& residual : MeasuredPrecision{}.residuals()) {
    bool const counts = residual.name == "selected" || residual.name == "in_format" || residual.name == "finite";
    EXPECT_EQ(residual.tolerance == 0.0, counts) << residual.name;
  }
}

}  // namespace
}  // namespace asymptop
