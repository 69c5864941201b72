"""Random small models of many architectures, what their configurations say of logits, and a tokeniser of letters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

LAYERS, VOCABULARY = 3, 97
DECODER = {
    **{"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": LAYERS},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0},
}
ENCODER = {
    **{"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": LAYERS},
    **{"num_attention_heads": 4, "max_position_embeddings": 256},
}
GPT = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": LAYERS, "n_head": 4, "n_positions": 256}
FALCON = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
LATENT = {
    **DECODER,
    **{"num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 16},
    **{"qk_rope_head_dim": 8, "v_head_dim": 12, "first_k_dense_replace": LAYERS},
}
SOUND = {
    **{"d_model": 64, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4},
    **{"decoder_attention_heads": 4, "encoder_ffn_dim": 80, "num_mel_bins": 8, "max_source_positions": 40},
    **{"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
}
CHUNKED = {
    **DECODER,
    **{"attention_chunk_size": 16, "num_local_experts": 2, "intermediate_size_mlp": 80},
    **{"layer_types": ["chunked_attention", "chunked_attention", "full_attention"]},
}
LOOKING_AHEAD = {
    **ENCODER,
    **{"num_hidden_layers": 4, "local_attention": 12, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2},
}
YARN = {
    **{"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 1.0},
    **{"original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1},
}
# 0.1 ln 4 + 1, squared: DeepSeek's factor on the scale.
YARN_SCALE = 1.1386294361119891**2


@dataclass(frozen=True)
class Architecture:
    """`windows` and `scales` by layer, one entry for all. `output` is the projection that follows attention."""

    config: str
    options: dict[str, Any]
    output: str
    keys: int
    d: int
    scales: tuple[float, ...]
    d_v: int = 0
    windows: tuple[int, ...] = (0,)
    mask: str = "causal"
    softcap: float = 0.0
    per_head: tuple[str, ...] = ()
    own: str = "eager"
    heads: int = field(default=4)

    def window(self, layer: int) -> int:
        return self.windows[layer % len(self.windows)]

    def scale(self, layer: int) -> float:
        return self.scales[layer % len(self.scales)]


ARCHITECTURES = {
    "llama": Architecture("LlamaConfig", DECODER, "self_attn.o_proj", 2, 16, (0.25,)),
    "qwen3": Architecture("Qwen3Config", DECODER | {"head_dim": 24}, "self_attn.o_proj", 2, 24, (24**-0.5,)),
    "gemma2": Architecture(
        "Gemma2Config",
        DECODER
        | {"head_dim": 24, "query_pre_attn_scalar": 50, "sliding_window": 11, "attn_logit_softcapping": 2.0}
        | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        *("self_attn.o_proj", 2, 24, (50**-0.5,)),
        windows=(11, 0),
        softcap=2.0,
    ),
    "gemma3": Architecture(
        "Gemma3TextConfig",
        DECODER
        | {"head_dim": 24, "query_pre_attn_scalar": 50, "sliding_window": 11}
        | {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
        *("self_attn.o_proj", 2, 24, (50**-0.5,)),
        windows=(11, 11, 0),
    ),
    "mistral": Architecture(
        "MistralConfig", DECODER | {"sliding_window": 9}, "self_attn.o_proj", 2, 16, (0.25,), windows=(9,)
    ),
    "phi3": Architecture("Phi3Config", DECODER, "self_attn.o_proj", 2, 16, (0.25,)),
    "gpt2": Architecture("GPT2Config", GPT, "attn.c_proj", 4, 16, (0.25,)),
    "gpt2 by layer": Architecture(
        "GPT2Config", GPT | {"scale_attn_by_inverse_layer_idx": True}, "attn.c_proj", 4, 16, (0.25, 0.125, 0.25 / 3)
    ),
    "gpt_neox": Architecture("GPTNeoXConfig", ENCODER, "attention.dense", 4, 16, (0.25,)),
    "gptj": Architecture("GPTJConfig", GPT | {"rotary_dim": 8}, "attn.out_proj", 4, 16, (0.25,)),
    "gpt_bigcode": Architecture("GPTBigCodeConfig", GPT, "attn.c_proj", 1, 16, (0.25,)),
    "granite": Architecture(
        "GraniteConfig", DECODER | {"attention_multiplier": 0.3}, "self_attn.o_proj", 2, 16, (0.3,)
    ),
    "falcon": Architecture("FalconConfig", FALCON, "self_attention.dense", 1, 16, (0.25,)),
    "falcon grouped": Architecture(
        "FalconConfig",
        FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2},
        *("self_attention.dense", 2, 16, (0.25,)),
    ),
    # The eager attention of transformers 5.24 adds these slopes twice.
    "falcon alibi": Architecture(
        "FalconConfig",
        FALCON | {"alibi": True, "multi_query": False, "bias": True},
        *("self_attention.dense", 4, 16, (0.25,)),
        per_head=("alibi",),
        own="sdpa",
    ),
    "gpt_oss": Architecture(
        "GptOssConfig",
        DECODER | {"head_dim": 24, "sliding_window": 9, "num_local_experts": 4, "num_experts_per_tok": 2},
        *("self_attn.o_proj", 2, 24, (24**-0.5,)),
        windows=(9, 0),
        per_head=("sinks",),
    ),
    "deepseek_v2": Architecture("DeepseekV2Config", LATENT, "self_attn.o_proj", 4, 24, (24**-0.5,), d_v=12),
    "deepseek_v3": Architecture(
        "DeepseekV3Config",
        LATENT | {"rope_parameters": YARN},
        *("self_attn.o_proj", 4, 24, (24**-0.5 * YARN_SCALE,)),
        d_v=12,
    ),
    "bert": Architecture("BertConfig", ENCODER, "attention.output.dense", 4, 16, (0.25,), mask="none"),
    "bart": Architecture(
        "BartConfig",
        {"vocab_size": VOCABULARY, "d_model": 64, "encoder_layers": LAYERS, "decoder_layers": 1}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 80, "decoder_ffn_dim": 80}
        | {"max_position_embeddings": 256},
        *("self_attn.out_proj", 4, 16, (0.25,)),
        mask="none",
    ),
    # These write their attention out.
    "bloom": Architecture(
        "BloomConfig", FALCON | {"n_head": 4}, "self_attention.dense", 4, 16, (0.25,), per_head=("alibi",)
    ),
    "mpt": Architecture(
        "MptConfig",
        {"vocab_size": VOCABULARY, "d_model": 64, "n_heads": 4, "n_layers": LAYERS, "max_seq_len": 256},
        *("attn.out_proj", 4, 16, (0.25,)),
        per_head=("alibi",),
    ),
    "openai-gpt": Architecture("OpenAIGPTConfig", GPT, "attn.c_proj", 4, 16, (0.25,)),
    "xglm": Architecture(
        "XGLMConfig",
        {"vocab_size": VOCABULARY, "d_model": 64, "num_layers": LAYERS, "attention_heads": 4, "ffn_dim": 80},
        *("self_attn.out_proj", 4, 16, (1.0,)),
    ),
    "gpt_neo": Architecture(
        "GPTNeoConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 64, "num_layers": LAYERS, "num_heads": 4, "window_size": 9}
        | {"attention_types": [[["local", "global", "local"], 1]], "max_position_embeddings": 256},
        *("attention.out_proj", 4, 16, (1.0,)),
        windows=(9, 0, 9),
    ),
    "gpt_neox_japanese": Architecture(
        "GPTNeoXJapaneseConfig", ENCODER | {"intermediate_multiple_size": 1}, "attention.dense", 4, 16, (0.25,)
    ),
    "roformer": Architecture("RoFormerConfig", ENCODER, "attention.output.dense", 4, 16, (0.25,), mask="none"),
    "prophetnet": Architecture(
        "ProphetNetConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 64, "encoder_ffn_dim": 80, "num_encoder_layers": LAYERS}
        | {"num_encoder_attention_heads": 4, "num_decoder_layers": 1, "max_position_embeddings": 256},
        *("self_attn.out_proj", 4, 16, (1.0,)),
        mask="none",
    ),
}
# Those that are refused, and a word of the reason.
REFUSED = {
    "t5": (
        "T5Config",
        {"vocab_size": VOCABULARY, "d_model": 64, "d_kv": 16, "d_ff": 80, "num_layers": 2},
        "T5's table",
    ),
    "whisper": ("WhisperConfig", SOUND, "reads input_features"),
    "xlnet": ("XLNetConfig", {"vocab_size": VOCABULARY, "d_model": 64, "n_layer": 2, "n_head": 4}, "2 products of"),
    "mpnet": ("MPNetConfig", ENCODER, "T5's table"),
    "big_bird": ("BigBirdConfig", ENCODER | {"block_size": 16}, "takes other modules"),
    "longformer": ("LongformerConfig", ENCODER | {"attention_window": 8}, "rows at once"),
    "rwkv": ("RwkvConfig", {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2}, "no activations"),
    "llama4": ("Llama4TextConfig", CHUNKED, "neither causal"),
    "modernbert": ("ModernBertConfig", LOOKING_AHEAD, "sees keys"),
}
# Of these, a layer that can be said behind others that cannot.
PASSED = {
    "llama4": (Architecture("Llama4TextConfig", CHUNKED, "self_attn.o_proj", 2, 16, (0.25,)), 2),
    "modernbert": (Architecture("ModernBertConfig", LOOKING_AHEAD, "attn.Wo", 4, 16, (0.25,), mask="none"), 3),
}


def random_model(config: str, options: dict[str, Any], seed: int, **more: Any) -> Any:
    """Every parameter drawn anew: norms, biases and sinks too."""
    torch.manual_seed(seed)
    network = transformers.AutoModel.from_config(getattr(transformers, config)(**options), **more).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.3)
    return network


def save_tokenizer(folder: Path) -> None:
    """A letter a token, after <s>."""
    words = {"<s>": 0, "<unk>": 1} | {chr(32 + i): i + 2 for i in range(VOCABULARY - 3)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")
    fast.save_pretrained(folder)


def save_model(folder: Path, config: str, options: dict[str, Any], seed: int) -> Path:
    network = random_model(config, options, seed)
    network.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def attention_outputs(network: Any, projection: str, run: Callable[[Any], Any]) -> list[torch.Tensor]:
    """(n, heads * d_v) of each layer: what its output projection is called with while the model runs."""
    found: list[torch.Tensor] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, given: found.append(given[0][0].double()))
        for name, module in network.named_modules()
        if name.endswith(projection)
    ]
    with torch.inference_mode():
        run(network)
    for hook in hooks:
        hook.remove()
    return found
