"""Attention in blocks of rows equals the whole, whatever the logits consist of, and no block is as large as n x n."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: tests/models/run.sh")
pytest.importorskip("transformers", reason="needs transformers: tests/models/run.sh")

from asymptop.capture import blocks
from asymptop.capture.bands import Band
from asymptop.capture.recorder import Recorder
from asymptop.tensors.layered_file import LogitTerms
from small_models import ARCHITECTURES, random_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SEED = int(os.environ.get("ASYMPTOP_TEST_SEED", "1"))
HEADS = 4
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
SINKS, SLOPES = np.linspace(-1.0, 2.0, HEADS), np.linspace(0.0, 0.5, HEADS)


def whole(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, terms: LogitTerms) -> torch.Tensor:
    """In float64, with the matrix of n x n."""
    q, k, v = (x.double().cpu() for x in (q, k, v))
    k, v = (x.repeat_interleave(HEADS // x.shape[1], dim=1) for x in (k, v))
    n = q.shape[2]
    distance = torch.arange(n)[None, :] - torch.arange(n)[:, None]
    s = terms.scale * q @ k.transpose(2, 3)
    if terms.softcap:
        s = terms.softcap * torch.tanh(s / terms.softcap)
    if "alibi" in terms.per_head:
        s = s + torch.tensor(SLOPES).view(1, -1, 1, 1) * distance
    if terms.mask == "causal":
        s = s.masked_fill(distance > 0, -math.inf)
    if terms.window:
        s = s.masked_fill(distance <= -terms.window, -math.inf)
    total = s.exp().sum(dim=-1, keepdim=True)
    if "sinks" in terms.per_head:
        total = total + torch.tensor(SINKS).exp().view(1, -1, 1, 1)
    return s.exp() / total @ v


@pytest.mark.parametrize(
    "terms",
    [
        LogitTerms(0.4, "causal"),
        LogitTerms(0.4, "none"),
        *(LogitTerms(0.4, "causal", window=window) for window in (1, 7, 64, 199, 500)),
        LogitTerms(0.4, "causal", softcap=1.5),
        LogitTerms(0.4, "causal", softcap=1.5, window=7),
        LogitTerms(0.4, "causal", window=30, per_head={"sinks": SINKS}),
        LogitTerms(0.4, "none", per_head={"alibi": SLOPES}),
        LogitTerms(0.4, "causal", per_head={"alibi": SLOPES, "sinks": SINKS}),
    ],
    ids=lambda terms: f"{terms.mask}-{terms.window}-{terms.softcap}-{'-'.join(terms.per_head)}",
)
@pytest.mark.parametrize(("keys", "d", "d_v"), [(4, 8, 8), (1, 16, 8), (2, 8, 24)])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("device", DEVICES)
def test_blocks_make_the_whole(
    monkeypatch: pytest.MonkeyPatch, terms: LogitTerms, keys: int, d: int, d_v: int, fused: bool, device: str
) -> None:
    print(f"seed {SEED}")
    torch.manual_seed(SEED)
    n = 199
    shapes = ((1, HEADS, n, d), (1, keys, n, d), (1, keys, n, d_v))
    q, k, v = (torch.randn(shape).to(device) for shape in shapes)
    monkeypatch.setattr(blocks, "LOGIT_BYTES", 4 * HEADS * n * 33)
    if not fused:
        monkeypatch.setattr(blocks, "_fused", lambda *_: None)
    band = Band(terms.mask == "causal", terms.window)
    sizes = [last - first for first, last in blocks.row_blocks(HEADS, n, band)]
    assert sum(sizes) == n
    assert len(sizes) > 1
    found = blocks.attend(q, k, v, terms, band)
    expected = whole(q, k, v, terms)
    assert found.shape == expected.shape
    assert (found.dtype, found.device) == (torch.float32, q.device)
    torch.testing.assert_close(found.double().cpu(), expected, rtol=0, atol=5e-6 * float(expected.abs().max()))
    half = blocks.attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), terms, band)
    assert half.dtype == torch.bfloat16
    exact = whole(q.bfloat16(), k.bfloat16(), v.bfloat16(), terms)
    torch.testing.assert_close(half.double().cpu(), exact, rtol=0, atol=0.02 * float(exact.abs().max()))


class _Largest(TorchDispatchMode):
    """The most numbers that any tensor stores while a model runs."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                stored = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.numbers = max(self.numbers, stored)
        return made


@pytest.mark.parametrize("name", ["gemma3", "gemma2", "gpt_oss", "deepseek_v3", "bert"])
@pytest.mark.parametrize("device", DEVICES)
def test_no_tensor_is_as_large_as_n_by_n(monkeypatch: pytest.MonkeyPatch, name: str, device: str) -> None:
    n = 1536
    monkeypatch.setattr(blocks, "LOGIT_BYTES", 1 << 20)
    architecture = ARCHITECTURES[name]
    options = architecture.options | {"max_position_embeddings": n, "sliding_window": 60}
    network = random_model(architecture.config, options, SEED, attn_implementation="eager").to(device)
    largest, layers = _Largest(), []
    with Recorder(lambda one: layers.append(one.layer)).listening(network, True), torch.inference_mode(), largest:
        network(input_ids=torch.arange(n, device=device)[None] % 97, use_cache=False)
    assert layers == [0, 1, 2]
    assert 64 * n < largest.numbers < n * n // 4
