// The keys of a shard that a pass has yet to see. A long pass is walked in parts, and may be left between two of them.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/core/counts.hpp"
#include "kernels/core/types.hpp"
#include "shard/partition.hpp"

namespace asymptop {

/// Ascending runs without overlaps or neighbours that touch, of any runs.
inline std::vector<Range> joined_runs(std::vector<Range> runs) {
  std::sort(runs.begin(), runs.end(), [](Range const& a, Range const& b) { return a.begin < b.begin; });
  std::vector<Range> joined;
  for (auto const& run : runs) {
    if (run.size() <= 0) continue;
    if (!joined.empty() && run.begin <= joined.back().end) {
      joined.back().end = std::max(joined.back().end, run.end);
    } else {
      joined.push_back(run);
    }
  }
  return joined;
}

/// What of `whole` is in none of the runs, which are as joined_runs gives them; counted from the beginning of `whole`.
inline std::vector<Range> runs_left(Range const& whole, std::vector<Range> const& runs) {
  std::vector<Range> left;
  GlobalIndex at = whole.begin;
  for (auto const& run : runs) {
    if (run.begin > at) left.push_back({at - whole.begin, std::min(run.begin, whole.end) - whole.begin});
    at = std::clamp(run.end, at, whole.end);
  }
  left.push_back({at - whole.begin, whole.size()});
  std::erase_if(left, [](Range const& run) { return run.size() <= 0; });
  return left;
}

inline GlobalIndex keys_of(std::vector<Range> const& runs) {
  GlobalIndex keys = 0;
  for (auto const& run : runs) keys += run.size();
  return keys;
}

/// How a pass is walked: in how many parts, cut at whole blocks, and what is asked between them. Other ranks ask as often.
struct WalkParts {
  int parts = 1;
  GlobalIndex block = 1;
  std::function<bool()> go_on{};  ///< called before each part but the first
};

/// One walk over keys of a shard, in ascending order.
class KeyWalk {
 public:
  /// All keys, without a break.
  explicit KeyWalk(GlobalIndex size) : KeyWalk({{0, size}}, {}) {}

  /// left: ascending runs of local keys, which begin and end at whole blocks or at the end of the shard.
  explicit KeyWalk(std::vector<Range> left, WalkParts parts = {}) : left_(std::move(left)), parts_(std::move(parts)) {}

  /// Calls visit(first, count) for pieces of at most `step` keys until all are seen or it is not to go on. Once.
  template <class Visit>
  void run(GlobalIndex step, Visit const& visit) {
    for (int part = 0; part < parts_.parts; ++part) {
      if (part > 0 && !parts_.go_on()) {
        left_early_ = true;
        return;
      }
      for (auto const& run : runs_of(part)) {
        for (auto first = run.begin; first < run.end; first += step)
          visit(local_index(first), checked_int(std::min(step, run.end - first)));
        seen_.push_back(run);
      }
    }
  }

  /// Keys that will be seen before it is asked for the first time whether to go on.
  GlobalIndex keys_of_first_part() const { return edge(1); }

  /// The runs that were seen, in order, and their keys.
  std::vector<Range> const& seen() const { return seen_; }
  GlobalIndex keys_seen() const { return keys_of(seen_); }

  /// It was not to go on, and there were parts to come.
  bool left_early() const { return left_early_; }

 private:
  /// Keys of all parts before this one.
  GlobalIndex edge(int part) const {
    auto const keys = keys_of(left_);
    if (part == parts_.parts) return keys;
    auto const blocks = keys / parts_.block;
    return (blocks / parts_.parts * part + blocks % parts_.parts * part / parts_.parts) * parts_.block;
  }

  std::vector<Range> runs_of(int part) const {
    std::vector<Range> runs;
    auto const begin = edge(part), end = edge(part + 1);
    GlobalIndex before = 0;
    for (auto const& run : left_) {
      auto const from = std::max(begin - before, GlobalIndex{0}), to = std::min(end - before, run.size());
      if (from < to) runs.push_back({run.begin + from, run.begin + to});
      before += run.size();
    }
    return runs;
  }

  std::vector<Range> left_, seen_;
  WalkParts parts_;
  bool left_early_ = false;
};

}  // namespace asymptop
