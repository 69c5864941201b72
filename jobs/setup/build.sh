#!/usr/bin/env bash
# Builds one CMake preset (release unless named): jobs/setup/build.sh [release|debug|sanitize]. Quiet unless it fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
preset=${1:-release}
mkdir -p build
log=build/$preset.log
{ cmake --preset "$preset" && cmake --build --preset "$preset" ${2:+--target "$2"}; } >"$log" 2>&1 || {
  printf 'build: the %s build failed, see %s; its last lines:\n' "$preset" "$log" >&2
  tail -n 20 "$log" >&2
  exit 1
}
printf 'build: build/%s is up to date\n' "$preset" >&2
