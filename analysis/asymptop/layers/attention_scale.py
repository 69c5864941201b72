"""The factor on a model's logits by its configuration, and what of its attention the weights alone do not tell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..tensors.mapped import TensorError
from ..weights.model_config import ModelConfig

# Models whose code divides the logits by nothing: T5's kin, GPT-Neo, and those that norm queries and keys instead.
_UNSCALED = (
    *("t5", "t5encoder", "mt5", "umt5", "longt5", "switch_transformers", "pop2piano", "gpt_neo"),
    *("udop", "pix2struct_text_model"),
    *("gemma3n", "gemma3n_text", "gemma4", "gemma4_text"),
)
_ALIBI = ("bloom", "baichuan_alibi")
_SCALES = ("attention_multiplier", "softmax_scale", "attn_softmax_scale", "attention_scale", "attention_softmax_scale")
_SINKS = ("sinks", "attention_sinks", "attn_sinks")


@dataclass(frozen=True)
class Scale:
    """A factor and the words for where it comes from."""

    factor: float
    source: str


def logit_scale(config: ModelConfig, head_dim: int, layer: str, given: float | None, rope_dim: int = 0) -> Scale:
    """Of a layer whose heads have `head_dim` coordinates; `rope_dim` of them rotary in latent attention."""
    if given is not None:
        return Scale(given, "--scale")
    scale = _base(config, head_dim)
    if config.flag("scale_attn_by_inverse_layer_idx") and layer.isdigit():
        scale = Scale(scale.factor / (int(layer) + 1), f"{scale.source} / (layer + 1)")
    if (key := config.number("key_multiplier")) is not None:
        both = config.number("attention_in_multiplier") or 1.0
        scale = Scale(scale.factor * key * both**2, f"{scale.source} * key_multiplier * attention_in_multiplier^2")
    if rope_dim and (mscale := _latent_rope_scale(config)) != 1.0:
        scale = Scale(scale.factor * mscale**2, f"{scale.source} * {mscale:.4g}^2 of rope_scaling's mscale_all_dim")
    return scale


def _base(config: ModelConfig, head_dim: int) -> Scale:
    for key in _SCALES:
        if (value := config.number(key)) is not None:
            return Scale(value, f"{key} of config.json")
    if (value := config.number("query_pre_attn_scalar")) is not None:
        return Scale(value**-0.5, f"1/sqrt(query_pre_attn_scalar = {value:g}) of config.json")
    if config.flag("mup_scale_qk_dot_by_d") or config.flag("scale_qk_dot_by_d"):
        return Scale(1.0 / head_dim, "1/d_head by config.json (muP)")
    if config.flag("mup_use_scaling"):
        multiplier = config.number("mup_attn_multiplier") or 1.0
        return Scale(multiplier / head_dim, "mup_attn_multiplier/d_head of config.json")
    if config.model_type in ("zamba", "zamba2"):
        return Scale((head_dim / 2.0) ** -0.5, f"(d_head/2)^-0.5, as model_type '{config.model_type}' has it")
    if config.model_type in _UNSCALED:
        return Scale(1.0, f"1, as model_type '{config.model_type}' has it")
    if not config.flag("scale_attn_weights", True):
        return Scale(1.0, "1, as scale_attn_weights of config.json is false")
    if config.model_type.startswith("deberta") and config.flag("relative_attention"):
        kinds = config.facts.get("pos_att_type")
        kinds = kinds.split("|") if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
        factors = 1 + sum(kind in ("c2p", "p2c") for kind in kinds)
        return Scale(1.0 / math.sqrt(head_dim * factors), f"1/sqrt({factors} d_head) of DeBERTa")
    return Scale(1.0 / math.sqrt(head_dim), "1/sqrt(d_head)")


def _rope(config: ModelConfig) -> Mapping:
    for key in ("rope_scaling", "rope_parameters"):
        if isinstance(facts := config.facts.get(key), Mapping):
            return facts
    return {}


def _number(facts: Mapping, key: str, default: float) -> float:
    value = facts.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TensorError(f"config.json: {key} of its rope scaling is {value!r}, allowed is a number")
    return float(value)


def _latent_rope_scale(config: ModelConfig) -> float:
    """DeepSeek multiplies the scale by the square of this."""
    facts = _rope(config)
    all_dim, factor = _number(facts, "mscale_all_dim", 0.0), _number(facts, "factor", 1.0)
    return 0.1 * all_dim * math.log(factor) + 1.0 if all_dim and factor > 1.0 else 1.0


def left_out(config: ModelConfig, names: list[str]) -> list[str]:
    """What the model does to its logits besides, by its configuration and the names of its tensors."""
    return [*_positions(config, names), *_caps_and_masks(config, names)]


def _positions(config: ModelConfig, names: list[str]) -> Iterator[str]:
    facts = config.facts
    relative = any("relative_attention_bias" in n or "relative_position_bias" in n or "rel_pos" in n for n in names)
    if relative or facts.get("relative_attention_num_buckets"):
        yield "relative position bias"
    alibi = facts.get("alibi") is True or config.text("position_embedding_type") == "alibi"
    if alibi or config.model_type in _ALIBI:
        yield "ALiBi"
    if config.model_type.startswith("deberta") and facts.get("relative_attention") is True:
        yield "DeBERTa's content-position terms"
    rotary = [key for key in facts if key.startswith(("rope", "rotary")) and facts[key] not in (None, False)]
    if rotary:
        yield "rotary positions"
    kind = _rope(config).get("rope_type", _rope(config).get("type", "default"))
    if kind in ("yarn", "longrope", "su") and "mscale_all_dim" not in _rope(config):
        yield f"the factor on queries and keys of rope scaling '{kind}'"


def _caps_and_masks(config: ModelConfig, names: list[str]) -> Iterator[str]:
    facts = config.facts
    for key, words in (
        ("attn_logit_softcapping", "the soft cap on logits"),
        ("attn_logit_softcap", "the soft cap on logits"),
        ("attention_logit_cap", "the soft cap on logits"),
        ("clip_qkv", "clipping of queries and keys"),
        ("sliding_window", "the sliding window"),
        ("attention_chunk_size", "attention in chunks"),
        ("attn_temperature_tuning", "the temperature by position"),
    ):
        value = facts.get(key)
        windowed = key != "sliding_window" or facts.get("use_sliding_window") is not False
        if value is not None and value is not False and windowed:
            yield f"{words} ({key} {value})"
    ends = {name.removesuffix(".weight").rsplit(".", 1)[-1] for name in names}
    if any(sink in ends for sink in _SINKS):
        yield "attention sinks"
    if adapters := [name for name in names if re.search(r"lora_[AB]|lora_(up|down)|lora_magnitude", name)]:
        yield f"{len(adapters)} tensors of adapters such as {adapters[0]}"
