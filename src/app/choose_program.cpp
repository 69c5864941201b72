// `asymptop` where the program was built for several levels of CPUs: the best of them that this CPU has takes this process's place, so
// launchers see one process and each rank has its own. ASYMPTOP_CPU in the environment names another.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "launch/cpu_features.hpp"

namespace asymptop {
namespace {

[[noreturn]] void refuse(std::string const& why) {
  std::fprintf(stderr, "asymptop: %s\n", why.c_str());
  std::exit(2);
}

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

/// Where this file lies, links followed.
std::string own_folder() {
  char path[4096];
  auto const length = readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0 || length == sizeof path) refuse("the place of the program cannot be read from /proc/self/exe");
  std::string const own(path, path + length);
  return own.substr(0, own.rfind('/'));
}

std::string program(std::string const& folder, int level) { return folder + "/" + numbered_level(level).name + "/asymptop"; }

/// Levels whose programs lie in the folder.
unsigned levels_in(std::string const& folder) {
  unsigned there = 0;
  for (int level = 0; level < level_count; ++level) {
    if (access(program(folder, level).c_str(), X_OK) == 0) there |= 1u << level;
  }
  return there;
}

std::string names(unsigned levels) {
  std::string text;
  for (int level = 0; level < level_count; ++level) {
    if ((levels >> level & 1u) != 0) text += (text.empty() ? "" : ", ") + std::string(numbered_level(level).name);
  }
  return text;
}

int chosen_level(unsigned there, std::string const& folder) {
  auto const cpu = this_cpu();
  char const* const pretended = std::getenv("ASYMPTOP_TEST_MISSING_CPU_FEATURE");
  char const* const asked = std::getenv("ASYMPTOP_CPU");
  if (asked == nullptr || *asked == '\0') {
    int const level = best_level(cpu, there, pretended);
    if (level >= 0) return level;
    int plainest = 0;
    while ((there >> plainest & 1u) == 0) ++plainest;
    refuse("host " + host_name() + ": its CPU lacks " + missing_feature(cpu, numbered_level(plainest).wanted, pretended) +
           ", and the program is built for " + names(there) + " alone: name x86-64 in ASYMPTOP_CPUS too");
  }
  auto const what = "ASYMPTOP_CPU=" + std::string(asked);
  int const level = level_of_name(asked);
  if (level < 0 || (there >> level & 1u) == 0)
    refuse(what + (level < 0 ? " is no level of CPUs" : " is not built") + "; " + folder + " has " + names(there));
  if (auto const* missing = missing_feature(cpu, numbered_level(level).wanted, pretended))
    refuse(what + " needs " + missing + ", which the CPU of host " + host_name() + " lacks");
  return level;
}

void become_program(char** argv) {
  auto const own = own_folder();
  for (auto const& folder : {own + "/libexec/asymptop", own + "/" + ASYMPTOP_INSTALLED_PROGRAMS}) {
    unsigned const there = levels_in(folder);
    if (there == 0) continue;
    auto const path = program(folder, chosen_level(there, folder));
    execv(path.c_str(), argv);
    refuse(path + " cannot be run: " + std::strerror(errno));
  }
  refuse("there are no programs in " + own + "/" + ASYMPTOP_INSTALLED_PROGRAMS + ": they are installed together with this one");
}

}  // namespace
}  // namespace asymptop

int main(int, char** argv) { asymptop::become_program(argv); }
