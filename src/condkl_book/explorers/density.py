"""The explorer of the joint density of eq. (1): how F and β shape the pair, and u alone."""

import math
from itertools import product

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import erf

from condkl._checks import as_tensor, positive
from condkl.hierarchical import HierarchicalGaussian
from condkl_book.explorers.tables import Array, Axis, Explorer, Panel, Series, slider, whole_ticks

F_VALUES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
BETA_VALUES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
MASSES = (0.95, 0.75, 0.5, 0.25)
V_AXIS = Axis("v", -3, 3, whole_ticks(-3, 3))
U_AXIS = Axis("u", -8, 8, whole_ticks(-8, 8, 4))
LOG_AXIS = Axis("log density of u (nats)", -16, 2, whole_ticks(-16, 0, 4))


def highest_density(F: float, beta: float, mass: float) -> Array:
    """The boundary of the smallest region of (v, u) that holds a share of eq. (1), for scalar v and u.

    Write s² = F²v² + β, and exp(-K/2)/(2π) for the density on the boundary. The region is
    (u - Fv)² ≤ s²(K - v² - log s²), and it holds the mean of erf √(½(K - v² - log s²)) over v ~ N(0, 1). The points
    (v, u) along the boundary have shape (n, 2). A ValueError says which argument is out of its range.
    """
    F, beta = float(as_tensor("F", F)), float(positive("beta", beta))
    if not 0 < mass < 1:
        raise ValueError(f"mass: expected a share above 0 and below 1, got {mass!r}. The whole has no boundary.")

    def room(K: float, v: Array) -> Array:
        return np.maximum(K - v**2 - np.log(F**2 * v**2 + beta), 0)

    v = _fine_around_zero(8.0, F, beta)
    weight = np.gradient(v) * np.exp(-0.5 * v**2) / math.sqrt(2 * math.pi)
    lowest, highest = math.log(beta), math.log(beta + 64 * F**2) + 64  # an empty region, and one as wide as the grid
    K = brentq(lambda K: float(weight @ erf(np.sqrt(room(K, v) / 2))) - mass, lowest, highest, xtol=1e-9)
    end = brentq(lambda v: K - v**2 - math.log(F**2 * v**2 + beta), 0, 1.01 * math.sqrt(K - math.log(beta)))
    # The sine crowds points at both ends, where the boundary turns back.
    v = end * np.sin(math.pi / 2 * _fine_around_zero(1.0, F, beta))
    reach = np.sqrt((F**2 * v**2 + beta) * room(K, v))
    upper, lower = (np.column_stack([v, F * v + sign * reach]) for sign in (1, -1))
    return np.concatenate([upper, lower[::-1]])


def _fine_around_zero(end: float, F: float, beta: float) -> Array:
    """A grid of [-end, end] that also resolves the waist of width √β/F at 0."""
    waist = math.sqrt(beta) / (abs(F) + math.sqrt(beta))
    t = math.asinh(end / waist)
    even = np.linspace(-end, end, 401)
    return np.unique(np.concatenate([even, np.clip(waist * np.sinh(np.linspace(-t, t, 401)), -end, end)]))


def density() -> Explorer:
    """Regions of the joint density of eq. (1), and the log density of u beside a Gaussian's, under F and β."""
    both, positions = ("F", "beta"), list(product(F_VALUES, BETA_VALUES))
    ours, normals, sentences = zip(*(_alone(F, beta) for F, beta in positions), strict=True)
    names = ("25, 50, 75 and 95% of the pairs", "", "", "")  # the largest region stands for all in the legend
    regions = tuple(
        Series(name, "exact", "area", both, tuple(highest_density(*position, mass) for position in positions))
        for name, mass in zip(names, MASSES, strict=True)
    )
    gaussian = Series("Gaussian, same variance", "muted", "dashed", both, normals)
    alone = gaussian, Series("u under eq. (1)", "exact", "line", both, ours)
    controls = slider("F", "slope F", F_VALUES, opens=1.0), slider("beta", "variance β", BETA_VALUES, opens=0.1)
    panels = (
        Panel("Joint density: nested regions of v and u that hold shares of the pairs.", V_AXIS, U_AXIS, regions),
        Panel("Log density of u, and of the Gaussian with the same variance.", U_AXIS, LOG_AXIS, alone),
    )
    return Explorer(controls, panels, sentences)


def _alone(F: float, beta: float) -> tuple[Array, Array, str]:
    """The log density of u, that of the Gaussian with its variance, and a sentence."""
    q = HierarchicalGaussian(F, beta)
    variance, kurtosis = float(q.variance[1]), float(q.moments().kurtosis)
    right = 8 * np.linspace(0, 1, 40) ** 1.5  # fine at the peak; the left is its mirror image
    log_q = q.log_prob_u(torch.as_tensor(np.append(right, 6 * math.sqrt(variance)))[:, None]).numpy()
    u = np.append(-right[:0:-1], right)
    log_normal = -0.5 * (math.log(2 * math.pi * variance) + u**2 / variance)
    times = math.exp(log_q[-1] + 0.5 * (math.log(2 * math.pi * variance) + 36))
    sentence = (
        f"F = {F:g}, β = {beta:g}: u has variance {variance:.2f} and kurtosis {kurtosis:.2f}. At six standard "
        f"deviations it is {times:{',.0f' if times >= 10 else '.2f'}} times as dense as the Gaussian."
    )
    return np.column_stack([u, np.append(log_q[-2:0:-1], log_q[:-1])]), np.column_stack([u, log_normal]), sentence
