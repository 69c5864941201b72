// Orders and projections of the selectors by themselves: what holds for any input. Whole studies: tests/app/test_study_selectors.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "kernels/score/byte_products.hpp"
#include "kernels/select/order_keys.hpp"
#include "kernels/select/selectors.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

using test::Random;
using Keys = std::vector<GlobalIndex>;

std::vector<std::int64_t> sizes() {
  std::vector<std::int64_t> all(70);
  std::iota(all.begin(), all.end(), 1);
  all.insert(all.end(), {100, 1000, 4096, 5000});
  return all;
}

TEST(Permutation, TakesEveryElementOnceAndBack) {
  for (auto const size : sizes()) {
    Permutation const at(static_cast<std::uint64_t>(size) * 77, size);
    std::vector<char> seen(static_cast<std::size_t>(size), 0);
    for (std::int64_t place = 0; place < size; ++place) {
      auto const element = at(place);
      ASSERT_TRUE(element >= 0 && element < size) << size;
      ASSERT_EQ(seen[static_cast<std::size_t>(element)]++, 0) << size;
      ASSERT_EQ(at.place_of(element), place) << size;
    }
    std::vector<std::uint32_t> places(static_cast<std::size_t>(size));
    at.places(0, static_cast<int>(size), places.data());
    for (std::int64_t element = 0; element < size; ++element)
      ASSERT_EQ(places[static_cast<std::size_t>(element)], static_cast<std::uint32_t>(at.place_of(element))) << size;
  }
}

TEST(Permutation, PlacesGoToTheEndOf32Bits) {
  auto const size = most_places;
  Permutation const at(5, size);
  std::vector<std::uint32_t> places(1000);
  for (auto const first : {std::int64_t{0}, size / 3, size - 1000}) {
    at.places(first, 1000, places.data());
    for (std::int64_t i = 0; i < 1000; ++i) ASSERT_EQ(at(places[static_cast<std::size_t>(i)]), first + i);
  }
}

TEST(Permutation, GoesToLargeSizes) {
  for (std::int64_t const size : {std::int64_t{1} << 48, (std::int64_t{1} << 40) + 12345}) {
    Permutation const at(5, size);
    for (std::int64_t place : {std::int64_t{0}, std::int64_t{1}, size / 3, size - 1}) EXPECT_EQ(at.place_of(at(place)), place);
  }
}

/// Over rows, each element comes first as often as any other: chi-square of 31 degrees of freedom, 0.1% point 61.1.
TEST(Permutation, FirstElementsAreUniform) {
  constexpr int size = 32, rows = 32000;
  std::vector<int> count(size, 0);
  for (std::uint64_t row = 0; row < rows; ++row) ++count[static_cast<std::size_t>(Permutation(row * 0xd1342543de82ef95ull, size)(0))];
  double chi = 0.0, expected = static_cast<double>(rows) / size;
  for (int const c : count) chi += (c - expected) * (c - expected) / expected;
  EXPECT_LT(chi, 61.1);
}

TEST(Window, PlacesAreThoseOfTheOrder) {
  for (std::int64_t const sinks : {0, 1, 4, 50}) {
    WindowSelector const window(sinks);
    for (std::int64_t const visible : {1, 3, 4, 5, 40}) {
      for (std::int64_t const begin : {0, 2, 7}) {
        RowOfKeys const row{{begin, begin + visible}, 0, {}};
        auto const order = window.order(row, visible + 3);
        ASSERT_EQ(std::ssize(order), visible);
        EXPECT_EQ(order.front(), begin < sinks ? begin : begin + visible - 1);
        std::vector<std::uint32_t> places(static_cast<std::size_t>(visible));
        window.places(row, begin, static_cast<int>(visible), places.data());
        for (std::int64_t place = 0; place < visible; ++place)
          EXPECT_EQ(places[static_cast<std::size_t>(order[static_cast<std::size_t>(place)] - begin)], static_cast<std::uint32_t>(place))
              << sinks << " " << visible << " " << begin;
      }
    }
  }
}

TEST(BlockMax, PagesComeAsTheirBestKeysDo) {
  std::vector<Candidate> const best{{9.0f, 17}, {8.0f, 3}, {7.0f, 16}, {6.0f, 30}, {5.0f, 2}};
  EXPECT_EQ(BlockMaxSelector(8).order({{0, 40}, 0, best}, 10), (Keys{16, 0, 24}));
  EXPECT_EQ(BlockMaxSelector(8).order({{0, 40}, 0, best}, 2), (Keys{16, 0}));
  EXPECT_EQ(BlockMaxSelector(1).order({{0, 40}, 0, best}, 10), (Keys{17, 3, 16, 30, 2}));
}

