#include "draw/entry_pass.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "config/errors.hpp"
#include "draw/entries.hpp"

namespace asymptop {

std::vector<float> scores_of(EntryRows const& rows, std::vector<WantedScore> const& wanted, ShardTensors<RunSpace>& tensors,
                             Projection const* estimate) {
  std::vector<std::size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return wanted[a].key < wanted[b].key; });
  std::vector<float> scores(wanted.size());
  std::size_t const d = rows.d;
  bool const narrow = estimate != nullptr && !estimate->keys_as_they_are();
  int const width = estimate != nullptr ? estimate->width(rows.d) : rows.d;
  auto const queries = estimate != nullptr ? project(rows, *estimate, false) : rows.queries.q;
  auto const longest = tensors.resident() ? std::max<GlobalIndex>(1, rows.shard.size()) : largest_step(rows.path, rows.block);
  auto const local = [&](std::size_t at) { return wanted[order[at]].key - rows.shard.begin; };
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    auto const first = local(begin) / longest * longest, count = std::min(longest, rows.shard.size() - first);
    while (end < order.size() && local(end) < first + count) ++end;
    auto const keys = tensors.key_tile(static_cast<LocalIndex>(first), static_cast<int>(count), static_cast<int>(count));
    constexpr std::size_t run = 64;
    Kokkos::parallel_for(
        "Asymptop::select::scores",
        Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, static_cast<int>((end - begin + run - 1) / run)), [&](int const r) {
          std::vector<float> key(d), copy(narrow ? width : 0);
          auto const from = begin + r * run;
          for (auto at = from; at < std::min(end, from + run); ++at) {
            auto const& of = wanted[order[at]];
            copy_key(keys, local(at) - first, key.data());
            if (narrow) estimate->entry(key.data(), 1, rows.d, copy.data());
            scores[order[at]] = product(&queries[static_cast<std::size_t>(of.row) * width], narrow ? copy.data() : key.data(), width);
          }
        });
    Kokkos::DefaultHostExecutionSpace().fence();
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
    auto const first = step_of(wanted[begin]) * longest, count = std::min(longest, rows.shard.size() - first);
    std::vector<std::size_t> of_row;  // a row's keys lie together: one thread adds them up
    for (end = begin; end < wanted.size() && step_of(wanted[end]) * longest == first; ++end) {
      if (end == begin || wanted[end].row != wanted[end - 1].row) of_row.push_back(end);
    }
    of_row.push_back(end);
    auto const keys = tensors.key_tile(static_cast<LocalIndex>(first), static_cast<int>(count), static_cast<int>(count));
    auto const values = tensors.values(static_cast<LocalIndex>(first), static_cast<int>(count), static_cast<int>(count));
    Kokkos::parallel_for("Asymptop::select::outputs",
                         Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, static_cast<int>(of_row.size()) - 1), [&](int const r) {
                           std::vector<float> key(d);
                           for (auto at = of_row[r]; at < of_row[r + 1]; ++at) {
                             auto const& of = wanted[at];
                             std::size_t const row = of.row, local = of.key - rows.shard.begin - first;
                             copy_key(keys, local, key.data());
                             auto const budget = row * outputs.budgets + of.budget;
                             float const score = product(&rows.queries.q[row * d], key.data(), rows.d);
                             double const s = score - static_cast<double>(references[budget]);
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
