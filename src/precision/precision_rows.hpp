// Rows of a case in all sets of formats, whole rows shared out over ranks and threads.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "draw/row_stream.hpp"
#include "precision/plan.hpp"
#include "precision/rounded_row.hpp"
#include "shard/tensor_file.hpp"

namespace asymptop {

/// Standard normal numbers of fp64's precision, two from each pair of uniform ones: Box and Muller.
void draw_normals(RowStream& stream, std::vector<double>& z);

/// Values for (draw, row, set) or (draw, row, set, axis), row-major, appended as draws finish.
struct PrecisionData {
  std::vector<double> normaliser, sum_p, sum_p_in_format, entropy_nats, participation_ratio, p_max, tail_mass, missed_mass;
  std::vector<std::int64_t> zeros, count_p_above;
  std::vector<double> sigma_i;  ///< (draw, row), of heads of a file: standard deviation of the row's logits
};

/// Draws [first, end) of a case, appended to `data` on rank 0. checks: the worst over ranks, on all of them; of the first two rows of a
/// draw. file: that captured rows are of. Collective.
void measure_precision(Communicator const& comm, PrecisionConfig const& config, PrecisionCase const& item, TensorFile const* file,
                       std::int64_t first, std::int64_t end, PrecisionData& data, PrecisionResiduals& checks);

}  // namespace asymptop
