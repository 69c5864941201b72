#include "draw/first_pass.hpp"

#include "kernels/core/region.hpp"

namespace asymptop {
namespace {

using Space = RunSpace;

Phase phase_of(PathPart part) {
  switch (part) {
    case PathPart::score:
      return Phase::score;
    case PathPart::select:
      return Phase::select;
    case PathPart::refine:
      return Phase::refine;
    case PathPart::audit:
      return Phase::audit;
    case PathPart::attend:
      return Phase::attend;
  }
  return Phase::evaluate;
}

/// Thresholds to start from, where a sample helps. They leave candidates enough of as few keys as the walk may see.
void guess_first_thresholds(Space const& space, FirstPass<Space>& pass, ShardTensors<Space>& tensors, KeyWalk const& walk) {
  auto const keys = walk.keys_of_first_part();
  int const sample = pass.sample_of(keys, tensors.resident());
  if (sample > 0) pass.take_sample(space, tensors.packed_sample(sample / key_group).data(), sample, tensors.size(), keys);
}

}  // namespace

void walk_keys(Space const& space, KeyPass<Space>& pass, ShardTensors<Space>& tensors, KeyWalk& walk, PhaseTimes& phases) {
  StepWatch const watch{[&](PathPart part) { phases.stop(phase_of(part)); }, {}};
  walk.run(pass.step(tensors.resident()), [&](LocalIndex const first, int const count) {
    phases.between_steps();
    phases.start();
    int const padded = pass.padded(count);
    // A device that makes them itself may be all that wants them.
    bool const made_there = pass.wants_on_device() && tensors.made_on_device();
    KeyStep<Space> step{first, count, padded, {}, {}};
    if (!made_there) step.keys = tensors.key_tile(first, count, padded);
    if constexpr (is_host_space<Space>) {
      if (made_there) {
        step.on_device = tensors.keys_on_device(first, count, pass.wants_screen());
        step.make_packed = [&](LocalIndex from, int keys) { return tensors.packed_keys(from, keys); };
      }
    }
    if (pass.wants_quantised()) step.quantised = tensors.quantised_keys(first, count);
    if (pass.wants_values() && !made_there) step.values = tensors.values(first, count, padded);
    if constexpr (is_host_space<Space>) {
      if (pass.wants_on_device() && !made_there) step.on_device = tensors.keys_on_device(first, count, pass.wants_screen());
      if (pass.wants_on_device() && pass.wants_values()) step.on_device = tensors.values_on_device(first, count, pass.wants_split());
    }
    phases.stop(Phase::generate);
    pass.add(space, step, watch);
  });
  phases.start();
  pass.finish(space, watch);
}

std::shared_ptr<FirstPass<Space>> taken_first_pass(Space const& space, PathBatch<Space>& batch, ShardTensors<Space>& tensors, int keep,
                                                   bool profile, KeyWalk& walk, PhaseTimes& phases,
                                                   std::shared_ptr<FirstPass<Space>> before) {
  Region const region(profile ? "Asymptop: profile" : "Asymptop: select");
  phases.start();
  std::shared_ptr<FirstPass<Space>> pass;
  if (before != nullptr && before->clear(space)) pass = before;
  before.reset();
  if (pass == nullptr) pass = batch.first_pass(space, {keep, profile});
  guess_first_thresholds(space, *pass, tensors, walk);
  phases.stop(Phase::select);
  walk_keys(space, *pass, tensors, walk, phases);
  if (auto* const again = pass->again(walk.keys_seen())) {
    KeyWalk same(walk.seen());
    walk_keys(space, *again, tensors, same, phases);
  }
  return pass;
}

ShardRows first_pass(Space const& space, PathBatch<Space>& batch, ShardTensors<Space>& tensors, int keep, bool profile, KeyWalk& walk,
                     PhaseTimes& phases, std::shared_ptr<FirstPass<Space>>* before) {
  std::shared_ptr<FirstPass<Space>> none, &kept = before != nullptr ? *before : none;
  kept = taken_first_pass(space, batch, tensors, keep, profile, walk, phases, std::move(kept));
  phases.start();
  ShardRows rows{{}, kept->heads(space)};
  if (profile) rows.moments = kept->moments(space);
  phases.stop(Phase::select);
  return rows;
}

}  // namespace asymptop
