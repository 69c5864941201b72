"""What a selector costs per query and head, as formulas of n, d and the keys that it keeps.

Elements of keys and values take two bytes; a multiplication with its addition is two operations. `index` is what is
stored per key beside keys and values, `read` is what one query reads (index, keys and values), `flops` what it
computes: the selection, then the attention over the kept keys. The formulas are evaluated as they are printed.
`kept` stands in them for what k keys and values take, 4 k d, or 2 k (d + v) where values have a width v of their own;
`values` for 2 k d or 2 k v.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from . import laws

EXACT = "score"
_PARAMETERS = ("page", "block", "K", "L", "parts", "bits", "c", "keys", "H", "w")
_NAMES = ("n", "d", "k", *_PARAMETERS, "r", "width", "budget", "kept", "values")


@dataclass(frozen=True)
class Formulas:
    """Texts in n, d, k, `kept`, `values` and the selector's own parameters."""

    index: str
    read: str
    flops: str
    note: str = ""


_ALL_SCORES = Formulas("0", "2*n*d + values", "2*n*d + values", "reads every key")
_BLIND = Formulas("4", "kept", "kept", "the order is known before the query")
_OBSERVED = replace(_BLIND, note="the order is known before the query: index: sums of earlier queries' attention")
# In the order in which tables and figures name them, as `study --selectors` does.
FORMULAS: dict[str, Formulas] = {
    EXACT: _ALL_SCORES,
    "window": Formulas("0", "kept", "kept"),
    "random": Formulas("0", "kept", "kept"),
    "quest": Formulas(
        "4*d/page", "4*n*d/page + kept", "4*n*d/page + kept", "index: least and largest of each channel per page"
    ),
    "block-mean": Formulas("2*d/block", "2*n*d/block + kept", "2*n*d/block + kept", "index: mean key of each block"),
    "block-max": Formulas(
        "0",
        _ALL_SCORES.read,
        _ALL_SCORES.flops,
        "an oracle without an index: every key is read to find the best blocks",
    ),
    "shard-union": replace(_ALL_SCORES, note="reads every key; keeps up to P times the budget"),
    "shard-share": replace(_ALL_SCORES, note="reads every key, and spares the merge over shards"),
    "quantised": Formulas("width", "n*width + kept", "2*n*d + kept", "index: a narrow copy of the keys"),
    "sparq": Formulas("2*d", "2*n*r + kept", "2*n*r + kept", "index: the keys again, channel by channel"),
    "loki": Formulas("0", "2*n*r + kept", "2*n*r + 2*d^2 + kept", "keys are stored rotated to their principal axes"),
    "double-sparsity": Formulas(
        "r/2 + 4", "n*(r/2 + 4) + kept", "2*n*r + kept", "index: the chosen channels in four bits, with a scale"
    ),
    "pq": Formulas(
        "parts*bits/8",
        "n*parts*bits/8 + 2^(bits + 1)*d + kept",
        "2^(bits + 1)*d + n*parts + kept",
        "index: a code per part; a query reads the centroids once, then adds up one product for each code",
    ),
    "clusters": Formulas("4", "2*c*d + kept", "2*c*d + kept", "index: lists of the clusters' keys"),
    "infllm": Formulas(
        "2*d*keys/block", "2*n*d*keys/block + kept", "2*n*d*keys/block + kept", "index: representatives of each block"
    ),
    "key-norm": _BLIND,
    "key-diff": _BLIND,
    "expected": _BLIND,
    "snapkv": _OBSERVED,
    "h2o": _OBSERVED,
    "vertical-slash": replace(
        _OBSERVED, index="8", note="index: a sum per column and per diagonal, of earlier queries"
    ),
    "xattention": replace(
        _OBSERVED,
        index="4/block",
        note="index: a sum per block, of queries of the same block; rows of it share its making",
    ),
    "socket": Formulas(
        "2*L", "2*n*L + kept", "2*K*L*d + 2*n*L + kept", "index: a word of K bits per table, looked up in all of them"
    ),
    "vattention": Formulas(
        "0",
        _ALL_SCORES.read,
        _ALL_SCORES.flops,
        "reads every key to find the best ones; an index in their place costs its own",
    ),
    "magicpig": Formulas(
        "2*L", "2*n*L + kept", "2*K*L*d + n*L + kept", "index: a word of K bits per table, all of them compared"
    ),
    "twilight": Formulas(
        "4*d/page + d/2 + 4",
        "4*n*d/page + budget*(d/2 + 4) + kept",
        "4*n*d/page + 2*budget*d + kept",
        "index: Quest's, and a copy in four bits; k: kept keys; budget = 0 stands for the law's k, at least those",
    ),
    "threshold": replace(_ALL_SCORES, note="reads every key, or what it estimates scores by; k: kept keys"),
    "file": Formulas(
        "2*w", "2*n*w + 2*H*w + kept", "2*n*H*w + 2*n*H + kept", "index: keys of width w; a query has H index queries"
    ),
}
_DEFAULTS = {
    "quest": {"page": "16"},
    "block-mean": {"block": "64"},
    "block-max": {"block": "128"},
    "shard-union": {"P": "8"},
    "shard-share": {"P": "8"},
    "quantised": {"format": "int8"},
    "sparq": {"r": "d/8"},
    "loki": {"r": "d/4"},
    "double-sparsity": {"r": "d/16"},
    "pq": {"parts": "2", "bits": "6"},
    "clusters": {"c": "256"},
    "infllm": {"block": "128", "keys": "4"},
    "xattention": {"block": "128", "stride": "16"},
    "socket": {"K": "11", "L": "55"},
    "vattention": {"epsilon": "0.1", "delta": "0.1"},
    "magicpig": {"K": "10", "L": "150"},
    "twilight": {"budget": "0", "p": "0.85", "page": "16"},
    "threshold": {"theta": "1/n", "by": "score"},
    "file": {"H": "0", "w": "0"},
}
# What a value by itself is of, where it is neither the first of those nor, without any, `sinks`.
_FIRST = {"vattention": "sinks", "snapkv": "queries", "h2o": "queries", "vertical-slash": "queries", "file": "name"}
# Bytes per key of a copy in that format: with a scale of four bytes per vector where it has one.
WIDTHS = {"fp32": "4*d", "bf16": "2*d", "fp8": "d + 4", "int8": "d + 4", "int4": "d/2 + 4"}


