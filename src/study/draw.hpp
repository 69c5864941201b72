// One draw of a case group, on all ranks: queries, first pass, merge, evaluation, second pass, answers.
#pragma once

#include <array>
#include <vector>

#include "comm/communicator.hpp"
#include "draw/queries.hpp"
#include "kernels/core/types.hpp"
#include "plan/plan.hpp"
#include "row/case_data.hpp"
#include "row/partial_draw.hpp"
#include "shard/run_space.hpp"
#include "study/draw_source.hpp"

namespace asymptop {

/// Communicators of their own for what is in flight at once.
struct BatchChannels {
  explicit BatchChannels(Communicator const& comm)
      : queries(comm.get(), comm.message_limit()), even(comm.get(), comm.message_limit()), odd(comm.get(), comm.message_limit()) {}
  Communicator const queries, even, odd;
  /// Of batches 0, 1, ...; one must be done before the next but one starts.
  Communicator const& of_batch(std::size_t batch) const { return batch % 2 == 0 ? even : odd; }
};

class DrawSelectors;

/// What all draws of a group share.
struct StudySetup {
  Communicator const* comm;
  BatchChannels const* channels;
  RunConfig const* config;
  TensorFile const* file;                    ///< null for synthetic input
  TensorScan const* scan;                    ///< of the group's head
  ShardTensors<RunSpace>* tensors;           ///< this rank's shard, kept from draw to draw
  DrawBreaks* breaks = nullptr;              ///< asked where the plan has breaks
  DrawSelectors const* selectors = nullptr;  ///< of the draw in work
};

/// Memory for this rank's shard of the group.
ShardTensors<RunSpace> make_shard(Communicator const& comm, GroupPlan const& group, RunConfig const& config);

/// earlier: what is known of a draw that an earlier run began; of another draw, or none, it counts for nothing.
DrawResult run_draw(StudySetup const& setup, GroupPlan const& group, std::int64_t draw, PartialDraw earlier = {});

/// fp32 rate of BLAS sgemm at the shape of the group's score tile, all ranks and threads at once, in GFLOP/s.
double sgemm_rate(Communicator const& comm, GroupPlan const& group, RunConfig const& config);

}  // namespace asymptop
