// Compiled for the plainest CPU, and run before any other code of the program: where the CPU lacks what the rest was compiled for, the
// first instruction of that kind would end the process without a word.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "launch/cpu_features.hpp"

extern "C" asymptop::CpuFeatures const asymptop_compiled_for;

namespace {

#if defined(__x86_64__)
void say(char const* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) _exit(2);
}

[[gnu::constructor(101)]] void check_cpu() {
  char const* const missing =
      asymptop::missing_feature(asymptop::this_cpu(), asymptop_compiled_for, std::getenv("ASYMPTOP_TEST_MISSING_CPU_FEATURE"));
  if (missing == nullptr) return;
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  char const* const name = host;
  for (char const* text :
       {"asymptop: host ", name, ": this build needs the CPU's ", missing,
        ", which it lacks: take nodes of one kind, or build for all with -DASYMPTOP_CPUS='x86-64;x86-64-v3;x86-64-v4'\n"})
    say(text);
  _exit(2);
}
#endif

}  // namespace
