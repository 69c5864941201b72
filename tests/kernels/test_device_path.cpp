// The path of a GPU against the fused host path, bit for bit: heads and profiles of keys that come in one step or in several, probes and
// attention of the second pass, with masks, windows and softcaps. Skipped where there is no GPU of compute capability 9.0.
#include <gtest/gtest.h>

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/pack_keys.hpp"
#include "kernels/input/normal_packed.hpp"
#include "kernels/path/device.hpp"
#include "kernels/path/fused.hpp"
#include "support/device_test.hpp"

namespace asymptop {
namespace {

using Space = Kokkos::DefaultHostExecutionSpace;

/// Of the second pass; the first has indices from the shard's beginning.
constexpr GlobalIndex shard_begin = 7;

/// Rows, keys and values of one shard.
struct Shard {
  int m, d;
  std::int64_t n;
  std::vector<float> queries, keys, values, packed;
  KeyRanges ranges;
  double softcap = 0.0;
  BinGrid grid{32.0f, 900};
  std::vector<int> first_bin;

  PathRows rows() const { return {m, d, queries.data(), ranges, grid, first_bin, 0, softcap}; }
};

class DevicePath : public test::DeviceTest {
 protected:
  void TearDown() override {
    // Under a narrow softcap most pieces hold no score, or more than they take.
    EXPECT_TRUE(!probed_ || collected_ > 0) << "seed " << seed_;
  }
  bool probed_ = false;
  std::int64_t collected_ = 0;  ///< scores of all second passes of the test that were compared
  Shard normal(int m, std::int64_t n, int d) {
    Shard s{m, d, n, {}, {}, {}, {}, {}, 0.0, {}, {}};
    s.queries = normals(m, d, 1.0f / std::sqrt(static_cast<float>(d)));
    s.keys = normals(n, d);
    s.values = normals(n, d);
    s.grid = {32.0f, 900};
    s.ranges.limit.assign(static_cast<std::size_t>(m), n);
    s.first_bin.assign(static_cast<std::size_t>(m), -450);
    return s;
  }

  static void pack_all(Shard& s) {
    s.packed.assign(packed_size(s.n, s.d), 0.0f);
    pack_keys(s.keys.data(), s.n, s.d, s.packed.data());
  }

  /// Takes a pass along all keys in steps of at most so many, beginning with that of number `begin`, as on a ring.
  void walk(Shard const& s, KeyPass<Space>& pass, std::int64_t step, std::int64_t begin = 0) {
    Space const space;
    device::KeyCopy copy;
    auto const steps = (s.n + step - 1) / step;
    for (std::int64_t i = 0; i < steps; ++i) {
      auto const first = (begin + i) % steps * step;
      int const count = static_cast<int>(std::min(step, s.n - first));
      float const* const packed = s.packed.data() + first * s.d;
      KeyStep<Space> keys{static_cast<LocalIndex>(first), count, count, {packed, s.d, true}, {}};
      auto const all = first * s.d;
      if (pass.wants_values()) {
        keys.values = Matrix<Space, float>("values", static_cast<std::size_t>(count), static_cast<std::size_t>(s.d));
        std::copy_n(s.values.data() + all, keys.values.size(), keys.values.data());
      }
      if (pass.wants_on_device()) {
        copy.load(packed, count, s.d);
        if (pass.wants_screen()) copy.make_screen();
        if (pass.wants_values()) copy.load_values(s.values.data() + all);
        keys.on_device = copy.keys();
      }
      pass.add(space, keys, {});
    }
    pass.finish(space, {});
  }

  /// What the first pass of a path finds.
  struct Found {
    std::vector<std::vector<PackedCandidate>> heads;
    std::vector<std::int64_t> moments;
  };
  template <class Batch>
  Found first_pass(Shard const& s, int keep, std::int64_t step, std::int64_t begin = 0) {
    Space const space;
    Batch batch(space, s.rows(), {512, 512});
    auto const pass = batch.first_pass(space, {keep, true, begin == 0 ? KeyOrder::ascending : KeyOrder::any});
    walk(s, *pass, step, begin);
    Found found;
    auto const heads = pass->heads(space);
    for (int row = 0; row < s.m; ++row) found.heads.push_back(heads(row));
    auto const moments = pass->moments(space);
    found.moments.assign(moments.data(), moments.data() + moments.size());
    return found;
  }

