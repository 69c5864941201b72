"""Runs of ReFrame, from an environment of its own (jobs/setup/debian.sh --tests)."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFRAME = ROOT / "build" / "venv-tools" / "bin" / "reframe"
CHECKS, SETTINGS = (ROOT / "jobs" / "reframe" / name for name in ("asymptop_checks.py", "settings.py"))


def why_not() -> str:
    """Why there can be no run; empty where there can."""
    return "" if REFRAME.exists() else f"{REFRAME} is missing: jobs/setup/debian.sh --tests makes it"


def reframe(folder: Path, system: str, program: Path, *words: str) -> list[str]:
    """The command: all that it writes lies in `folder`, its report in report.json there."""
    place = ["--prefix", str(folder / "reframe"), "--report-file", str(folder / "report.json")]
    checks = ["-C", str(SETTINGS), "--system", system, "-c", str(CHECKS), "-S", f"executable={program}"]
    return [str(REFRAME), *place, *checks, *words, "-r"]
