// Attention sinks and a sliding window: the first keys of the sequence, then the most recent ones (StreamingLLM, arXiv 2309.17453).
#pragma once

#include "selector.hpp"

namespace asymptop {

class WindowSelector final : public Selector {
 public:
  explicit WindowSelector(std::int64_t sinks) : sinks_(sinks) {}
  std::vector<GlobalIndex> order(RowOfKeys const& row, std::int64_t wanted) const override {
    std::vector<GlobalIndex> keys;
    auto const count = std::min(wanted, row.seen.size());
    for (auto key = row.seen.begin; key < sinks_end(row.seen) && std::ssize(keys) < count; ++key) keys.push_back(key);
    for (auto key = row.seen.end; std::ssize(keys) < count;) keys.push_back(--key);
    return keys;
  }
  void places(RowOfKeys const& row, std::int64_t first, int count, std::uint32_t* out) const override {
    auto const begin = row.seen.begin, sinks = sinks_end(row.seen), last = sinks - begin + row.seen.end - 1;
#pragma omp simd
    for (int i = 0; i < count; ++i) {
      auto const key = first + i;
      out[i] = low_word(key < sinks ? key - begin : last - key);
    }
  }

 private:
  std::int64_t sinks_end(KeyRun const& seen) const { return std::clamp(sinks_, seen.begin, seen.end); }

  std::int64_t sinks_;
};

}  // namespace asymptop
