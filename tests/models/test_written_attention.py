"""Attention that a module writes out is seen in any layout of its products, and refused where it is something else."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: tests/models/run.sh")
pytest.importorskip("transformers", reason="needs transformers: tests/models/run.sh")

from asymptop import __main__ as command_line
from asymptop.capture import run
from asymptop.capture.recorder import LayerCapture, Recorder
from asymptop.tensors.mapped import TensorError
from small_models import ARCHITECTURES, save_model
from torch.nn.functional import softmax

SEED = int(os.environ.get("ASYMPTOP_TEST_SEED", "1"))
HEADS, N, D, D_V = 4, 37, 8, 12
SCALE = 0.4
Tensor = torch.Tensor
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Layer(torch.nn.Module):
    """`attend` of (1, heads, n, d) queries and keys and (1, heads, n, d_v) values."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.attend = attend

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.attend(q, k, v)


def causal(logits: Tensor) -> Tensor:
    return logits.masked_fill(torch.ones(logits.shape[-2:]).triu(1).bool(), torch.finfo(logits.dtype).min)


def tensors(kind: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(SEED)
    return tuple(torch.randn(1, HEADS, N, width).to(kind) for width in (D, D, D_V))  # type: ignore[return-value]


def recorded(attend: Attend, kind: torch.dtype = torch.float32) -> tuple[list[LayerCapture], Tensor]:
    print(f"seed {SEED}")
    layer, found = Layer(attend), []
    recorder = Recorder(found.append)
    recorder.tokens = N
    with torch.inference_mode(), recorder.listening(layer, through_interface=False):
        output = layer(*tensors(kind))
    return found, output


def merged(x: Tensor) -> Tensor:
    return x.reshape(HEADS, N, -1)


def in_batches(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (merged(x) for x in (q, k, v))
    logits = torch.bmm(q * SCALE, k.transpose(1, 2)).view(1, HEADS, N, N)
    return torch.bmm(softmax(causal(logits), dim=-1).view(HEADS, N, N), v).view(1, HEADS, N, -1)


def added_to(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = torch.zeros(HEADS, N, N, dtype=q.dtype).baddbmm(batch1=merged(q), batch2=merged(k).mT, alpha=SCALE)
    logits = logits.view(1, HEADS, N, N)
    causal_part = torch.ones(N, N).tril()
    return softmax(logits * causal_part - 1e4 * (1 - causal_part), dim=-1).to(v.dtype) @ v


def by_labels(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.permute(2, 0, 1, 3) for x in (q, k, v))
    logits = torch.einsum("jbnd,ibnd->bnij", k, q) * SCALE
    return torch.einsum("bnij,jbnd->ibnd", causal(logits).softmax(-1), v).permute(1, 2, 0, 3)


def by_hidden_labels(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = torch.einsum("...qd,...kd->...qk", q, k) * SCALE
    return torch.einsum("...qk,...kd->...qd", (torch.softmax(causal(logits), -1), v))


def turned(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = (q / (1 / SCALE)) @ k.transpose(2, 3)
    p = softmax(causal(logits), dim=-1, dtype=torch.float32).to(v.dtype)
    return torch.matmul(v.transpose(2, 3), p.transpose(2, 3)).transpose(2, 3)


def in_place(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = torch.matmul(q, k.transpose(2, 3))
    logits *= SCALE
    logits.masked_fill_(torch.ones(N, N).triu(1).bool(), -math.inf)
    return torch.nn.Softmax(dim=-1)(logits.float()).type_as(v) @ v


LAYOUTS = [in_batches, added_to, by_labels, by_hidden_labels, turned, in_place]


def exact(terms: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(causal(terms.scale * q.double() @ k.double().transpose(1, 2)), dim=-1) @ v.double()


@pytest.mark.parametrize("attend", LAYOUTS)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_layouts(attend: Attend, kind: torch.dtype) -> None:
    found, output = recorded(attend, kind)
    assert len(found) == 1
    one = found[0]
    for name, given in zip("QKV", tensors(kind), strict=True):
        assert one.tensors[name].shape == given[0].shape
        if not (name == "Q" and attend in (in_batches, turned)):  # scaled before
            assert torch.equal(one.tensors[name], given[0])
    scaled_before = attend in (in_batches, turned)
    assert one.terms.scale == pytest.approx(1.0 if scaled_before else SCALE, rel=1e-6)
    assert (one.terms.mask, one.terms.window, one.terms.per_head) == ("causal", 0, {})
    assert output.dtype == kind
    expected = exact(one.terms, *(one.tensors[name] for name in "QKV"))
    assert np.abs(one.own - expected[:, one.rows].numpy()).max() < 2e-6
    assert np.abs(one.used - one.own).max() < (2e-6 if kind == torch.float32 else 0.02)


def test_slopes_and_a_window() -> None:
    slopes = torch.tensor([0.5, 0.0, 0.125, 0.02]).view(HEADS, 1, 1)
    away = torch.arange(N)[None] - torch.arange(N)[:, None]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        logits = q @ k.transpose(2, 3) * SCALE + slopes * away
        return softmax(logits.masked_fill((away > 0) | (away <= -7), -math.inf), dim=-1) @ v

    terms = recorded(attend)[0][0].terms
    assert (terms.mask, terms.window) == ("causal", 7)
    np.testing.assert_allclose(terms.per_head["alibi"], slopes.flatten().numpy(), rtol=1e-4, atol=1e-6)
    assert terms.per_head["alibi"][1] == 0.0


def with_logits(change: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Attend:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return softmax(change(q @ k.transpose(2, 3), q, k), dim=-1) @ v

    return attend


def with_weights(change: Callable[[Tensor], Tensor]) -> Attend:
    return lambda q, k, v: change(softmax(q @ k.transpose(2, 3), dim=-1)) @ v


def in_pieces(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x[:, :, :36].reshape(1, HEADS * 3, 12, -1) for x in (q, k, v))
    return softmax(q @ k.transpose(2, 3), dim=-1) @ v


EXTRA = torch.linspace(-999, 999, HEADS * N * N).view(1, HEADS, N, N).sin()
SOMETHING_ELSE = {
    "a relative product": (with_logits(lambda x, q, k: x + q @ k.flip(2).transpose(2, 3)), "2 products of activations"),
    "a table": (with_logits(lambda x, q, k: x + EXTRA), "T5's table"),
    "a small table": (with_logits(lambda x, q, k: x + 1e-3 * EXTRA), "T5's table"),
    "a soft cap": (with_logits(lambda x, q, k: 5 * torch.tanh(x / 5)), "T5's table"),
    "heads mixed": (with_logits(lambda x, q, k: x + 0.1 * x.flip(1)), "T5's table"),
    "a scale a head": (with_logits(lambda x, q, k: x * torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1)), "T5's table"),
    "a negative scale": (with_logits(lambda x, q, k: -x), "allowed is a scale over 0"),
    "masks a head": (with_logits(lambda x, q, k: x.index_fill(1, torch.tensor(2), -math.inf).tril()), "the same keys"),
    "holes": (with_logits(lambda x, q, k: x.index_fill(3, torch.tensor(9), -math.inf)), "neither causal"),
    "a sink": (with_logits(lambda x, q, k: torch.cat([x, x[..., :1] * 0], dim=-1)), "is none over the 37 keys"),
    "another axis": (lambda q, k, v: softmax(q @ k.transpose(2, 3), dim=-2) @ v, "is none over the 37 keys"),
    "weights thinned": (with_weights(lambda p: p * (p > 0.05)), "between their softmax and its values"),
    "two softmaxes": (with_weights(lambda p: p @ p), "of several softmaxes"),
    "pieces": (in_pieces, "by 12 rows at once"),
}


@pytest.mark.parametrize("name", SOMETHING_ELSE)
def test_something_else_is_refused(name: str) -> None:
    attend, reason = SOMETHING_ELSE[name]
    if name == "a sink":
        plain = attend
        attend = lambda q, k, v: plain(q, k, torch.cat([v, v[:, :, :1] * 0], dim=2))  # noqa: E731
    with pytest.raises(TensorError, match=reason):
        recorded(attend)


def test_products_with_parameters_are_projections() -> None:
    layer = Layer(lambda q, k, v: in_batches(q, k, v) + softmax(q @ layer.weight[:, :N], dim=-1) @ v)
    layer.weight = torch.nn.Parameter(torch.randn(D, 2 * N))
    found: list[LayerCapture] = []
    with torch.inference_mode(), Recorder(found.append).listening(layer, through_interface=False):
        layer(*tensors())
    assert len(found) == 1


def test_what_is_held_is_counted_and_let_go() -> None:
    """Product, masked logits and weights at once; of a second layer no more."""
    layer = Layer(lambda q, k, v: in_place(q, k, in_place(q, k, v)))
    recorder = Recorder(lambda _: None)
    with torch.inference_mode(), recorder.listening(layer, through_interface=False):
        layer(*tensors())
        assert len(recorder.written._origins) == 0
    assert len(recorder.seen) == 2
    assert 2 * 4 * HEADS * N * N <= recorder.matrix_bytes <= 3 * 4 * HEADS * N * N


def test_lengths_beyond_the_memory_are_refused(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "model", ARCHITECTURES["bloom"].config, ARCHITECTURES["bloom"].options, SEED)
    (tmp_path / "text.txt").write_text("abcdefgh" * 40, encoding="utf-8")
    words = ["capture", str(tmp_path / "model"), "--text", str(tmp_path / "text.txt"), "--device", "cpu"]
    monkeypatch.setattr(run, "available_memory", lambda: 1e6)
    assert command_line.main([*words, "--lengths", "256", "-o", str(tmp_path / "t.h5")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "its attention is written out, with matrices of n x n" in last
    most = int(last.rpartition(" ")[2])
    assert 64 < most < 256
    assert command_line.main([*words, "--lengths", str(most), "-o", str(tmp_path / "t.h5")]) == 0
    monkeypatch.setattr(run.torch.cuda, "mem_get_info", lambda: (1e6, 1e6))
    with pytest.raises(TensorError, match=r"0\.001 GB are available"):
        run.check_memory(100.0, 256, "cuda", SimpleNamespace)


def test_a_layer_of_a_model_alone(tmp_path: Any) -> None:
    """The pass ends behind it; what is wrong with others does not matter."""
    save_model(tmp_path / "model", ARCHITECTURES["gpt_neo"].config, ARCHITECTURES["gpt_neo"].options, SEED)
    (tmp_path / "text.txt").write_text("abcdefgh" * 40, encoding="utf-8")
    words = ["capture", str(tmp_path / "model"), "--text", str(tmp_path / "text.txt"), "--device", "cpu"]
    words += ["--lengths", "64"]
    assert command_line.main([*words, "-o", str(tmp_path / "all.h5")]) == 0
    assert command_line.main([*words, "--layers", "1", "-o", str(tmp_path / "one.h5")]) == 0
    with h5py.File(tmp_path / "all.h5") as whole, h5py.File(tmp_path / "one.h5") as one:
        assert list(one["text0"]) == ["layer1"]
        for name in "QKV":
            assert np.array_equal(one[f"text0/layer1/{name}"][()], whole[f"text0/layer1/{name}"][()])
