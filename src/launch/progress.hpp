// Progress of a study on stderr: a bar with time left on a terminal, else a line every 30 s. For rank 0 only.
#pragma once

#include <chrono>
#include <string>

namespace asymptop {

class Progress {
 public:
  /// total: estimated seconds of all work, used as weights only.
  Progress(bool active, double total);
  ~Progress();
  /// `done` of the total weight is finished; `what` is being measured.
  void update(double done, std::string const& what);
  /// Clears the bar so that another line can be printed.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool active_, terminal_;
  double total_;
  Clock::time_point begin_ = Clock::now(), last_ = begin_;
  bool shown_ = false;
};

}  // namespace asymptop
