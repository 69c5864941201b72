"""Small random models of every architecture of texts that transformers builds from its configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

_ASKED = "ASYMPTOP_EVERY_ARCHITECTURE"
ONLY_WHERE_ASKED = pytest.mark.skipif(not os.environ.get(_ASKED), reason=f"takes minutes: {_ASKED}=1")
SEED = int(os.environ.get("ASYMPTOP_TEST_SEED", "1"))
MOST_PARAMETERS = 20_000_000
TEXT = "".join(chr(32 + (i * i + 7 * i) % 94) for i in range(400))

# By what configurations call it; of these each gets those that it knows.
SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "word_embed_proj_dim", "embedding_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers"), 3),
    **dict.fromkeys(("num_encoder_layers",), 3),
    **dict.fromkeys(("decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "num_encoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "num_attention_groups"), 2),
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 80),
    **dict.fromkeys(("hidden_dim", "intermediate_size_mlp", "ffn_hidden_size"), 80),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 256),
    **dict.fromkeys(("head_dim", "d_kv", "kv_channels", "kv_lora_rank", "qk_nope_head_dim"), 16),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "image_size"), 32),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group"), 1),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "src_vocab_size", "tgt_vocab_size"), 97),
    # No token of the text is one of padding: some models find padding by it.
    **{"pad_token_id": 96, "bos_token_id": 0, "eos_token_id": 1},
    **{"q_lora_rank": 24, "qk_rope_head_dim": 8, "v_head_dim": 12, "first_k_dense_replace": 3},
    **{"sliding_window": 9, "rotary_dim": 8, "attention_window": 8, "block_size": 8, "num_buckets": 8},
    **{"dim_model_base": 64, "hidden_size_per_layer_input": 16, "num_kv_shared_layers": 0},
    **{"entity_vocab_size": 50, "entity_emb_size": 16, "intermediate_multiple_size": 1},
}
# What single ones need beside these to be built or to read a text.
OWN: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]], "window_size": 9},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "reformer": {"axial_pos_shape": [16, 16], "axial_pos_embds_dim": [16, 48], "attn_layers": ["local", "lsh"]},
    "funnel": {"block_sizes": [1, 1, 1], "num_decoder_layers": 1, "d_head": 16, "d_inner": 80},
    "longcat_flash": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "bamba": {"attn_layer_indices": [1]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention", "mamba"]},
    # Attention is in every fourth of their layers.
    **{
        name: {"num_hidden_layers": 4}
        for name in ("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text")
    },
    **{name: {"num_hidden_layers": 8} for name in ("bailing_hybrid", "kimi_linear")},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
}
# Those, of models that no task of these tables is for.
MORE = ("canine", "clip_text_model", "splinter", "visual_bert")


def architectures() -> list[str]:
    tables = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )
    return list(dict.fromkeys([*(name for table in tables for name in table), *MORE]))


def configuration(name: str) -> Any:
    whole = CONFIG_MAPPING[name]()
    given = whole.get_text_config() if hasattr(whole, "get_text_config") else whole
    known, renamed = given.to_dict(), getattr(given, "attribute_map", {})
    chosen = {key: value for key, value in SIZES.items() if key in known or key in renamed}
    if "kv_lora_rank" in known:  # latent attention has as many key heads as query heads
        chosen.pop("head_dim", None)
        if known.get("num_key_value_heads") == known.get("num_attention_heads"):
            chosen["num_key_value_heads"] = 4
    for key in [key for key, other in renamed.items() if other in chosen]:
        chosen.pop(key, None)
    return type(given)(**{**chosen, **OWN.get(name, {})})


def built(name: str, change: Callable[[Any], Any] = lambda configuration: configuration) -> Any:
    """Of a configuration that `change` may alter. Raises what transformers does, ValueError if it is not small."""
    small = change(configuration(name))
    with torch.device("meta"):
        count = sum(one.numel() for one in transformers.AutoModel.from_config(small).parameters())
    if count > MOST_PARAMETERS:
        raise ValueError(f"{count / 1e6:.0f} million parameters")
    network = transformers.AutoModel.from_config(small).eval()
    torch.manual_seed(SEED)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.2)
    return network
