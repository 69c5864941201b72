"""Which tensors of a checkpoint are queries and keys: attention modules by the names of their tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..tensors.mapped import TensorError
from .checkpoint import Checkpoint
from .fused_layouts import TOKENS
from .model_config import ModelConfig

# The part of a name that tells the role. Latent attention: queries and keys by way of two matrices each.
_ROLES = {
    "kv_a": r"kv_a_proj_with_mqa|wkv_a|attn_kv_a_mqa",
    "kv_b": r"kv_b_proj|wkv_b|attn_kv_b",
    "q_a": r"q_a_proj|wq_a|attn_q_a",
    "q_b": r"q_b_proj|wq_b|attn_q_b",
    "fused": "|".join(map(re.escape, sorted(TOKENS, key=len, reverse=True))),
    "query": r"q_proj|query|query_proj|q_lin|to_q|attn_q|w_?q|q_attn|q_einsum|linear_q|q",
    "key": r"k_proj|key|key_proj|k_lin|to_k|attn_k|w_?k|linear_k|k",
}
_END = r"(?:[._/](?:base_layer[._/])?(?:weight|kernel|w))?(?::0)?"
_NAMES = {role: re.compile(rf"((?:.*?[._/])?)({text}){_END}$", re.IGNORECASE) for role, text in _ROLES.items()}
# The same followed by anything: quantised weights have names of their own.
_STEMS = {role: re.compile(rf"((?:.*?[._/])?)({text})(?:[._/].+)?$", re.IGNORECASE) for role, text in _ROLES.items()}
# Biases of TransformerLens: their names end as those of queries do.
_BIAS = re.compile(r"(?:^|[._/])b_[QKqk]$")
_SEEING = r"vision|visual|vit|image|img|audio|speech|sound|video"
_OTHER = re.compile(
    rf"(?:^|[._/])(?:{_SEEING}|talker|token2wav|code_predictor|q_?former|resampler|perceiver|connector|indexer|mtp|draft"
    r"|eagle|assistant|(?:mm_)?projector|vae|merger)",
    re.IGNORECASE,
)
_CROSS = re.compile(
    r"encoder_attn|cross_?att|EncDecAttention|enc_dec|encdec|multihead_attn|encoder_decoder|(?:^|[._/])attn2|[._/]add_$",
    re.IGNORECASE,
)
# Linear attention with projections of the usual names: a short convolution or a decay lies beside them.
_NOT_SOFTMAX = ("q_conv1d.weight", "q_conv.weight", "A_log", "dt_bias", "conv1d.weight")
_NOT_SOFTMAX_TYPE = re.compile(r"linear|lightning|mamba|ssm|conv|recurrent|delta", re.IGNORECASE)


@dataclass(frozen=True)
class Module:
    """One attention module: what its tensors' names begin with, and the tensor of each role."""

    prefix: str
    names: dict[str, str] = field(default_factory=dict)
    label: str = ""

    @property
    def number(self) -> str:
        return layer_of(self.prefix or next(iter(self.names.values()), ""))

    @property
    def needs(self) -> tuple[str, ...]:
        """The roles that it takes, or would take."""
        if "kv_a" in self.names or "kv_b" in self.names:
            return ("kv_a", "kv_b", *(("q_a", "q_b") if "q_b" in self.names else ("query",)))
        separate = ("query", "key")
        return ("fused",) if "fused" in self.names and not all(r in self.names for r in separate) else separate

    @property
    def whole(self) -> bool:
        return all(role in self.names for role in self.needs)

    def readable(self, checkpoint: Checkpoint) -> list[str]:
        return [role for role in self.needs if role in self.names and checkpoint.usable(self.names[role])]


def layer_of(name: str) -> str:
    numbers = re.findall(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])|(?<=layer)\d+|(?<=[hlL])\d+(?=[._/])", name)
    return numbers[0] if numbers else ""


def token_of(name: str) -> str:
    """The part of a name that tells the role: q_proj of model.layers.0.self_attn.q_proj.weight."""
    return next((found[2] for pattern in _NAMES.values() if (found := pattern.match(name))), "")


def is_seeing(prefix: str) -> bool:
    return re.search(rf"(?:^|[._/])(?:{_SEEING})", prefix, re.IGNORECASE) is not None


def sample(checkpoint: Checkpoint) -> str:
    names = [name for name, tensor in checkpoint.tensors.items() if not tensor.fault]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "no floating-point tensor"


