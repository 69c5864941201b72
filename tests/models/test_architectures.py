"""What `capture` writes of random small models gives their own attention, row by row, by a computation apart."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: tests/models/run.sh")
transformers = pytest.importorskip("transformers", reason="needs transformers: tests/models/run.sh")

from asymptop import __main__ as command_line
from asymptop.capture.recorder import LayerCapture, Recorder
from small_models import (
    ARCHITECTURES,
    LAYERS,
    PASSED,
    REFUSED,
    SOUND,
    Architecture,
    attention_outputs,
    random_model,
    save_model,
)

SEED = int(os.environ.get("ASYMPTOP_TEST_SEED", "1"))
N = 71
TEXT = "".join(chr(32 + (i * i + 7 * i) % 94) for i in range(400))


def plain_attention(group: h5py.Group) -> np.ndarray:
    """(n, heads * d_v), straight from the words of analysis/README.md."""
    q, k, v = (group[name][()].astype(np.float64) for name in "QKV")
    (heads, m, _), (key_heads, n, _) = q.shape, k.shape
    outputs = []
    for h in range(heads):
        g = h // (heads // key_heads)
        s = group.attrs["scale"] * q[h] @ k[g].T
        if group.attrs.get("softcap", 0.0) > 0:
            s = group.attrs["softcap"] * np.tanh(s / group.attrs["softcap"])
        p = np.zeros_like(s)
        for i in range(m):
            at = n - m + i
            last = at if group.attrs["mask"] == "causal" else n - 1
            first = max(0, at - group.attrs["window"] + 1) if group.attrs.get("window", 0) else 0
            row = s[i, first : last + 1]
            if "alibi" in group:
                row = row + group["alibi"][h] * (np.arange(first, last + 1) - at)
            total = np.exp(row).sum() + (np.exp(group["sinks"][h]) if "sinks" in group else 0.0)
            p[i, first : last + 1] = np.exp(row) / total
        outputs.append(p @ v[g])
    return np.concatenate(outputs, axis=1)


def captured(folder: Path, *more: str) -> Path:
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    words = ["capture", str(folder / "model"), "--text", str(folder / "text.txt"), "--lengths", str(N)]
    assert command_line.main([*words, "--device", "cpu", "-o", str(folder / "t.h5"), *more]) == 0
    return folder / "t.h5"


def tokens(start: int = 0) -> torch.Tensor:
    return torch.tensor([[0, *(ord(letter) - 30 for letter in TEXT[start : start + N - 1])]])


def own_outputs(architecture: Architecture, folder: Path, start: int = 0) -> list[torch.Tensor]:
    network = transformers.AutoModel.from_pretrained(folder / "model", attn_implementation=architecture.own).eval()
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    return attention_outputs(network, architecture.output, lambda run: run(input_ids=tokens(start)))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_file_gives_the_models_own_attention(tmp_path: Path, name: str) -> None:
    print(f"seed {SEED}")
    architecture = ARCHITECTURES[name]
    save_model(tmp_path / "model", architecture.config, architecture.options, SEED)
    own = own_outputs(architecture, tmp_path)
    with h5py.File(captured(tmp_path)) as file:
        assert file.attrs["tensor_format"] == 2
        assert file["text0"].attrs["tokens"] == N
        assert list(file["text0"]) == [f"layer{layer}" for layer in range(LAYERS)]
        for layer in range(LAYERS):
            group = file[f"text0/layer{layer}"]
            found = plain_attention(group)
            assert np.abs(found - own[layer].numpy()).max() < 2e-5 * np.abs(own[layer].numpy()).max()
            assert group["Q"].shape == (architecture.heads, N, architecture.d)
            assert group["K"].shape == (architecture.keys, N, architecture.d)
            assert group["V"].shape == (architecture.keys, N, architecture.d_v or architecture.d)
            assert group.attrs["scale"] == pytest.approx(architecture.scale(layer), rel=1e-6)
            assert group.attrs["window"] == architecture.window(layer)
            assert group.attrs["mask"] == architecture.mask
            assert group.attrs["softcap"] == architecture.softcap
            assert group.attrs["layer"] == layer
            assert sorted(group) == sorted(["K", "Q", "V", *architecture.per_head])


@pytest.mark.parametrize("name", ["gemma3", "gpt_oss", "falcon", "deepseek_v3", "bloom", "xglm"])
def test_bfloat16_texts_and_places(tmp_path: Path, name: str) -> None:
    """Numbers are those of bfloat16, widened; contexts begin where they say."""
    architecture = ARCHITECTURES[name]
    save_model(tmp_path / "model", architecture.config, architecture.options, SEED + 1)
    with h5py.File(captured(tmp_path, "--dtype", "bfloat16", "--places", "3", "--layers", "0,2")) as file:
        assert file.attrs["source_dtype"] == "bfloat16"
        assert [int(file[f"text{i}"].attrs["start"]) for i in range(3)] == [0, 165, 330]
        for text in range(3):
            assert list(file[f"text{text}"]) == ["layer0", "layer2"]
            for tensor in "QKV":
                numbers = file[f"text{text}/layer2/{tensor}"][()]
                assert np.array_equal(numbers.view(np.uint32) & 0xFFFF, np.zeros(numbers.shape, dtype=np.uint32))
    with h5py.File(captured(tmp_path, "--force", "--places", "3")) as file:
        for text, start in enumerate((0, 165, 330)):
            own = own_outputs(architecture, tmp_path, start)
            found = plain_attention(file[f"text{text}/layer1"])
            assert np.abs(found - own[1].numpy()).max() < 2e-5 * np.abs(own[1].numpy()).max()


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_file_cannot_say_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    config, options, reason = REFUSED[name]
    save_model(tmp_path / "model", config, options, SEED)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    words = ["capture", str(tmp_path / "model"), "--text", str(tmp_path / "text.txt"), "--lengths", str(N)]
    assert command_line.main([*words, "-o", str(tmp_path / "t.h5")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert reason in last
    assert config.removesuffix("Config").removesuffix("Text") in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "text.txt"]


@pytest.mark.parametrize("name", PASSED)
def test_layers_of_other_masks_are_passed_when_not_asked_for(tmp_path: Path, name: str) -> None:
    architecture, layer = PASSED[name]
    save_model(tmp_path / "model", architecture.config, architecture.options, SEED)
    own = own_outputs(architecture, tmp_path)
    with h5py.File(captured(tmp_path, "--layers", str(layer))) as file:
        assert list(file["text0"]) == [f"layer{layer}"]
        found = plain_attention(file[f"text0/layer{layer}"])
    assert np.abs(found - own[layer].numpy()).max() < 2e-5 * np.abs(own[layer].numpy()).max()


def test_sound_encoder_by_its_own_inputs() -> None:
    """The command reads texts alone; the recorder takes whatever runs."""
    network = random_model("WhisperConfig", SOUND, SEED, attn_implementation="eager").encoder
    sound = torch.randn(1, 8, 80)
    assert_recorded(network, lambda run: run(input_features=sound), "none")


@pytest.mark.parametrize("tokens", [33, 40], ids=["fewer tokens than sounds", "as many"])
def test_sound_decoder_beside_its_encoder(tokens: int) -> None:
    """Its attention to the encoder's states is computed and left out, also where there are as many of them."""
    network = random_model("WhisperConfig", SOUND | {"decoder_layers": 2}, SEED, attn_implementation="eager").decoder
    given = {"input_ids": torch.randint(3, 60, (1, tokens)), "encoder_hidden_states": torch.randn(1, 40, 64)}
    assert_recorded(network, lambda run: run(**given, use_cache=False), "causal")


