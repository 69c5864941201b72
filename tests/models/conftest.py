"""Puts the analysis package and the tests' support code on the path; all here needs PyTorch and transformers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "analysis", ROOT / "tests" / "support"):
    sys.path.insert(0, str(folder))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
