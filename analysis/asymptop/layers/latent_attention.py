"""Multi-head latent attention: queries and keys by way of a latent, and one rotary key that all heads share.

k of a head is (W_uk n(c), k_rope), (c, k_rope) = W_kv_a x, n a norm; q = W_q x, or W_q_b n(W_q_a x). Per head
kv_b_proj holds the rows of W_uk and then those of its values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..tensors.mapped import TensorError
from ..weights.checkpoint import Checkpoint
from ..weights.model_config import ModelConfig
from ..weights.names import Module
from ..weights.values import bias_names, bias_of, values
from .attention import Array, AttentionLayer, Latent, Norm, Projection
from .query_key_norms import epsilon

_NORMS = {"q": ("q_a_layernorm", "q_norm", "attn_q_a_norm"), "kv": ("kv_a_layernorm", "kv_norm", "attn_kv_a_norm")}


@dataclass(frozen=True)
class _Sizes:
    heads: int
    rank: int
    rope: int
    nope: int


def latent_layer(
    checkpoint: Checkpoint, config: ModelConfig, module: Module, heads: int, qk_norm: str
) -> AttentionLayer:
    """Sizes follow from the shapes and the number of heads."""
    blocks = config.scale_blocks
    weights = {role: values(checkpoint, module.names[role], blocks) for role in module.needs}
    sizes = _sizes(weights, heads, module, config)
    name = module.names["q_b" if "q_b" in weights else "query"]
    query_rows = weights["q_b" if "q_b" in weights else "query"].reshape(heads, sizes.nope + sizes.rope, -1)
    latent = None
    if "q_a" in weights:
        latent = _latent(checkpoint, config, module, "q", weights["q_a"], len(weights["q_a"]), qk_norm)
    query_bias = bias_of(checkpoint, bias_names(name), query_rows[..., 0].size)
    query = Projection(query_rows, query_bias.reshape(heads, -1), None, latent)
    key_latent = _latent(checkpoint, config, module, "kv", weights["kv_a"], sizes.rank, qk_norm)
    key_rows = np.zeros((heads, sizes.nope + sizes.rope, sizes.rank + sizes.rope))
    key_rows[:, : sizes.nope, : sizes.rank] = weights["kv_b"].reshape(heads, -1, sizes.rank)[:, : sizes.nope]
    key_rows[:, sizes.nope :, sizes.rank :] = np.eye(sizes.rope)
    key = Projection(key_rows, np.zeros(key_rows.shape[:2]), None, key_latent)
    taken = {
        "query": name,
        "key": module.names["kv_b"],
        "layout": f"latent: rank {sizes.rank}, {sizes.nope} coordinates a head and {sizes.rope} of one rotary key",
    }
    return AttentionLayer(module.label, query, key, taken, sizes.rope)


def _sizes(weights: dict[str, Array], heads: int, module: Module, config: ModelConfig) -> _Sizes:
    if any(w.ndim != 2 for w in weights.values()):
        raise TensorError(f"{module.prefix}: latent attention takes matrices, out-first as torch stores them")
    kv_a, kv_b, query = weights["kv_a"], weights["kv_b"], weights["q_b" if "q_b" in weights else "query"]
    rank, rope = kv_b.shape[1], kv_a.shape[0] - kv_b.shape[1]
    nope = query.shape[0] // heads - rope
    width = weights["q_a"].shape[1] if "q_a" in weights else query.shape[1]
    fits = rope >= 0 and nope > 0 and query.shape[0] % heads == 0 and kv_b.shape[0] % heads == 0
    fits = fits and kv_b.shape[0] // heads >= nope and width == kv_a.shape[1]
    fits = fits and ("q_a" not in weights or query.shape[1] == weights["q_a"].shape[0])
    for key, size in (("qk_nope_head_dim", nope), ("qk_rope_head_dim", rope), ("kv_lora_rank", rank)):
        wanted = config.number(key)
        fits = fits and wanted in (None, size)
    if not fits:
        shapes = ", ".join(f"{module.names[role]} {w.shape}" for role, w in weights.items())
        raise TensorError(f"these are not latent attention of {heads} heads by their shapes or config.json: {shapes}")
    return _Sizes(heads, rank, rope, nope)


def _latent(
    checkpoint: Checkpoint, config: ModelConfig, module: Module, which: str, weight: Array, size: int, qk_norm: str
) -> Latent:
    """With the norm of its first `size` coordinates, where the files hold it."""
    bias = bias_of(checkpoint, bias_names(module.names[f"{which}_a"]), len(weight))
    name = next((n for stem in _NORMS[which] if (n := f"{module.prefix}{stem}.weight") in checkpoint.tensors), "")
    if not name or qk_norm == "none":
        checkpoint.say_once(f"the norm of the {which} latent is not applied", "" if name else ": the files hold none")
        return Latent(weight, bias)
    gain = values(checkpoint, name, may_be_zero=True)
    if gain.shape != (size,):
        raise TensorError(f"{name} of shape {gain.shape} is no norm of a latent of {size}")
    return Latent(weight, bias, Norm(gain[np.newaxis], np.zeros((1, size)), False, epsilon(config), name=name))
