"""Integrals over a line, element by element of a batch: panels that are halved where they are not yet resolved."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution, TransformedDistribution

from condkl._kl.densities import log_prob
from condkl._kl.parameters import known
from condkl._kl.supports import ends

FloatArray = NDArray[np.float64]
#: Maps points, shape (n,) + batch, to integrands, shape (m, n) + batch.
Integrand = Callable[[Tensor], Tensor]
_AT_ONCE, _ROUNDS = 8, 48  # so many panels of each element are halved in a round
_TRUSTED = 1e-6  # the error in mass, or the relative one in the integral, beyond which a KL on a line is not believed


class Rule(NamedTuple):
    """`nodes` and `weights`, shape (n,) + batch, and the estimated `error` of each element, relative above 1."""

    nodes: Tensor
    weights: Tensor
    error: Tensor


@torch.no_grad()
def panels(f: Integrand, edges: Tensor, tolerance: float) -> Rule:
    """A rule that integrates all of `f` to `tolerance`, if it can.

    `edges`, shape (k + 1,) + batch, are those of the first panels, from left to right. A panel's error is how much
    its integral changes as it is halved.
    """

    def integral(left: Tensor, right: Tensor) -> Tensor:
        nodes, weights = _on(left, right)
        return (f(nodes.flatten(0, 1)).unflatten(1, nodes.shape[:2]) * weights).sum(1)

    def halve(left: Tensor, right: Tensor, whole: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Both halves of each panel along a new dimension: their ends, integrals and errors."""
        middle = (left + right) / 2
        left, right = torch.stack([left, middle]), torch.stack([middle, right])
        halves = integral(left.flatten(0, 1), right.flatten(0, 1)).unflatten(1, left.shape[:2])
        # Where an integral is infinite there is nothing to resolve, unless it is so as a whole and not by halves.
        error = (whole - halves.sum(1)).abs().nan_to_num(0, math.inf).amax(0) / 2
        return left, right, halves, torch.stack([error, error])

    def estimate() -> Tensor:
        return error.sum(0) / value.sum(1).abs().amax(0).clamp_min(1)

    first = halve(edges[:-1], edges[1:], integral(edges[:-1], edges[1:]))
    left, right, error = (first[i].flatten(0, 1) for i in (0, 1, 3))
    value = first[2].flatten(1, 2)
    for _ in range(_ROUNDS):
        if not known(estimate() > tolerance):
            break
        worst = error.topk(min(_AT_ONCE, len(error)), dim=0).indices
        at = worst.expand(len(value), *worst.shape)
        a, b, v, e = halve(left.gather(0, worst), right.gather(0, worst), value.gather(1, at))
        left, right, error = (
            torch.cat([old.scatter(0, worst, new[0]), new[1]]) for old, new in ((left, a), (right, b), (error, e))
        )
        value = torch.cat([value.scatter(1, at, v[:, 0]), v[:, 1]], 1)
    nodes, weights = _on(left, right)
    return Rule(nodes.flatten(0, 1), weights.flatten(0, 1), estimate())


