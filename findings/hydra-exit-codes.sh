#!/usr/bin/env bash
# mpirun of MPICH 4.0.2 (Hydra; Debian 12) forwards SIGUSR1 and SIGTERM to its ranks, but after that it loses exit codes: of two ranks that
# both end with 75 it often reports one as 0, and sometimes both; then it ends with 0 itself, as if all were well. Without a signal, or with one
# sent to a rank itself, codes arrive.
#
# What to do: believe what the program has written, not mpirun's 0. Tasks of jobs/submit take a unit for done only where its records are there.
#
# Prints how often mpirun ended with 75 and with 0 (of 20 each: a signal to mpirun, to a rank), and fails where a code is lost in the second or
# none in the first. MPICH is installed where it is missing (root); mpirun and mpicc stay Open MPI's where that is there.
set -euo pipefail
for package in mpich libmpich-dev gcc; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || apt-get install -y -q --no-install-recommends "$package" >/dev/null
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >ranks.c <<'C'
#include <mpi.h>
#include <signal.h>
#include <unistd.h>
static volatile int heard = 0;
static void hear(int number) { (void)number, heard = 1; }
int main(int argc, char** argv) {
  int all = 0;
  signal(SIGUSR1, hear);
  MPI_Init(&argc, &argv);
  while (!all) {
    int mine = heard;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    usleep(1000);
  }
  MPI_Finalize();
  return 75;
}
C
mpicc.mpich ranks.c -o asymptop-ranks
dpkg-query -W -f='${Package} ${Version}\n' mpich
# WHOM: codes of 20 runs.
codes() {
  local i whom
  for ((i = 0; i < 20; i++)); do
    mpirun.mpich -n 2 ./asymptop-ranks >/dev/null 2>&1 &
    sleep 0.7
    whom=$!
    [ "$1" = mpirun ] || whom=$(pgrep -f '^./asymptop-ranks' | tail -n 1)
    kill -s USR1 "$whom"
    wait $! && echo 0 || echo $?
  done
}
failed=0
for whom in mpirun rank; do
  codes $whom >out
  lost=$(grep -c '^0$' out || true)
  echo "SIGUSR1 to $whom: mpirun ended with 75 in $(grep -c '^75$' out || true) of 20, with 0 in $lost"
  if [ $whom = mpirun ]; then [ "$lost" -gt 0 ] || failed=1; else [ "$lost" = 0 ] || failed=1; fi
done
[ $failed = 0 ] || echo 'not as described'
exit $failed
