// Linked into a program that counts its lines: the counts are written also where it ends in haste.
#include <mpi.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" {

void __gcov_dump();

int MPI_Abort(MPI_Comm comm, int code) {
  __gcov_dump();
  return PMPI_Abort(comm, code);
}

[[noreturn]] void _exit(int code) {
  __gcov_dump();
  for (;;) syscall(SYS_exit_group, code);
}
}
