// One row of scores as its owner sees it: head, bins, and answers of a second pass over the keys of several ranks.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "row/row_metrics.hpp"

namespace asymptop::test {

/// The `keep` best of all scores in the total order.
inline std::vector<Candidate> head_of(std::vector<float> const& scores, std::int64_t keep) {
  std::vector<Candidate> head;
  for (std::size_t j = 0; j < scores.size(); ++j) head.push_back({scores[j], static_cast<GlobalIndex>(j)});
  std::sort(head.begin(), head.end(), before);
  head.resize(std::min(head.size(), static_cast<std::size_t>(keep)));
  return head;
}

/// The row's bins, with two to spare at either end.
inline RowBins bins_of(std::vector<float> const& scores, double bins_per_unit) {
  auto const [low, high] = std::minmax_element(scores.begin(), scores.end());
  RowBins row;
  row.grid.bins_per_unit = static_cast<float>(bins_per_unit);
  row.first_bin = static_cast<int>(std::floor(static_cast<double>(*low) * bins_per_unit)) - 2;
  row.grid.count = static_cast<int>(std::ceil(static_cast<double>(*high) * bins_per_unit)) + 3 - row.first_bin;
  row.bins.resize(static_cast<std::size_t>(row.grid.count));
  for (float const s : scores) {
    auto const binned = bin_score(s, row.grid, row.first_bin);
    auto& bin = row.bins[static_cast<std::size_t>(binned.bin)];
    bin.count += 1;
    bin.first += binned.r;
    bin.second += binned.r2;
  }
  return row;
}

/// What a second pass on `ranks` ranks finds for a probe: each collects up to its share of the capacity and counts the rest.
inline ProbeAnswer answer_of(Probe const& probe, std::vector<float> const& scores, RowBins const& grid, int ranks) {
  ProbeAnswer answer;
  auto const n = static_cast<std::int64_t>(scores.size());
  for (int r = 0; r < ranks; ++r) {
    auto const begin = n * r / ranks, end = n * (r + 1) / ranks;
    auto const capacity = std::min({probe.capacity, n, end - begin});
    std::int64_t filled = 0;
    for (auto j = begin; j < end; ++j) {
      float const s = scores[static_cast<std::size_t>(j)];
      auto const binned = bin_score(s, grid.grid, grid.first_bin);
      if (binned.bin != probe.bin) continue;
      if (s > probe.high) {
        answer.above.count += 1;
        answer.above.first += binned.r;
        answer.above.second += binned.r2;
      } else if (s > probe.low) {
        if (filled++ < capacity) answer.collected.push_back(s);
      }
    }
    answer.inside += filled;
  }
  return answer;
}

/// Rounds of the second pass until nothing is open, at most `most`. Probes that stay open are left in the evaluation.
inline int settle_all(RowEvaluation& evaluation, std::vector<float> const& scores, RowBins const& bins, MetricAxes const& axes,
                      float score_max, int ranks, int most) {
  RowBins const grid_only{bins.grid, bins.first_bin, {}};
  int round = 0;
  for (; !evaluation.open.empty() && round < most; ++round) {
    std::vector<Probe> still_open;
    for (auto& probe : evaluation.open) {
      auto answer = answer_of(probe, scores, bins, ranks);
      auto const law = static_cast<std::size_t>(probe.law);
      if (!settle(probe, answer, grid_only, evaluation.laws[law], axes.sigma[law], static_cast<double>(score_max)))
        still_open.push_back(probe);
    }
    evaluation.open = still_open;
  }
  return round;
}

}  // namespace asymptop::test
