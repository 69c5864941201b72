// The works that select where heads rest in the memory of GPUs: they are merged there, at each row's owner, and nothing is brought to the
// host before it is asked for.
#include "bench/device_selection.hpp"

#ifdef ASYMPTOP_DEVICE

namespace asymptop {
namespace {

class ProfileOnDevice final : public TopKOnDevice {
 public:
  /// One candidate more than k: what is left out matters to the errors at k.
  ProfileOnDevice(BenchProblem const& problem, Path const& path) : TopKOnDevice(problem, path, problem.item.k + 1, true) {}

  void run() override {
    TopKOnDevice::run();
    moments_ = sum_over_ranks(pass_->moments_on_device(), moments_of_row(), own_moments_);
    device::wait(nullptr);
    phases_.stop(Phase::merge);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    BenchAnswer answer;
    for (auto& row : answer.rows = own_rows(asked)) {
      auto const moments = brought(moments_ + own_index(row.row) * moments_of_row(), moments_of_row());
      row.profile = profile_of(row.row, moments, best_of(row.row, keep_));
      row.top_k = best_of(row.row, problem_.item.k);
    }
    return answer;
  }

 private:
  std::size_t moments_of_row() const { return std::size_t{3} * batch_.grid().count; }
  std::int64_t const* moments_ = nullptr;  ///< (own rows, bins, 3)
  device::Memory own_moments_;
};

/// Selection, then each rank sums e^{s - s_max} v of the winners among its own keys: m x d numbers travel, not rows of V.
class TopKAttentionOnDevice final : public TopKOnDevice {
 public:
  TopKAttentionOnDevice(BenchProblem const& problem, Path const& path)
      : TopKOnDevice(problem, path),
        factor_(FixedPoint::make(problem.item.k, largest_normal)),
        edges_(2 * rows() * sizeof(PackedCandidate)),
        counts_(rows() * sizeof(int)),
        best_(rows() * sizeof(float)),
        sums_(rows() * (d() + 1) * sizeof(std::int64_t)),
        outputs_(std::max(1, own_rows_count()) * d() * sizeof(double)) {}

  void run() override {
    TopKOnDevice::run();
    share_edges();
    device::set_zero(nullptr, sums_.as<void>(), sums_.bytes());
    if (heads_.keep > 0) {
      device::find_winners(nullptr, {rows(), heads_, static_cast<std::uint32_t>(problem_.shard.begin), edges_.as<std::uint64_t>(),
                                     counts_.as<int>(), best_.as<float>()});
      auto const& keys = tensors_.values_on_device(0, checked_int(tensors_.size()), false);
      device::sum_winners(nullptr, {rows(), problem_.item.d, heads_.heads, heads_.keep, counts_.as<int>(), best_.as<float>(), 1.0f,
                                    keys.values, factor_.weight, factor_.value, sums_.as<std::int64_t>()});
    }
    device::wait(nullptr);
    phases_.stop(Phase::attend);
    auto const* const own = sum_over_ranks(sums_.as<std::int64_t>(), d() + 1, own_sums_);
    device::winner_outputs(nullptr, own, own_rows_count(), problem_.item.d, factor_.weight, factor_.value, outputs_.as<double>());
    device::wait(nullptr);
    phases_.stop(Phase::merge);
  }

  BenchAnswer answer(std::vector<int> const& asked) override {
    auto answer = TopKOnDevice::answer(asked);
    for (auto& row : answer.rows) row.output = brought(outputs_.as<double>() + own_index(row.row) * d(), d());
    return answer;
  }

 private:
  /// The best and the last winner of every row, which the owners tell all ranks.
  void share_edges() {
    auto const own = problem_.owned();
    auto* const all = edges_.as<std::uint64_t>();
    if (own.size() > 0) device::head_edges(nullptr, selection_, own_rows_count(), all + 2 * own.begin);
    if (peers_ == nullptr) return;
    std::vector<DevicePeers::Out> out;
    std::vector<DevicePeers::In> in;
    std::size_t at = 0;
    for (auto const words : words_of_owners(2)) {
      bool const mine = std::ssize(in) == problem_.comm.rank();  // they are there
      out.push_back({all + 2 * own.begin, mine ? 0 : std::size_t{2} * own_rows_count()});
      in.push_back({all + at, mine ? 0 : words});
      at += words;
    }
    peers_->exchange(out, in);
  }

  FixedPoint factor_;
  device::Memory edges_, counts_, best_, sums_, own_sums_, outputs_;
};

}  // namespace

std::unique_ptr<BenchWork> make_on_device(BenchProblem const& problem, Path const& path) {
  switch (problem.item.kernel) {
    case BenchKernel::profile:
      return std::make_unique<ProfileOnDevice>(problem, path);
    case BenchKernel::top_k_attention:
      return std::make_unique<TopKAttentionOnDevice>(problem, path);
    default:
      return std::make_unique<TopKOnDevice>(problem, path);
  }
}

}  // namespace asymptop

#else

#include "config/errors.hpp"

namespace asymptop {

std::unique_ptr<BenchWork> make_on_device(BenchProblem const&, Path const&) { throw RunError("this build has no device kernels"); }

}  // namespace asymptop

#endif
