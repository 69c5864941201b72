"""The order of test files, and which tests are left to the long tiers.

Those that take longest, mostly waiting, begin first, or one worker ends alone with them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

LONGEST = (
    "jobs/test_cluster.py",
    "app/test_leaving.py",
    "app/test_bench_scaling.py",
    "app/test_attend.py",
    "app/test_model_selectors.py",
    "app/test_stop.py",
    "app/test_study_selectors.py",
    "app/test_study_calibrated.py",
    "app/test_bench.py",
    "kernels/test_library.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "long: run by the tier `long` (tests/full.py) alone, with ASYMPTOP_LONG_TESTS set"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    place = {TESTS / name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    if os.environ.get("ASYMPTOP_LONG_TESTS"):
        return
    left = [item for item in items if item.get_closest_marker("long")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