def counted(checkpoint: Checkpoint, names: Iterable[str]) -> str:
    """Tensors that cannot be read, by count and reason, with one of each."""
    by_fault: dict[str, list[str]] = {}
    for name in names:
        by_fault.setdefault(checkpoint.tensors[name].fault, []).append(name)
    return "; ".join(f"{len(found)} of type {fault} such as {found[0]}" for fault, found in by_fault.items())


# ---- by their usual names ----------------------------------------------------------------------------------------


def find_modules(checkpoint: Checkpoint, config: ModelConfig) -> list[Module]:
    """The self-attention modules of the model, in order of their layers. Raises TensorError."""
    modules = _without_others(checkpoint, _all_modules(checkpoint), config)
    if not modules:
        raise TensorError(f"no query and key weights found among {sample(checkpoint)}; name them with --q and --k")
    modules = _without_halves(checkpoint, modules, config)
    unread = [m for m in modules if len(m.readable(checkpoint)) < len(m.needs)]
    lost = [m.names[r] for m in unread for r in m.needs if r not in m.readable(checkpoint)]
    half = [m for m in unread if m.readable(checkpoint)]
    if half or len(unread) == len(modules):
        where = f"; layer {half[0].number or '-'} could be read in part alone" if half else ""
        raise TensorError(f"queries and keys that cannot be read: {counted(checkpoint, lost)}{where}")
    if unread:
        numbers = ", ".join(m.number or m.prefix for m in unread[:12])
        checkpoint.notes.append(f"left out, as they cannot be read: {counted(checkpoint, lost)} (layers {numbers})")
    return _labelled([m for m in modules if m not in unread])


def _all_modules(checkpoint: Checkpoint) -> list[Module]:
    found: dict[str, dict[str, list[str]]] = {}
    unread: dict[tuple[str, str], list[str]] = {}
    for name, tensor in checkpoint.tensors.items():
        if _BIAS.search(name):
            continue
        patterns = _NAMES if not tensor.fault else _STEMS
        for role, pattern in patterns.items():
            if (match := pattern.match(name)) is None:
                continue
            if tensor.fault:
                unread.setdefault((match[1], role), []).append(name)
            elif len(tensor.shape) >= 2:
                found.setdefault(match[1], {}).setdefault(role, []).append(name)
            break
    for (prefix, role), names in unread.items():
        weights = [n for n in names if not re.search(r"bias(?::0)?$|norm|scale", n)]
        if weights and role not in found.get(prefix, {}):
            largest = max(weights, key=lambda n: _size(checkpoint, n))
            found.setdefault(prefix, {})[role] = [largest]
    for roles in found.values():
        if double := next((names for names in roles.values() if len(names) > 1), None):
            raise TensorError(f"{double[0]} and {double[1]} have the same role; choose with --q and --k")
    return [Module(prefix, {role: names[0] for role, names in roles.items()}) for prefix, roles in found.items()]


def _size(checkpoint: Checkpoint, name: str) -> int:
    size = 1
    for extent in checkpoint.tensors[name].shape:
        size *= extent
    return size


def _tower(module: Module) -> str:
    return re.sub(r"\d+", "*", module.prefix)


def _without_others(checkpoint: Checkpoint, modules: list[Module], config: ModelConfig) -> list[Module]:
    """Without other parts of the model than its text, attention across parts, and what is no softmax attention."""
    for what, pattern in (("attention across parts", _CROSS), ("other parts of the model than its text", _OTHER)):
        kept = [m for m in modules if not pattern.search(m.prefix)]
        if any(m.whole for m in kept) and len(kept) < len(modules):
            _say_left(checkpoint, what, [m for m in modules if m not in kept])
            modules = kept
    linear = [m for m in modules if _is_linear(checkpoint, m, config)]
    if linear:
        _say_left(checkpoint, "linear attention", linear)
    return [m for m in modules if m not in linear]


def _is_linear(checkpoint: Checkpoint, module: Module, config: ModelConfig) -> bool:
    """No softmax over its products: by config.json's kinds of layers, or by what lies beside the projections."""
    if _NOT_SOFTMAX_TYPE.search(config.layer_type(module.number)):
        return True
    beside = re.sub(r"[^./]*$", "", module.prefix)  # linear_attn. of linear_attn.in_proj_qkv
    return any(prefix + end in checkpoint.tensors for prefix in (module.prefix, beside) for end in _NOT_SOFTMAX)


