"""The explorer of the tempered posterior: where eq. (9) leaves q(v|x) in the linear Gaussian VAE of chapter 4."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from condkl.linear import elbo_gap, exact_posterior, rho, tempered_posterior
from condkl_book.explorers.tables import Array, Axis, Explorer, Panel, Series, slider, whole_ticks

SLOPE, DATUM = 1.5, 1.3
VARIANCES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LAMBDA_VALUES = tuple(k / 10 for k in range(11))
V = torch.linspace(-3, 3, 121, dtype=torch.float64)
V_AXIS = Axis("v", -3, 3, whole_ticks(-3, 3))
DENSITY_AXIS = Axis("density of v", 0, 2, {"0": 0.0, "0.5": 0.5, "1": 1.0, "1.5": 1.5, "2": 2.0})
LAMBDA_AXIS = Axis("λ", -0.03, 1.03, {"0": 0.0, "0.5": 0.5, "1": 1.0})
GAP_AXIS = Axis("ELBO lost (nats)", -0.04, 1.3, {"0": 0.0, "0.4": 0.4, "0.8": 0.8, "1.2": 1.2})


def tempering() -> Explorer:
    """The exact and the tempered posterior of v at one x, and the ELBO lost, under σ², β and λ."""
    two, three = ("sigma2", "beta"), ("sigma2", "beta", "lam")
    posteriors = (
        Series("prior p(v)", "muted", "dotted", (), _bells(torch.zeros(1), torch.ones(1))),
        Series("eq. (9), λ = 0", "modified", "line", two, _posteriors([0.0])),
        Series("exact, λ = 1", "exact", "line", two, _posteriors([1.0])),
        Series("your λ", "interpolated", "dashed", three, _posteriors(LAMBDA_VALUES)),
    )
    gaps = (
        Series("", "exact", "line", two, _gaps(np.linspace(0, 1, 61).tolist(), together=61)),
        Series("", "interpolated", "dot", three, _gaps(LAMBDA_VALUES)),
    )
    controls = (
        slider("sigma2", "variance σ² of x", VARIANCES, opens=0.2),
        slider("beta", "variance β of u", VARIANCES, opens=0.5),
        slider("lam", "your λ", LAMBDA_VALUES, opens=0.2),
    )
    panels = (
        Panel("Densities of v: prior, eq. (9), exact posterior, and your λ.", V_AXIS, DENSITY_AXIS, posteriors),
        Panel("ELBO lost against λ, with a dot at your λ.", LAMBDA_AXIS, GAP_AXIS, gaps),
    )
    sigma2, beta, lam = _positions(LAMBDA_VALUES)
    own, exact = tempered_posterior(DATUM, SLOPE, beta, sigma2, lam), exact_posterior(DATUM, SLOPE, beta, sigma2)
    power, lost = rho(lam, beta, sigma2), elbo_gap(DATUM, SLOPE, beta, sigma2, lam)
    numbers = torch.stack([sigma2, beta, lam, power, *own, *exact, lost], dim=1)
    sentences = tuple(
        f"σ² = {s:g}, β = {b:g}, λ = {weight:g}: ρ = {r:.2f}. Training stops at mean {mean:z.2f} and variance "
        f"{variance:.2f}; the exact posterior has {m:z.2f} and {t:.2f}. The ELBO loses {gap:z.3f} nats."
        for s, b, weight, r, mean, variance, m, t, gap in numbers.tolist()
    )
    return Explorer(controls, panels, sentences)


def _positions(lams: Sequence[float]) -> tuple[Tensor, ...]:
    """σ², β and λ at every position, each of shape (n,)."""
    values = (torch.tensor(x, dtype=torch.float64) for x in (VARIANCES, VARIANCES, lams))
    return torch.cartesian_prod(*values).unbind(1)


def _bells(mean: Tensor, variance: Tensor) -> tuple[Array, ...]:
    densities = Normal(mean[:, None], variance.sqrt()[:, None]).log_prob(V).exp()
    return tuple(torch.stack([V, density], dim=1).numpy() for density in densities)


def _posteriors(lams: Sequence[float]) -> tuple[Array, ...]:
    sigma2, beta, lam = _positions(lams)
    return _bells(*tempered_posterior(DATUM, SLOPE, beta, sigma2, lam))


def _gaps(lams: Sequence[float], together: int = 1) -> tuple[Array, ...]:
    """Points (λ, ELBO lost), so many of them to a curve."""
    sigma2, beta, lam = _positions(lams)
    points = torch.stack([lam, elbo_gap(DATUM, SLOPE, beta, sigma2, lam)], dim=1)
    return tuple(curve.numpy() for curve in points.split(together))