def parameters_of(selector: str) -> tuple[str, dict[str, str]]:
    """Name and parameters of a selector as `study --selectors` takes it, with those that it leaves out."""
    name, *parts = selector.split(":")
    usual = _DEFAULTS.get(name, {})
    first = _FIRST.get(name) or next(iter(usual), "sinks")
    given = (part.partition("=") for part in parts)
    return name, usual | {key if mark else first: value if mark else key for key, mark, value in given}


def order_of(selector: str) -> tuple[int, str]:
    """For sorting: exact top-k, the others as FORMULAS has them, then those without formulas."""
    names = list(FORMULAS)
    name = selector.split(":")[0]
    return (names.index(name) if name in names else len(names), selector)


def page_of(selector: str) -> int:
    """Keys that are read together."""
    _, parameters = parameters_of(selector)
    return int(parameters.get("page", parameters.get("block", "1")))


@lru_cache(maxsize=256)
def _formula(text: str) -> Callable[..., float]:
    return laws.formula(text, _NAMES, {})


def _channels(text: str, d: int) -> float:
    share = text.removeprefix("d/")
    return float(d if text == "d" else max(1, d // int(share)) if share != text else int(text))


def _words(text: str, parameters: Mapping[str, str], own_width: bool) -> str:
    kept, values = ("2*k*(d + v)", "2*k*v") if own_width else ("4*k*d", "2*k*d")
    text = text.replace("kept", kept).replace("values", values)
    if "width" in text:
        width = WIDTHS[parameters["format"]]
        text = text.replace("n*width", f"({width})*n" if "+" in width else f"{width}*n").replace("width", width)
    return text.replace("*", "·")


@dataclass(frozen=True)
class Costs:
    """Of one selector: formulas in words, and their values."""

    selector: str
    parameters: Mapping[str, str]
    formulas: Formulas
    d_v: int = 0  # width of the values; 0: that of the keys

    def _value(self, text: str, n: float, d: int, k: float) -> float:
        numbers = [float(self.parameters.get(name, "1")) for name in _PARAMETERS]
        channels = _channels(self.parameters.get("r", "d"), d)
        width = 0.0
        if "format" in self.parameters:
            width = float(_formula(WIDTHS[self.parameters["format"]])(n, d, k, *numbers, channels, *[0.0] * 4))
        budget = min(float(self.parameters.get("budget", "0")) or k, n)
        values = 2.0 * k * (self.d_v or d)
        more = (channels, width, budget, 2.0 * k * d + values, values)
        return float(_formula(text)(n, float(d), k, *numbers, *more))

    def index_bytes_per_key(self, d: int) -> float:
        return self._value(self.formulas.index, 1.0, d, 1.0)

    def bytes_read(self, n: float, d: int, k: float) -> float:
        """Per query and head, with k keys kept."""
        return self._value(self.formulas.read, n, d, k)

    def flops(self, n: float, d: int, k: float) -> float:
        return self._value(self.formulas.flops, n, d, k)

    @property
    def with_words(self) -> str:
        """The parameters that the formulas are of."""
        return ", ".join(f"{name} = {self.parameters[name]}" for name in _DEFAULTS.get(self.selector.split(":")[0], {}))

    @property
    def words(self) -> tuple[str, str, str]:
        """Index bytes per key, bytes read and operations per query."""
        texts = (self.formulas.index, self.formulas.read, self.formulas.flops)
        index, read, flops = (_words(text, self.parameters, self.d_v > 0) for text in texts)
        return index, read, flops


def bytes_words(value: float) -> str:
    """With a decimal prefix: 8.39 MB."""
    for size, prefix in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} B"


def share_words(share: float, digits: int = 2) -> str:
    """In percent, however small it is: 38%, 0.33%, 0.0012%."""
    return f"{share:.{digits - 2}%}" if share >= 0.0995 else f"{100.0 * share:.{digits}g}%"


def dense_bytes(n: float, d: int, d_v: int = 0) -> float:
    """What attention to all keys reads per query and head; d_v: width of the values, 0 for that of the keys."""
    return 2.0 * n * (d + (d_v or d))


def costs_of(selector: str, index: tuple[int, int] = (0, 0), d_v: int = 0) -> Costs | None:
    """None for a selector, or a value of its parameters, without formulas.

    index: heads and width of the trained indexer that `file` goes by. d_v: width of the values, 0 for that of the keys.
    """
    name, parameters = parameters_of(selector)
    if name == "file":
        parameters |= {"H": str(index[0]), "w": str(index[1])}
    if name not in FORMULAS or (name == "file" and index[1] < 1):
        return None
    if name == "threshold" and (by := parameters["by"]) != EXACT:
        name = "quantised" if by in WIDTHS else by
        parameters = _DEFAULTS.get(name, {}) | parameters | ({"format": by} if by in WIDTHS else {})
    costs = Costs(selector, parameters, FORMULAS[name], d_v)
    try:
        costs.bytes_read(1024.0, 64, 16.0)
    except (ValueError, KeyError, ZeroDivisionError):
        return None
    return costs
