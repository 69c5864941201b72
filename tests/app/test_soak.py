"""A minute of tests/soak/soak.py: random commands, disturbed at random, come out as if nothing had been."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_line import ROOT

sys.path.insert(0, str(ROOT / "tests" / "soak"))

from soak import soak


@pytest.mark.long
def test_soak(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    tally = soak(tmp_path, 45.0, seed)
    assert tally.failed == []
    assert sum(tally.faults.values()) > 0