def _say_left(checkpoint: Checkpoint, what: str, modules: Sequence[Module]) -> None:
    towers = Counter(_tower(m).rstrip("._/") for m in modules)
    some = ", ".join(f"{count} of {tower}" for tower, count in list(towers.items())[:4])
    checkpoint.notes.append(f"left out, {what}: {some}{', ...' if len(towers) > 4 else ''}")


def _without_halves(checkpoint: Checkpoint, modules: list[Module], config: ModelConfig) -> list[Module]:
    """Queries without keys are an error, unless all of that place in the model are so and others are whole."""
    whole_towers = {_tower(m) for m in modules if m.whole}
    stray = [m for m in modules if not m.whole and whole_towers and _tower(m) not in whole_towers]
    halves = [m for m in modules if not m.whole and m not in stray]
    if halves and whole_towers and config.facts.get("num_kv_shared_layers"):
        _say_left(checkpoint, "layers that share the keys of another", halves)
        stray += halves
    elif halves:
        raise TensorError(_unpaired(checkpoint, modules, halves[0]))
    elif stray:
        _say_left(checkpoint, "queries without keys or keys without queries", stray)
    return [m for m in modules if m not in stray]


def _unpaired(checkpoint: Checkpoint, modules: Sequence[Module], half: Module) -> str:
    queries, keys = (sum(role in m.names for m in modules) for role in ("query", "key"))
    lacking = [role for role in half.needs if role not in half.names]
    why = f"; {checkpoint.missing_shards}" if checkpoint.missing_shards else ""
    return (
        f"{queries} query and {keys} key tensors do not pair up by layer ({next(iter(half.names.values()))} is without "
        f"its {' and '.join(lacking)}); name them with --q and --k{why}"
    )


def _labelled(modules: list[Module]) -> list[Module]:
    """By the layer's number where that tells all apart, else by what their names begin with."""
    numbers = [m.number for m in modules]
    alone = len(set(numbers)) == len(numbers)
    labelled = [Module(m.prefix, m.names, m.number if alone else m.prefix.rstrip("._/")) for m in modules]
    return sorted(labelled, key=lambda m: [(len(part), part) for part in re.split(r"(\d+)", m.label)])


# ---- by given names ----------------------------------------------------------------------------------------------


def given_modules(checkpoint: Checkpoint, query: str | None, key: str | None) -> list[Module]:
    """Of --q and --k. The same tensors for both hold queries, keys and values in one."""
    queries = _given(checkpoint, query, "--q", "query")
    fused = key is None and all(_NAMES["fused"].match(name) for name in queries)
    keys = queries if fused else _given(checkpoint, key, "--k", "key")
    if queries == keys:
        return _labelled([Module(_before(name), {"fused": name}) for name in queries])
    if both := set(queries) & set(keys):
        raise TensorError(f"{min(both)} is given as queries and as keys; one tensor has one role")
    for place in (_before, layer_of):
        by_place = {place(name): name for name in keys}
        if len(by_place) == len(keys) == len(queries) and {place(name) for name in queries} == set(by_place):
            return _labelled([Module(_before(q), {"query": q, "key": by_place[place(q)]}) for q in queries])
    raise TensorError(
        f"{len(queries)} query and {len(keys)} key tensors do not pair up by layer; name them with --q and --k"
    )


def _before(name: str) -> str:
    return next((found[1] for pattern in _NAMES.values() if (found := pattern.match(name))), name)


def _given(checkpoint: Checkpoint, text: str | None, option: str, role: str) -> list[str]:
    """A name, or a pattern with * for what differs between layers; without either, the usual names of the role."""
    if text is None:
        names = [name for name in checkpoint.tensors if _NAMES[role].match(name)]
    else:
        expression = re.compile(".*".join(re.escape(part) for part in text.split("*")) + "$")
        names = [name for name in checkpoint.tensors if expression.match(name)]
    if not names:
        what = f"{option} is '{text}', which no tensor is called" if text else f"{option} is missing"
        raise TensorError(f"{what}; the file holds {sample(checkpoint)}")
    unread = [name for name in names if checkpoint.tensors[name].fault]
    if unread:
        raise TensorError(f"{option} takes in what cannot be read: {counted(checkpoint, unread)}")
    matrices = [name for name in names if len(checkpoint.tensors[name].shape) >= 2]
    if not matrices:
        shapes = ", ".join(f"{name} {checkpoint.tensors[name].shape}" for name in names[:4])
        raise TensorError(f"{option} names no matrix: {shapes}")
    return matrices
