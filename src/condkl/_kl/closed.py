"""KL divergences in closed form: torch's, where they can be believed, and those that torch lacks or has wrong."""

from functools import lru_cache, singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    Dirichlet,
    Distribution,
    Gamma,
    Geometric,
    Independent,
    LowRankMultivariateNormal,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    Wishart,
    kl_divergence,
)
from torch.distributions import kl as registry

from condkl._kl.densities import binary_logs, log_masses, log_norm
from condkl._kl.parameters import cast, known, tensor_of

_GAUSSIANS = (MultivariateNormal, LowRankMultivariateNormal)
#: A form in float64 is believed if its float32 copy shows that it keeps so many nats.
_ROUNDING = 1e-7
#: What torch offers for all exponential families loses the gradient on q, and mixes up events of several shapes; what
#: it offers for one map of two bases holds for bijections alone, of which `divergence` takes the bases itself.
_UNUSED = (NotImplemented, registry._kl_expfamily_expfamily, registry._kl_transformed_transformed)
_legendre = lru_cache(maxsize=2)(np.polynomial.legendre.leggauss)


def normal(q: Normal, p: Normal) -> Tensor:
    """KL[N(m, s²) || N(n, t²)] = log(t/s) + (s² + (m - n)²)/(2t²) - 1/2, in the dtype that the two have."""
    ratio, shift = q.scale / p.scale, (q.loc - p.loc) / p.scale
    return torch.addcmul(shift.square() - 1, ratio, ratio).mul(0.5).sub(ratio.log())


@singledispatch
def exact(q: Any, p: Any) -> Tensor | None:
    """A form for two float64 copies that holds at all of their parameters, or None."""
    return None


@exact.register
def _(q: Normal, p: Any) -> Tensor | None:
    return normal(q, p) if isinstance(p, Normal) else None


@exact.register
def _(q: ContinuousBernoulli, p: Any) -> Tensor | None:
    if not isinstance(p, ContinuousBernoulli):
        return None
    return (q.logits - p.logits) * _mean(q.logits) + log_norm(p.logits) - log_norm(q.logits)


@exact.register
def _(q: Categorical, p: Any) -> Tensor | None:
    if not isinstance(p, Categorical):
        return None
    return tables(log_masses(q).movedim(-1, 0), log_masses(p).movedim(-1, 0))


@exact.register(OneHotCategorical)
@exact.register(Multinomial)
def _(q: Any, p: Any) -> Tensor | None:
    times = getattr(q, "total_count", 1)
    if type(q) is not type(p) or times != getattr(p, "total_count", 1):
        return None
    one = exact(q._categorical, p._categorical)
    return one if one is None else times * one


@exact.register(Bernoulli)
@exact.register(Binomial)
@exact.register(Geometric)
@exact.register(NegativeBinomial)
def _(q: Any, p: Any) -> Tensor | None:
    """Of how often one succeeds in as many trials, or before as many successes: so many times that of two Bernoulli."""
    if type(q) is not type(p) or known(_count(q) != _count(p), otherwise=not isinstance(q, Bernoulli | Geometric)):
        return None
    (win, lose), (p_win, p_lose) = binary_logs(q), binary_logs(p)
    one = tables(torch.stack(torch.broadcast_tensors(lose, win)), torch.stack(torch.broadcast_tensors(p_lose, p_win)))
    match q:
        case Geometric():
            return one * (-win).exp()
        case NegativeBinomial():
            return one * q.total_count * (-lose).exp()
    return one * _count(q)


def _count(d: Any) -> Tensor:
    return d.total_count if isinstance(d, Binomial | NegativeBinomial) else torch.ones(())


@exact.register
def _(q: Wishart, p: Any) -> Tensor | None:
    """(n (tr V⁻¹U - d) - m log|V⁻¹U| + (n - m) Σ ψ((n - i)/2))/2 + log Γ_d(m/2) - log Γ_d(n/2); torch's is wrong."""
    if not isinstance(p, Wishart):
        return None
    n, m, size = q.df, p.df, q.event_shape[-1]
    factor = torch.linalg.solve_triangular(p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril, upper=False)
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    trace = factor.square().sum((-1, -2))
    halves = torch.arange(size, dtype=n.dtype, device=n.device) / 2
    digamma = (n.unsqueeze(-1) / 2 - halves).digamma().sum(-1)
    norms = torch.mvlgamma(m / 2, size) - torch.mvlgamma(n / 2, size)
    return 0.5 * (n * (trace - size) - m * log_det + (n - m) * digamma) + norms


