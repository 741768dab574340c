"""What eq. (9) does in closed form: to the KL alone, to a VAE, and to a chain of layers.

The linear VAE: v ~ N(0, 1), u|v ~ N(Fv, β), x|u ~ N(u, σ²), so that x|v ~ N(Fv, D) with D = σ² + β. Its phi is
optimal, q(u|v,x) = p(u|v,x). Numbers are floats or tensors that broadcast; results are tensors, KLs in nats.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from torch import Tensor

from condkl._checks import Number, as_tensor, fractions, positive
from condkl.dynamics import time_to_level
from condkl.gradients import Field


class Posterior(NamedTuple):
    """A Gaussian q(v|x): its `mean` and `variance`, each of the shape that the arguments broadcast to."""

    mean: Tensor
    variance: Tensor


def tilted_posterior(log_p: Tensor, c: Tensor, lam: Number, mismatch: Number = 0.0) -> Tensor:
    """q_λ(v|x) ∝ p(v|x) exp((1-λ)c(v) - mismatch(v)), where the update of a flexible q(v|x) stops, on a table of v.

    `log_p` is log p(v|x) up to a constant, with the values of v along the last dimension, shape (..., n) as the result;
    `c` is KL[q_phi(u|v,x) || p(u|v)], which theta's update weighs by λ, and `mismatch` is KL[q_phi(u|v,x) || p(u|v,x)],
    0 where phi is optimal. All broadcast with `log_p`. Errors as for `rho`.

    Example:
        >>> tilted_posterior(torch.zeros(2), c=torch.tensor([0.0, 1.0]), lam=0.0)  # c raises what it should lower
        tensor([0.2689, 0.7311])
    """
    log_p, c, mismatch = as_tensor("log_p", log_p), as_tensor("c", c), as_tensor("mismatch", mismatch)
    return (log_p + (1 - fractions("lam", lam)) * c - mismatch).softmax(-1)


def rho(lam: Number, beta: Number, sigma2: Number) -> Tensor:
    """ρ(λ) = (σ² + λβ)/(σ² + β): the power to which p(x|v) enters the fixed point of theta's update.

    1 for the full gradient, λ = 1. For eq. (9), λ = 0, it is the share of u's and x's noise that is x's. `lam` is λ, in
    [0, 1], the weight of the conditional KL in theta's gradient; `beta` and `sigma2` are above 0. A TypeError says
    which argument is not numeric, a ValueError which is out of its range or not finite.

    Example:
        >>> round(float(rho(0.0, beta=0.5, sigma2=0.2)), 4)
        0.2857
    """
    lam, beta, sigma2 = fractions("lam", lam), positive("beta", beta), positive("sigma2", sigma2)
    return (sigma2 + lam * beta) / (sigma2 + beta)


def tempered_posterior(x: Number, F: Number, beta: Number, sigma2: Number, lam: Number) -> Posterior:
    """q_λ(v|x) ∝ p(v) p(x|v)^ρ(λ), where theta's update stops: precision P = 1 + ρF²/D, mean ρFx/(DP).

    `x` is the data, `F` the slope of p(u|v). Arguments and errors otherwise as for `rho`.

    Example:
        >>> [round(float(moment), 4) for moment in tempered_posterior(x=1.3, F=1.5, beta=0.5, sigma2=0.2, lam=0.0)]
        [0.4149, 0.5213]
    """
    x, F = as_tensor("x", x), as_tensor("F", F)
    weight = rho(lam, beta, sigma2) * F / _noise(beta, sigma2)
    variance = 1 / (1 + weight * F)
    return Posterior(*torch.broadcast_tensors(weight * x * variance, variance))


def exact_posterior(x: Number, F: Number, beta: Number, sigma2: Number) -> Posterior:
    """p(v|x), the tempered posterior at λ = 1. Arguments and errors as for `tempered_posterior`.

    Example:
        >>> [float(moment) for moment in exact_posterior(x=1.0, F=1.0, beta=0.5, sigma2=0.5)]
        [0.5, 0.5]
    """
    return tempered_posterior(x, F, beta, sigma2, 1.0)


def log_evidence(x: Number, F: Number, beta: Number, sigma2: Number) -> Tensor:
    """The log density of x ~ N(0, F² + D) in nats. Arguments and errors as for `tempered_posterior`.

    Example:
        >>> round(float(log_evidence(x=0.0, F=0.6, beta=0.3, sigma2=0.34)), 4)  # variance 1
        -0.9189
    """
    x, variance = as_tensor("x", x), as_tensor("F", F).square() + _noise(beta, sigma2)
    return -0.5 * ((2 * math.pi * variance).log() + x.square() / variance)


def elbo_gap(x: Number, F: Number, beta: Number, sigma2: Number, lam: Number) -> Tensor:
    """KL[q_λ(v|x) || p(v|x)] in nats: how far the ELBO ends below log p(x).

    ½h(P₁/P_λ) + ½x²F²D(1-ρ)² / ((D + F²)(D + ρF²)²), with h(z) = z - 1 - log z and P_λ = 1 + ρF²/D.
    Arguments and errors as for `tempered_posterior`.

    Example:
        >>> round(float(elbo_gap(x=1.3, F=1.5, beta=0.5, sigma2=0.2, lam=0.0)), 7)
        0.3325452
    """
    x, F2, D = as_tensor("x", x), as_tensor("F", F).square(), _noise(beta, sigma2)
    power = rho(lam, beta, sigma2)
    lost = 1 - power
    # Near λ = 1 the gap is of second order in `lost`. In terms of `excess` h(P₁/P_λ) has no 1 to cancel: it is
    # excess - log(1 + excess).
    excess = lost * F2 / (D + power * F2)  # P₁/P_λ - 1
    shift = x.square() * F2 * D * lost.square() / ((D + F2) * (D + power * F2).square())
    return 0.5 * (excess - excess.log1p() + shift)


def fixed_point_F2(S: Number, beta: Number, sigma2: Number, lam: Number) -> Tensor:  # noqa: N802  (F as in eq. 1)
    """F² = max(0, S - D/ρ(λ)): where F ends when it is learned by the ELBO while theta follows λ.

    S, above 0, is the variance of the data along the direction. It is active, F ≠ 0, only if S > D/ρ. Otherwise it
    collapses: q(v|x) = p(v). Arguments and errors otherwise as for `rho`. At λ = 1 it is probabilistic PCA, Tipping &
    Bishop (1999), and the linear VAE of Lucas et al. (2019).

    Example:
        >>> fixed_point_F2(torch.tensor([1.0, 4.0]), beta=0.5, sigma2=0.5, lam=0.0)
        tensor([0., 2.])
    """
    return (positive("S", S) - _noise(beta, sigma2) / rho(lam, beta, sigma2)).clamp_min(0.0)


def chain_noise(b: Tensor, sigma2: Number, lam: Number) -> Tensor:
    """The noise n_1, …, n_L through which each layer of a linear Gaussian chain sees x at the fixed point of λ.

    For z_l|z_{l+1} ~ N(z_{l+1}, b_l) and x|z_1 ~ N(z_1, σ²), every posterior ends at
    q_l ∝ p(z_l|z_{l+1}) exp(-(x - z_l)²/(2n_l)), with n_1 = σ² and n_{l+1} = (n_l + b_l)²/(n_l + λb_l), which is
    n_l + (2-λ)b_l + (1-λ)²b_l²/(n_l + λb_l). At λ = 1 it is the true noise σ² + b_1 + … + b_l.

    `b` holds the b_l in units of x, above 0, lowest layer first, shape (..., L-1); σ² and λ broadcast with its leading
    dimensions. The result has shape (..., L). With L = 2 the last is D/ρ(λ). Errors as for `rho`.

    Example:
        >>> chain_noise(torch.tensor([1.0, 1.0]), sigma2=1.0, lam=torch.tensor([0.0, 1.0])).tolist()
        [[1.0, 4.0, 6.25], [1.0, 2.0, 3.0]]
    """
    b, sigma2, lam = positive("b", b), positive("sigma2", sigma2), fractions("lam", lam)
    if b.dim() == 0:
        raise ValueError("b: expected shape (..., L - 1), a variance for each layer but the top, got one number.")
    # n_1 gets the shape that all the others broadcast to, so that they can be stacked.
    n = [sigma2.expand(torch.broadcast_shapes(b.shape[:-1], sigma2.shape, lam.shape))]
    # Each step is the linear VAE once more, with n_l for σ² and b_l for β. Without z_l, x is seen through the noise
    # n_l + b_l; theta's update raises that density to the power ρ(λ), which divides the variance by it.
    for b_l in b.unbind(-1):
        n.append((n[-1] + b_l).square() / (n[-1] + lam * b_l))
    return torch.stack(n, dim=-1)


def _noise(beta: Number, sigma2: Number) -> Tensor:
    """D = σ² + β, the variance of x given v."""
    return positive("beta", beta) + positive("sigma2", sigma2)


# The KL alone: q(v) = N(0, t²), q(u|v) = N(bv, s²) against p(v) = N(0, 1), p(u|v) = N(Fv, β), with r = F²/β.


class Price(NamedTuple):
    """Where the KL ends, in nats, under the `full` gradient and under the `modified` field of eq. (9)."""

    full: Tensor
    modified: Tensor


def misspecification_price(r: Number) -> Price:
    """(½ log(1 + r), r/2): where the KL ends if q(u|v) = N(a, s²) cannot depend on v.

    The full gradient shrinks q(v) to the variance 1/(1 + r), eq. (9) leaves it at 1. r = F²/β, above 0, says by how
    much p(u|v) depends on v. Errors as for `rho`.

    Example:
        >>> [round(float(kl), 4) for kl in misspecification_price(9.0)]
        [1.1513, 4.5]
    """
    r = positive("r", r)
    return Price(full=0.5 * r.log1p(), modified=0.5 * r)


def starvation_time(r: Number, lam: Number, level: Number, beta: Number = 1.0) -> Tensor:
    """The time until the KL is below a level, by integrating the flow from t = 1, b = 0, s = √β.

    With y = t² and E = (b - F)²/β the flow is (log y)' = 2 - 2y - 2λyE, (log E)' = -2y/β, and the KL is
    ½(y - 1 - log y) + ½yE. It takes seconds where r is large; `starvation_law` needs no integration.

    `r` is F²/β at the start and `level` is in nats, both above 0; `lam` and `beta` are λ and β. If phi moves k times as
    fast as theta, pass β/k. Errors as for `rho`. The times are 0 where the KL starts below the level; the solver's
    error is about 1e-9 of the time, at least 1e-8.

    Example:
        >>> [round(float(starvation_time(9.0, lam, level=1e-3)), 4) for lam in (1.0, 0.0)]
        [8.7096, 4.2059]
    """
    return _elementwise(_time_by_the_flow, r=r, lam=lam, level=level, beta=beta)


def starvation_law(r: Number, lam: Number, level: Number, beta: Number = 1.0) -> Tensor:
    """T = ½[βλ(r - E) + β log(r/E) + log y], the time until the KL is below a level, without integrating in time.

    log y - β log E - βλE - 2τ does not change with the time τ, and y is known at each E,

        y = (E/r)^β exp(-βλ(r - E)) + β ∫_E^r (E/x)^β exp(-βλ(x - E)) dx/x,

    so E is where ½(y - 1 - log y) + ½yE is the level. For small levels and β > ½, E tends to twice the level and y to
    1, which leaves T ≈ (β/2)(λr + log(r/(2 level))): linear in r for the full gradient, logarithmic for eq. (9).

    Arguments, result and errors as for `starvation_time`; `level` is at least 1e-20.

    Example:
        >>> [round(float(starvation_law(100.0, lam, level=1e-3)), 6) for lam in (1.0, 0.0)]
        [55.413533, 5.409889]
    """
    return _elementwise(_time_by_the_law, r=r, lam=lam, level=level, beta=beta)


def _elementwise(time: Callable[[float, float, float, float], float], **named: Number) -> Tensor:
    checked = ((fractions if name == "lam" else positive)(name, value) for name, value in named.items())
    cases = torch.broadcast_tensors(*checked)
    rows = zip(*(case.flatten().tolist() for case in cases), strict=True)
    # At the start y = 1 and E = r, so that the KL is r/2.
    times = [0.0 if r <= 2 * level else time(r, lam, level, beta) for r, lam, level, beta in rows]
    return torch.tensor(times, dtype=torch.float64).reshape(cases[0].shape)


def _time_by_the_flow(r: float, lam: float, level: float, beta: float) -> float:
    """In theta = log y and phi = log E, which differ little in size however large r is."""

    def field(log_y: Tensor, log_E: Tensor) -> Field:
        y, E = log_y.exp(), log_E.exp()
        return Field(theta=2 * y - 2 + 2 * lam * y * E, phi=2 * y / beta)

    def kl(log_y: Tensor, log_E: Tensor) -> Tensor:
        # y ends near 1, where expm1 keeps the digits of y - 1 that the level is made of.
        return 0.5 * (log_y.expm1() - log_y + (log_y + log_E).exp()).squeeze()

    start = torch.tensor([0.0, math.log(r)], dtype=torch.float64)
    return time_to_level(field, kl, theta=start[:1], phi=start[1:], level=level)


def _time_by_the_law(r: float, lam: float, level: float, beta: float) -> float:
    log_r = math.log(r)

    def y_at(log_E: float) -> float:
        E = math.exp(log_E)
        # With x = E exp(s) the integral runs over s from 0 to log(r/E). Beyond `far` the integrand is below exp(-45):
        # a quadrature over all of a long range could miss the part near 0 that matters.
        far = min(log_r - log_E, 45 / beta, math.log(E + 45 / (beta * lam)) - log_E if lam else math.inf)
        integral, _ = quad(
            lambda s: math.exp(-beta * s - beta * lam * (math.exp(log_E + s) - E)), 0, far, epsabs=0, epsrel=1e-13
        )
        return math.exp(beta * (log_E - log_r) - beta * lam * (r - E)) + beta * integral

    def above(log_E: float) -> float:
        y = y_at(log_E)
        # For small levels y - 1 is small, hence log1p, and the relative accuracy of 1e-13 asked for above.
        return 0.5 * (y - 1 - math.log1p(y - 1) + y * math.exp(log_E)) - level

    if level < 1e-20:
        raise ValueError(f"level: expected at least 1e-20 nats, got {level:g}. Rounding hides what is smaller.")
    # E falls with time, so that the KL is above the level at E = r and below it at an E small enough. As a rule that is
    # below twice the level; where phi is fast (β < ½), y is the last to arrive and E is far smaller.
    low = math.log(level)
    while above(low) > 0:
        low -= 10
    log_E = brentq(above, low, log_r, xtol=1e-14)
    return 0.5 * (beta * lam * (r - math.exp(log_E)) + beta * (log_r - log_E) + math.log(y_at(log_E)))
