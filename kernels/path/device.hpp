// The verbs of a GPU's path: top-k by its tensor cores, profiles, probes and attention of keys that lie in its memory (device/), to the
// fused path's bits. What is not here it has from the fused path. The rest of a program stays on the host, with any Kokkos.
#pragma once

#ifdef ASYMPTOP_DEVICE

#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "../device/memory.hpp"
#include "../device/profile.hpp"
#include "../device/scores.hpp"
#include "device_attention.hpp"
#include "device_second.hpp"
#include "fused.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// Heads of all rows on the host, best first, zeros after them.
struct DeviceHeads {
  DeviceHeads(std::size_t rows, int each) : memory(rows * each * sizeof(PackedCandidate)), stride(each) {}
  PackedCandidate* row(std::size_t i) const { return memory.as<PackedCandidate>() + i * stride; }
  std::vector<PackedCandidate> head(std::size_t i) const {
    auto const* const begin = row(i);
    return {begin, std::lower_bound(begin, begin + stride, PackedCandidate{0}, std::greater<>())};
  }
  device::HostMemory memory;
  int stride;
};

/// Heads stay on the device from step to step, and the worst of a row's head is the threshold of the next. Steps may come in any order:
/// what reaches a threshold is kept, ties too, and heads are merged by score and index.
template <class Space>
class DeviceFirst final : public FirstPass<Space> {
 public:
  DeviceFirst(DeviceRows const& rows, int keep, bool profile) : rows_(rows), keep_(keep), profile_(profile) {
    if (!profile_) return;
    first_bin_ = device::copied(rows_.first_bin);
    moments_ = device::Memory(3 * rows_.ranges.size() * rows_.grid.count * sizeof(std::int64_t));
    device::set_zero(nullptr, moments_.as<void>(), moments_.bytes());
  }
  /// All keys that lie in memory at once.
  GlobalIndex step(bool resident) const override { return resident ? GlobalIndex{1} << 30 : device_step; }
  bool wants_on_device() const override { return true; }
  bool wants_screen() const override { return true; }
  void add(Space const&, KeyStep<Space> const& keys, StepWatch const& watch) override {
    auto const rows = rows_.ranges.size();
    int const keep = std::min(keep_, keys.count);
    if (seen_ > 0 || plan_.keys != keys.count || plan_.keep != keep)
      plan_ = device::plan_top_k(rows_.count, keys.count, rows_.d, keep, device::gpu().multiprocessors,
                                 rows_.softcap > 0.0 || found_keep_ < keep_ ? 0 : seen_);
    make_room(workspace_, plan_.bytes);
    make_room(step_heads_, rows * keep * sizeof(PackedCandidate));
    load_ranges(keys.first, keys.count);
    device::TopKArguments const arguments{
        rows_.queries.as<float>(),       limits_.as<std::int64_t>(), keys.on_device.screen, workspace_.as<unsigned char>(),
        step_heads_.as<std::uint64_t>(), from_.as<std::int64_t>(),   rows_.softcap,         thresholds_.as<float>()};
    device::screened_top_k(nullptr, plan_, arguments);
    if (profile_) add_profile(keys);
    device::complete_top_k(nullptr, plan_, arguments);
    join_heads(keys.first, keep);
    seen_ += keys.count;
    watch.done(PathPart::select);
  }
  RowHead heads(Space const&) override {
    auto const rows = rows_.ranges.size();
    auto const found = spare_ != nullptr && spare_.use_count() == 1 && spare_->stride == std::max(1, found_keep_)
                           ? std::move(spare_)
                           : std::make_shared<DeviceHeads>(rows, std::max(1, found_keep_));
    if (found_keep_ == 0) std::fill_n(found->row(0), rows, PackedCandidate{0});
    device::download(nullptr, found->row(0), heads_.as<std::uint64_t>(), rows * found_keep_ * sizeof(PackedCandidate));
    spare_ = found;
    return [found](int row) { return found->head(row); };
  }
  device::HeadsOnDevice heads_on_device() const override { return {heads_.as<std::uint64_t>(), found_keep_}; }
  std::int64_t const* moments_on_device() const override { return moments_.as<std::int64_t>(); }
  Tensor3<Kokkos::HostSpace, std::int64_t> moments(Space const& space) override {
    auto const rows = profile_ ? rows_.ranges.size() : 0, width = std::size_t{3} * rows_.grid.count;
    Tensor3<Kokkos::HostSpace, std::int64_t> const all(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::path::moments"), rows,
                                                       rows_.grid.count, 3);
    if (!profile_) return all;
    // By way of memory that the device reaches fast; threads share the first touch of what is new.
    if (landing_ == nullptr) landing_ = std::make_unique<device::HostMemory>(moments_.bytes());
    auto const* const found = landing_->as<std::int64_t>();
    device::download(nullptr, landing_->as<void>(), moments_.as<std::int64_t>(), moments_.bytes());
    auto* const to = all.data();
    Kokkos::parallel_for("Asymptop::path::moments", Kokkos::RangePolicy<Space>(space, 0, rows),
                         [=](std::size_t const row) { std::copy_n(found + row * width, width, to + row * width); });
    space.fence();
    return all;
  }
  bool clear(Space const&) override {
    if (profile_) device::set_zero(nullptr, moments_.as<void>(), moments_.bytes());
    seen_ = 0;
    found_keep_ = 0;
    return true;
  }

