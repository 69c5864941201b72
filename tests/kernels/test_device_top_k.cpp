// Certified top-k and profiles on a GPU against all scores on the host, bit for bit; skipped where there is no GPU of compute
// capability 9.0.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/candidate.hpp"
#include "kernels/core/pack_keys.hpp"
#include "kernels/device/profile.hpp"
#include "kernels/device/scores.hpp"
#include "kernels/device/top_k.hpp"
#include "kernels/profile/score_bins.hpp"
#include "kernels/score/panel.hpp"

namespace asymptop {
namespace {

using Numbers = std::vector<float>;

void ok(cudaError_t error) { ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error); }

/// A vector in device memory, with a margin that must stay as it is.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(std::size_t count) : count_(count) {
    ok(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T) + margin));
    ok(cudaMemset(data_, 0xa5, count * sizeof(T) + margin));
  }
  explicit OnDevice(std::vector<T> const& values) : OnDevice(values.size()) {
    ok(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  OnDevice(OnDevice const&) = delete;
  OnDevice& operator=(OnDevice const&) = delete;
  ~OnDevice() { cudaFree(data_); }
  T* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> all(count_);
    ok(cudaMemcpy(all.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return all;
  }
  bool margin_untouched() const {
    std::vector<unsigned char> after(margin);
    ok(cudaMemcpy(after.data(), reinterpret_cast<unsigned char*>(data_) + count_ * sizeof(T), margin, cudaMemcpyDeviceToHost));
    return std::all_of(after.begin(), after.end(), [](unsigned char x) { return x == 0xa5; });
  }

 private:
  static constexpr std::size_t margin = 4096;
  T* data_ = nullptr;
  std::size_t count_;
};

struct Problem {
  int m, d;
  std::int64_t n;
  Numbers queries, keys;
  std::vector<std::int64_t> limits;
};

/// One chain of std::fma.
float score(Problem const& p, int row, std::int64_t key) {
  float const *q = &p.queries[static_cast<std::size_t>(row * p.d)], *k = &p.keys[static_cast<std::size_t>(key * p.d)];
  float s = 0.0f;
  for (int c = 0; c < p.d; ++c) s = std::fmaf(q[c], k[c], s);
  return s;
}

/// Heads by all scores.
std::vector<std::uint64_t> reference(Problem const& p, int keep) {
  std::vector<std::uint64_t> heads, row;
  for (int i = 0; i < p.m; ++i) {
    row.clear();
    for (std::int64_t j = 0; j < p.limits[static_cast<std::size_t>(i)]; ++j)
      row.push_back(pack(score(p, i, j), static_cast<LocalIndex>(j)));
    auto const wanted = std::min<std::size_t>(row.size(), static_cast<std::size_t>(keep));
    std::partial_sort(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(wanted), row.end(), std::greater<>());
    row.resize(wanted);
    row.resize(static_cast<std::size_t>(keep), 0);
    heads.insert(heads.end(), row.begin(), row.end());
  }
  return heads;
}

class DeviceTopK : public ::testing::Test {
 protected:
  void SetUp() override {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess || properties.major != 9) GTEST_SKIP() << "no GPU of compute capability 9.0";
    multiprocessors_ = properties.multiProcessorCount;
    char const* const given = std::getenv("ASYMPTOP_TEST_SEED");
    seed_ = given != nullptr ? static_cast<std::uint32_t>(std::atoll(given)) : std::random_device()();
    random_.seed(seed_);
    std::printf("seed %u\n", seed_);
  }

  Problem normal(int m, std::int64_t n, int d) {
    Problem p{m, d, n, Numbers(static_cast<std::size_t>(m * d)), Numbers(static_cast<std::size_t>(n * d)), {}};
    std::normal_distribution<float> draw;
    for (auto& x : p.queries) x = draw(random_) / std::sqrt(static_cast<float>(d));
    for (auto& x : p.keys) x = draw(random_);
    p.limits.assign(static_cast<std::size_t>(m), n);
    return p;
  }

  /// Runs twice into poisoned memory and compares with all scores. Returns rows scored in full.
  int expect_right(Problem const& p, int keep, std::string const& what) {
    auto const plan = device::plan_top_k(p.m, p.n, p.d, keep, multiprocessors_);
    OnDevice<float> const queries(p.queries), keys(p.keys);
    OnDevice<std::int64_t> const limits(p.limits);
    device::ScreenKeys screen{p.n, p.d, keys.data(), nullptr, nullptr, nullptr, nullptr};
    auto const sample = device::sample_of(p.n);
    OnDevice<unsigned char> const tiles(screen.tiles_bytes(p.n)), sample_tiles(screen.tiles_bytes(sample)), work(plan.bytes);
    OnDevice<device::TileBound> const bounds(static_cast<std::size_t>(device::tiles_of(p.n))),
        sample_bounds(static_cast<std::size_t>(device::tiles_of(sample)));
    screen.tiles = tiles.data();
    screen.bounds = bounds.data();
    screen.sample_tiles = sample_tiles.data();
    screen.sample_bounds = sample_bounds.data();
    device::make_screen_keys(nullptr, screen);
    auto const expected = reference(p, keep);
    int in_full = -1;
    std::vector<std::uint64_t> first;
    for (int run = 0; run < 2; ++run) {
      OnDevice<std::uint64_t> const heads(static_cast<std::size_t>(p.m) * static_cast<std::size_t>(keep));
      in_full = device::top_k(nullptr, plan, {queries.data(), limits.data(), screen, work.data(), heads.data()});
      auto const found = heads.values();
      EXPECT_TRUE(heads.margin_untouched() && work.margin_untouched()) << what;
      auto const differs = static_cast<std::size_t>(std::mismatch(found.begin(), found.end(), expected.begin()).first - found.begin());
      EXPECT_EQ(differs, found.size()) << what << ": m " << p.m << " n " << p.n << " d " << p.d << " k " << keep << " row "
                                       << differs / static_cast<std::size_t>(keep) << " place " << differs % static_cast<std::size_t>(keep)
                                       << " of seed " << seed_;
      if (run == 0) first = found;
      EXPECT_EQ(found, first) << what;
    }
    EXPECT_TRUE(tiles.margin_untouched() && bounds.margin_untouched() && sample_tiles.margin_untouched()) << what;
    std::printf("%-40s m %4d n %7ld d %4d k %6d: %s, %d row(s) in full\n", what.c_str(), p.m, static_cast<long>(p.n), p.d, keep,
                plan.screened ? "screened" : "all scores", in_full);
    return in_full;
  }

  int multiprocessors_ = 0;
  std::uint32_t seed_ = 0;
  std::mt19937 random_;
};

TEST_F(DeviceTopK, OfNormalKeysIsScreenedAndExact) {
  for (int const d : {1, 3, 16, 64, 65, 100, 128, 576, 1024}) {
    auto const p = normal(d > 500 ? 5 : 33, 70001, d);
    EXPECT_LE(expect_right(p, 100, "normal"), 1);
  }
  for (int const m : {1, 2, 64, 65, 129, 300}) EXPECT_LE(expect_right(normal(m, 131072 + 77, 32), 64, "rows"), 1);
}

TEST_F(DeviceTopK, OfAnyK) {
  auto const p = normal(9, 66000, 24);
  for (int const k : {1, 2, 31, 1024, 1500, 2000, 3000, 20000, 24576, 24577, 65999, 66000}) expect_right(p, k, "k");
}

TEST_F(DeviceTopK, WithSurvivorsInMostTiles) {
  // Bits, and scores by tiles: of 64 columns, of others, and row by row where columns are too many or are not read in fours.
  for (int const d : {4, 60, 64, 68, 72, 30}) expect_right(normal(d == 64 ? 300 : 129, 66000 + d, d), 1000, "many survivors");
  auto p = normal(140, 70001, 64);
  for (auto& limit : p.limits) limit = std::uniform_int_distribution<std::int64_t>(0, p.n)(random_);
  expect_right(p, 1200, "many survivors, limits");
  // The best lie together, in tiles that are full of them; then, many are alike.
  for (std::size_t i = 0; i < p.keys.size(); ++i) p.keys[i] *= 1.0f + 3.0f * static_cast<float>(i / 64 / 1000 == 31);
  expect_right(p, 1200, "many survivors together");
  for (auto& x : p.queries) x = std::nearbyint(x * 8.0f);
  for (auto& x : p.keys) x = std::nearbyint(x);
  expect_right(p, 1200, "many survivors, ties");
}

TEST_F(DeviceTopK, OfFewKeys) {
  for (std::int64_t const n : {1, 2, 127, 128, 129, 1000, 32768, 40000})
    for (int const k : {1, 17, 1000})
      if (k <= n) expect_right(normal(3, n, 20), k, "few keys");
}

TEST_F(DeviceTopK, SeesOnlyKeysBelowARowsLimit) {
  auto p = normal(130, 100000, 32);
  for (auto& limit : p.limits) limit = std::uniform_int_distribution<std::int64_t>(0, p.n)(random_);
  p.limits[0] = 0;
  p.limits[1] = 1;
  p.limits[2] = p.n;
  p.limits[3] = 127;
  p.limits[4] = 12345;
  for (int const k : {1, 50, 500}) expect_right(p, k, "limits");
}

TEST_F(DeviceTopK, OfTies) {
  auto p = normal(20, 70000, 16);
  for (auto& x : p.queries) x = std::nearbyint(x * 4.0f);
  for (auto& x : p.keys) x = std::nearbyint(x);
  for (int const k : {1, 200, 1000}) expect_right(p, k, "small integers");
  for (auto& x : p.keys) x = x > 0.0f ? 0.0f : -0.0f;
  expect_right(p, 300, "zeros of both signs");
  for (std::size_t i = 0; i < p.keys.size(); ++i) p.keys[i] = 0.3f + static_cast<float>(i % 16);
  expect_right(p, 300, "equal keys");
  for (auto& x : p.queries) x = 0.0f;
  expect_right(p, 300, "zero queries");
}

TEST_F(DeviceTopK, OfOutliers) {
  auto const draw = [&](std::int64_t n) {
    return static_cast<std::size_t>(std::uniform_int_distribution<std::int64_t>(0, n - 1)(random_));
  };
  auto p = normal(20, 90000, 64);
  for (int i = 0; i < 40; ++i) {
    std::size_t const key = draw(p.n), row = draw(p.m);
    for (std::size_t c = 0; c < 64; ++c) p.keys[key * 64 + c] = 8.0f * p.queries[row * 64 + c];
  }
  EXPECT_LE(expect_right(p, 100, "planted keys"), 20);
  for (int i = 0; i < 10; ++i) p.keys[draw(p.n * 64)] = 1e30f;
  expect_right(p, 100, "huge numbers");
  for (int i = 0; i < 10; ++i) p.keys[draw(p.n * 64)] = std::numeric_limits<float>::max();
  expect_right(p, 100, "largest numbers");
  // Ever larger keys: the best lie together.
  for (std::size_t j = 0; j < static_cast<std::size_t>(p.n); ++j)
    for (std::size_t c = 0; c < 64; ++c) p.keys[j * 64 + c] = 1e-5f * static_cast<float>(j) * (c % 3 == 0 ? -1.0f : 1.0f);
  expect_right(p, 100, "ever larger keys");
}

TEST_F(DeviceTopK, OfSmallNumbers) {
  for (float const scale : {1e-18f, 1e-30f, 1e-38f, 1e-42f}) {
    auto p = normal(12, 70000, 40);
    for (auto& x : p.keys) x *= scale;
    expect_right(p, 77, "keys of " + std::to_string(std::log10(scale)));
    for (auto& x : p.queries) x *= 1e-5f;
    expect_right(p, 77, "queries of 1e-5 too");
  }
  // Differences that bf16 does not see.
  auto p = normal(12, 70000, 40);
  for (auto& x : p.keys) x = 1.0f + 1e-6f * x;
  expect_right(p, 77, "nearly equal keys");
}

TEST_F(DeviceTopK, OfWrongGuesses) {
  // The sample sees every 16th key alone: those are worst, or best.
  for (float const factor : {0.01f, 20.0f}) {
    auto p = normal(70, 160000, 16);
    for (std::size_t j = 0; j < static_cast<std::size_t>(p.n); ++j) {
      if (j % 16 > 1) continue;
      for (std::size_t c = 0; c < 16; ++c) p.keys[j * 16 + c] *= factor;
    }
    expect_right(p, 90, factor < 1.0f ? "a sample of small keys" : "a sample of large keys");
  }
}

TEST_F(DeviceTopK, ProfilesAreTheHostsIntegers) {
  struct Shape {
    int d, bins;
  };
  for (auto const [d, count] : {Shape{3, 150}, Shape{64, 150}, Shape{100, 1000}, Shape{64, 3000}, Shape{5, 30000}}) {
    auto p = normal(19, 40000, d);
    p.limits[0] = 0;
    p.limits[1] = 16385;
    for (std::size_t j = 1; j < 20000; ++j)  // one bin gets more than a word counts
      std::copy_n(p.keys.begin(), d, p.keys.begin() + static_cast<std::ptrdiff_t>(j * static_cast<std::size_t>(d)));
    BinGrid const grid{32.0f, count};  // some scores lie outside of 150
    std::vector<int> first_bin(static_cast<std::size_t>(p.m));
    for (auto& bin : first_bin) bin = std::uniform_int_distribution<int>(-90, -60)(random_) - (count - 150) / 2;
    std::size_t const bins = static_cast<std::size_t>(p.m * grid.count);
    std::vector<std::int64_t> expected(3 * bins);
    for (int i = 0; i < p.m; ++i) {
      for (std::int64_t j = 0; j < p.limits[static_cast<std::size_t>(i)]; ++j) {
        auto const binned = bin_score(score(p, i, j), grid, first_bin[static_cast<std::size_t>(i)]);
        auto* const moments = &expected[3 * static_cast<std::size_t>(i * grid.count + binned.bin)];
        moments[0] += 1;
        moments[1] += binned.r;
        moments[2] += binned.r2;
      }
    }
    Numbers by_column(static_cast<std::size_t>(device::padded_to_tiles(p.m) * d), 0.0f), packed(packed_size(p.n, d));
    for (int i = 0; i < p.m; ++i)
      for (int c = 0; c < d; ++c)
        by_column[static_cast<std::size_t>(c * device::padded_to_tiles(p.m) + i)] = p.queries[static_cast<std::size_t>(i * d + c)];
    pack_keys(p.keys.data(), p.n, d, packed.data());
    auto const stride = device::score_stride(static_cast<int>(p.n));
    OnDevice<float> const queries(by_column), keys(packed), scores(static_cast<std::size_t>(p.m * stride));
    OnDevice<std::int64_t> const limits(p.limits), moments(std::vector<std::int64_t>(3 * bins, 0));
    OnDevice<int> const first(first_bin);
    int const n = static_cast<int>(p.n);
    device::score_chunk(nullptr, {p.m, d, queries.data(), limits.data(), nullptr, 0.0, keys.data(), 0, n, scores.data(), stride});
    device::add_profile(
        nullptr, {p.m, limits.data(), nullptr, scores.data(), stride, 0, n, grid.bins_per_unit, grid.count, first.data(), moments.data()});
    EXPECT_TRUE(moments.values() == expected) << "d " << d << " seed " << seed_;
    EXPECT_TRUE(moments.margin_untouched() && scores.margin_untouched());
    auto const all = scores.values();
    for (int i = 0; i < p.m; ++i)
      for (std::int64_t j = 0; j < p.limits[static_cast<std::size_t>(i)]; ++j)
        ASSERT_EQ(all[static_cast<std::size_t>(i * stride + j)], score(p, i, j)) << "row " << i << " key " << j << " seed " << seed_;
  }
}

TEST_F(DeviceTopK, SaysWhatItCannotTake) {
  EXPECT_THROW(device::plan_top_k(1, 100, 1025, 1, 132), std::invalid_argument);
  EXPECT_THROW(device::plan_top_k(1, 100, 0, 1, 132), std::invalid_argument);
  EXPECT_THROW(device::plan_top_k(1, 100, 8, 101, 132), std::invalid_argument);
  EXPECT_THROW(device::plan_top_k(1, std::int64_t{1} << 31, 8, 1, 132), std::invalid_argument);
}

}  // namespace
}  // namespace asymptop
