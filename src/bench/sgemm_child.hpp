// One process that measures cblas_sgemm with one of OpenBLAS's kernel sets.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace asymptop {

/// This program once more, as a child. One that cannot start or dies (of an unknown instruction) has no name and rate 0.
class SgemmChild {
 public:
  /// core_type: OPENBLAS_CORETYPE; empty leaves it as it is. cores: those that it runs on.
  SgemmChild(std::string const& core_type, int m, int keys, int d, std::vector<int> const& cores);
  ~SgemmChild();
  SgemmChild(SgemmChild const&) = delete;
  SgemmChild& operator=(SgemmChild const&) = delete;

  /// Name of the kernel set that it loaded.
  std::string wait_until_ready();
  /// Starts the timed samples.
  void go() const;
  /// GFLOP/s.
  double measure();

 private:
  std::string read_line() const;

  pid_t process_ = -1;
  int in_ = -1, out_ = -1;
  bool ready_ = false;
};

}  // namespace asymptop
