// The second pass of the path of a GPU: probes and attention there, the fp64 audit of a few rows on the host, meanwhile.
#pragma once

#ifdef ASYMPTOP_DEVICE

#include <algorithm>
#include <vector>

#include "../device/memory.hpp"
#include "../device/scores.hpp"
#include "../device/second_pass.hpp"
#include "fused.hpp"

namespace asymptop {
inline namespace ASYMPTOP_SIMD_NAME {

/// What all passes of a batch read.
struct DeviceRows {
  explicit DeviceRows(PathRows const& rows)
      : count(rows.rows),
        d(rows.d),
        softcap(rows.softcap),
        ranges(rows.ranges),
        grid(rows.grid),
        first_bin(rows.first_bin),
        queries(device::copied(rows.queries, std::int64_t{rows.rows} * rows.d)),
        limits(device::copied(ranges.limit)),
        from(device::copied(ranges.from)) {}
  /// Queries as scores want them.
  float const* by_column() const {
    if (columns.bytes() == 0) {
      columns = device::Memory(std::int64_t{device::padded_to_tiles(count)} * d * sizeof(float));
      device::queries_by_column(nullptr, queries.as<float>(), count, d, columns.as<float>());
    }
    return columns.as<float>();
  }
  int count, d;
  double softcap;
  KeyRanges ranges;
  BinGrid grid;
  std::vector<int> first_bin;
  device::Memory queries, limits, from;
  mutable device::Memory columns;
};

/// Scores of a step's keys, a chunk at a time, of whole units.
class DeviceChunks {
 public:
  DeviceChunks(DeviceRows const& rows, int count, int unit, std::int64_t scores = device::chunk_scores)
      : rows_(rows),
        count_(count),
        chunk_(device::chunk_keys(device::padded_to_tiles(rows.count), count, std::max(unit, device::score_tile), scores)),
        scores_(std::int64_t{rows.count} * device::score_stride(chunk_) * sizeof(float)) {}
  /// Of weights of a chunk.
  std::size_t weight_bytes() const { return std::int64_t{device::padded_to_tiles(rows_.count)} * chunk_ * sizeof(float); }
  /// Calls take(scores) for each chunk of keys whose first has number `first`. Without waiting.
  template <class Take>
  void visit(float const* packed, std::int64_t first, Take const& take) const {
    for (int begin = 0; begin < count_; begin += chunk_) {
      int const here = std::min(chunk_, count_ - begin);
      auto const stride = device::score_stride(chunk_);
      auto const *limits = rows_.limits.as<std::int64_t>(), *from = rows_.from.as<std::int64_t>();
      auto* const scores = scores_.as<float>();
      device::score_chunk(nullptr, {rows_.count, rows_.d, rows_.by_column(), limits, from, rows_.softcap,
                                    packed + std::ptrdiff_t{begin} * rows_.d, first + begin, here, scores, stride});
      take(device::ChunkScores{rows_.count, limits, from, scores, stride, first + begin, here});
    }
  }

 private:
  DeviceRows const& rows_;
  int count_, chunk_;
  device::Memory scores_;
};

template <class Space>
class DeviceSecond final : public KeyPass<Space> {
 public:
  DeviceSecond(FusedRows<Space> const& host, DeviceRows const& rows, SecondPass<Space> const& work, GlobalIndex shard_begin,
               bool probes_only)
      : rows_(rows),
        work_(work),
        shard_begin_(shard_begin),
        strip_(host.tiles.blas),
        probes_only_(probes_only),
        audit_(host, work, shard_begin, device_step),
        first_bin_(copy(work.probes.first_bin)),
        of_bin_(copy(work.probes.of_bin)),
        bin_(copy(work.probes.bin)),
        capacity_(copy(work.probes.capacity)),
        low_(copy(work.probes.low)),
        high_(copy(work.probes.high)),
        begin_(copy(work.probes.begin)),
        edge_score_(copy(work.probes.edge_score)),
        fill_(copy(work.probes.fill)),
        edge_(zeros(work.probes.edge)),
        above_(zeros(work.probes.above)),
        collected_(work.probes.collected.size() * sizeof(float)) {
    if (!attends()) return;
    boundary_score_ = copy(work.segments.boundary_score);
    boundary_index_ = copy(work.segments.boundary_index);
    reference_ = copy(work.segments.reference);
    used_ = copy(work.segments.used);
    for (auto const& sums : work.sums) sums_.push_back(zeros(sums));
  }
  /// Whole steps of the fused path, so that strips are its own.
  GlobalIndex step(bool resident) const override { return resident ? GlobalIndex{packed_step} << 16 : device_step; }
  bool wants_values() const override { return attends(); }
  bool wants_on_device() const override { return true; }
  /// Without waiting for the device: the next step's keys come after this one's work, and the host makes its own meanwhile.
  void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) override {
    DeviceChunks const chunks(rows_, keys.count, packed_step);
    if (attends()) make_room(weights_, chunks.weight_bytes());
    chunks.visit(keys.on_device.packed, keys.first, [&](device::ChunkScores const& scores) {
      device::add_probes(nullptr, scores, probes());
      auto const values = static_cast<std::ptrdiff_t>(scores.first - keys.first) * rows_.d;
      for (std::size_t law = 0; law < sums_.size(); ++law)
        device::add_attention(nullptr, scores, segments(law, scores.first, keys.on_device.values + values));
    });
    for (int done = 0; done < keys.count && !probes_only_; done += device_step) {
      int const here = std::min(device_step, keys.count - done);
      auto const first = keys.first + static_cast<LocalIndex>(done);
      audit_.add(space, keys.make_packed ? keys.make_packed(first, here) : keys.keys.data + std::ptrdiff_t{done} * rows_.d, first, here);
    }
    if (!probes_only_) watch.done(PathPart::audit);
  }
  /// What was found joins what the pass began with.
  void finish(Space const&, StepWatch const& watch) override {
    device::wait(nullptr);
    watch.done(attends() ? PathPart::attend : PathPart::refine);
    for (std::size_t law = 0; law < sums_.size(); ++law) add_sums(work_.sums[law], sums_[law]);
    add_sums(work_.probes.edge, edge_);
    add_sums(work_.probes.above, above_);
    auto const& p = work_.probes;
    std::vector<int> fill(p.fill.size());
    std::vector<float> collected(p.collected.size());
    device::download(nullptr, fill.data(), fill_.as<int>(), fill_.bytes());
    device::download(nullptr, collected.data(), collected_.as<float>(), collected_.bytes());
    for (std::size_t i = 0; i < fill.size(); ++i) {
      auto const from = std::min(p.fill.data()[i], p.capacity.data()[i]), to = std::min(fill[i], p.capacity.data()[i]);
      std::copy(collected.data() + p.begin.data()[i] + from, collected.data() + p.begin.data()[i] + to,
                p.collected.data() + p.begin.data()[i] + from);
      p.fill.data()[i] = fill[i];
    }
    watch.done(PathPart::refine);
  }

 private:
  bool attends() const { return !probes_only_ && !work_.sums.empty(); }

  template <class View>
  static device::Memory copy(View const& view) {
    return device::copied(view.data(), view.size());
  }
  template <class View>
  static device::Memory zeros(View const& like) {
    device::Memory memory(like.size() * sizeof(*like.data()));
    device::set_zero(nullptr, memory.as<void>(), memory.bytes());
    return memory;
  }
  template <class View>
  static void add_sums(View const& to, device::Memory const& sums) {
    std::vector<std::int64_t> found(to.size());
    device::download(nullptr, found.data(), sums.as<std::int64_t>(), sums.bytes());
    for (std::size_t i = 0; i < found.size(); ++i) to.data()[i] += found[i];
  }

  device::ProbeArguments probes() const {
    auto const& p = work_.probes;
    return {p.grid.bins_per_unit,        p.grid.count,
            p.bin.extent_int(1),         first_bin_.as<int>(),
            of_bin_.as<std::uint16_t>(), bin_.as<int>(),
            capacity_.as<int>(),         low_.as<float>(),
            high_.as<float>(),           begin_.as<std::int64_t>(),
            edge_score_.as<float>(),     edge_.as<std::int64_t>(),
            above_.as<std::int64_t>(),   fill_.as<int>(),
            collected_.as<float>()};
  }
  device::SegmentArguments segments(std::size_t law, std::int64_t first, float const* values) const {
    return {rows_.d,
            work_.segments.boundary_score.extent_int(1),
            boundary_score_.as<float>(),
            boundary_index_.as<std::int64_t>(),
            reference_.as<float>(),
            used_.as<int>(),
            shard_begin_ + first,
            strip_,
            packed_step,
            static_cast<float>(work_.sigmas[law]),
            work_.factor.weight,
            work_.factor.value,
            values,
            weights_.as<float>(),
            sums_[law].template as<std::int64_t>()};
  }

  DeviceRows const& rows_;
  SecondPass<Space> const& work_;
  GlobalIndex shard_begin_;
  int strip_;
  bool probes_only_;
  FusedAudit<Space> audit_;
  device::Memory first_bin_, of_bin_, bin_, capacity_, low_, high_, begin_, edge_score_, fill_, edge_, above_, collected_;
  device::Memory boundary_score_, boundary_index_, reference_, used_, weights_;
  std::vector<device::Memory> sums_;
};

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop

#endif
