#!/usr/bin/env bash
# The main job in one command: installs what is missing, builds, runs the study jobs/cases/quickstart.cfg on two ranks and writes
# output/quickstart/results.h5 and report.html. Asks nothing; can be repeated (the old results are replaced).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
  '') ;;
  *)
    sed -n '2,3s/^# //p' "$0"
    [ "$1" = --help ] || [ "$1" = -h ] && exit 0
    exit 2
    ;;
esac
say() { printf 'quickstart: %s\n' "$*" >&2; }

say 'setup'
jobs/setup/debian.sh
say 'build'
jobs/setup/build.sh release asymptop
say 'study'
. jobs/setup/mpi.sh
output=output/quickstart
mkdir -p "$output"
if ! mpirun -n 2 build/release/asymptop study --config jobs/cases/quickstart.cfg --output "$output/results.h5" --force >"$output/study.txt"; then
  cat "$output/study.txt"
  exit 1
fi
say 'report'
build/venv/bin/python -m asymptop report "$output/results.h5" -o "$output/report.html"
say "results: $output/results.h5"
say "report:  $output/report.html (open it in a browser)"
