"""Where a distribution has its mass: inside what, between which ends, on which values."""

import math
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Binomial,
    Distribution,
    Geometric,
    Independent,
    MixtureSameFamily,
    NegativeBinomial,
    Poisson,
    TransformedDistribution,
    VonMises,
    constraints,
)
from torch.distributions.transforms import SigmoidTransform, Transform

from condkl._kl.parameters import known, tensor_of

Ends = tuple[Tensor, Tensor]
#: So many values at most are summed over for one distribution, and so many in a product over the entries of an event.
_VALUES, _PRODUCTS = 2**24, 1024


def inside(d: Distribution, value: Tensor) -> Tensor | None:
    """Whether each event of `value` lies in the support of `d`; None if `d` does not declare one."""
    support = declared(d)
    if support is None:
        return None
    held = support.check(value)
    batch = torch.broadcast_shapes(value.shape[: value.dim() - len(d.event_shape)], d.batch_shape)
    while held.dim() > len(batch):  # some constraints answer for each component
        held = held.all(-1)
    if (found := ends(d)) is not None:  # may be narrower than what is declared
        held = held & (value >= found[0]) & (value <= found[1])
    return held.expand(batch)


def positive(d: Distribution) -> bool:
    """Whether the draws of a continuous `d`, or their components, come as near to 0 as one likes from above."""
    support: Any = declared(d)
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if support is constraints.simplex:
        return True
    low = getattr(support, "lower_bound", None)
    return low is not None and not support.is_discrete and not known(torch.as_tensor(low) != 0)


def declared(d: Distribution) -> constraints.Constraint | None:
    """The support that a distribution declares; None if it declares none."""
    try:
        return d.support
    except NotImplementedError:
        return None


@singledispatch
def ends(d: Distribution) -> Ends | None:
    """The ends of the support of a distribution of numbers, each with its batch shape; None if it declares none."""
    support = declared(d)
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    low, high = (getattr(support, name, None) for name in ("lower_bound", "upper_bound"))
    if d.event_shape or (low is None and high is None and support is not constraints.real):
        return None
    return _pair(d, -math.inf if low is None else low, math.inf if high is None else high)


def _pair(d: Distribution, low: Any, high: Any) -> Ends:
    device = tensor_of(d).device
    bounds = (torch.as_tensor(x, dtype=torch.float64, device=device).expand(d.batch_shape) for x in (low, high))
    return next(bounds), next(bounds)


@ends.register
def _(d: VonMises) -> Ends:
    return _pair(d, -math.pi, math.pi)  # torch declares the whole line, on which the density does not integrate to 1


@ends.register
def _(d: MixtureSameFamily) -> Ends | None:
    found = ends(d.component_distribution)
    return found and (found[0].amin(-1), found[1].amax(-1))


@ends.register
def _(d: Independent) -> Ends | None:  # type: ignore[type-arg]
    return None if d.event_shape else ends(d.base_dist)


def _through(t: Transform, end: Tensor) -> Tensor:
    """An end through a map. torch keeps the values of a sigmoid, and the arguments of its inverse, off 0 and 1."""
    if isinstance(t, SigmoidTransform):
        return end.sigmoid()
    return end.logit() if isinstance(t.inv, SigmoidTransform) else t(end)


@ends.register
def _(d: TransformedDistribution) -> Ends | None:
    if type(d) is not TransformedDistribution or not all(t.bijective for t in d.transforms):
        return ends.dispatch(Distribution)(d)
    found = None if d.event_shape else ends(d.base_dist)
    if found is None:
        return None
    for t in d.transforms:  # what is declared is all that the last map can give
        found = _through(t, found[0]), _through(t, found[1])
    return torch.minimum(*found), torch.maximum(*found)


def values(d: Distribution) -> Tensor | None:
    """All values that a discrete `d` takes, shape (k,) + batch + event; None if there are too many, or a continuum.

    Of a Poisson, Geometric or NegativeBinomial those whose mass is not below e^-40 or so.
    """
    if isinstance(d, Independent):
        return _combinations(d) if d.event_shape else values(d.base_dist)
    try:
        if isinstance(d, Binomial):
            first, count = torch.zeros_like(d.total_count), int(d.total_count.max()) + 1
        elif isinstance(d, Poisson | Geometric | NegativeBinomial):
            mean, variance = d.mean.detach().double(), d.variance.detach().double()
            # Tails decay like those of a Gaussian, or like a geometric series of ratio 1 - mean/variance.
            reach = 40 * (variance.sqrt() + variance / mean.clamp_min(1e-30) + 1)
            first, count = (mean - reach).clamp_min(0).floor(), int((2 * reach).max()) + 1
        else:
            return d.enumerate_support() if d.has_enumerate_support else None
    except (RuntimeError, ValueError, OverflowError):  # how many there are cannot be looked at, or is no number
        return None
    if count * max(1, first.numel()) > _VALUES:
        return None
    steps = torch.arange(count, dtype=torch.float64, device=first.device)
    return (first + steps.reshape(-1, *(1,) * first.dim())).to(tensor_of(d).dtype)


def _combinations(d: Any) -> Tensor | None:
    """All combinations of what the entries of an event can be."""
    inner, sizes = d.base_dist, d.event_shape
    each = None if inner.event_shape or not inner.has_enumerate_support else values(inner)
    entries = sizes.numel()
    if each is None or len(each) ** entries > _PRODUCTS:
        return None
    index = torch.cartesian_prod(*[torch.arange(len(each), device=each.device)] * entries).reshape(-1, entries)
    flat = each.flatten(each.dim() - len(sizes))  # (k,) + batch + (entries,)
    return torch.stack([flat[index[:, j], ..., j] for j in range(entries)], -1).unflatten(-1, sizes)
