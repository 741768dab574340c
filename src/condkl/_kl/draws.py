"""Draws: from standard normals or from a distribution's own sampler, and whether their mean can be trusted."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, singledispatch
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
)

from condkl._kl.integrals import along_first
from condkl._kl.parameters import known, tensor_of

_BITS, _MAX_DIMS = 30, 21_201  # of the Sobol sequence
_REPLICATES = 64  # independent scrambles, of which the standard error is made
BY_SCORE = "by the score function"
_ENOUGH = 400  # samples to say so
_TOO_HEAVY = 0.5  # a tail index beyond which a variance, and with it a standard error, is infinite


class FromNormal(NamedTuple):
    """How a draw comes from `dims` independent standard normals: `push` maps (..., *batch, dims) to draws.

    `smooth` says that it is a map of a Gaussian, for which a Gauss-Hermite rule is made.
    """

    dims: int
    push: Callable[[Tensor], Tensor]
    smooth: bool


@singledispatch
def from_normal(d: Any) -> FromNormal | None:
    """How `d` is drawn from standard normals; None if no such map is known."""
    if d.event_shape or not d.has_rsample:
        return None
    half = tensor_of(d).new_full(d.batch_shape, 0.5)
    try:
        d.icdf(half)
    except NotImplementedError:
        return None
    return FromNormal(1, lambda z: d.icdf(torch.special.ndtr(z[..., 0]).to(half.dtype)), smooth=False)


@from_normal.register
def _(d: Normal) -> FromNormal:
    return FromNormal(1, lambda z: d.loc + d.scale * z[..., 0].to(d.loc.dtype), smooth=True)


@from_normal.register(MultivariateNormal)
@from_normal.register(LowRankMultivariateNormal)
def _(d: Any) -> FromNormal:
    root = d.scale_tril
    return FromNormal(
        root.shape[-1], lambda z: d.loc + (root @ z.to(root.dtype).unsqueeze(-1)).squeeze(-1), smooth=True
    )


@from_normal.register
def _(d: Independent) -> FromNormal | None:  # type: ignore[type-arg]
    inner = from_normal(d.base_dist)
    if inner is None:
        return None
    sizes = (*d.event_shape[: d.reinterpreted_batch_ndims], inner.dims)
    return inner._replace(dims=math.prod(sizes), push=lambda z: inner.push(z.unflatten(-1, sizes)))


@from_normal.register
def _(d: TransformedDistribution) -> FromNormal | None:
    inner = from_normal(d.base_dist)
    if inner is None:
        return None

    def push(z: Tensor) -> Tensor:
        value = inner.push(z)
        for t in d.transforms:
            value = t(value)
        return value

    return inner._replace(push=push, smooth=inner.smooth and all(t.bijective for t in d.transforms))


@dataclass
class Draws:
    """How a chain is sampled: `samples` draws in `replicates` groups that are independent of each other.

    With `sobol` each group is the same low-discrepancy set under a digital shift of its own, and the dimensions of one
    block follow on those of the last.
    """

    samples: int
    sobol: bool
    used: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.sobol:
            groups = min(_REPLICATES, self.samples)
            self.replicates = groups
            self.samples = groups * 2 ** int(math.log2(self.samples // groups))
        else:
            self.replicates = self.samples

    def words(self) -> str:
        """What is drawn."""
        if not self.sobol:
            return f"{self.samples} samples"
        return f"{self.replicates} times {self.samples // self.replicates} Sobol points"

    def of(self, d: Distribution, start: bool) -> tuple[Tensor, str]:
        """Draws of a float64 copy, and in words how a gradient passes through them.

        At the `start` all samples come from `d`, shape (samples,) + batch + event; later the first dimension of its
        batch counts samples already, and there is one for each.
        """
        noise = from_normal(d) if self.sobol else None
        if noise is not None and self.used + noise.dims <= _MAX_DIMS:
            rest = d.batch_shape if start else (d.batch_shape[0] // self.samples, *d.batch_shape[1:])
            z = self._normals((*rest, noise.dims), tensor_of(d).device)
            return noise.push(z if start else z.flatten(0, 1)), "through the points"
        size = torch.Size([self.samples] if start else [])
        return (d.rsample(size), "through the draws") if d.has_rsample else (d.sample(size), BY_SCORE)

    def _normals(self, rest: tuple[int, ...], device: torch.device) -> Tensor:
        """Standard normals from Sobol points, shape (samples,) + `rest`; the last dimension is that of the points."""
        size, dims = self.samples // self.replicates, rest[-1]
        points = _sobol(size, self.used + dims)[:, self.used :].to(device)
        self.used += dims
        # Each group and each element of the batch has its own shift, which alone makes every point uniform.
        shift = torch.randint(2**_BITS, (self.replicates, 1, *rest), device=device)
        below = torch.rand(self.replicates, 1, *rest, dtype=torch.float64, device=device)
        bits = points.reshape(size, *(1,) * (len(rest) - 1), dims) ^ shift
        uniform = ((bits + below) / 2**_BITS).flatten(0, 1)
        return torch.special.ndtri(uniform.clamp(1e-300, 1 - 2**-53))


@lru_cache(maxsize=32)
def _sobol(size: int, dims: int) -> Tensor:
    """The first points of one Sobol sequence with scrambled matrices (Matoušek), as integers, shape (size, dims)."""
    from scipy.stats import qmc  # loaded where it is used, as it is large; torch's own does not work under vmap

    return torch.as_tensor((qmc.Sobol(dims, bits=_BITS, seed=0).random(size) * 2**_BITS).astype("int64"))


def by_score(value: Tensor, log_prob: Tensor) -> Tensor:
    """`value`, shape (samples, ...), with the gradient of E value on what it was drawn from, whose `log_prob` is given.

    The baseline is the mean of the other samples, so that no bias arises. The value stays what it is.
    """
    fixed = value.detach()
    others = ((fixed.sum(0) - fixed) / (len(fixed) - 1)).nan_to_num(0, 0, 0)
    ratio = (log_prob - log_prob.detach()).exp()  # 1, with the score as its gradient
    return ratio * value - (ratio - 1) * others


def tail_index(x: Tensor) -> tuple[Tensor, Tensor]:
    """K of a generalised Pareto distribution fitted to the largest x over the first dimension, and its standard error.

    The smallest need none: under q a log ratio falls below -y with probability e^-y at most.

    Source:
        Zhang & Stephens (2009), with the prior of Vehtari, Simpson, Gelman, Yao & Gabry (2024), as in PSIS.
    """
    n = len(x)
    count = int(min(n / 5, 3 * math.sqrt(n)))
    top = x.topk(count + 1, dim=0).values.flip(0)
    excess = top[1:] - top[0]
    grid = 30 + int(math.sqrt(count))
    steps = along_first(torch.arange(1, grid + 1, dtype=x.dtype, device=x.device), x[0])
    b = (1 - (grid / (steps - 0.5)).sqrt()) / (3 * excess[int(count / 4 + 0.5) - 1]) + 1 / excess[-1]
    k = (-b.unsqueeze(1) * excess).log1p().mean(1)
    weight = (count * ((-b / k).log() - k - 1)).softmax(0)
    best = (b * weight).sum(0)
    k = (count * (-best * excess).log1p().mean(0) + 5) / (count + 10)
    return k, (1 + k) / math.sqrt(count)


def too_heavy(x: Tensor) -> float | None:
    """The largest tail index over a batch if it is surely too large for a mean over the first dimension, else None."""
    if len(x) < _ENOUGH or known(~x.isfinite(), otherwise=True):
        return None
    k, error = tail_index(x.detach().double())
    heavy = torch.where(k - 2 * error > _TOO_HEAVY, k, 0)
    return float(heavy.max()) or None
