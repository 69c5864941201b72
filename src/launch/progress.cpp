#include "launch/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "config/number_text.hpp"
#include "kernels/core/counts.hpp"

namespace asymptop {
namespace {

constexpr double seconds_between_lines = 30.0, seconds_between_bars = 0.2;

std::string clock_text(double seconds) {
  auto const whole = std::llround(seconds);
  if (whole >= 3600) return formatted("%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  return formatted("%lld:%02lld", whole / 60, whole % 60);
}

}  // namespace

Progress::Progress(bool active, double total) : active_(active), terminal_(isatty(STDERR_FILENO) != 0), total_(std::max(total, 1e-9)) {}

Progress::~Progress() { clear(); }

void Progress::update(double done, std::string const& what) {
  auto const now = Clock::now();
  double const since = std::chrono::duration<double>(now - last_).count();
  if (!active_ || since < (terminal_ ? seconds_between_bars : seconds_between_lines)) return;
  last_ = now;
  double const elapsed = std::chrono::duration<double>(now - begin_).count(), part = std::clamp(done / total_, 0.0, 1.0);
  std::string const left = part > 0.0 ? clock_text(elapsed * (1.0 - part) / part) : "?";
  if (!terminal_) {
    std::fprintf(stderr, "asymptop: %.0f%% done, %s elapsed, about %s left, at %s\n", part * 100.0, clock_text(elapsed).c_str(),
                 left.c_str(), what.c_str());
    return;
  }
  int const filled = checked_int(part * 30.0);
  std::fprintf(stderr, "\r\033[K[%s%s] %3.0f%%  %s left  %s", std::string(filled, '#').c_str(), std::string(30 - filled, '.').c_str(),
               part * 100.0, left.c_str(), what.c_str());
  shown_ = true;
}

void Progress::clear() {
  if (shown_) std::fprintf(stderr, "\r\033[K");
  shown_ = false;
}

}  // namespace asymptop
