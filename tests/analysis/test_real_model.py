"""jobs/cases/real-model.sh: its text, as Debian packs it, and what it refuses."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from asymptop.tensors.mapped import TensorError
from bible_text import COMPRESS_MAGIC, MAGIC, TABLE, main, read_lines

REPOSITORY = Path(__file__).resolve().parents[2]


def packed(windows: list[bytes]) -> bytes:
    """A file as bible.data, its streams of literal codes only (9 bits each while a window is short)."""
    codes = [sum(byte << (9 * place) for place, byte in enumerate(window)) for window in windows]
    streams = [code.to_bytes(-(-9 * len(window) // 8), "little") for code, window in zip(codes, windows, strict=True)]
    start = TABLE + 8 + 4 * len(windows) + len(COMPRESS_MAGIC)
    offsets = [start + sum(map(len, streams[:i])) for i in range(len(streams))]
    header = MAGIC.ljust(TABLE, b"\0") + struct.pack(f">{2 + len(windows)}I", len(windows[0]), len(windows), *offsets)
    return header + COMPRESS_MAGIC + b"".join(streams)


def test_text_of_the_bible_package(tmp_path: Path) -> None:
    text = b"A title.\nGe1:1 First verse: so.\n2Sam3:4 Second\n1Jn5:6 Third, and last.\n"
    path = tmp_path / "bible.data"
    path.write_bytes(packed([text[:30], text[30:60], text[60:]]))
    assert read_lines(path) == ["First verse: so.", "Second", "Third, and last."]
    path.write_bytes(packed([text[:30], text[30:59], text[59:]]))
    with pytest.raises(TensorError, match="window of 29 bytes"):
        read_lines(path)


def test_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo é\n", encoding="utf-8")
    assert read_lines(path) == ["one", "two é"]
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(TensorError, match=r"text\.txt"):
        read_lines(path)
    with pytest.raises(TensorError, match="No such file"):
        read_lines(tmp_path / "none")


def test_verses_are_lines_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bible.data"
    path.write_bytes(packed([b"Ge1:1 First verse.\n", b"Ge1:2 The second.\n"]))
    assert main([str(path), str(tmp_path / "verses.txt")]) == 0
    assert (tmp_path / "verses.txt").read_text(encoding="utf-8") == "First verse.\nThe second.\n"
    assert main([str(tmp_path / "none"), str(tmp_path / "more.txt")]) == 2
    assert capsys.readouterr().err.startswith("bible text: ")
    assert not (tmp_path / "more.txt").exists()


@pytest.mark.parametrize(
    "words", [["--places", "x"], ["--places", "0"], ["--layers"], ["--ranks", "two"], ["--colour", "red"]]
)
def test_script_refuses_bad_options(words: list[str]) -> None:
    script = REPOSITORY / "jobs" / "cases" / "real-model.sh"
    result = subprocess.run(["bash", str(script), *words], capture_output=True, text=True, timeout=20)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert words[0] in result.stderr
