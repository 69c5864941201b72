// A decoding step over the GPUs of all ranks: an exact global selection, or each rank's own.
#include "bench/device_selection.hpp"

#ifdef ASYMPTOP_DEVICE

namespace asymptop {
namespace {

/// A decoding step once each rank has its best keys in the memory of its GPU: MergeWork (merge_work.cpp) there. All ranks get all heads
/// where they agree, which for a few rows costs less than to be told by the owners.
class MergeOnDevice final : public TopKOnDevice {
 public:
  MergeOnDevice(BenchProblem const& problem, Path const& path, LocalSelection selection)
      : TopKOnDevice(problem, path),
        selection_way_(selection),
        factor_(FixedPoint::make(problem.item.k, largest_normal)),
        peers_of_all_(DevicePeers::of(problem.comm)),
        edges_(2 * rows() * sizeof(PackedCandidate)),
        counts_(rows() * sizeof(int)),
        best_(rows() * sizeof(float)),
        parts_(rows() * width() * sizeof(std::int64_t)),
        arriving_parts_(problem.comm.size() * std::max(1, own_rows_count()) * width() * sizeof(std::int64_t)),
        outputs_(std::max(1, own_rows_count()) * d() * sizeof(double)) {
    KeyWalk keys(tensors_.size());
    select_own(keys);
    if (selection != LocalSelection::none) return;
    std::size_t all = 0;
    for (int r = 0; r < problem.comm.size(); ++r) all += rows() * std::size_t(keep_of(r));
    all_heads_ = device::Memory(all * sizeof(PackedCandidate));
    for (auto& memory : all_merged_) memory = device::Memory(rows() * std::size_t(keep_) * sizeof(PackedCandidate));
  }

  bool scores_apart() const override { return true; }
  MergeCost merge_cost() const override { return cost_; }

  void run() override {
    auto const& comm = problem_.comm;
    comm.barrier();  // what ranks wait for each other is no part of what they exchange
    cost_ = {};
    auto const before = comm.traffic();
    auto mark = PhaseTimes::Clock::now();
    phases_.start();
    if (selection_way_ == LocalSelection::none) {
      agree();
    } else {
      bool const share = selection_way_ == LocalSelection::share;
      int const most = checked_int(share ? std::max<std::int64_t>(1, problem_.item.k / comm.size()) : problem_.item.k);
      device::take_own_winners(nullptr, {rows(), heads_, most, counts_.as<int>(), best_.as<float>(), parts_.as<std::int64_t>(), width()});
    }
    device::wait(nullptr);
    phases_.stop(Phase::select);
    cost_.seconds = seconds_since(mark);
    attend();
    phases_.stop(Phase::attend);
    comm.barrier();
    mark = PhaseTimes::Clock::now();
    phases_.start();
    combine();
    device::wait(nullptr);
    phases_.stop(Phase::merge);
    cost_.combine_seconds = seconds_since(mark);
    cost_.seconds += cost_.combine_seconds;
    cost_.sent = comm.traffic() - before;
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) row.output = brought(outputs_.as<double>() + own_index(row.row) * d(), d());
    auto const counts = brought(counts_.as<int>(), rows());
    for (int const row : asked) {
      auto& of_row = answer.kept.emplace_back();
      int place = 0;
      for (auto const candidate : brought(heads_.heads + std::size_t(row) * heads_.keep, heads_.keep)) {
        if (candidate == 0) break;
        (place++ < counts[row] ? of_row.kept : of_row.left).push_back({score_of(candidate), problem_.shard.begin + index_of(candidate)});
      }
    }
    return answer;
  }

 private:
  static double seconds_since(PhaseTimes::Clock::time_point mark) {
    return std::chrono::duration<double>(PhaseTimes::Clock::now() - mark).count();
  }
  /// Numbers of a row's part: the reference, d sums, their weight.
  int width() const { return problem_.item.d + 2; }

  void agree() {
    std::vector<DevicePeers::Out> out;
    std::vector<DevicePeers::In> in;
    auto* to = all_heads_.as<std::uint64_t>();
    for (int r = 0; r < problem_.comm.size(); ++r) {
      std::size_t const received = rows() * std::size_t(keep_of(r));
      out.push_back({heads_.heads, rows() * std::size_t(heads_.keep)});
      in.push_back({to, received});
      to += received;
    }
    peers_of_all_.exchange(out, in);
    auto const all = merged(in, rows(), all_merged_);
    device::head_edges(nullptr, all, rows(), edges_.as<std::uint64_t>());
    device::find_winners(nullptr, {rows(), heads_, static_cast<std::uint32_t>(problem_.shard.begin), edges_.as<std::uint64_t>(),
                                   counts_.as<int>(), best_.as<float>()});
  }

  /// This rank's softmax over its kept keys, relative to the best of all ranks where it is known.
  void attend() {
    auto* const parts = parts_.as<std::int64_t>();
    if (selection_way_ == LocalSelection::none) {
      device::set_zero(nullptr, parts, parts_.bytes());
    } else {  // all but the references
      device::set_zero_columns(nullptr, parts, rows(), width(), 1);
    }
    if (heads_.keep > 0) {
      auto const& keys = tensors_.values_on_device(0, checked_int(tensors_.size()), false);
      bool const agreed = selection_way_ == LocalSelection::none;
      device::sum_winners(nullptr, {rows(), problem_.item.d, heads_.heads, heads_.keep, counts_.as<int>(), best_.as<float>(), 1.0f,
                                    keys.values, factor_.weight, factor_.value, parts + (agreed ? 0 : 1), agreed ? width() - 1 : width()});
    }
    device::wait(nullptr);
  }

  void combine() {
    auto const own = own_rows_count();
    auto* const arriving = arriving_parts_.as<std::int64_t>();
    if (selection_way_ == LocalSelection::none) {  // references are the same: sums are added
      std::vector<std::size_t> counts = words_of_owners(width() - 1);
      peers_of_all_.sum_to_owners(parts_.as<std::int64_t>(), counts, arriving);
      device::winner_outputs(nullptr, arriving, own, problem_.item.d, factor_.weight, factor_.value, outputs_.as<double>());
      return;
    }
    std::vector<DevicePeers::Out> out;
    std::vector<DevicePeers::In> in;
    auto const* from = parts_.as<std::uint64_t>();
    auto* to = arriving_parts_.as<std::uint64_t>();
    for (auto const words : words_of_owners(width())) {
      std::size_t const received = std::size_t(own) * width();
      out.push_back({from, words});
      in.push_back({to, received});
      from += words;
      to += received;
    }
    peers_of_all_.exchange(out, in);
    device::combine_winners(nullptr,
                            {problem_.comm.size(), own, problem_.item.d, arriving, factor_.weight, factor_.value, outputs_.as<double>()});
  }

  LocalSelection selection_way_;
  FixedPoint factor_;
  DevicePeers& peers_of_all_;
  device::Memory edges_, counts_, best_, parts_, arriving_parts_, outputs_;
  device::Memory all_heads_, all_merged_[2];
  MergeCost cost_;
};

}  // namespace

std::unique_ptr<BenchWork> make_merge_on_device(BenchProblem const& problem, LocalSelection selection) {
  return std::make_unique<MergeOnDevice>(problem, device_path, selection);
}

}  // namespace asymptop

#else

#include "config/errors.hpp"

namespace asymptop {

std::unique_ptr<BenchWork> make_merge_on_device(BenchProblem const&, LocalSelection) { throw RunError("this build has no device kernels"); }

}  // namespace asymptop

#endif
