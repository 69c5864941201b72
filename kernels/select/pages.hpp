// Orders of pages: keys that lie together are read together.
//
//   quest       by an upper bound of the scores in the page: sum_c max(q_c min_c, q_c max_c), with the least and the largest of each
//               channel over the page's keys (Quest, arXiv 2406.10774)
//   block-mean  by q . mean(k) (MoBA, arXiv 2502.13189; MInference, arXiv 2407.02490)
//   block-max   by the largest score: the best that an order of pages can do
#pragma once

#include <unordered_set>

#include "selector.hpp"

namespace asymptop {

/// max(q_c min_c, q_c max_c) is max(q_c, 0) max_c + min(q_c, 0) min_c: a product of twice the width.
class QuestProjection final : public Projection {
 public:
  explicit QuestProjection(int page) : page_(page) {}
  int page() const override { return page_; }
  int width(int d) const override { return 2 * d; }
  SlopeOf slope_of() const override { return SlopeOf::largest; }
  void query(float const* q, int d, float* out) const override {
    for (int c = 0; c < d; ++c) {
      out[c] = std::max(q[c], 0.0f);
      out[d + c] = std::min(q[c], 0.0f);
    }
  }
  void entry(float const* keys, int count, int d, float* out) const override {
    std::copy_n(keys, d, out);
    std::copy_n(keys, d, out + d);
    for (int j = 1; j < count; ++j) {
      for (int c = 0; c < d; ++c) {
        float const k = keys[j * d + c];
        out[c] = std::max(out[c], k);
        out[d + c] = std::min(out[d + c], k);
      }
    }
  }

 private:
  int page_;
};

class BlockMeanProjection final : public Projection {
 public:
  explicit BlockMeanProjection(int page) : page_(page) {}
  int page() const override { return page_; }
  void query(float const* q, int d, float* out) const override { std::copy_n(q, d, out); }
  void entry(float const* keys, int count, int d, float* out) const override {
    std::fill_n(out, d, 0.0f);
    for (int j = 0; j < count; ++j) {
      for (int c = 0; c < d; ++c) out[c] += keys[j * d + c];
    }
    for (int c = 0; c < d; ++c) out[c] /= static_cast<float>(count);
  }

 private:
  int page_;
};

/// Pages in the order in which the row's keys, best first, first enter them.
class BlockMaxSelector final : public Selector {
 public:
  explicit BlockMaxSelector(int page) : page_(page) {}
  int page() const override { return page_; }
  std::vector<GlobalIndex> order(RowOfKeys const& row, std::int64_t wanted) const override {
    std::vector<GlobalIndex> pages;
    std::unordered_set<GlobalIndex> known;
    for (auto const& key : row.best) {
      if (std::ssize(pages) == wanted) break;
      auto const page = key.index / page_;
      if (known.insert(page).second) pages.push_back(page * page_);
    }
    return pages;
  }
  bool by_largest_score() const override { return true; }

 private:
  int page_;
};

}  // namespace asymptop
