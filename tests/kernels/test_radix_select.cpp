// Packed candidates keep the order of scores; radix selection and pruning against a full sort.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/topk/candidate_buffer.hpp"
#include "support/random.hpp"
#include "support/views.hpp"

namespace asymptop {
namespace {

using test::Random;
using Packed = std::vector<PackedCandidate>;

std::vector<float> special_floats() {
  auto const tiny = std::numeric_limits<float>::denorm_min(), least = std::numeric_limits<float>::min(),
             most = std::numeric_limits<float>::max();
  return {0.0f,
          tiny,
          least,
          1.0f,
          std::nextafter(1.0f, 2.0f),
          3.0e38f,
          most,
          std::numeric_limits<float>::infinity(),
          -tiny,
          -least,
          -1.0f,
          -std::nextafter(1.0f, 2.0f),
          -3.0e38f,
          -most,
          -std::numeric_limits<float>::infinity()};
}

TEST(Candidate, BitsKeepTheOrderOfNumbers) {
  Random random(30);
  auto floats = special_floats();
  while (floats.size() < 3000) {
    float const x = bit_cast<float>(static_cast<std::uint32_t>(random.bits()));
    if (!std::isnan(x)) floats.push_back(x);
  }
  for (float const a : floats) {
    ASSERT_EQ(from_ordered_bits(ordered_bits(a)), a);
    for (std::size_t i = 0; i < floats.size(); i += 7) {
      float const b = floats[i];
      ASSERT_EQ(ordered_bits(a) < ordered_bits(b), a < b) << a << " " << b;
    }
  }
  EXPECT_EQ(ordered_bits(-0.0f), ordered_bits(0.0f));
}

TEST(Candidate, PackedOrderIsTheTotalOrder) {
  Random random(31);
  auto scores = special_floats();
  scores.push_back(-0.0f);
  std::vector<LocalIndex> const indices{0u, 1u, 63u, 64u, 0x7fffffffu, 0x80000000u, 0xfffffffeu, 0xffffffffu};
  for (float const s : scores) {
    for (auto const i : indices) {
      auto const p = pack(s, i);
      ASSERT_EQ(score_of(p), s);
      ASSERT_EQ(index_of(p), i);
      for (float const t : scores) {
        for (auto const j : indices) {
          bool const expected = s > t || (s == t && i < j);
          ASSERT_EQ(p > pack(t, j), expected) << s << "@" << i << " " << t << "@" << j;
          ASSERT_EQ(before({s, i}, {t, j}), expected);
        }
      }
    }
  }
}

/// Bound that select_bound finds for one row.
template <class Space>
PackedCandidate bound_of(Packed const& entries, int keep) {
  Space const space;
  auto const view = test::vector_of<Space>(entries);
  Vector<Space, PackedCandidate> const result("Asymptop::test::bound", 1);
  using Policy = Kokkos::TeamPolicy<Space>;
  std::size_t const scratch = 2048 * sizeof(int);
  int const count = static_cast<int>(entries.size());
  Kokkos::parallel_for(
      "Asymptop::test::select", Policy(space, 1, is_host_space<Space> ? 1 : 64).set_scratch_size(0, Kokkos::PerTeam(scratch)),
      KOKKOS_LAMBDA(typename Policy::member_type const& team) {
        auto* histogram = static_cast<int*>(team.team_shmem().get_shmem(static_cast<int>(scratch)));
        result(0) = select_bound<Space>(team, view.data(), count, keep, histogram);
      });
  space.fence();
  return test::host_copy(result)(0);
}

/// Distinct entries of different kinds, each hard for another digit of the selection.
std::vector<Packed> adversaries(Random& random) {
  std::vector<Packed> all;
  Packed equal_scores, low_bits, spread, words, two_scores, dense;
  for (LocalIndex i = 0; i < 4500; ++i) equal_scores.push_back(pack(1.5f, i));            // differ in the last bits only
  for (std::uint64_t i = 0; i < 512; ++i) low_bits.push_back(0xABCDEF0123456000ull | i);  // the last round's nine bits
  for (int i = 0; i < 64; ++i) spread.push_back(std::uint64_t{1} << i);                   // a bit in every digit
  for (int i = 0; i < 5000; ++i) words.push_back(random.bits());
  for (LocalIndex i = 0; i < 4900; ++i) two_scores.push_back(pack(i % 3 == 0 ? 2.0f : -2.0f, i * 4000037u));
  for (LocalIndex i = 0; i < 6000; ++i) dense.push_back(pack(static_cast<float>(random.normal()), i));
  for (auto* entries : {&equal_scores, &low_bits, &spread, &words, &two_scores, &dense}) {
    std::sort(entries->begin(), entries->end());
    entries->erase(std::unique(entries->begin(), entries->end()), entries->end());
    std::shuffle(entries->begin(), entries->end(), random.engine());
    all.push_back(*entries);
  }
  return all;
}

template <class Space>
class RadixSelect : public ::testing::Test {};
TYPED_TEST_SUITE(RadixSelect, test::Spaces);

TYPED_TEST(RadixSelect, BoundKeepsExactlyTheBest) {
  Random random(32);
  for (auto const& entries : adversaries(random)) {
    auto sorted = entries;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    auto const count = static_cast<int>(entries.size());
    for (int const keep : {1, 2, 17, count / 2, count - 2, count - 1}) {
      auto const bound = bound_of<TypeParam>(entries, keep);
      auto const last = static_cast<std::size_t>(keep) - 1;
      EXPECT_LE(bound, sorted[last]) << "count " << count << " keep " << keep;
      EXPECT_GT(bound, sorted[last + 1]) << "count " << count << " keep " << keep;
    }
  }
}

TYPED_TEST(RadixSelect, PruneKeepsTheBestOfEachRow) {
  using Space = TypeParam;
  Space const space;
  Random random(33);
  for (int const keep : {1, 5, 64, 2000}) {
    int const headroom = 1500;
    auto const cases = adversaries(random);
    CandidateBuffer<Space> buffer(space, static_cast<int>(cases.size()), keep, headroom);
    auto const capacity = buffer.entries.extent(1);
    auto entries = Kokkos::create_mirror_view(buffer.entries);
    auto fill = Kokkos::create_mirror_view(buffer.fill);
    std::vector<Packed> filled;
    for (std::size_t row = 0; row < cases.size(); ++row) {
      auto values = cases[row];
      values.resize(std::min(values.size(), capacity));
      std::copy(values.begin(), values.end(), &entries(row, 0));
      fill(row) = static_cast<int>(values.size());
      filled.push_back(values);
    }
    Kokkos::deep_copy(buffer.entries, entries);
    Kokkos::deep_copy(buffer.fill, fill);
    prune(space, buffer, headroom);
    space.fence();
    auto const after = test::host_copy(buffer.entries);
    auto const fills = test::host_copy(buffer.fill);
    auto const thresholds = test::host_copy(buffer.threshold);
    for (std::size_t row = 0; row < cases.size(); ++row) {
      auto expected = filled[row];
      std::sort(expected.begin(), expected.end(), std::greater<>());
      bool const must_prune =
          expected.size() + static_cast<std::size_t>(headroom) > capacity && expected.size() > static_cast<std::size_t>(keep);
      if (must_prune) {
        float const worst = score_of(expected[static_cast<std::size_t>(keep) - 1]);
        // A bound above the worst kept would lose keys; it need not be tight.
        if (!std::isnan(worst)) {
          EXPECT_LE(thresholds(row), worst) << "row " << row;
        }
        expected.resize(static_cast<std::size_t>(keep));
      } else {
        EXPECT_EQ(thresholds(row), -std::numeric_limits<float>::infinity());
      }
      Packed kept(&after(row, 0), &after(row, 0) + fills(row));
      std::sort(kept.begin(), kept.end(), std::greater<>());
      EXPECT_EQ(kept, expected) << "row " << row << " keep " << keep;
    }
  }
}

}  // namespace
}  // namespace asymptop
