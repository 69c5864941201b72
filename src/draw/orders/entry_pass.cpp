#include "draw/orders/entry_pass.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "config/errors.hpp"
#include "draw/orders/entries.hpp"
#include "draw/orders/key_scores.hpp"

namespace asymptop {

namespace {

/// From so many wanted scores in all that there are, all are made as a matrix, which costs so much less for each (measured, d = 64).
constexpr std::size_t dense_one_in = 50;

/// Wanted scores by the step of a walk over the shard in which their keys are.
struct ByStep {
  std::vector<std::size_t> begin, order;  ///< per step, and the end; places in `wanted`
  ByStep(std::vector<WantedScore> const& wanted, Range const& shard, int step) {
    std::uint32_t const keys = step;
    auto const step_of = [&](WantedScore const& of) { return local_index(of.key - shard.begin) / keys; };
    begin.assign((shard.size() + step - 1) / step + 2, 0);
    for (auto const& of : wanted) ++begin[step_of(of) + 2];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    order.resize(wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) order[begin[step_of(wanted[i]) + 1]++] = i;
    begin.pop_back();
  }
};

}  // namespace

std::vector<float> scores_of(EntryRows const& rows, std::vector<WantedScore> const& wanted, ShardTensors<RunSpace>& tensors,
                             PhaseTimes& phases, Projection const* estimate) {
  using Host = Kokkos::DefaultHostExecutionSpace;
  std::vector<float> scores(wanted.size());
  if (wanted.empty()) return scores;
  std::vector<int> asked, place_of_row(rows.queries.rows(), -1);
  for (auto const& of : wanted) {
    if (place_of_row[of.row] >= 0) continue;
    place_of_row[of.row] = int_size(asked);
    asked.push_back(of.row);
  }
  int const step = largest_step(rows.path, rows.block) / key_group * key_group;
  ByStep const by_step(wanted, rows.shard, step);
  std::size_t const d = rows.d;
  bool const narrow = estimate != nullptr && !estimate->keys_as_they_are();
  int const width = estimate != nullptr ? projected_width(rows, *estimate) : rows.d;
  auto const queries = estimate != nullptr ? project(rows, *estimate, false) : std::vector<float>{};
  float const* const query = estimate != nullptr ? queries.data() : rows.queries.q.data();
  KeyScores all(rows, asked, step, tensors, phases);
  phases.stop(Phase::score);
  for (std::size_t s = 0; s + 1 < by_step.begin.size(); ++s) {
    auto const begin = by_step.begin[s], end = by_step.begin[s + 1];
    if (begin == end) continue;
    GlobalIndex const first = s * step;
    int const count = count_within(rows.shard.size() - first, step);
    auto keys = all.step(local_index(first), count);
    bool const dense = estimate == nullptr && (end - begin) * dense_one_in > asked.size() * count;
    if (dense) all.score(keys, count);
    if (estimate != nullptr && !estimate->true_products()) keys = all.as_they_are(keys, count);
    Host().fence();
    std::size_t const run = dense ? 4096 : 64;
    Kokkos::parallel_for("Asymptop::select::scores", Kokkos::RangePolicy<Host>(0, (end - begin + run - 1) / run), [&](int const r) {
      std::vector<float> key(d), copy(narrow ? width : 0);
      auto const from = begin + r * run;
      for (auto at = from; at < std::min(end, from + run); ++at) {
        auto const& of = wanted[by_step.order[at]];
        auto const local = of.key - rows.shard.begin - first;
        auto& score = scores[by_step.order[at]];
        if (dense) {
          score = all.of_row(place_of_row[of.row])[local];
          continue;
        }
        copy_key(keys, local, key.data());
        if (narrow) estimate->entry(key.data(), 1, rows.key_d, copy.data());
        score = rows.score_of(product(query + std::int64_t{of.row} * width, narrow ? copy.data() : key.data(), width), of.row, of.key);
      }
    });
    Host().fence();
    phases.stop(Phase::score);
  }
  return scores;
}

void add_outputs(EntryRows const& rows, std::vector<WantedOutput> wanted, std::vector<double> const& sigmas,
                 std::vector<float> const& references, FixedPoint const& factor, ShardTensors<RunSpace>& tensors, KeptOutputs& outputs) {
  auto const longest = tensors.resident() ? std::max<GlobalIndex>(1, rows.shard.size()) : largest_step(rows.path, rows.block);
  auto const step_of = [&](WantedOutput const& of) { return (of.key - rows.shard.begin) / longest; };
  std::sort(wanted.begin(), wanted.end(), [&](auto const& a, auto const& b) {
    auto const x = step_of(a), y = step_of(b);
    return x != y ? x < y : a.row != b.row ? a.row < b.row : a.key < b.key;
  });
  std::size_t const d = rows.d;
  for (std::size_t begin = 0, end = 0; begin < wanted.size(); begin = end) {
    auto const first = step_of(wanted[begin]) * longest;
    int const count = checked_int(std::min(longest, rows.shard.size() - first));
    std::vector<std::size_t> of_row;  // a row's keys lie together: one thread adds them up
    for (end = begin; end < wanted.size() && step_of(wanted[end]) * longest == first; ++end) {
      if (end == begin || wanted[end].row != wanted[end - 1].row) of_row.push_back(end);
    }
    of_row.push_back(end);
    auto const keys = tensors.key_tile(local_index(first), count, count);
    auto const values = tensors.values(local_index(first), count, count);
    Kokkos::parallel_for("Asymptop::select::outputs", Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, of_row.size() - 1),
                         [&](int const r) {
                           std::vector<float> key(d);
                           for (auto at = of_row[r]; at < of_row[r + 1]; ++at) {
                             auto const& of = wanted[at];
                             std::size_t const row = of.row, local = of.key - rows.shard.begin - first;
                             copy_key(keys, local, key.data());
                             auto const budget = row * outputs.budgets + of.budget;
                             float const score = rows.score(row, key.data(), of.key);
                             double const s = score - double{references[budget]};
                             for (std::size_t law = 0; law < outputs.laws; ++law) {
                               double const weight = std::exp(sigmas[law] * s);
                               auto* const to = &outputs.sums[((row * outputs.laws + law) * outputs.budgets + of.budget) * outputs.width];
                               for (std::size_t c = 0; c < d; ++c) to[c] += to_fixed(weight * values(local, c), factor.value);
                               to[d] += to_fixed(weight, factor.weight);
                             }
                           }
                         });
    Kokkos::DefaultHostExecutionSpace().fence();
  }
}

}  // namespace asymptop
