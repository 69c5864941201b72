"""Times of `capture` over one long context: what a pass takes without it, what it adds, what writing and checking add.

    PYTHONPATH=analysis python tests/models/capture_time.py --device cuda --dtype bfloat16 --tokens 32768 [--softcap 50]
    PYTHONPATH=analysis python tests/models/capture_time.py --model FOLDER --text FILE --tokens 8192 --threads 2

A random Llama, or a Gemma 2 where a softcap is given, of 4 layers with 32 query heads on 8 key heads of d = 128. Each
line is one run; passes after one over 1024 tokens. Of a model of your own, on the CPU in float32: processor time of its
pass with transformers' scaled_dot_product_attention, of capture's with all files and checks, and their ratio.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from asymptop import __main__ as command_line
from asymptop.capture import run as whole
from asymptop.capture.loading import load
from asymptop.capture.parts import Parts
from asymptop.capture.recorder import Recorder
from asymptop.capture.texts import contexts
from small_models import VOCABULARY, save_tokenizer

LAYERS = 4
SHAPE = {
    **{"vocab_size": VOCABULARY, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": LAYERS},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "pad_token_id": 0},
}


def timed(device: str, work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds, and GB of the GPU's memory at most."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0


def tell_of_pass(device: str, work: Callable[[], Any]) -> None:
    """That of the model's own attention, which may want all n x n logits at once."""
    what = "a pass with scaled_dot_product_attention"
    try:
        tell(what, *timed(device, work))
    except torch.OutOfMemoryError:
        print(f"{what:<58} does not fit the GPU's memory", flush=True)
        torch.cuda.empty_cache()


def tell(what: str, seconds: float, gigabytes: float) -> None:
    print(f"{what:<58} {seconds:8.2f} s" + (f" {gigabytes:6.1f} GB of GPU memory" if gigabytes else ""), flush=True)


def processor_time(work: Callable[[], Any]) -> float:
    """Seconds; the most memory of this process meanwhile is printed, where the system counts it anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    started, before = time.perf_counter(), time.process_time()
    work()
    spent, passed = time.process_time() - before, time.perf_counter() - started
    most = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    memory = f", {int(most[1]) * 1024 / 1e9:.2f} GB" if most else ""
    print(f"    {spent:.1f} s of processor time, {passed:.1f} s, {torch.get_num_threads()} threads{memory}", flush=True)
    return spent


def of_a_model(path: Path, text: Path, tokens: int) -> int:
    model = load(path, "float32", "cpu")
    found, _ = contexts([text], model.tokenise, tokens, 1)
    layers = list(whole.trial(model, None, found[0].tokens[: whole.TRIAL_TOKENS], "float32", "cpu").widths)

    def plain(count: int) -> None:
        model.network.set_attn_implementation("sdpa")
        model.run(found[0].tokens[:count], "cpu")

    plain(min(tokens, 1024))
    print(f"{model.kind}, {len(layers)} layers, {tokens} tokens: a pass with scaled_dot_product_attention", flush=True)
    own = processor_time(lambda: plain(tokens))
    with tempfile.TemporaryDirectory() as name:
        parts = Parts(Path(name) / "t.h5", "timed")
        parts.begin(resume=False, force=False)
        passes = whole.Passes(model, layers, parts, "float32", "cpu", lambda _: None)

        def captured() -> None:
            passes.over(found, 0)
            parts.assemble(layers, found, path.name, "float32", {})

        print("capture's pass, with its files and checks", flush=True)
        print(f"ratio {processor_time(captured) / own:.2f}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--softcap", type=float, default=0.0)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.model is not None:
        return of_a_model(asked.model, asked.text, asked.tokens)
    options = SHAPE | {"max_position_embeddings": asked.tokens}
    if asked.softcap:
        options |= {"attn_logit_softcapping": asked.softcap, "layer_types": ["full_attention"] * LAYERS}
    config = (transformers.Gemma2Config if asked.softcap else transformers.LlamaConfig)(**options)
    print(f"{config.model_type}, {LAYERS} layers, {asked.tokens} tokens, {asked.dtype}, {asked.device}", flush=True)
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(1)
    network = transformers.AutoModel.from_config(config, dtype=getattr(torch, asked.dtype)).eval()
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        network.save_pretrained(folder / "model")
        save_tokenizer(folder / "model")
        letters = "".join(chr(32 + (i * i * 7 + i // 5) % 94) for i in range(asked.tokens))
        (folder / "text.txt").write_text(letters, encoding="utf-8")
        network = network.to(asked.device)
        ids = torch.randint(2, VOCABULARY, (1, asked.tokens), device=asked.device)

        def plain(tokens: int) -> None:
            network(input_ids=ids[:, :tokens], use_cache=False)

        def recorded(tokens: int) -> None:
            with Recorder(lambda _: None).listening(network, through_interface=True):
                plain(tokens)

        if not asked.softcap:  # which that function does not know
            network.set_attn_implementation("sdpa")
            plain(1024)
            tell_of_pass(asked.device, lambda: plain(asked.tokens))
        network.set_attn_implementation("eager")
        recorded(1024)
        tell("a pass under capture's recorder, nothing written", *timed(asked.device, lambda: recorded(asked.tokens)))
        network.to("cpu")
        words = ["capture", str(folder / "model"), "--text", str(folder / "text.txt"), "--lengths", str(asked.tokens)]
        words += ["--device", asked.device, "--dtype", asked.dtype, "-o", str(folder / "t.h5")]
        told = io.StringIO()

        def command() -> None:
            with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
                command_line.main(words)

        seconds, gigabytes = timed(asked.device, command)
        written = folder / "t.h5"
        size = written.stat().st_size / 1e9 if written.exists() else 0.0
        tell(f"the command, {size:.2f} GB written twice", seconds, gigabytes)
        print(*(f"    {line[18:]}" for line in told.getvalue().splitlines() if "asymptop capture" in line), sep="\n")
    return 0 if size else 1


if __name__ == "__main__":
    sys.exit(main())
