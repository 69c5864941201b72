"""A quantity of a series by its name, fitted over n."""

from __future__ import annotations

from ..io.series import Series
from .exponents import FitError, PowerFit, fit_power
from .quantities import AT_K, AT_THRESHOLD, K_EPSILON, QUANTITIES, Parameter, Quantity, points, points_of_law


def _allowed(series: Series, quantity: Quantity) -> tuple[Parameter, ...]:
    """What `at` may be; nothing where the quantity takes none."""
    if quantity in AT_K:
        return series.k_laws
    if quantity in AT_THRESHOLD:
        return series.thresholds
    return series.epsilons if quantity is K_EPSILON else ()


def fit_law(series: Series, quantity: str = "tail_mass", at: Parameter = None) -> PowerFit:
    """Fit quantity = prefactor * n^exponent over the VALID cases of a series, weighted by standard errors over draws.

    `quantity` is a name of asymptop.QUANTITIES. `at` is what it is taken at: a law of k as the study has it ("n^0.5")
    for errors, an epsilon (0.01) for `k_epsilon`, a threshold ("1/n") for counts, nothing for the others. All are
    without unit: shares of a row's mass, or numbers of keys.

    `interval` is the 95% bootstrap interval of `exponent` over draws, wider where the line bends; `local_slopes` are
    the slopes between neighbouring n; `used` and `excluded` the points (n, one value per draw) that entered or did
    not, as those with k = n. Raises FitError for a name or `at` that the series does not have, and below two usable n.
    """
    if quantity not in QUANTITIES:
        raise FitError(f"quantity is '{quantity}', allowed are {', '.join(QUANTITIES)}")
    chosen = QUANTITIES[quantity]
    allowed = _allowed(series, chosen)
    if at not in (allowed or (None,)):
        raise FitError(f"at is {at!r} for {quantity} of '{series.title}', allowed is {allowed or None}")
    found = points_of_law(series, chosen, str(at)) if chosen in AT_K else points(series, chosen, at)
    return fit_power(found)
