// Heads of a streaming top-k against a full sort, and the selection and sort that they are made of.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/core/simd.hpp"
#include "kernels/topk/radix_sort.hpp"
#include "kernels/topk/row_heads.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;

TEST(Simd, WidthIsTheOneThisProgramWasBuiltFor) { EXPECT_STREQ(simd::name, EXPECTED_SIMD); }

TEST(Simd, CompressAndCompareFollowEveryMask) {
  using namespace simd;
  for (std::uint32_t bits = 0; bits < (width == 16 ? 65536u : 1u << width); bits += width == 16 ? 37u : 1u) {
    alignas(64) float from[width];
    alignas(64) std::int32_t to[2 * width] = {};
    for (int l = 0; l < width; ++l) from[l] = (bits >> l & 1u) != 0 ? 2.0f + static_cast<float>(l) : -static_cast<float>(l);
    LaneMask const mask = above(load(from), broadcast(1.0f));
    ASSERT_EQ(mask, bits);
    compress(to, bits_of(load(from)), mask);
    int at = 0;
    for (int l = 0; l < width; ++l) {
      if ((bits >> l & 1u) != 0) {
        ASSERT_EQ(bit_cast<float>(to[at]), from[l]);
        ++at;
      }
    }
  }
}

TEST(Simd, NothingIsAboveNaNAndInfinitiesCompare) {
  using namespace simd;
  EXPECT_EQ(above(broadcast(NAN), broadcast(0.0f)), 0u);
  EXPECT_EQ(above(broadcast(0.0f), broadcast(NAN)), 0u);
  EXPECT_EQ(above(broadcast(INFINITY), broadcast(1e38f)), all_lanes);
  EXPECT_EQ(above(broadcast(-INFINITY), broadcast(-INFINITY)), 0u);
}

TEST(Simd, FmaRoundsOnce) {
  Random random(70);
  for (int i = 0; i < 2000; ++i) {
    float const a = static_cast<float>(random.normal()), b = static_cast<float>(random.normal()),
                c = static_cast<float>(random.normal() * 1e-3);
    alignas(64) float out[simd::width];
    simd::store(out, simd::fma(simd::broadcast(a), simd::broadcast(b), simd::broadcast(c)));
    for (float const x : out) ASSERT_EQ(x, std::fma(a, b, c));
  }
}

TEST(Simd, InterleaveKeepsPairsTogether) {
  using namespace simd;
  alignas(64) std::int32_t a[width], b[width], out[2 * width];
  for (int l = 0; l < width; ++l) {
    a[l] = l;
    b[l] = 100 + l;
  }
  store(out, interleave_low(load(a), load(b)));
  store(out + width, interleave_high(load(a), load(b)));
  for (int i = 0; i < width; ++i) {
    int const half = i % (width / 2), lane = half / 2 * 4 + half % 2 + (i < width / 2 ? 0 : 2);
    EXPECT_EQ(out[2 * i], lane);
    EXPECT_EQ(out[2 * i + 1], 100 + lane);
  }
}

/// Lists of scores, each an adversary of its own.
std::vector<std::vector<float>> adversaries(std::size_t n, Random& random) {
  std::vector<std::vector<float>> lists(9, std::vector<float>(n));
  for (std::size_t j = 0; j < n; ++j) {
    float const x = static_cast<float>(j) / static_cast<float>(n);
    lists[0][j] = static_cast<float>(random.normal());
    lists[1][j] = 0.25f;
    lists[2][j] = x;
    lists[3][j] = -x;
    lists[4][j] = static_cast<float>(random.integer(-2, 2));
    lists[5][j] = j % 2 == 0 ? 0.0f : -0.0f;
    lists[6][j] = static_cast<float>(std::ldexp(random.normal(), -135));                 // subnormal
    lists[7][j] = static_cast<float>(std::ldexp(1.0 + random.uniform(0.0, 1e-6), 100));  // neighbours, huge
    lists[8][j] = j + 3 < n ? -1e30f : static_cast<float>(random.normal());              // the best come last, far from all others
  }
  return lists;
}

TEST(KthLargest, AgainstASort) {
  Random random(71);
  for (std::size_t const n : {2, 3, 17, 64, 1000, 20011}) {
    for (auto const& list : adversaries(n, random)) {
      auto sorted = list;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      for (std::size_t const keep : {std::size_t{1}, n / 3 + 1, n - 1}) {
        if (keep >= n) continue;
        std::vector<PackedCandidate> candidates;
        for (std::size_t j = 0; j < n; ++j) candidates.push_back(pack(list[j], static_cast<LocalIndex>(j)));
        std::shuffle(candidates.begin(), candidates.end(), random.engine());
        auto const bound = RowHeads::kth_largest(candidates.data(), n, keep);
        ASSERT_EQ(score_of(bound), sorted[keep - 1]) << "n " << n << " keep " << keep;
        ASSERT_EQ(std::count_if(candidates.begin(), candidates.end(), [&](auto c) { return c >= bound; }), std::ptrdiff_t(keep))
            << "n " << n << " keep " << keep;
      }
    }
  }
}

