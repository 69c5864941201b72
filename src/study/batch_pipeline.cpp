#include "study/batch_pipeline.hpp"

#include <algorithm>
#include <bit>

#include "comm/collectives.hpp"
#include "row/packed_rows.hpp"

namespace asymptop {
namespace {

/// Rank 0's query rows for everyone. part: the rows, on rank 0; elsewhere anything.
/// together: heads whose queries choose together, 1 where each chooses alone. with_places, with_raised: as QueryRows has them.
Task<QueryRows> broadcast_queries(Communicator const& comm, QueryRows part, std::size_t rows, std::size_t d, std::size_t together,
                                  bool with_places, bool with_raised) {
  std::size_t const others = together > 1 ? together * d : 0;
  std::vector<float> floats;
  std::vector<std::int64_t> integers;
  if (comm.is_root()) {
    for (auto const* values : {&part.q, &part.sigma_unit, &part.low, &part.high, &part.of_group})
      floats.insert(floats.end(), values->begin(), values->end());
    for (auto const* values : {&part.position, &part.visible, &part.from, &part.place})
      integers.insert(integers.end(), values->begin(), values->end());
    for (auto const value : part.raised) integers.push_back(std::bit_cast<std::int64_t>(value));
  }
  floats.resize(rows * (d + 3 + others));
  integers.resize(rows * (3 + (with_places ? 1 : 0) + (with_raised ? 1 : 0)));
  auto sending_floats = broadcast(comm, std::move(floats), 0);
  floats = co_await sending_floats;
  auto sending_integers = broadcast(comm, std::move(integers), 0);
  integers = co_await sending_integers;
  auto next_float = floats.begin();
  auto next_integer = integers.begin();
  auto const take = [](auto& next, std::ptrdiff_t count) {
    auto const first = next;
    next += count;
    return std::vector(first, next);
  };
  QueryRows all;
  all.q = take(next_float, rows * d);
  for (auto* values : {&all.sigma_unit, &all.low, &all.high}) *values = take(next_float, rows);
  all.of_group = take(next_float, rows * others);
  for (auto* values : {&all.position, &all.visible, &all.from}) *values = take(next_integer, rows);
  if (with_places) all.place = take(next_integer, rows);
  for (std::size_t i = 0; with_raised && i < rows; ++i) all.raised.push_back(std::bit_cast<double>(*next_integer++));
  co_return std::move(all);
}

}  // namespace

BatchPipeline::BatchPipeline(StudySetup const& setup, GroupPlan const& group, std::int64_t draw, QueryRows queries, DrawProgress& progress)
    : setup_(setup),
      group_(group),
      draw_(draw),
      queries_(std::move(queries)),
      progress_(progress),
      phases_(progress.phases()),
      batches_((group.counts.rows + group.rows_per_batch - 1) / group.rows_per_batch) {
  phases_.set_between_steps([this] { advance_messages(false); });
}

std::vector<FinishedBatch> BatchPipeline::run() {
  for (auto const& packed : progress_.partial().finished) finished_.push_back({queries_of(finished_.size()), packed});
  started_ = next_break_ = known_ = finished_.size();
  while (finished_.size() < batches_) {
    if (finished_.size() == next_break_) {
      // Not at once: what is known then was saved.
      if (next_break_ > known_ && progress_.breaks() && !progress_.go_on()) progress_.save();
      if (progress_.stopped()) break;
      next_break_ = progress_.breaks() ? std::min(batches_, next_break_ + group_.batches_per_break) : batches_;
      ask_for_queries();
    }
    // Who has waited longest for its turn goes first; a new batch starts when the others wait for messages.
    auto const ready = std::find_if(in_flight_.begin(), in_flight_.end(), [](auto const& b) { return b.batch.turn().awaited(); });
    if (ready != in_flight_.end()) {
      compute(*ready);
    } else if (incoming_ && started_ < finished_.size() + group_.batches_in_flight && incoming_->advance()) {
      start();
    } else {
      advance_messages(true);
    }
    while (!in_flight_.empty() && in_flight_.front().task->done()) finish_batch();
    if (progress_.stopped()) break;
  }
  return std::move(finished_);
}

void BatchPipeline::finish_batch() {
  auto packed = in_flight_.front().task->take();
  if (!progress_.stopped()) {
    progress_.batch_done(packed);
    finished_.push_back({std::move(in_flight_.front().queries), std::move(packed)});
  }
  in_flight_.pop_front();
}

std::size_t BatchPipeline::begin_of(std::size_t batch) const {
  return std::min<std::size_t>(batch * group_.rows_per_batch, group_.counts.rows);
}

QueryRows BatchPipeline::queries_of(std::size_t batch) const {
  if (!setup_.comm->is_root()) return {};
  return slice(queries_, group_.d, begin_of(batch), begin_of(batch + 1));
}

void BatchPipeline::ask_for_queries() {
  incoming_.reset();
  if (started_ == next_break_) return;
  incoming_ = broadcast_queries(setup_.channels->queries, queries_of(started_), begin_of(started_ + 1) - begin_of(started_), group_.d,
                                group_.choose_together, group_.has_slopes(), !setup_.tensors->origin().offset.empty());
}

void BatchPipeline::start() {
  auto const first = begin_of(started_);
  auto const& comm = setup_.channels->of_batch(started_);
  auto queries = incoming_->take();
  ++started_;
  ask_for_queries();
  auto const shard = key_shard(group_.n, setup_.config->block, comm.rank(), comm.size());
  // One batch at a time where passes may be left; and what an earlier run left is of the first.
  bool const known = started_ == known_ + 1 || (progress_.breaks() && group_.parts_per_pass > 1);
  auto* const partial = known ? &progress_.partial().batch : nullptr;
  auto& batch = in_flight_.emplace_back(
      InFlightBatch{queries, BatchRun(setup_, comm, group_, draw_, shard, queries, first, progress_, partial), std::nullopt});
  batch.task = run_batch(batch.batch, comm);
}

void BatchPipeline::compute(InFlightBatch& next) {
  next.batch.turn().grant();
  phases_.start();
  next.task->advance();
  phases_.stop(Phase::merge);
}

void BatchPipeline::advance_messages(bool waiting) {
  std::int64_t const steps = task_steps;
  phases_.start();
  for (auto& batch : in_flight_) batch.task->advance();
  if (incoming_) incoming_->advance();
  bool const blocked = waiting && task_steps == steps;
  if (blocked) {
    waiting_.pause();
  } else {
    waiting_.reset();
  }
  phases_.stop(blocked ? Phase::exposed : Phase::merge);
}

Task<BatchPipeline::Packed> BatchPipeline::run_batch(BatchRun& batch, Communicator const& comm) {
  auto running = batch.run();
  auto const rows = co_await running;
  Packed packed;
  if (progress_.stopped()) co_return std::move(packed);
  auto const axes = case_axes(group_);
  for (std::size_t i = 0; i < group_.cases.size(); ++i) {
    auto const fields = field_axes(group_, *setup_.config, group_.cases[i]);
    auto gathering = gather(comm, pack_rows(rows, axes.law_of_case[i], axes.selector_of_case[i], fields));
    auto& all = packed.emplace_back();
    for (auto const& part : co_await gathering) all.insert(all.end(), part.begin(), part.end());
  }
  co_return std::move(packed);
}

}  // namespace asymptop
