"""What eq. (9) does in closed form: to the KL alone, to a VAE, and to a chain of layers.

The linear VAE: v ~ N(0, 1), u|v ~ N(Fv, β), x|u ~ N(u, σ²), so that x|v ~ N(Fv, D) with D = σ² + β. Its phi is
optimal, q(u|v,x) = p(u|v,x). Numbers are floats or tensors that broadcast; results are tensors, KLs in nats.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from torch import Tensor

from condkl._checks import Number, as_tensor, fractions, positive
from condkl.dynamics import time_to_level
from condkl.gradients import Field

_CHECKS: dict[str, Callable[[str, Number], Tensor]] = {
    "lam": fractions,
    "r": partial(positive, cure="It is F²/β, how much p(u|v) depends on v."),
    "level": partial(positive, cure="It is the KL, in nats, that is waited for."),
    "beta": positive,
    "sigma2": positive,
    "S": positive,
    "b": positive,
}


def _numbers(**named: Number) -> list[Tensor]:
    """The arguments as tensors of one dtype, that of the tensors among them, and of shapes that broadcast."""
    checked = [_CHECKS.get(name, as_tensor)(name, value) for name, value in named.items()]
    given = [x.dtype for x, value in zip(checked, named.values(), strict=True) if isinstance(value, Tensor)]
    dtype = reduce(torch.promote_types, given) if given else torch.float64
    try:
        np.broadcast_shapes(*(x.shape for x in checked))
    except ValueError as error:
        shapes = ", ".join(f"{tuple(x.shape)} for {name}" for name, x in zip(named, checked, strict=True) if x.dim())
        raise ValueError(
            f"{', '.join(named)}: expected shapes that broadcast, got {shapes}. Add dimensions with unsqueeze."
        ) from error
    return [x.to(dtype) for x in checked]


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
    log_p, c, lam, mismatch = _numbers(log_p=log_p, c=c, lam=lam, mismatch=mismatch)
    log_q = log_p + (1 - lam) * c - mismatch
    if log_q.dim() == 0:
        raise ValueError("log_p: expected shape (..., n), a number for each of n values of v, got one number.")
    return log_q.softmax(-1)


def rho(lam: Number, beta: Number, sigma2: Number) -> Tensor:
    """ρ(λ) = (σ² + λβ)/(σ² + β): the power to which p(x|v) enters the fixed point of theta's update.

    1 for the full gradient, λ = 1. For eq. (9), λ = 0, it is the share of u's and x's noise that is x's. `lam` is λ, in
    [0, 1], the weight of the conditional KL in theta's gradient; `beta` and `sigma2` are above 0. A TypeError says
    which argument is not numeric, a ValueError which is out of its range or not finite.

    Example:
        >>> round(float(rho(0.0, beta=0.5, sigma2=0.2)), 4)
        0.2857
    """
    lam, beta, sigma2 = _numbers(lam=lam, beta=beta, sigma2=sigma2)
    return (sigma2 + lam * beta) / (sigma2 + beta)


def tempered_posterior(x: Number, F: Number, beta: Number, sigma2: Number, lam: Number) -> Posterior:
    """q_λ(v|x) ∝ p(v) p(x|v)^ρ(λ), where theta's update stops: precision P = 1 + ρF²/D, mean ρFx/(DP).

    `x` is the data, `F` the slope of p(u|v). Arguments and errors otherwise as for `rho`.

    Example:
        >>> [round(float(moment), 4) for moment in tempered_posterior(x=1.3, F=1.5, beta=0.5, sigma2=0.2, lam=0.0)]
        [0.4149, 0.5213]
    """
    x, F, beta, sigma2, lam = _numbers(x=x, F=F, beta=beta, sigma2=sigma2, lam=lam)
    weight = rho(lam, beta, sigma2) * F / (sigma2 + beta)
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
    x, F, beta, sigma2 = _numbers(x=x, F=F, beta=beta, sigma2=sigma2)
    scale = torch.hypot(F, (sigma2 + beta).sqrt())  # whose square may leave the range of the format
    return -0.5 * (math.log(2 * math.pi) + (x / scale).square()) - scale.log()


def elbo_gap(x: Number, F: Number, beta: Number, sigma2: Number, lam: Number) -> Tensor:
    """KL[q_λ(v|x) || p(v|x)] in nats: how far the ELBO ends below log p(x).

    ½h(P₁/P_λ) + ½x²F²D(1-ρ)² / ((D + F²)(D + ρF²)²), with h(z) = z - 1 - log z and P_λ = 1 + ρF²/D.
    Arguments and errors as for `tempered_posterior`.

    Example:
        >>> round(float(elbo_gap(x=1.3, F=1.5, beta=0.5, sigma2=0.2, lam=0.0)), 7)
        0.3325452
    """
    x, F, beta, sigma2, lam = _numbers(x=x, F=F, beta=beta, sigma2=sigma2, lam=lam)
    D = sigma2 + beta
    lost = (1 - lam) * beta / D  # 1 - ρ, of which nothing cancels as λ tends to 1
    # All is divided by F² + D, whose square may leave the range of the format.
    scale = torch.hypot(F, D.sqrt())
    F2, D = (F / scale).square(), (D.sqrt() / scale).square()
    denominator = D + (1 - lost) * F2
    excess = lost * F2 / denominator  # P₁/P_λ - 1
    shift = (x / scale).square() * F2 * D * (lost / denominator).square()
    return 0.5 * (_h_beyond_one(excess) + shift)


def _h_beyond_one(e: Tensor) -> Tensor:
    """h(1 + e) = e - log(1 + e), e ≥ 0, which is of second order at 0, and there the series e²/2 - e³/3 + e⁴/4."""
    series = torch.zeros_like(e)
    for power in range(9, 1, -1):  # the first term left out is 1e-16 of the sum at e = 0.01
        series = 1 / power - e * series
    return torch.where(e < 0.01, e.square() * series, e - e.log1p())


def fixed_point_F2(S: Number, beta: Number, sigma2: Number, lam: Number) -> Tensor:  # noqa: N802  (F as in eq. 1)
    """F² = max(0, S - D/ρ(λ)): where F ends when it is learned by the ELBO while theta follows λ.

    S, above 0, is the variance of the data along the direction. It is active, F ≠ 0, only if S > D/ρ. Otherwise it
    collapses: q(v|x) = p(v). Arguments and errors otherwise as for `rho`. At λ = 1 it is probabilistic PCA, Tipping &
    Bishop (1999), and the linear VAE of Lucas et al. (2019).

    Example:
        >>> fixed_point_F2(torch.tensor([1.0, 4.0]), beta=0.5, sigma2=0.5, lam=0.0)
        tensor([0., 2.])
    """
    S, beta, sigma2, lam = _numbers(S=S, beta=beta, sigma2=sigma2, lam=lam)
    return (S - (sigma2 + beta) / rho(lam, beta, sigma2)).clamp_min(0.0)


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
    b = positive("b", b)
    if b.dim() == 0:
        raise ValueError("b: expected shape (..., L - 1), a variance for each layer but the top, got one number.")
    chains, sigma2, lam = _numbers(
        **{"b without its last dimension": b.new_zeros(b.shape[:-1])}, sigma2=sigma2, lam=lam
    )
    # n_1 gets the shape that all the others broadcast to, so that they can be stacked.
    n = [sigma2.expand(np.broadcast_shapes(chains.shape, sigma2.shape, lam.shape))]
    # Each step is the linear VAE once more, with n_l for σ² and b_l for β. Without z_l, x is seen through the noise
    # n_l + b_l; theta's update raises that density to the power ρ(λ), which divides the variance by it.
    for b_l in b.to(chains).unbind(-1):
        seen = n[-1] + b_l
        n.append(seen * (seen / (n[-1] + lam * b_l)))
    return torch.stack(n, dim=-1)


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
    (r,) = _numbers(r=r)
    return Price(full=0.5 * r.log1p(), modified=0.5 * r)


def starvation_time(r: Number, lam: Number, level: Number, beta: Number = 1.0) -> Tensor:
    """The time until the KL is below a level, by integrating the flow from t = 1, b = 0, s = √β.

    With y = t² and E = (b - F)²/β the flow is (log y)' = 2 - 2y - 2λyE, (log E)' = -2y/β, and the KL is
    ½(y - 1 - log y) + ½yE. It takes seconds where r is large; `starvation_law` needs no integration.

    `r` is F²/β at the start and `level` is in nats, both above 0, the level at least 1e-14; `lam` and `beta` are λ and
    β. If phi moves k times as fast as theta, pass β/k. Errors as for `rho`, and a ValueError if an argument requires a
    gradient, which the times do not carry; a RuntimeError where the flow cannot be followed. The times are 0 where the
    KL starts below the level; the solver's error is about 1e-9 of the time, at least 1e-8.

    Example:
        >>> [round(float(starvation_time(9.0, lam, level=1e-3)), 4) for lam in (1.0, 0.0)]
        [8.7096, 4.2059]
    """
    return _elementwise(_time_by_the_flow, 1e-14, r=r, lam=lam, level=level, beta=beta)


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
    return _elementwise(_time_by_the_law, 1e-20, r=r, lam=lam, level=level, beta=beta)


def _elementwise(time: Callable[[float, float, float, float], float], least: float, **named: Number) -> Tensor:
    """The time of each case. Below the `least` level rounding hides how far the KL has fallen."""
    cases = torch.broadcast_tensors(*_numbers(**named))
    for name, case in zip(named, cases, strict=True):
        if case.requires_grad:
            raise ValueError(f"{name}: expected numbers without a gradient, which a time does not carry. Detach it.")
    rows = list(zip(*(case.double().flatten().tolist() for case in cases), strict=True))
    for r, _, level, _ in rows:
        if level < least and r > 2 * level:
            raise ValueError(f"level: expected at least {least:g} nats, got {level:g}. Rounding hides what is smaller.")
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
    # The KL falls to 0, so that every level is reached, if late: no limit but that of the number format.
    reached = time_to_level(field, kl, theta=start[:1], phi=start[1:], level=level, limit=1e300)
    if math.isinf(reached):
        raise RuntimeError(
            f"starvation_time: the flow at r={r:g}, beta={beta:g} is too slow to be followed. Use starvation_law."
        )
    return reached


def _time_by_the_law(r: float, lam: float, level: float, beta: float) -> float:
    """Two unknowns, y and E, and two equations: the conserved quantity, and the KL at the level.

    The first gives y for each E as an integral without oscillation or cancellation; the second is then one equation
    for log E, monotonic because E falls and the KL with it. log E and not E is the unknown, as E spans as many decades
    as lie between r and the level.
    """
    log_r = math.log(r)

    def y_at(log_E: float) -> float:
        E = math.exp(log_E)
        # With x = E exp(s) the integral runs over s from 0 to log(r/E). Beyond `far` the integrand is below exp(-45):
        # a quadrature over all of a long range could miss the part near 0 that matters. The second bound is where
        # exp(-βs) is that small, the third where exp(-βλ(x - E)) is; at λ = 0 that is nowhere.
        rate = beta * lam * E
        far = min(log_r - log_E, 45 / beta, math.log1p(45 / rate) if rate else math.inf)
        # x - E is E expm1(s): a difference of two large numbers would lose what the exponent is made of.
        integral, _ = quad(lambda s: math.exp(-beta * s - rate * math.expm1(s)), 0, far, epsabs=0, epsrel=1e-13)
        # What is left of the start, y = 1 at E = r; it is all there is at first, and nothing once E is small.
        return math.exp(beta * (log_E - log_r) + beta * lam * r * math.expm1(log_E - log_r)) + beta * integral

    def above(log_E: float) -> float:
        y = y_at(log_E)
        # For small levels y - 1 is small, hence log1p, and the relative accuracy of 1e-13 asked for above.
        log_y = math.log1p(y - 1) if y > 0.5 else math.log(y)
        return 0.5 * (y - 1 - log_y + y * math.exp(log_E)) - level

    # E falls with time, so that the KL is above the level at E = r and below it at an E small enough. As a rule that is
    # below twice the level; where phi is fast (β < ½), y is the last to arrive and E is far smaller.
    low = math.log(level)
    while above(low) > 0:
        low -= 10
    log_E = brentq(above, low, log_r, xtol=1e-14)
    # The conserved quantity again, now for the time. log E is known to 1e-14, which is 1e-14 of E, however small it is.
    return 0.5 * (-beta * lam * r * math.expm1(log_E - log_r) + beta * (log_r - log_E) + math.log(y_at(log_E)))
