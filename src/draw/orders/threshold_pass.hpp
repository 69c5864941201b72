// Passes over the keys for rows that keep all keys above a threshold on estimated weights.
#pragma once

#include <memory>
#include <vector>

#include "draw/orders/entry_pass.hpp"
#include "kernels/select/threshold.hpp"

namespace asymptop {

/// What the last pass adds up of every row, as FixedPoint: for each law of sigma the keys that are kept, the sum of e^{sigma (s -
/// score_max)} over those that are dropped, and with output errors on d entries of e^... v over the kept ones, then the sum of e^....
struct KeptSums {
  std::vector<double> sigmas;
  std::vector<float> score_max;  ///< of all rows
  FixedPoint factor;
  bool output;
  int d;
  std::size_t numbers_of_law() const { return 2 + (output ? d + 1 : 0); }
  std::size_t width() const { return sigmas.size() * numbers_of_law(); }
};

/// The passes of one selector over a rank's shard, for all rows of a batch. Estimates are chains of fused multiply-adds in fp32, softcapped
/// where true scores are. What is given outlives it. Throws RunError where kernels do not run on the host.
class ThresholdPass {
 public:
  ThresholdPass(EntryRows const& rows, ThresholdSelector const& selector, ShardTensors<RunSpace>& tensors, PhaseTimes& phases);
  ~ThresholdPass();

  /// Per row, its largest estimate; -infinity where it sees none of the shard's keys.
  std::vector<double> largest();
  /// (rows, laws): the sum of e^{sigma (estimate - largest)}, times `factor`.
  std::vector<std::int64_t> sums(std::vector<double> const& sigmas, std::vector<double> const& largest, double factor);
  /// (rows, KeptSums::width()). least: (rows, laws), of sigma times the estimate.
  std::vector<std::int64_t> kept(std::vector<double> const& least, KeptSums const& sums);

 private:
  class Walk;
  std::unique_ptr<Walk> walk_;
};

}  // namespace asymptop
