#!/usr/bin/env bash
# transformers 5.24.0 (PyPI), Falcon with alibi=True: eager attention adds the ALiBi slopes twice. FalconModel puts slope j / sqrt(d)
# into the causal mask, for scaled_dot_product_attention; FalconAttention's eager branch adds slope j to q.k before it divides by
# sqrt(d), and then that mask on top. sdpa adds them once, as Falcon's formula softmax((q.k + slope j) / sqrt(d)) does. The same branch
# runs under sdpa where output_attentions=True: a model that is asked for its attention maps computes other outputs than without.
#
# Who compares implementations, or looks at maps of such a model, sees attention that is more local than the model's own. What to do:
# attn_implementation="sdpa", without maps. Asymptop's `capture` takes queries and keys of that, and the slopes once.
#
# Prints how far each output is from the formula in float64 with the slopes once and twice; fails where that is no longer so.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$repository/jobs/setup/torch_venv.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
# Without PyTorch's dependencies, which are gigabytes of CUDA libraries that nothing here calls.
venv/bin/pip install -q --disable-pip-version-check --no-cache-dir --no-deps -r "$repository/jobs/setup/torch-requirements.txt" \
  -r "$repository/jobs/setup/models-requirements.txt" 'numpy==2.2.6' 'packaging<27' 'pyyaml<7' 'tqdm<5' 'safetensors==0.8.0' 'jinja2<4' \
  'markupsafe<4' 'idna<4' 'certifi' 'pygments<3'
packages=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo 'import os, sys; sys.setdlopenflags(os.RTLD_LAZY)' >"$packages/lazy_symbols.pth"
make_named_libraries "$packages" "$folder/named.c"
cat >falcon.py <<'PY'
import math
import sys

import numpy as np
import torch
import transformers
from transformers import FalconConfig, FalconModel
from transformers.models.falcon.modeling_falcon import build_alibi_tensor

HEADS, WIDTH, TOKENS = 4, 16, 48
config = {"vocab_size": 64, "hidden_size": HEADS * WIDTH, "num_hidden_layers": 1, "num_attention_heads": HEADS}
config |= {"alibi": True, "multi_query": False, "bias": True}
torch.manual_seed(7)
tokens = torch.randint(0, 64, (1, TOKENS))
outputs, seen = {}, {}
weights = None
for name in ("sdpa", "eager", "sdpa, output_attentions=True"):
    model = FalconModel._from_config(FalconConfig(**config), attn_implementation=name.split(",")[0]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0 if parameter.ndim == 2 and weights is None else 1.0)
    weights = weights or model.state_dict()
    model.load_state_dict(weights)
    attention = model.h[0].self_attention
    attention.dense.register_forward_hook(lambda module, args, result, name=name: outputs.update({name: args[0].double()}))
    attention.query_key_value.register_forward_hook(lambda module, args, result: seen.update(qkv=result.double()))
    with torch.no_grad():
        model(tokens, output_attentions="output_attentions" in name)

# Falcon's formula in float64, with the slopes added `times`: softmax((q.k + slope j) / sqrt(d)) over the keys j up to the query's own.
q, k, v = seen["qkv"].view(1, TOKENS, HEADS, 3, WIDTH).permute(3, 0, 2, 1, 4)
slopes = build_alibi_tensor(torch.ones(1, TOKENS, dtype=torch.long), HEADS, torch.float32).view(1, HEADS, 1, TOKENS).double()
unseen = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)


def formula(times):
    logits = (q @ k.transpose(-1, -2) + times * slopes) / math.sqrt(WIDTH)
    found = torch.softmax(logits.masked_fill(unseen, -math.inf), dim=-1) @ v
    return found.transpose(1, 2).reshape(1, TOKENS, -1)


size = float(formula(1).norm())
print(f"transformers {transformers.__version__}, torch {torch.__version__}: Falcon, alibi=True, {TOKENS} tokens, relative distance of the attention's output")
as_described = True
for name, found in outputs.items():
    once, twice = (float((found - formula(times)).norm()) / size for times in (1, 2))
    print(f"  {name:<29} from slopes added once {once:.1e}, twice {twice:.1e}")
    as_described &= (once < 1e-5 < 1e-2 < twice) if name == "sdpa" else (twice < 1e-5 < 1e-2 < once)
sys.exit(0 if as_described else "not as described")
PY
venv/bin/python falcon.py 2>/dev/null
