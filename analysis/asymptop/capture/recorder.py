"""Stands in for the attention of a running model: computes it, and hands on what each layer's logits consist of.

Models of transformers call an attention function by name, after norms and rotary positions and before keys are
repeated; those that do not are seen where they call PyTorch's scaled_dot_product_attention, or write their attention
out: what these compute themselves is read, and they are left to it, with their matrix of n x n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

from ..tensors.layered_file import LogitTerms
from ..tensors.mapped import TensorError
from .bands import Band
from .blocks import attend, attend_under
from .logit_terms import Call, band_of_call, terms_of_call
from .masks import FunctionMask, MaskBook
from .own_rows import by_eager, by_sdpa
from .written import Attended, Product, WrittenAttention
from .written_logits import Reading, read_logits

NAME = "asymptop_capture"
ROWS = 16  # of each layer that are computed in other ways too
# Weights that a model multiplies its values by, from a softmax of its logits in float64.
_SAME_WEIGHTS = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
OwnRows = Callable[[Call, list[int]], NDArray[np.float64]]
# What decoders call their attention to an encoder's keys.
_CROSS_ATTENTION = {"encoder_attn", "EncDecAttention", "crossattention", "cross_attn", "cross_attention"}


class Finished(Exception):  # noqa: N818  (no error: the layers asked for are all there)
    """Ends a forward pass after the last layer that is asked for."""


@dataclass(frozen=True, eq=False)
class LayerCapture:
    """One layer over one context. `used` and `own` are attention outputs of `rows`, (heads, rows, d_v)."""

    layer: int
    tensors: dict[str, Tensor]  # Q, K and V, (heads, n, columns), in the model's type
    terms: LogitTerms
    rows: list[int]
    used: NDArray[np.float64]  # what the model went on with
    own: NDArray[np.float64]  # what the model's own code makes of the same queries, keys and values


@dataclass
class Recorder:
    """`wanted` layers are handed to `deliver`; None: all. The pass ends with the last of them, or `to_the_end`.

    A decoder's attention to what an encoder made is computed and not handed on: its queries are not those of its keys.
    """

    deliver: Callable[[LayerCapture], None]
    wanted: frozenset[int] | None = None
    to_the_end: bool = False
    seen: list[int] = field(default_factory=list)  # layers of this pass
    tokens: int | None = None  # of the context, where it is known
    written: WrittenAttention | None = None  # which watches models that write their attention out
    _book: MaskBook = field(default_factory=MaskBook)
    _bands: dict[tuple[int | None, bool, int], Band] = field(default_factory=dict)
    _modules: list[Any] = field(default_factory=list)
    _across: list[Any] = field(default_factory=list)

    @contextmanager
    def listening(self, network: Any, through_interface: bool) -> Iterator[None]:
        """While the model runs once. It is left to call the function of this name, where it calls one by name."""
        self.seen.clear()
        self._across = [m for name, m in network.named_modules() if _CROSS_ATTENTION & set(name.split("."))]
        try:
            if through_interface:
                AttentionInterface.register(NAME, self._from_interface)
                AttentionMaskInterface.register(NAME, self._book.make)
                if network.config._attn_implementation != NAME:
                    network.set_attn_implementation(NAME)
                yield
            else:
                parameters = frozenset(one.untyped_storage().data_ptr() for one in network.parameters())
                self.written = WrittenAttention(_read, self._from_written, self._modules, parameters)
                # The one entered last is asked first; what a call of the other computes is then not seen.
                with self._module_stack(), _sdpa_calls(self._from_sdpa), self.written:
                    yield
        finally:
            self._book.clear()
            self._bands.clear()
            self._modules.clear()
            self._across.clear()

    @property
    def matrix_bytes(self) -> int:
        """The most that attention held that the model wrote out; 0 where all was computed in blocks."""
        return self.written.matrix_bytes if self.written is not None and self.written.attentions else 0

    def unread(self) -> str:
        """Why there is no layer, after a pass by the model's own products."""
        if self.written is None or not self.written.products:
            return "and multiplies no activations that a softmax could be of"
        found = self.written
        counts = f"{found.products} products of activations, {found.softmaxes} softmaxes over them"
        return f"and writes out none that can be read: {counts}, {found.attentions} of these multiplied by values"

    @contextmanager
    def _module_stack(self) -> Iterator[None]:
        enter = register_module_forward_pre_hook(lambda module, _: self._modules.append(module))
        leave = register_module_forward_hook(lambda *_: self._modules.pop() and None, always_call=True)
        try:
            yield
        finally:
            enter.remove()
            leave.remove()

    def _from_interface(
        self,
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        is_causal: bool | None = None,
        **rest: Any,
    ) -> tuple[Tensor, None]:
        causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
        call = Call(module, query, key, value, attention_mask, scaling, causal, rest, self._book)
        return self._called(call, by_eager).transpose(1, 2).contiguous(), None

    def _from_sdpa(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        del dropout_p, enable_gqa
        module = next((m for m in reversed(self._modules) if hasattr(m, "layer_idx")), None)
        call = Call(module or self._modules[-1], query, key, value, attn_mask, scale, is_causal, {}, self._book)
        return self._called(call.with_shared_heads(), by_sdpa)

    def _called(self, call: Call, own_rows: OwnRows) -> Tensor:
        return self._layer(
            call.module,
            call.n,
            lambda layer: self._recorded(layer, call, own_rows),
            lambda: self._passed(call),
            lambda: _under_its_mask(call),
        )

    def _from_written(self, found: Attended) -> None:
        self._layer(
            found.module,
            found.used.shape[1],
            lambda layer: self._recorded_as_written(layer, found),
            lambda: found.output,
            lambda: found.output,
        )

    def _layer(
        self,
        module: Any,
        rows: int,
        recorded: Callable[[int], Tensor],
        passed: Callable[[], Tensor],
        across: Callable[[], Tensor],
    ) -> Tensor:
        """The output of an attention: of a layer that is wanted, of another, or of a decoder's to an encoder's keys."""
        numbered = getattr(module, "layer_idx", None)
        layer = len(self.seen) if numbered is None else int(numbered)
        try:
            if any(module is one for one in self._across):
                return across()
            if layer in self.seen:
                raise TensorError("attends more than once")
            self.seen.append(layer)
            if self.wanted is not None and layer not in self.wanted:
                output = passed()
            elif self.tokens in (None, rows):
                output = recorded(layer)
            else:
                words = f"attends by {rows} rows at once in a context of {self.tokens} tokens"
                raise TensorError(f"{words} (in pieces, or with tokens of its own), which a tensor file cannot say")
        except TensorError as error:
            raise TensorError(f"layer {layer} ({type(module).__name__}): {error}") from error
        if self.wanted is not None and self.wanted <= set(self.seen) and not self.to_the_end:
            raise Finished
        return output

    def _recorded(self, layer: int, call: Call, own_rows: OwnRows) -> Tensor:
        call.check_shapes()
        band = self._band(call)
        terms = terms_of_call(call, band)
        output = attend(call.query, call.key, call.value, terms, band)
        rows = _spread(call.n)
        used = output[0, :, rows].double().cpu().numpy()
        tensors = {"Q": call.query[0], "K": call.key[0], "V": call.value[0]}
        self.deliver(LayerCapture(layer, tensors, terms, rows, used, own_rows(call, rows)))
        return output

    def _recorded_as_written(self, layer: int, found: Attended) -> Tensor:
        """Raises TensorError for what was read of its softmax."""
        reading, product = found.weights.reading, found.weights.products[0]
        if isinstance(reading, TensorError):
            raise reading
        rows, given = reading.rows, (product.left, product.right.transpose(1, 2), found.values)
        query, key, value = (x.unsqueeze(0) for x in given)
        call = Call(found.module, query, key, value, None, None, False, {}, self._book).with_shared_heads()
        call.check_shapes()
        allowed = _SAME_WEIGHTS[found.output.dtype]
        if not bool((found.used[:, rows].double() - reading.weights).abs().max() <= allowed):
            words = "changes its weights between their softmax and its values"
            raise TensorError(f"{words}, which a tensor file cannot say")
        own = (reading.weights @ found.values.double()).cpu().numpy()
        used = found.output[:, rows].double().cpu().numpy()
        tensors = {"Q": call.query[0], "K": call.key[0], "V": call.value[0]}
        self.deliver(LayerCapture(layer, tensors, reading.terms, rows, used, own))
        return found.output

    def _passed(self, call: Call) -> Tensor:
        """A layer that is not written may have a mask that the file could not say."""
        call.check_shapes()
        try:
            band = self._band(call)
        except TensorError:
            if not isinstance(call.read_mask(), FunctionMask) or not call.is_plain:
                raise
            return _under_its_mask(call)
        return attend(call.query, call.key, call.value, terms_of_call(call, band), band)

    def _band(self, call: Call) -> Band:
        """Once for all layers of one mask function; a tensor may lie where another lay before."""
        if call.mask is not None and self._book.find(call.mask) is None:
            return band_of_call(call)
        key = (None if call.mask is None else call.mask.data_ptr(), call.causal, call.declared_window)
        if key not in self._bands:
            self._bands[key] = band_of_call(call)
        return self._bands[key]


def _under_its_mask(call: Call) -> Tensor:
    """Attention whatever its mask, that is not handed on. Raises TensorError for logits of more than scale q.k."""
    mask = None if call.mask is None else call.read_mask()
    if not (mask is None or isinstance(mask, FunctionMask)) or not call.is_plain:
        raise TensorError("attends to an encoder's keys with more than scale q.k under a mask function")
    return attend_under(call.query, call.key, call.value, call.scale, (lambda *_: None) if mask is None else mask.block)


def _read(products: tuple[Product, ...], logits: Tensor, dim: int) -> Reading | TensorError:
    """Logits are gone when their softmax meets values: only then is it attention, and what is wrong raised."""
    try:
        if len(products) > 1:
            made = f"{len(products)} products of activations (as of relative positions)"
            raise TensorError(f"its logits are made of {made}, which a tensor file cannot say")
        query, key = products[0].left, products[0].right.transpose(1, 2)
        return read_logits(query, key, logits, dim, _spread(query.shape[1]))
    except TensorError as error:
        return error


def _spread(n: int) -> list[int]:
    return sorted({int(row) for row in np.linspace(0, n - 1, min(n, ROWS)).round()})


@contextmanager
def _sdpa_calls(take: Callable[..., Tensor]) -> Iterator[None]:
    taken = torch.nn.functional.scaled_dot_product_attention

    class Calls(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
            return (take if function is taken else function)(*args, **(kwargs or {}))

    with Calls():
        yield
