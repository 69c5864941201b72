// How the work of a pass, query panels x keys, is split over threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "types.hpp"

namespace asymptop {

/// Worker w takes panels range(w % row_parts) and keys range(w / row_parts). Rows whose keys are split need state for each part.
struct WorkSplit {
  int row_parts = 1;
  int key_parts = 1;
  int workers() const { return row_parts * key_parts; }
};

/// All threads work; keys are split as little as an even load allows, because each part of the keys needs state of its own.
inline WorkSplit split_work(int threads, int panels) {
  WorkSplit best{1, threads};
  double best_load = 1e300;
  for (int key_parts = 1; key_parts <= threads; ++key_parts) {
    if (threads % key_parts != 0) continue;
    int const row_parts = std::min(threads / key_parts, panels);
    int const most_panels = (panels + row_parts - 1) / row_parts;
    // Panels of the busiest worker, in units of an even share.
    double const load = 1.0 * most_panels / key_parts * threads / panels;
    if (load < best_load * 0.95) {
      best = {row_parts, key_parts};
      best_load = load;
    }
  }
  return best;
}

/// What the first worker of a pass does between two panels: nothing, unless messages want to be looked after.
struct NothingBetween {
  void operator()() const {}
};

/// Part `part` of `parts` of [0, count), in whole `unit`s.
struct Part {
  int begin;
  int end;
};
inline Part part_of(int count, int part, int parts, int unit = 1) {
  auto const units = (std::int64_t{count} + unit - 1) / unit;
  auto const edge = [&](int p) { return count_within(units * p / parts * unit, count); };
  return {edge(part), edge(part + 1)};
}

}  // namespace asymptop
