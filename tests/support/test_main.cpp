// main() of all GoogleTest programs: MPI and Kokkos around the tests; a failure on any rank fails the program.
#include <gtest/gtest.h>
#include <mpi.h>

#include <Kokkos_Core.hpp>
#include <cstdlib>
#include <iterator>

#include "bench/yardsticks.hpp"
#include "comm/cores.hpp"
#include "comm/waiting.hpp"

extern "C" void openblas_set_num_threads(int);

int main(int argc, char** argv) {
  // A yardstick starts this program anew, as a child that measures one thing.
  if (asymptop::run_as_sgemm_child(argc, argv)) return 0;
  setenv("KOKKOS_DISABLE_WARNINGS", "1", 0);
  MPI_Init(&argc, &argv);
  openblas_set_num_threads(1);
  MPI_Comm node = MPI_COMM_NULL;
  int ranks = 1;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Comm_size(node, &ranks);
  MPI_Comm_free(&node);
  asymptop::cores_are_shared = ranks > std::ssize(asymptop::process_cores());
  Kokkos::initialize();
  ::testing::InitGoogleTest(&argc, argv);
  int failed = RUN_ALL_TESTS();
  Kokkos::finalize();
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return failed;
}