def tables(log_q: Tensor, log_p: Tensor) -> Tensor:
    """The sum of mass times log ratio over the first dimension, from logarithms of masses."""
    # 0 log 0 = 0: where q has no mass both logarithms are taken of 1, as masking the product alone would leave a
    # gradient of NaN. Where q has mass and p has none, the KL is infinite.
    mass = log_q.exp()
    charged = mass > 0
    return (mass * (torch.where(charged, log_q, 0) - torch.where(charged, log_p, 0))).sum(0)


def bregman(q: Any, p: Any) -> Tensor | None:
    """∫₀¹ (1-s) Δᵀ∇²A(η_q + sΔ)Δ ds, the KL of one exponential family with Δ = η_p - η_q: no large terms cancel.

    For a Beta, Dirichlet or Gamma, whose log normaliser A is made of log Γ; None for others.
    """
    x, w = (torch.as_tensor(a / 2, dtype=torch.float64, device=tensor_of(q).device) for a in _legendre(64))
    s = x + 0.5

    def between(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The step, and what lies on the way at each s, along a last dimension."""
        return (b - a).unsqueeze(-1), a.unsqueeze(-1) + s * (b - a).unsqueeze(-1)

    if isinstance(q, Gamma) and isinstance(p, Gamma):
        (da, a), (db, b) = between(q.concentration, p.concentration), between(q.rate, p.rate)
        curvature = da.square() * torch.polygamma(1, a) - 2 * da * db / b + a * (db / b).square()
    elif isinstance(q, Beta | Dirichlet) and type(q) is type(p):
        q, p = (d._dirichlet if isinstance(d, Beta) else d for d in (q, p))
        (each, a), (joint, b) = (
            between(q.concentration, p.concentration),
            between(q.concentration.sum(-1), p.concentration.sum(-1)),
        )
        curvature = (each.square() * torch.polygamma(1, a)).sum(-2) - joint.square() * torch.polygamma(1, b)
    else:
        return None
    return (w * (1 - s) * curvature).sum(-1)


def registered(q: Any, p: Any) -> Tensor | None:
    """The form that torch has for this pair of families, which may fail at the edge of their parameters, or None."""
    if isinstance(q, Independent) and isinstance(p, _GAUSSIANS):
        q = _full(q)
    elif isinstance(q, _GAUSSIANS) and isinstance(p, Independent):
        p = _full(p)
    if isinstance(q, ContinuousBernoulli) or isinstance(p, ContinuousBernoulli):
        return None  # these use probabilities that torch keeps away from 0 and 1
    try:
        if registry._dispatch_kl(type(q), type(p)) in _UNUSED:
            return None
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def lost_to_rounding(q: Distribution, p: Distribution, value: Tensor) -> Tensor:
    """Where a form's terms cancel so much that float64 does not keep it, from how far float32 is off."""
    with torch.no_grad():
        rough = registered(cast(q, torch.float32), cast(p, torch.float32))
    assert rough is not None
    error = (rough.double() - value.detach()).abs() * (torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps)
    return ~(error < _ROUNDING * value.detach().abs().clamp_min(1))


def _mean(logits: Tensor) -> Tensor:
    """The mean of a ContinuousBernoulli, 1/(1 - e^{-η}) - 1/η."""
    small = logits.abs() < 1e-2
    safe = torch.where(small, 1.0, logits)
    series = 0.5 + logits / 12 - logits.pow(3) / 720
    return torch.where(small, series, -1 / (-safe).expm1() - 1 / safe)


def _full(d: Any) -> Distribution:
    """Independent normals as one Gaussian vector; any other `d` as it is."""
    if isinstance(d.base_dist, Normal) and d.reinterpreted_batch_ndims == 1:
        return MultivariateNormal(d.base_dist.loc, scale_tril=torch.diag_embed(d.base_dist.scale), validate_args=False)
    return d
