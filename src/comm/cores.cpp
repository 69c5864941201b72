#include "comm/cores.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <string>

namespace asymptop {
namespace {

cpu_set_t at_start;
bool known_at_start = false;

void ask_at_start() { known_at_start = sched_getaffinity(0, sizeof at_start, &at_start) == 0; }

/// Functions of this section run before the constructors of the libraries that the program is linked to, OpenMP's among them.
__attribute__((section(".preinit_array"), used)) void (*const asks_at_start)() = ask_at_start;

std::vector<int> cores_of(cpu_set_t const& set) {
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

}  // namespace

std::vector<int> process_cores() { return known_at_start ? cores_of(at_start) : std::vector<int>(); }

std::vector<std::vector<int>> thread_cores() {
  using Host = Kokkos::DefaultHostExecutionSpace;
  int const threads = Host().concurrency();
  std::vector<std::vector<int>> cores(threads);
  auto* of_thread = cores.data();
  Kokkos::parallel_for("Asymptop::comm::thread_cores", Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Static>>(0, threads),
                       [=](int const t) {
                         cpu_set_t set;
                         CPU_ZERO(&set);
                         if (sched_getaffinity(0, sizeof set, &set) == 0) of_thread[t] = cores_of(set);
                       });
  Host().fence();
  return cores;
}

std::string core_text(std::vector<std::vector<int>> const& threads) {
  auto const list = [](std::vector<int> const& cores) {
    std::string text;
    for (int const core : cores) text += (text.empty() ? "" : ",") + std::to_string(core);
    return cores.empty() ? "unknown" : text;
  };
  std::string text;
  bool const same = std::equal(threads.begin() + 1, threads.end(), threads.begin());
  for (auto const& cores : threads) {
    text += (text.empty() ? "" : ";") + list(cores);
    if (same) break;
  }
  return text;
}

OnCores::OnCores(std::vector<int> const& cores) {
  if (cores.empty() || sched_getaffinity(0, sizeof before_, &before_) != 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int const core : cores) CPU_SET(core, &set);
  changed_ = sched_setaffinity(0, sizeof set, &set) == 0;
}

OnCores::~OnCores() {
  if (changed_) sched_setaffinity(0, sizeof before_, &before_);
}

}  // namespace asymptop