TEST(ForcedKeys, ComeFirstAndOnce) {
  using Entries = std::vector<std::int64_t>;
  EXPECT_EQ(with_forced({{0, 0}, {0, 100}, 16}, {3, 1, 6}, 9), (Entries{3, 1, 6}));
  EXPECT_EQ(with_forced({{4, 9}, {0, 100}, 16}, {3, 0, 6, 1}, 9), (Entries{0, 6, 5, 3, 1}));
  EXPECT_EQ(with_forced({{4, 9}, {0, 100}, 16}, {3, 0, 6, 1}, 2), (Entries{0, 6}));
  EXPECT_EQ(with_forced({{500, 500}, {0, 100}, 16}, {3}, 9), (Entries{0, 1, 2, 3, 4, 5, 6}));
  // Of a row that does not see the first keys: no sink of the page that it sees a part of, the recent keys of its own run.
  EXPECT_EQ(with_forced({{4, 9}, {10, 100}, 16}, {3, 0, 6, 1}, 9), (Entries{6, 5, 3, 0, 1}));
  EXPECT_EQ(with_forced({{20, 9}, {10, 100}, 16}, {3, 0, 6}, 9), (Entries{0, 1, 6, 5, 3}));
  EXPECT_EQ(with_forced({{4, 500}, {40, 100}, 16}, {3}, 9), (Entries{6, 5, 4, 3, 2}));
}

TEST(ForcedKeys, OfARunAreThoseThatItSees) {
  ForcedKeys const forced{4, 9};
  for (std::int64_t const begin : {0, 2, 4, 30}) {
    for (std::int64_t const size : {1, 3, 12, 40}) {
      KeyRun const seen(begin, begin + size);
      std::int64_t count = 0;
      for (auto key = seen.begin; key < seen.end; ++key) {
        bool const wanted = key < 4 || key >= seen.end - 9;
        EXPECT_EQ(forced.holds(key, seen), wanted) << begin << " " << size << " " << key;
        count += wanted ? 1 : 0;
      }
      EXPECT_EQ(forced.count(seen), count);
    }
  }
}

/// The products of a projected query and an entry.
float product(Projection const& projection, std::vector<float> const& q, std::vector<float> const& keys) {
  int const d = static_cast<int>(q.size()), width = projection.width(d);
  std::vector<float> a(static_cast<std::size_t>(width)), b(a);
  projection.query(q.data(), d, a.data());
  if (projection.keys_as_they_are()) {
    b = keys;
  } else {
    projection.entry(keys.data(), static_cast<int>(keys.size()) / d, d, b.data());
  }
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0f);
}

TEST(Quest, BoundsEveryScoreOfThePage) {
  for (int trial = 0; trial < 100; ++trial) {
    Random random(static_cast<unsigned>(trial));
    std::vector<float> q(8), keys(5 * 8);
    for (auto* numbers : {&q, &keys}) {
      for (auto& x : *numbers) x = static_cast<float>(random.normal());
    }
    float const bound = product(QuestProjection(16), q, keys);
    for (std::size_t j = 0; j < 5; ++j) {
      float const score = std::inner_product(q.begin(), q.end(), keys.begin() + static_cast<std::ptrdiff_t>(8 * j), 0.0f);
      EXPECT_LE(score, bound + 1e-5f) << "seed " << trial;
    }
  }
}

TEST(Quantised, KeepsWhatItsFormatHolds) {
  std::vector<float> const x{1.0f, -0.5f, 0.25f, 127.0f, 0.0f, -64.0f, 3.0f, 2.0f};
  std::vector<float> y(8);
  for (auto const format : {KeyFormat::fp32, KeyFormat::bf16}) {
    QuantisedProjection(format).query(x.data(), 8, y.data());
    EXPECT_EQ(y, x);
  }
  QuantisedProjection(KeyFormat::int8).query(x.data(), 8, y.data());
  EXPECT_EQ(y, (std::vector<float>{1.0f, 0.0f, 0.0f, 127.0f, 0.0f, -64.0f, 3.0f, 2.0f}));  // ties to even
  EXPECT_EQ(QuantisedProjection(KeyFormat::int8).levels(), 127);
  EXPECT_EQ(QuantisedProjection(KeyFormat::int4).levels(), 7);
  std::vector<float> const nothing(8, 0.0f);
  QuantisedProjection(KeyFormat::fp8).query(nothing.data(), 8, y.data());
  EXPECT_EQ(y, nothing);
}

