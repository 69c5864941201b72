// Twilight (arXiv 2502.02770): Quest's pages choose more keys than are needed, and top-p on scores of 4-bit copies keeps the fewest of them
// that hold a share of the estimated mass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "approximate_scores.hpp"
#include "pages.hpp"
#include "selector.hpp"

namespace asymptop {

class TwilightSelector final : public Selector {
 public:
  /// budget: keys that pages choose; 0: k of them.
  TwilightSelector(std::int64_t budget, double share, int page, ForcedKeys const& forced)
      : budget_(budget), share_(share), pages_(page), forced_(forced) {}
  int page() const override { return pages_.page(); }
  ForcedKeys forced() const override { return forced_; }
  Projection* projection() override { return &pages_; }
  bool keeps_first() const override { return false; }
  /// Keys that top-p chooses among.
  std::int64_t candidates(std::int64_t k) const { return budget_ > 0 ? budget_ : k; }
  std::int64_t entries_of_budget(std::int64_t k) const override { return Selector::entries_of_budget(candidates(k)); }
  Projection const& estimate() const { return narrow_; }

  /// Places of the fewest of a row's candidates whose softmax over `scores` at `sigma` adds up to p: forced keys, then by score, the first
  /// of equal ones; all of them where p = 1. sink: a learned logit of the denominator, which counts as kept (-infinity: none); it may leave
  /// no key to keep.
  std::vector<std::size_t> top_p(std::span<GlobalIndex const> keys, std::span<float const> scores, KeyRun const& seen, double sigma,
                                 double sink) const {
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (share_ >= 1.0 || order.empty()) return order;
    auto const others = std::partition(order.begin(), order.end(), [&](auto place) { return forced_.holds(keys[place], seen); });
    std::sort(others, order.end(), [&](auto a, auto b) { return scores[a] != scores[b] ? scores[a] > scores[b] : keys[a] < keys[b]; });
    double const top = *std::max_element(scores.begin(), scores.end());
    std::vector<double> weights;
    for (auto const place : order) weights.push_back(std::exp(sigma * (scores[place] - top)));
    double const of_sink = std::exp(sink - sigma * top), enough = share_ * std::accumulate(weights.rbegin(), weights.rend(), of_sink);
    std::size_t kept = others - order.begin();
    double sum = std::accumulate(weights.begin(), weights.begin() + kept, of_sink);
    while (kept < weights.size() && sum < enough) sum += weights[kept++];
    order.resize(kept);
    return order;
  }

 private:
  std::int64_t budget_;
  double share_;
  QuestProjection pages_;
  QuantisedProjection narrow_{KeyFormat::int4};
  ForcedKeys forced_;
};

}  // namespace asymptop
