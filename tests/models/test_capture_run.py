"""The command over a small model: layers that are kept, kills, what the check refuses, and how it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: tests/models/run.sh")
pytest.importorskip("transformers", reason="needs transformers: tests/models/run.sh")

from asymptop import __main__ as command_line
from asymptop.capture import recorder, run
from small_models import ARCHITECTURES, save_model

ANALYSIS = Path(__file__).resolve().parents[2] / "analysis"
TEXT = "".join(chr(32 + (i * i + 7 * i) % 94) for i in range(400))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt_oss")
    save_model(folder / "model", "GptOssConfig", ARCHITECTURES["gpt_oss"].options, 5)
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return folder


def words(model: Path, output: Path, *more: str) -> list[str]:
    usual = ["capture", str(model / "model"), "--text", str(model / "text.txt"), "--lengths", "2^4:2^6"]
    return [*usual, "--device", "cpu", "--places", "2", "-o", str(output), *more]


def contents(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, node: found.update(
                {name: node[()].tobytes() if isinstance(node, h5py.Dataset) else sorted(node.attrs.items())}
            )
        )
    return found


def test_layers_that_are_whole_are_kept(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(words(model, tmp_path / "whole.h5")) == 0
    output, written = tmp_path / "t.h5", []
    plain = run.write

    def fails_at_the_fourth(group: h5py.Group, one: recorder.LayerCapture) -> None:
        plain(group, one)
        if "trial" not in group.file.filename:
            written.append(one.layer)
            if len(written) == 4:
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "write", fails_at_the_fourth)
    assert command_line.main(words(model, output)) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    parts = tmp_path / "t.h5.parts"
    kept = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert sorted(kept) == ["text0-layer0.h5", "text0-layer1.h5", "text0-layer2.h5"]
    assert not output.exists()
    monkeypatch.setattr(run, "write", plain)
    assert command_line.main(words(model, output)) == 2
    assert "--resume keeps them" in capsys.readouterr().err.splitlines()[-1]
    assert command_line.main(words(model, output, "--resume", "--dtype", "bfloat16")) == 2
    assert "is of another model, text, length, type or place" in capsys.readouterr().err.splitlines()[-1]
    assert {path.name: path.stat().st_mtime_ns for path in parts.iterdir()} == kept
    assert command_line.main(words(model, output, "--resume")) == 0
    assert "text 0 (text.txt from token 0), 1 of 2: 3 of 3 layers are there already" in capsys.readouterr().err
    assert contents(output) == contents(tmp_path / "whole.h5")
    assert not parts.exists()
    before = output.stat().st_mtime_ns
    assert command_line.main(words(model, output, "--resume")) == 0
    assert "is whole already" in capsys.readouterr().err
    assert output.stat().st_mtime_ns == before
    assert command_line.main(words(model, output)) == 2
    assert command_line.main(words(model, output, "--resume", "--layers", "1")) == 2


def test_killed_at_any_time_and_resumed(tmp_path: Path, model: Path) -> None:
    """SIGKILL as soon as another layer is there, until the file is."""
    assert command_line.main(words(model, tmp_path / "whole.h5")) == 0
    output, parts, kills = tmp_path / "t.h5", tmp_path / "t.h5.parts", 0
    environment = os.environ | {"PYTHONPATH": str(ANALYSIS)}
    for _ in range(3):
        before = len(list(parts.glob("text*"))) if parts.exists() else 0
        command = [sys.executable, "-m", "asymptop", *words(model, output, "--resume")]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as running:
            while running.poll() is None and not len(list(parts.glob("text*"))) > before:
                time.sleep(0.002)
            running.send_signal(signal.SIGKILL)
        kills += running.returncode == -signal.SIGKILL
        for path in parts.glob("text*"):
            with h5py.File(path) as file:
                assert np.isfinite(file["layer/V"][()]).all()
    assert kills > 0
    assert command_line.main(words(model, output, "--resume")) == 0
    assert contents(output) == contents(tmp_path / "whole.h5")
    assert not parts.exists()


def test_a_disk_without_room_is_refused_beforehand(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two texts of three layers with 4 + 2 + 2 heads of 24, 64 tokens and 4 bytes: once as layers, once as the file."""
    whole = 2 * 3 * 8 * 24 * 64 * 4
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * whole - 1))
    assert command_line.main(words(model, tmp_path / "t.h5")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"needs {2 * whole / 1e9:.3g} GB while layers become one file" in last
    assert not (tmp_path / "t.h5").exists()
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * whole))
    assert command_line.main(words(model, tmp_path / "t.h5")) == 0
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert command_line.main(words(model, tmp_path / "t.h5", "--resume")) == 0  # whole already


@pytest.mark.parametrize(
    "wrong",
    [
        lambda terms: replace(terms, scale=terms.scale * 1.01),
        lambda terms: replace(terms, window=max(0, terms.window - 1)),
        lambda terms: replace(terms, softcap=5.0),
        lambda terms: replace(terms, per_head={}),
        lambda terms: replace(terms, per_head={"sinks": terms.per_head["sinks"][::-1]}),
        lambda terms: replace(terms, mask="none", window=0),
    ],
    ids=["scale", "window", "softcap", "no-sinks", "sinks", "mask"],
)
def test_file_that_says_something_else_is_refused(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: Any
) -> None:
    plain = run.write
    monkeypatch.setattr(run, "write", lambda group, one: plain(group, replace(one, terms=wrong(one.terms))))
    assert command_line.main(words(model, tmp_path / "t.h5")) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "layer 0: attention by what the file says differs by" in last
    assert "from the model's own attention over 16 rows, allowed is 0.0001" in last
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tensor", "QKV")
def test_tensors_in_another_order_are_refused(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tensor: str
) -> None:
    plain = run.write

    def swapped(group: h5py.Group, one: recorder.LayerCapture) -> None:
        plain(group, replace(one, tensors=one.tensors | {tensor: one.tensors[tensor].flip(0)}))

    monkeypatch.setattr(run, "write", swapped)
    assert command_line.main(words(model, tmp_path / "t.h5")) == 1
    assert "layer 0: attention by what the file says differs by" in capsys.readouterr().err.splitlines()[-1]


def test_a_model_that_goes_on_with_something_else_is_refused(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = recorder.attend
    monkeypatch.setattr(recorder, "attend", lambda *given: 1.01 * plain(*given))
    assert command_line.main(words(model, tmp_path / "t.h5")) == 1
    assert "from the attention in float32 that the model went on with" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_not_there_is_named(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, reason in (
        (("--layers", "1,3"), "--layers has 3, allowed are layers with attention: 0,1,2"),
        (("--lengths", "300"), "--lengths has 300, "),
        (("--lengths", "300"), "takes 256 positions at most"),
        (("--text", str(model / "model" / "config.json"), "--lengths", "256"), ""),
    ):
        code = command_line.main(words(model, tmp_path / "t.h5", *more))
        last = capsys.readouterr().err.splitlines()[-1]
        assert (code, reason in last) == (2 if reason else 0, True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "no such thing"}', encoding="utf-8")
    told = ["capture", str(tmp_path / "empty"), "--text", str(model / "text.txt"), "--lengths", "64"]
    assert command_line.main([*told, "-o", str(tmp_path / "u.h5")]) == 2
    assert "transformers does not load it: ValueError" in capsys.readouterr().err.splitlines()[-1]
