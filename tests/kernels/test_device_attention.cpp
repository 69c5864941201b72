// Exact attention on a GPU: its error against fp64, on inputs that split numbers badly, and its bits over steps, batches and shards.
// Skipped where there is no GPU of compute capability 9.0.
#include <gtest/gtest.h>

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/pack_keys.hpp"
#include "kernels/path/device.hpp"
#include "support/device_test.hpp"

namespace asymptop {
namespace {

using Space = Kokkos::DefaultHostExecutionSpace;
constexpr int leaf = 512, block = 4096;
constexpr double cancelled = 1e-3;                                     ///< of outputs that are one number in truth, whose terms may cancel
constexpr double unbounded = std::numeric_limits<double>::infinity();  ///< of one number alone, which may cancel to nothing: see of_sums

struct Problem {
  int m, d;
  std::int64_t n;
  std::vector<float> queries, keys, values;
  KeyRanges ranges;
};

/// Keys [begin, end) of a problem as a shard, in steps.
struct Pieces {
  std::int64_t begin, end, step;
};

class DeviceAttention : public test::DeviceTest {
 protected:
  /// Standard normal numbers, queries divided by the root of d.
  Problem normal(int m, std::int64_t n, int d) {
    Problem p{m, d, n, {}, {}, {}, {}};
    p.queries = normals(m, d, 1.0f / std::sqrt(static_cast<float>(d)));
    p.keys = normals(n, d);
    p.values = normals(n, d);
    p.ranges.limit.assign(static_cast<std::size_t>(m), n);
    return p;
  }

  /// Runs of rows [first, first + count) over the shard's keys, on the path of `numbers`.
  std::vector<SoftmaxRun> runs(Problem const& p, Pieces const& pieces, int first, int count, std::vector<std::int64_t>* seen = nullptr,
                               std::vector<float>* outputs = nullptr) {
    Space const space;
    std::vector<int> some(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) some[static_cast<std::size_t>(i)] = first + i;
    auto const ranges = p.ranges.of(some).counted_from(pieces.begin, pieces.end - pieces.begin);
    PathRows const rows{count, p.d, p.queries.data() + std::ptrdiff_t{first} * p.d, ranges, {}, {}, 0, 0.0};
    std::unique_ptr<PathBatch<Space>> batch;
    if (numbers_ == device::Numbers::bfloat16) {
      batch = std::make_unique<BfloatBatch<Space>>(space, rows, TileSizes{leaf, leaf});
    } else {
      batch = std::make_unique<DeviceBatch<Space>>(space, rows, TileSizes{leaf, leaf});
    }
    auto const pass = batch->attention(space, {leaf, pieces.begin / leaf, 1.0f, p.n, 10.0, {}, block});
    EXPECT_EQ(pass->wants_split(), numbers_);
    device::KeyCopy copy;
    for (auto at = pieces.begin; at < pieces.end; at += pieces.step) {
      auto const here = std::min(pieces.step, pieces.end - at);
      std::vector<float> packed(packed_size(here, p.d));
      pack_keys(p.keys.data() + at * p.d, here, p.d, packed.data());
      copy.load(packed.data(), here, p.d);
      copy.load_values(p.values.data() + at * p.d);
      copy.make_split(numbers_);
      KeyStep<Space> keys{static_cast<LocalIndex>(at - pieces.begin), static_cast<int>(here), static_cast<int>(here), {}, {}};
      keys.on_device = copy.keys();
      pass->add(space, keys, {});
    }
    auto const found = std::get<AttentionRuns>(pass->parts());
    std::vector<SoftmaxRun> all;
    for (int row = 0; row < count; ++row) {
      all.push_back(found.run(row));
      if (seen != nullptr) seen->push_back(found.seen(row));
    }
    if (outputs != nullptr) {
      outputs->resize(static_cast<std::size_t>(count * p.d));
      std::vector<double> log_sum_exp(static_cast<std::size_t>(count));
      std::vector<std::int64_t> all_seen(log_sum_exp.size());
      EXPECT_TRUE(pass->outputs({outputs->data(), log_sum_exp.data(), all_seen.data()}));
      for (std::size_t row = 0; row < all_seen.size(); ++row) EXPECT_EQ(all_seen[row], found.seen(static_cast<int>(row)));
    }
    return all;
  }

