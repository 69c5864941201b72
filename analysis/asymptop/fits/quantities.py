"""Quantities: what is read per draw, how it is written, and what i.i.d. Gaussian logits expect of it at finite n.

A quantity that depends on k, epsilon or a threshold gets it as `parameter`. `power` is applied to the mean over
draws: a Frobenius norm is the root of a mean square.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from ..io.reader import Case
from ..io.schema import LARGEST_ERROR, ROW_ERROR
from ..io.series import Series
from ..theory import finite_size, laws
from ..theory.finite_size import Profile
from ..theory.statistics import Array, mean_over_rows
from .exponents import Point

Parameter = int | float | str | None

# Fewer expected entries than this say nothing about a quantile.
_FEWEST_COUNTED = 1.0


def _taken_at(parameter: Parameter) -> int | float | str:
    if parameter is None:
        raise TypeError("this quantity is taken at a k or an epsilon, and got none")
    return parameter


def keys_of(parameter: Parameter) -> int:
    """The k of a quantity that depends on one, to 2^62 exactly. Raises TypeError where there is none."""
    return int(_taken_at(parameter))


def number_of(parameter: Parameter) -> float:
    """An epsilon. Raises TypeError where there is none."""
    return float(_taken_at(parameter))


@dataclass(frozen=True)
class Quantity:
    name: str
    words: str
    symbol: str
    norm: str
    draw_values: Callable[[Case, Parameter], Array]
    log_expected: Callable[[Profile, Parameter, float], float] | None = None
    power: float = 1.0
    dataset: str = ""

    def present(self, case: Case) -> bool:
        return case.has(self.dataset or self.name)


def _at_k(name: str) -> Callable[[Case, Parameter], Array]:
    return lambda case, k: case.draw_means(name)[:, case.k_index(keys_of(k))]


def _plain(name: str) -> Callable[[Case, Parameter], Array]:
    return lambda case, _: case.draw_means(name)


def _mean_square_over_n(case: Case, k: Parameter) -> Array:
    """(1/n)^2 ‖A - A_hat‖_F^2 of an n x n matrix whose rows are like the measured ones."""

    def squares() -> Array:
        values = case.values(ROW_ERROR)
        case.kept(ROW_ERROR, lambda: mean_over_rows(values))  # a claim about it comes next
        return mean_over_rows(np.square(values))

    return case.kept("row_l2_squared", squares)[:, case.k_index(keys_of(k))] / case.n


def _effective_entries(case: Case, _: Parameter) -> Array:
    return case.kept("exp_entropy", lambda: mean_over_rows(np.exp(case.values("entropy_nats"))))


def _k_epsilon(case: Case, epsilon: Parameter) -> Array:
    return case.draw_means("k_epsilon")[:, list(case.epsilon).index(epsilon)]


def _count_above(case: Case, threshold: Parameter) -> Array:
    return case.draw_means("count_p_above")[:, case.threshold.index(str(threshold))]


def _share_above(case: Case, threshold: Parameter) -> Array:
    def shares() -> Array:
        return mean_over_rows(case.values("count_p_above") / np.maximum(case.values("row_n"), 1)[:, :, None])

    return case.kept("share_p_above", shares)[:, case.threshold.index(str(threshold))]


def _largest_score(case: Case, _: Parameter) -> Array:
    def scores() -> Array:
        centred = case.values("logit_max").astype(float) - case.values("logit_mean")
        return mean_over_rows(centred / case.values("sigma_i"))

    return case.kept("largest_score", scores)


def _exceedance(case: Case, threshold: Parameter) -> Array:
    """Entries with p > t over what normal logits of each row's own mean, sigma and log-sum-exp give."""

    def ratios() -> Array:
        log_sum_exp, mean, sigma = (case.values(name) for name in ("log_sum_exp", "logit_mean", "sigma_i"))
        row_n, counts = case.values("row_n"), case.values("count_p_above")
        found = []
        for column, log_t in enumerate(np.log(case.threshold_value)):
            expected = mean_over_rows(row_n * scipy.special.ndtr(-(log_t + log_sum_exp - mean) / sigma))
            mean_expected = np.mean(expected)
            usable = mean_expected >= _FEWEST_COUNTED
            found.append(mean_over_rows(counts[:, :, column]) / (mean_expected if usable else np.nan))
        return np.stack(found, axis=1)

    return case.kept("exceedance_over_normal", ratios)[:, case.threshold.index(str(threshold))]


