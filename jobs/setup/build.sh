#!/usr/bin/env bash
# Builds one CMake preset (release unless named): jobs/setup/build.sh [release|levels|debug|sanitize]. Quiet unless it fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
preset=${1:-release}
mkdir -p build
log=build/$preset.log
# A first build compiles the files of a few folders as one, in half the time; ASYMPTOP_UNITY=OFF is for those who change files one by one.
unity=${ASYMPTOP_UNITY:-}
[ -n "$unity" ] || [ -e "build/$preset/CMakeCache.txt" ] || unity=ON
# ASYMPTOP_SERIAL=ON: a Kokkos of one thread is meant, as for debian.sh; ASYMPTOP_NATIVE=OFF: CXXFLAGS names the instruction set;
# ASYMPTOP_CPUS='x86-64-v3;x86-64-v4': a program for each of these levels, and one that takes the best.
options=(${unity:+"-DASYMPTOP_UNITY=$unity"} ${ASYMPTOP_SERIAL:+"-DASYMPTOP_SERIAL=$ASYMPTOP_SERIAL"} ${ASYMPTOP_NATIVE:+"-DASYMPTOP_NATIVE=$ASYMPTOP_NATIVE"}
         ${ASYMPTOP_CPUS:+"-DASYMPTOP_CPUS=$ASYMPTOP_CPUS"})
{ cmake --preset "$preset" ${options[@]+"${options[@]}"} && cmake --build --preset "$preset" ${2:+--target "$2"}; } >"$log" 2>&1 || {
  printf 'build: the %s build failed, see %s; its last lines:\n' "$preset" "$log" >&2
  tail -n 20 "$log" >&2
  exit 1
}
printf 'build: build/%s is up to date\n' "$preset" >&2
