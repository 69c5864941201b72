// Entries of a selector's order: keys or pages of keys as a projection has them, packed for the fused kernels.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <vector>

#include "draw/orders/entry_pass.hpp"
#include "draw/orders/entry_slopes.hpp"

namespace asymptop {

/// Pages that a row sees a part of, at most two.
inline std::vector<std::int64_t> ragged_pages(KeyRun const& seen, std::int64_t page) {
  std::vector<std::int64_t> pages;
  if (seen.begin % page != 0) pages.push_back(seen.first_page(page));
  auto const last = seen.end_page(page) - 1;
  if (seen.end % page != 0 && (pages.empty() || pages.front() != last)) pages.push_back(last);
  return pages;
}

/// The first d numbers of key `at` of a tile, one after another.
inline void copy_key(KeyTile const& tile, std::int64_t at, int d, float* out) {
  if (!tile.packed) {
    std::copy_n(tile.data + at * tile.d, d, out);
    return;
  }
  float const* from = tile.data + at / key_group * key_group * tile.d + at % key_group;
  for (int c = 0; c < d; ++c) out[c] = from[c * key_group];
}
inline void copy_key(KeyTile const& tile, std::int64_t at, float* out) { copy_key(tile, at, tile.d, out); }

/// Packed entries, as many as a pass takes at a time, with zeros behind them.
class EntryTile {
 public:
  /// key_d: EntryRows::key_d.
  EntryTile(int capacity, int width, int key_d)
      : width_(width), capacity_(capacity), key_d_(key_d), data_(packed_size(capacity, width), 0.0f) {}
  int room() const { return capacity_ - fill_; }
  int fill() const { return fill_; }
  KeyTile tile() const { return {data_.data(), width_, true}; }
  /// `count` more: a tile's pages from the `begin`-th on.
  void fill_from(Projection const& projection, KeyTile const& keys, int begin, int count) {
    int const page = projection.page(), d = key_d_;
    // In runs, so that a thread has its room once.
    constexpr int run = 32;
    Kokkos::parallel_for("Asymptop::select::entries", Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, (count + run - 1) / run),
                         [&](int const r) {
                           std::vector<float> page_keys(page * d), entry(width_);
                           for (int e = r * run; e < std::min(count, (r + 1) * run); ++e) {
                             for (int j = 0; j < page; ++j) copy_key(keys, (begin + e) * page + j, d, &page_keys[j * d]);
                             projection.entry(page_keys.data(), page, d, entry.data());
                             put(fill_ + e, entry.data());
                           }
                         });
    Kokkos::DefaultHostExecutionSpace().fence();
    fill_ += count;
  }
  void clear() {
    fill_ = 0;
    std::fill(data_.begin(), data_.end(), 0.0f);
  }

 private:
  /// Entry `at`, from any thread.
  void put(int at, float const* entry) {
    float* to = &data_[std::int64_t{at / key_group} * key_group * width_] + at % key_group;
    for (int c = 0; c < width_; ++c) to[c * key_group] = entry[c];
  }

  int width_, capacity_, key_d_, fill_ = 0;
  std::vector<float> data_;
};

/// Numbers of a projected query: those of an entry, or of a key with its zeros.
inline int projected_width(EntryRows const& rows, Projection const& projection) {
  return projection.keys_as_they_are() ? rows.d : projection.width(rows.key_d);
}

/// Projected queries, a row each; shared: the sums over the queries that choose together.
inline std::vector<float> project(EntryRows const& rows, Projection const& projection, bool shared) {
  std::size_t const d = rows.d, width = projected_width(rows, projection), count = rows.queries.rows();
  auto const& queries = shared && !rows.queries.of_group.empty() ? rows.queries.of_group : rows.queries.q;
  auto const together = count == 0 ? 1 : queries.size() / (count * d);
  std::vector<float> projected(count * width, 0.0f), one(width, 0.0f);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < together; ++j) {
      projection.query(&queries[(i * together + j) * d], rows.key_d, one.data());
      for (std::size_t c = 0; c < width; ++c) projected[i * width + c] += one[c];
    }
  }
  return projected;
}

/// Per row, the pages of the shard that it sees a part of: those with its first key and with its last one.
inline std::vector<std::vector<PackedCandidate>> ragged_entries(EntryRows const& rows, Projection const& projection,
                                                                std::vector<float> const& projected, EntrySlopes const& slopes,
                                                                ShardTensors<RunSpace>& tensors) {
  auto const page = GlobalIndex{projection.page()};
  int const d = rows.key_d, width = projection.width(d);
  std::vector<std::vector<PackedCandidate>> found(rows.queries.rows());
  KeyRun made(0, 0);  // rows without a mask share theirs
  std::vector<float> keys(page * d), entry(width), key(rows.d);
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (auto const p : ragged_pages(rows.queries.seen(i), page)) {
      auto const part = rows.queries.seen(i).of_page(p, page);
      if (part.begin < rows.shard.begin || part.begin >= rows.shard.end) continue;
      if (made.begin != part.begin || made.end != part.end) {
        for (auto at = part.begin; at < part.end; ++at) {
          auto* const to = &keys[(at - part.begin) * d];
          if (tensors.resident() && tensors.origin().offset.empty()) {
            copy_key(tensors.key_tile(0, checked_int(rows.shard.size()), 0), at - rows.shard.begin, d, to);
          } else {
            tensors.file_key_of_row(at, key.data());
            std::copy_n(key.data(), d, to);
          }
        }
        projection.entry(keys.data(), checked_int(part.size()), d, entry.data());
        made = part;
      }
      float const priority = slopes.added(product(&projected[i * width], entry.data(), width), checked_int(i), part);
      found[i].push_back(pack(priority, local_index(p - rows.shard.begin / page)));
    }
  }
  return found;
}

}  // namespace asymptop
