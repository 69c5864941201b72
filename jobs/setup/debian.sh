#!/usr/bin/env bash
# Installs what Asymptop needs on Debian 12 or Ubuntu and leaves the rest of the machine alone:
#   - missing Debian packages (only with root or passwordless sudo; otherwise it names them and stops)
#   - Kokkos with OpenMP into build/deps/kokkos, unless a Kokkos with threads is already to be found (ASYMPTOP_SERIAL=ON: any)
#   - a Python environment for the analysis into build/venv
#   - with --tests, Slurm and munge (3.5 MB), which the tests of jobs/ start for themselves, and ReFrame and Extra-P
#     into build/venv-tools; tests of what cannot be had are skipped
#   - with --full, also what the long tiers of tests/ need: analyzers, valgrind, MPICH, clang, and a Kokkos of clang's under its thread sanitizer
# Sourced or run; repeated runs are quick. Prints one line per step to stderr.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dependencies="$repository/build/deps"
mkdir -p "$dependencies"
say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing ${missing[*]}"
  if ! as_root true 2>/dev/null; then
    say "not root and no passwordless sudo: please install ${missing[*]} and run this again"
    return 1
  fi
  local log="$dependencies/apt.log"
  if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    # The package lists may be old or absent on a fresh machine.
    as_root apt-get update >>"$log" 2>&1 || { say "apt-get update failed, see $log"; return 1; }
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 ||
      { say "apt-get install failed, see $log"; return 1; }
  fi
}

# True when CMake finds a Kokkos without our help (Kokkos_ROOT, CMAKE_PREFIX_PATH, a module, a package) that runs on threads or a device.
# Debian's own package has the Serial backend alone: it is left aside, and said so, unless ASYMPTOP_SERIAL=ON asks for it.
kokkos_is_present() {
  local probe found
  probe=$(mktemp -d)
  printf 'cmake_minimum_required(VERSION 3.16)\nproject(probe CXX)\nfind_package(Kokkos 3.4 REQUIRED)\nmessage(STATUS "found ${Kokkos_DIR}:${Kokkos_DEVICES}")\n' >"$probe/CMakeLists.txt"
  found=$(cmake -G Ninja -S "$probe" -B "$probe/b" 2>/dev/null | sed -n 's/^-- found //p')
  rm -rf "$probe"
  case $found in
    '') return 1 ;;
    *:*OPENMP* | *:*THREADS* | *:*CUDA* | *:*HIP* | *:*SYCL* | *:*HPX*) return 0 ;;
  esac
  [ "${ASYMPTOP_SERIAL:-OFF}" = ON ] && return 0
  say "${found%%:*} is a Kokkos with the Serial backend alone, one thread a rank: one with OpenMP goes into build/deps (ASYMPTOP_SERIAL=ON takes it as it is)"
  return 1
}

# Debian 12 packages Kokkos with its Serial backend alone; the same source package holds all of Kokkos. $1: where to; more options of CMake.
build_kokkos() {
  local prefix=$1
  shift
  [ -e "$prefix/lib/cmake/Kokkos/KokkosConfig.cmake" ] && return 0
  say "building Kokkos (OpenMP, Serial) from the Debian source package trilinos into $prefix"
  local work="$dependencies/kokkos-source"
  rm -rf "$work" && mkdir -p "$work/sources.d" "$work/lists/partial"
  # A private list of sources, made from the machine's own with deb-src switched on.
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -e "$file" ] && sed -n 's/^deb\(-src\)\? /deb-src /p' "$file" | sort -u >"$work/sources.d/$(basename "$file" .list).list"
  done
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -e "$file" ] && sed 's/^Types:.*/Types: deb-src/' "$file" >"$work/sources.d/$(basename "$file")"
  done
  local options=(-o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$work/sources.d"
                 -o "Dir::State::Lists=$work/lists" -o "APT::Sandbox::User=root" -o "Dir::Cache=$work/cache")
  mkdir -p "$work/cache/archives/partial"
  (
    # Joined by &&, as set -e does nothing before a ||.
    cd "$work" && apt-get "${options[@]}" update &&
      # Of the package's files the archive alone is wanted, which apt has checked when it lies here.
      { apt-get "${options[@]}" --download-only source trilinos || ls trilinos_*.orig.tar.*; } && mkdir tree &&
      # Only the Kokkos folder is unpacked: the whole of Trilinos is large.
      tar -xf trilinos_*.orig.tar.* -C tree --strip-components=1 --wildcards '*/packages/kokkos/*' &&
      # From gcc 13 on no other header brings it.
      sed -i '1i #include <cstdint>' tree/packages/kokkos/core/src/impl/Kokkos_MemoryPool.cpp &&
      cmake -G Ninja -S tree/packages/kokkos -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" \
        -DCMAKE_CXX_STANDARD=17 -DKokkos_ENABLE_OPENMP=ON -DKokkos_ENABLE_SERIAL=ON -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_POSITION_INDEPENDENT_CODE=ON "$@" &&
      cmake --build build -j "$(nproc)" && cmake --install build
  ) >"$dependencies/kokkos.log" 2>&1 || { say "Kokkos did not build, see $dependencies/kokkos.log"; return 1; }
  rm -rf "$work"
}

