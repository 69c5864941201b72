// Cores that this process and its threads may use.
#pragma once

#include <sched.h>

#include <string>
#include <vector>

namespace asymptop {

/// Logical CPUs of this process as its launcher left them, ascending; empty where the system does not say. Asked before any library is
/// started: with OMP_PROC_BIND=true OpenMP's binds the first thread to one core as it is loaded, and what main() sees is that core alone.
std::vector<int> process_cores();

/// The same of each thread of Kokkos' host space, in the order of its threads.
std::vector<std::vector<int>> thread_cores();

/// As a text: `0,1` where all threads may use the same cores, else `0;1`, one entry a thread; `unknown` where the system does not say.
std::string core_text(std::vector<std::vector<int>> const& threads);

/// For as long as it lives the calling thread may use these cores; so may processes that it starts, for good. No cores: all as it was.
class OnCores {
 public:
  explicit OnCores(std::vector<int> const& cores);
  ~OnCores();
  OnCores(OnCores const&) = delete;
  OnCores& operator=(OnCores const&) = delete;

 private:
  cpu_set_t before_;
  bool changed_ = false;
};

}  // namespace asymptop
