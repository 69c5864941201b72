// A child process that measures one BLAS kernel set, and the parent's handle on it.
//
//   parent                          child (OPENBLAS_CORETYPE set, one thread)
//   start all children         -->  load BLAS, warm up
//   wait for "ready" of all    <--  ready <kernel name>
//   "go" to all                -->  timed samples
//   read rates                 <--  <GFLOP/s>
#include "bench/sgemm_child.hpp"

#include <cblas.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <utility>
#include <vector>

#include "bench/yardsticks.hpp"
#include "comm/cores.hpp"
#include "comm/sample_statistics.hpp"

extern "C" {
char* openblas_get_corename();
void openblas_set_num_threads(int);
extern char** environ;
}

namespace asymptop {
namespace {

constexpr char const* child_argument = "--sgemm-yardstick-child";
constexpr double sample_seconds = 0.02;
constexpr int samples = 5;

/// This process's environment with the kernel set chosen and one thread.
std::vector<std::string> child_environment(std::string const& core_type) {
  // It runs on the cores that it is given: OpenMP would bind it to the first of them.
  std::vector<std::string> entries{"OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", "OMP_PROC_BIND=false"};
  if (!core_type.empty()) entries.push_back("OPENBLAS_CORETYPE=" + core_type);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string const text(*entry);
    bool replaced = false;
    for (auto const* name : {"OPENBLAS_NUM_THREADS=", "OMP_NUM_THREADS=", "OMP_PROC_BIND=", "OPENBLAS_CORETYPE="}) {
      replaced = replaced || (text.rfind(name, 0) == 0 && (!core_type.empty() || std::strcmp(name, "OPENBLAS_CORETYPE=") != 0));
    }
    if (!replaced) entries.push_back(text);
  }
  return entries;
}

double measure_sgemm(int m, int keys, int d) {
  auto const size = [](int rows, int columns) { return std::int64_t{rows} * columns; };
  std::vector<float> const a(size(m, d), 1.0f), b(size(keys, d), 0.5f);
  std::vector<float> c(size(m, keys));
  auto const timed = [&](int calls) {
    auto const begin = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, keys, d, 1.0f, a.data(), d, b.data(), d, 0.0f, c.data(), keys);
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  timed(1);
  double const once = timed(1);
  int const calls = std::max(1, checked_int(sample_seconds / std::max(once, 1e-8)));
  std::cout << "ready " << openblas_get_corename() << std::endl;
  std::string go;
  std::getline(std::cin, go);
  std::vector<double> rates;
  for (int s = 0; s < samples; ++s) rates.push_back(2.0 * m * d * keys * calls / timed(calls) / 1e9);
  return quantile(rates, 0.5);
}

}  // namespace

bool run_as_sgemm_child(int argc, char const* const* argv) {
  if (argc != 5 || std::strcmp(argv[1], child_argument) != 0) return false;
  openblas_set_num_threads(1);
  std::cout << measure_sgemm(std::atoi(argv[2]), std::atoi(argv[3]), std::atoi(argv[4])) << std::endl;
  return true;
}

SgemmChild::SgemmChild(std::string const& core_type, int m, int keys, int d, std::vector<int> const& cores) {
  int to_child[2], from_child[2];
  // Closed on exec, so that no child holds another's pipe open.
  if (pipe2(to_child, O_CLOEXEC) != 0) return;
  if (pipe2(from_child, O_CLOEXEC) != 0) {
    close(to_child[0]);
    close(to_child[1]);
    return;
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to_child[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, from_child[1], STDOUT_FILENO);
  // OpenBLAS says on stderr when it does not know a name: its kernel's name tells us.
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<std::string> words{"asymptop", child_argument, std::to_string(m), std::to_string(keys), std::to_string(d)};
  auto entries = child_environment(core_type);
  std::vector<char*> arguments, environment;
  for (auto& word : words) arguments.push_back(word.data());
  for (auto& entry : entries) environment.push_back(entry.data());
  arguments.push_back(nullptr);
  environment.push_back(nullptr);
  OnCores const here(cores);
  if (posix_spawn(&process_, "/proc/self/exe", &actions, nullptr, arguments.data(), environment.data()) != 0) process_ = -1;
  posix_spawn_file_actions_destroy(&actions);
  close(to_child[0]);
  close(from_child[1]);
  in_ = to_child[1];
  out_ = from_child[0];
}

SgemmChild::~SgemmChild() {
  if (in_ >= 0) close(in_);  // a child that still waits reads the end of its input and goes on to its own end
  if (out_ >= 0) close(out_);
  if (process_ > 0) waitpid(process_, nullptr, 0);
}

std::string SgemmChild::read_line() const {
  std::string line;
  for (char c = 0; process_ > 0 && read(out_, &c, 1) == 1 && c != '\n';) line += c;
  return line;
}

std::string SgemmChild::wait_until_ready() {
  auto const line = read_line();
  ready_ = line.rfind("ready ", 0) == 0;
  return ready_ ? line.substr(6) : "";
}

double SgemmChild::measure() {
  auto const line = read_line();
  return line.empty() ? 0.0 : std::strtod(line.c_str(), nullptr);
}

void SgemmChild::go() const {
  if (!ready_) return;  // a child that is gone has no rate, and writing to it would end this process
  [[maybe_unused]] auto const written = write(in_, "go\n", 3);
}

}  // namespace asymptop
