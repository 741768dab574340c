"""KL of one pair of distributions, by the best way that there is for it."""

import math
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal, TransformedDistribution

from condkl._kl.closed import bregman, exact, lost_to_rounding, normal, registered, tables
from condkl._kl.densities import log_prob
from condkl._kl.integrals import kl_on_line
from condkl._kl.parameters import cast, known, parts, tensor_of
from condkl._kl.supports import ends, values

_LINES = 2**11  # so many integrals over a line are taken at once; beyond, samples are cheaper
_NEGATIVE = -1e-8  # a form that is lower is wrong, and not only rounded


class Divergence(NamedTuple):
    """`value`, with the batch shape, in nats, and `how` it was found, in words."""

    value: Tensor
    how: str


class OnlySamplesError(ValueError):
    """Only samples can tell a KL."""


class UnresolvedError(OnlySamplesError):
    """A KL is an integral over a line that cannot be resolved, and samples may not show why."""


def check_events(names: tuple[str, str], q: Distribution, p: Distribution) -> None:
    """A ValueError if the two, of these names, are not of the same events."""
    want, got = tuple(q.event_shape), tuple(p.event_shape)
    if want != got:
        raise ValueError(
            f"{names[1]}: expected the event shape {want} of {names[0]}, got {got}. Use Independent in both or in "
            "neither."
        )
    if isinstance(q, Categorical) and isinstance(p, Categorical):
        k, m = q.param_shape[-1], p.param_shape[-1]
        if k != m:
            raise ValueError(f"{names[1]}: expected {k} categories as in q, got {m}. Pad with zero probabilities.")


def common_batch(names: tuple[str, str], q: Distribution, p: Distribution) -> torch.Size:
    """The batch shape of both, which is that of one: the other may be for all. Else a ValueError."""
    shapes = q.batch_shape, p.batch_shape
    try:
        batch = torch.broadcast_shapes(*shapes)
    except RuntimeError:
        batch = torch.Size((-1,))
    if batch not in shapes:
        want, got = map(tuple, shapes)
        raise ValueError(
            f"{names[1]}: expected the batch shape {want} of {names[0]}, or one that expands to it, got {got}. Squeeze "
            "what is too much, or put the units into the event with Independent."
        )
    return batch


def divergence(q: Distribution, p: Distribution) -> Divergence:
    """KL[q || p] in closed form, as a sum or as an integral over a line. An OnlySamplesError says that there is none.

    Closed forms of torch are not believed where they are negative, no number, infinite although p covers q, or lost
    to rounding. Values are in float64, those of normals in the dtype that these have.
    """
    if q.batch_shape != p.batch_shape:
        batch = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
        q, p = q.expand(batch), p.expand(batch)
    q, p, summed = _simplest(q, p)
    if isinstance(q, Normal) and isinstance(p, Normal) and min(q.loc.dtype.itemsize, p.loc.dtype.itemsize) > 2:
        found = Divergence(normal(q, p), "closed form")
    else:
        found = _divergence(cast(q), cast(p))
    value = found.value.flatten(-summed).sum(-1) if summed else found.value
    # Rounding alone can be below 0; the gradient stays.
    return Divergence(value - value.detach().clamp_max(0), found.how)


def _simplest(q: Any, p: Any) -> tuple[Distribution, Distribution, int]:
    """A pair with the same KL up to a sum over so many dimensions: of the entries of events, before one map."""
    summed = 0
    while True:
        if isinstance(q, Independent) and isinstance(p, Independent):
            if len(q.base_dist.event_shape) != len(p.base_dist.event_shape):
                return q, p, summed
            summed += q.reinterpreted_batch_ndims
        elif not (isinstance(q, TransformedDistribution) and isinstance(p, TransformedDistribution) and _same(q, p)):
            return q, p, summed
        q, p = q.base_dist, p.base_dist


def _same(q: TransformedDistribution, p: TransformedDistribution) -> bool:
    """Whether both are one bijection of their bases, also where a parameter of it moves."""
    try:
        same = q.transforms == p.transforms and q.base_dist.event_shape == p.base_dist.event_shape
    except RuntimeError:  # parameters that cannot be looked at
        return False
    pairs = zip_longest(parts(q.transforms), parts(p.transforms)) if same else ()
    together = all(a is b or not (_varies(a) or _varies(b)) for a, b in pairs)
    return same and together and all(t.bijective for t in q.transforms)


def _varies(part: Tensor | nn.Module | None) -> bool:
    """Whether a part of a map carries a gradient, as far as one can tell."""
    return part.requires_grad if isinstance(part, Tensor) else part is not None


def _divergence(q: Distribution, p: Distribution) -> Divergence:
    """As `divergence`, of float64 copies with one batch shape."""
    if (value := exact(q, p)) is not None:
        return Divergence(value, "closed form")
    if q.has_enumerate_support and (found := _sum(q, p)) is not None:
        return found
    covered = _covers(q, p)
    if not known(covered, otherwise=True):
        return Divergence(torch.full_like(covered, math.inf, dtype=torch.float64), "p does not cover q")
    value = registered(q, p)
    found = (_sum(q, p) or _integral(q, p, covered)) if value is None else _checked(q, p, value, covered)
    return Divergence(torch.where(covered, found.value, math.inf), found.how)


def _checked(q: Distribution, p: Distribution, value: Tensor, covered: Tensor) -> Divergence:
    """A form of torch, with another way where it fails."""
    lost = lost_to_rounding(q, p, value) & value.isfinite()
    if known(lost) and (precise := bregman(q, p)) is not None:
        value = torch.where(lost & precise.isfinite(), precise, value)
    wrong = covered & ~((value > _NEGATIVE) & (value < math.inf))
    if not known(wrong):
        return Divergence(value, "closed form")
    found = _sum(q, p) or _integral(q, p, wrong)
    return Divergence(torch.where(wrong, found.value, value), found.how)


def _covers(q: Distribution, p: Distribution) -> Tensor:
    """Whether the support of p holds that of q, as far as both are intervals."""
    inner, outer = ends(q), ends(p)
    if inner is None or outer is None:
        return torch.ones(q.batch_shape, dtype=torch.bool, device=tensor_of(q).device)
    return (outer[0] <= inner[0]) & (inner[1] <= outer[1])


def _sum(q: Distribution, p: Distribution) -> Divergence | None:
    """Over what a discrete q takes."""
    taken = values(q)
    if taken is None:
        return None
    return Divergence(tables(log_prob(q, taken), log_prob(p, taken)), f"sum over {len(taken)} values")


def _integral(q: Distribution, p: Distribution, needed: Tensor) -> Divergence:
    """Over what a number takes, if that can be trusted where it is needed."""
    pair = f"the KL of {type(q).__name__} from {type(p).__name__}"
    few = q.batch_shape.numel() <= _LINES and not q.event_shape and not p.event_shape
    found = kl_on_line(q, p) if few else None
    if found is None:
        raise OnlySamplesError(f"{pair} is no closed form, sum or integral over a number.")
    if known(needed & ~found[1]):
        raise UnresolvedError(f"{pair} is an integral over a number that cannot be resolved in float64.")
    return Divergence(found[0], "integral over a line")
