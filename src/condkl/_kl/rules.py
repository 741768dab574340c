"""Rules for the mean of a function of standard normals: Gauss-Hermite, and others to check it by."""

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.special import roots_hermitenorm
from torch import Tensor

from condkl._kl.integrals import Integrand, Rule, along_first, panels

_REACH = 12.0  # standard deviations that the other rules cover
_TURN = (math.sqrt(5) - 1) / 2


@lru_cache(maxsize=32)
def gauss_hermite(nodes: int, dims: int) -> tuple[Tensor, Tensor]:
    """The tensor product: points, shape (nodes^dims, dims), and weights that add up to 1."""
    x, w = (torch.as_tensor(a) for a in roots_hermitenorm(nodes))  # unlike NumPy's, accurate at many nodes
    points = torch.cartesian_prod(*[x] * dims).reshape(-1, dims)
    return points, torch.cartesian_prod(*[w / w.sum()] * dims).reshape(-1, dims).prod(-1)


@lru_cache(maxsize=32)
def lattice(count: int, batch: torch.Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """Points at equal distances in one dimension, each element of the batch with others, and weights.

    Shapes (count,) + batch. The trapezoid rule converges as fast as Gauss-Hermite, and what is narrower than its
    distances shows somewhere in the batch.
    """
    step = 2 * _REACH / count
    shift = (torch.arange(batch.numel(), dtype=torch.float64, device=device) * _TURN + 0.5).frac().reshape(batch)
    points = (along_first(torch.arange(count, dtype=torch.float64, device=device), shift) + shift) * step - _REACH
    weights = density(points)
    return points, weights / weights.sum(0)


def refined(f: Integrand, batch: torch.Size, device: torch.device, tolerance: float) -> Rule:
    """Panels that resolve the mean of `f`, as in `panels`, over one standard normal."""
    edges = torch.as_tensor(np.linspace(-_REACH, _REACH, 65), device=device)
    edges = edges.reshape(-1, *(1,) * len(batch)).expand(-1, *batch)
    rule = panels(lambda z: f(z) * density(z), edges, tolerance)
    return rule._replace(weights=rule.weights * density(rule.nodes))


def density(z: Tensor) -> Tensor:
    """That of a standard normal."""
    return (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
