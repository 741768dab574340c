"""Whether a parameter moves the support of a distribution: eq. (8) then lacks what flows over the support's edge."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily, Transform, TransformedDistribution
from torch.distributions.transforms import ComposeTransform

from condkl._kl.supports import declared

# An edge matters where the density beside it is at least this share of the density at a typical draw. It is above what
# rounding makes of an edge at infinity, such as the logistic distribution's, a logit of numbers between 0 and 1.
_NEGLIGIBLE = 1e-5
_DRAWS = 32


@torch.enable_grad()
def moved_edge(q: Callable[[Tensor], Distribution], theta: Tensor) -> float | None:
    """An edge of the support of `q(theta)` that moves with theta and at which the density does not vanish, or None.

    Finite edges are found from the declared support, those of transformed distributions from that of their base, those
    of mixtures from their components. It draws from the global generator.
    """
    probe = theta.detach().clone().requires_grad_()
    moving = [(part, edge) for part in _parts(q(probe)) for edge in _edges(part) if edge.requires_grad]
    for part, edge in moving:
        for at in map(tuple, edge.isfinite().nonzero().tolist()):
            (speed,) = torch.autograd.grad(edge[at], probe, retain_graph=True, materialize_grads=True)
            if speed.any() and _charged(part, edge.detach(), at):
                return edge[at].item()
    return None


def is_discrete(q: Distribution) -> bool:
    """Whether the declared support is discrete."""
    support = declared(q)
    return support is not None and bool(support.is_discrete)


def _parts(q: Distribution) -> Iterator[Distribution]:
    """The distributions whose edges are edges of q: a mixture has those of each component."""
    if isinstance(q, Independent):
        yield from _parts(q.base_dist)
    elif isinstance(q, MixtureSameFamily):
        yield from _parts(q.component_distribution)
    else:
        yield q


def _edges(q: Distribution) -> tuple[Tensor, Tensor]:
    """Two ends of the support of each component of v, each of batch and event shape; infinite where there is none."""
    if isinstance(q, TransformedDistribution) and type(q).support is TransformedDistribution.support:
        # Torch declares the codomain of the last transform: the real line even where a half-line is shifted.
        low, high = _edges(q.base_dist)
        for transform in _each(q.transforms):
            low, high = (_moved(transform, edge) for edge in (low, high))
        return low, high
    support: Any = declared(q)
    while (inner := getattr(support, "base_constraint", None)) is not None:
        support = inner
    ends = getattr(support, "lower_bound", -math.inf), getattr(support, "upper_bound", math.inf)
    low, high = (torch.as_tensor(end).expand(q.batch_shape + q.event_shape) for end in ends)
    return low, high


def _each(transforms: list[Transform]) -> Iterator[Transform]:
    for transform in transforms:
        yield from _each(transform.parts) if isinstance(transform, ComposeTransform) else [transform]


def _moved(transform: Transform, edge: Tensor) -> Tensor:
    """Where a transform takes an edge. From infinity, or to it, that is a constant, whose derivative is inf or NaN."""
    with torch.no_grad():
        there = transform(edge)
    inside = edge.isfinite() & there.isfinite()
    return torch.where(inside, transform(torch.where(inside, edge, 0.5)), there)


@torch.no_grad()
def _charged(q: Distribution, edge: Tensor, at: tuple[int, ...]) -> bool:
    """Whether the density beside an edge of one component, the others drawn, is a share of that at the draw."""
    if is_discrete(q):
        return True
    v = q.sample(torch.Size([_DRAWS]))
    one: Any = (slice(None), *at)
    beside = v.clone()
    # A few roundings inside the support, as a density may be open at its end.
    inside = 8 * torch.finfo(v.dtype).eps * torch.maximum(edge[at].abs(), (v[one] - edge[at]).abs())
    beside[one] = edge[at] + inside * (v[one] - edge[at]).sign()
    batch: Any = (slice(None), *at[: len(q.batch_shape)])
    return bool((q.log_prob(beside) - q.log_prob(v))[batch].median() > math.log(_NEGLIGIBLE))
