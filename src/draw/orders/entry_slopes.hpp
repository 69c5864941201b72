// What ALiBi slopes add to priorities that stand for logits: slope (key - query), as they add to the logits themselves.
#pragma once

#include <Kokkos_Core.hpp>
#include <vector>

#include "draw/orders/entry_pass.hpp"
#include "draw/orders/key_scores.hpp"

namespace asymptop {

class EntrySlopes {
 public:
  /// Queries that choose together have the sum of their priorities, of which a softcap is left out.
  EntrySlopes(EntryRows const& rows, Projection const& projection, bool shared)
      : queries_(rows.queries),
        slope_(projection.slope_of() == SlopeOf::none ? 0.0
               : shared                               ? rows.slope_together
                                                      : rows.slope),
        softcap_(shared ? 0.0 : rows.softcap),
        page_(projection.page()),
        largest_(projection.slope_of() == SlopeOf::largest) {}
  bool any() const { return slope_ != 0.0; }

  /// Of whole entries from the context's `first`-th on; priorities: (asked, count), and up to whole groups.
  void add(std::vector<int> const& asked, std::int64_t first, int count, HostScores const& priorities) const {
    if (!any()) return;
    Kokkos::parallel_for("Asymptop::select::slopes", Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, asked.size()),
                         [&, this](int const i) {
                           float* const of_row = &priorities(i, 0);
                           cap_scores(softcap_, of_row, 1, (count + key_group - 1) / key_group, 0);
                           bias_strip(slope_, distance(asked[i], {first * page_, (first + 1) * page_}), of_row, count, page_);
                         });
    Kokkos::DefaultHostExecutionSpace().fence();
  }

  /// Of an entry of which a row sees some keys.
  float added(float priority, int row, KeyRun const& seen) const {
    return any() ? biased(capped(priority, softcap_), slope_, distance(row, seen)) : priority;
  }

 private:
  /// The mean place of an entry's keys less the query's, or the place that the slope likes best.
  double distance(int row, KeyRun const& keys) const {
    auto const first = static_cast<double>(keys.begin - queries_.place[row]);
    auto const last = first + static_cast<double>(keys.size() - 1);
    return largest_ ? (slope_ > 0.0 ? last : first) : 0.5 * (first + last);
  }

  QueryRows const& queries_;
  double slope_, softcap_;
  int page_;
  bool largest_;
};

}  // namespace asymptop
