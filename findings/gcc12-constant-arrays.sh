#!/usr/bin/env bash
# gcc 12.2.0 (Debian 12's g++), from -O1 on and tuned for an AVX-512 server (-march=skylake-avx512 or icelake-server, which is what
# -march=native stands for there), copies a constant array wrongly: of {1e-12, 1e-12, 0, 0, 1e-3, ...} the copy holds 1e-12 four times. The first
# 32 bytes are made by one broadcast of their first 8, though only the first half repeats. Nothing is said at compile time. std::vector's
# constructor from a constexpr array, memcpy from a static table, and initialisers of structs all come to it. -mstore-max=128 gives the
# right bytes. Asymptop is compiled so (kernels/CMakeLists.txt): tolerances in results files had been stored wrong.
#
# Compiles a C file both ways, runs it (it holds no AVX-512 instruction but needs AVX2), and fails where it is not as described.
set -euo pipefail
dpkg-query -W -f='${Status}' gcc-12 2>/dev/null | grep -q 'install ok installed' ||
  apt-get install -y -q --no-install-recommends gcc-12 libc6-dev >/dev/null
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >copy.c <<'C'
#include <stdio.h>
#include <string.h>

static double const table[8] = {1e-12, 1e-12, 0.0, 0.0, 1e-3, 1.0, 1e-13, 0.0};

__attribute__((noinline)) void fill(double* out) { memcpy(out, table, sizeof table); }

int main(void) {
  double copy[8];
  int i;
  fill(copy);
  for (i = 0; i < 8; ++i) printf("%g ", copy[i]);
  return 0;
}
C
dpkg-query -W -f='${Package} ${Version}\n' gcc-12
right='1e-12 1e-12 0 0 0.001 1 1e-13 0 ' wrong='1e-12 1e-12 1e-12 1e-12 0.001 1 1e-13 0 '
described=0
check() { # options, what is expected
  gcc-12 -O2 $1 -o copy copy.c
  copied=$(./copy; echo .)
  echo "-O2 $1: ${copied%.}"
  [ "${copied%.}" = "$2" ] || described=1
}
check '-march=icelake-server' "$wrong"
check '-march=skylake-avx512' "$wrong"
check '-march=icelake-server -mstore-max=128' "$right"
check '-march=x86-64-v3' "$right"
[ "$described" -eq 0 ] || { echo 'not as described'; exit 1; }
