#!/usr/bin/env bash
# Caliper 2.14.0 with Adiak 0.4.1 (both from their repositories; the same lines are in Caliper's main branch of January 2026): of a `long` that a
# program gave to Adiak, a profile holds the lower 32 bits, read as an int. std::int64_t is a long on 64-bit Linux: a problem size of 2^40 becomes
# 0, one of 3e9 becomes -1294967296. An `unsigned` from 2^31 on becomes some 1.8e19. `long long`, `unsigned long` (std::size_t) and double
# arrive. Adiak holds the right value; its import into Caliper (src/services/adiak/AdiakImport.cpp) casts it.
#
# Nothing is said, and Thicket's table of metadata has these numbers. What to do: give Adiak a `long long`, as Asymptop does
# (src/launch/performance_tools.cpp).
#
# Builds and runs a program of a few lines with the two as they are installed: name their places in CMAKE_PREFIX_PATH. Prints what the profile
# holds and fails where that is not as described. Exits with 3 where they are missing or of another version.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.20)
project(values LANGUAGES C CXX)
find_package(adiak REQUIRED)
find_package(caliper REQUIRED)
add_executable(values values.cpp)
target_link_libraries(values PRIVATE adiak::adiak caliper)
CMAKE
cat >values.cpp <<'CPP'
#include <adiak.hpp>
#include <caliper/cali.h>

int main() {
  adiak::init(nullptr);
  adiak::adiakversion();
  adiak::value("long_2_40", 1L << 40);
  adiak::value("long_3e9", 3000000000L);
  adiak::value("unsigned_3e9", 3000000000u);
  adiak::value("long_long_2_40", 1LL << 40);
  adiak::value("unsigned_long_2_40", 1UL << 40);
  cali_begin_region("region");
  cali_end_region("region");
  adiak::fini();
}
CPP
if ! cmake -S . -B build >cmake.log 2>&1; then
  tail -n 5 cmake.log >&2
  echo 'Adiak and a Caliper with it are needed: CMAKE_PREFIX_PATH' >&2
  exit 3
fi
cmake --build build >>cmake.log 2>&1
CALI_CONFIG=runtime-report,print.metadata build/values >profile 2>&1
grep -E '^(cali.caliper.version|adiakversion|[a-z_]+_(2_40|3e9)) ' profile
held() { sed -n "s/^$1 *: *//p" profile | tr -d ' '; }
[ "$(held cali.caliper.version) $(held adiakversion)" = '2.14.0 0.4.1' ] || { echo 'of another version: not what was measured' >&2 && exit 3; }
found=$(for name in long_2_40 long_3e9 unsigned_3e9 long_long_2_40 unsigned_long_2_40; do held $name; done | tr '\n' ' ')
[ "$found" = '0 -1294967296 18446744072414584320 1099511627776 1099511627776 ' ] || { echo 'not as described' && exit 1; }
