#include "row/pruned_row.hpp"

#include <algorithm>
#include <cmath>

namespace asymptop {

PrunedRow::PrunedRow(OwnedRow const& row) : row_(row), rank_of_(row.head) {}

double PrunedRow::tail_mass(std::vector<KeptKey> const& kept, double sigma, std::size_t law) const {
  if (std::ssize(kept) == row_.visible) return 0.0;
  auto const exponential = [&](float score) { return std::exp(sigma * (double{score} - row_.score_max)); };
  std::vector<char> taken(row_.head.size(), 0);
  double rest = row_.beyond.sums[law].z1, head = 0.0;
  for (auto const& of : kept) {
    if (auto const rank = rank_of_(of.key); rank != HeadRanks::none) {
      taken[rank] = 1;
    } else {
      rest -= exponential(of.score);
    }
  }
  for (auto rank = row_.head.size(); rank-- > 0;) head += taken[rank] != 0 ? 0.0 : exponential(row_.head[rank].score);
  return (head + std::max(rest, 0.0)) / row_.evaluation.laws[law].z;
}

}  // namespace asymptop
