// The verbs of the path of a GPU's tensor cores: exact top-k and profiles of keys that lie in its memory (device/). The rest of a program
// stays on the host, with any Kokkos.
#pragma once

#ifdef ASYMPTOP_DEVICE

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../device/memory.hpp"
#include "../device/profile.hpp"
#include "batch.hpp"

namespace asymptop {

/// What all passes of a batch read. Throws std::invalid_argument where rows do not see their first keys: these kernels know ends alone.
struct DeviceRows {
  explicit DeviceRows(PathRows const& rows)
      : count(rows.rows),
        d(rows.d),
        limit(rows.ranges.limit),
        grid(rows.grid),
        first_bin(rows.first_bin),
        queries(rows.ranges.limit.size() * static_cast<std::size_t>(rows.d) * sizeof(float)) {
    if (!rows.ranges.from.empty()) throw std::invalid_argument("the device path has no windows and leaves out no first keys");
    if (rows.softcap > 0.0) throw std::invalid_argument("the device path has no softcap");
    device::upload(nullptr, queries.as<float>(), rows.queries, queries.bytes());
  }
  int count, d;
  std::vector<std::int64_t> limit;
  BinGrid grid;
  std::vector<int> first_bin;
  device::Memory queries;
};

/// Heads of all rows on the host, best first.
struct DeviceHeads {
  DeviceHeads(std::size_t rows, int each)
      : memory(rows * static_cast<std::size_t>(each) * sizeof(PackedCandidate)), stride(each), length(rows, 0) {}
  PackedCandidate* row(std::size_t i) const { return memory.as<PackedCandidate>() + i * static_cast<std::size_t>(stride); }
  device::HostMemory memory;
  int stride;
  std::vector<int> length;
};

/// Top-k of one step is found on the device; heads of later steps are merged into those of earlier ones.
template <class Space>
class DeviceFirst final : public FirstPass<Space> {
 public:
  DeviceFirst(DeviceRows const& rows, int keep, bool profile) : rows_(rows), keep_(keep), profile_(profile) {
    if (!profile_) return;
    auto const bins = rows_.limit.size() * static_cast<std::size_t>(rows_.grid.count);
    first_bin_ = device::Memory(rows_.first_bin.size() * sizeof(int));
    device::upload(nullptr, first_bin_.as<int>(), rows_.first_bin.data(), first_bin_.bytes());
    words_ = device::Memory(bins * sizeof(std::uint64_t));
    moments_ = device::Memory(3 * bins * sizeof(std::int64_t));
    device::set_zero(nullptr, words_.as<void>(), words_.bytes());
    device::set_zero(nullptr, moments_.as<void>(), moments_.bytes());
  }
  /// All keys that lie in memory at once.
  GlobalIndex step(bool resident) const override { return resident ? GlobalIndex{1} << 30 : device_step; }
  bool wants_on_device() const override { return true; }
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    auto const& on_device = *keys.on_device;
    auto const rows = rows_.limit.size();
    int const keep = std::min(keep_, keys.count);
    if (plan_.keys != keys.count || plan_.keep != keep) {
      plan_ = device::plan_top_k(rows_.count, keys.count, rows_.d, keep, device::gpu().multiprocessors);
      grow(workspace_, plan_.bytes);
      grow(limits_, rows * sizeof(std::int64_t));
      grow(heads_, rows * static_cast<std::size_t>(keep) * sizeof(PackedCandidate));
    }
    std::vector<std::int64_t> limits;
    for (auto const limit : rows_.limit) limits.push_back(std::clamp<std::int64_t>(limit - keys.first, 0, keys.count));
    device::upload(nullptr, limits_.as<std::int64_t>(), limits.data(), rows * sizeof(std::int64_t));
    device::top_k(
        nullptr, plan_,
        {rows_.queries.as<float>(), limits_.as<std::int64_t>(), on_device, workspace_.as<unsigned char>(), heads_.as<std::uint64_t>()});
    if (profile_)
      device::add_profile(nullptr, {rows_.count, rows_.d, rows_.queries.as<float>(), limits_.as<std::int64_t>(), on_device.rows,
                                    on_device.count, rows_.grid.bins_per_unit, rows_.grid.count, first_bin_.as<int>(),
                                    words_.as<std::uint64_t>(), moments_.as<std::int64_t>()});
    auto found = spare_ != nullptr && spare_.use_count() == 1 && spare_->stride == keep ? std::move(spare_)
                                                                                        : std::make_shared<DeviceHeads>(rows, keep);
    device::download(nullptr, found->row(0), heads_.as<std::uint64_t>(), rows * static_cast<std::size_t>(keep) * sizeof(PackedCandidate));
    for (std::size_t i = 0; i < rows; ++i) found->length[i] = static_cast<int>(std::min<std::int64_t>(keep, limits[i]));
    // Indices are complemented in a candidate: a later key has a smaller number there.
    if (keys.first != 0)
      each_row(space, [&](std::size_t i) {
        for (int j = 0; j < found->length[i]; ++j) found->row(i)[j] -= keys.first;
      });
    found_ = found_ == nullptr ? std::move(found) : merged(space, *found_, *found);
    watch.done(PathPart::select);
  }
  RowHead heads(Space const&) override {
    if (found_ == nullptr) found_ = std::make_shared<DeviceHeads>(rows_.limit.size(), 1);
    return [found = found_](int row) {
      auto const i = static_cast<std::size_t>(row);
      return std::vector<PackedCandidate>(found->row(i), found->row(i) + found->length[i]);
    };
  }
  Tensor3<Kokkos::HostSpace, std::int64_t> moments(Space const&) override {
    Tensor3<Kokkos::HostSpace, std::int64_t> const all("Asymptop::path::moments", profile_ ? rows_.limit.size() : 0,
                                                       static_cast<std::size_t>(rows_.grid.count), 3);
    if (profile_) device::download(nullptr, all.data(), moments_.as<std::int64_t>(), moments_.bytes());
    return all;
  }
  bool clear(Space const&) override {
    spare_ = std::move(found_);
    if (profile_) device::set_zero(nullptr, moments_.as<void>(), moments_.bytes());
    return true;
  }

