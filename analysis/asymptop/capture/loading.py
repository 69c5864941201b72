"""A model and its tokeniser from a folder of Hugging Face's layout or a GGUF file; nothing is fetched."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from ..tensors.mapped import TensorError
from .environment import GGUF_SUFFIX

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.json")


@dataclass(frozen=True)
class Model:
    """`network` gives hidden states, without a head; `through_interface`: it calls the attention function of a name."""

    network: Any
    tokenizer: Any
    through_interface: bool
    fingerprint: list[tuple[str, int, int]]  # of its files: name, bytes, time of change

    @property
    def kind(self) -> str:
        return type(self.network).__name__

    @property
    def longest(self) -> int | None:
        """Positions that it was made for, where it says so."""
        found = getattr(self.network.config.get_text_config(), "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    def tokenise(self, text: str, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def run(self, tokens: list[int], device: str) -> None:
        """One pass over a context, for what the attention functions see of it."""
        ids = torch.tensor([tokens], device=device)
        with torch.inference_mode():
            self.network(input_ids=ids)


def load(path: Path, dtype: str, device: str) -> Model:
    """Raises TensorError, in one line, where the model cannot be taken."""
    _quiet()
    _no_tf32()
    gguf = path.suffix == GGUF_SUFFIX
    folder, source = (path.parent, {"gguf_file": path.name}) if gguf else (path, {})
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, **source)
        network_class = _network_class(config)
        through_interface = network_class._can_set_attn_implementation()
        calls_sdpa = not through_interface and getattr(network_class, "_supports_sdpa", False)
        # The configuration, given, is not read again: a GGUF's takes a quarter of a minute.
        chosen = {
            "config": config,
            "dtype": getattr(torch, dtype),
            "attn_implementation": "sdpa" if calls_sdpa else "eager",
        }
        network, info = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **chosen, **source
        )
        # A pooler stands behind all layers, and many encoders are stored without.
        if lost := sorted(name for name in info["missing_keys"] if "pooler" not in name):
            raise TensorError(f"{path}: lacks {len(lost)} weights of {network_class.__name__}, {lost[0]} the first")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, **source)
    except TensorError:
        raise
    except Exception as error:  # of many kinds: files that are missing, damaged, unknown
        raise TensorError(f"{path}: transformers does not load it: {_one_line(error)}") from error
    try:
        network = prepared(network, device)
    except torch.OutOfMemoryError:
        words = f"{path}: does not fit the GPU's memory in {dtype}"
        raise TensorError(f"{words}; --dtype bfloat16 takes half of float32, --device cpu the machine's own") from None
    return Model(network, tokenizer, through_interface, _fingerprint(path, gguf))


def prepared(network: Any, device: str) -> Any:
    """In place, but for encoder-decoders, of which the encoder reads the text."""
    if (config := network.config).is_encoder_decoder:
        network = network.get_encoder()
        if not hasattr(network, "config"):  # of some it is a plain module
            network.config, network.main_input_name = config, "input_ids"
    if network.main_input_name != "input_ids":
        raise TensorError(f"{type(network).__name__} reads {network.main_input_name}, not the tokens of a text")
    for config in (network.config, network.config.get_text_config()):
        config.use_cache = False
    return network.eval().to(device)


def _network_class(config: Any) -> Any:
    try:
        found = transformers.MODEL_MAPPING[type(config)]
    except KeyError:
        raise TensorError(
            f"model_type '{config.model_type}' has no model in transformers {transformers.__version__}"
        ) from None
    return found[0] if isinstance(found, list | tuple) else found


def _fingerprint(path: Path, gguf: bool) -> list[tuple[str, int, int]]:
    files = [path] if gguf else sorted({entry for pattern in _WEIGHTS for entry in path.glob(pattern)})
    return [(entry.name, (stat := entry.stat()).st_size, stat.st_mtime_ns) for entry in files]


def _quiet() -> None:
    """Its warnings and bars are not this command's output."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|torch)\b")


def _no_tf32() -> None:
    """float32 means it on a GPU: some containers switch products to TF32, PyTorch itself does so for convolutions."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
