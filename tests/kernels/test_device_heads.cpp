// Heads of shards on a GPU become those of the sequence, and each shard learns which of its own were kept: against a sort of all keys.
#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/core/candidate.hpp"
#include "kernels/core/fixed_point.hpp"
#include "kernels/device/heads.hpp"
#include "kernels/device/winners.hpp"
#include "support/device_test.hpp"

namespace asymptop {
namespace {

class DeviceHeads : public test::DeviceTest {
 protected:
  template <class T>
  static std::vector<T> brought(device::Memory const& memory) {
    std::vector<T> values(memory.bytes() / sizeof(T));
    device::download(nullptr, values.data(), memory.as<void>(), memory.bytes());
    return values;
  }
  /// The best `keep` of candidates, zeros after them.
  static std::vector<std::uint64_t> best(std::vector<std::uint64_t> all, std::size_t keep) {
    std::sort(all.begin(), all.end(), std::greater<>());
    all.resize(keep);
    return all;
  }
};

TEST_F(DeviceHeads, OfShardsBecomeThoseOfTheSequence) {
  for (int const distinct : {1, 3, 1000000}) {  // scores that differ: none but by their keys, some, nearly all
    for (std::vector<std::uint32_t> const& sizes :
         {std::vector<std::uint32_t>{700}, {1, 1, 1}, {40, 0, 900, 3}, {300, 300, 300, 300, 300}}) {
      for (int const keep : {1, 7, 256, 1100}) {
        constexpr int rows = 5;
        auto const shards = sizes.size();
        std::vector<std::vector<std::uint64_t>> of_rows(rows);
        std::vector<device::Memory> heads(shards);
        std::vector<int> keeps;
        std::uint32_t first = 0;
        std::vector<std::uint32_t> begins;
        for (std::size_t r = 0; r < shards; ++r) {
          keeps.push_back(std::min(keep, static_cast<int>(sizes[r])));
          begins.push_back(first);
          std::vector<std::uint64_t> here;
          for (auto& row : of_rows) {
            std::vector<std::uint64_t> own;
            for (std::uint32_t i = 0; i < sizes[r]; ++i) {
              auto const score = static_cast<float>(below(distinct)) - 2.0f;
              own.push_back(pack(score, i));
              row.push_back(pack(score, first + i));
            }
            auto const head = best(own, static_cast<std::size_t>(keeps[r]));
            here.insert(here.end(), head.begin(), head.end());
          }
          heads[r] = device::copied(here);
          first += sizes[r];
        }
        device::HeadsOnDevice merged{heads[0].as<std::uint64_t>(), keeps[0]};
        std::vector<device::Memory> steps;
        for (std::size_t r = 1; r < shards; ++r) {
          int const of_both = std::min(keep, merged.keep + keeps[r]);
          if (keeps[r] == 0) continue;
          steps.emplace_back(static_cast<std::size_t>(rows * of_both) * sizeof(std::uint64_t));
          device::merge_heads(nullptr, {rows, merged.heads, merged.keep, heads[r].as<std::uint64_t>(), keeps[r], begins[r],
                                        steps.back().as<std::uint64_t>(), of_both, nullptr});
          merged = {steps.back().as<std::uint64_t>(), of_both};
        }
        std::vector<std::uint64_t> found(static_cast<std::size_t>(rows * merged.keep));
        device::download(nullptr, found.data(), merged.heads, found.size() * sizeof(std::uint64_t));
        device::Memory const edges(2 * rows * sizeof(std::uint64_t));
        device::head_edges(nullptr, merged, rows, edges.as<std::uint64_t>());
        auto const ends = brought<std::uint64_t>(edges);
        std::vector<int> kept(rows, 0);
        for (std::size_t row = 0; row < rows; ++row) {
          auto const expected = best(of_rows[row], static_cast<std::size_t>(merged.keep));
          std::vector<std::uint64_t> const head(found.begin() + static_cast<std::ptrdiff_t>(row) * merged.keep,
                                                found.begin() + static_cast<std::ptrdiff_t>(row + 1) * merged.keep);
          EXPECT_TRUE(head == expected) << "keep " << keep << " of " << first << " keys, seed " << seed_;
          EXPECT_EQ(ends[2 * row], expected.front());
          EXPECT_EQ(ends[2 * row + 1], expected[std::min(of_rows[row].size(), expected.size()) - 1]);
        }
        // Winners of the shards are those of the sequence, no more and no fewer.
        for (std::size_t r = 0; r < shards; ++r) {
          if (keeps[r] == 0) continue;
          device::Memory const counts(rows * sizeof(int)), largest(rows * sizeof(float));
          device::find_winners(nullptr, {rows,
                                         {heads[r].as<std::uint64_t>(), keeps[r]},
                                         begins[r],
                                         edges.as<std::uint64_t>(),
                                         counts.as<int>(),
                                         largest.as<float>()});
          auto const of_shard = brought<int>(counts);
          auto const scores = brought<float>(largest);
          for (std::size_t row = 0; row < rows; ++row) {
            auto const expected = best(of_rows[row], static_cast<std::size_t>(merged.keep));
            auto const here = std::count_if(expected.begin(), expected.end(), [&](std::uint64_t candidate) {
              return candidate != 0 && index_of(candidate) - begins[r] < sizes[r] && index_of(candidate) >= begins[r];
            });
            EXPECT_EQ(of_shard[row], here) << "shard " << r << " keep " << keep << " seed " << seed_;
            EXPECT_EQ(scores[row], score_of(expected.front()));
            kept[row] += of_shard[row];
          }
        }
        for (int const count : kept) EXPECT_EQ(count, std::min<std::int64_t>(keep, first)) << "seed " << seed_;
      }
    }
  }
}

TEST_F(DeviceHeads, OutputsOfWinnersAreShares) {
  constexpr int rows = 3, d = 5;
  double const weight = 0x1p40, value = 0x1p30;
  std::vector<std::int64_t> sums;
  for (int i = 0; i < rows * (d + 1); ++i)
    sums.push_back(i % (d + 1) == d ? 1 + below(std::int64_t{1} << 50) : below(std::int64_t{1} << 50) - (std::int64_t{1} << 49));
  auto const on_device = device::copied(sums);
  device::Memory const outputs(rows * d * sizeof(double));
  device::winner_outputs(nullptr, on_device.as<std::int64_t>(), rows, d, weight, value, outputs.as<double>());
  auto const found = brought<double>(outputs);
  for (std::size_t row = 0; row < rows; ++row) {
    auto const* const own = &sums[row * (d + 1)];
    for (std::size_t c = 0; c < d; ++c)
      EXPECT_EQ(found[row * d + c], from_fixed(own[c], value) / from_fixed(own[d], weight)) << "seed " << seed_;
  }
}

}  // namespace
}  // namespace asymptop
