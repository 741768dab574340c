"""Bias against variance: how far a noisy gradient with a fixed step stays from the minimum of A + C, for each λ.

Near its end training sees quadratics: A = ½aθ² and C = ½b(θ - m)². theta follows θ ← θ - η(A' + λ(C' + ξ)) where the
noise ξ of the estimate of C' has variance V and mean 0. It settles around θ_λ = λbm/h, h = a + λb, with variance
ηλ²V / (h(2 - ηh)), so that the mean of A + C stays above its minimum by

    ½(a + b) [ (ab m (1-λ) / (h (a + b)))² + ηλ²V / (h(2 - ηh)) ]:

a bias that λ = 1 has not, and a variance that λ = 0 has not.
"""

import math

from scipy.optimize import minimize_scalar

from condkl._checks import unit_interval


def steady_excess(lam: float, step: float, variance: float, a: float = 1.0, b: float = 1.0, m: float = 1.0) -> float:
    """By how much the mean of A + C stays above its minimum, in nats.

    Args:
        lam: λ, the weight of C in theta's gradient.
        step: η, above 0 and below 2/(a + b), where training breaks.
        variance: V, of the estimate of C's gradient.
        a, b, m: the curvatures of A and C, above 0, and how far their minima are apart.

    A ValueError says which argument is out of its range.

    Example:
        >>> [round(steady_excess(lam, step=0.1, variance=30.0), 2) for lam in (0.0, 0.19, 1.0)]
        [0.25, 0.16, 0.83]
    """
    unit_interval("lam", lam)
    _check(step, variance, a, b, m)
    sharp = a + lam * b
    bias = a * b * m * (1 - lam) / (sharp * (a + b))
    spread = step * lam**2 * variance / (sharp * (2 - step * sharp))
    return (a + b) * (bias**2 + spread) / 2


def best_weight(step: float, variance: float, a: float = 1.0, b: float = 1.0, m: float = 1.0) -> float:
    """The λ in [0, 1] of the least `steady_excess`, to 1e-6: 1 without noise, and towards 1 as the step shrinks.

    Example:
        >>> [round(best_weight(step, variance=30.0), 2) for step in (0.1, 0.01, 0.001)]
        [0.19, 0.61, 0.92]
    """
    _check(step, variance, a, b, m)
    found = minimize_scalar(
        lambda lam: steady_excess(min(1.0, max(0.0, float(lam))), step, variance, a, b, m),
        bounds=(0.0, 1.0),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return float(found.x)


def _check(step: float, variance: float, a: float, b: float, m: float) -> None:
    if not (0 < a < math.inf and 0 < b < math.inf):
        raise ValueError(f"a, b: expected curvatures above 0, got {a!r}, {b!r}.")
    if not 0 < step < 2 / (a + b):
        raise ValueError(f"step: expected one above 0 and below 2/(a + b) = {2 / (a + b):g}, got {step!r}.")
    if not 0 <= variance < math.inf:
        raise ValueError(f"variance: expected a finite number of 0 or more, got {variance!r}.")
    if not math.isfinite(m):
        raise ValueError(f"m: expected a finite number, got {m!r}.")
