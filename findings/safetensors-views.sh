#!/usr/bin/env bash
# safetensors 0.8.0 (PyPI), numpy front end: save_file of a view that is not C-contiguous (a transpose, a column slice, an array in
# Fortran order) writes the memory behind the view in memory order under the view's shape. What is read back has the right shape and
# type and other numbers; nothing is raised or printed. 0.7.0 writes the same views as numpy shows them.
#
# Who captures queries and keys as (n, heads, d) and saves q.swapaxes(0, 1), as attention code lays them out, stores scrambled heads.
# What to do: numpy.ascontiguousarray before save_file. Asymptop says so in `python3 -m asymptop convert --help`.
#
# Prints what each version gives back and fails where that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/views.py" <<'PY'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

wanted = sys.argv[1] == "kept"
base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
views = {
    "swapped axes": base.swapaxes(0, 1),
    "transpose": base[0].T,
    "slice of columns": base[0][:, ::2],
    "Fortran order": np.asfortranarray(base[1]),
}
odd = []
for name, view in views.items():
    save_file({"t": view, "copy": np.ascontiguousarray(view)}, "t.safetensors")
    back = load_file("t.safetensors")
    same, of_copy = np.array_equal(back["t"], view), np.array_equal(back["copy"], view)
    print(f"safetensors {safetensors.__version__}, {name}: shape {back['t'].shape}, " + ("as saved" if same else "other numbers"))
    if not of_copy or same != wanted:
        odd.append(name)
sys.exit(f"not as described: {odd}" if odd else 0)
PY
cd "$folder"
for version in 0.7.0:kept 0.8.0:scrambled; do
  python3 -m venv "v${version%:*}"
  "v${version%:*}/bin/pip" install -q --disable-pip-version-check "safetensors==${version%:*}" numpy==2.2.6
  "v${version%:*}/bin/python" views.py "${version#*:}"
done
