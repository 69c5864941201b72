#!/usr/bin/env bash
# What the files of containers/ do within their base image (Debian 12 or Ubuntu 24.04), as root: set-up, build, `asymptop` into /usr/local/bin,
# and what only the build needed removed. jobs/setup/image.sh [release|device]; `device` adds the GPU kernels and needs nvcc 12 or later.
# MARCH: the instruction set, x86-64-v3 (AVX2) unless set: an image is run on other machines than the one that builds it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
preset=${1:-release}
jobs/setup/debian.sh
case $(uname -m) in x86_64) march=-march=${MARCH:-x86-64-v3} ;; *) march=${MARCH:+-march=$MARCH} ;; esac
CXXFLAGS="${CXXFLAGS:-} $march" ASYMPTOP_NATIVE=OFF jobs/setup/build.sh "$preset" asymptop
install -m 755 "build/$preset/asymptop" /usr/local/bin/asymptop
rm -rf "build/$preset" build/deps
apt-get clean
rm -rf /var/lib/apt/lists/*