  /// Weight, then outputs, of a row; zeros where it sees nothing.
  static std::vector<float> numbers(SoftmaxRun run, int d) {
    std::vector<float> all(static_cast<std::size_t>(d) + 2, 0.0f);
    if (run.nodes().empty()) return all;
    run.finish(d);
    all[0] = run.nodes()[0].max;
    all[1] = run.nodes()[0].weight;
    std::copy_n(run.values(0, d), d, all.begin() + 2);
    return all;
  }

  /// Of all rows the worst ||output - reference|| / ||reference||, and the worst |output - reference| of a number over what it is summed
  /// from, sum p |v|, which no cancellation makes small.
  struct Error {
    double relative = 0.0, of_sums = 0.0;
  };
  /// rounding: what the terms q_c k_c of a score may be off by, relative.
  Error worst_error(Problem const& p, std::string const& what, double rounding = 0.0) {
    std::vector<std::int64_t> seen;
    auto const found = runs(p, {0, p.n, p.n}, 0, p.m, &seen);
    Error worst;
    auto const d = static_cast<std::size_t>(p.d);
    std::vector<double> scores(static_cast<std::size_t>(p.n)), output(d), sizes(d);
    for (std::size_t row = 0; row < found.size(); ++row) {
      auto const begin = p.ranges.first(row), end = p.ranges.limit[row];
      EXPECT_EQ(seen[row], std::max<std::int64_t>(0, end - begin)) << what << " row " << row << " seed " << seed_;
      if (begin >= end) continue;
      double top = -INFINITY, weight = 0.0, terms = 0.0;
      for (auto j = begin; j < end; ++j) {
        double s = 0.0, size = 0.0;
        for (std::size_t c = 0; c < d; ++c) {
          double const term = double{p.queries[row * d + c]} * double{p.keys[static_cast<std::size_t>(j) * d + c]};
          s += term;
          size += std::fabs(term);
        }
        terms = std::max(terms, size);
        scores[static_cast<std::size_t>(j)] = s;
        top = std::max(top, s);
      }
      std::fill(output.begin(), output.end(), 0.0);
      std::fill(sizes.begin(), sizes.end(), 0.0);
      for (auto j = begin; j < end; ++j) {
        double const w = std::exp(scores[static_cast<std::size_t>(j)] - top);
        weight += w;
        for (std::size_t c = 0; c < d; ++c) {
          double const x = w * double{p.values[static_cast<std::size_t>(j) * d + c]};
          output[c] += x;
          sizes[c] += std::fabs(x);
        }
      }
      auto const own = numbers(found[row], p.d);
      double off = 0.0, size = 0.0;
      for (std::size_t c = 0; c < d; ++c) {
        double const error = std::fabs((double{own[c + 2]} / own[1]) - (output[c] / weight));
        worst.of_sums = std::max(worst.of_sums, error / (sizes[c] / weight));
        off += error * error;
        size += std::pow(output[c] / weight, 2);
      }
      worst.relative = std::max(worst.relative, std::sqrt(off / size));
      EXPECT_NEAR(own[0] + std::log(double{own[1]}), top + std::log(weight), (rounding * terms) + (2e-6 * std::max(8.0, std::fabs(top))))
          << what << " row " << row << " seed " << seed_;
    }
    std::printf("%s: worst relative error %.3g, of sums %.3g\n", what.c_str(), worst.relative, worst.of_sums);
    return worst;
  }

  /// Scores up to `largest` are wrong by their rounding and that of their products, largest * 2^-22.
  void expect_error(Problem const& p, std::string const& what, double most, double largest = 1.0) {
    auto const error = worst_error(p, what);
    EXPECT_LT(error.relative, most) << what << " seed " << seed_;
    EXPECT_LT(error.of_sums, 2e-7 + largest * 0x1p-22) << what << " seed " << seed_;
  }

