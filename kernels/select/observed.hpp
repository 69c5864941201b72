// Orders by what other queries of the context attended to.
//
//   snapkv          keys by the mean attention of the last queries, mean-pooled over neighbours (SnapKV, arXiv 2404.14469)
//   h2o             keys by the attention that they have received up to the row (H2O, arXiv 2306.14048)
//   vertical-slash  columns and diagonals of the last queries' attention (MInference, arXiv 2407.02490)
//   xattention      blocks by the antidiagonal sums of the last queries' scores (XAttention, arXiv 2503.16428)
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "../core/counts.hpp"
#include "../core/math.hpp"
#include "selector.hpp"

namespace asymptop {

/// What methods of this kind share: the queries that observe, and what that costs.
class ObservedLookup : public Lookup {
 public:
  explicit ObservedLookup(Observers const& observers) : observers_(observers) {}
  Observers const* observers() const override { return &observers_; }
  double index_bytes(double n, double shard, double ends) const override {
    if (observers_.so_far) return 4.0 * shard * (std::min(ends, static_cast<double>(observers_.count)) + 1.0);
    return (observers_.by_distance ? 16.0 : 8.0) * n / observers_.run;
  }
  /// Three passes over the keys with all observing queries.
  SelectorSeconds seconds(int d) const override {
    return {3.0 * exact_double(observers_.count) * (2e-11 * d / observers_.run + 1e-9), 4e-9};
  }

 private:
  Observers observers_;
};

/// Each key by the mean of its sum and those of `pool` - 1 keys around it; keys outside of the context count as 0.
class AttendedKeys final : public ObservedLookup {
 public:
  /// pool: odd.
  AttendedKeys(Observers const& observers, int pool) : ObservedLookup(observers), pool_(pool) {}
  void observe(Observation observation) override {
    auto const n = std::ssize(observation.of_keys), reach = std::ptrdiff_t{pool_ / 2};
    pooled_.resize(observation.of_keys.size());
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      double sum = 0.0;
      for (auto near = std::max<std::ptrdiff_t>(0, j - reach); near < std::min(n, j + reach + 1); ++near) sum += observation.of_keys[near];
      pooled_[j] = to_fp32(sum / pool_);
    }
  }
  void priorities(RowOfKeys const& /*row*/, float const* /*table*/, std::uint16_t const* /*codes*/, std::int64_t first, int count,
                  float* out) const override {
    std::copy_n(&pooled_[first], count, out);
  }

 private:
  int pool_;
  std::vector<float> pooled_;
};

/// Each key by its sum over those observing queries whose places the row sees.
class AttendedSoFar final : public ObservedLookup {
 public:
  using ObservedLookup::ObservedLookup;
  void observe(Observation observation) override { sums_ = std::move(observation); }
  void priorities(RowOfKeys const& row, float const* /*table*/, std::uint16_t const* /*codes*/, std::int64_t first, int count,
                  float* out) const override {
    auto const sums = std::upper_bound(sums_.from.begin(), sums_.from.end(), row.seen.end) - sums_.from.begin() - 1;
    std::copy_n(&sums_.of_keys[sums * sums_.keys + first - sums_.first], count, out);
  }

 private:
  Observation sums_;
};

/// Each key by the larger one of two sums: that of its column, and that of its diagonal, the keys at the same distance from their query. A
/// row's own place is that of the last key that it sees.
class AttendedLines final : public ObservedLookup {
 public:
  explicit AttendedLines(Observers const& observers) : ObservedLookup(observers) {}
  void observe(Observation observation) override { sums_ = std::move(observation); }
  void priorities(RowOfKeys const& row, float const* /*table*/, std::uint16_t const* /*codes*/, std::int64_t first, int count,
                  float* out) const override {
    auto const own = row.seen.end - 1;
    for (int i = 0; i < count; ++i) {
      // A step of keys may reach beyond the row's.
      auto const distance = std::max<std::int64_t>(0, own - first - i);
      out[i] = std::max(sums_.of_keys[first + i], sums_.of_distances[distance]);
    }
  }

 private:
  Observation sums_;
};

/// Each block by the sum over its runs of keys.
class AttendedBlocks final : public ObservedLookup {
 public:
  AttendedBlocks(Observers const& observers, int block) : ObservedLookup(observers), block_(block), runs_(block / observers.run) {}
  int page() const override { return block_; }
  void observe(Observation observation) override {
    auto const count = observation.of_keys.size();
    blocks_.assign((count + runs_ - 1) / runs_, 0.0f);
    for (std::size_t b = 0; b < blocks_.size(); ++b) {
      double sum = 0.0;
      for (auto run = b * runs_; run < std::min(count, (b + 1) * runs_); ++run) sum += observation.of_keys[run];
      blocks_[b] = to_fp32(sum);
    }
  }
  void priorities(RowOfKeys const& /*row*/, float const* /*table*/, std::uint16_t const* /*codes*/, std::int64_t first, int count,
                  float* out) const override {
    std::copy_n(&blocks_[first], count, out);
  }

 private:
  int block_;
  std::size_t runs_;
  std::vector<float> blocks_;
};

}  // namespace asymptop
