"""Tensors that hold queries, keys and values in one: the order in which they do, by the model that they are of."""

from __future__ import annotations

from numpy.typing import NDArray

from ..tensors.mapped import TensorError
from .model_config import ModelConfig

# blocks: all queries, all keys, all values. groups: per key head its queries, its key, its value; where each query
# head has its own key, that is head by head. codegen: four blocks of blocks, with the values before the keys.
CHOICES = ("blocks", "groups")
# The last part of a name, in small letters, and the order by model_type.
_ORDERS: dict[str, dict[str, tuple[str, ...]]] = {
    "query_key_value": {
        "groups": ("gpt_neox", "gpt_neox_japanese", "bloom", "persimmon", "phi3small", "megatron-bert"),
        "blocks": ("bailing", "bailing_moe", "bailing_moe_v2", "bailing_moe_linear"),
    },
    "wqkv": {
        "groups": ("internlm2", "internlmxcomposer2", "internlm2_reward"),
        "blocks": (*("mpt", "dbrx", "modernbert", "nomic_bert", "phi-msft", "mixformer-sequential"),),
    },
    "qkv_proj": {
        "blocks": ("phi3", "phi3_v", "phi4mm", "phi4_multimodal", "openelm", "plamo2", "gemma_torch"),
        "codegen": ("codegen",),
    },
    "c_attn": {
        "blocks": (*("gpt2", "openai-gpt", "imagegpt", "decision_transformer", "jais", "qwen", "codeshell"),),
    },
    "qkv": {
        "blocks": (
            *("sam", "sam_vision_model", "intern_vit_6b", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"),
            *("qwen2_5_vl_vision", "qwen3_vl_vision", "glm4v_vision", "blip", "blip_vision_model", "videomae_vit"),
        ),
    },
    "att_proj": {"blocks": ("olmo", "hf_olmo", "molmo")},
    "in_proj": {"groups": ("deberta",)},
}
# Names that only one maker or library uses: torch, Megatron core, Baichuan, llama.cpp.
_BY_NAME = {"in_proj_weight": "blocks", "linear_qkv": "groups", "w_pack": "blocks", "attn_qkv": "blocks"}
TOKENS = (*_ORDERS, *_BY_NAME, "to_qkv", "qkv_weight", "query_key_value_proj")
_FALCON = ("falcon", "RefinedWeb", "RefinedWebModel")
_CODEGEN_BLOCKS = 4


def fused_order(token: str, name: str, config: ModelConfig, conv1d: bool, given: str) -> str:
    """The order within the tensor whose name ends in `token`; `conv1d` where its inputs lie first, as in GPT-2."""
    token, kind = token.lower(), config.model_type
    if given != "auto":
        return given
    if token in _BY_NAME:
        return _BY_NAME[token]
    if token == "query_key_value" and kind in _FALCON:
        return "blocks" if not config.new_decoder and config.flag("multi_query", True) else "groups"
    if token == "query_key_value" and kind == "chatglm":
        return "blocks" if config.flag("multi_query_attention") else "groups"
    if token == "c_attn" and kind == "gpt_bigcode":
        return "blocks" if config.flag("multi_query", True) else "groups"
    if token == "c_attn" and conv1d and not kind:
        return "blocks"
    for order, kinds in _ORDERS.get(token, {}).items():
        if kind in kinds:
            return order
    whose = f"model_type '{kind}'" if kind else "a model without model_type in a config.json"
    raise TensorError(
        f"{name} holds queries, keys and values in one, whose order is not known for {whose}: --fused blocks (all "
        "queries, all keys, all values) or groups (per key head its queries, its key, its value) decides"
    )


def split(fused: NDArray, order: str, heads: int, kv_heads: int) -> tuple[NDArray, NDArray]:
    """(heads, d_head, ...) queries and (kv_heads, d_head, ...) keys of (heads + 2 kv_heads) d_head rows."""
    rest = fused.shape[1:]
    head_dim = fused.shape[0] // (heads + 2 * kv_heads)
    if order == "groups":
        group = heads // kv_heads
        parts = fused.reshape(kv_heads, group + 2, head_dim, *rest)
        return parts[:, :group].reshape(heads, head_dim, *rest), parts[:, group]
    if order == "codegen":
        if heads % _CODEGEN_BLOCKS or kv_heads != heads:
            raise TensorError(f"{heads} query and {kv_heads} key heads are not CodeGen's {_CODEGEN_BLOCKS} blocks")
        parts = fused.reshape(_CODEGEN_BLOCKS, 3, heads // _CODEGEN_BLOCKS, head_dim, *rest)
        return parts[:, 0].reshape(heads, head_dim, *rest), parts[:, 2].reshape(heads, head_dim, *rest)
    parts = fused.reshape(heads + 2 * kv_heads, head_dim, *rest)
    return parts[:heads], parts[heads : heads + kv_heads]


def key_heads(rows: int, heads: int, kv_heads: int, head_dim: int, width: int, name: str) -> int:
    """How many key heads a tensor of `rows` outputs holds. 0 is unknown: by d_head, which is else width / heads."""
    size, known = head_dim or width // heads, f", key heads {kv_heads}" if kv_heads else ""
    if not kv_heads:
        kv_heads = (rows // size - heads) // 2 if head_dim else heads
        head_dim = size
    total = heads + 2 * kv_heads
    if kv_heads > 0 and heads % kv_heads == 0 and rows == total * (head_dim or rows // total):
        return kv_heads
    raise TensorError(
        f"{name} has {rows} outputs, which are not (heads + 2 x key heads) x d_head with heads {heads}{known}, "
        f"d_head {size}; see --heads, --kv-heads, --head-dim, --layout"
    )
