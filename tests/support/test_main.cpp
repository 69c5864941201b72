// main() of all GoogleTest programs: MPI and Kokkos around the tests; a failure on any rank fails the program.
#include <gtest/gtest.h>
#include <mpi.h>

#include <Kokkos_Core.hpp>
#include <cstdlib>

extern "C" void openblas_set_num_threads(int);

int main(int argc, char** argv) {
  setenv("KOKKOS_DISABLE_WARNINGS", "1", 0);
  MPI_Init(&argc, &argv);
  openblas_set_num_threads(1);
  Kokkos::initialize();
  ::testing::InitGoogleTest(&argc, argv);
  int failed = RUN_ALL_TESTS();
  Kokkos::finalize();
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return failed;
}