/// Whole numbers, scales and products spelt out, over widths of d that fill a word of four bytes or not, and rows of several panels.
TEST(ByteProducts, AreThoseOfRoundedVectors) {
  Random random(29);
  for (int const d : {1, 3, 4, 17, 64}) {
    for (int const levels : {127, 7}) {
      constexpr int rows = 30, keys = 70, padded = 96;
      std::vector<float> q(rows * d), k(keys * d), packed(padded * d, 0.0f);
      for (auto* list : {&q, &k}) {
        for (auto& x : *list) x = static_cast<float>(random.normal());
      }
      std::fill_n(k.begin(), d, 0.0f);                                                                    // a key of zeros
      for (int c = 0; c < d; ++c) k[static_cast<std::size_t>(d + c)] = static_cast<float>(c % 4) + 0.5f;  // ties to even
      for (int j = 0; j < keys; ++j) {
        for (int c = 0; c < d; ++c)
          packed[static_cast<std::size_t>(j / key_group * key_group * d + c * key_group + j % key_group)] =
              k[static_cast<std::size_t>(j * d + c)];
      }
      Matrix<Kokkos::DefaultHostExecutionSpace, float> const found("found", rows, padded);
      ByteKeys room;
      byte_products(Kokkos::DefaultHostExecutionSpace(), ByteQueries(PackedQueries(q.data(), rows, d), levels), packed.data(), keys, levels,
                    room, found);
      Kokkos::fence();
      auto const whole = [d, levels](float const* x, std::vector<int>& out) {
        float largest = 0.0f;
        for (int c = 0; c < d; ++c) largest = std::max(largest, std::fabs(x[c]));
        float const scale = largest / static_cast<float>(levels);
        out.assign(static_cast<std::size_t>(d), 0);
        for (int c = 0; c < d && scale > 0.0f; ++c) out[static_cast<std::size_t>(c)] = static_cast<int>(std::nearbyint(x[c] / scale));
        return scale;
      };
      std::vector<int> a, b;
      for (int i = 0; i < rows; ++i) {
        whole(&q[static_cast<std::size_t>(i * d)], a);
        for (int j = 0; j < keys; ++j) {
          float const scale = whole(&k[static_cast<std::size_t>(j * d)], b);
          ASSERT_EQ(found(i, j), static_cast<float>(std::inner_product(a.begin(), a.end(), b.begin(), 0)) * scale)
              << d << ' ' << levels << ' ' << i << ' ' << j;
        }
      }
    }
  }
}

TEST(OrderKeys, AscendAlongOrders) {
  std::vector<float> const priorities{std::numeric_limits<float>::infinity(), 3e38f, 2.0f, 1.5f, 1e-40f, 0.0f, -1e-40f, -2.0f, -3e38f,
                                      -std::numeric_limits<float>::infinity()};
  std::vector<OrderKey> keys(priorities.size());
  simd::keys_of_priorities(priorities.data(), std::ssize(priorities), keys.data());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(keys[i], key_of_priority(priorities[i]));
    EXPECT_EQ(priority_of_key(keys[i]), priorities[i]);
    if (i > 0) {
      EXPECT_LT(keys[i - 1], keys[i]);
    }
    EXPECT_LT(key_ahead(most_ahead), keys[i]);
  }
  EXPECT_EQ(key_of_priority(-0.0f), key_of_priority(0.0f));
  for (std::int64_t const place : {std::int64_t{0}, std::int64_t{1}, most_places - 1}) {
    EXPECT_EQ(place_of_key(key_of_place(place)), place);
    EXPECT_GE(key_of_place(place), key_ahead(most_ahead));
  }
}

