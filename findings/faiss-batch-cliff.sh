#!/usr/bin/env bash
# faiss-cpu 1.15.1 (PyPI), IndexFlatIP: a search of 1,999 queries of 64 columns takes three to four times the processor time of one of
# 2,001, and one of 499 queries of 256 columns nine times that of one of 501. The switch from its own loops to BLAS,
# distance_compute_blas_threshold, was a number of queries (20) up to 1.13.2; since 1.14 it counts numbers, queries times columns, and
# stands at 128,000. Code that sets it to a number of queries still runs, and means something else: at 20 nearly all goes by BLAS.
#
# Who compares exact search with FAISS at a usual batch (256 queries of 64 columns) times the slow way. What to do: set
# faiss.cvar.distance_compute_blas_threshold = 1 and measure both. tests/peers/run.sh tries these settings and takes the fastest.
#
# Prints processor times, least of three, and fails where this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/cliff.py" <<'PY'
import sys
import time

import faiss
import numpy as np

KEYS = 50_000
counts_numbers = sys.argv[1] == "numbers"
faiss.omp_set_num_threads(1)
rng = np.random.default_rng(1)


def seconds(index, queries):
    least = float("inf")
    for _ in range(3):
        begin = time.process_time()
        index.search(queries, 4)
        least = min(least, time.process_time() - begin)
    return least


default = faiss.cvar.distance_compute_blas_threshold
print(f"faiss {faiss.__version__}: distance_compute_blas_threshold = {default}")
slowdowns = []
for d, few, many in ((64, 1999, 2001), (256, 499, 501)):
    index = faiss.IndexFlatIP(d)
    index.add(rng.standard_normal((KEYS, d), dtype=np.float32))
    queries = rng.standard_normal((many, d), dtype=np.float32)
    a, b = seconds(index, queries[:few]), seconds(index, queries)
    faiss.cvar.distance_compute_blas_threshold = 1
    tuned = seconds(index, queries[:few])
    faiss.cvar.distance_compute_blas_threshold = default
    print(f"  {d} columns: {few} queries {a:.2f} s, {many} queries {b:.2f} s; {few} with the threshold at 1: {tuned:.2f} s")
    slowdowns += [a / b, a / tuned]
expected = all(s > 1.5 for s in slowdowns) if counts_numbers else all(s < 1.5 for s in slowdowns)
sys.exit(0 if expected and default == (128_000 if counts_numbers else 20) else "not as described")
PY
for version in 1.13.2:queries 1.15.1:numbers; do
  python3 -m venv "$folder/v"
  "$folder/v/bin/pip" install -q --disable-pip-version-check "faiss-cpu==${version%:*}" numpy==2.2.6 packaging==25.0
  OPENBLAS_NUM_THREADS=1 "$folder/v/bin/python" "$folder/cliff.py" "${version#*:}"
  rm -rf "$folder/v"
done
