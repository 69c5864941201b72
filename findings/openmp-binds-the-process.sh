#!/usr/bin/env bash
# GNU OpenMP (the libgomp in scikit-learn 1.5.2's wheel for Linux), OMP_PROC_BIND=true as clusters and Kokkos' documentation set it:
# loading the library, before any parallel region, leaves the process's first thread with one core. So all that asks the process for its
# cores afterwards (sched_getaffinity, os.sched_getaffinity, hwloc, `nproc`) hears "one", and every program that it starts by fork, exec or
# posix_spawn inherits that core for good, also one that would bind its own threads: they then all share it. The threads of the process's own
# parallel regions have a core each, so nothing looks wrong from inside.
#
# What to do: ask for the cores before the library is loaded (in C, a function in .preinit_array; a linked library's constructor is too
# late), and give them back before exec. Asymptop does (src/comm/cores.cpp).
#
# Prints the cores before and after, and a child's, and fails where they are not as described. Needs two cores.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q --disable-pip-version-check scikit-learn==1.5.2 numpy==2.2.6 scipy==1.14.1
cat >cores.py <<'PY'
import os
import subprocess
import sys

before = os.sched_getaffinity(0)
if len(before) < 2:
    sys.exit("this needs two cores")
import sklearn  # noqa: E402
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads  # noqa: E402

after = os.sched_getaffinity(0)
child = int(subprocess.run(["nproc"], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}).stdout)
bind = os.environ.get("OMP_PROC_BIND", "not set")
print(f"scikit-learn {sklearn.__version__}, OMP_PROC_BIND {bind}: cores before {len(before)}, after {len(after)}, of a child {child}")
wanted = 1 if bind == "true" else len(before)
sys.exit(0 if (len(after), child) == (wanted, wanted) else "not as described")
PY
env -u OMP_PROC_BIND -u OMP_PLACES -u GOMP_CPU_AFFINITY v/bin/python cores.py
env -u OMP_PLACES -u GOMP_CPU_AFFINITY OMP_PROC_BIND=true v/bin/python cores.py
