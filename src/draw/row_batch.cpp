#include "draw/row_batch.hpp"

#include <algorithm>
#include <cmath>

#include "config/errors.hpp"
#include "kernels/core/math.hpp"

namespace asymptop {
namespace {

/// Bins that hold the scores of every row, and each row's first one.
void make_grid(QueryRows const& queries, float bins_per_unit, PathRows& rows) {
  double const bins = bins_per_unit;
  double largest = 0.0;
  int count = 0;
  for (std::size_t i = 0; i < queries.rows(); ++i) {
    double const low = std::floor(queries.low[i] * bins) - 2.0, high = std::ceil(queries.high[i] * bins) + 2.0;
    largest = std::max({largest, std::fabs(low), std::fabs(high)});
    if (!(largest < 4e6) || high - low > 1e6)
      throw RunError("the logits of a row may range from " + std::to_string(queries.low[i]) + " to " + std::to_string(queries.high[i]) +
                     ", too wide to profile; check the tensors and --scale");
    rows.first_bin.push_back(checked_int(low));
    count = std::max(count, checked_int(high - low) + 1);
  }
  rows.grid = {bins_per_unit, count};
}

}  // namespace

RowBatch::RowBatch(RunSpace const& space, QueryRows const& queries, GroupPlan const& group, Range const& shard, GlobalIndex block)
    : shard_(shard) {
  rows_.rows = int_size(queries.position);
  rows_.d = group.d;
  rows_.queries = queries.q.data();
  make_grid(queries, to_fp32(group.bins_per_unit), rows_);
  rows_.ranges = queries.ranges_in(shard);
  rows_.softcap = group.form.softcap;
  rows_.alibi = queries.alibi_in(shard, group.slope());
  path_ = make_path_batch(*group.path, space, rows_, tile_sizes(space, block));
}

}  // namespace asymptop