  device::Numbers numbers_ = device::Numbers::half_pairs;
};

/// Tensors rounded to bf16 are exact from there on: what is left is the weights' rounding to 8 bits, 2^-8 of each, and what fp32 costs.
TEST_F(DeviceAttention, OfBf16IsThatOfRoundedTensors) {
  numbers_ = device::Numbers::bfloat16;
  auto const round = [](std::vector<float>& all) {
    for (auto& x : all) {
      auto const bits = std::bit_cast<std::uint32_t>(x);
      x = std::bit_cast<float>((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
    }
  };
  for (int const d : {1, 20, 64, 100, 128, 200, 256, 257, 320, 512, 576}) {
    auto p = normal(d > 256 ? 21 : 70, 20011, d);
    for (auto& limit : p.ranges.limit) limit = below(p.n + 1);
    p.ranges.limit[0] = 1 + below(8);  // whose rounding does not average out
    auto const whole = p;
    for (auto* const tensor : {&p.queries, &p.keys, &p.values}) round(*tensor);
    auto const error = worst_error(p, "bf16, d = " + std::to_string(d));
    EXPECT_LT(error.of_sums, 0x1p-8 + 1e-6) << "d " << d << " seed " << seed_;
    // Of the tensors as they were, whose scores and values have lost as much and more.
    auto const off = worst_error(whole, "bf16 against fp32, d = " + std::to_string(d), 0x1.02p-7);
    EXPECT_LT(off.of_sums, 0x1p-5) << "d " << d << " seed " << seed_;
    EXPECT_GT(off.of_sums, 0x1p-12) << "d " << d << " seed " << seed_;
  }
}

TEST_F(DeviceAttention, OfBf16HasTheSameBitsOverStepsAndShards) {
  numbers_ = device::Numbers::bfloat16;
  for (int const d : {64, 128, 576}) {
    auto const p = normal(140, 45000, d);
    auto const whole = runs(p, {0, p.n, p.n}, 0, p.m), steps = runs(p, {0, p.n, 3 * block}, 0, p.m);
    auto left = runs(p, {0, 4 * block, p.n}, 0, p.m);
    auto const right = runs(p, {4 * block, p.n, p.n}, 0, p.m);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      left[i].push(right[i], d);
      auto const wanted = numbers(whole[i], d);
      EXPECT_TRUE(numbers(steps[i], d) == wanted && numbers(left[i], d) == wanted) << "d " << d << " row " << i << " seed " << seed_;
    }
  }
}

TEST_F(DeviceAttention, KeepsToFp32) {
  for (int const d : {1, 20, 64, 100, 128, 200, 256})
    expect_error(normal(37, 50003, d), "normal, d = " + std::to_string(d), d == 1 ? unbounded : d > 128 ? 4e-6 : 2e-6);
  for (int const m : {1, 130, 300}) expect_error(normal(m, 20000, 64), "normal, m = " + std::to_string(m), 2e-6);
  for (std::int64_t const n : {1, 127, 129, 4097}) expect_error(normal(5, n, 64), "normal, n = " + std::to_string(n), 2e-6);
}

/// Columns of which shared memory does not hold all queries. Scores are sums of 3 d / 16 products, each of which is rounded, and some rows
/// go by few keys.
TEST_F(DeviceAttention, OfWideHeadsKeepsToFp32) {
  auto const expect = [&](int m, std::int64_t n, int d) {
    expect_error(normal(m, n, d), "normal, m = " + std::to_string(m) + ", n = " + std::to_string(n) + ", d = " + std::to_string(d), 4e-6,
                 d / 64.0);
  };
  for (int const d : {257, 320, 512, 576}) expect(37, 20003, d);
  // Blocks of one and of two query tiles, the last one full, nearly full and nearly empty.
  for (int const m : {1, 63, 65, 128, 129}) expect(m, 4099, 576);
  for (std::int64_t const n : {1, 127, 129}) expect(5, n, 576);
}

TEST_F(DeviceAttention, OfOutlierChannels) {
  auto p = normal(20, 30000, 64);
  for (std::size_t j = 0; j < p.keys.size() / 64; ++j) {
    p.keys[j * 64 + 3] = 300.0f + p.keys[j * 64 + 3];
    p.values[j * 64 + 5] *= 1000.0f;
  }
  for (std::size_t i = 0; i < 20; ++i) p.queries[i * 64 + 3] *= 0.01f;
  expect_error(p, "outlier channels", cancelled);
  auto q = normal(20, 30000, 64);
  for (std::size_t j = 0; j < q.keys.size(); ++j) q.values[j] *= std::exp2f(static_cast<float>(j / 64 % 40) - 20.0f);
  expect_error(q, "values of all sizes", 2e-6);
  auto r = normal(20, 30000, 64);
  for (auto& x : r.queries) x *= 1e-20f;
  for (auto& x : r.keys) x *= 1e20f;
  for (auto& x : r.values) x *= 1e-30f;
  expect_error(r, "far exponents", 2e-6);
}

TEST_F(DeviceAttention, OfSharpRows) {
  auto p = normal(20, 30000, 64);
  for (auto& x : p.queries) x *= 6.0f;
  expect_error(p, "sigma 6", 6e-6, 24.0);
}

TEST_F(DeviceAttention, OfMasksAndWindows) {
  for (int const d : {64, 320, 576}) {
    bool const wide = d > 256;
    std::int64_t const few = wide ? 64 : 0;  // their scores' errors do not average out
    auto p = normal(150, wide ? 6000 : 30000, d);
    for (auto& limit : p.ranges.limit) limit = few + below(p.n - few + 1);
    p.ranges.limit[0] = 0;
    p.ranges.limit[1] = 1;
    p.ranges.limit[2] = p.n;
    auto const most = wide ? 4e-6 : 2e-6, largest = wide ? d / 64.0 : 1.0;
    expect_error(p, "causal, d = " + std::to_string(d), most, largest);
    for (auto const limit : p.ranges.limit) p.ranges.from.push_back(below(std::max<std::int64_t>(1, limit - few + 1)));
    p.ranges.from[2] = p.n - 1;
    expect_error(p, "windows, d = " + std::to_string(d), most, largest);
  }
}

TEST_F(DeviceAttention, HasTheSameBitsOverStepsBatchesAndShards) {
  for (int const d : {64, 128, 576}) {
    auto p = normal(140, 45000, d);
    for (std::size_t i = 0; i < p.ranges.limit.size(); i += 2) p.ranges.limit[i] = below(p.n + 1);
    std::vector<std::vector<float>> expected;
    std::vector<float> outputs;
    for (auto const& run : runs(p, {0, p.n, 5 * block}, 0, p.m, nullptr, &outputs)) expected.push_back(numbers(run, d));
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      auto const& row = expected[i / static_cast<std::size_t>(d)];
      if (row[1] == 0.0f) continue;  // sees nothing
      EXPECT_EQ(outputs[i], static_cast<float>(double{row[2 + (i % static_cast<std::size_t>(d))]} / row[1])) << i << " seed " << seed_;
    }
    auto const expect_same = [&](std::vector<SoftmaxRun> const& found, int first, std::string const& what) {
      for (std::size_t i = 0; i < found.size(); ++i) {
        auto const& wanted = expected[static_cast<std::size_t>(first) + i];
        EXPECT_TRUE(numbers(found[i], d) == wanted) << what << " d " << d << " row " << i << " seed " << seed_;
      }
    };
    expect_same(runs(p, {0, p.n, p.n}, 0, p.m), 0, "again");
    expect_same(runs(p, {0, p.n, block}, 0, p.m), 0, "steps of a block");
    expect_same(runs(p, {0, p.n, 3 * block}, 0, p.m), 0, "steps of three blocks");
    expect_same(runs(p, {0, p.n, p.n}, 70, 1), 70, "one row");
    expect_same(runs(p, {0, p.n, p.n}, 3, 90), 3, "some rows");
    // As ranks put theirs together.
    for (std::int64_t const cut : {1, 4, 7}) {
      auto left = runs(p, {0, cut * block, p.n}, 0, p.m);
      auto const right = runs(p, {cut * block, p.n, p.n}, 0, p.m);
      for (std::size_t i = 0; i < left.size(); ++i) left[i].push(right[i], d);
      expect_same(left, 0, "shards cut at block " + std::to_string(cut));
    }
  }
}

}  // namespace
}  // namespace asymptop