/// Against loops, for every length around the vector width, and around as many vectors as are looked at before any entry is visited.
TEST(OrderKeys, SumsAroundStretches) {
  Random random(31);
  std::vector<std::int64_t> counts{255, 256, 257, 511, 513, 1023, 1024, 1025, 1040, 2100};
  for (std::int64_t count = 0; count < 70; ++count) counts.push_back(count);
  for (auto const count : counts) {
    std::vector<OrderKey> keys;
    std::vector<std::int64_t> masses;
    for (std::int64_t i = 0; i < count; ++i) {
      keys.push_back(static_cast<OrderKey>(10.0 * random.normal()));
      masses.push_back(static_cast<std::int64_t>(1e15 * std::fabs(random.normal())));
    }
    std::array<OrderKey, 2> const low{-3, std::numeric_limits<OrderKey>::min()}, high{4, -9};
    std::array<std::vector<std::int64_t>, 2> visited;
    auto const found = simd::sums_around(keys.data(), masses.data(), count, low, high,
                                         [&](int const w, std::int64_t const at) { visited[static_cast<std::size_t>(w)].push_back(at); });
    for (std::size_t w = 0; w < 2; ++w) {
      StretchSums expected;
      std::vector<std::int64_t> inside;
      for (std::int64_t i = 0; i < count; ++i) {
        auto const at = static_cast<std::size_t>(i);
        expected.before += keys[at] < low[w] ? 1 : 0;
        expected.behind += keys[at] > high[w] ? masses[at] : 0;
        if (keys[at] >= low[w] && keys[at] <= high[w]) inside.push_back(i);
      }
      EXPECT_EQ(found[w].before, expected.before) << count;
      EXPECT_EQ(found[w].behind, expected.behind) << count;
      EXPECT_EQ(visited[w], inside) << count;
    }
  }
}

TEST(KeyNorm, StaysFinite) {
  std::vector<float> const key{1e25f, -3e25f};
  float priority = 0.0f;
  KeyNormProjection().entry(key.data(), 1, 2, &priority);
  EXPECT_TRUE(std::isfinite(priority));
}

TEST(Expected, IsTheQuadraticFormOfItsQueries) {
  constexpr int d = 70;
  Calibration calibration{d, {}, {}};
  for (int i = 0; i < 2 * d; ++i) {
    for (int c = 0; c < d; ++c) calibration.queries.push_back(static_cast<float>((i * 7 + c * c * 3) % 11) / 8.0f - (c == 5 ? 2.0f : 0.0f));
  }
  ExpectedProjection expected;
  expected.calibrate(calibration);
  std::vector<float> key(d);
  for (int c = 0; c < d; ++c) key[c] = static_cast<float>(c % 5 - 2) / 4.0f;
  // Mean and variance of the queries' products with the key.
  double mean = 0.0, square = 0.0;
  for (int i = 0; i < 2 * d; ++i) {
    double product = 0.0;
    for (int c = 0; c < d; ++c) product += static_cast<double>(key[c]) * calibration.queries[i * d + c];
    mean += product / (2.0 * d);
    square += product * product / (2.0 * d);
  }
  float priority = 0.0f;
  expected.entry(key.data(), 1, d, &priority);
  double const wanted = mean + 0.5 * (square - mean * mean);
  EXPECT_NEAR(priority, wanted, 1e-5 * std::fabs(wanted) + 1e-5);
  calibration.queries.clear();
  expected.calibrate(calibration);
  expected.entry(key.data(), 1, d, &priority);
  EXPECT_EQ(priority, 0.0f);
}

TEST(Twilight, KeepsTheFewestThatHoldTheShare) {
  std::vector<GlobalIndex> const keys{8, 9, 2, 3, 4};
  std::vector<float> const scores{0.0f, std::log(4.0f), std::log(2.0f), 0.0f, std::log(2.0f)};  // weights 1, 4, 2, 1, 2 of 10
  auto const kept = [&](double p, double sigma, ForcedKeys const& forced = {}, double sink = -INFINITY) {
    std::vector<GlobalIndex> found;
    for (auto const place : TwilightSelector(0, p, 1, forced).top_p(keys, scores, {0, 10}, sigma, sink)) found.push_back(keys[place]);
    return found;
  };
  EXPECT_EQ(kept(0.39, 1.0), Keys{9});
  EXPECT_EQ(kept(0.59, 1.0), (Keys{9, 2}));  // of equal ones the earlier key
  EXPECT_EQ(kept(0.79, 1.0), (Keys{9, 2, 4}));
  EXPECT_EQ(kept(0.81, 1.0), (Keys{9, 2, 4, 3}));
  EXPECT_EQ(kept(1.0, 1.0), keys);
  EXPECT_EQ(kept(0.39, 0.0), (Keys{9, 2}));
  EXPECT_EQ(kept(0.39, 40.0), Keys{9});
  EXPECT_EQ(kept(0.39, 1.0, {3, 0}), (Keys{2, 9}));
  EXPECT_EQ(kept(0.1, 1.0, {3, 2}), (Keys{8, 9, 2}));
  // A learned sink is of the total, and kept: here it weighs 10 of 20.
  EXPECT_EQ(kept(0.49, 1.0, {}, std::log(10.0)), Keys{});
  EXPECT_EQ(kept(0.69, 1.0, {}, std::log(10.0)), Keys{9});
  EXPECT_EQ(kept(0.71, 1.0, {}, std::log(10.0)), (Keys{9, 2}));
  EXPECT_EQ(kept(0.2, 1.0, {3, 0}, 2000.0), Keys{2});
  EXPECT_EQ(TwilightSelector(100, 0.5, 16, {}).entries_of_budget(7), 6);
  EXPECT_EQ(TwilightSelector(0, 0.5, 16, {}).entries_of_budget(7), 1);
}

