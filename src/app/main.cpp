// asymptop COMMAND [options]: start MPI and Kokkos, run one subcommand, turn exceptions into messages and exit codes.
#include <mpi.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <new>
#include <string>

#include "app/commands.hpp"
#include "app/machine.hpp"
#include "config/attend_config.hpp"
#include "config/bench_config.hpp"
#include "config/errors.hpp"
#include "config/run_config.hpp"
#include "h5/h5.hpp"
#include "measure/yardsticks.hpp"
#include "results/provenance.hpp"

extern "C" void openblas_set_num_threads(int);

namespace asymptop {
namespace {

constexpr char const* usage =
    "asymptop: how sparse is attention as the context grows? Exact and top-k attention over sequence shards, measured.\n"
    "\n"
    "usage: [mpirun -n P] asymptop COMMAND [options]\n"
    "\n"
    "  study     measure error of top-k attention, k_epsilon and effective entries over context lengths n; writes HDF5\n"
    "  attend    full attention: all n rows over n keys, exact and top-k, on a ring of ranks; norms of their difference; writes HDF5\n"
    "  bench     time the kernels on this machine and check their results; writes HDF5\n"
    "  compare   do two results files hold the same data?\n"
    "  merge     join case files into one results file\n"
    "  info      where a results file comes from, and its verdicts\n"
    "\n"
    "  asymptop COMMAND --help   the command's options\n"
    "  asymptop --version\n"
    "\n"
    "A first study:  mpirun -n 2 asymptop study --n 2^10:2^16 --sigma 1,2 -o results.h5\n"
    "Its report:     python3 -m asymptop report results.h5\n";

/// --threads must be known before Kokkos starts. A command line that does not parse is refused later, with its message.
int threads_option(int argc, char** argv) {
  std::string const command = argc > 1 ? argv[1] : "";
  auto const threads_of = [](auto const& config) { return config ? config->threads : 0; };
  try {
    if (command == "study") return threads_of(parse_study_options(argc - 1, argv + 1, false));
    if (command == "attend") return threads_of(parse_attend_options(argc - 1, argv + 1, false));
    if (command == "bench") return threads_of(parse_bench_options(argc - 1, argv + 1, false));
    return 0;
  } catch (std::exception const&) {
    return 0;
  }
}

/// Settings that libraries read when they are loaded: made, then the program starts again in its place. A barrier that spins for
/// long costs a whole time slice when another program wants the core (seen: 17 s instead of 0.6).
void settle_environment(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  setenv("OMP_PROC_BIND", "false", 0);  // binding is the launcher's business
  setenv("KOKKOS_DISABLE_WARNINGS", "1", 0);
  execv("/proc/self/exe", argv);  // returns only if it cannot: then things are as they were, and still right
}

int run_command(Communicator const& comm, int argc, char** argv) {
  std::string const command = argc > 1 ? argv[1] : "--help";
  if (command == "--version") {
    if (comm.is_root()) std::cout << version_text() << "\n";
    return 0;
  }
  if (command == "--help" || command == "-h" || command == "help") {
    if (comm.is_root()) std::cout << usage;
    return argc > 1 ? 0 : 2;
  }
  if (command == "study") return run_study(comm, argc - 1, argv + 1);
  if (command == "attend") return run_attend(comm, argc - 1, argv + 1);
  if (command == "bench") return run_bench(comm, argc - 1, argv + 1);
  if (command == "compare") return run_compare(comm, argc - 1, argv + 1);
  if (command == "merge") return run_merge(comm, argc - 1, argv + 1);
  if (command == "info") return run_info(comm, argc - 1, argv + 1);
  throw UsageError("command", command, "is none of: study, attend, bench, compare, merge, info; see asymptop --help");
}

/// Usage errors are found by all ranks alike, or told to all: rank 0 prints. Other errors may be one rank's own: it prints and
/// ends all ranks.
int guarded(Communicator const& comm, int argc, char** argv) {
  auto const fail = [&](std::string const& message) {
    std::cerr << "asymptop: rank " << comm.rank() << ": " << message << std::endl;
    MPI_Abort(comm.get(), 1);
    return 1;
  };
  int code = 2;
  try {
    try {
      code = run_command(comm, argc, argv);
    } catch (UsageError const& error) {
      if (comm.is_root()) std::cerr << "asymptop: " << error.what() << std::endl;
    }
    // Rank 0 may have done a command's work alone: all ranks leave with its code.
    return static_cast<int>(comm.max(static_cast<std::int64_t>(code)));
  } catch (std::bad_alloc const&) {
    return fail("out of memory; lower --n, --rows or k, or use more nodes");
  } catch (std::exception const& error) {
    return fail(error.what());
  }
}

}  // namespace
}  // namespace asymptop

int main(int argc, char** argv) {
  if (asymptop::run_as_sgemm_child(argc, argv)) return 0;
  asymptop::settle_environment(argv);
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int code = 0;
  {
    asymptop::Communicator const comm(MPI_COMM_WORLD);
    asymptop::h5::silence();
    openblas_set_num_threads(1);  // tiles are spread over threads by Kokkos; a BLAS of many threads would change bits
#ifdef _OPENMP
    omp_set_num_threads(asymptop::choose_threads(asymptop::threads_option(argc, argv), asymptop::ranks_on_node(comm)));
#endif
    Kokkos::initialize();
    code = asymptop::guarded(comm, argc, argv);
    Kokkos::finalize();
  }
  MPI_Finalize();
  return code;
}
