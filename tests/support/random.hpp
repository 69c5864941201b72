// Random numbers for property tests: one seed for the whole program, printed at its start, so that a failure can be repeated
// with ASYMPTOP_TEST_SEED=<seed>.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace asymptop::test {

inline std::uint64_t test_seed() {
  static std::uint64_t const seed = [] {
    char const* text = std::getenv("ASYMPTOP_TEST_SEED");
    return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : 20240601ull;
  }();
  return seed;
}

class PrintSeed : public ::testing::Environment {
 public:
  void SetUp() override { std::printf("ASYMPTOP_TEST_SEED=%llu\n", static_cast<unsigned long long>(test_seed())); }
};
inline ::testing::Environment* const print_seed = ::testing::AddGlobalTestEnvironment(new PrintSeed);

/// Numbers of one test: `salt` tells tests of a program apart.
class Random {
 public:
  explicit Random(std::uint64_t salt) : engine_(test_seed() * 0x9E3779B97F4A7C15ull + salt) {}
  std::uint64_t bits() { return engine_(); }
  double normal() { return std::normal_distribution<double>()(engine_); }
  double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(engine_); }
  std::int64_t integer(std::int64_t low, std::int64_t high) { return std::uniform_int_distribution<std::int64_t>(low, high)(engine_); }
  std::vector<float> normals(std::size_t count, double sigma = 1.0) {
    std::vector<float> values;
    for (std::size_t i = 0; i < count; ++i) values.push_back(static_cast<float>(sigma * normal()));
    return values;
  }
  std::mt19937_64& engine() { return engine_; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace asymptop::test
