"""The numpy encoder against plain loops, the numbers per head against brute force, the text against a made-up one."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from asymptop.tensors.mapped import TensorError
from real_model import capture
from real_model.encoder import Encoder, load_encoder
from real_model.text import COMPRESS_MAGIC, MAGIC, TABLE, read_lines
from safetensors.numpy import save_file

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS, HEADS, HIDDEN, INNER, VOCABULARY, CONTEXT = 3, 4, 20, 28, 50, 9
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "hidden_size": HIDDEN,
    "max_position_embeddings": CONTEXT,
    "layer_norm_eps": 1e-12,
    "_name_or_path": "tiny",
}


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(3)
    weights: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int, middle: float = 0.0) -> None:
        weights[name] = (middle + 0.3 * random.standard_normal(shape)).astype(np.float32)

    def add_linear(name: str, outputs: int, inputs: int) -> None:
        add(f"{name}.weight", outputs, inputs)
        add(f"{name}.bias", outputs)

    def add_norm(name: str) -> None:
        add(f"{name}.weight", HIDDEN, middle=1.0)
        add(f"{name}.bias", HIDDEN)

    for name, rows in (("word", VOCABULARY), ("position", CONTEXT), ("token_type", 2)):
        add(f"embeddings.{name}_embeddings.weight", rows, HIDDEN)
    add_norm("embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            add_linear(f"{prefix}.attention.{name}", HIDDEN, HIDDEN)
        add_norm(f"{prefix}.attention.output.LayerNorm")
        add_linear(f"{prefix}.intermediate.dense", INNER, HIDDEN)
        add_linear(f"{prefix}.output.dense", HIDDEN, INNER)
        add_norm(f"{prefix}.output.LayerNorm")
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(weights | {"pooler.dense.bias": np.zeros(3, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


class PlainEncoder:
    """The same encoder, one number at a time, in float64."""

    def __init__(self, encoder: Encoder) -> None:
        self.weights = {name: array.astype(np.float64) for name, array in encoder.weights.items()}

    def linear(self, row: list[float], name: str) -> list[float]:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return [bias[o] + sum(weight[o, i] * row[i] for i in range(len(row))) for o in range(len(bias))]

    def normalise(self, row: list[float], name: str) -> list[float]:
        mean = sum(row) / len(row)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / len(row) + 1e-12)
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return [(value - mean) / deviation * weight[i] + bias[i] for i, value in enumerate(row)]

    def embed(self, token_ids: list[int]) -> list[list[float]]:
        tables = [self.weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")]
        rows = [
            [tables[0][token][i] + tables[1][place][i] + tables[2][0][i] for i in range(HIDDEN)]
            for place, token in enumerate(token_ids)
        ]
        return [self.normalise(row, "embeddings.LayerNorm") for row in rows]

    def layer(self, x: list[list[float]], number: int) -> list[list[float]]:
        prefix, d, result = f"encoder.layer.{number}", HIDDEN // HEADS, []
        q, k, v = (
            [self.linear(row, f"{prefix}.attention.self.{name}") for row in x] for name in ("query", "key", "value")
        )
        for i, row in enumerate(x):
            attended: list[float] = []
            for head in range(HEADS):
                places = range(head * d, head * d + d)
                e = [math.exp(sum(q[i][c] * key[c] for c in places) / math.sqrt(d)) for key in k]
                attended += [sum(e[j] * v[j][c] for j in range(len(x))) / sum(e) for c in places]
            mixed = self.linear(attended, f"{prefix}.attention.output.dense")
            mixed = self.normalise(
                [a + b for a, b in zip(mixed, row, strict=True)], f"{prefix}.attention.output.LayerNorm"
            )
            inner = [
                0.5 * t * (1 + math.erf(t / math.sqrt(2))) for t in self.linear(mixed, f"{prefix}.intermediate.dense")
            ]
            outer = self.linear(inner, f"{prefix}.output.dense")
            result.append(
                self.normalise([a + b for a, b in zip(outer, mixed, strict=True)], f"{prefix}.output.LayerNorm")
            )
        return result


def test_encoder_is_the_plain_one(model_folder: Path) -> None:
    encoder = load_encoder(model_folder)
    plain = PlainEncoder(encoder)
    token_ids = np.random.default_rng(1).integers(0, VOCABULARY, (2, 7))
    expected = [plain.embed(window) for window in token_ids.tolist()]
    for layer in range(LAYERS + 1):
        found = encoder.layer_input(token_ids, layer)
        np.testing.assert_allclose(found, np.array(expected), rtol=0, atol=2e-5)
        if layer < LAYERS:
            queries, _, values = encoder.queries_keys_values(found, layer)
            row = plain.linear(expected[1][3], f"encoder.layer.{layer}.attention.self.value")
            np.testing.assert_allclose(values[1, 2, 3], row[10:15], rtol=0, atol=2e-5)
            assert queries.shape == (2, HEADS, 7, HIDDEN // HEADS)
            expected = [plain.layer(window, layer) for window in expected]


def test_projection_norms(model_folder: Path) -> None:
    encoder = load_encoder(model_folder)
    query, key = (encoder.weights[f"encoder.layer.1.attention.self.{name}.weight"].T for name in ("query", "key"))
    for head, norm in enumerate(encoder.projection_norms(1)):
        columns = slice(5 * head, 5 * head + 5)
        assert norm == pytest.approx(np.linalg.norm(query[:, columns] @ key[:, columns].T), rel=1e-5)


def run_tiny(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, Path]:
    text = np.random.default_rng(5).integers(2, VOCABULARY, 200).astype(np.int32)

    def windows(arguments: object, length: int) -> capture.Windows:
        return capture.cut_windows(text, arguments.tokens, length, (0, 1), arguments.special == "keep")

    monkeypatch.setattr(capture, "load_windows", windows)
    output = folder / "tensors.h5"
    call = ["--model", str(folder), "--text", "made-up.txt", "--output", str(output), *words]
    return capture.main(call), output


@pytest.mark.parametrize("special", ["drop", "keep"])
def test_tensor_file(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], special: str
) -> None:
    code, path = run_tiny(model_folder, monkeypatch, "--tokens", "100", "--special", special)
    assert code == 0
    rows = CONTEXT if special == "keep" else CONTEXT - 2
    encoder = load_encoder(model_folder)
    with h5py.File(path) as file:
        q, k, _ = (file[name][()].astype(np.float64) for name in "QKV")
        model = {name: dataset[()] for name, dataset in file["model"].items()}
        assert "never attended" in file.attrs["note"]
        assert file.attrs["scale"] == 1 / math.sqrt(5)
        assert file["model"].attrs["layer"] == LAYERS // 2
        assert file["model"].attrs["rows_per_window"] == rows
    assert q.shape == k.shape == (HEADS, 100, 5)
    logits = q @ k.swapaxes(1, 2) / math.sqrt(5)
    np.testing.assert_allclose(model["sigma"], np.sqrt(logits.var(axis=2).mean(axis=1)), rtol=1e-9)
    inside = [logits[:, s : s + rows, s : s + rows].var(axis=2) for s in range(0, 100, rows)]
    np.testing.assert_allclose(model["sigma_in_window"], np.sqrt(np.concatenate(inside, 1).mean(axis=1)), rtol=1e-9)
    np.testing.assert_allclose(model["R"], model["B"] ** 2 * model["W_frobenius"])
    np.testing.assert_allclose(model["W_frobenius"], encoder.projection_norms(1))
    ids = model["token_id"][: rows * 2].reshape(2, rows)
    if special == "keep":
        x = encoder.layer_input(ids, 1)
        np.testing.assert_allclose(encoder.queries_keys_values(x, 1)[0][1], q[:, rows : 2 * rows], atol=1e-5)
        assert set(ids[:, 0]) == {0}
    else:
        assert ids.min() > 1
    printed = capsys.readouterr().out
    assert "never attended" in printed
    assert f"{model['sigma'][3]:.4f}" in printed
    assert capture.main(["--show", "--output", str(path)]) == 0
    assert capsys.readouterr().out == printed


def test_threads_change_nothing(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    for cores in ({0}, {0, 1, 2}):
        monkeypatch.setattr(capture.os, "sched_getaffinity", lambda _, cores=cores: cores)
        files.append(run_tiny(model_folder, monkeypatch, "--tokens", "100")[1].read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--layer", "3"), "0 to 2"),
        (("--window", "10"), "3 to 9"),
        (("--tokens", "0"), "--tokens is 0"),
        (("--tokens", "1000"), "the text has 196"),
    ],
)
def test_bad_choices(
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    expected: str,
) -> None:
    code, path = run_tiny(model_folder, monkeypatch, *words)
    message = capsys.readouterr().err
    assert (code, message.count("\n"), path.exists()) == (2, 1, False)
    assert expected in message


def test_other_models_are_refused(model_folder: Path) -> None:
    (model_folder / "config.json").write_text(json.dumps(CONFIG | {"hidden_act": "relu"}))
    with pytest.raises(TensorError, match="hidden_act is 'relu'"):
        load_encoder(model_folder)


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


@pytest.mark.parametrize(
    "words", [["--tokens", "x"], ["--tokens", "5"], ["--layer"], ["--special", "some"], ["--colour", "red"]]
)
def test_script_refuses_bad_options(words: list[str]) -> None:
    script = REPOSITORY / "jobs" / "cases" / "real-model.sh"
    result = subprocess.run(["bash", str(script), *words], capture_output=True, text=True, timeout=20)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert words[0] in result.stderr


def test_runs_as_the_script_runs_it(tmp_path: Path) -> None:
    """The folder is no part of the installed package: python finds it by PYTHONPATH alone."""
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY / 'jobs' / 'cases'}:{REPOSITORY / 'analysis'}"}
    words = [sys.executable, "-m", "real_model", "--show", "--output", str(tmp_path / "none.h5")]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("real model: ")
