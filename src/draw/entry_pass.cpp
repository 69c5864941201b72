#include "draw/entry_pass.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "config/errors.hpp"
#include "draw/entries.hpp"

namespace asymptop {
namespace {

using Space = RunSpace;

/// Makes entries of a shard's keys, and takes a pass along them.
class EntryWalk {
 public:
  EntryWalk(Space const& space, EntryRows const& rows, Projection const& projection, KeyPass<Space>& pass, ShardTensors<Space>& tensors,
            PhaseTimes& phases)
      : space_(space),
        rows_(rows),
        projection_(projection),
        pass_(pass),
        tensors_(tensors),
        phases_(phases),
        capacity_(static_cast<int>(pass.step(false)) / key_group * key_group),
        entries_(capacity_, projection.width(rows.d)) {}

  /// Whole pages of the shard's keys [0, size).
  void run() {
    int const page = projection_.page(), unit = std::max(page, key_group);
    auto const size = rows_.shard.size() / page * page;
    KeyWalk walk(size);
    // A block holds whole pages and whole groups, and no step is shorter than a block or 512 keys.
    walk.run(largest_step(rows_.path, rows_.block) / unit * unit, [&](LocalIndex const first, int const count) {
      phases_.between_steps();
      phases_.start();
      auto const keys = tensors_.key_tile(first, count, count);
      for (int done = 0; done < count / page;) {
        int const now = std::min(entries_.room(), count / page - done);
        entries_.fill_from(projection_, keys, done, now);
        done += now;
        phases_.stop(Phase::generate);
        if (entries_.room() == 0) flush();
      }
    });
    if (entries_.fill() > 0) flush();
    pass_.finish(space_, watch());
  }

 private:
  StepWatch watch() {
    return {[this](PathPart) { phases_.stop(Phase::select); }, {}};
  }

  void flush() {
    phases_.start();
    KeyStep<Space> const step{first_, entries_.fill(), pass_.padded(entries_.fill()), entries_.tile(), {}};
    pass_.add(space_, step, watch());
    first_ += entries_.fill();
    entries_.clear();
  }

  Space const& space_;
  EntryRows const& rows_;
  Projection const& projection_;
  KeyPass<Space>& pass_;
  ShardTensors<Space>& tensors_;
  PhaseTimes& phases_;
  int capacity_;
  EntryTile entries_;
  LocalIndex first_ = 0;
};

}  // namespace

RowHead entry_heads(Space const& space, EntryRows const& rows, Projection const& projection, int keep, ShardTensors<Space>& tensors,
                    PhaseTimes& phases) {
  if constexpr (!is_host_space<Space>) {
    throw RunError("selectors other than score, window and random run on hosts");
  } else {
    auto const projected = project(rows, projection);
    PathRows entries{static_cast<int>(rows.queries.rows()), projection.width(rows.d), projected.data(), {}, {}, {}};
    for (auto const visible : rows.queries.visible)
      entries.limit.push_back(std::clamp<std::int64_t>(visible - rows.shard.begin, 0, rows.shard.size()) / projection.page());
    // BLAS would round a page's priority by its place in the shard, which depends on the ranks.
    auto const& path = projection.keys_as_they_are() ? rows.path : path_in_pieces();
    std::shared_ptr<PathBatch<Space>> const batch = make_path_batch(path, space, entries, tile_sizes(space, rows.block));
    if (projection.keys_as_they_are()) {
      KeyWalk walk(rows.shard.size());
      auto const shard = first_pass(space, *batch, tensors, keep, false, walk, phases);
      return [batch, head = shard.head](int row) { return head(row); };
    }
    auto const pass = batch->first_pass(space, {keep, false});
    EntryWalk(space, rows, projection, *pass, tensors, phases).run();
    auto const ragged = ragged_entries(rows, projection, projected, tensors);
    return [batch, keep, ragged, head = pass->heads(space)](int row) {
      auto list = head(row);
      if (auto const& more = ragged[row]) {
        list.insert(std::upper_bound(list.begin(), list.end(), *more, std::greater<>()), *more);
        if (std::ssize(list) > keep) list.pop_back();
      }
      return list;
    };
  }
}

std::vector<float> scores_of(EntryRows const& rows, std::vector<WantedScore> const& wanted, ShardTensors<Space>& tensors) {
  std::vector<std::size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return wanted[a].key < wanted[b].key; });
  std::vector<float> scores(wanted.size());
  std::size_t const d = rows.d;
  auto const longest = tensors.resident() ? std::max<GlobalIndex>(1, rows.shard.size()) : largest_step(rows.path, rows.block);
  auto const local = [&](std::size_t at) { return wanted[order[at]].key - rows.shard.begin; };
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    auto const first = local(begin) / longest * longest, count = std::min(longest, rows.shard.size() - first);
    while (end < order.size() && local(end) < first + count) ++end;
    auto const keys = tensors.key_tile(static_cast<LocalIndex>(first), static_cast<int>(count), static_cast<int>(count));
    constexpr std::size_t run = 64;
    Kokkos::parallel_for("Asymptop::select::scores",
                         Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, static_cast<int>((end - begin + run - 1) / run)),
                         [&](int const r) {
                           std::vector<float> key(d);
                           auto const from = begin + r * run;
                           for (auto at = from; at < std::min(end, from + run); ++at) {
                             auto const& of = wanted[order[at]];
                             copy_key(keys, local(at) - first, key.data());
                             scores[order[at]] = product(&rows.queries.q[of.row * d], key.data(), rows.d);
                           }
                         });
    Kokkos::DefaultHostExecutionSpace().fence();
  }
  return scores;
}

void add_outputs(EntryRows const& rows, std::vector<WantedOutput> wanted, std::vector<double> const& sigmas,
                 std::vector<float> const& references, FixedPoint const& factor, ShardTensors<Space>& tensors, KeptOutputs& outputs) {
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