def test_text_decoder_beside_its_encoder() -> None:
    bart = ARCHITECTURES["bart"]
    options = bart.options | {"decoder_layers": 2}
    network = random_model(bart.config, options, SEED, attn_implementation="eager").decoder
    given = {"input_ids": torch.randint(3, 60, (1, 33)), "encoder_hidden_states": torch.randn(1, 40, 64)}
    assert_recorded(network, lambda run: run(**given, use_cache=False), "causal")


def assert_recorded(network: Any, run: Callable[[Any], Any], mask: str) -> None:
    """Every layer's own attention, once, as the model's own code has it; and what the model makes is the same."""
    own = attention_outputs(network, "self_attn.out_proj", run)
    with torch.inference_mode():
        expected_states = run(network).last_hidden_state
    found: list[LayerCapture] = []
    with Recorder(found.append).listening(network, through_interface=True), torch.inference_mode():
        states = run(network).last_hidden_state
    assert (states - expected_states).abs().max() < 2e-5 * expected_states.abs().max()
    assert [one.layer for one in found] == list(range(len(own)))
    for one, expected in zip(found, own, strict=True):
        with h5py.File("layer", "w", driver="core", backing_store=False) as file:
            for name, tensor in one.tensors.items():
                file[name] = tensor.numpy()
            file.attrs.update({"scale": one.terms.scale, "mask": one.terms.mask})
            assert one.terms.mask == mask
            assert np.abs(plain_attention(file) - expected.numpy()).max() < 2e-5 * expected.abs().max()
