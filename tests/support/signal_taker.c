/* Preloaded into a program: with MPI comes a library that handles the signals which stop a study, and does nothing then. */
#include <signal.h>

int PMPI_Init_thread(int* argc, char*** argv, int wanted, int* provided);

static void nothing(int number) { (void)number; }

int MPI_Init_thread(int* argc, char*** argv, int wanted, int* provided) {
  int const code = PMPI_Init_thread(argc, argv, wanted, provided);
  signal(SIGUSR1, nothing);
  signal(SIGTERM, nothing);
  return code;
}
