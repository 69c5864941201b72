"""Command line of the analysis package: python3 -m asymptop COMMAND."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .io.streams import OutputError, UsageError, run_command

# By name, what `--help` says of it. commands/ has a module of each name, imported only when that command is run: numpy,
# scipy and matplotlib take a second.
COMMANDS = {
    "convert": "make a tensor file for `asymptop study --input` from .npy, .npz, .safetensors or HDF5",
    "capture": "queries, keys and values of a model's layers over texts, for `asymptop study --input`",
    "report": "judge the claims and write report.html",
    "scaling": "figures, model and projection of asymptop bench --scaling",
    "advise": "the best law of k for your lengths at the cost of a fixed k",
    "weights": "R, sigma, regime and a law of k from a model's W_Q and W_K",
    "validate": "check a results file against reference values and against itself",
    "jobs": "what a cluster run cost, against what was planned",
}


# Whose matrices are so small that the threads of a BLAS would only wait for one another.
_ONE_THREAD = ("report", "scaling", "advise", "validate")


# For storage that fails h5py has both OSError and RuntimeError.
_WRITE_TENSORS = ("convert", "capture")


# What argparse says of words that are missing, or of no option.
_WORDS_AMISS = ("the following arguments are required", "unrecognized arguments", "argument COMMAND")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        command = " ".join(self.prog.split()[3:])
        said = "\\n".join(message.splitlines())
        if message.startswith(_WORDS_AMISS):
            said += f"; see {self.prog} --help"
        self.exit(2, f"asymptop {command}".rstrip() + f": {said}\n")


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; options are those of `command` alone."""
    parser = Parser(
        prog="python3 -m asymptop", description="Analysis of Asymptop results: how attention becomes sparse."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        added = subparsers.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == command:
            module = importlib.import_module(f".commands.{name}", __package__)
            added.description, added.epilog = getattr(module, "DESCRIPTION", summary), getattr(module, "EPILOG", None)
            module.add_options(added)
            added.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    command = next((word for word in words if not word.startswith("-")), None)
    arguments = build_parser(command).parse_args(words)
    try:
        return arguments.run(arguments)
    except OutputError:
        raise
    except UsageError as error:  # names may have any character
        print(f"asymptop {arguments.command}:", "\\n".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except Exception as error:
        if isinstance(error, OSError) or (isinstance(error, RuntimeError) and command in _WRITE_TENSORS):
            file = getattr(error, "filename", None) or arguments.output
            reason = getattr(error, "strerror", None) or error
            # HDF5 says the time, on a line of its own.
            print(f"asymptop {arguments.command}: {file}: {' '.join(str(reason).split())}", file=sys.stderr)
            return 1
        from .io.trial import tried  # with h5py, which a list of commands does without

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
    if named and named[0] in _ONE_THREAD:
        for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read when numpy is first imported
            os.environ.setdefault(variable, "1")
        gc.set_threshold(100_000)  # after each 700 new objects, as is usual, it takes a tenth of a report's time
    return run_command(" ".join(["asymptop", *named]), main)


if __name__ == "__main__":
    sys.exit(program())
