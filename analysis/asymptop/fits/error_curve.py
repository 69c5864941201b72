"""The error of a case as a function of k, between the k that were stored.

The file holds every law's k and a log grid. Between two stored k the logarithm of the error is linear in log k. At
k = n the error is 0; between the largest stored k and n it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..io.reader import Case, keeps_by_rule
from ..io.schema import EXACT
from ..theory.statistics import Array
from .quantities import Quantity


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """`log_error` is (draw, k): logarithms of the draws' means over rows, -inf where a mean is 0."""

    n: int
    log_k: Array
    log_error: Array

    def at(self, k: Array) -> Array:
        """(draw, k): the error of each draw; NaN for a k that lies between the largest stored one and n, or below 1."""
        wanted = np.log(np.atleast_1d(np.asarray(k, dtype=float)))
        right = np.clip(np.searchsorted(self.log_k, wanted - 1e-12), 1, len(self.log_k) - 1)
        left = right - 1
        share = (wanted - self.log_k[left]) / (self.log_k[right] - self.log_k[left])
        with np.errstate(invalid="ignore"):
            logs = self.log_error[:, left] * (1.0 - share) + self.log_error[:, right] * share
        # A zero at one end leaves no logarithm: the other end bounds the error.
        logs = np.where(np.isfinite(logs), logs, np.maximum(self.log_error[:, left], self.log_error[:, right]))
        values = np.where(np.isneginf(logs), 0.0, np.exp(logs))
        # A law is rounded to the stored k: half a key beyond the last one is still that one.
        last = np.log(np.exp(self.log_k[-1]) + 0.5)
        outside = (wanted > last) | (wanted < -1e-9)
        values = np.where(outside[None, :], np.nan, values)
        return np.where(wanted[None, :] >= np.log(self.n - 0.5), 0.0, values)


def error_curve(case: Case, quantity: Quantity) -> ErrorCurve:
    """The curve of a quantity that the case holds at every k."""

    def columns() -> Array:
        return np.stack([quantity.draw_values(case, int(k)) for k in case.k], axis=1)

    values = case.kept((quantity.name, "curve"), columns) ** quantity.power
    with np.errstate(divide="ignore"):
        return ErrorCurve(case.n, np.log(case.k.astype(float)), np.log(values))


def keys_for_mean(case: Case, quantity: Quantity, epsilon: float) -> Array | None:
    """(draw,): keys kept where the mean of an error over the rows of a draw first is at most epsilon, one budget for
    all of them. Of a selector these are means of what it keeps; of one that keeps by a rule, where its mean error is at
    most epsilon.

    Between stored k it is interpolated. None where the case lacks the error, or a draw is over epsilon at every k.
    """
    if not len(case.k) or not quantity.present(case):
        return None
    curve = error_curve(case, quantity)
    exact = case.selector == EXACT
    stored = case.k.astype(float)
    kept = np.broadcast_to(stored, curve.log_error.shape) if exact else case.draw_means("kept")
    if keeps_by_rule(case.selector):
        return kept[:, -1] if np.exp(curve.log_error[:, -1]).mean() <= epsilon else None
    reached = curve.log_error <= np.log(epsilon)
    if not np.all(reached.any(axis=1)):
        return None
    draws, first = np.arange(case.draws), reached.argmax(axis=1)
    before = np.maximum(first - 1, 0)
    low, high = curve.log_error[draws, first], curve.log_error[draws, before]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where((first == 0) | np.isneginf(low), 1.0, (high - np.log(epsilon)) / (high - low))
    logs = np.log(np.maximum(kept, 1.0))
    return np.exp(logs[draws, before] + share * (logs[draws, first] - logs[draws, before]))


def needed_keys(case: Case, quantity: Quantity, epsilon: float) -> Array | None:
    """(draw,): mean over rows of the k at which the error first is at most epsilon.

    Between stored k it is interpolated, not rounded. A row that no stored k brings down to epsilon leaves it open.
    """
    if len(case.k) < 2 or not quantity.present(case):
        return None
    # The dataset is large, its means are not: every figure asks for the same ones.
    return case.kept((quantity.name, epsilon, "needed keys"), lambda: _needed_keys(case, quantity, epsilon))


def _needed_keys(case: Case, quantity: Quantity, epsilon: float) -> Array | None:
    values = case.values(quantity.dataset or quantity.name).astype(float)
    reached = values <= epsilon
    if not np.all(reached.any(axis=2)):
        return None
    first = reached.argmax(axis=2)
    before = np.maximum(first - 1, 0)
    high = np.take_along_axis(values, before[:, :, None], 2)[:, :, 0]
    low = np.take_along_axis(values, first[:, :, None], 2)[:, :, 0]
    logs = np.log(case.k.astype(float))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.log(high / epsilon) / np.log(high / np.maximum(low, 1e-300))
    share = np.where(first == 0, 1.0, np.clip(np.nan_to_num(share, nan=1.0), 0.0, 1.0))
    keys = np.exp(logs[before] + share * (logs[first] - logs[before]))
    return keys.mean(axis=1)
