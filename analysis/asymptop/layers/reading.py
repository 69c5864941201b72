"""Attention layers of a checkpoint: heads, axes and order of each tensor by shapes, configuration and options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..tensors.mapped import TensorError
from ..weights.checkpoint import Checkpoint
from ..weights.fused_layouts import fused_order, key_heads, split
from ..weights.model_config import ModelConfig
from ..weights.names import Module, token_of
from ..weights.values import bias_names, bias_of, values
from .attention import Array, AttentionLayer, Projection
from .latent_attention import latent_layer
from .query_key_norms import head_norm

LAYOUTS = ("auto", "out-first", "in-first")
# Names whose matrices have their inputs first: W_Q of TransformerLens, kernels of Flax and Keras, GPT-2's Conv1D.
_IN_FIRST = re.compile(r"(?:^|[._/])(?:W_[QK]|kernel|w|c_attn(?:[._/]weight)?)(?::0)?$")
_KERNEL = re.compile(r"(?:^|[._/])kernel(?::0)?$")
_GATED = re.compile(r"qwen3_next|qwen3_5")
_ONE_HEAD = re.compile(r"(?:^|[._/])W_[QK]$")


@dataclass(frozen=True)
class Given:
    """By options; 0 and auto are unknown."""

    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    layout: str = "auto"
    fused: str = "auto"
    qk_norm: str = "auto"


@dataclass(frozen=True)
class LayerReader:
    checkpoint: Checkpoint
    config: ModelConfig
    given: Given

    def layers(self, modules: Sequence[Module]) -> Iterator[AttentionLayer]:
        """One after another: no more than one is held. Raises TensorError."""
        for module in modules:
            if "kv_a" in module.needs:
                heads = self._heads(module)
                if not heads:
                    raise self._no_heads(module.names["kv_b"])
                yield latent_layer(self.checkpoint, self.config, module, heads, self.given.qk_norm)
            elif "fused" in module.needs:
                yield self._fused(module)
            else:
                yield self._separate(module)

    def _heads(self, module: Module) -> int:
        """0 where it is not known."""
        if re.search(r"(?:^|[._/])encoder[._/]", module.prefix) and "encoder_attention_heads" in self.config.facts:
            return self.given.heads or self.config.key_size("encoder_attention_heads", module.number)
        return self.given.heads or self.config.size("heads", module.number)

    def _no_heads(self, name: str) -> TensorError:
        where = f"{self.config.source} does not say how many"
        where = where if self.config.path else "there is no config.json beside it"
        return TensorError(f"--heads is missing: {name} holds all heads, and {where}")

    def _read(self, name: str) -> Array:
        found = values(self.checkpoint, name, self.config.scale_blocks)
        while found.ndim > 2 and found.shape[-1] == 1:  # convolutions of one point
            found = found[..., 0]
        return found

    def _layer(self, module: Module, query: Array, key: Array, biases: Sequence[Array], layout: str) -> AttentionLayer:
        projections = []
        for role, weight, bias in zip(("query", "key"), (query, key), biases, strict=True):
            heads, head_dim = weight.shape[:2]
            shape = (module.prefix, role, heads, head_dim, self.given.qk_norm)
            norm = head_norm(self.checkpoint, self.config, *shape)
            projections.append(Projection(weight, bias.reshape(heads, head_dim), norm))
        names = {role: module.names.get(role, module.names.get("fused", "")) for role in ("query", "key")}
        query_part, key_part = projections
        return AttentionLayer(module.label, query_part, key_part, {**names, "layout": layout})

    # ---- queries, keys and values in one -------------------------------------------------------------------------

    def _fused(self, module: Module) -> AttentionLayer:
        name = module.names["fused"]
        token, heads = token_of(name), self._heads(module)
        if not heads:
            raise self._no_heads(name)
        matrix, in_first = self._fused_matrix(name, token)
        order = fused_order(token or name, name, self.config, in_first, self.given.fused)
        rows, width = matrix.shape
        kv_heads = self.given.kv_heads or self.config.size("kv_heads", module.number)
        if not kv_heads and (token.lower() == "in_proj_weight" or (in_first and token.lower() == "c_attn")):
            kv_heads = heads  # torch and GPT-2 know no other
        head_dim = self.given.head_dim or self.config.size("head_dim", module.number)
        kv_heads = key_heads(rows, heads, kv_heads, head_dim, width, name)
        query, key = split(matrix, order, heads, kv_heads)
        biases = list(split(bias_of(self.checkpoint, bias_names(name), rows), order, heads, kv_heads))
        alone = bias_of(self.checkpoint, [f"{module.prefix}q_bias"], query.shape[0] * query.shape[1])
        biases[0] = biases[0] + alone.reshape(query.shape[:2])
        return self._layer(module, query, key, biases, f"fused {order}, {'in' if in_first else 'out'}-first")

    def _fused_matrix(self, name: str, token: str) -> tuple[Array, bool]:
        """(outputs, inputs), and whether it lay the other way. Inputs are the narrower axis, but for few keys."""
        found = self._read(name)
        while found.ndim > 2 and found.shape[0] == 1:
            found = found[0]
        if found.ndim != 2:
            raise TensorError(f"{name} has shape {found.shape}, allowed are matrices of queries, keys and values")
        rows, columns = found.shape
        in_first = _IN_FIRST.search(name) is not None
        if token.lower() == "c_attn" and rows != columns:
            in_first = columns > rows
        if self.given.layout != "auto":
            in_first = self.given.layout == "in-first"
        else:
            self._check_width(name, found.shape, in_first)
        return (found.T if in_first else found), in_first

    # ---- queries and keys apart ----------------------------------------------------------------------------------

    def _separate(self, module: Module) -> AttentionLayer:
        names = module.names["query"], module.names["key"]
        query, key = (self._read(name) for name in names)
        if query.ndim != key.ndim or query.ndim not in (2, 3):
            shapes = f"{names[0]} {query.shape} and {names[1]} {key.shape}"
            raise TensorError(f"{shapes}: allowed are matrices, or heads, d_model and d_head, one layer each")
        if query.ndim == 3:
            query, key, layout = self._by_axes(module, query, key)
        else:
            query, key, layout = self._by_rows(module, query, key)
        sizes = [weight.shape[0] * weight.shape[1] for weight in (query, key)]
        biases = [
            bias_of(self.checkpoint, [*bias_names(name), f"{module.prefix}{role}_bias"], size)
            for name, role, size in zip(names, ("q", "k"), sizes, strict=True)
        ]
        return self._layer(module, query, key, biases, layout)

    def _check_width(self, name: str, shape: tuple[int, ...], in_first: bool) -> None:
        """Refuses a matrix whose inputs are as many as config.json says only if it is turned."""
        hidden = self.config.size("hidden")
        width, other = shape if in_first else shape[::-1]
        if hidden and width != hidden and other == hidden:
            raise TensorError(
                f"{name} of shape {shape} is taken as {'in' if in_first else 'out'}-first, and its inputs are not the "
                f"{hidden} of {self.config.source}: --layout out-first or in-first decides"
            )

    def _by_rows(self, module: Module, query: Array, key: Array) -> tuple[Array, Array, str]:
        """Matrices of all heads. An axis that is as long in both where the other is not holds the inputs."""
        name = module.names["query"]
        in_first = _IN_FIRST.search(name) is not None
        same = [a == b for a, b in zip(query.shape, key.shape, strict=True)]
        if self.given.layout != "auto":
            in_first = self.given.layout == "in-first"
        elif same in ([True, False], [False, True]):
            in_first = same[0]
        else:
            self._check_width(name, query.shape, in_first)
        query, key = (query.T, key.T) if in_first else (query, key)
        layout = "in-first" if in_first else "out-first"
        heads = self._heads(module)
        if not heads and _ONE_HEAD.search(name):
            heads = 1
        if not heads and self.given.layout == "auto":
            raise self._no_heads(name)
        query = self._without_gates(module, query, heads)
        query = self._cut(query, heads or 1, self._head_dims(module), name)
        self._say_head_dim(module, query)
        kv_heads = self._key_heads(module, key, query.shape[1])
        return query, self._cut(key, kv_heads, {}, module.names["key"]), layout

    def _head_dims(self, module: Module) -> dict[str, int]:
        if self.given.head_dim:
            return {"--head-dim": self.given.head_dim}
        return self.config.sizes("head_dim", module.number)

    def _without_gates(self, module: Module, query: Array, heads: int) -> Array:
        """Qwen3-Next: per head its query, and then as many outputs that gate what it attends to."""
        gated = any(len(query) == 2 * heads * size for size in self._head_dims(module).values())
        if not gated or not _GATED.match(self.config.model_type):
            return query
        self.checkpoint.say_once("gates beside the queries are left out", f", e.g. in {module.names['query']}")
        return query.reshape(heads, 2, -1, query.shape[1])[:, 0].reshape(-1, query.shape[1])

    def _cut(self, matrix: Array, heads: int, head_dims: dict[str, int], name: str) -> Array:
        rows, width = matrix.shape
        if rows % heads or (head_dims and rows // heads not in head_dims.values()):
            wanted = f" of {' or '.join(f'{size} ({key})' for key, size in head_dims.items())}" if head_dims else ""
            raise TensorError(
                f"{name} has {rows} outputs, which are not {heads} heads{wanted}; see --heads, --kv-heads, --layout"
            )
        return matrix.reshape(heads, rows // heads, width)

    def _say_head_dim(self, module: Module, query: Array) -> None:
        """A part of a layer's heads, as of a file of tensor-parallel ranks, looks like heads of another size."""
        hidden, (heads, head_dim, _) = self.config.size("hidden"), query.shape
        if hidden and not self.given.heads and not self._head_dims(module) and heads * head_dim != hidden:
            self.checkpoint.say_once(
                f"d_head {head_dim} is by the shape of the queries, where {self.config.source} has {hidden / heads:g}"
            )

    def _key_heads(self, module: Module, key: Array, head_dim: int) -> int:
        """By the shape, which has to agree with what is said."""
        said = {"--kv-heads": self.given.kv_heads} if self.given.kv_heads else {}
        if not said and (size := self.config.size("kv_heads", module.number)):
            said = {self.config.source: size, **self.config.sizes("kv_heads", module.number)}
        count, name = len(key) // head_dim, module.names["key"]
        if len(key) % head_dim or (said and count not in said.values()):
            by = "; ".join(f"{where} says {size}" for where, size in list(said.items())[:1])
            raise TensorError(
                f"{name} has {len(key)} outputs, {len(key) / head_dim:g} heads of {head_dim}"
                f"{f', and {by}' if by else ''}; see --heads, --kv-heads, --head-dim, --layout"
            )
        return count

    def _by_axes(self, module: Module, query: Array, key: Array) -> tuple[Array, Array, str]:
        """Three axes: heads, d_model, d_head as TransformerLens has them, or d_model, heads, d_head as Flax does."""
        name, heads, hidden = module.names["query"], self._heads(module), self.config.size("hidden")
        fitting = []
        for head_axis in (0, 1):
            (h, g), (w, v) = ([a.shape[axis] for a in (query, key)] for axis in (head_axis, 1 - head_axis))
            kv_heads, head_dim = self.given.kv_heads or g, self.given.head_dim or query.shape[2]
            if (
                w == v
                and head_dim == query.shape[2]
                and h % g == 0
                and heads in (0, h)
                and hidden in (0, w)
                and g == kv_heads
                and w >= query.shape[2]
            ):
                fitting.append(head_axis)
        if len(fitting) == 2 and _KERNEL.search(name):
            fitting = [1]
        elif len(fitting) == 2 and _ONE_HEAD.search(name):
            fitting = [0]
        elif len(fitting) == 2:
            whole = [axis for axis in fitting if query.shape[axis] * query.shape[2] == query.shape[1 - axis]]
            fitting = whole or fitting
        if fitting == [0] and _KERNEL.search(name) and not heads:
            fitting = []
        if len(fitting) != 1:
            known = f"{heads} heads" if heads else "--heads"
            raise TensorError(
                f"{name} of shape {query.shape} and {module.names['key']} of shape {key.shape} are "
                f"{'not ' if not fitting else ''}(heads, d_model, d_head) or (d_model, heads, d_head) by {known}"
                f"{'; --heads decides' if fitting else ''}"
            )
        if fitting == [0]:
            return query.swapaxes(1, 2), key.swapaxes(1, 2), "(heads, d_model, d_head)"
        return query.transpose(1, 2, 0), key.transpose(1, 2, 0), "(d_model, heads, d_head)"
