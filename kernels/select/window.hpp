// Attention sinks and a sliding window: the first keys of the sequence, then the most recent ones (StreamingLLM, arXiv 2309.17453).
#pragma once

#include "selector.hpp"

namespace asymptop {

class WindowSelector final : public Selector {
 public:
  explicit WindowSelector(std::int64_t sinks) : sinks_(sinks) {}
  std::vector<GlobalIndex> order(RowOfKeys const& row, std::int64_t wanted) const override {
    std::vector<GlobalIndex> keys;
    auto const count = std::min(wanted, row.visible), sinks = std::min(sinks_, count);
    for (GlobalIndex key = 0; key < sinks; ++key) keys.push_back(key);
    for (GlobalIndex key = row.visible - 1; std::ssize(keys) < count; --key) keys.push_back(key);
    return keys;
  }
  void places(RowOfKeys const& row, std::int64_t first, int count, std::uint32_t* out) const override {
    auto const sinks = std::min(sinks_, row.visible), last = sinks + (row.visible - 1);
#pragma omp simd
    for (int i = 0; i < count; ++i) {
      auto const key = first + i;
      out[i] = static_cast<std::uint32_t>(key < sinks ? key : last - key);
    }
  }

 private:
  std::int64_t sinks_;
};

}  // namespace asymptop
