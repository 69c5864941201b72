"""Norms of queries and keys before their product: those that lie beside the weights, of the kind their model has."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ..tensors.mapped import TensorError
from ..weights.checkpoint import Checkpoint
from ..weights.model_config import ModelConfig
from ..weights.values import values
from .attention import Array, Norm

CHOICES = ("auto", "none", "rms", "rms+1", "layer")
_NAMES = ("{r}_norm", "{r}_layernorm", "{r}_layer_norm", "{r}_ln", "ln_{r}", "norm_{r}", "attn_{r}_norm", "_{r}_norm")
_ROLES = {"query": ("q", "query"), "key": ("k", "key")}
_ENDS = (".weight", ".scale", ".gamma", "/scale", "/weight", "")
_STRAY = re.compile(
    r"(?:^|[._/])_?(?:(?:q|k|query|key)_?(?:layer_?)?(?:norm|ln)|(?:norm|ln)_(?:q|k|query|key))(?:[._/]|$)"
)
# Models whose norm subtracts the mean, and those that multiply by 1 + weight.
_LAYER_NORMS = (
    *("cohere", "cohere2", "command-r", "stablelm", "stablelm_epoch", "phi", "persimmon", "fuyu", "chameleon", "mpt"),
)
_ONE_MORE = re.compile(r"gemma3(_text)?$|qwen3_next|qwen3_5|qwen4_exp|t5gemma2|minimax_m3|step3p[57]")
_WITHOUT_WEIGHTS = ("llama4", "llama4_text", "nanochat")
_FLAGS = ("use_qk_norm", "qk_layernorm", "use_qk_layernorm", "qk_norm", "qk_layer_norms", "qk_ln", "use_qk_layer_norm")
_EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "norm_eps", "norm_epsilon")


def epsilon(config: ModelConfig) -> float:
    return next((e for key in _EPSILONS if (e := config.number(key)) is not None), 1e-6)


def strays(names: Iterable[str], used: Iterable[str]) -> list[str]:
    """Tensors that are norms of queries or keys by their names and belong to none of those used."""
    taken = {_norm_stem(name) for name in used}
    return [name for name in names if _STRAY.search(name) and _norm_stem(name) not in taken]


def _norm_stem(name: str) -> str:
    """Without .weight or .bias, and without the number of one of many."""
    return re.sub(r"(\.norms\.\d+)?[._/](weight|bias|scale|gamma|beta)$", "", name)


def head_norm(
    checkpoint: Checkpoint, config: ModelConfig, prefix: str, role: str, heads: int, head_dim: int, choice: str
) -> Norm | None:
    """Of the queries or the keys of the module whose names begin with `prefix`; None where there is none."""
    if choice == "none":
        return None
    stems = [prefix + form.format(r=r) for r in _ROLES[role] for form in _NAMES]
    names = [stem + end for stem in stems for end in _ENDS if stem + end in checkpoint.tensors]
    if not names:
        return _stacked(checkpoint, config, stems, heads, head_dim, choice) or _by_flag(config, prefix, role, head_dim)
    if len(names) > 1:
        raise TensorError(f"{names[0]} and {names[1]} both norm the {role}; --qk-norm none leaves them out")
    weight = values(checkpoint, names[0], may_be_zero=True)
    return norm_of(checkpoint, config, names[0], weight, heads, head_dim, choice)


def norm_of(
    checkpoint: Checkpoint, config: ModelConfig, name: str, weight: Array, heads: int, head_dim: int, choice: str
) -> Norm:
    """A norm by its weights: of each head, with weights of its own or shared, or of all heads together."""
    if weight.size not in (head_dim, heads * head_dim):
        raise TensorError(f"{name} of shape {weight.shape} is no norm of {heads} heads of {head_dim}, nor of each")
    bias_name = re.sub(r"(weight|scale|gamma)$", "bias", name)
    bias = np.zeros_like(weight)
    if bias_name != name and bias_name in checkpoint.tensors:
        bias = values(checkpoint, bias_name, may_be_zero=True)
        if bias.size != weight.size:
            raise TensorError(f"{bias_name} of shape {bias.shape} does not go with {name} of shape {weight.shape}")
    kind = _kind(checkpoint, config, choice, bool(np.any(bias)) or bias_name in checkpoint.tensors)
    if kind == "rms+1":
        weight = weight + 1.0
    across = heads > 1 and weight.ndim == 1 and weight.size == heads * head_dim
    shape = (-1, head_dim)
    return Norm(weight.reshape(shape), bias.reshape(shape), kind == "layer", epsilon(config), across, name)


def _kind(checkpoint: Checkpoint, config: ModelConfig, choice: str, has_bias: bool) -> str:
    if choice != "auto":
        return choice
    if has_bias or config.model_type in _LAYER_NORMS:
        return "layer"
    if _ONE_MORE.match(config.model_type):
        return "rms+1"
    if not config.model_type:
        checkpoint.say_once("norms of queries and keys are taken as x / rms(x) * weight", ", see --qk-norm")
    return "rms"


def _stacked(
    checkpoint: Checkpoint, config: ModelConfig, stems: list[str], heads: int, head_dim: int, choice: str
) -> Norm | None:
    """StableLM 2: one norm a head, each a tensor of its own."""
    for stem in stems:
        if f"{stem}.norms.0.weight" not in checkpoint.tensors:
            continue
        names = [f"{stem}.norms.{head}.weight" for head in range(heads)]
        if lost := [name for name in names if name not in checkpoint.tensors]:
            raise TensorError(f"{lost[0]} is not there, one of {heads} norms")
        weight = np.stack([values(checkpoint, name, may_be_zero=True) for name in names])
        return norm_of(checkpoint, config, names[0], weight, heads, head_dim, choice)
    return None


def _by_flag(config: ModelConfig, prefix: str, role: str, head_dim: int) -> Norm | None:
    """Where config.json tells of a norm that has no tensors."""
    if (factor := config.number("qk_scale_factor")) is not None:  # Muse: of queries, after the norm
        size = np.full((1, head_dim), factor if role == "query" else 1.0)
        return Norm(size, 0.0 * size, False, epsilon(config), name=f"{config.source}: qk_scale_factor")
    flag = next((key for key in _FLAGS if config.facts.get(key) is True), "")
    if config.model_type.startswith("llama4") and not _is_rotary(config, prefix):
        return None
    if config.model_type in _WITHOUT_WEIGHTS and (flag or config.model_type == "nanochat"):
        one = np.ones((1, head_dim))
        return Norm(one, 0.0 * one, False, epsilon(config), name=f"{config.source}: {flag or config.model_type}")
    if flag:
        raise TensorError(
            f"{config.source}: {flag} is true, and no norm of queries and keys lies beside {prefix or 'the weights'}; "
            "--qk-norm none leaves it out"
        )
    return None


def _is_rotary(config: ModelConfig, prefix: str) -> bool:
    """Llama 4 norms queries and keys where it turns them by their position: in all layers but each fourth, or as
    no_rope_layers has it, with 1 for a layer that is turned."""
    found = re.search(r"layers[._](\d+)[._]", prefix)
    layer = int(found[1]) if found else 0
    turned = config.facts.get("no_rope_layers")
    if isinstance(turned, list) and layer < len(turned):
        return turned[layer] not in (0, False)
    interval = config.number("no_rope_layer_interval") or 4
    return (layer + 1) % interval != 0