TAIL_MASS = Quantity(
    "tail_mass",
    "tail mass",
    r"\tau_k",
    "total variation",
    _at_k("tail_mass"),
    lambda row, k, n: finite_size.tail_mass(row, keys_of(k), log=True),
)
ROW_L2_ERROR = Quantity(
    ROW_ERROR,
    "row ℓ2 error",
    r"\Vert p-\hat p\Vert_2",
    "row ℓ2",
    _at_k(ROW_ERROR),
    lambda row, k, n: finite_size.row_error(row, keys_of(k), log=True),
)
ROW_LINF_ERROR = Quantity(
    LARGEST_ERROR,
    "row ℓ∞ error",
    r"\Vert p-\hat p\Vert_\infty",
    "row ℓ∞",
    _at_k(LARGEST_ERROR),
    lambda row, k, n: finite_size.row_linf_error(row, keys_of(k), log=True),
)
FROBENIUS_OVER_N = Quantity(
    "frobenius_over_n",
    "Frobenius norm / n",
    r"\Vert A-\hat A\Vert_F/n",
    "(1/n) Frobenius",
    _mean_square_over_n,
    lambda row, k, n: finite_size.row_l2_squared(row, keys_of(k), log=True) - float(np.log(n)),
    power=0.5,
    dataset=ROW_ERROR,
)
SPECTRAL_OVER_N = Quantity(
    "spectral_error",
    "spectral norm / n",
    r"\Vert A-\hat A\Vert_2/n",
    "(1/n) spectral",
    _at_k("spectral_error"),
)
OUTPUT_ERROR = Quantity(
    "output_error_relative",
    "relative output error",
    r"\Vert (p-\hat p)V\Vert_2/\Vert pV\Vert_2",
    "relative output ℓ2",
    _at_k("output_error_relative"),
    lambda row, k, n: finite_size.output_error_relative(row, keys_of(k), log=True),
)
K_EPSILON = Quantity(
    "k_epsilon",
    "k needed for tail mass ε",
    r"k_\varepsilon",
    "total variation",
    _k_epsilon,
    lambda row, epsilon, n: finite_size.k_epsilon(row, number_of(epsilon), log=True),
)
PARTICIPATION_RATIO = Quantity(
    "participation_ratio",
    "participation ratio",
    r"1/\Sigma\,p^2",
    "",
    _plain("participation_ratio"),
    lambda row, _, n: finite_size.participation_ratio(row, log=True),
)
EFFECTIVE_ENTRIES = Quantity(
    "exp_entropy",
    "exp(entropy)",
    r"\exp H(p)",
    "",
    _effective_entries,
    lambda row, _, n: finite_size.exp_entropy(row, log=True),
    dataset="entropy_nats",
)
SUM_P_SQUARED = Quantity(
    "sum_p_squared",
    "sum of squared p",
    r"\Sigma\,p^2",
    "",
    _plain("sum_p_squared"),
    lambda row, _, n: finite_size.sum_p_squared(row, log=True),
)
LARGEST_SCORE = Quantity(
    "largest_score",
    "largest logit over σ",
    r"\max_j s_{ij}/\sigma_i",
    "",
    _largest_score,
    lambda row, _, n: finite_size.largest_score(row, log=True),
    dataset="logit_max",
)
EXCEEDANCE = Quantity(
    "exceedance_over_normal",
    "number of logits beyond a quantile, over a normal's",
    "",
    "",
    _exceedance,
    dataset="count_p_above",
)
REGRET = Quantity(
    "regret", "tail mass beyond the best set's", r"\tau - \tau_{\rm best}", "total variation", _at_k("regret")
)
RECALL = Quantity("recall", "share of the best set that is kept", "", "", _at_k("recall"))
KEPT = Quantity("kept", "number of keys that are kept", "", "", _at_k("kept"))
DENOMINATOR_ERROR = Quantity(
    "denominator_error",
    "relative error of the weighted denominator",
    r"|\hat D/D-1|",
    "",
    _at_k("denominator_error"),
)
P_MAX = Quantity(
    "p_max",
    "largest entry",
    r"p_{\max}",
    "",
    _plain("p_max"),
    lambda row, _, n: finite_size.p_max(row, log=True),
)
COUNT_P_ABOVE = Quantity(
    "count_p_above",
    "number of entries above a threshold",
    r"\#\{p>t\}",
    "",
    _count_above,
    lambda row, t, n: finite_size.count_p_above(row, laws.evaluate(str(t), n), log=True),
)
SHARE_ABOVE = Quantity("share_p_above", "share of entries above ε", "", "", _share_above, dataset="count_p_above")

QUANTITIES: dict[str, Quantity] = {
    value.name: value for value in list(globals().values()) if isinstance(value, Quantity)
}
ERRORS = (TAIL_MASS, ROW_L2_ERROR, ROW_LINF_ERROR, FROBENIUS_OVER_N)


OF_SELECTORS = (REGRET, RECALL, KEPT, DENOMINATOR_ERROR)
AT_K = (*ERRORS, SPECTRAL_OVER_N, OUTPUT_ERROR, *OF_SELECTORS)
AT_THRESHOLD = (COUNT_P_ABOVE, SHARE_ABOVE, EXCEEDANCE)


def has_parameter(case: Case, quantity: Quantity, parameter: Parameter) -> bool:
    """Whether this case measured the quantity at this k law, epsilon or threshold."""
    if not quantity.present(case):
        return False
    if quantity in AT_THRESHOLD:
        return parameter in case.threshold
    if quantity is K_EPSILON:
        return bool(np.any(case.epsilon == parameter))
    return True


def points(series: Series, quantity: Quantity, parameter: Parameter = None) -> list[Point]:
    """One point per n at a fixed epsilon or threshold, or for a quantity without a parameter."""
    return [
        Point(case.n, quantity.draw_values(case, parameter), quantity.power, paired=case.paired)
        for case in series.cases
        if has_parameter(case, quantity, parameter)
    ]


def points_of_law(series: Series, quantity: Quantity, law: str) -> list[Point]:
    """One point per n with k = law(n). A k clipped to n, where the error is 0, is kept out of every logarithm."""
    found = []
    for case in series.cases:
        if law in case.k_law and quantity.present(case):
            k = int(case.k_of_law[case.k_law.index(law)])
            clipped = "k = n" if k >= case.n else ""
            found.append(Point(case.n, quantity.draw_values(case, k), quantity.power, clipped, case.paired))
    return found


def k_of_law(case: Case, law: str) -> int:
    return int(case.k_of_law[case.k_law.index(law)])


def expected_draw_values(case: Case, quantity: Quantity, parameter: Parameter) -> Array | None:
    """Expectation over i.i.d. Gaussian logits at every row's own sigma_i, averaged per draw (before `power`)."""
    log_expected = quantity.log_expected
    if log_expected is None:
        return None

    def compute() -> Array:
        return finite_size.draw_means(case.n, case.sigma_i, lambda row: log_expected(row, parameter, case.n))

    return case.kept((quantity.name, parameter, "expected"), compute)
