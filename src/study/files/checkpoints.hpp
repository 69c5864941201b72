// The draws so far of the cases in work, and what is known of the draw in work, written down now and then. For the rank that holds the
// cases' data.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "launch/left_behind.hpp"
#include "study/files/case_file.hpp"
#include "study/files/draw_file.hpp"
#include "study/files/resume.hpp"

namespace asymptop {

/// Makes the folder of case files ready, and says what was discarded there.
inline void begin_output(RunConfig const& config) { say_discarded(start_output(config.output, config.force)); }

class Checkpoints {
 public:
  using Clock = std::chrono::steady_clock;
  Checkpoints(RunConfig const& config, Provenance const& provenance) : config_(config), provenance_(provenance) {}

  /// A group is started, with what an earlier run has spent on it.
  void start(std::vector<StudyCase> const& cases, double spent) {
    begin_ = written_ = Clock::now();
    draws_ = cases.front().draws();
    spent_ = spent;
  }
  /// Of the group, over all runs that worked on it.
  double seconds_total() const { return spent_ + seconds_since(begin_); }
  /// Whether --checkpoint-minutes have passed, and long enough that writing takes no more than a fiftieth of the time.
  bool due() const { return seconds_since(written_) >= std::max(60.0 * config_.checkpoint_minutes, 50.0 * cost_); }
  /// Draws have been added: writes, when it is due.
  void added(std::vector<StudyCase>& cases) {
    if (due()) write(cases);
  }
  /// Writes, unless these draws are written already. What was written of the draw in work is outdated then.
  void write(std::vector<StudyCase>& cases) {
    if (cases.front().draws() == draws_) return;
    auto const begin = Clock::now();
    for (auto& item : cases) {
      item.seconds_total = seconds_total();
      write_checkpoint(config_.output, provenance_, item);
    }
    draws_ = cases.front().draws();
    remove_draw(config_.output, cases.front());
    wrote(begin);
  }
  /// The same, and what is known of the draw after these.
  void write(std::vector<StudyCase>& cases, PartialDraw const& partial) {
    auto const begin = Clock::now();
    write(cases);
    write_draw(config_.output, provenance_, cases.front(), partial, seconds_total());
    wrote(begin);
  }

 private:
  void wrote(Clock::time_point begin) {
    written_ = Clock::now();
    cost_ = config_.checkpoint_minutes > 0.0 ? seconds_since(begin) : 0.0;
  }
  static double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

  RunConfig const& config_;
  Provenance const& provenance_;
  Clock::time_point begin_, written_;
  std::int64_t draws_ = 0;  ///< written
  double spent_ = 0.0;
  double cost_ = 0.0;  ///< seconds of the last write; 0 where every chance to write is wanted
};

}  // namespace asymptop
