"""The environment of what tests start: nothing of the job that the tests may be run in, and no Slurm.

With it no client of Slurm finds a cluster: slurm_cluster.py alone says where one is, its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "jobs"))

from slurm import surrounding

# A file that no machine can have.
NO_SLURM = {"SLURM_CONF": "/dev/null/slurm.conf"}


def own_environment() -> dict[str, str]:
    return {name: value for name, value in surrounding.without(os.environ).items() if name not in surrounding.CLIENT}
