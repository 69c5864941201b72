"""The analysis package's reader on a results file with bytes changed: it reads or raises ResultsError, nothing else.

    fuzz_reader.py [--seed S] [--runs N] RESULTS.h5
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from asymptop.reader import ResultsError, open_results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    sound = options.file.read_bytes()
    open_results(options.file)
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input.h5")
        for run in range(options.runs):
            data = bytearray(sound)
            for _ in range(draw.choice((1, 1, 2, 20))):
                data[draw.randrange(len(data))] = draw.randrange(256)
            if draw.random() < 0.1:
                del data[draw.randrange(len(data)) :]
            path.write_bytes(data)
            try:
                open_results(path)
            except ResultsError as error:
                refused += 1
                if "\n" in str(error):
                    print(f"seed {options.seed}, input {run}: a message of several lines: {error}")
                    return 1
            except Exception as error:
                Path(f"crash-reader-{options.seed}").write_bytes(data)
                print(f"seed {options.seed}, input {run}: {type(error).__name__}: {error}")
                return 1
    print(f"{options.runs} inputs, {refused} refused, {options.runs - refused} read")
    return 0


if __name__ == "__main__":
    sys.exit(main())
