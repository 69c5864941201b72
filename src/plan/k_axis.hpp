// The k of a case: what each law gives at n, and the axis that they make.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "config/law.hpp"

namespace asymptop {

/// Fills k_law, k_of_law and k_clipped of a case, and k: its different values, ascending. Throws UsageError for a law that fails at n.
template <class Case>
void set_k(Case& c, std::vector<Law> const& laws, std::int64_t n) {
  for (auto const& k : laws) {
    auto const rank = rank_at(k, n);
    c.k_law.push_back(k.text());
    c.k_of_law.push_back(rank.k);
    c.k_clipped = c.k_clipped || rank.clipped;
  }
  c.k = c.k_of_law;
  std::sort(c.k.begin(), c.k.end());
  c.k.erase(std::unique(c.k.begin(), c.k.end()), c.k.end());
}

}  // namespace asymptop