TEST(SortCandidates, AgainstAStandardSort) {
  Random random(72);
  for (std::size_t const n : {0, 1, 2, 255, 256, 257, 5000, 70000}) {
    for (auto const& list : adversaries(std::max<std::size_t>(n, 1), random)) {
      for (bool const shuffled : {false, true}) {
        std::vector<PackedCandidate> candidates, spare;
        for (std::size_t j = 0; j < n; ++j) candidates.push_back(pack(list[j], static_cast<LocalIndex>(j)));
        if (shuffled) std::shuffle(candidates.begin(), candidates.end(), random.engine());
        auto expected = candidates;
        std::sort(expected.begin(), expected.end(), std::greater<>());
        sort_candidates(candidates, spare);
        ASSERT_EQ(candidates, expected) << "n " << n << " shuffled " << shuffled;
      }
    }
  }
}

/// The heads of all lists against a sort, their scores offered in bursts that come in the given order.
void expect_best(std::vector<std::vector<float>> const& lists, int keep, int burst, std::vector<std::size_t> const& bursts,
                 KeyOrder order) {
  auto const n = lists[0].size();
  RowHeads heads(static_cast<int>(lists.size()), keep, burst, std::max(keep / 2, 64), order);
  for (auto const b : bursts) {
    auto const first = b * static_cast<std::size_t>(burst);
    int const count = static_cast<int>(std::min(n - first, static_cast<std::size_t>(burst)));
    for (std::size_t row = 0; row < lists.size(); ++row) {
      // What lies past the scores must not be taken.
      std::vector<float> piece(lists[row].begin() + static_cast<std::ptrdiff_t>(first),
                               lists[row].begin() + static_cast<std::ptrdiff_t>(first) + count);
      piece.resize(piece.size() + static_cast<std::size_t>(simd::width), 1e38f);
      heads.add(static_cast<int>(row), piece.data(), count, static_cast<LocalIndex>(first));
    }
  }
  for (std::size_t row = 0; row < lists.size(); ++row) {
    heads.prune(static_cast<int>(row));
    std::vector<PackedCandidate> expected, found;
    for (std::size_t j = 0; j < n; ++j) expected.push_back(pack(lists[row][j], static_cast<LocalIndex>(j)));
    std::sort(expected.begin(), expected.end(), std::greater<>());
    expected.resize(std::min(n, static_cast<std::size_t>(keep)));
    auto const* const entries = heads.entries(static_cast<int>(row));
    found.assign(entries, entries + heads.size(static_cast<int>(row)));
    std::sort(found.begin(), found.end(), std::greater<>());
    ASSERT_EQ(found, expected) << "n " << n << " keep " << keep << " burst " << burst << " list " << row;
  }
}

std::vector<std::size_t> bursts_of(std::size_t n, int burst) {
  std::vector<std::size_t> bursts((n + static_cast<std::size_t>(burst) - 1) / static_cast<std::size_t>(burst));
  std::iota(bursts.begin(), bursts.end(), std::size_t{0});
  return bursts;
}

TEST(RowHeads, KeepTheBestOfAStream) {
  Random random(73);
  for (std::size_t const n : {1, 5, 16, 100, 3000, 30011}) {
    auto const lists = adversaries(n, random);
    for (int const keep : {1, 3, 1000, 4000}) {
      for (int const burst : {16, 512}) expect_best(lists, keep, burst, bursts_of(n, burst), KeyOrder::ascending);
    }
  }
}

TEST(RowHeads, KeepTheBestInAnyOrder) {
  Random random(74);
  for (std::size_t const n : {1, 5, 100, 3000, 30011}) {
    auto const lists = adversaries(n, random);
    for (int const keep : {1, 3, 1000, 4000}) {
      for (int const burst : {16, 512}) {
        // As a ring brings them, from the middle on; and shuffled.
        auto bursts = bursts_of(n, burst);
        std::rotate(bursts.begin(), bursts.begin() + static_cast<std::ptrdiff_t>(bursts.size() / 2), bursts.end());
        expect_best(lists, keep, burst, bursts, KeyOrder::any);
        std::shuffle(bursts.begin(), bursts.end(), random.engine());
        expect_best(lists, keep, burst, bursts, KeyOrder::any);
      }
    }
  }
}

}  // namespace
}  // namespace asymptop
