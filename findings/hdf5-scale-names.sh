#!/usr/bin/env bash
# h5py 3.16.0 with its HDF5: `dataset.dims[0][0].name`, the name of a dimension scale, takes longer the more objects the file has, although
# the scale lies beside the dataset: a scale is held by a reference, and HDF5 finds the path of what a reference leads to by looking through
# the groups of the file one after another. Reading the names of all scales of a file of many groups is then quadratic. Opening the scale, its
# values, and its label (`dims[0].keys()`) do not take longer so.
#
# What to do: look for the scale among the datasets of the group, and compare objects (`dataset.dims[0][0] == group["x"]`) or their places
# (H5Oget_info), not paths; or use the names that make_scale gave. `asymptop merge` does, since joining a file of 140 cases took 39 s.
#
# Prints the time of each for files of 100 and 1600 groups, and fails where the name does not take 6 times as long in the larger file, or the
# comparison does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q h5py==3.16.0 numpy==2.2.6
venv/bin/python - <<'P'
import sys
import time

import h5py

print("h5py", h5py.version.version, "HDF5", h5py.version.hdf5_version)


def least(work, groups):
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        for group in groups:
            work(group)
        best = min(best, (time.perf_counter() - begin) / len(groups))
    return best


name, same = [], []
for count in (100, 1600):
    with h5py.File("scales.h5", "w") as file:
        for number in range(count):
            group = file.create_group(f"group{number:05d}")
            scale = group.create_dataset("x", data=range(4))
            scale.make_scale("x")
            for other in range(5):
                group.create_dataset(f"values{other}", data=range(4)).dims[0].attach_scale(scale)
    with h5py.File("scales.h5") as file:
        groups = [file[f"group{number:05d}"] for number in range(count - 20, count)]
        assert all(group["values3"].dims[0][0].name == f"{group.name}/x" for group in groups)
        assert all(group["values3"].dims[0][0] == group["x"] for group in groups)
        name.append(least(lambda group: group["values3"].dims[0][0].name, groups))
        same.append(least(lambda group: group["values3"].dims[0][0] == group["x"], groups))
    print(f"{count} groups: the name {1e3 * name[-1]:.2f} ms, the comparison {1e3 * same[-1]:.2f} ms")
if name[1] < 6 * name[0] or same[1] > 6 * same[0]:
    print("not as described")
    sys.exit(1)
P
