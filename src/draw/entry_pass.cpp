#include "draw/entry_pass.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "config/errors.hpp"

namespace asymptop {
namespace {

using Space = RunSpace;

/// One chain of fused multiply-adds over the columns, in ascending order.
float product(float const* a, float const* b, int width) {
  float sum = 0.0f;
  for (int c = 0; c < width; ++c) sum = std::fma(a[c], b[c], sum);
  return sum;
}

/// Key `at` of a tile, its numbers one after another.
void copy_key(KeyTile const& tile, std::int64_t at, float* out) {
  if (!tile.packed) {
    std::copy_n(tile.data + at * tile.d, tile.d, out);
    return;
  }
  float const* from = tile.data + at / key_group * key_group * tile.d + at % key_group;
  for (int c = 0; c < tile.d; ++c) out[c] = from[c * key_group];
}

/// Packed entries, as many as a pass takes at a time, with zeros behind them.
class EntryTile {
 public:
  EntryTile(int capacity, int width) : width_(width), capacity_(capacity), data_(packed_size(capacity, width), 0.0f) {}
  int room() const { return capacity_ - fill_; }
  int fill() const { return fill_; }
  KeyTile tile() const { return {data_.data(), width_, true}; }
  void add(int entries) { fill_ += entries; }
  void clear() {
    fill_ = 0;
    std::fill(data_.begin(), data_.end(), 0.0f);
  }
  /// Entry `at`, from any thread.
  void put(int at, float const* entry) {
    float* to = &data_[static_cast<std::size_t>(at / key_group) * key_group * static_cast<std::size_t>(width_)] + at % key_group;
    for (int c = 0; c < width_; ++c) to[c * key_group] = entry[c];
  }

 private:
  int width_, capacity_, fill_ = 0;
  std::vector<float> data_;
};

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
        make(keys, done, now);
        done += now;
        entries_.add(now);
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

  /// `count` entries from the tile's `begin`-th page on.
  void make(KeyTile const& keys, int begin, int count) {
    int const page = projection_.page(), d = rows_.d, width = projection_.width(d), at = entries_.fill();
    // In runs, so that a thread has its room once.
    constexpr int run = 32;
    Kokkos::parallel_for("Asymptop::select::entries", Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, (count + run - 1) / run),
                         [&](int const r) {
                           std::vector<float> page_keys(static_cast<std::size_t>(page) * static_cast<std::size_t>(d)),
                               entry(static_cast<std::size_t>(width));
                           for (int e = r * run; e < std::min(count, (r + 1) * run); ++e) {
                             for (int j = 0; j < page; ++j)
                               copy_key(keys, static_cast<std::int64_t>(begin + e) * page + j,
                                        &page_keys[static_cast<std::size_t>(j) * static_cast<std::size_t>(d)]);
                             projection_.entry(page_keys.data(), page, d, entry.data());
                             entries_.put(at + e, entry.data());
                           }
                         });
    Kokkos::DefaultHostExecutionSpace().fence();
  }

  void flush() {
    phases_.start();
    KeyStep<Space> const step{first_, entries_.fill(), pass_.padded(entries_.fill()), entries_.tile(), {}};
    pass_.add(space_, step, watch());
    first_ += static_cast<LocalIndex>(entries_.fill());
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

/// Projected queries, a row each.
std::vector<float> project(EntryRows const& rows, Projection const& projection) {
  std::size_t const d = rows.d, width = projection.width(rows.d);
  std::vector<float> projected(rows.queries.rows() * width);
  for (std::size_t i = 0; i < rows.queries.rows(); ++i) projection.query(&rows.queries.q[i * d], rows.d, &projected[i * width]);
  return projected;
}

/// Per row, the page of the shard that it sees a part of, if it is whose end is in this shard.
std::vector<std::optional<PackedCandidate>> ragged_entries(EntryRows const& rows, Projection const& projection,
                                                           std::vector<float> const& projected, ShardTensors<Space>& tensors) {
  auto const page = GlobalIndex{projection.page()};
  std::size_t const d = rows.d, width = projection.width(rows.d);
  std::vector<std::optional<PackedCandidate>> found(rows.queries.rows());
  GlobalIndex made = -1;  // rows without a mask share theirs
  std::vector<float> keys(static_cast<std::size_t>(page) * d), entry(width);
  for (std::size_t i = 0; i < found.size(); ++i) {
    auto const visible = rows.queries.visible[i], begin = visible / page * page;
    if (begin == visible || begin < rows.shard.begin || begin >= rows.shard.end) continue;
    if (made != visible) {
      for (auto key = begin; key < visible; ++key) {
        auto* const to = &keys[static_cast<std::size_t>(key - begin) * d];
        if (tensors.resident()) {
          copy_key(tensors.key_tile(0, static_cast<int>(rows.shard.size()), 0), key - rows.shard.begin, to);
        } else {
          tensors.key_of_row(key, to);
        }
      }
      projection.entry(keys.data(), static_cast<int>(visible - begin), rows.d, entry.data());
      made = visible;
    }
    found[i] = pack(product(&projected[i * width], entry.data(), static_cast<int>(width)),
                    static_cast<LocalIndex>((begin - rows.shard.begin) / page));
  }
  return found;
}

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
      if (auto const& more = ragged[static_cast<std::size_t>(row)]) {
        list.insert(std::upper_bound(list.begin(), list.end(), *more, std::greater<>()), *more);
        if (list.size() > static_cast<std::size_t>(keep)) list.pop_back();
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
                           auto const from = begin + static_cast<std::size_t>(r) * run;
                           for (auto at = from; at < std::min(end, from + run); ++at) {
                             auto const& of = wanted[order[at]];
                             copy_key(keys, local(at) - first, key.data());
                             scores[order[at]] = product(&rows.queries.q[static_cast<std::size_t>(of.row) * d], key.data(), rows.d);
                           }
                         });
    Kokkos::DefaultHostExecutionSpace().fence();
  }
  return scores;
}

}  // namespace asymptop
