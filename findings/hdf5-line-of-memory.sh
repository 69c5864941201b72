#!/usr/bin/env bash
# HDF5 2.0.0 (in h5py 3.16.0 of PyPI) and 1.10.8 (Debian 12): a block of a chunked dataset of three axes is read many times slower into a
# memory space of one axis with as many elements than into one of the block's own shape. The memory is the same, and so are the bytes
# that arrive; of a contiguous dataset both take about as long. The slow way goes through the block element by element, because the
# two selections have different shapes.
#
# Who reads heads of a tensor file (heads, n, d) straight into a flat buffer, as C code does, spends its time here: Asymptop's
# study of a model's layers took four times the CPU time before its memory spaces had the file's rank.
#
# Prints medians of both and fails unless the chunked read is at least three times slower in one axis, and the contiguous one less.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/read.py" <<'PY'
import statistics
import sys
import time

import h5py
import numpy as np

values = np.random.default_rng(1).standard_normal((2, 16384, 256)).astype(np.float32)
with h5py.File("values.h5", "w") as file:
    file.create_dataset("chunked", data=values, chunks=(1, 1024, 256))
    file.create_dataset("contiguous", data=values)
first, rows = 1000, 8192


def read(dataset, shape):
    space = dataset.id.get_space()
    space.select_hyperslab((1, first, 0), (1, rows, 256))
    memory, found = h5py.h5s.create_simple(shape), np.empty(shape, np.float32)
    begin = time.perf_counter()
    dataset.id.read(memory, space, found)
    seconds = time.perf_counter() - begin
    assert np.array_equal(found.ravel(), values[1, first : first + rows].ravel())
    return seconds


ratios = {}
with h5py.File("values.h5", "r") as file:
    for name in ("chunked", "contiguous"):
        line, block = [], []
        for _ in range(9):
            line.append(read(file[name], (rows * 256,)))
            block.append(read(file[name], (1, rows, 256)))
        slow, fast = statistics.median(line), statistics.median(block)
        ratios[name] = slow / fast
        print(f"HDF5 {h5py.version.hdf5_version}, {name}: {1e3 * slow:.2f} ms in one axis, {1e3 * fast:.2f} ms in three, {slow / fast:.1f} times")
sys.exit(0 if ratios["chunked"] >= 3.0 > ratios["contiguous"] else "not as described")
PY
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check 'h5py==3.16.0' 'numpy<3'
venv/bin/python read.py
