// Exact attention on the paths of a GPU: units of keys by products on tensor cores (device/attention.hpp), joined there along the softmax
// tree.
#pragma once

#ifdef ASYMPTOP_DEVICE

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "../core/counts.hpp"
#include "../device/memory.hpp"
#include "device_nodes.hpp"
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
  DeviceExact(std::shared_ptr<DeviceRows const> rows, Options const& options, device::Numbers numbers)
      : numbers_(numbers),
        owned_(std::move(rows)),
        rows_(*owned_),
        options_(options),
        unit_(attention_unit(options.leaf, options.block)),
        first_unit_(options.first_leaf / (unit_ / options.leaf)),
        nodes_(rows_.ranges.size(), rows_.d) {}
  GlobalIndex step(bool resident) const override {
    return resident ? GlobalIndex{1} << 30 : GlobalIndex{device_step} / device::most_unit * device::most_unit;
  }
  bool wants_on_device() const override { return true; }
  device::Numbers wants_split() const override { return numbers_; }
  void add(Space const&, KeyStep<Space> const& keys, StepWatch const& watch) override {
    auto const first_unit = first_unit_ + keys.first / unit_;
    int const units = (keys.count + unit_ - 1) / unit_;
    bool const open_end = (first_unit * unit_) + keys.count >= options_.n;
    load_ranges(keys.first, keys.count);
    std::vector<Node> fresh;
    device::visit_nodes(first_unit, units, open_end, [&](std::int64_t unit, int level) {
      fresh.push_back({first_unit + unit, level, nodes_.room()});
    });
    // Units' sums of so many rows are in memory at once.
    constexpr std::size_t most_bytes = std::size_t{1} << 29, whole = 1024;
    auto const most = std::max(whole, most_bytes / nodes_.bytes_of(1, units) / whole * whole);
    for (std::size_t row = 0; row < rows_.ranges.size(); row += most)
      attend(keys, row, std::min(most, rows_.ranges.size() - row), first_unit, open_end, fresh);
    for (auto& node : fresh) nodes_.insert(std::move(node));
    done_.set(nullptr);
    while (watch.between && !done_.reached()) watch.between();
    watch.done(PathPart::attend);
  }
  /// Takes nodes from the device.
  std::variant<AttentionRuns, AttentionSums> parts() const override {
    runs_.assign(rows_.ranges.size(), {});
    seen_.assign(rows_.ranges.size(), 0);
    for (auto const& node : nodes_.all()) take(node);
    return AttentionRuns{rows_.d, [this](int row) -> SoftmaxRun const& { return runs_[row]; }, [this](int row) { return seen_[row]; }};
  }
  bool outputs(AttentionOutputs const& to) override { return nodes_.finish(Space(), to.output, to.log_sum_exp, to.seen); }
  DeviceNodes* nodes_on_device() override { return &nodes_; }
  void clear(Space const&) override { nodes_.clear(); }

 private:
  /// Rows' ranges counted from the step's first key.
  void load_ranges(LocalIndex first, int count) {
    KeyRanges const ranges = rows_.ranges.counted_from(first, count);
    if (limits_.bytes() > 0 && ranges.limit == step_ranges_.limit && ranges.from == step_ranges_.from) return;
    limits_ = device::copied(ranges.limit);
    from_ = device::copied(ranges.from);
    step_ranges_ = ranges;
  }

  using Node = DeviceNodes::Node;

  void attend(KeyStep<Space> const& keys, std::size_t first_row, std::size_t rows, std::int64_t first_unit, bool open_end,
              std::vector<Node> const& fresh) {
    auto const plan = device::plan_attention(numbers_, checked_int(rows), keys.count, rows_.d, unit_, device::gpu().multiprocessors);
    make_room(query_tiles_, plan.query_bytes);
    make_room(query_scales_, plan.scale_bytes);
    make_room(units_, nodes_.bytes_of(rows, plan.units));
    auto const units = nodes_.at(units_.as<float>(), rows, plan.units);
    device::attend_units(nullptr, plan,
                         {rows_.queries.as<float>() + first_row * rows_.d, limits_.as<std::int64_t>() + first_row,
                          from_.bytes() > 0 ? from_.as<std::int64_t>() + first_row : nullptr, options_.sigma, keys.on_device.split,
                          query_tiles_.as<unsigned char>(), query_scales_.as<float>(), units});
    device::join_units(nullptr, units, first_unit, open_end);
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      auto const unit = checked_int(fresh[i].unit - first_unit);
      int const end = i + 1 < fresh.size() ? checked_int(fresh[i + 1].unit - first_unit) : plan.units;
      device::take_node(nullptr, units, unit, end, nodes_.part(fresh[i], first_row, rows));
    }
  }

  /// To the runs of its rows.
  void take(Node const& node) const {
    device::HostMemory const landing(node.memory.bytes());
    device::download(nullptr, landing.as<void>(), node.memory.template as<void>(), node.memory.bytes());
    auto const here = nodes_.at(landing.as<float>(), rows_.ranges.size(), 1);
    int level_of_unit = 0;
    while (options_.leaf << level_of_unit < unit_) ++level_of_unit;
    auto* const self = this;
    auto const* const of = &node;
    Space const space;
    Kokkos::parallel_for("Asymptop::path::attention_runs", Kokkos::RangePolicy<Space>(space, 0, here.rows), [=](int const row) {
      if (here.weight[row] == 0.0f) return;
      SoftmaxNode const found{of->unit << level_of_unit, of->level + level_of_unit, here.max[row], here.weight[row]};
      self->runs_[row].push(found, here.values + std::int64_t{row} * here.d, here.d);
      self->seen_[row] += here.seen[row];
    });
    space.fence();
  }

  device::Numbers numbers_;
  std::shared_ptr<DeviceRows const> owned_;
  DeviceRows const& rows_;
  Options options_;
  int unit_;
  std::int64_t first_unit_;  ///< of the shard's first key
  DeviceNodes nodes_;
  KeyRanges step_ranges_;
  device::Memory limits_, from_, query_tiles_, query_scales_, units_;
  device::Mark done_;
  mutable std::vector<SoftmaxRun> runs_;  ///< of parts()
  mutable std::vector<std::int64_t> seen_;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop

#endif
