#!/usr/bin/env bash
# All tests in one command: the same set-up as jobs/quickstart.sh, the build, ctest (GoogleTest; MPI tests at 1 to 4 ranks), pytest.
# tests/run.sh --help tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
full=
case ${1:-} in
  '') ;;
  --coverage) full=coverage ;;
  --full) full=all ;;
  --full=?*) full=${1#--full=} ;;
  --help | -h)
    cat <<'EOF'
usage: tests/run.sh [--coverage | --full[=TIER,TIER...]]

  no option     set-up, build, ctest, pytest, ruff, mypy
  --coverage    ctest and the pytest suites that run the program, on a build that counts its lines: percent of lines run, by folder
  --full        the plain run, then the long tiers (hours): coverage, sanitizers, threads, valgrind, analyzers, mutations, fuzz, soaks
  --full=TIERS  those tiers alone; tests/README.md names them

ASYMPTOP_TEST_SEED=N changes the seed of the property tests.
EOF
    exit 0
    ;;
  *) printf "tests/run.sh: unknown option '%s'; --help lists those allowed\n" "$1" >&2 && exit 2 ;;
esac
say() { printf '== %s\n' "$*"; }

case $full in
  '' | coverage) jobs/setup/debian.sh --tests ;;
  *) jobs/setup/debian.sh --full ;;
esac
. jobs/setup/mpi.sh
# Tests run on one host: a transport for clusters is not looked for, and a single rank gets no daemon; each takes 0.2 s of a start.
export OMPI_MCA_pml="${OMPI_MCA_pml:-ob1}" OMPI_MCA_ess_singleton_isolated="${OMPI_MCA_ess_singleton_isolated:-1}"
tiers() { build/venv/bin/python tests/full.py ${ASYMPTOP_TEST_SEED:+--seed "$ASYMPTOP_TEST_SEED"} "$@"; }
if [ -n "$full" ] && [ "$full" != all ]; then
  tiers --only "$full"
  exit
fi
jobs/setup/build.sh release
status=0
say 'device kernels'
# Compiled, not run: the kernels for GPUs, and what calls them. Where GPUs are meant, for it takes a minute or two.
if command -v nvcc >/dev/null && [ -n "${Kokkos_ROOT:-}" ] && grep -qs 'Kokkos_DEVICES.*CUDA' "$Kokkos_ROOT"/lib*/cmake/Kokkos/KokkosConfigCommon.cmake; then
  jobs/setup/build.sh device asymptop_device_code || status=1
else
  echo 'skipped: needs nvcc, and a Kokkos for CUDA named by Kokkos_ROOT'
fi
say 'ctest'
ctest --test-dir build/release -j "$(nproc)" --output-on-failure --no-tests=error || status=1
say 'pytest'
# One more than cores: daemons, stops and slow links are waited for. In the order of tests/conftest.py.
build/venv/bin/python -m pytest -q -p no:cacheprovider -n "$(($(nproc) + 1))" --dist loadfile --no-loadscope-reorder tests || status=1
say 'ruff'
build/venv/bin/ruff check --no-cache --config analysis/pyproject.toml analysis jobs tests || status=1
say 'mypy'
build/venv/bin/mypy --config-file analysis/pyproject.toml --cache-dir build/mypy || status=1
if [ "$full" = all ]; then
  say 'tiers'
  tiers || status=1
fi
[ $status = 0 ] && say 'all tests passed' || say 'TESTS FAILED'
exit $status
