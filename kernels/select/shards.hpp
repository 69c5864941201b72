// Keys chosen shard by shard: what ranks that each hold a part of the sequence do instead of agreeing on the k best of all.
#pragma once

#include "selector.hpp"

namespace asymptop {

/// The k best keys of each shard, or an equal share of k of each. One order serves both: its t-th entry is the t-th best key of every
/// shard, and they differ in how many entries a budget pays for. A single shard is the oracle.
class ShardSelector final : public Selector {
 public:
  enum class Budget { of_each_shard, shared };
  ShardSelector(int shards, Budget budget) : shards_(shards), budget_(budget) {}
  int shards() const override { return shards_; }
  SelectorSeconds seconds(int d) const override { return {4e-9 * d, 1e-8}; }
  std::int64_t entries_of_budget(std::int64_t k) const override {
    return budget_ == Budget::shared ? std::max<std::int64_t>(1, k / shards_) : std::max<std::int64_t>(1, k);
  }
  std::int64_t keys_of_entry() const override { return shards_; }

 private:
  int shards_;
  Budget budget_;
};

}  // namespace asymptop
