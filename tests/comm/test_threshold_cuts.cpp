// Cuts of sorted lists: nothing of the k best is lost, and little more than k remains, whatever the scores are.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "comm/merge/threshold_cuts.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;
using Bits = std::vector<std::uint32_t>;

TEST(SampledPlaces, GrowByAFifthAndEndAtTheEnd) {
  EXPECT_TRUE(sampled_places(0).empty());
  EXPECT_EQ(sampled_places(1), (Bits{1}));
  EXPECT_EQ(sampled_places(13), (Bits{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13}));
  for (std::uint32_t const length : {2u, 10u, 11u, 1024u, 100000u, 1u << 30}) {
    auto const places = sampled_places(length);
    EXPECT_EQ(places.front(), 1u);
    EXPECT_EQ(places.back(), length);
    for (std::size_t i = 1; i < places.size(); ++i) {
      ASSERT_GT(places[i], places[i - 1]);
      ASSERT_LE(places[i] - places[i - 1], std::max(1u, places[i - 1] / 5)) << length;
    }
  }
  EXPECT_EQ(sampled_places(1024).size(), 37u);
  EXPECT_LT(sampled_places(1u << 30).size(), 120u);
}

/// Cuts the lists (descending) and returns how many candidates remain, after checking that the best `keep` are all among them.
std::size_t remaining(std::vector<Bits> lists, std::size_t keep) {
  struct Entry {
    std::uint32_t bits;
    std::size_t rank, place;
  };
  std::vector<Entry> all;
  std::vector<Bits> sampled;
  for (auto& list : lists) {
    list.resize(std::min(list.size(), keep));
    auto& bits = sampled.emplace_back();
    for (auto const place : sampled_places(static_cast<std::uint32_t>(list.size()))) bits.push_back(list[place - 1]);
  }
  std::vector<Samples> samples;
  for (std::size_t r = 0; r < lists.size(); ++r) {
    samples.push_back({sampled_places(static_cast<std::uint32_t>(lists[r].size())), sampled[r].data()});
    for (std::size_t i = 0; i < lists[r].size(); ++i) all.push_back({lists[r][i], r, i});
  }
  std::stable_sort(all.begin(), all.end(), [](Entry const& a, Entry const& b) { return a.bits > b.bits; });
  auto const cuts = find_cuts(samples, keep);
  EXPECT_EQ(cuts.size(), lists.size());
  std::vector<std::size_t> left;
  std::size_t sum = 0;
  for (std::size_t r = 0; r < lists.size(); ++r) {
    auto const count = std::count_if(lists[r].begin(), lists[r].end(), [&](auto bits) { return bits >= cuts[r].bits; });
    left.push_back(std::min<std::size_t>(static_cast<std::size_t>(count), cuts[r].most));
    sum += left.back();
  }
  all.resize(std::min(all.size(), keep));
  for (auto const& entry : all) EXPECT_LT(entry.place, left[entry.rank]) << "rank " << entry.rank << " of " << lists.size();
  return sum;
}

void expect_few(std::vector<Bits> const& lists, std::size_t keep, std::string const& what) {
  auto const count = remaining(lists, keep);
  EXPECT_LE(static_cast<double>(count), 1.44 * static_cast<double>(keep)) << what << ", " << lists.size() << " lists, keep " << keep;
}

TEST(FindCuts, KeepsTheBestAndLittleMore) {
  Random random(93);
  for (std::size_t const ranks : {1u, 2u, 3u, 8u, 16u, 100u}) {
    for (std::size_t const keep : {1u, 2u, 5u, 7u, 64u, 1000u, 1024u}) {
      std::vector<Bits> const equal(ranks, Bits(keep, 7u));
      expect_few(equal, keep, "all equal");
      std::vector<Bits> same(ranks), even(ranks), one(ranks), halves(ranks), few(ranks), any(ranks);
      for (std::size_t i = 0; i < keep; ++i) {
        for (std::size_t r = 0; r < ranks; ++r) {
          auto const i32 = static_cast<std::uint32_t>(i), r32 = static_cast<std::uint32_t>(r);
          same[r].push_back(1000000u - i32);
          even[r].push_back(2000000000u - i32 * static_cast<std::uint32_t>(ranks) - r32);
          one[r].push_back(r + 1 == ranks ? 3000000000u - i32 : 1000000u - i32);
          halves[r].push_back((r < 2 ? 3000000000u : 1000000u) - i32);
          few[r].push_back(static_cast<std::uint32_t>(random.integer(0, 3)));
        }
      }
      for (auto& list : few) std::sort(list.begin(), list.end(), std::greater<>());
      expect_few(same, keep, "the same lists");
      expect_few(even, keep, "in turns");
      expect_few(one, keep, "the best on the last rank");
      expect_few(halves, keep, "the best on two ranks");
      expect_few(few, keep, "four values");
      for (int trial = 0; trial < 20; ++trial) {
        for (auto& list : any) {
          // Any length, and each rank's scores somewhere else.
          list.resize(static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(keep) + 3)));
          auto const low = random.integer(0, 1 << 20), high = low + random.integer(0, trial % 2 == 0 ? 10 : 1 << 22);
          for (auto& bits : list) bits = static_cast<std::uint32_t>(random.integer(low, high));
          std::sort(list.begin(), list.end(), std::greater<>());
        }
        expect_few(any, keep, "any lists");
      }
    }
  }
}

/// The sizes of a large case: 8 ranks share a row's 1024 best at random.
TEST(FindCuts, RemainsAboutATenthMoreWhereRanksShare) {
  Random random(94);
  std::size_t sum = 0;
  constexpr std::size_t rows = 50, keep = 1024, ranks = 8;
  for (std::size_t row = 0; row < rows; ++row) {
    std::vector<Bits> lists(ranks, Bits(keep));
    for (auto& list : lists) {
      double depth = 0.0;  // the largest of many random numbers lie at exponential distances
      for (auto& bits : list) bits = static_cast<std::uint32_t>(4e9 - 1e5 * (depth -= std::log(random.uniform(1e-12, 1.0))));
    }
    sum += remaining(lists, keep);
  }
  EXPECT_GE(sum, rows * keep);
  EXPECT_LE(static_cast<double>(sum), 1.2 * static_cast<double>(rows * keep));
}

TEST(FindCuts, CutsNothingWhereAllIsKept) {
  for (auto const& cut : find_cuts({{{}, nullptr}, {{}, nullptr}}, 5)) EXPECT_EQ(cut.bits, 0u);
  EXPECT_EQ(remaining({{9, 8}, {}, {7}}, 3), 3u);
  EXPECT_EQ(remaining({{9, 8}, {}, {7}}, 5), 3u);
}

}  // namespace
}  // namespace asymptop
