"""What an upper layer is worth that a Gaussian cannot replace, and from which λ on it survives: two clusters.

v = ±1 with even odds, u|v ~ N(av, β), x|u ~ N(wu, σ²), with a, w and β learned, and x from two clusters
½N(m, s²) + ½N(-m, s²). phi and theta are where they stop: q(u|v,x) = p(u|v,x), and q_λ(v|x) ∝ p(v) p(x|v)^ρ, with
g = wa, D = σ² + βw² and ρ = (σ² + λβw²)/D. Where the model's field is zero

    g = E x tanh(ρgx/D),    D = m² + s² - g².

g = 0 is a solution at every λ: the best Gaussian, the layer lost. For λ < 1 it attracts what is near it. The other
one, if there is one, is a layer that survives.
"""

import math

import numpy as np
from scipy.optimize import brentq

from condkl._checks import unit_interval

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(100)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_ITERATIONS, _STILL = 100_000, 1e-12


def loading(separation: float, lam: float, sigma2: float, spread: float = 1.0, start: float | None = None) -> float:
    """The g at which the model stops from a start, by g ← E x tanh(ρgx/D), which is the step of EM at λ = 1.

    Args:
        separation: m, half the distance of the clusters, above 0.
        lam: λ, the weight of the conditional KL in theta's gradient.
        sigma2: σ², the variance of the decoder's noise, from 0 to below s².
        spread: s, the standard deviation of a cluster, above 0.
        start: g there, from 0 to m; m if None, the layer of the truth.

    Returns:
        0 where the layer is lost. A ValueError says which argument is out of its range.

    Example:
        >>> [round(loading(2.0, lam, sigma2=0.2), 3) for lam in (1.0, 0.75, 0.5)]
        [2.0, 1.978, 0.0]
    """
    unit_interval("lam", lam)
    _check(separation, sigma2, spread)
    g = separation if start is None else start
    if not 0 <= g <= separation:
        raise ValueError(f"start: expected a loading from 0 to separation = {separation:g}, got {start!r}.")
    x, total = separation + spread * _NODES, separation**2 + spread**2
    for _ in range(_ITERATIONS):
        D = total - g**2
        tempered = (sigma2 + lam * (D - sigma2)) / D
        last, g = g, float(_WEIGHTS @ (x * np.tanh(tempered * g * x / D)))  # even in x: one cluster is enough
        if abs(g - last) <= _STILL or g < 1e-6:
            break
    return g if g > 1e-3 * separation else 0.0


def worth(g: float, separation: float, spread: float = 1.0) -> float:
    """By how much E_x log p(x) at loading g and D = m² + s² - g² is above that of the best Gaussian, in nats.

    At g = m it is what a layer can be worth: ½ log(1 + m²/s²) - log 2 where the clusters are far apart.

    Example:
        >>> [round(worth(m, m), 3) for m in (1.0, 2.0, 4.0)]
        [0.01, 0.172, 0.724]
    """
    _check(separation, 0.0, spread)
    if not 0 <= g <= separation:
        raise ValueError(f"g: expected a loading from 0 to separation = {separation:g}, got {g!r}.")
    x, D = separation + spread * _NODES, separation**2 + spread**2 - g**2
    log_p = np.logaddexp(-((x - g) ** 2) / (2 * D), -((x + g) ** 2) / (2 * D)) - math.log(2) - math.log(D) / 2
    return float(_WEIGHTS @ log_p + (1 + math.log(separation**2 + spread**2)) / 2)


def least_weight(separation: float, sigma2: float, spread: float = 1.0) -> float:
    """The λ from which on a layer that starts at the truth survives, to 1e-4; 0 if it does under eq. (9).

    Example:
        >>> [round(least_weight(m, sigma2=0.2), 2) for m in (1.0, 2.0, 4.0)]
        [0.95, 0.63, 0.09]
    """
    _check(separation, sigma2, spread)

    def survives(lam: float) -> float:
        return 1.0 if loading(separation, lam, sigma2, spread) else -1.0

    return 0.0 if survives(0.0) > 0 else float(brentq(survives, 0.0, 1.0, xtol=1e-4))


def _check(separation: float, sigma2: float, spread: float) -> None:
    if not (0 < separation < math.inf and 0 < spread < math.inf):
        raise ValueError(f"separation, spread: expected numbers above 0, got {separation!r}, {spread!r}.")
    if not 0 <= sigma2 < spread**2:
        raise ValueError(f"sigma2: expected a variance from 0 to below spread² = {spread**2:g}, got {sigma2!r}.")
