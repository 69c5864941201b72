"""Small models captured on a GPU and on the CPU give the same files, within what rounding makes of them."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: tests/models/run.sh")
pytest.importorskip("transformers", reason="needs transformers: tests/models/run.sh")

from asymptop import __main__ as command_line
from asymptop.capture import loading
from small_models import ARCHITECTURES, LAYERS, save_model

SEED = int(os.environ.get("ASYMPTOP_TEST_SEED", "1"))
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
N = 250
TEXT = "".join(chr(32 + (i * i + 7 * i) % 94) for i in range(400))
# Of the largest number of a tensor. On a CPU float32 is off float64 by up to 9e-7 of it in these models.
FLOAT32_BOUND = 1e-5
# Errors of bfloat16, root mean square of a tensor, on the GPU over those on the CPU: both round as often.
BFLOAT16_RATIO = 2.0
NAMES = ["llama", "qwen3", "gemma2", "gemma3", "mistral", "gpt2", "falcon grouped", "falcon alibi", "gpt_oss"]
NAMES += ["deepseek_v2", "deepseek_v3", "bert", "bart"]
ROUTED = {"gpt_oss"}  # rounding sends tokens to other experts


def captured(folder: Path, device: str, dtype: str) -> Path:
    output = folder / f"{device}-{dtype}.h5"
    words = ["capture", str(folder / "model"), "--text", str(folder / "text.txt"), "--lengths", str(N)]
    assert command_line.main([*words, "--device", device, "--dtype", dtype, "-o", str(output)]) == 0
    return output


def numbers(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {f"{layer}/{x}": file[f"text0/layer{layer}/{x}"][()] for layer in range(LAYERS) for x in "QKV"}


def said(path: Path) -> list[tuple[object, ...]]:
    """All that a file says of its layers' logits beside queries and keys."""
    with h5py.File(path) as file:
        groups = [file[f"text0/layer{layer}"] for layer in range(LAYERS)]
        return [
            (sorted(group.attrs.items()), *(group[name][()].tolist() for name in ("sinks", "alibi") if name in group))
            for group in groups
        ]


@needs_gpu
@pytest.mark.parametrize("name", NAMES)
def test_gpu_captures_what_the_cpu_does(tmp_path: Path, name: str) -> None:
    """Each capture has held itself against the model's own code and float64, too."""
    print(f"seed {SEED}")
    save_model(tmp_path / "model", ARCHITECTURES[name].config, ARCHITECTURES[name].options, SEED)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    exact = captured(tmp_path, "cpu", "float32")
    on_gpu = captured(tmp_path, "cuda", "float32")
    assert said(on_gpu) == said(exact)
    expected, found = numbers(exact), numbers(on_gpu)
    for where, values in expected.items():
        assert np.abs(found[where] - values).max() < FLOAT32_BOUND * np.abs(values).max(), where
    narrow = {device: captured(tmp_path, device, "bfloat16") for device in ("cpu", "cuda")}
    assert said(narrow["cuda"]) == said(narrow["cpu"])
    halves = {device: numbers(path) for device, path in narrow.items()}
    for where, values in expected.items():
        on_cpu, off = (float(np.sqrt(np.mean((halves[at][where] - values) ** 2))) for at in ("cpu", "cuda"))
        assert name in ROUTED or off < BFLOAT16_RATIO * on_cpu, where
        assert np.array_equal(halves["cuda"][where].view(np.uint32) & 0xFFFF, np.zeros(values.shape, np.uint32)), where


def test_a_model_that_a_gpu_cannot_hold_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "model", ARCHITECTURES["llama"].config, ARCHITECTURES["llama"].options, SEED)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(loading, "prepared", full)
    words = ["capture", str(tmp_path / "model"), "--text", str(tmp_path / "text.txt"), "--lengths", str(N)]
    assert command_line.main([*words, "-o", str(tmp_path / "t.h5")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "does not fit the GPU's memory in float32" in last
    assert "--device cpu" in last


def test_float32_is_float32(tmp_path: Path) -> None:
    """Containers may switch matrix products to TF32, of 10 bits."""
    save_model(tmp_path / "model", ARCHITECTURES["llama"].config, ARCHITECTURES["llama"].options, SEED)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        loading.load(tmp_path / "model", "float32", "cpu")
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)
