"""A few kills at random instants (tests/soak/kills.py makes many), and the study still comes out to the byte."""

from __future__ import annotations

import sys
from pathlib import Path

from command_line import ROOT

sys.path.insert(0, str(ROOT / "tests" / "soak"))

from kills import soak


def test_kills(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    tally = soak(tmp_path, 6, seed, draws=12)
    assert tally.kills == 6, tally.line()
