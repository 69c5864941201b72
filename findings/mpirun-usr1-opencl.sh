#!/usr/bin/env bash
# Open MPI 4.1.4's mpirun forwards SIGUSR1 to its ranks, unless there is an OpenCL driver on the host that is built on LLVM: pocl 3.1 here
# (Debian 12), NVIDIA's on GPU hosts (seen with Open MPI 4.1.6 beside an H200). To learn the topology mpirun starts hwloc, whose plugin for
# OpenCL (libhwloc-plugins 2.9.0) asks all drivers for devices; LLVM, loaded by the driver, installs a handler of its own for SIGUSR1. mpirun
# stays up, prints nothing, and the ranks hear nothing, so jobs that Slurm warns of their time limit by SIGUSR1 run into it.
#
# What to do: HWLOC_COMPONENTS=-opencl in mpirun's environment. Asymptop's jobs set it (jobs/setup/mpi.sh).
#
# Unpacks Debian's packages into a folder that goes away, prints what a rank heard without a driver, with one, and with one that hwloc is told
# not to ask, and fails where that is not as described. Open MPI, hwloc's plugins and LLVM 15 are installed where they are missing (root).
set -euo pipefail
missing=()
for package in openmpi-bin libhwloc-plugins ocl-icd-libopencl1 libllvm15 python3; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} = 0 ] || apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -q libpocl2 libpocl2-common libclang-cpp15 libclang-common-15-dev clang-15 libclang1-15 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" tree; done
dpkg-query -W -f='${Package} ${Version}\n' openmpi-bin libhwloc-plugins libllvm15
for package in libpocl2_*.deb; do dpkg-deb -W --showformat='${Package} ${Version}\n' "$package"; done
libraries=$folder/tree/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu)
mkdir with without
echo "$libraries/libpocl.so.2" >with/pocl.icd
cat >rank.py <<'PY'
import signal
import sys
import time


def heard(*_):
    print("heard", flush=True)
    sys.exit(0)


signal.signal(signal.SIGUSR1, heard)
print("ready", flush=True)
time.sleep(6)
print("silent", flush=True)
PY
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
unset HWLOC_COMPONENTS
failed=0
# WORDS WANTED DRIVERS [SETTING...]
try() {
  local words=$1 wanted=$2 drivers=$3 i
  shift 3
  env "$@" OCL_ICD_VENDORS="$folder/$drivers" LD_LIBRARY_PATH="$libraries" mpirun -n 1 python3 rank.py >out 2>&1 &
  local mpirun=$!
  for ((i = 0; i < 100; i++)); do grep -qs ready out && break || sleep 0.1; done
  kill -USR1 "$mpirun"
  wait "$mpirun" || true
  local found
  found=$(grep -oE '^(heard|silent)$' out || echo "neither: $(tr '\n' ' ' <out)")
  echo "$words: SIGUSR1 to mpirun, the rank: $found"
  [ "$found" = "$wanted" ] || failed=1
}
try 'no OpenCL driver' heard without
try 'with pocl' silent with
try 'with pocl, HWLOC_COMPONENTS=-opencl' heard with HWLOC_COMPONENTS=-opencl
[ $failed = 0 ] || echo 'not as described'
exit $failed
