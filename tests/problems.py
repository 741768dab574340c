"""The problem that several test files solve: the linear Gaussian pair."""

import math

import numpy as np
import torch
from torch.distributions import Normal

from condkl.gradients import KLProblem

F, BETA = 1.5, 0.8


def tensor(x):
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def gaussian_problem():
    """q(v) = N(m, t²), q(u|v) = N(bv + d, s²), with theta = (m, log t) and phi = (b, d, log s)."""
    return KLProblem(
        q_v=lambda theta: Normal(theta[0], theta[1].exp()),
        q_u_given_v=lambda phi: lambda v: Normal(phi[0] * v + phi[1], phi[2].exp()),
        p_v=Normal(tensor(0.0), tensor(1.0)),
        p_u_given_v=lambda v: Normal(F * v, math.sqrt(BETA)),
    )
