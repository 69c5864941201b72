// Compiled for the plainest CPU, and run before any other code of the program: where the CPU lacks what the rest was compiled for, the
// first instruction of that kind would end the process without a word.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <initializer_list>

extern "C" char const* const asymptop_compiled_for;

namespace {

#if defined(__x86_64__)
/// The first of the features that the CPU lacks; nullptr when it has them all. For tests, one that is named in the environment is
/// taken for missing.
char const* missing_feature() {
  char const* const pretended = std::getenv("ASYMPTOP_TEST_MISSING_CPU_FEATURE");
  auto const lacks = [&](char const* name, int supported) {
    return supported == 0 || (pretended != nullptr && std::strcmp(pretended, name) == 0);
  };
  __builtin_cpu_init();
  bool const wide = std::strcmp(asymptop_compiled_for, "avx512") == 0;
  if (!wide && std::strcmp(asymptop_compiled_for, "avx2") != 0) return nullptr;
  if (lacks("avx2", __builtin_cpu_supports("avx2"))) return "avx2";
  if (lacks("fma", __builtin_cpu_supports("fma"))) return "fma";
  if (!wide) return nullptr;
  if (lacks("avx512f", __builtin_cpu_supports("avx512f"))) return "avx512f";
  if (lacks("avx512bw", __builtin_cpu_supports("avx512bw"))) return "avx512bw";
  if (lacks("avx512dq", __builtin_cpu_supports("avx512dq"))) return "avx512dq";
  if (lacks("avx512vl", __builtin_cpu_supports("avx512vl"))) return "avx512vl";
  return nullptr;
}

void say(char const* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) _exit(2);
}

[[gnu::constructor(101)]] void check_cpu() {
  char const* const missing = missing_feature();
  if (missing == nullptr) return;
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  char const* const name = host;
  for (char const* text : {"asymptop: host ", name, ": this build needs the CPU's ", missing,
                           ", which it lacks: take nodes of one kind, or build for all with -DASYMPTOP_NATIVE=OFF\n"})
    say(text);
  _exit(2);
}
#endif

}  // namespace
