"""config.json of a model: heads, sizes and kind of its attention, whoever made it. Options go before it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..tensors.mapped import TensorError

FILES = ("config.json", "params.json")
# Where models of several parts keep the language model; a part may hold another.
_TEXT_PARTS = (
    *("thinker_config", "text_config", "language_config", "llm_config", "language_model_config", "llm", "text_model"),
    *("lm_config", "decoder_config", "decoder"),
)
_VISION_PARTS = ("vision_config", "visual", "vision_tower_config", "audio_config", "encoder_config", "encoder")
# Parts of the configuration of one model.
_INNER = ("attn_config", "attention_config")
_KEYS = {
    "heads": (
        *("num_attention_heads", "n_head", "n_heads", "num_heads", "num_query_heads", "num_attn_heads", "n_attn_heads"),
        *("attention_heads", "decoder_attention_heads", "encoder_attention_heads", "attention_head_count"),
    ),
    "kv_heads": (
        *("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv", "kv_n_heads", "n_kv_head"),
        *("num_query_groups", "num_attention_groups", "multi_query_group_num"),
        *("num_key_value_heads_per_layer", "num_global_key_value_heads", "swa_num_key_value_heads"),
    ),
    "head_dim": (
        *("head_dim", "attention_head_dim", "kv_channels", "d_kv", "d_head", "head_size", "attention_head_size"),
        *("head_dims", "key_length", "global_head_dim", "swa_head_dim"),
    ),
    "hidden": ("hidden_size", "n_embd", "d_model", "dim", "model_dim"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"),
}
_LARGEST = 2.0**60
_WITHOUT_NEW_DECODER = ("RefinedWebModel",)
_WITH_NEW_DECODER = ("RefinedWeb",)


@dataclass(frozen=True)
class ModelConfig:
    """What the files may not say. `path` is None where there is no configuration; `part` is the part taken of it."""

    path: Path | None = None
    facts: Mapping = field(default_factory=dict)
    part: str = ""
    model_type: str = ""

    @property
    def source(self) -> str:
        return f"{self.path}{f' ({self.part})' if self.part else ''}"

    def sizes(self, what: str, layer: str = "") -> dict[str, int]:
        """Every key that gives this number, with what it gives (for a list: of the layer)."""
        return {key: n for key in _KEYS[what] if key in self.facts and (n := self.key_size(key, layer))}

    def size(self, what: str, layer: str = "") -> int:
        """The first of them; 0 is unknown."""
        if what == "kv_heads":
            return self._kv_heads(layer)
        count = next(iter(self.sizes(what, layer).values()), 0)
        ratio = (
            self.number("head_ratio") if what == "heads" else None
        )  # ConvBERT: convolutions take the place of the others
        return count // int(ratio) if ratio and ratio >= 1 else count

    def number(self, key: str) -> float | None:
        """A positive number, None where there is none. Raises TensorError on anything else."""
        value = self.facts.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LARGEST:
            raise TensorError(f"{self.source}: {key} is {_told(value)}, allowed is a positive number")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.facts.get(key)
        if value is None:
            return default
        if not isinstance(value, bool | int):
            raise TensorError(f"{self.source}: {key} is {_told(value)}, allowed are true and false")
        return bool(value)

    def text(self, key: str) -> str:
        value = self.facts.get(key)
        return value if isinstance(value, str) else ""

    def _kv_heads(self, layer: str) -> int:
        """As the makers of each model type read their own keys."""
        if self.model_type in ("falcon", *_WITHOUT_NEW_DECODER, *_WITH_NEW_DECODER) and not self.new_decoder:
            return 1 if self.flag("multi_query", True) else self.size("heads", layer)
        if self.model_type == "gpt_bigcode":
            return 1 if self.flag("multi_query", True) else self.size("heads", layer)
        if self.model_type == "chatglm" and not self.flag("multi_query_attention"):
            return self.size("heads", layer)
        if self.text("attn_type") == "multiquery_attention":
            return 1
        count = next(iter(self.sizes("kv_heads", layer).values()), 0)
        return (
            2 * count if self.model_type == "mimo_v2_flash" and self.layer_type(layer) == "sliding_attention" else count
        )

    def layer_type(self, layer: str) -> str:
        """What layer_types calls a layer; empty where it is not told."""
        types = self.facts.get("layer_types")
        if not isinstance(types, list) or not layer.isdigit() or int(layer) >= len(types):
            return ""
        return str(types[int(layer)])

    @property
    def new_decoder(self) -> bool:
        """Falcon's grouped layout."""
        return self.flag("new_decoder_architecture", self.model_type in _WITH_NEW_DECODER)

    @property
    def scale_blocks(self) -> tuple[int, ...]:
        """The block of rows and columns of a weight that share a scale, of a quantised model; empty if not given."""
        facts = self.facts.get("quantization_config")
        block = facts.get("weight_block_size") if isinstance(facts, Mapping) else None
        if block is None:
            return ()
        if not isinstance(block, list) or len(block) != 2 or not all(type(b) is int and b > 0 for b in block):
            raise TensorError(f"{self.source}: weight_block_size is {_told(block)}, allowed are two positive integers")
        return tuple(block)

    def key_size(self, key: str, layer: str) -> int:
        """What one key gives, of a list the layer's entry. Raises TensorError where it is no size; 0 is unknown."""
        value = self.facts[key]
        if isinstance(value, list):
            if not value or (not layer.isdigit() and any(entry != value[0] for entry in value)):
                return 0
            layer = layer if layer.isdigit() else "0"
            if int(layer) >= len(value):
                raise TensorError(f"{self.source}: {key} has {len(value)} entries, the files have a layer {layer}")
            value = value[int(layer)]
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < _LARGEST or value % 1:
            raise TensorError(
                f"{self.source}: {key} is {_told(value)}, allowed is a positive integer, or a list of one per layer"
            )
        return int(value)


def read_config(folder: Path, vision: bool = False) -> ModelConfig:
    """The configuration beside the weights: of the language model, or with `vision` of the other part."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        return ModelConfig()
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise TensorError(f"{path}: not readable as JSON ({' '.join(str(error).split())})") from error
    if not isinstance(facts, dict):
        raise TensorError(f"{path}: holds {_told(facts)}, allowed is a JSON object")
    chosen, part = _part(facts, _VISION_PARTS if vision else _TEXT_PARTS)
    if "quantization_config" in facts:
        chosen = {"quantization_config": facts["quantization_config"], **chosen}
    inner = [chosen[key] for key in _INNER if isinstance(chosen.get(key), dict)]
    for more in inner:
        chosen = {**more, **chosen}
    model_type = chosen.get("model_type") or facts.get("model_type")
    return ModelConfig(path, chosen, part, model_type if isinstance(model_type, str) else "")


def _part(facts: dict, names: tuple[str, ...]) -> tuple[dict, str]:
    """The innermost part of these names that has heads, or any where the whole has none; and its place."""
    place: list[str] = []
    while True:
        parts = [n for n in names if isinstance(facts.get(n), dict) and facts[n]]
        name = next((n for n in parts if _has_heads(facts[n], names)), "" if _has_heads(facts, ()) else (*parts, "")[0])
        if not name:
            return facts, ".".join(place)
        facts, place = facts[name], [*place, name]


def _has_heads(facts: dict, names: tuple[str, ...]) -> bool:
    """Here, or in a part of it."""
    if any(facts.get(key) is not None for key in _KEYS["heads"]):
        return True
    return any(_has_heads(facts[n], names) for n in names if isinstance(facts.get(n), dict))


def _told(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
