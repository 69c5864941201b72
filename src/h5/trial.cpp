#include "h5/trial.hpp"

#include <fcntl.h>
#include <hdf5.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "config/errors.hpp"

namespace asymptop::h5 {
namespace {

constexpr rlim_t most_processor_seconds = 10, bytes_per_second = 20'000'000, more_address_space = rlim_t{16} << 30;

rlim_t address_space_in_use() {
  unsigned long long pages = 0;
  if (auto* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%llu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * sysconf(_SC_PAGESIZE);
}

[[noreturn]] void be_the_child(std::function<void()> const& read, std::uintmax_t bytes) {
  for (int const signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM, SIGTERM, SIGUSR1, SIGXCPU}) std::signal(signal, SIG_DFL);
  auto const lower = [](auto resource, rlim_t value) {
    rlimit limit{};
    getrlimit(resource, &limit);
    limit.rlim_cur = limit.rlim_max < value ? limit.rlim_max : value;
    setrlimit(resource, &limit);
  };
  lower(RLIMIT_CORE, 0);
  lower(RLIMIT_CPU, most_processor_seconds + bytes / bytes_per_second);
  lower(RLIMIT_AS, address_space_in_use() + more_address_space);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  // What the C library says of a damaged heap is not for the user.
  if (int const nowhere = open("/dev/null", O_WRONLY); nowhere >= 0) dup2(nowhere, STDERR_FILENO);
#ifdef __GLIBC__
  mallopt(M_PERTURB, 0xa5);  // memory that is used after it was given back shows
#endif
  try {
    read();
  } catch (std::exception const&) {  // the parent will meet it too, and report it
  }
  // Damage to the heap that has not shown yet does so here rather than later in the parent.
  H5garbage_collect();
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  _exit(0);
}

}  // namespace

bool ends_in_child(std::function<void()> const& read, std::uintmax_t bytes) {
  pid_t const child = fork();
  if (child < 0) throw RunError("cannot start a process to try a file in");
  if (child == 0) be_the_child(read, bytes);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw RunError("lost the process that tries a file");
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace asymptop::h5
