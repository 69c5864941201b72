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
#include "shard/tensor_file.hpp"
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
  /// What a draw of a group reads: null for synthetic input.
  TensorLayer const* layer(GroupPlan const& group, std::int64_t draw) const {
    return file == nullptr ? nullptr : &file->layer(context_of(group.contexts, draw).text, group.layer);
  }

  Communicator const* comm;
  BatchChannels const* channels;
  RunConfig const* config;
  TensorFile const* file;                    ///< null for synthetic input
  std::vector<TensorScan> const* scans;      ///< of the group's head, in every text
  ShardTensors<RunSpace>* tensors;           ///< this rank's shard, kept from draw to draw
  DrawBreaks* breaks = nullptr;              ///< asked where the plan has breaks
  DrawSelectors const* selectors = nullptr;  ///< of the draw in work
  TensorScan const* scan = nullptr;          ///< of the head in the text of the draw in work; null for synthetic input
};

/// Memory for this rank's shard of the group.
ShardTensors<RunSpace> make_shard(Communicator const& comm, GroupPlan const& group, RunConfig const& config);

/// earlier: what is known of a draw that an earlier run began; of another draw, or none, it counts for nothing.
DrawResult run_draw(StudySetup const& setup, GroupPlan const& group, std::int64_t draw, PartialDraw earlier = {});

/// fp32 rate of BLAS sgemm at the shape of the group's score tile, all ranks and threads at once, in GFLOP/s.
double sgemm_rate(Communicator const& comm, GroupPlan const& group, RunConfig const& config);

}  // namespace asymptop