 private:
  /// Rows' ranges counted from the step's first key.
  void load_ranges(LocalIndex first, int count) {
    auto ranges = rows_.ranges.counted_from(first, count);
    if (ranges.limit == step_ranges_.limit && ranges.from == step_ranges_.from) return;
    limits_ = device::copied(ranges.limit);
    from_ = device::copied(ranges.from);
    step_ranges_ = std::move(ranges);
  }
  void add_profile(KeyStep<Space> const& keys) {
    DeviceChunks chunks(rows_, keys.count, 1, device::large_chunk_scores);
    chunks.visit(keys.on_device.packed, keys.first, [&](device::ChunkScores const& s) {
      device::add_profile(nullptr, {s.rows, s.limits, s.from, s.scores, s.stride, s.first, s.count, rows_.grid.bins_per_unit,
                                    rows_.grid.count, first_bin_.template as<int>(), moments_.template as<std::int64_t>()});
    });
  }
  void join_heads(LocalIndex first, int keep) {
    auto const rows = rows_.ranges.size();
    make_room(thresholds_, rows * sizeof(float));
    if (found_keep_ == 0 && first == 0) {
      std::swap(heads_, step_heads_);
      found_keep_ = keep;
      if (keep == keep_) device::last_scores(nullptr, heads_on_device(), rows_.count, thresholds_.as<float>());
      return;
    }
    int const joined = static_cast<int>(std::min<std::int64_t>(keep_, std::int64_t{found_keep_} + keep));
    make_room(joined_, rows * joined * sizeof(PackedCandidate));
    device::merge_heads(nullptr, {rows_.count, heads_.as<std::uint64_t>(), found_keep_, step_heads_.as<std::uint64_t>(), keep, first,
                                  joined_.as<std::uint64_t>(), joined, thresholds_.as<float>()});
    std::swap(heads_, joined_);
    found_keep_ = joined;
  }

  DeviceRows const& rows_;
  int keep_;
  bool profile_;
  std::int64_t seen_ = 0;
  int found_keep_ = 0;  ///< places of a row in heads_
  KeyRanges step_ranges_;
  device::TopKPlan plan_{};
  device::Memory workspace_, limits_, from_, step_heads_, heads_, joined_, thresholds_, first_bin_, moments_;
  std::shared_ptr<DeviceHeads> spare_;
  std::unique_ptr<device::HostMemory> landing_;
};

template <class Space>
class DeviceBatch : public FusedBatch<Space> {
 public:
  DeviceBatch(Space const& space, PathRows const& rows, TileSizes const& tiles)
      : FusedBatch<Space>(space, rows, tiles), device_(std::make_shared<DeviceRows const>(rows)) {}
  std::shared_ptr<FirstPass<Space>> first_pass(Space const&, typename FirstPass<Space>::Options const& options) override {
    return std::make_shared<DeviceFirst<Space>>(*device_, options.keep, options.profile);
  }
  std::unique_ptr<KeyPass<Space>> second_pass(Space const&, SecondPass<Space> const& work, GlobalIndex shard_begin,
                                              bool probes_only) override {
    return std::make_unique<DeviceSecond<Space>>(this->rows_, *device_, work, shard_begin, probes_only);
  }
  std::unique_ptr<AttentionPass<Space>> attention(Space const& space, typename AttentionPass<Space>::Options const& options) override {
    if (!DeviceExact<Space>::takes(*device_, options)) return FusedBatch<Space>::attention(space, options);
    return std::make_unique<DeviceExact<Space>>(device_, options, device::Numbers::half_pairs);
  }

 protected:
  std::shared_ptr<DeviceRows const> device_;
};

/// Exact attention of numbers rounded to bf16.
template <class Space>
class BfloatBatch final : public DeviceBatch<Space> {
 public:
  using DeviceBatch<Space>::DeviceBatch;
  /// Throws std::invalid_argument where blocks of keys hold no whole units, and under a softcap.
  std::unique_ptr<AttentionPass<Space>> attention(Space const&, typename AttentionPass<Space>::Options const& options) override {
    if (!DeviceExact<Space>::takes(*this->device_, options))
      throw std::invalid_argument("path device-bf16 wants blocks of keys (--block) that are multiples of 1024, and no softcap");
    return std::make_unique<DeviceExact<Space>>(this->device_, options, device::Numbers::bfloat16);
  }
};

/// Exact attention without what other passes would want of its rows.
template <class Space>
OwnedAttention<Space> attention_on_device(Space const& space, PathRows const& rows, TileSizes const& tiles,
                                          typename AttentionPass<Space>::Options const& options) {
  auto const on_device = std::make_shared<DeviceRows const>(rows);
  if (DeviceExact<Space>::takes(*on_device, options))
    return {nullptr, std::make_unique<DeviceExact<Space>>(on_device, options, device::Numbers::half_pairs)};
  return attention_of<Space, FusedBatch<Space>>(space, rows, tiles, options);
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop

#endif
