"""Command line: PYTHONPATH=jobs/cases python3 -m real_model."""

import sys

from asymptop.io.streams import run_command

from .capture import main

if __name__ == "__main__":
    sys.exit(run_command("real model", main))
