"""Log densities of float64 copies (`cast`), right at the edge of their parameters and of their support."""

import math
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    Distribution,
    Geometric,
    Independent,
    InverseGamma,
    Kumaraswamy,
    MixtureSameFamily,
    NegativeBinomial,
    OneHotCategorical,
    RelaxedBernoulli,
    VonMises,
    Weibull,
)
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.nn.functional import logsigmoid

from condkl._kl.parameters import known, tensor_of
from condkl._kl.supports import inside


@singledispatch
def log_prob(d: Distribution, value: Tensor) -> Tensor:
    """The log density of `d` at values, but -inf outside its support, where torch raises or extrapolates.

    Masses are read from logits, so that none underflows.
    """
    held = inside(d, value)
    value = value.to(tensor_of(d).dtype)
    if held is None or not known(~held):
        return d.log_prob(value).double()
    # A value that is surely inside stands in where `value` is not: `log_prob` may raise there, or spoil the gradient.
    with torch.random.fork_rng():  # the draw leaves the global stream as it is
        filler = d.sample(held.shape[: held.dim() - len(d.batch_shape)]).to(value.dtype)
    keep = held.reshape(held.shape + (1,) * len(d.event_shape))
    return torch.where(held, d.log_prob(torch.where(keep, value, filler)).double(), -math.inf)


@log_prob.register
def _(d: Independent, value: Tensor) -> Tensor:  # type: ignore[type-arg]
    each = log_prob(d.base_dist, value)
    return each.flatten(-d.reinterpreted_batch_ndims).sum(-1) if d.reinterpreted_batch_ndims else each


@log_prob.register
def _(d: MixtureSameFamily, value: Tensor) -> Tensor:
    each = log_prob(d.component_distribution, value.unsqueeze(-1 - len(d.event_shape)))
    return (each + log_masses(d.mixture_distribution)).logsumexp(-1)


@log_prob.register
def _(d: Categorical, value: Tensor) -> Tensor:
    logs = log_masses(d)
    shape = torch.broadcast_shapes(value.shape, logs.shape[:-1])
    index = value.long().clamp(0, logs.shape[-1] - 1).expand(shape)
    found = logs.expand(*shape, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)
    return torch.where(index == value, found, -math.inf)  # a value that is no index of the table has no mass


@log_prob.register
def _(d: OneHotCategorical, value: Tensor) -> Tensor:
    hot = (value.sum(-1) == 1) & (value.amax(-1) == 1) & (value.amin(-1) == 0)
    return torch.where(hot, log_prob(d._categorical, value.argmax(-1)), -math.inf)


@log_prob.register
def _(d: VonMises, value: Tensor) -> Tensor:
    # torch takes the Bessel function from polynomials that are right to 2e-7.
    log_norm = math.log(2 * math.pi) + torch.special.i0e(d.concentration).log() + d.concentration
    log = d.concentration * (value - d.loc).cos() - log_norm
    return torch.where(value.abs() <= math.pi, log, -math.inf)


# torch has these as maps of other variables, which overflow, or leave their support, at the ends of that of `d`.


@log_prob.register
def _(d: Kumaraswamy, value: Tensor) -> Tensor:
    a, b = d.concentration1, d.concentration0
    held, log_x = _log_inside(value, 1)
    return torch.where(held, a.log() + b.log() + (a - 1) * log_x + (b - 1) * (-(a * log_x).expm1()).log(), -math.inf)


@log_prob.register
def _(d: Weibull, value: Tensor) -> Tensor:
    k, (held, log_x) = d.concentration, _log_inside(value / d.scale)
    return torch.where(held, (k / d.scale).log() + (k - 1) * log_x - (k * log_x).exp(), -math.inf)


@log_prob.register
def _(d: InverseGamma, value: Tensor) -> Tensor:
    a, b, (held, log_x) = d.concentration, d.rate, _log_inside(value)
    return torch.where(held, a * b.log() - a.lgamma() - (a + 1) * log_x - b * (-log_x).exp(), -math.inf)


@log_prob.register
def _(d: LogitRelaxedBernoulli, value: Tensor) -> Tensor:
    size = (d.temperature * value - d.logits).abs()
    return d.temperature.log() - size - 2 * size.neg().exp().log1p()


@log_prob.register
def _(d: RelaxedBernoulli, value: Tensor) -> Tensor:
    held, log_x = _log_inside(value, 1)
    log_rest = torch.where(held, -value, -0.5).log1p()
    return torch.where(held, log_prob(d.base_dist, log_x - log_rest) - log_x - log_rest, -math.inf)


def _log_inside(value: Tensor, high: float = math.inf) -> tuple[Tensor, Tensor]:
    """Where a value lies between 0 and `high`, and its logarithm there."""
    held = (value > 0) & (value < high)
    return held, torch.where(held, value, 0.5).log()


def _generalised_pareto(d: Any, value: Tensor) -> Tensor:
    # torch compares the concentration with a float32, which it refuses for a float64.
    z, c = (value - d.loc) / d.scale, d.concentration
    straight = c.abs() < 1e-8
    held = (z >= 0) & (c * z > -1)
    curved = torch.where(held & ~straight, c * z, 0).log1p() * (1 + 1 / torch.where(straight, 1, c))
    return torch.where(held, -d.scale.log() - torch.where(straight, z, curved), -math.inf)


if hasattr(torch.distributions, "GeneralizedPareto"):  # not in the oldest torch that is allowed
    log_prob.register(torch.distributions.GeneralizedPareto)(_generalised_pareto)


@log_prob.register(Bernoulli)
@log_prob.register(Binomial)
@log_prob.register(Geometric)
@log_prob.register(NegativeBinomial)
@log_prob.register(ContinuousBernoulli)
def _(d: Any, value: Tensor) -> Tensor:
    held, (win, lose) = inside(d, value), binary_logs(d)
    k = torch.where(held, value.double(), 0)  # type: ignore[arg-type]
    match d:
        case ContinuousBernoulli():
            log = d.logits * k - log_norm(d.logits)
        case Geometric():
            log = win + _times(k, lose)
        case NegativeBinomial():
            n = d.total_count
            ways = torch.where(n + k == 0, 0, (n + k).lgamma() - (1 + k).lgamma() - n.lgamma())
            log = ways + _times(n, lose) + _times(k, win)
        case _:
            n = d.total_count if isinstance(d, Binomial) else torch.ones_like(win)
            ways = (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
            log = ways + _times(k, win) + _times(n - k, lose)
    return torch.where(held, log, -math.inf)  # type: ignore[arg-type]


def _times(k: Tensor, log: Tensor) -> Tensor:
    """K log p, where 0 log 0 = 0."""
    return torch.where(k == 0, 0, k * torch.where(k == 0, 0, log))


def log_masses(d: Categorical) -> Tensor:
    """The logarithms of a table, normalised in float64."""
    return d.logits - d.logits.logsumexp(-1, keepdim=True)


def binary_logs(d: Any) -> tuple[Tensor, Tensor]:
    """(log p, log(1 - p)) of what the probability of a success describes."""
    return logsigmoid(d.logits), logsigmoid(-d.logits)


def log_norm(logits: Tensor) -> Tensor:
    """Log ∫₀¹ e^{ηx} dx = log((e^η - 1)/η) of a ContinuousBernoulli, also where η is 0 or large; torch's own is not."""
    small = logits.abs() < 1e-2
    size = torch.where(small, 1.0, logits.abs())
    series = logits / 2 + logits.square() / 24 - logits.pow(4) / 2880
    return torch.where(small, series, logits.clamp_min(0) + (-(-size).expm1() / size).log())
