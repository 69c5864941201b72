"""Command line of the analysis package: python3 -m asymptop COMMAND."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from .streams import OutputError, run_command
from .trial import tried

# One module per command, each with add_parser(subparsers) and run(arguments) -> exit code.
COMMAND_MODULES = ("convert", "report_command", "scaling_command", "advise", "weights", "validate", "jobs_command")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        command = " ".join(self.prog.split()[3:])
        self.exit(2, f"asymptop {command}".rstrip() + ": " + "\\n".join(message.splitlines()) + "\n")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python3 -m asymptop", description="Analysis of Asymptop results: how attention becomes sparse."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMAND_MODULES:
        importlib.import_module(f".{name}", __package__).add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except OutputError:
        raise
    except Exception as error:
        if not tried:
            raise
        # Numbers that no one vouches for may be any: what they lead to is no fault of the program.
        names, why = ", ".join(map(str, sorted(tried))), " ".join(f"{type(error).__name__}: {error}".split())
        told = f"{names}: has no checksum, and cannot be evaluated ({why})"
        print(f"asymptop {arguments.command}: {told}", file=sys.stderr)
        return 2


def program() -> int:
    """As run from a shell."""
    named = [word for word in sys.argv[1:2] if not word.startswith("-")]
    return run_command(" ".join(["asymptop", *named]), main)


if __name__ == "__main__":
    sys.exit(program())
