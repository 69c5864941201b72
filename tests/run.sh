#!/usr/bin/env bash
# All tests in one command: the same set-up as jobs/quickstart.sh, the build, ctest (GoogleTest; MPI tests at 1 to 4 ranks), pytest.
# tests/run.sh --help tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
  '') ;;
  --help | -h)
    echo 'usage: tests/run.sh    set-up, build, ctest, pytest, ruff. ASYMPTOP_TEST_SEED=N changes the seed of the property tests.'
    exit 0
    ;;
  *) printf "tests/run.sh: unknown option '%s'; --help lists those allowed\n" "$1" >&2 && exit 2 ;;
esac
say() { printf '== %s\n' "$*"; }

jobs/setup/debian.sh --tests
jobs/setup/build.sh release
. jobs/setup/mpi.sh
status=0
say 'ctest'
ctest --test-dir build/release --output-on-failure --no-tests=error || status=1
say 'pytest'
build/venv/bin/python -m pytest -q -p no:cacheprovider -n 2 --dist loadfile tests || status=1
say 'ruff'
build/venv/bin/ruff check --no-cache --config analysis/pyproject.toml analysis jobs tests || status=1
[ $status = 0 ] && say 'all tests passed' || say 'TESTS FAILED'
exit $status