  Found expect_first(Shard const& s, int keep, std::string const& what) {
    auto expected = first_pass<FusedBatch<Space>>(s, keep, packed_step);
    auto const expect_same = [&](std::int64_t step, std::int64_t begin) {
      auto const found = first_pass<DeviceBatch<Space>>(s, keep, step, begin);
      auto const how = what + " step " + std::to_string(step) + " from " + std::to_string(begin) + " seed " + std::to_string(seed_);
      EXPECT_EQ(difference(found.moments, expected.moments), "") << how;
      for (std::size_t row = 0; row < found.heads.size(); ++row)
        EXPECT_TRUE(found.heads[row] == expected.heads[row])
            << how << " k " << keep << " row " << row << ": " << found.heads[row].size() << " candidates";
    };
    for (auto const step : {s.n, std::int64_t{2} * packed_step, std::int64_t{32} * 1000}) expect_same(step, 0);
    for (std::int64_t const begin : {1, 2}) expect_same(std::int64_t{32} * 1000, begin);
    return expected;
  }

  /// The second pass's work on what the first found: boundaries at a few ranks, probes of random bins.
  SecondPass<Space> work_of(Shard const& s, Found const& found, std::vector<int> const& ranks, std::vector<double> const& sigmas) {
    auto const rows = static_cast<std::size_t>(s.m), count = ranks.size(), probes = std::size_t{5}, d = static_cast<std::size_t>(s.d);
    SecondPass<Space> work;
    auto& g = work.segments;
    g.boundary_score = Matrix<Space, float>("score", rows, count);
    g.boundary_index = Matrix<Space, GlobalIndex>("index", rows, count);
    g.reference = Matrix<Space, float>("reference", rows, count + 1);
    g.used = Vector<Space, int>("used", rows);
    auto& p = work.probes;
    p.grid = s.grid;
    p.first_bin = Vector<Space, int>("first_bin", rows);
    p.of_bin = Matrix<Space, std::uint16_t>("of_bin", rows, static_cast<std::size_t>(s.grid.count));
    p.bin = Matrix<Space, int>("bin", rows, probes);
    p.low = Matrix<Space, float>("low", rows, probes);
    p.high = Matrix<Space, float>("high", rows, probes);
    p.begin = Matrix<Space, std::int64_t>("begin", rows, probes);
    p.capacity = Matrix<Space, int>("capacity", rows, probes);
    p.above = Tensor3<Space, std::int64_t>("above", rows, probes, 3);
    p.fill = Matrix<Space, int>("fill", rows, probes);
    p.edge = Tensor3<Space, std::int64_t>("edge", rows, 1, 2);
    p.edge_score = Vector<Space, float>("edge_score", rows);
    std::int64_t places = 0;
    for (std::size_t i = 0; i < rows; ++i) {
      auto const& head = found.heads[i];
      p.first_bin(i) = s.first_bin[i];
      int used = 0;
      for (std::size_t j = 0; j < count; ++j) {
        if (static_cast<std::size_t>(ranks[j]) <= head.size()) used = static_cast<int>(j) + 1;
      }
      // A row that sees few keys has one boundary, its last.
      if (used == 0) used = 1;
      g.used(i) = used;
      for (std::size_t j = 0; j < count; ++j) {
        auto const at = std::min(head.size(), static_cast<std::size_t>(ranks[std::min(j, static_cast<std::size_t>(used) - 1)]));
        g.boundary_score(i, j) = at == 0 ? 0.0f : score_of(head[at - 1]);
        g.boundary_index(i, j) = at == 0 ? 0 : shard_begin + index_of(head[at - 1]);
        auto const before = j == 0 ? 0 : static_cast<std::size_t>(ranks[j - 1]);
        g.reference(i, j) = head.empty() ? 0.0f : score_of(head[std::min(before, head.size() - 1)]);
      }
      float const last = g.boundary_score(i, static_cast<std::size_t>(used) - 1);
      g.reference(i, static_cast<std::size_t>(used)) = last;
      p.edge_score(i) = last;
      std::vector<int> bins;
      // Every other row's where scores that are whole quarters lie.
      for (std::size_t q = 0; q + 1 < probes; ++q) bins.push_back(static_cast<int>(i % 2 == 0 ? 440 + below(60) : 450 + 8 * below(7)));
      std::sort(bins.begin(), bins.end());
      for (std::size_t q = 0; q < probes; ++q) {
        p.bin(i, q) = q < bins.size() ? bins[q] : -1;
        float const centre = static_cast<float>(p.bin(i, q) + s.first_bin[i]) / 32.0f;
        p.high(i, q) = centre + 0.004f;
        p.low(i, q) = q % 2 == 0 ? centre - 0.005f : p.high(i, q);
        // Room for a few, for all, for some: under a narrow softcap nearly all scores lie at a few places.
        p.capacity(i, q) = q == 0 ? 3 : q == 1 ? static_cast<int>(s.n) : 4000;
        p.begin(i, q) = places;
        places += p.capacity(i, q);
        if (q >= bins.size()) continue;
        auto& slot = p.of_bin(i, static_cast<std::size_t>(bins[q]));
        if (slot == 0) slot = static_cast<std::uint16_t>(q + 1);
      }
    }
    p.collected = Vector<Space, float>("collected", static_cast<std::size_t>(places));
    work.sigmas = sigmas;
    for (std::size_t law = 0; law < sigmas.size(); ++law) work.sums.emplace_back("sums", rows, count + 1, d + 1);
    work.factor = FixedPoint::make(s.n, 10.0);
    work.softcap = s.softcap;
    work.audit_rows = Vector<Space, int>("audit", 1);
    work.audit_rows(0) = s.m / 2;
    work.audit_queries = Matrix<Space, double>("audit_queries", 1, d);
    for (std::size_t c = 0; c < d; ++c) work.audit_queries(0, c) = s.queries[static_cast<std::size_t>(s.m / 2) * d + c];
    work.audit_sigmas = Vector<Space, double>("audit_sigmas", sigmas.size());
    for (std::size_t law = 0; law < sigmas.size(); ++law) work.audit_sigmas(law) = sigmas[law];
    work.audit_sums = decltype(work.audit_sums)("audit_sums", 1, sigmas.size(), count + 1, 4);
    work.audit_worst = Vector<Space, double>("audit_worst", 1);
    return work;
  }

