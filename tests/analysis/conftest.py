"""Puts the analysis package and the tests' support code on the path; reports with some of their figures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "analysis", ROOT / "jobs" / "cases", ROOT / "tests" / "support"):
    sys.path.insert(0, str(folder))


@pytest.fixture
def draw_only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Reports get these figures alone, by name: all of them take half a minute."""
    from asymptop.figures import builders

    def choose(*names: str) -> None:
        chosen = tuple(build for build in builders.BUILDERS if build.__name__ in names)
        assert len(chosen) == len(names)
        monkeypatch.setattr(builders, "BUILDERS", chosen)

    return choose
