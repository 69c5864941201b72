"""Keys whose estimated share of the softmax reaches a threshold, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from selector_reference import quantised

Array = NDArray[np.float64]
Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Threshold:
    """theta, or theta / n; of the largest weight or of their sum; of scores in a narrow format, or of true ones."""

    theta: float
    of_n: bool = False
    of_largest: bool = False
    by: str = "score"
    sinks: int = 0
    recent: int = 0

    def kept(
        self, q: Array, keys: Array, sigma: float, cap: float = 0.0, sink: float = -np.inf, bias: Array | float = 0.0
    ) -> Keys | None:
        """q, keys: in the unit of logits at sigma = 1; bias: added to logits. None where rounding may decide."""
        n = len(keys)
        s = keys @ q if self.by == "score" else quantised(keys, self.by) @ quantised(q[None], self.by)[0]
        s = sigma * ((cap * np.tanh(s / cap) if cap > 0.0 else s) + bias)
        e = np.exp(s - s.max())
        share = e if self.of_largest else e / (e.sum() + np.exp(sink - s.max()))
        theta = min(self.theta / (n if self.of_n else 1), float(share.max()))
        if np.any((np.abs(share / theta - 1.0) < 1e-5) & (share < share.max())):
            return None
        first = min(self.sinks, n)
        forced = (np.arange(n) < first) | (np.arange(n) >= max(first, n - self.recent))
        return np.flatnonzero((share >= theta) | forced)


THRESHOLDS = {
    "threshold": Threshold(1.0, of_n=True),
    "threshold:theta=0.2:of=largest:by=int4:sinks=40:recent=2": Threshold(0.2, False, True, "int4", 40, 2),
    "threshold:1.5/n:by=fp8:recent=1": Threshold(1.5, True, False, "fp8", 0, 1),
    "threshold:0.9": Threshold(0.9),
}