  template <class View>
  static auto numbers(View const& view) {
    return std::vector(view.data(), view.data() + view.size());
  }
  /// A view of its own with the same numbers.
  template <class View>
  static void detach(View& view) {
    auto const old = view;
    view = View(Kokkos::view_alloc(Kokkos::WithoutInitializing, "copy"), old.layout());
    Kokkos::deep_copy(view, old);
  }

  void expect_second(Shard const& s, Found const& found, int strip, std::string const& what) {
    Space const space;
    probed_ = true;
    auto host = work_of(s, found, {1, 2, 10, 60}, {1.0, 2.7});
    for (bool const probes_only : {false, true}) {
      for (auto const step : {std::int64_t{1} << 30, std::int64_t{3} * packed_step}) {
        auto fused_work = host, device_work = host;
        for (auto* work : {&fused_work, &device_work}) {
          detach(work->probes.above), detach(work->probes.fill), detach(work->probes.collected), detach(work->probes.edge);
          detach(work->audit_sums), detach(work->audit_worst);
          for (auto& sums : work->sums) detach(sums);
        }
        FusedBatch<Space> fused(space, s.rows(), {strip, strip});
        DeviceBatch<Space> on_device(space, s.rows(), {strip, strip});
        walk(s, *fused.second_pass(space, fused_work, shard_begin, probes_only), packed_step);
        walk(s, *on_device.second_pass(space, device_work, shard_begin, probes_only), step);
        auto const where = what + " strip " + std::to_string(strip) + " step " + std::to_string(step) + " seed " + std::to_string(seed_);
        EXPECT_EQ(difference(numbers(fused_work.probes.edge), numbers(device_work.probes.edge)), "") << where;
        EXPECT_EQ(difference(numbers(fused_work.probes.above), numbers(device_work.probes.above)), "") << where;
        EXPECT_EQ(difference(numbers(fused_work.probes.fill), numbers(device_work.probes.fill)), "") << where;
        EXPECT_EQ(difference(numbers(fused_work.audit_sums), numbers(device_work.audit_sums)), "") << where;
        for (std::size_t law = 0; law < host.sums.size(); ++law)
          EXPECT_EQ(difference(numbers(fused_work.sums[law]), numbers(device_work.sums[law])), "") << where << " law " << law;
        std::int64_t collected = 0;
        for (std::size_t i = 0; i < host.probes.fill.size(); ++i) {
          int const fill = fused_work.probes.fill.data()[i];
          if (fill > host.probes.capacity.data()[i]) continue;  // which of them are there is anybody's guess
          auto const begin = host.probes.begin.data()[i];
          std::vector<float> a(fused_work.probes.collected.data() + begin, fused_work.probes.collected.data() + begin + fill),
              b(device_work.probes.collected.data() + begin, device_work.probes.collected.data() + begin + fill);
          std::sort(a.begin(), a.end());
          std::sort(b.begin(), b.end());
          EXPECT_EQ(difference(a, b), "") << where;
          collected += fill;
        }
        collected_ += collected;
      }
    }
  }

