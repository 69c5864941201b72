// What tests of a GPU's kernels share: they are skipped where there is none, and draw their inputs anew each time, by a seed that is
// printed.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/device/memory.hpp"

namespace asymptop::test {

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!device::gpu().usable) GTEST_SKIP() << "no GPU of compute capability 9.0";
    char const* const given = std::getenv("ASYMPTOP_TEST_SEED");
    seed_ = given != nullptr ? static_cast<std::uint32_t>(std::atoll(given)) : std::random_device()();
    random_.seed(seed_);
    std::printf("seed %u\n", seed_);
  }

  /// (rows, d) normal numbers.
  std::vector<float> normals(std::int64_t rows, int d, float scale = 1.0f) {
    std::normal_distribution<float> draw;
    std::vector<float> all(static_cast<std::size_t>(rows * d));
    for (auto& x : all) x = scale * draw(random_);
    return all;
  }
  std::int64_t below(std::int64_t n) { return std::uniform_int_distribution<std::int64_t>(0, n - 1)(random_); }

  /// Empty where they are the same; else how many differ, and the first of them.
  template <class Number>
  static std::string difference(std::vector<Number> const& a, std::vector<Number> const& b) {
    std::ostringstream text;
    if (a.size() != b.size()) text << a.size() << " and " << b.size() << " numbers";
    std::size_t count = 0, first = 0;
    for (std::size_t i = std::min(a.size(), b.size()); i-- > 0;) {
      if (a[i] == b[i]) continue;
      ++count;
      first = i;
    }
    if (count > 0) text << count << " of " << a.size() << " differ, the first is " << first << ": " << a[first] << " and " << b[first];
    return text.str();
  }

  std::uint32_t seed_ = 0;
  std::mt19937 random_;
};

}  // namespace asymptop::test
