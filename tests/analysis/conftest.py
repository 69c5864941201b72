"""Puts the analysis package and the tests' support code on the path."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "analysis", ROOT / "tests" / "support"):
    sys.path.insert(0, str(folder))
