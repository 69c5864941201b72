// Start MPI and Kokkos where the command needs them, run it, turn exceptions into messages and exit codes.
#include "app/program.hpp"

#include <mpi.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "app/file_commands.hpp"
#include "attend/command.hpp"
#include "bench/command.hpp"
#include "bench/yardsticks.hpp"
#include "comm/cores.hpp"
#include "comm/peer_watch.hpp"
#include "config/errors.hpp"
#include "h5/h5.hpp"
#include "kernels/core/counts.hpp"
#include "kernels/device/memory.hpp"
#include "launch/launch.hpp"
#include "launch/machine.hpp"
#include "launch/performance_tools.hpp"
#include "launch/stop.hpp"
#include "precision/command.hpp"
#include "results/provenance.hpp"
#include "study/command.hpp"
#include "study/simulate/command.hpp"

extern "C" void openblas_set_num_threads(int);

namespace asymptop {
namespace {

std::vector<Command> const& commands() {
  static std::vector<Command> const all{study_command(),
                                        attend_command(),
                                        simulate_command(),
                                        precision_command(),
                                        bench_command(),
                                        {"compare", "do two results files hold the same data?", nullptr, nullptr, false, run_compare},
                                        {"merge", "join case files into one results file", nullptr, nullptr, false, run_merge},
                                        {"info", "where a results file comes from, and its verdicts", nullptr, nullptr, false, run_info}};
  return all;
}

/// nullptr where there is none of that name.
Command const* find_command(int argc, char** argv) {
  for (auto const& command : commands()) {
    if (argc > 1 && command.name == argv[1]) return &command;
  }
  return nullptr;
}

std::string usage() {
  std::string text =
      "asymptop: how sparse is attention as the context grows? Exact and top-k attention over sequence shards, measured.\n"
      "\n"
      "usage: [mpirun -n P] asymptop COMMAND [options]\n"
      "\n";
  for (auto const& one : commands())
    text += "  " + one.name + std::string(one.name.size() < 10 ? 10 - one.name.size() : 1, ' ') + one.summary + "\n";
  return text +
         "\n"
         "  asymptop COMMAND --help   the command's options\n"
         "  asymptop --version\n"
         "\n"
         "A first study:  mpirun -n 2 asymptop study --n 2^10:2^16 --sigma 1,2 -o results.h5\n"
         "Its report:     python3 -m asymptop report results.h5\n";
}

/// --threads must be known before Kokkos starts. A command line that does not parse is refused later, with its message.
int threads_option(Command const* command, int argc, char** argv) {
  if (command == nullptr || command->threads == nullptr) return 0;
  try {
    return command->threads(argc - 1, argv + 1, false).value_or(0);
  } catch (std::exception const&) {
    return 0;
  }
}

/// Settings that libraries read when they are loaded: made, then the program starts again in its place. A barrier that spins for
/// long costs a whole time slice when another program wants the core (seen: 17 s instead of 0.6).
void settle_environment(char** argv) {
  prctl(PR_SET_NAME, "asymptop");  // started again it would be called "exe"
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  // Binding is the launcher's business unless someone has asked OpenMP for it.
  bool asked = false;
  for (auto const* name : {"OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"}) asked = asked || std::getenv(name) != nullptr;
  if (!asked) setenv("OMP_PROC_BIND", "false", 0);
  setenv("KOKKOS_DISABLE_WARNINGS", "1", 0);
  setenv("OPENBLAS_NUM_THREADS", "1", 1);  // as below; threads that it makes when it is loaded would spin for 20 ms of each core
  OnCores const all(process_cores());      // not the one core that the first thread may be bound to by now
  execv("/proc/self/exe", argv);           // returns only if it cannot: then things are as they were, and still right
}

/// Open MPI takes a process that has the variables of a step of Slurm for one of its ranks, and ends with a page of advice where srun has
/// not told it so by PMI: in the shell of `srun --pty`, say. It is alone then, and Slurm's list of nodes is out of sight while MPI starts.
class HiddenStep {
 public:
  HiddenStep() {
    for (auto const* told : {"PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "PMI_FD", "PMI_PORT", "OMPI_COMM_WORLD_SIZE"}) {
      if (std::getenv(told) != nullptr) return;
    }
    if (std::getenv("SLURM_STEP_ID") == nullptr || std::getenv(variable) == nullptr) return;
    nodes_ = std::getenv(variable);
    unsetenv(variable);
  }
  ~HiddenStep() {
    if (!nodes_.empty()) setenv(variable, nodes_.c_str(), 1);
  }
  HiddenStep(HiddenStep const&) = delete;
  HiddenStep& operator=(HiddenStep const&) = delete;

 private:
  static constexpr char const* variable = "SLURM_NODELIST";
  std::string nodes_;
};

/// What one process does alone, without MPI and Kokkos: work on files, texts about the program. In a launched run it is rank 0
/// that does it. For command lines of which needs_no_ranks is true.
int without_ranks(Command const* command, int argc, char** argv) {
  std::string const word = argc > 1 ? argv[1] : "--help";
  if (word == "--version") {
    std::cout << version_text() << "\n";
    return 0;
  }
  if (word == "--help" || word == "-h" || word == "help") {
    std::cout << usage();
    return argc > 1 ? 0 : 2;
  }
  if (command == nullptr) {
    std::string names;
    for (auto const& one : commands()) names += (names.empty() ? "" : ", ") + one.name;
    throw UsageError("command", word, "is none of: " + names + "; see asymptop --help");
  }
  if (command->run_on_files != nullptr) return command->run_on_files(argc - 1, argv + 1);
  command->threads(argc - 1, argv + 1, true);
  return 0;
}

/// Work on files, help, the version, or a command that there is not.
bool needs_no_ranks(Command const* command, int argc, char** argv) {
  if (command == nullptr || command->run_on_files != nullptr) return true;
  bool const help = std::any_of(argv + 2, argv + argc, [](std::string const& text) {
    return text == "--help" || text == "-h" || text.rfind("--help-selector", 0) == 0;
  });
  try {
    return help && !command->threads(argc - 1, argv + 1, false);
  } catch (std::exception const&) {
    return false;
  }
}

int run_command(Communicator const& comm, int argc, char** argv) {
  auto const* const command = find_command(argc, argv);
  if (!needs_no_ranks(command, argc, argv)) return command->run(comm, argc - 1, argv + 1);
  return comm.is_root() ? without_ranks(command, argc, argv) : 0;
}

int world_rank = 0;

/// In one piece: other ranks may be writing too.
void complain(std::string const& message) { std::cerr << "asymptop: " + message + "\n" << std::flush; }

constexpr char const* out_of_memory = "out of memory; lower --n, --rows or k, or use more nodes";

/// One line that names the rank and its host. Then all ranks end.
[[noreturn]] void end_all_ranks(std::string const& message) {
  complain("rank " + std::to_string(world_rank) + " on " + host_name() + ": " + message);
  alarm(5);  // should MPI be stuck
  MPI_Abort(MPI_COMM_WORLD, 1);
  _exit(1);
}

/// Where an exception goes that nothing catches: the stack still stands then. Unwinding it could wait for other ranks, in the destructor
/// of a file that all have open, say.
[[noreturn]] void end_with_exception() {
  try {
    if (auto const error = std::current_exception()) std::rethrow_exception(error);
  } catch (std::bad_alloc const&) {
    end_all_ranks(out_of_memory);
  } catch (std::exception const& error) {
    end_all_ranks(error.what());
  } catch (...) {
  }
  end_all_ranks("ended by an unknown error");
}

/// For what a rank may wait for in vain: unless this object goes away in time, all ranks end.
class Deadline {
 public:
  explicit Deadline(std::string message)
      : thread_([this, message = std::move(message)] {
          std::unique_lock lock(mutex_);
          if (!wake_.wait_for(lock, std::chrono::seconds(5), [this] { return met_; })) end_all_ranks(message);
        }) {}
  ~Deadline() {
    {
      std::lock_guard const lock(mutex_);
      met_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool met_ = false;
  std::thread thread_;
};

/// A table that nobody got is a failure, also where all else went well: a full disk, say, behind a redirection.
int output_checked(int code) {
  std::cout << std::flush;
  if (std::cout) return code;
  complain("standard output could not be written to its end");
  return std::max(code, 1);
}

/// One rank waits for no other: every error becomes a line and a code. libhdf5 does not survive the end of MPI after some failed writes,
/// so only usage errors, which come before anything is written, leave by that way.
int alone(std::function<int()> const& work) {
  std::string message;
  try {
    return work();
  } catch (UsageError const& error) {
    complain(error.what());
    return 2;
  } catch (std::bad_alloc const&) {
    message = out_of_memory;
  } catch (std::exception const& error) {
    message = error.what();
  }
  complain(message);
  _exit(output_checked(1));
}

/// Usage errors are found by all ranks alike, or told to all: rank 0 prints. Other errors may be one rank's own and are not caught, but
/// for a rank that is alone: see end_with_exception. `leaving`: a communicator on which nothing else happens than that all ranks meet in
/// the end.
int guarded(Communicator const& comm, Communicator const& leaving, int argc, char** argv) {
  if (comm.size() == 1) return alone([&] { return run_command(comm, argc, argv); });
  std::int64_t code = 2;
  std::optional<Deadline> deadline;
  try {
    code = run_command(comm, argc, argv);
  } catch (UsageError const& error) {
    if (comm.is_root()) complain(error.what());
    deadline.emplace(error.what());  // should the others have found nothing wrong, they will not come
  }
  // Rank 0 may have done a command's work alone: all ranks leave with its code.
  return checked_int(leaving.max(code));
}

}  // namespace

int run_program(int argc, char** argv) {
  if (run_as_sgemm_child(argc, argv)) return 0;
  // A write beyond the limit on a file's size fails, with a message, and does not end the process without one.
  std::signal(SIGXFSZ, SIG_IGN);
#if !H5_VERSION_GE(1, 10, 7)  // which do without where it is not asked for
  setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
#endif
  auto const* const command = find_command(argc, argv);
  // Of several processes that a launcher started, one must do the work and all must leave with its code: MPI tells them apart.
  if (started_alone([](char const* name) { return std::getenv(name); }) && needs_no_ranks(command, argc, argv)) {
    h5::silence();
    return output_checked(alone([&] { return without_ranks(command, argc, argv); }));
  }
  bool const can_stop = command != nullptr && command->can_stop;
  if (can_stop) hold_stop_signals();
  settle_environment(argv);
  int provided = 0;
  {
    HiddenStep const hidden;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  }
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  std::set_terminate(end_with_exception);
  int code = 0;
  {
    Communicator const comm(MPI_COMM_WORLD), leaving(MPI_COMM_WORLD);
    auto const [on_node, place] = place_on_node(comm);
    device::choose_gpu(place);
    std::optional<PeerWatch> watch;
    if (on_node < comm.size()) watch.emplace(end_all_ranks);
    h5::silence();
    openblas_set_num_threads(1);     // tiles are spread over threads by Kokkos; a BLAS of many threads would change bits
    unsetenv("KOKKOS_NUM_THREADS");  // it would overrule --threads
#ifdef _OPENMP
    omp_set_dynamic(0);  // Kokkos holds as many threads as it found at its start
    omp_set_num_threads(choose_threads(threads_option(command, argc, argv), on_node));
#endif
    Kokkos::initialize();
    // Not before: what MPI loads may handle the signals in its own way (LLVM, through hwloc's look for OpenCL devices, does).
    if (can_stop) listen_for_stop(comm.is_root());
    std::optional<StopWatch> stop_watch;
    if (can_stop) stop_watch.emplace(std::string(argv[1]) == "study", end_all_ranks);
    {
      PerformanceTools const tools(comm);
      code = output_checked(guarded(comm, leaving, argc, argv));
    }
    stop_watch.reset();
    Kokkos::finalize();
  }
  MPI_Finalize();
  return code;
}

}  // namespace asymptop