make_environment() {
  local venv="$repository/build/venv" wanted="$repository/analysis/requirements.txt"
  if [ -e "$venv/.stamp" ] && cmp -s "$wanted" "$venv/.stamp"; then return 0; fi
  say "making the Python environment build/venv"
  local python=python3
  if ! python3 -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    install_packages python3 python3-venv
    python=/usr/bin/python3
  fi
  rm -rf "$venv"
  {
    "$python" -m venv "$venv" &&
      "$venv/bin/python" -m pip install --disable-pip-version-check -q -r "$wanted" &&
      printf '%s\n' "$repository/analysis" >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/asymptop.pth"
  } >"$dependencies/pip.log" 2>&1 || { say "the Python environment could not be made, see $dependencies/pip.log"; return 1; }
  cp "$wanted" "$venv/.stamp"
}

# Programs that read what Asymptop writes. Extra-P without its graphical parts.
make_tools() {
  local environment="$repository/build/venv-tools" wanted="$repository/tests/support/tools-requirements.txt"
  if [ -e "$environment/.stamp" ] && cmp -s "$wanted" "$environment/.stamp"; then return 0; fi
  say "making the environment of ReFrame and Extra-P build/venv-tools"
  rm -rf "$environment"
  if { "$repository/build/venv/bin/python" -m venv "$environment" &&
    "$repository/build/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
      >"$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/build_venv.pth" &&
    "$environment/bin/python" -m pip install --disable-pip-version-check -q --no-compile -r "$wanted" &&
    "$environment/bin/python" -m pip install --disable-pip-version-check -q --no-compile --no-deps 'extrap==4.2.5'; } >"$dependencies/tools.log" 2>&1; then
    cp "$wanted" "$environment/.stamp"
  else
    rm -rf "$environment"
    say "no ReFrame and Extra-P, see $dependencies/tools.log: what needs them is not tested"
  fi
}

install_packages g++ cmake ninja-build pkg-config git ca-certificates openmpi-bin libopenmpi-dev libopenblas-pthread-dev \
  libboost-program-options-dev libhdf5-openmpi-dev libssl-dev libmuparser-dev librandom123-dev libgtest-dev nlohmann-json3-dev xz-utils iproute2
make_environment & # while Kokkos' sources arrive
environment=$!
if kokkos_is_present; then say "using the Kokkos already on this machine"; else build_kokkos "$dependencies/kokkos"; fi
wait "$environment"
if [ "${1:-}" = --tests ] || [ "${1:-}" = --full ]; then
  install_packages slurm-wlm munge || say "no Slurm: what needs one is not tested"
  make_tools
fi
if [ "${1:-}" = --full ]; then
  install_packages mpich libmpich-dev libhdf5-mpich-dev || say "no MPICH: its tier is skipped" # beside Open MPI, which mpirun stays
  install_packages clang clang-tidy libomp-dev cppcheck valgrind || say "a tool is missing: its tier is skipped"
  if command -v clang++ >/dev/null; then
    build_kokkos "$repository/build/deps-thread/kokkos" -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_FLAGS=-fsanitize=thread ||
      say "no Kokkos of clang: threads are not checked"
  fi
fi
say "ready"
