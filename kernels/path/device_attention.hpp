// Exact attention on the path of a GPU: units of keys by split products (device/attention.hpp), joined there along the softmax tree.
#pragma once

#ifdef ASYMPTOP_DEVICE

#include <algorithm>
#include <cstdint>
#include <memory>
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
  DeviceExact(DeviceRows const& rows, Options const& options)
      : rows_(rows),
        options_(options),
        unit_(attention_unit(options.leaf, options.block)),
        first_unit_(options.first_leaf / (unit_ / options.leaf)),
        runs_(rows.ranges.size()),
        seen_(rows.ranges.size(), 0) {}
  GlobalIndex step(bool resident) const override {
    return resident ? GlobalIndex{1} << 30 : GlobalIndex{device_step} / device::most_unit * device::most_unit;
  }
  bool wants_on_device() const override { return true; }
  bool wants_split() const override { return true; }
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    // Rows whose units' sums take a gigabyte at most.
    auto const rows = rows_.ranges.size(), units = (static_cast<std::size_t>(keys.count) + static_cast<std::size_t>(unit_) - 1) / unit_;
    auto const of_row = units * (static_cast<std::size_t>(rows_.d) + 3) * sizeof(float);
    auto const most = std::max<std::size_t>(1024, (std::size_t{1} << 30) / of_row / 1024 * 1024);
    load_ranges(keys.first, keys.count);
    for (std::size_t first = 0; first < rows; first += most) add_rows(space, keys, first, std::min(most, rows - first));
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

  void add_rows(Space const& space, KeyStep<Space> const& keys, std::size_t first_row, std::size_t rows) {
    auto const plan = device::plan_attention(static_cast<int>(rows), keys.count, rows_.d, unit_, device::gpu().multiprocessors);
    auto const first_unit = first_unit_ + keys.first / unit_;
    bool const open_end = (first_unit * unit_) + keys.count >= options_.n;
    struct Place {
      std::int64_t unit;
      int level;
    };
    std::vector<Place> places;
    device::visit_nodes(first_unit, plan.units, open_end, [&](std::int64_t unit, int level) { places.push_back({unit, level}); });
    auto const count = static_cast<int>(places.size());
    make_room(query_tiles_, plan.query_bytes);
    make_room(query_scales_, plan.query_bytes);  // more than enough
    auto const units = nodes_in(unit_nodes_, rows, plan.units), joined = nodes_in(joined_nodes_, rows, count);
    auto const* const limits = limits_.as<std::int64_t>() + first_row;
    device::attend_units(nullptr, plan,
                         {rows_.queries.as<float>() + first_row * static_cast<std::size_t>(rows_.d), limits,
                          from_.bytes() > 0 ? from_.as<std::int64_t>() + first_row : nullptr, options_.sigma, keys.on_device.split,
                          query_tiles_.as<unsigned char>(), query_scales_.as<float>(), units});
    device::join_units(nullptr, units, first_unit, open_end);
    device::gather_nodes(nullptr, units, first_unit, open_end, joined);
    take(space, joined, first_row, first_unit, places);
  }

  /// From the device to runs of the rows.
  template <class Places>
  void take(Space const& space, device::AttentionNodes const& nodes, std::size_t first_row, std::int64_t first_unit, Places const& places) {
    std::size_t const all = bytes_of(static_cast<std::size_t>(nodes.rows), nodes.units);
    if (landing_ == nullptr || landing_bytes_ < all) {
      landing_ = std::make_unique<device::HostMemory>(all);
      landing_bytes_ = all;
    }
    device::download(nullptr, landing_->as<void>(), joined_nodes_.as<float>(), all);
    auto const here = nodes_at(landing_->as<float>(), static_cast<std::size_t>(nodes.rows), nodes.units);
    int level_of_unit = 0;
    while (options_.leaf << level_of_unit < unit_) ++level_of_unit;
    auto* const self = this;
    auto const* const where = &places;
    Kokkos::parallel_for("Asymptop::path::attention_runs", Kokkos::RangePolicy<Space>(space, 0, nodes.rows), [=](int const row) {
      for (int node = 0; node < here.units; ++node) {
        auto const at = std::int64_t{row} * here.units + node;
        if (here.weight[at] == 0.0f) continue;
        auto const& place = (*where)[static_cast<std::size_t>(node)];
        SoftmaxNode const found{(first_unit + place.unit) << level_of_unit, place.level + level_of_unit, here.max[at], here.weight[at]};
        self->runs_[first_row + static_cast<std::size_t>(row)].push(found, here.values + at * here.d, here.d);
        self->seen_[first_row + static_cast<std::size_t>(row)] += here.seen[at];
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

  DeviceRows const& rows_;
  Options options_;
  int unit_;
  std::int64_t first_unit_;  ///< of the shard's first key
  std::vector<SoftmaxRun> runs_;
  std::vector<std::int64_t> seen_;
  KeyRanges step_ranges_;
  device::Memory limits_, from_, query_tiles_, query_scales_, unit_nodes_, joined_nodes_;
  std::unique_ptr<device::HostMemory> landing_;
  std::size_t landing_bytes_ = 0;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop

#endif
