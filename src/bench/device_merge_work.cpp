// A decoding step over the GPUs of all ranks: an exact global selection, or each rank's own.
#include "bench/device_selection.hpp"

#ifdef ASYMPTOP_DEVICE

namespace asymptop {
namespace {

/// A decoding step once each rank has its best keys in the memory of its GPU: MergeWork (merge_work.cpp) there. All ranks get all heads
/// where they agree, which for a few rows costs less than to be told by the owners.
class MergeOnDevice final : public HeadsOnGpus {
 public:
  MergeOnDevice(BenchProblem const& problem, Path const& path, LocalSelection selection)
      : HeadsOnGpus(problem, path, problem.item.k, false),
        agrees_(selection == LocalSelection::none),
        kept_alone_(checked_int(kept_alone(selection, problem.item.k, problem.comm.size()))),
        winners_(rows(), problem.item.k),
        parts_(rows() * width() * sizeof(std::int64_t)),
        arriving_parts_(problem.comm.size() * own_rows_count() * width() * sizeof(std::int64_t)),
        outputs_(own_rows_count() * d() * sizeof(double)) {
    select_own();
    if (agrees_ && peers_ != nullptr) room_ = merge_room(rows());
  }

  bool scores_apart() const override { return true; }
  MergeCost merge_cost() const override { return cost_; }

  void run() override {
    timed_step(
        problem_.comm, phases_, cost_, [&] { agree(); }, [&] { attend(); }, [&] { combine(); });
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) row.output = brought(outputs_.as<double>() + own_index(row.row) * d(), d());
    auto const counts = brought(winners_.counts.as<int>(), rows());
    for (int const row : asked) {
      auto& of_row = answer.kept.emplace_back();
      int place = 0;
      for (auto const candidate : brought(heads_.heads + std::ptrdiff_t{row} * heads_.keep, heads_.keep)) {
        if (candidate == 0) break;
        (place++ < counts[row] ? of_row.kept : of_row.left).push_back({score_of(candidate), problem_.shard.begin + index_of(candidate)});
      }
    }
    return answer;
  }

 private:
  /// Numbers of a row's part: a rank's own reference where ranks did not agree on one, d sums, their weight.
  int width() const { return problem_.item.d + (agrees_ ? 1 : 2); }

  /// Which keys are kept, and what their weights are relative to.
  void agree() {
    auto* const parts = parts_.as<std::int64_t>();
    device::set_zero(nullptr, parts, parts_.bytes());
    if (agrees_) {
      auto const all = peers_ == nullptr ? heads_
                                         : exchanged(
                                               room_, rows(), [](int) { return 0; }, [&](int) { return std::size_t{1} * rows(); });
      device::head_edges(nullptr, all, rows(), winners_.edges.as<std::uint64_t>());
      winners_.find(rows(), heads_, problem_.shard.begin);
    } else {
      device::take_own_winners(nullptr,
                               {rows(), heads_, kept_alone_, winners_.counts.as<int>(), winners_.best.as<float>(), parts, width()});
    }
    device::wait(nullptr);
  }

  /// This rank's softmax over its kept keys.
  void attend() {
    if (heads_.keep > 0) {
      auto const& keys = tensors_.values_on_device(0, checked_int(tensors_.size()), device::Numbers::fp32);
      winners_.sum(rows(), d(), heads_, keys.values, parts_.as<std::int64_t>() + (agrees_ ? 0 : 1), width());
    }
    device::wait(nullptr);
  }

  void combine() {
    auto const& factor = winners_.factor;
    int const own = checked_int(own_rows_count());
    if (agrees_) {  // relative to the same: sums are added
      auto const* const sums = sum_over_ranks(parts_.as<std::int64_t>(), width(), arriving_parts_);
      device::winner_outputs(nullptr, sums, own, problem_.item.d, factor.weight, factor.value, outputs_.as<double>());
    } else {
      device::combine_winners(
          nullptr, {problem_.comm.size(), own, problem_.item.d, parts_of_all(), factor.weight, factor.value, outputs_.as<double>()});
    }
    device::wait(nullptr);
  }
  /// Of this rank's rows, (ranks, own rows, width).
  std::int64_t const* parts_of_all() {
    if (peers_ == nullptr) return parts_.as<std::int64_t>();
    std::vector<DevicePeers::Out> out;
    std::vector<DevicePeers::In> in;
    auto const* from = parts_.as<std::uint64_t>();
    auto* to = arriving_parts_.as<std::uint64_t>();
    for (auto const words : words_of_owners(width())) {
      auto const received = own_rows_count() * width();
      out.push_back({from, words});
      in.push_back({to, received});
      from += words;
      to += received;
    }
    peers_->exchange(out, in);
    return arriving_parts_.as<std::int64_t>();
  }

  bool agrees_;
  int kept_alone_;
  OwnSums winners_;
  device::Memory parts_, arriving_parts_, outputs_;
  MergeRoom room_;
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