 private:
  static void grow(device::Memory& memory, std::size_t bytes) {
    if (memory.bytes() >= bytes) return;
    memory = device::Memory();
    memory = device::Memory(bytes);
  }
  template <class Work>
  void each_row(Space const& space, Work const& work) const {
    Kokkos::parallel_for("Asymptop::path::device_heads", Kokkos::RangePolicy<Space>(space, 0, rows_.limit.size()), work);
    space.fence();
  }
  std::shared_ptr<DeviceHeads> merged(Space const& space, DeviceHeads const& a, DeviceHeads const& b) const {
    auto const both = std::make_shared<DeviceHeads>(rows_.limit.size(), std::min(keep_, a.stride + b.stride));
    each_row(space, [&](std::size_t i) {
      std::vector<PackedCandidate> all;
      std::merge(a.row(i), a.row(i) + a.length[i], b.row(i), b.row(i) + b.length[i], std::back_inserter(all), std::greater<>());
      both->length[i] = static_cast<int>(std::min(all.size(), static_cast<std::size_t>(both->stride)));
      std::copy_n(all.begin(), both->length[i], both->row(i));
    });
    return both;
  }

  DeviceRows const& rows_;
  int keep_;
  bool profile_;
  device::TopKPlan plan_{};
  device::Memory workspace_, limits_, heads_, first_bin_, words_, moments_;
  std::shared_ptr<DeviceHeads> found_, spare_;
};

template <class Space>
class DeviceBatch final : public PathBatch<Space> {
 public:
  DeviceBatch(Space const&, PathRows const& rows, TileSizes const&) : rows_(rows) {}
  std::unique_ptr<ScorePass<Space>> score(Space const&, bool) override { lacks("scores"); }
  std::shared_ptr<FirstPass<Space>> first_pass(Space const&, typename FirstPass<Space>::Options const& options) override {
    return std::make_shared<DeviceFirst<Space>>(rows_, options.keep, options.profile);
  }
  std::unique_ptr<KeyPass<Space>> second_pass(Space const&, SecondPass<Space> const&, GlobalIndex, bool) override {
    lacks("a second pass");
  }
  std::unique_ptr<AttentionPass<Space>> attention(Space const&, typename AttentionPass<Space>::Options const&) override {
    lacks("exact attention");
  }

 private:
  [[noreturn]] static void lacks(char const* what) { throw std::logic_error(std::string("the device path has no way to make ") + what); }
  DeviceRows rows_;
};

}  // namespace asymptop

#endif
