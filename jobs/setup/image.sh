#!/usr/bin/env bash
# What the files of containers/ do within their base image (Debian 12 or Ubuntu 24.04), as root: set-up, build, `asymptop` into /usr/local/bin,
# and what only the build needed removed. jobs/setup/image.sh [release|device]; `device` adds the GPU kernels and needs nvcc 12 or later.
# CPUS: levels of x86-64, "x86-64-v3;x86-64-v4" (AVX2 and AVX-512) unless set: an image is run on other machines than the one that builds it,
# and each rank takes the best of them that its CPU has. Each level takes a build's time. Other CPUs: the compiler's, CXXFLAGS says more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
preset=${1:-release}
jobs/setup/debian.sh
case $(uname -m) in
x86_64) export ASYMPTOP_CPUS=${CPUS:-x86-64-v3;x86-64-v4} ;;
*) export ASYMPTOP_NATIVE=OFF ;;
esac
jobs/setup/build.sh "$preset" asymptop
# What is installed is what was built: the program alone, or with its levels.
install -D -m 755 "build/$preset/asymptop" /usr/local/bin/asymptop
for program in "build/$preset"/libexec/asymptop/*/asymptop; do
  [ ! -e "$program" ] || install -D -m 755 "$program" "/usr/local/${program#build/"$preset"/}"
done
rm -rf "build/$preset" build/deps
apt-get clean
rm -rf /var/lib/apt/lists/*
