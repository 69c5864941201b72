#!/usr/bin/env bash
# Tests of `capture` over random small models of many architectures. Not part of tests/run.sh, which needs no PyTorch.
# tests/models/run.sh --help tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
requirements=(jobs/setup/torch-requirements.txt jobs/setup/models-requirements.txt)
environment=build/venv-models
work=build/models
. jobs/setup/torch_venv.sh

case ${1:-} in
  --every-architecture)
    shift
    export ASYMPTOP_EVERY_ARCHITECTURE=1
    set -- tests/models/test_{,weights_}every_architecture.py "$@"
    ;;
  --help | -h)
    cat <<'END'
usage: tests/models/run.sh [--every-architecture] [options of pytest]

Makes build/venv-models on top of build/venv, with PyTorch and transformers of PyPI (600 MB, once), and runs tests/models in it.
--every-architecture runs instead what takes minutes: a small model of every text architecture that transformers knows is captured or refused,
and sigma of its weights held against that of the capture.
ASYMPTOP_TEST_SEED=N changes the seed of the models.
END
    exit 0
    ;;
esac
say() { printf 'models: %s\n' "$*" >&2; }

get_models_venv() {
  [ -e "$environment/.stamp" ] && cat "${requirements[@]}" | cmp -s - "$environment/.stamp" && return 0
  say "fetching PyTorch and transformers into $environment"
  {
    make_torch_venv "$environment" "$work" "${requirements[@]}" &&
      "$environment/bin/python" -c 'import torch, transformers, accelerate'
  } >"$work/pip.log" 2>&1 || return 1
  cat "${requirements[@]}" >"$environment/.stamp"
}

mkdir -p "$work"
[ -e build/venv/.stamp ] || jobs/setup/debian.sh --tests
get_models_venv || { say "PyTorch and transformers cannot be had here (see $work/pip.log), so nothing is tested"; exit 1; }
[ -n "${ASYMPTOP_EVERY_ARCHITECTURE:-}" ] || set -- "$@" tests/models
exec "$environment/bin/python" -m pytest -q -p no:cacheprovider "$@"
