"""Sigma that `weights` measures on the inputs of a layer, against the queries and keys that the model attends with, as
`capture` has them: every architecture of texts that both take. Positions are off where they turn queries and keys, as
weights alone know nothing of them. Minutes, so only where it is asked for:

    tests/models/run.sh --every-architecture -rP
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: tests/models/run.sh")
transformers = pytest.importorskip("transformers", reason="needs transformers: tests/models/run.sh")

from asymptop import __main__ as command_line
from every_architecture import ONLY_WHERE_ASKED, SEED, TEXT, architectures, built
from small_models import save_tokenizer

pytestmark = ONLY_WHERE_ASKED
N = 71
# Latents whose norm has an epsilon of its own, not config.json's, are off by so much at inputs this small.
WITHIN = 2e-4
_ATTENTION = re.compile(r"Attention2?$")


def without_turns(config: Any) -> Any:
    """Angles of nothing."""

    def still(facts: dict[str, Any]) -> dict[str, Any]:
        part = {key: facts[key] for key in facts if key == "partial_rotary_factor"}
        return {"rope_type": "linear", "factor": 1e12, "rope_theta": 1e4, **part}

    given = getattr(config, "rope_parameters", None)
    if isinstance(given, dict):
        by_kind = given and all(isinstance(value, dict) for value in given.values())
        config.rope_parameters = {kind: still(facts) for kind, facts in given.items()} if by_kind else still(given)
    return config


def no_angles(positions: int, size: int) -> Any:
    """What GPT-J and CodeGen keep: sines, then cosines."""
    return torch.cat((torch.zeros(positions, size // 2), torch.ones(positions, size // 2)), dim=1)


def inputs_of_layers(folder: Path) -> dict[str, np.ndarray]:
    """What each attention module that holds no other one reads, by the layer's number."""
    network = transformers.AutoModel.from_pretrained(folder).eval()
    network = network.get_encoder() if network.config.is_encoder_decoder else network
    found: dict[str, np.ndarray] = {}

    def keep(number: str) -> Any:
        def hook(_: Any, given: tuple, named: dict) -> None:
            x = named.get("hidden_states", given[0] if given else None)
            if x is not None and x.shape[1] == N:
                found.setdefault(f"layer{number}", x.detach()[0].numpy())

        return hook

    for name, module in network.named_modules():
        inner = [one for one in module.modules() if one is not module and _ATTENTION.search(type(one).__name__)]
        if _ATTENTION.search(type(module).__name__) and not inner and "cross" not in name.lower():
            number = (re.findall(r"\d+", name) or ["0"])[0]
            module.register_forward_pre_hook(keep(number), with_kwargs=True)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"][:N]
    with torch.no_grad():
        network(input_ids=torch.tensor([tokens]))
    return found


def captured_sigma(path: Path) -> dict[tuple[int, int], float]:
    """Over all keys, as `weights --inputs` has it, by layer and head."""
    sigma = {}
    with h5py.File(path) as file:
        for name, group in file["text0"].items():
            if not name.startswith("layer"):
                continue
            q, k = (group[role][()].astype(float) for role in "QK")
            for head in range(len(q)):
                logits = group.attrs["scale"] * q[head] @ k[head // (len(q) // len(k))].T
                sigma[int(name.removeprefix("layer")), head] = float(np.sqrt(np.mean(np.var(logits, axis=1))))
    return sigma


@pytest.mark.parametrize("name", architectures())
def test_sigma_of_weights_is_that_of_the_capture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    print(f"seed {SEED}")
    for kind in (transformers.models.gptj.modeling_gptj, transformers.models.codegen.modeling_codegen):
        monkeypatch.setattr(kind, "create_sinusoidal_positions", no_angles)
    if name == "roformer":
        pytest.skip("its angles are among the model's numbers")
    model = tmp_path / "model"
    try:
        built(name, without_turns).save_pretrained(model)
    except Exception as error:
        pytest.skip(f"{name} is not built: {' '.join(str(error).split())[:120]}")
    save_tokenizer(model)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    words = ["capture", str(model), "--text", str(tmp_path / "text.txt"), "--lengths", str(N), "--device", "cpu"]
    if command_line.main([*words, "-o", str(tmp_path / "t.h5")]) != 0:
        pytest.skip(f"{name} is not captured")
    np.savez(tmp_path / "x.npz", **inputs_of_layers(model))
    capsys.readouterr()
    words = ["weights", str(model), "--inputs", str(tmp_path / "x.npz"), "--json", str(tmp_path / "w.json")]
    code = command_line.main(words)
    said = capsys.readouterr().err
    assert code in (0, 2)
    if code == 2:
        pytest.skip(f"{name}: {said.splitlines()[-1]}")
    heads, right = json.loads((tmp_path / "w.json").read_text())["heads"], captured_sigma(tmp_path / "t.h5")
    shares = [head["sigma_measured"] / right[int(head["layer"]), head["head"]] for head in heads]
    print(f"{name}: {len(heads)} heads, off by at most {max(abs(share - 1) for share in shares):.1e}")
    assert shares == pytest.approx([1.0] * len(shares), abs=WITHIN)
