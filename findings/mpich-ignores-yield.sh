#!/usr/bin/env bash
# MPICH 4.0.2 as Debian 12 builds it (ch4:ucx) has the control variable MPIR_CVAR_POLLS_BEFORE_YIELD, says by MPI_T that a busy wait calls a
# function to yield the processor after so many loops, and takes every value; but a waiting rank never calls sched_yield. Ranks that share a
# core then wait for whole time slices: some 8 ms for each barrier of two ranks, where Open MPI 4.1.4 with mpi_yield_when_idle takes 3 us.
# MPICH 5.0.2 (PyPI) does call it, and was no faster for it on Linux 6.18.
#
# What to do: a core for each rank of MPICH. `asymptop` warns where threads of ranks share cores, names the cores and ranks, and sleeps between
# looks for messages there (src/comm/waiting.hpp); inside MPI's own blocking calls, of which few are left, nothing helps.
#
# Prints, for both versions and two values, what the variable says of itself, and how often rank 0 called sched_yield in 200 barriers of two
# ranks on one core; fails where the first version calls it or the second does not. Installs what is missing of MPICH (root).
set -euo pipefail
for package in mpich libmpich-dev gcc python3-venv; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || apt-get install -y -q --no-install-recommends "$package" >/dev/null
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q mpich==5.0.2
cat >barriers.c <<'C'
#define _GNU_SOURCE
#include <mpi.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
static long yields = 0;
/* Found before libc's, by MPICH too. */
int sched_yield(void) {
  ++yields;
  return (int)syscall(SYS_sched_yield);
}
int main(int argc, char** argv) {
  int rank, index, provided, value, verbosity, binding, scope, count;
  char name[200], words[2000];
  int name_length = sizeof name, words_length = sizeof words;
  MPI_Datatype type;
  MPI_T_enum kind;
  MPI_T_cvar_handle handle;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_T_init_thread(MPI_THREAD_SINGLE, &provided);
  MPI_T_cvar_get_index("MPIR_CVAR_POLLS_BEFORE_YIELD", &index);
  MPI_T_cvar_get_info(index, name, &name_length, &verbosity, &type, &kind, words, &words_length, &binding, &scope);
  MPI_T_cvar_handle_alloc(index, NULL, &handle, &count);
  MPI_T_cvar_read(handle, &value);
  double const begin = MPI_Wtime();
  for (int i = 0; i < 200; ++i) MPI_Barrier(MPI_COMM_WORLD);
  if (rank == 0) printf("%s = %d (\"%.75s...\"): %.0f us a barrier, calls of sched_yield: %ld\n", name, value, words, 5e3 * (MPI_Wtime() - begin), yields);
  MPI_T_finalize();
  MPI_Finalize();
}
C
failed=0
# NAME MPICC MPIEXEC PATTERN: what the number of calls must look like.
measure() {
  local polls said
  "$2" barriers.c -o "asymptop-barriers-$1"
  for polls in 1 1000; do
    said=$(MPIR_CVAR_POLLS_BEFORE_YIELD=$polls taskset -c "$core" "$3" -n 2 "./asymptop-barriers-$1")
    echo "MPICH $1: $said"
    [[ $said =~ sched_yield:\ ($4)$ ]] || failed=1
  done
}
core=$(taskset -pc $$ | sed 's/.*: *//; s/[-,].*//')
dpkg-query -W -f='${Package} ${Version}\n' mpich
measure 4.0.2 mpicc.mpich mpiexec.mpich 0
measure 5.0.2 venv/bin/mpicc venv/bin/mpiexec '[1-9][0-9]*'
[ $failed = 0 ] || echo 'not as described'
exit $failed