  void expect_all(Shard s, int keep, std::string const& what) {
    pack_all(s);
    auto const found = expect_first(s, keep, what);
    expect_second(s, found, 512, what);
    expect_second(s, found, 96, what);
  }
};

TEST_F(DevicePath, NormalsAreTheHosts) {
  Space const space;
  for (int const d : {1, 3, 64, 97, 576}) {
    for (std::uint64_t const first : {std::uint64_t{0}, std::uint64_t{96} * 1000, (std::uint64_t{1} << 32) - 64}) {
      Stream const stream{static_cast<std::uint32_t>(random_()), static_cast<std::uint32_t>(random_())};
      std::int64_t const rows = 1003;
      std::vector<float> packed(packed_size(rows, d)), found(packed.size()), found_rows(static_cast<std::size_t>(rows * d));
      fill_normal_packed(space, stream, static_cast<GlobalIndex>(first), rows, d, packed.data());
      device::NormalArguments const arguments{stream.key0, stream.key1, first, rows, d};
      device::Memory const on_device(packed.size() * sizeof(float)), as_rows(found_rows.size() * sizeof(float));
      device::make_packed_normals(nullptr, arguments, on_device.as<float>());
      device::make_normal_rows(nullptr, arguments, as_rows.as<float>());
      device::download(nullptr, found.data(), on_device.as<void>(), on_device.bytes());
      device::download(nullptr, found_rows.data(), as_rows.as<void>(), as_rows.bytes());
      EXPECT_TRUE(found == packed) << "d " << d << " first " << first << " seed " << seed_;
      std::vector<float> packed_rows(packed.size());
      pack_keys(found_rows.data(), rows, d, packed_rows.data());
      EXPECT_TRUE(packed_rows == packed) << "d " << d << " first " << first << " seed " << seed_;
    }
  }
}

TEST_F(DevicePath, OfPlainRows) {
  for (int const d : {1, 20, 64, 100}) expect_all(normal(37, 100003, d), 200, "plain");
  expect_all(normal(150, 70000, 64), 100, "many rows");
  expect_all(normal(1, 50000, 128), 100, "one row");
}

TEST_F(DevicePath, OfMasksAndWindows) {
  auto s = normal(60, 90000, 32);
  for (auto& limit : s.ranges.limit) limit = below(s.n + 1);
  s.ranges.limit[0] = 0;
  s.ranges.limit[1] = 3;
  expect_all(s, 100, "causal");
  for (auto const limit : s.ranges.limit) s.ranges.from.push_back(below(limit + 1));
  s.ranges.from[2] = s.ranges.limit[2];
  s.ranges.from[3] = 0;
  s.ranges.limit[3] = s.n;
  expect_all(s, 100, "windows");
  // Survivors in most tiles of keys.
  auto many = normal(150, 70000, 48);
  for (auto& limit : many.ranges.limit) limit = below(many.n + 1);
  for (auto const limit : many.ranges.limit) many.ranges.from.push_back(below(limit / 2 + 1));
  many.ranges.limit[7] = many.n;
  many.ranges.from[7] = 0;
  pack_all(many);
  expect_first(many, 1000, "windows, many winners");
  many.softcap = 20.0;
  expect_first(many, 1000, "windows, many winners, softcap");
}

TEST_F(DevicePath, OfSoftcaps) {
  for (double const cap : {0.3, 1.0, 50.0}) {
    auto s = normal(24, 80000, 48);
    s.softcap = cap;
    expect_all(s, 150, "softcap " + std::to_string(cap));
  }
}

TEST_F(DevicePath, OfTiesAndManyWinners) {
  auto s = normal(20, 70000, 16);
  for (auto& x : s.queries) x = std::nearbyint(x * 4.0f) / 4.0f;
  for (auto& x : s.keys) x = std::nearbyint(x);
  expect_all(s, 300, "ties");
  auto const p = normal(6, 130000, 24);
  for (int const k : {5000, 30000}) expect_all(p, k, "many winners");
  // The best come last, so that no threshold spares any.
  auto q = normal(20, 100000, 16);
  for (std::size_t j = 0; j < q.keys.size(); ++j) q.keys[j] *= 1e-5f * static_cast<float>(j / 16);
  expect_all(q, 300, "ever larger keys");
}

}  // namespace
}  // namespace asymptop
