// The draws so far of the cases in work, written down now and then. For the rank that holds the cases' data.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "app/left_behind.hpp"
#include "results/case_file.hpp"
#include "results/resume.hpp"

namespace asymptop {

/// Makes the folder of case files ready, and says what was discarded there.
inline void begin_output(RunConfig const& config) {
  say_discarded(start_output(config.output, config.force));
}

class Checkpoints {
 public:
  using Clock = std::chrono::steady_clock;
  Checkpoints(RunConfig const& config, Provenance const& provenance) : config_(config), provenance_(provenance) {}

  /// A group is started, with what an earlier run has spent on it.
  void start(std::vector<StudyCase> const& cases) {
    begin_ = written_ = Clock::now();
    draws_ = cases.front().draws();
    spent_ = cases.front().seconds_total;
  }
  /// Of the group, over all runs that worked on it.
  double seconds_total() const { return spent_ + seconds_since(begin_); }
  /// Draws have been added: writes, when --checkpoint-minutes have passed.
  void added(std::vector<StudyCase>& cases) {
    if (seconds_since(written_) >= 60.0 * config_.checkpoint_minutes) write(cases);
  }
  /// Writes, unless these draws are written already.
  void write(std::vector<StudyCase>& cases) {
    if (cases.front().draws() == draws_) return;
    for (auto& item : cases) {
      item.seconds_total = seconds_total();
      write_checkpoint(config_.output, provenance_, item);
    }
    draws_ = cases.front().draws();
    written_ = Clock::now();
  }

 private:
  static double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

  RunConfig const& config_;
  Provenance const& provenance_;
  Clock::time_point begin_, written_;
  std::int64_t draws_ = 0;  ///< written
  double spent_ = 0.0;
};

}  // namespace asymptop
