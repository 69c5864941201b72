// Exact attention on the path of a GPU: units of keys by split products (device/attention.hpp), joined there along the softmax tree.
#pragma once

#ifdef ASYMPTOP_DEVICE

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "../device/memory.hpp"
#include "device_second.hpp"
#include "fused.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// Keys of a unit of which every shard of blocks has whole ones; 0 where there is none that the device takes.
inline int attention_unit(int leaf, GlobalIndex block) {
  GlobalIndex unit = leaf;
  while (unit * 2 <= device::most_unit && block % (unit * 2) == 0) unit *= 2;
  return unit >= device::least_unit && unit % device::tile_keys == 0 ? static_cast<int>(unit) : 0;
}

/// Steps in any order; each begins a unit.
template <class Space>
class DeviceExact final : public AttentionPass<Space> {
 public:
  using Options = typename AttentionPass<Space>::Options;
  static bool takes(DeviceRows const& rows, Options const& options) {
    return rows.softcap <= 0.0 && rows.d <= device::most_attention_columns && attention_unit(options.leaf, options.block) > 0;
  }
  DeviceExact(std::shared_ptr<DeviceRows const> rows, Options const& options)
      : owned_(std::move(rows)),
        rows_(*owned_),
        options_(options),
        unit_(attention_unit(options.leaf, options.block)),
        first_unit_(options.first_leaf / (unit_ / options.leaf)),
        runs_(rows_.ranges.size()),
        seen_(rows_.ranges.size(), 0) {}
  GlobalIndex step(bool resident) const override {
    return resident ? GlobalIndex{1} << 30 : GlobalIndex{device_step} / device::most_unit * device::most_unit;
  }
  bool wants_on_device() const override { return true; }
  bool wants_split() const override { return true; }
  /// Rows go in chunks, so that the host takes the nodes of one while the device has the next.
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    auto const rows = rows_.ranges.size(), units = (static_cast<std::size_t>(keys.count) + static_cast<std::size_t>(unit_) - 1) / unit_;
    constexpr std::size_t chunk_bytes = std::size_t{1} << 28, whole = 1024;
    auto const most = std::max(whole, chunk_bytes / bytes_of(1, static_cast<int>(units)) / whole * whole);
    load_ranges(keys.first, keys.count);
    Chunk const* before = nullptr;
    for (std::size_t first = 0, i = 0; first < rows; first += most, ++i) {
      auto& chunk = chunks_[i % 2];
      begin(chunk, keys, first, std::min(most, rows - first));
      if (before != nullptr) take(space, *before, watch);
      before = &chunk;
    }
    if (before != nullptr) take(space, *before, watch);
    watch.done(PathPart::attend);
  }
  std::variant<AttentionRuns, AttentionSums> parts() const override {
    return AttentionRuns{rows_.d, [this](int row) -> SoftmaxRun const& { return runs_[row]; }, [this](int row) { return seen_[row]; }};
  }
  void clear(Space const&) override {
    std::fill(seen_.begin(), seen_.end(), 0);
    for (auto& run : runs_) run.clear();
  }

 private:
  /// Rows' ranges counted from the step's first key.
  void load_ranges(LocalIndex first, int count) {
    KeyRanges const ranges = rows_.ranges.counted_from(first, count);
    if (limits_.bytes() > 0 && ranges.limit == step_ranges_.limit && ranges.from == step_ranges_.from) return;
    limits_ = device::copied(ranges.limit);
    from_ = device::copied(ranges.from);
    step_ranges_ = ranges;
  }

  /// Rows whose nodes come to the host together.
  struct Chunk {
    struct Place {
      std::int64_t unit;
      int level;
    };
    std::size_t first_row = 0;
    device::AttentionNodes nodes{};  ///< on the host, once `landed`
    std::vector<Place> places;       ///< of a row's nodes
    device::Memory units, joined;
    std::unique_ptr<device::HostMemory> landing;
    std::size_t landing_bytes = 0;
    device::Mark landed;
  };

  void begin(Chunk& chunk, KeyStep<Space> const& keys, std::size_t first_row, std::size_t rows) {
    auto const plan = device::plan_attention(static_cast<int>(rows), keys.count, rows_.d, unit_, device::gpu().multiprocessors);
    auto const first_unit = first_unit_ + keys.first / unit_;
    bool const open_end = (first_unit * unit_) + keys.count >= options_.n;
    chunk.first_row = first_row;
    chunk.places.clear();
    device::visit_nodes(first_unit, plan.units, open_end, [&](std::int64_t unit, int level) {
      chunk.places.push_back({first_unit + unit, level});
    });
    auto const count = static_cast<int>(chunk.places.size());
    make_room(query_tiles_, plan.query_bytes);
    make_room(query_scales_, plan.query_bytes);  // more than enough
    auto const units = nodes_in(chunk.units, rows, plan.units), joined = nodes_in(chunk.joined, rows, count);
    device::attend_units(nullptr, plan,
                         {rows_.queries.as<float>() + first_row * static_cast<std::size_t>(rows_.d), limits_.as<std::int64_t>() + first_row,
                          from_.bytes() > 0 ? from_.as<std::int64_t>() + first_row : nullptr, options_.sigma, keys.on_device.split,
                          query_tiles_.as<unsigned char>(), query_scales_.as<float>(), units});
    device::join_units(nullptr, units, first_unit, open_end);
    device::gather_nodes(nullptr, units, first_unit, open_end, joined);
    auto const bytes = bytes_of(rows, count);
    if (chunk.landing_bytes < bytes) {
      chunk.landing = std::make_unique<device::HostMemory>(bytes);
      chunk.landing_bytes = bytes;
    }
    device::begin_download(nullptr, *chunk.landing, chunk.joined.template as<void>(), bytes);
    chunk.nodes = nodes_at(chunk.landing->template as<float>(), rows, count);
    chunk.landed.set(nullptr);
  }

  /// To the runs of its rows.
  void take(Space const& space, Chunk const& chunk, StepWatch const& watch) {
    while (!chunk.landed.reached()) {
      if (watch.between) watch.between();
    }
    int level_of_unit = 0;
    while (options_.leaf << level_of_unit < unit_) ++level_of_unit;
    auto const here = chunk.nodes;
    auto* const self = this;
    auto const* const of = &chunk;
    Kokkos::parallel_for("Asymptop::path::attention_runs", Kokkos::RangePolicy<Space>(space, 0, here.rows), [=](int const row) {
      auto const to = of->first_row + static_cast<std::size_t>(row);
      for (int node = 0; node < here.units; ++node) {
        auto const at = std::int64_t{row} * here.units + node;
        if (here.weight[at] == 0.0f) continue;
        auto const& place = of->places[static_cast<std::size_t>(node)];
        SoftmaxNode const found{place.unit << level_of_unit, place.level + level_of_unit, here.max[at], here.weight[at]};
        self->runs_[to].push(found, here.values + at * here.d, here.d);
        self->seen_[to] += here.seen[at];
      }
    });
    space.fence();
  }

  std::size_t bytes_of(std::size_t rows, int units) const {
    return rows * static_cast<std::size_t>(units) * static_cast<std::size_t>(rows_.d + 3) * sizeof(float);
  }
  device::AttentionNodes nodes_in(device::Memory& memory, std::size_t rows, int units) const {
    make_room(memory, bytes_of(rows, units));
    return nodes_at(memory.as<float>(), rows, units);
  }
  device::AttentionNodes nodes_at(float* memory, std::size_t rows, int units) const {
    auto const each = rows * static_cast<std::size_t>(units);
    return {memory, memory + each, reinterpret_cast<int*>(memory + 2 * each), memory + 3 * each, static_cast<int>(rows), units, rows_.d};
  }

  std::shared_ptr<DeviceRows const> owned_;
  DeviceRows const& rows_;
  Options options_;
  int unit_;
  std::int64_t first_unit_;  ///< of the shard's first key
  std::vector<SoftmaxRun> runs_;
  std::vector<std::int64_t> seen_;
  KeyRanges step_ranges_;
  device::Memory limits_, from_, query_tiles_, query_scales_;
  std::array<Chunk, 2> chunks_;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop

#endif
