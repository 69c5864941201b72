"""The package of jobs/ and the tests' own support on the path; the seed of the random tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "jobs"), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "app")]


@pytest.fixture(scope="session")
def seed() -> int:
    return int(os.environ.get("ASYMPTOP_TEST_SEED", "20240402"))
