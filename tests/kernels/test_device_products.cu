// What tensor cores make of products of bf16 numbers, held to the bound that the screen claims for them (kernels/device/top_k.hpp).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/device/common.cuh"
#include "kernels/device/memory.hpp"

namespace asymptop::device {
namespace {

/// The nearest bf16 number, ties to even, by its bits; subnormals are zero.
float rounded(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
  std::memcpy(&x, &bits, sizeof bits);
  return std::fabs(x) < 0x1p-126f ? 0.0f : x;
}

TEST(DeviceProducts, KeepTheirBound) {
  if (!gpu().usable) GTEST_SKIP() << "no GPU of compute capability 9.0";
  char const* const given = std::getenv("ASYMPTOP_TEST_SEED");
  auto const seed = given != nullptr ? static_cast<std::uint32_t>(std::atoll(given)) : std::random_device()();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  double worst = 0.0;
  for (int const d : {1, 16, 64, 130, 576, 1024}) {
    for (int const spread : {0, 4, 20}) {  // of exponents: sums lose most where large numbers cancel
      constexpr int m = 40;
      constexpr std::int64_t n = 65536, sample = n / 16;
      ASSERT_EQ(sample_of(n), sample);
      auto const draw = [&] {
        return std::ldexp(normal(random), spread == 0 ? 0 : static_cast<int>(random() % static_cast<unsigned>(spread)));
      };
      std::vector<float> queries(static_cast<std::size_t>(m * d)), keys(static_cast<std::size_t>(n * d), 1.0f);
      for (auto& x : queries) x = draw();
      for (std::int64_t j = 0; j < sample; ++j)
        for (int c = 0; c < d; ++c) keys[static_cast<std::size_t>(16 * j * d + c)] = draw();
      KeyCopy copy;
      std::vector<float> packed(static_cast<std::size_t>((n + 31) / 32 * 32 * d), 0.0f);
      for (std::int64_t j = 0; j < n; ++j)
        for (int c = 0; c < d; ++c)
          packed[static_cast<std::size_t>((j / 32 * d + c) * 32 + j % 32)] = keys[static_cast<std::size_t>(j * d + c)];
      copy.load(packed.data(), n, d);
      copy.make_screen();
      auto const plan = plan_top_k(m, n, d, 10, gpu().multiprocessors);
      ASSERT_TRUE(plan.screened);
      Memory const on_device(queries.size() * sizeof(float)), limits(m * sizeof(std::int64_t)), space(plan.bytes);
      std::vector<std::int64_t> const all(m, n);
      upload(nullptr, on_device.as<float>(), queries.data(), queries.size() * sizeof(float));
      upload(nullptr, limits.as<std::int64_t>(), all.data(), m * sizeof(std::int64_t));
      TopKArguments const arguments{on_device.as<float>(), limits.as<std::int64_t>(), copy.keys().screen, space.as<unsigned char>(),
                                    nullptr};
      Workspace const work(plan, arguments.workspace);
      make_query_tiles(nullptr, plan, arguments.queries, work);
      sample_maxima(nullptr, plan, arguments, work);
      std::vector<float> maxima(static_cast<std::size_t>(m * sample / 32));
      download(nullptr, maxima.data(), work.maxima, maxima.size() * sizeof(float));
      for (int i = 0; i < m; ++i) {
        for (std::int64_t g = 0; g < sample / 32; ++g) {
          // The largest of 32: wrong by no more than the worst of them.
          double largest = -INFINITY, bound = 0.0;
          for (std::int64_t j = 32 * g; j < 32 * g + 32; ++j) {
            double product = 0.0, q = 0.0, k = 0.0;
            for (int c = 0; c < d; ++c) {
              double const x = rounded(queries[static_cast<std::size_t>(i * d + c)]),
                           y = rounded(keys[static_cast<std::size_t>(16 * j * d + c)]);
              product += x * y;
              q += x * x;
              k += y * y;
            }
            largest = std::max(largest, product);
            bound = std::max(bound, d * 0x1p-21 * std::sqrt(q * k));
          }
          double const error = std::fabs(maxima[static_cast<std::size_t>(i * (sample / 32) + g)] - largest);
          worst = std::max(worst, error / bound);
          ASSERT_LE(error, bound) << "d " << d << " spread " << spread << " row " << i << " group " << g << " seed " << seed;
        }
      }
    }
  }
  std::printf("largest share of the bound: %.3g\n", worst);
  EXPECT_GT(worst, 0.0);  // products of bf16 numbers in fp32 are not exact: something was measured
}

}  // namespace
}  // namespace asymptop::device
