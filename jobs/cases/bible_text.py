"""A long text as lines: a plain UTF-8 file, or the King James Bible as Debian's bible-kjv-text packs it.

bible.data is a header, a table of offsets and windows of 64 KiB of text, each an LZW stream of compress(1) without its
own magic number. gzip(1) reads such streams.

    PYTHONPATH=analysis python3 jobs/cases/bible_text.py bible.data verses.txt
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from asymptop.tensors.mapped import TensorError

MAGIC = b"EC02Compressed Data File"
TABLE = 0x54  # window size, number of windows, their offsets: big-endian, 32 bits each
COMPRESS_MAGIC = b"\x1f\x9d\x90"
REFERENCE = re.compile(r"[1-3]?[A-Za-z]+\d+:\d+ (.*)")


def read_lines(path: Path) -> list[str]:
    """Lines of text; of the Bible its verses, without their references."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TensorError(f"{path}: {error.strerror}") from error
    try:
        if content.startswith(MAGIC):
            lines = unpack_bible(content).decode("ascii").splitlines()
            return [verse[1] for line in lines if (verse := REFERENCE.fullmatch(line))]
        return content.decode("utf-8").splitlines()
    except (ValueError, struct.error, subprocess.CalledProcessError) as error:
        raise TensorError(f"{path}: neither UTF-8 text nor a readable bible.data ({error})") from error


def unpack_bible(content: bytes) -> bytes:
    window, count = struct.unpack_from(">II", content, TABLE)
    offsets = [*struct.unpack_from(f">{count}I", content, TABLE + 8), len(content)]
    text = b""
    for begin, end in pairwise(offsets):
        stream = COMPRESS_MAGIC + content[begin:end]
        part = subprocess.run(["gzip", "-dc"], input=stream, capture_output=True, check=True).stdout
        if len(part) != window and end != len(content):
            raise ValueError(f"a window of {len(part)} bytes, expected {window}")
        text += part
    return text


def main(arguments: list[str]) -> int:
    """Verses of FILE, one a line, into OUTPUT."""
    source, target = arguments
    try:
        lines = read_lines(Path(source))
    except TensorError as error:
        print(f"bible text: {error}", file=sys.stderr)
        return 2
    Path(target).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
