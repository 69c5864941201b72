#!/usr/bin/env bash
# Measures Asymptop's kernels beside FAISS and PyTorch (both of PyPI) on this CPU: arrays of one shape and law, one number of
# threads, all in turns in one run. Not part of the tests. tests/peers/run.sh --help tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
repository=$PWD
requirements=jobs/setup/torch-requirements.txt
environment=build/venv-peers
faiss_requirements=jobs/setup/faiss-requirements.txt
faiss_environment=build/venv-faiss
work=build/peers
. jobs/setup/torch_venv.sh

usage() {
  cat <<'END'
usage: tests/peers/run.sh [options]
  --n N             keys: a whole number or 2^E (default: 2^20)
  --d D             head dimension (default: 64)
  --m M             query rows (default: 256)
  --k LIST          keys kept by kernels that select (default: 16,1024,16384)
  --kernel LIST     top-k | exact-attention | top-k-attention (default: all three)
  --peers LIST      faiss | torch (default: both)
  --threads T       threads of Asymptop and of each peer (default: 2)
  --rounds R        rounds of Asymptop, FAISS, PyTorch, in turns; medians are reported (default: 5, at least 3)
  --output FILE     write everything measured to this JSON file
  --selectors       instead: a study of seven selectors beside the same by dense formulas over PyTorch, in turns, at
                    --n 2^17 and --k 1024 unless they are given
Downloads, into build/ and once: 20 MB of FAISS and 540 MB of PyTorch, which takes 1.4 GB unpacked.
The default sizes need 5 GB of memory and a few minutes.
END
}
say() { printf 'peers: %s\n' "$*" >&2; }
wrong() { say "$*"; exit 2; }

# $1 option, $2 value, $3 least, $4 most -> number
read_number() {
  number=$2
  if [[ $number =~ ^2\^([0-9]|[1-3][0-9])$ ]]; then number=$((1 << BASH_REMATCH[1])); fi
  [[ $number =~ ^[1-9][0-9]{0,9}$ ]] && [ "$number" -ge "$3" ] && [ "$number" -le "$4" ] ||
    wrong "$1 is '$2', allowed is a whole number or 2^E from $3 to $4"
}

# $1 option, $2 list, $3... allowed
check_list() {
  local option=$1 list=$2 item
  shift 2
  [[ $list =~ ^[^,]+(,[^,]+)*$ ]] || wrong "$option is '$list', allowed is a list of $*"
  for item in ${list//,/ }; do
    [[ " $* " = *" $item "* ]] || wrong "$option names '$item', allowed are $*"
  done
}

selectors='' given=' '
n=1048576 d=64 m=256 k=16,1024,16384 kernel=top-k,exact-attention,top-k-attention peers=faiss,torch threads=2 rounds=5 output=''
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --selectors) selectors=yes; shift; continue ;;
    --n | --d | --m | --k | --kernel | --peers | --threads | --rounds | --output) [ $# -ge 2 ] || wrong "$1 needs a value" ;;
    *) wrong "unknown option '$1'; --help lists those allowed" ;;
  esac
  given+="$1 "
  case $1 in
    --n) read_number "$1" "$2" 2 268435456; n=$number ;;
    --d) read_number "$1" "$2" 1 4096; d=$number ;;
    --m) read_number "$1" "$2" 1 16384; m=$number ;;
    --k) k=$2 ;;
    --kernel) check_list "$1" "$2" top-k exact-attention top-k-attention; kernel=$2 ;;
    --peers) check_list "$1" "$2" faiss torch; peers=$2 ;;
    --threads) read_number "$1" "$2" 1 256; threads=$number ;;
    --rounds) read_number "$1" "$2" 3 1000; rounds=$number ;;
    --output)
      output=$(realpath -m -- "$2")
      [ -n "$2" ] && [ ! -d "$output" ] && [ -w "$(dirname "$output")" ] || wrong "--output is '$2', allowed is a file in a folder that exists"
      ;;
  esac
  shift 2
done
if [ -n "$selectors" ]; then
  [[ $given = *' --n '* ]] || n=131072
  [[ $given = *' --k '* ]] || k=1024
  peers=torch
fi
[[ $k =~ ^[^,]+(,[^,]+)*$ ]] || wrong "--k is '$k', allowed is a list of whole numbers"
numbers=()
for item in ${k//,/ }; do
  read_number --k "$item" 1 "$n"
  numbers+=("$number")
done
k=$(IFS=,; echo "${numbers[*]}")

# On top of build/venv, which has NumPy; its OpenBLAS uses OpenMP, as FAISS itself.
get_faiss() {
  [ -e "$faiss_environment/.stamp" ] && cmp -s "$faiss_requirements" "$faiss_environment/.stamp" && return 0
  say "fetching FAISS into $faiss_environment (20 MB)"
  rm -rf "$faiss_environment"
  {
    build/venv/bin/python -m venv "$faiss_environment" &&
      "$faiss_environment/bin/python" -m pip install --disable-pip-version-check --no-cache-dir -q --no-deps -r "$faiss_requirements" &&
      build/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        >"$("$faiss_environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/build_venv.pth" &&
      "$faiss_environment/bin/python" tests/peers/peer_worker.py faiss --version
  } >"$work/faiss.log" 2>&1 || return 1
  cp "$faiss_requirements" "$faiss_environment/.stamp"
}

get_torch() {
  [ -e "$environment/.stamp" ] && cmp -s "$requirements" "$environment/.stamp" && return 0
  say "fetching PyTorch into $environment (540 MB)"
  {
    make_torch_venv "$environment" "$work" "$requirements" &&
      "$environment/bin/python" tests/peers/peer_worker.py torch --version
  } >"$work/pip.log" 2>&1 || return 1
  cp "$requirements" "$environment/.stamp"
}

mkdir -p "$work"
jobs/setup/debian.sh
jobs/setup/build.sh release asymptop
found=()
if [[ $peers = *faiss* ]]; then
  if get_faiss; then
    found+=(--faiss-python "$repository/$faiss_environment/bin/python")
  else
    say "FAISS cannot be had here (see $work/faiss.log): going on without it"
  fi
fi
if [[ $peers = *torch* ]]; then
  if get_torch; then
    found+=(--torch-python "$repository/$environment/bin/python")
  else
    say "PyTorch cannot be had here (see $work/pip.log): going on without it"
  fi
fi
[ ${#found[@]} -gt 0 ] || { say 'no peer can be had here, so there is nothing to compare with'; exit 0; }
. jobs/setup/mpi.sh
if [ -n "$selectors" ]; then
  exec "$environment/bin/python" tests/peers/selector_study.py --asymptop "$repository/build/release/asymptop" --n "$n" --d "$d" --m "$m" \
    --k "${k%%,*}" --threads "$threads" --rounds "$rounds"
fi
exec build/venv/bin/python tests/peers/peers.py --asymptop build/release/asymptop --work "$work" --n "$n" --d "$d" --m "$m" --k "$k" \
  --kernel "$kernel" --threads "$threads" --rounds "$rounds" --output "$output" "${found[@]}"