TEST(Loki, FindsTheAxisThatKeysLieAlong) {
  // Keys along (3, 4, 0) / 5, with a little in the third channel.
  std::vector<float> keys;
  Random random(3);
  for (int i = 0; i < 200; ++i) {
    float const along = static_cast<float>(random.normal());
    keys.insert(keys.end(), {0.6f * along, 0.8f * along, 0.01f * static_cast<float>(random.normal())});
  }
  auto const axes = principal_axes(keys, 3);
  EXPECT_NEAR(std::fabs(axes[0] * 0.6 + axes[1] * 0.8), 1.0, 1e-3);
  for (std::size_t a = 0; a < 3; ++a) {
    for (std::size_t b = 0; b < 3; ++b) {
      double dot = 0.0;
      for (std::size_t c = 0; c < 3; ++c) dot += axes[3 * a + c] * axes[3 * b + c];
      EXPECT_NEAR(dot, a == b ? 1.0 : 0.0, 1e-12);
    }
  }
  LokiProjection loki(1);
  loki.calibrate({3, keys});
  std::vector<float> out(3);
  float const q[] = {1.0f, 0.0f, 5.0f};
  loki.query(q, 3, out.data());
  EXPECT_NEAR(out[0], 0.36f, 0.02f);
  EXPECT_NEAR(out[1], 0.48f, 0.02f);
}

TEST(Selectors, NamesAreDistinctAndDefaultsAreTaken) {
  std::set<std::string> names;
  for (auto const& kind : selector_kinds()) {
    EXPECT_TRUE(names.insert(kind.name).second);
    SelectorValues values;
    for (auto const& parameter : kind.parameters) values[parameter.key] = parameter.fallback;
    if (kind.make == nullptr) continue;
    EXPECT_NE(kind.make(values, 64), nullptr) << kind.name;
  }
}

/// Selectors that go by places of keys say their order twice, forwards and by the place of each key: of all in the table, a new one too.
TEST(Selectors, PlacesStandAsTheOrderHasThem) {
  std::set<std::string> compared;
  for (auto const& kind : selector_kinds()) {
    SelectorValues values;
    for (auto const& parameter : kind.parameters) values[parameter.key] = parameter.fallback;
    auto const selector = kind.make == nullptr ? nullptr : kind.make(values, 64);
    if (!selector || !selector->has_order() || selector->has_priorities() || selector->by_largest_score() || selector->shards() > 0)
      continue;
    compared.insert(kind.name);
    for (auto const [begin, size] : {std::array{0L, 1L}, {0L, 2L}, {0L, 3L}, {0L, 300L}, {2L, 131L}, {977L, 64L}}) {
      RowOfKeys const row{{begin, begin + size}, static_cast<std::uint64_t>(size), {}};
      auto const order = selector->order(row, size + 5);
      std::set<GlobalIndex> const keys(order.begin(), order.end());
      ASSERT_TRUE(std::ssize(order) == size && std::ssize(keys) == size && *keys.begin() == begin && *keys.rbegin() == begin + size - 1)
          << kind.name << ": not every key once, " << size << " from " << begin;
      ASSERT_EQ(selector->order(row, size / 2), Keys(order.begin(), order.begin() + size / 2)) << kind.name;
      std::vector<std::uint32_t> places(static_cast<std::size_t>(size));
      selector->places(row, begin, static_cast<int>(size), places.data());
      std::int64_t last = -1;
      for (auto const key : order) {
        if (selector->forced().holds(key, row.seen)) continue;
        ASSERT_LT(std::exchange(last, places[static_cast<std::size_t>(key - begin)]), places[static_cast<std::size_t>(key - begin)])
            << kind.name << ": key " << key << " of " << size << " from " << begin;
      }
    }
  }
  EXPECT_TRUE(compared.contains("window") && compared.contains("random"));
}

}  // namespace
}  // namespace asymptop