def _on(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Lobatto nodes and weights on each panel, shape (nodes,) + that of `left`."""
    x, w = (torch.as_tensor(a, dtype=left.dtype, device=left.device) for a in _lobatto(11))
    half = (right - left) / 2
    return left + half * (1 + along_first(x, half)), half * along_first(w, half)


@lru_cache(maxsize=2)
def _lobatto(nodes: int) -> tuple[FloatArray, FloatArray]:
    """A rule on [-1, 1] with both ends among its nodes: from others a kink next to an end would hide."""
    p = np.polynomial.legendre.Legendre.basis(nodes - 1)
    x = np.concatenate([[-1.0], np.sort(p.deriv().roots().real), [1.0]])
    return x, 2 / (nodes * (nodes - 1) * p(x) ** 2)


def along_first(x: Tensor, like: Tensor) -> Tensor:
    """X, shape (n,), with dimensions of size 1 for those of `like`."""
    return x.reshape(-1, *(1,) * like.dim())


class _Line(NamedTuple):
    """A variable t on the whole line for a number x between two ends; there t grows like |log |x - end||."""

    low: Tensor
    high: Tensor
    centre: Tensor
    scale: Tensor

    def _bounded(self) -> tuple[bool, bool]:
        return known(self.low.isfinite()), known(self.high.isfinite())  # the same in all of the batch

    def x(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """What x is at t, and log dx/dt. The ends keep their gradient: a support may move with the parameters."""
        near = t.abs().neg().exp()
        match self._bounded():
            case True, True:
                width = self.high - self.low
                part = width * near / (1 + near)
                return torch.where(t < 0, self.low + part, self.high - part), width.log() - t.abs() - 2 * near.log1p()
            case True, False:
                return self.low + t.exp(), t
            case False, True:
                return self.high - t.neg().exp(), -t
        log_cosh = t.abs() + near.square().log1p() - math.log(2)
        return self.centre + self.scale * t.sinh(), self.scale.log() + log_cosh

    def t(self, x: Tensor) -> Tensor:
        """The inverse of `x`."""
        match self._bounded():
            case True, True:
                return ((x - self.low) / (self.high - self.low)).logit()
            case True, False:
                return (x - self.low).log()
            case False, True:
                return -(self.high - x).log()
        return ((x - self.centre) / self.scale).asinh()

    def reach(self) -> tuple[Tensor, Tensor]:
        """How far t may go: at an end, until x is known to 1e-8 of its distance to it; else until x² overflows."""
        bounded = self._bounded()
        width = self.high - self.low if all(bounded) else torch.ones_like(self.low)
        far = torch.full_like(self.low, 345.0) if any(bounded) else (2e150 / self.scale).log()
        low, high = (
            -(2e-8 * end.abs() / width).clamp_min(1e-299).log() if finite else far
            for end, finite in zip((self.low, self.high), bounded, strict=True)
        )
        return -low, high


def kl_on_line(q: Distribution, p: Distribution) -> tuple[Tensor, Tensor] | None:
    """KL[q || p] of two float64 copies with numbers as events, of one batch shape, and where it can be trusted.

    The integral is over t = log(x - end), or asinh of x on an unbounded line, on panels. Beyond the last panels log q
    is continued as a power of x, and what that adds is known: infinity where p falls faster than q can bear. None if a
    support is unknown. Gradients pass, also where the support moves.
    """
    q, density = _unmapped(q, p)
    found = ends(q)
    if found is None or any(known(e.isfinite(), True) and known(~e.isfinite(), True) for e in found):
        return None  # the ends differ in kind within a batch, or cannot be looked at
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)  # these draws only say where q lies
        draws = q.sample(torch.Size([255])).double()
    quarter, centre, three = (draws.kthvalue(k, dim=0).values for k in (64, 128, 192))
    line = _Line(*found, centre, (three - quarter).clamp_min(1e-150))
    edges = _first_panels(line, draws)
    inside = edges[len(edges) // 2]

    def parts(t: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of the density of t, and the log ratio."""
        x, log_slope = line.x(t)
        log_q = log_prob(q, x)
        return log_q + log_slope, log_q - density.log(x)

    def integrands(t: Tensor) -> Tensor:
        log_density, ratio = parts(t)
        mass = log_density.exp().nan_to_num(0)
        return torch.stack([mass, torch.where(mass > 0, mass * ratio, 0)])

    rule = panels(integrands, edges, 1e-9)
    # Where q has no mass, or is no number, a node inside stands in with no weight, so that no gradient is spoilt.
    charged = (integrands(rule.nodes)[0].detach() > 0) & (rule.weights > 0)
    nodes = torch.where(charged, rule.nodes, inside)
    log_density, ratio = parts(nodes)
    mass = torch.where(charged, log_density.exp(), 0)
    each = torch.where(charged, rule.weights * (mass * ratio), 0)
    total, value = (rule.weights * mass).sum(0), each.sum(0)
    steps = along_first(torch.arange(3, dtype=torch.float64, device=inside.device), inside) * _STEP
    for points in (edges[0] + steps, edges[-1] - steps):
        beyond = _tail(parts, points, inside)
        total, value = total + beyond[0], value + beyond[1]
    doubtful = torch.where(density.unknown(line.x(nodes)[0]), each, 0).abs().sum(0) / value.abs().clamp_min(1)
    errors = torch.stack([rule.error, (total - 1).abs(), doubtful.nan_to_num(0)])
    # One point where q has mass and p has none is proof enough.
    return value, ((errors < _TRUSTED).all(0).detach() & ~value.isnan()) | (value == math.inf)


class _Density(NamedTuple):
    """The log density of p where q is integrated, and at which points it is not known."""

    log: Callable[[Tensor], Tensor]
    unknown: Callable[[Tensor], Tensor]


def _unmapped(q: Distribution, p: Distribution) -> tuple[Distribution, _Density]:
    """A q that is a map of what lies on the whole line, before that map, and p there."""
    as_it_is = q, _Density(lambda x: log_prob(p, x), lambda x: torch.zeros_like(x, dtype=torch.bool))
    if not isinstance(q, TransformedDistribution) or not all(t.bijective for t in q.transforms):
        return as_it_is
    base, image = ends(q.base_dist), ends(q)
    if base is None or image is None or known(base[0].isfinite() | base[1].isfinite(), otherwise=True):
        return as_it_is

    def log_p(z: Tensor) -> Tensor:
        log = torch.zeros_like(z)
        for t in q.transforms:
            x = t(z)
            log, z = log + t.log_abs_det_jacobian(z, x), x
        return log_prob(p, z) + log

    # Where x is too near an end to be told from it, or too large, log p goes on as a straight line: the density is a
    # power of the distance, or else not known.
    with torch.no_grad():
        size = [torch.where(end.isfinite(), (2e-8 * end.abs()).clamp_min(1e-290), 0) for end in image]
        last = image[0].clamp_min(-1e150) + size[0], image[1].clamp_max(1e150) - size[1]
        for t in reversed(q.transforms):
            last = t.inv(last[0]), t.inv(last[1])
        low, high = torch.minimum(*last), torch.maximum(*last)
        steep = [log_p(end).abs() > 1e6 for end in (low, high)]

    def continued(z: Tensor) -> Tensor:
        up, down = ((log_p(end) - log_p(end - step)) / step for end, step in ((high, _STEP), (low, -_STEP)))
        inner = torch.minimum(torch.maximum(z, low), high)
        return log_p(inner) + torch.where(z > high, up * (z - high), 0) + torch.where(z < low, down * (z - low), 0)

    return q.base_dist, _Density(continued, lambda z: (steep[0] & (z < low)) | (steep[1] & (z > high)))


@torch.no_grad()
def _first_panels(line: _Line, draws: Tensor) -> Tensor:
    """The edges of panels: quantiles of draws, and from there outwards panels each four times as wide as the last."""
    lowest, highest = line.reach()
    t = torch.minimum(torch.maximum(line.t(draws).nan_to_num(0), lowest), highest).sort(0).values
    # Draws that an end is not told from are all at its reach, and say nothing of how wide q is.
    width = torch.where(t[-1] > t[0], (t[-1] - t[0]).clamp_min(1e-12) / 2, 1.0)
    steps = width * along_first(4.0 ** torch.arange(12, dtype=t.dtype, device=t.device), width).cumsum(0)
    edges = torch.cat([(t[0] - steps).flip(0), t[torch.linspace(0, len(t) - 1, 9).long()], t[-1] + steps])
    return torch.minimum(torch.maximum(edges, lowest), highest)


_STEP = 2.0  # between the three points that a tail is continued from


def _tail(parts: Callable[[Tensor], tuple[Tensor, Tensor]], points: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """The mass beyond the first of three points, and what it adds to the KL; the others lie steps of 2 inward.

    In t the density falls off like e^{-κτ}, up to a factor 1 + O(e^{-τ}); the ratio is r₀ + r₁τ + r₂τ², or, where p
    falls off faster than a power of x, it grows like e^{γτ}, and the integral is infinite unless κ > γ.
    """
    with torch.no_grad():
        log_density, ratio = parts(points)
        # Where q has no mass in float64 an infinite ratio is one that overflows.
        size = torch.where(log_density > -740, log_density + ratio.abs().log(), -math.inf)
        there = torch.maximum(log_density[0], size[0]) > -50
        fast = there & (ratio[0].abs() > 1e6)
        fall = (size[1] - size[0]) / _STEP
        endless = fast & ~(fall >= 1e-9)  # or no number, as the ratio is infinite
        slow, steep = there & ~fast, fast & ~endless
    log_density, ratio = parts(torch.where(there, points, inside))
    density = log_density[0].exp()
    inner, outer = log_density[2] - log_density[1], log_density[1] - log_density[0]
    k = torch.where(there, (outer + (outer - inner) / math.expm1(_STEP)) / _STEP, 1)
    mass = torch.where(there, density / k, 0)
    r0, near, far = torch.where(slow, ratio, 0)
    second = r0 - 2 * near + far
    # A second difference below that is the rounding of x near an end, or what falls off like e^{-τ}.
    curved = second.abs() > 1e-6 * (1 + r0.abs())
    r2 = torch.where(curved, second / (2 * _STEP**2), 0)
    r1 = (r0 - near) / _STEP + torch.where(curved, r2 * _STEP, second / (_STEP * math.expm1(_STEP)))
    more = mass * (r0 + r1 / k + 2 * r2 / k.square())
    more = more + torch.where(steep, density * torch.where(steep, ratio[0], 0) / torch.where(steep, fall, 1), 0)
    return mass, torch.where(endless, math.inf, more)
